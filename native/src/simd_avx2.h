// AVX2 with FMA: eight floats in a register, 16 registers.
#pragma once

#include <immintrin.h>

#include "product.h"

namespace mv2 {

struct Avx2 {
    using V = __m256;
    using Element = float;
    static constexpr Form form = Form::registers;
    static constexpr int lanes = 8;
    static constexpr int rows = 6;
    static constexpr int vectors = 2;
    static constexpr int pixels = 4;
    static constexpr int filter_vectors = 2;
    static constexpr int group = 1;
    static constexpr int channel_multiple = 16;

    static void enter() {}
    static void leave() {}

    static V zero() { return _mm256_setzero_ps(); }
    static V set(float x) { return _mm256_set1_ps(x); }
    static V load(const float* p) { return _mm256_loadu_ps(p); }
    static void store(float* p, V v) { _mm256_storeu_ps(p, v); }
    static V add(V a, V b) { return _mm256_add_ps(a, b); }
    static V sub(V a, V b) { return _mm256_sub_ps(a, b); }
    static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
    static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
    // b if either is NaN
    static V max(V a, V b) { return _mm256_max_ps(a, b); }
    static float sum(V v) {
        __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        half = _mm_add_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
    }

    // 2^t for t of at most 126, no less than 2^-126, or NaN; a relative error of 2e-7
    static V exp2(V t) {
        t = _mm256_max_ps(set(-126), t);
        const V whole = _mm256_floor_ps(t), f = sub(t, whole);
        V p = fma(set(1.8775767e-3f), f, set(8.9893397e-3f));
        p = fma(p, f, set(5.5826318e-2f));
        p = fma(p, f, set(2.4015361e-1f));
        p = fma(p, f, set(6.9315308e-1f));
        p = fma(p, f, set(9.9999994e-1f));
        const __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
    }
    static V silu(V x) {
        const V t = _mm256_min_ps(mul(x, set(-1.44269504f)), set(126));
        const V d = add(exp2(t), set(1));
        V r = _mm256_rcp_ps(d);  // 12 bits; a Newton step doubles them
        r = mul(r, _mm256_fnmadd_ps(r, d, set(2)));
        return mul(x, r);
    }

    using Wide = V;
    static Wide broadcast(const float* a) { return _mm256_broadcast_ss(a); }
    static Wide weights(const float* b) { return _mm256_loadu_ps(b); }
    static V dot(V c, Wide a, Wide b) { return _mm256_fmadd_ps(a, b, c); }
};

}  // namespace mv2
