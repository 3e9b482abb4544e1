// AVX-512 with maps in bf16; derived classes say how values become bf16 and are multiplied.
#pragma once

#include "bf16.h"
#include "simd_avx512.h"

namespace mv2 {

struct Avx512Maps : Avx512 {
    using Element = Bf16;

    using Avx512::load;
    static V load(const Bf16* p) {
        const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }

    // As exact as bf16 needs: 1e-4.
    static V silu(V x) {
        const V t = mul(x, set(-1.44269504f)), f = _mm512_reduce_ps(t, 1);
        V p = fma(set(0.0792043f), f, set(0.2243389f));
        p = fma(p, f, set(0.6960681f));
        p = fma(p, f, set(0.9999252f));
        return mul(x, _mm512_rcp14_ps(add(_mm512_scalef_ps(p, t), set(1))));
    }
};

}  // namespace mv2
