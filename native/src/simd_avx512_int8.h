// AVX-512 with its byte products (VNNI). Maps are bf16, rounded by integer instructions, as many
// processors have VNNI but not bf16.
#pragma once

#include <cstring>

#include "quantized.h"
#include "simd_avx512_maps.h"

namespace mv2 {

struct Avx512Int8 : Avx512Maps {
    static constexpr Form form = Form::quantized;
    static constexpr int group = 4;

    using Avx512::store;
    static void store(Bf16* p, V v) {
        const __m512i rounded = _mm512_add_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(0x8000));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
    }

    // Channels to unsigned bytes: the least is 0, the greatest 255.
    // Bytes can't be NaN: the step is, if a channel is NaN or infinite.
    static void quantize(const Bf16* a, int k, uint8_t* bytes, float* offset, float* step) {
        V low = load(a), high = low, strange = mul(low, zero());
        for (int i = lanes; i < k; i += lanes) {
            const V v = load(a + i);
            low = _mm512_min_ps(low, v);
            high = _mm512_max_ps(high, v);
            strange = fma(v, zero(), strange);
        }
        const float from = _mm512_reduce_min_ps(low), to = _mm512_reduce_max_ps(high);
        *offset = from;
        *step = (to - from) / 255 + sum(strange);
        const float per_step = to > from ? 255 / (to - from) : 0;
        const V back = set(per_step), shift = set(-from * per_step);
        for (int i = 0; i < k; i += lanes) {
            const __m512i q =
                _mm512_cvtps_epi32(_mm512_max_ps(fma(load(a + i), back, shift), zero()));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + i), _mm512_cvtusepi32_epi8(q));
        }
    }

    using Integers = __m512i;
    using Bytes = __m512i;
    static Integers no_integers() { return _mm512_setzero_si512(); }
    static Bytes bytes(const int8_t* b) { return _mm512_loadu_si512(b); }
    static Bytes four(const uint8_t* a) {
        int word;
        std::memcpy(&word, a, 4);
        return _mm512_set1_epi32(word);
    }
    static Integers dot4(Integers c, Bytes a, Bytes b) { return _mm512_dpbusd_epi32(c, a, b); }
    static V to_floats(Integers c) { return _mm512_cvtepi32_ps(c); }
};

}  // namespace mv2
