// The two inner loops of resizing, along a row and across rows. x86 uses AVX2 if the processor has
// it; everything else is plain loops that compilers turn into 16-bit multiply-adds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "resample.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(MV2_PLAIN_RESAMPLE)
#define MV2_RESAMPLE_AVX2 1
#include <immintrin.h>
#endif

namespace mv2 {

inline uint8_t clip_pixel(int sum) {
    sum >>= weight_bits;
    return static_cast<uint8_t>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

// The two halves of a weighted sum, rounded to a pixel. Unsigned, as the halves alone may overflow
// where their sum never does.
inline uint8_t join_halves(int low, int high) {
    const uint32_t sum = (static_cast<uint32_t>(high) << low_bits) + static_cast<uint32_t>(low) +
                         (1u << (weight_bits - 1));
    return clip_pixel(static_cast<int>(sum));
}

// RGBRGB... to three planes of 16 bits, `pitch` apart.
inline void split_plain(const uint8_t* rgb, int begin, int count, int16_t* planes, size_t pitch) {
    for (int i = begin; i < count; ++i) {
        planes[i] = rgb[3 * i];
        planes[pitch + i] = rgb[3 * i + 1];
        planes[2 * pitch + i] = rgb[3 * i + 2];
    }
}

// A row of 16-bit planes to one of 8-bit planes, of axis.windows.size() pixels each. `planes`
// begins with the axis' first source pixel and is readable for Axis::lanes beyond its last.
inline void along_plain(const Axis& axis, const int16_t* planes, size_t pitch, uint8_t* out) {
    const size_t count = axis.windows.size();
    const int start = axis.source().first;
    for (size_t x = 0; x < count; ++x) {
        const int16_t *low = &axis.low[axis.offsets[x]], *high = &axis.high[axis.offsets[x]];
        const int16_t* r = planes + (axis.windows[x].first - start);
        const int16_t *g = r + pitch, *b = g + pitch;
        const int taps = (axis.windows[x].count + Axis::lanes - 1) / Axis::lanes * Axis::lanes;
        int r_low = 0, r_high = 0, g_low = 0, g_high = 0, b_low = 0, b_high = 0;
        for (int i = 0; i < taps; ++i) {
            r_low += r[i] * low[i];
            r_high += r[i] * high[i];
            g_low += g[i] * low[i];
            g_high += g[i] * high[i];
            b_low += b[i] * low[i];
            b_high += b[i] * high[i];
        }
        out[x] = join_halves(r_low, r_high);
        out[count + x] = join_halves(g_low, g_high);
        out[2 * count + x] = join_halves(b_low, b_high);
    }
}

// A weighted sum of rows of bytes, from byte `begin` to `count`.
inline void across_plain(const uint8_t* const* rows, const int16_t* low, const int16_t* high,
                         int taps, size_t begin, size_t count, uint8_t* out) {
    constexpr size_t block = 64;
    for (size_t x = begin; x < count; x += block) {
        int sums[block];
        const size_t width = count - x < block ? count - x : block;
        for (int& sum : sums) sum = 1 << (weight_bits - 1);
        for (int tap = 0; tap < taps; ++tap) {
            const int weight = high[tap] * (1 << low_bits) + low[tap];
            const uint8_t* row = rows[tap] + x;
            for (size_t i = 0; i < width; ++i) sums[i] += weight * row[i];
        }
        for (size_t i = 0; i < width; ++i) out[x + i] = clip_pixel(sums[i]);
    }
}

#if defined(MV2_RESAMPLE_AVX2)

#define MV2_AVX2 __attribute__((target("avx2")))

MV2_AVX2 inline void split_avx2(const uint8_t* rgb, int count, int16_t* planes, size_t pitch) {
    // Sorts 16 bytes with 4 pixels into red, green and blue, 4 bytes each.
    const __m128i sort = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1);
    int i = 0;
    for (; 3 * (i + 16) + 4 <= 3 * count; i += 16) {  // the last of the four loads reads 4 more
        __m128i part[4];
        for (int k = 0; k < 4; ++k) {
            const auto* from = reinterpret_cast<const __m128i*>(rgb + 3 * i + 12 * k);
            part[k] = _mm_shuffle_epi8(_mm_loadu_si128(from), sort);
        }
        const __m128i rg_a = _mm_unpacklo_epi32(part[0], part[1]);  // r r g g
        const __m128i rg_b = _mm_unpacklo_epi32(part[2], part[3]);
        const __m128i b_a = _mm_unpackhi_epi32(part[0], part[1]);  // b b 0 0
        const __m128i b_b = _mm_unpackhi_epi32(part[2], part[3]);
        const __m128i planes_8[3] = {_mm_unpacklo_epi64(rg_a, rg_b), _mm_unpackhi_epi64(rg_a, rg_b),
                                     _mm_unpacklo_epi64(b_a, b_b)};
        for (int k = 0; k < 3; ++k) {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(planes + k * pitch + i),
                                _mm256_cvtepu8_epi16(planes_8[k]));
        }
    }
    split_plain(rgb, i, count, planes, pitch);
}

