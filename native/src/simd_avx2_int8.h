// AVX2 with products of bytes: by AVX-VNNI's one instruction or AVX2's own three. Maps are bf16,
// rounded by integer instructions.
//
// AVX2's own multiply signed by unsigned bytes and add two products into 16 bits: a map's values
// have 7 bits there, so that no sum saturates.
#pragma once

#include <cstring>

#include "bf16.h"
#include "quantized.h"
#include "simd_avx2.h"

namespace mv2 {

// Sums of four neighboring products.
struct MultiplyAdd {
    static constexpr int largest = 127;
    static __m256i dot4(__m256i c, __m256i a, __m256i b) {
        const __m256i pairs = _mm256_maddubs_epi16(a, b);
        return _mm256_add_epi32(c, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
};

template <class Products>
struct Avx2Int8 : Avx2 {
    using Element = Bf16;
    static constexpr Form form = Form::quantized;
    static constexpr int group = 4;
    static constexpr int rows = 4;

    static void enter() {}  // its own: kernel files may not share functions
    static void leave() {}

    using Avx2::load;
    using Avx2::store;
    static V load(const Bf16* p) {
        const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
    static void store(Bf16* p, V v) {
        const __m256i rounded = _mm256_add_epi32(_mm256_castps_si256(v), _mm256_set1_epi32(0x8000));
        const __m256i low = _mm256_srli_epi32(rounded, 16);
        const __m128i both =
            _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), both);
    }

    // As exact as bf16 needs: 5e-4, most of it from the reciprocal.
    static V silu(V x) {
        const V t = _mm256_min_ps(_mm256_max_ps(mul(x, set(-1.44269504f)), set(-126)), set(126));
        const V whole = _mm256_floor_ps(t), f = sub(t, whole);
        V p = fma(set(0.0792043f), f, set(0.2243389f));
        p = fma(p, f, set(0.6960681f));
        p = fma(p, f, set(0.9999252f));
        const __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
        p = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
        return mul(x, _mm256_rcp_ps(add(p, set(1))));
    }

    // Channels to unsigned bytes: the least is 0, the greatest all ones.
    // Bytes can't be NaN: the step is, if a channel is NaN or infinite.
    static void quantize(const Bf16* a, int k, uint8_t* bytes, float* offset, float* step) {
        V low = load(a), high = low, strange = mul(low, zero());
        for (int i = lanes; i < k; i += lanes) {
            const V v = load(a + i);
            low = _mm256_min_ps(low, v);
            high = _mm256_max_ps(high, v);
            strange = fma(v, zero(), strange);
        }
        const float from = -largest_of(sub(zero(), low)), to = largest_of(high);
        constexpr float top = Products::largest;
        *offset = from;
        *step = (to - from) / top + sum(strange);
        const float per_step = to > from ? top / (to - from) : 0;
        const V back = set(per_step), shift = set(-from * per_step);
        for (int i = 0; i < k; i += 2 * lanes) {
            const __m256i q =
                _mm256_packs_epi32(_mm256_cvtps_epi32(fma(load(a + i), back, shift)),
                                   _mm256_cvtps_epi32(fma(load(a + i + lanes), back, shift)));
            const __m256i in_order = _mm256_permute4x64_epi64(q, 0xd8);  // packs works on halves
            __m128i all = _mm_packus_epi16(_mm256_castsi256_si128(in_order),
                                           _mm256_extracti128_si256(in_order, 1));
            all = _mm_min_epu8(all, _mm_set1_epi8(static_cast<char>(Products::largest)));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + i), all);
        }
    }
    static float largest_of(V v) {
        __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        half = _mm_max_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
    }

    using Integers = __m256i;
    using Bytes = __m256i;
    static Integers no_integers() { return _mm256_setzero_si256(); }
    static Bytes bytes(const int8_t* b) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b));
    }
    static Bytes four(const uint8_t* a) {
        int word;
        std::memcpy(&word, a, 4);
        return _mm256_set1_epi32(word);
    }
    static Integers dot4(Integers c, Bytes a, Bytes b) { return Products::dot4(c, a, b); }
    static V to_floats(Integers c) { return _mm256_cvtepi32_ps(c); }
};

}  // namespace mv2
