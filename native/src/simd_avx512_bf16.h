// AVX-512 with its bf16 products: maps and weights in bf16, sums, norms and the residual stream in
// fp32.
#pragma once

#include <cstring>

#include "simd_avx512_maps.h"

namespace mv2 {

struct Avx512Bf16 : Avx512Maps {
    static constexpr int group = 2;

    using Avx512::store;
    static void store(Bf16* p, V v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(v));
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