MV2_AVX2 inline __m256i multiply_add(__m256i sum, __m256i a, __m256i b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

MV2_AVX2 inline __m256i join_halves(__m256i low, __m256i high) {
    return _mm256_add_epi32(_mm256_slli_epi32(high, low_bits), low);
}

MV2_AVX2 inline __m256i load_16(const int16_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

MV2_AVX2 inline void along_avx2(const Axis& axis, const int16_t* planes, size_t pitch,
                                uint8_t* out) {
    const size_t count = axis.windows.size();
    const int start = axis.source().first;
    const __m128i half = _mm_set1_epi32(1 << (weight_bits - 1));
    for (size_t x = 0; x < count; ++x) {
        const int16_t *low = &axis.low[axis.offsets[x]], *high = &axis.high[axis.offsets[x]];
        const int16_t* from = planes + (axis.windows[x].first - start);
        __m256i lows[3] = {}, highs[3] = {};
        for (int i = 0; i < axis.windows[x].count; i += Axis::lanes) {
            const __m256i weight_low = load_16(low + i), weight_high = load_16(high + i);
            for (int k = 0; k < 3; ++k) {
                const __m256i pixels = load_16(from + k * pitch + i);
                lows[k] = multiply_add(lows[k], pixels, weight_low);
                highs[k] = multiply_add(highs[k], pixels, weight_high);
            }
        }
        const __m256i r = join_halves(lows[0], highs[0]), g = join_halves(lows[1], highs[1]);
        const __m256i b = join_halves(lows[2], highs[2]);
        const __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(r, g), _mm256_hadd_epi32(b, b));
        __m128i sum =
            _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
        sum = _mm_srai_epi32(_mm_add_epi32(sum, half), weight_bits);  // r g b b
        sum = _mm_packs_epi32(sum, sum);
        const auto rgb = static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_packus_epi16(sum, sum)));
        out[x] = static_cast<uint8_t>(rgb);
        out[count + x] = static_cast<uint8_t>(rgb >> 8);
        out[2 * count + x] = static_cast<uint8_t>(rgb >> 16);
    }
}

// Two rows at a time, their bytes next to each other, so that the multiply-adds add over rows.
MV2_AVX2 inline void across_avx2(const uint8_t* const* rows, const int16_t* low,
                                 const int16_t* high, int taps, size_t count, uint8_t* out) {
    size_t x = 0;
    for (; x + 32 <= count; x += 32) {
        __m256i lows[4] = {}, highs[4] = {};
        for (int tap = 0; tap < taps; tap += 2) {  // a weight of 0 follows an odd one
            int32_t pair_low, pair_high;
            std::memcpy(&pair_low, low + tap, 4);
            std::memcpy(&pair_high, high + tap, 4);
            const __m256i weight_low = _mm256_set1_epi32(pair_low);
            const __m256i weight_high = _mm256_set1_epi32(pair_high);
            const uint8_t* second = rows[tap + 1 < taps ? tap + 1 : tap];
            const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[tap] + x));
            const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second + x));
            const __m256i zero = _mm256_setzero_si256();
            const __m256i left = _mm256_unpacklo_epi8(a, b), right = _mm256_unpackhi_epi8(a, b);
            const __m256i pairs[4] = {
                _mm256_unpacklo_epi8(left, zero), _mm256_unpackhi_epi8(left, zero),
                _mm256_unpacklo_epi8(right, zero), _mm256_unpackhi_epi8(right, zero)};
            for (int k = 0; k < 4; ++k) {
                lows[k] = multiply_add(lows[k], pairs[k], weight_low);
                highs[k] = multiply_add(highs[k], pairs[k], weight_high);
            }
        }
        const __m256i half = _mm256_set1_epi32(1 << (weight_bits - 1));
        for (int k = 0; k < 4; ++k) {
            lows[k] = _mm256_add_epi32(join_halves(lows[k], highs[k]), half);
            lows[k] = _mm256_srai_epi32(lows[k], weight_bits);
        }
        const __m256i left = _mm256_packs_epi32(lows[0], lows[1]);
        const __m256i right = _mm256_packs_epi32(lows[2], lows[3]);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x), _mm256_packus_epi16(left, right));
    }
    across_plain(rows, low, high, taps, x, count, out);
}

#undef MV2_AVX2

inline bool has_avx2() {
    static const bool has = __builtin_cpu_supports("avx2");
    return has;
}

#endif

inline void split(const uint8_t* rgb, int count, int16_t* planes, size_t pitch) {
#if defined(MV2_RESAMPLE_AVX2)
    if (has_avx2()) return split_avx2(rgb, count, planes, pitch);
#endif
    split_plain(rgb, 0, count, planes, pitch);
}

inline void along(const Axis& axis, const int16_t* planes, size_t pitch, uint8_t* out) {
#if defined(MV2_RESAMPLE_AVX2)
    if (has_avx2()) return along_avx2(axis, planes, pitch, out);
#endif
    along_plain(axis, planes, pitch, out);
}

inline void across(const uint8_t* const* rows, const int16_t* low, const int16_t* high, int taps,
                   size_t count, uint8_t* out) {
#if defined(MV2_RESAMPLE_AVX2)
    if (has_avx2()) return across_avx2(rows, low, high, taps, count, out);
#endif
    across_plain(rows, low, high, taps, 0, count, out);
}

}  // namespace mv2
