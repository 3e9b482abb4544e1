// AVX-512 with its bf16 products: maps and weights in bf16, sums, norms and the residual stream in
// fp32.
#pragma once

#include <cstring>

#include "bf16.h"
#include "simd_avx512.h"

namespace mv2 {

struct Avx512Bf16 : Avx512 {
    using Element = Bf16;
    static constexpr int group = 2;

    using Avx512::load;
    using Avx512::store;
    static V load(const Bf16* p) {
        const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    static void store(Bf16* p, V v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(v));
    }

    // As exact as bf16 needs it: 1e-4.
    static V silu(V x) {
        const V t = mul(x, set(-1.44269504f)), f = _mm512_reduce_ps(t, 1);
        V p = fma(set(0.0792043f), f, set(0.2243389f));
        p = fma(p, f, set(0.6960681f));
        p = fma(p, f, set(0.9999252f));
        return mul(x, _mm512_rcp14_ps(add(_mm512_scalef_ps(p, t), set(1))));
    }

    using Wide = __m512bh;
    static Wide broadcast(const Bf16* a) {
        int pair;
        std::memcpy(&pair, a, 4);
        return (__m512bh)_mm512_set1_epi32(pair);
    }
    static Wide weights(const Bf16* b) { return (__m512bh)_mm512_loadu_si512(b); }
    static V dot(V c, Wide a, Wide b) { return _mm512_dpbf16_ps(c, a, b); }
};

}  // namespace mv2
