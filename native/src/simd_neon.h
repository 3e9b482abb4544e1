// NEON of 64-bit ARM: four floats in a register, 32 registers.
//
// A product takes one operand from a lane of a register ("by element"), so a map's value is loaded
// as a single float. On many processors, a load into all lanes would occupy an arithmetic unit.
#pragma once

#include <arm_neon.h>

#include "product.h"

namespace mv2 {

// For 2^t and silu: limits of t, -log2(e), and a polynomial of degree 5.
alignas(16) constexpr float neon_terms[][4] = {
    {-126, -126, -126, -126},
    {126, 126, 126, 126},
    {-1.44269504f, -1.44269504f, -1.44269504f, -1.44269504f},
    {1.8775767e-3f, 1.8775767e-3f, 1.8775767e-3f, 1.8775767e-3f},
    {8.9893397e-3f, 8.9893397e-3f, 8.9893397e-3f, 8.9893397e-3f},
    {5.5826318e-2f, 5.5826318e-2f, 5.5826318e-2f, 5.5826318e-2f},
    {2.4015361e-1f, 2.4015361e-1f, 2.4015361e-1f, 2.4015361e-1f},
    {6.9315308e-1f, 6.9315308e-1f, 6.9315308e-1f, 6.9315308e-1f},
    {9.9999994e-1f, 9.9999994e-1f, 9.9999994e-1f, 9.9999994e-1f},
};

struct Neon {
    using V = float32x4_t;
    using Element = float;
    static constexpr Form form = Form::registers;
    static constexpr int lanes = 4;
    static constexpr int rows = 6;  // 6 x 4 sums, 4 weights: 28 registers
    static constexpr int vectors = 4;
    static constexpr int pixels = 8;
    static constexpr int filter_vectors = 2;
    static constexpr int group = 1;
    static constexpr int channel_multiple = 16;

    static void enter() {}
    static void leave() {}

    static V zero() { return vdupq_n_f32(0); }
    static V set(float x) { return vdupq_n_f32(x); }
    static V load(const float* p) { return vld1q_f32(p); }
    static void store(float* p, V v) { vst1q_f32(p, v); }
    static V add(V a, V b) { return vaddq_f32(a, b); }
    static V sub(V a, V b) { return vsubq_f32(a, b); }
    static V mul(V a, V b) { return vmulq_f32(a, b); }
    static V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
    static V max(V a, V b) { return vmaxq_f32(a, b); }
    static float sum(V v) { return vaddvq_f32(v); }

    // Terms are loaded where they are used: kept in registers from before a product's loop, they
    // would leave too few for the sums.
    template <size_t N>
    static const float (*terms(const float (&all)[N][4]))[4] {
        const float (*start)[4] = all;
#if defined(__GNUC__)
        asm volatile("" : "+r"(start));
#endif
        return start;
    }
    // p * 2^whole
    static V scaled(V p, V whole) {
        const int32x4_t power = vshlq_n_s32(vcvtq_s32_f32(whole), 23);
        return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), power));
    }
    static V exp2(V t, const float (*term)[4]) {
        t = max(t, load(term[0]));
        const V whole = vrndmq_f32(t), f = sub(t, whole);
        V p = fma(load(term[3]), f, load(term[4]));
        for (int i = 5; i < 9; i++) p = fma(p, f, load(term[i]));
        return scaled(p, whole);
    }
    // 2^t for t of at most 126, no less than 2^-126; a relative error of 2e-7
    static V exp2(V t) { return exp2(t, terms(neon_terms)); }
    static V silu(V x) {
        const float (*term)[4] = terms(neon_terms);
        const V d = add(exp2(vminq_f32(mul(x, load(term[2])), load(term[1])), term), set(1));
        V r = vrecpeq_f32(d);  // 8 bits; each Newton step doubles them
        r = mul(r, vrecpsq_f32(r, d));
        r = mul(r, vrecpsq_f32(r, d));
        return mul(x, r);
    }

    using Wide = V;
    static float broadcast(const float* a) { return *a; }
    static Wide weights(const float* b) { return vld1q_f32(b); }
    static V dot(V c, float a, Wide b) { return vfmaq_n_f32(c, b, a); }
    static V dot(V c, Wide a, Wide b) { return vfmaq_f32(c, a, b); }
};

}  // namespace mv2
