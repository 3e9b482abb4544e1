// NEON with maps in bf16; derived classes say how values become bf16 and are multiplied.
#pragma once

#include "bf16.h"
#include "simd_neon.h"

namespace mv2 {

// For 2^t and silu: limits of t, -log2(e), and a polynomial of degree 3.
alignas(16) constexpr float neon_bf16_terms[][4] = {
    {-126, -126, -126, -126},
    {126, 126, 126, 126},
    {-1.44269504f, -1.44269504f, -1.44269504f, -1.44269504f},
    {0.0792043f, 0.0792043f, 0.0792043f, 0.0792043f},
    {0.2243389f, 0.2243389f, 0.2243389f, 0.2243389f},
    {0.6960681f, 0.6960681f, 0.6960681f, 0.6960681f},
    {0.9999252f, 0.9999252f, 0.9999252f, 0.9999252f},
};

struct NeonMaps : Neon {
    using Element = Bf16;
    static constexpr int group = 4;

    using Neon::load;
    static V load(const Bf16* p) {
        return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(&p->bits), 16));
    }

    // As exact as bf16 needs: 1e-4.
    static V silu(V x) {
        const float (*term)[4] = terms(neon_bf16_terms);
        const V t = vminq_f32(max(mul(x, load(term[2])), load(term[0])), load(term[1]));
        const V whole = vrndmq_f32(t), f = sub(t, whole);
        V p = fma(load(term[3]), f, load(term[4]));
        p = fma(p, f, load(term[5]));
        p = fma(p, f, load(term[6]));
        const V d = add(scaled(p, whole), set(1)), r = vrecpeq_f32(d);
        return mul(x, mul(r, vrecpsq_f32(r, d)));
    }
};

}  // namespace mv2
