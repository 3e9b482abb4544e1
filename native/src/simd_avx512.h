// AVX-512: sixteen floats in a register, 32 registers.
#pragma once

#include <immintrin.h>

#include "product.h"

namespace mv2 {

struct Avx512 {
    using V = __m512;
    using Element = float;
    static constexpr Form form = Form::registers;
    static constexpr int lanes = 16;
    static constexpr int rows = 8;     // of a product's block
    static constexpr int vectors = 2;  // its columns, in registers
    static constexpr int pixels = 8;   // that a filter computes at a time
    static constexpr int filter_vectors = 2;
    static constexpr int group = 1;  // values of k per instruction
    static constexpr int channel_multiple = 16;

    static void enter() {}
    static void leave() {}

    static V zero() { return _mm512_setzero_ps(); }
    static V set(float x) { return _mm512_set1_ps(x); }
    static V load(const float* p) { return _mm512_loadu_ps(p); }
    static void store(float* p, V v) { _mm512_storeu_ps(p, v); }
    static V add(V a, V b) { return _mm512_add_ps(a, b); }
    static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
    static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
    static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
    // b if either is NaN
    static V max(V a, V b) { return _mm512_max_ps(a, b); }
    static float sum(V v) { return _mm512_reduce_add_ps(v); }

    // 2^t for t of at most 126; a relative error of 2e-7
    static V exp2(V t) {
        const V f = _mm512_reduce_ps(t, 1);  // t - floor(t)
        V p = fma(set(1.8775767e-3f), f, set(8.9893397e-3f));
        p = fma(p, f, set(5.5826318e-2f));
        p = fma(p, f, set(2.4015361e-1f));
        p = fma(p, f, set(6.9315308e-1f));
        p = fma(p, f, set(9.9999994e-1f));
        return _mm512_scalef_ps(p, t);
    }
    static V reciprocal(V d) {
        const V r = _mm512_rcp14_ps(d);
        return mul(r, _mm512_fnmadd_ps(r, d, set(2)));
    }

    static V silu(V x) {
        const V t = _mm512_min_ps(mul(x, set(-1.44269504f)), set(126));
        return mul(x, reciprocal(add(exp2(t), set(1))));
    }

    using Wide = V;  // what a product multiplies
    static Wide broadcast(const float* a) { return _mm512_set1_ps(*a); }
    static Wide weights(const float* b) { return _mm512_loadu_ps(b); }
    static V dot(V c, Wide a, Wide b) { return _mm512_fmadd_ps(a, b, c); }
};

}  // namespace mv2
