// NEON with bf16 products: maps and weights in bf16, sums, norms and the residual stream in fp32.
//
// One instruction multiplies two rows of four values by four values of two columns, so the sums of
// two rows by two columns share a register until they are finished, in the `block` below.
#pragma once

#include "simd_neon_maps.h"

namespace mv2 {

struct NeonBf16 : NeonMaps {
    static void enter() {}  // its own: kernel files may not share functions
    static void leave() {}

    using Neon::store;
    static void store(Bf16* p, V v) { vst1_u16(&p->bits, vreinterpret_u16_bf16(vcvt_bf16_f32(v))); }

    using Wide = bfloat16x8_t;  // rows by four values of k
    static Wide weights(const Bf16* b) { return vreinterpretq_bf16_u16(vld1q_u16(&b->bits)); }
    static V dot(V c, Wide a, Wide b) { return vbfmmlaq_f32(c, a, b); }
    static Wide pair(const Bf16* upper, const Bf16* lower) {
        return vreinterpretq_bf16_u16(vcombine_u16(vld1_u16(&upper->bits), vld1_u16(&lower->bits)));
    }
};

// Preferred to product.h's `block` for these operands.
template <class X, int R, int N, class Finish>
inline void block(const Operand<NeonBf16>* operands, int count, ptrdiff_t stride, int k,
                  const float* bias, int row, int column, Finish&& finish) {
    using V = typename X::V;
    constexpr int pairs = (R + 1) / 2, halves = 2 * N;
    V c[pairs][halves];  // [upper row, left column | upper, right | lower, left | lower, right]
    MV2_UNROLL
    for (int h = 0; h < halves; h++) {
        const float32x2_t two = bias ? vld1_f32(bias + column + 2 * h) : vdup_n_f32(0);
        MV2_UNROLL
        for (int p = 0; p < pairs; p++) c[p][h] = vcombine_f32(two, two);
    }
    for (int t = 0; t < count; t++) {
        const Bf16* a = operands[t].a + row * stride;
        const Bf16* b =
            static_cast<const Bf16*>(operands[t].b) + static_cast<ptrdiff_t>(column) * k;
        for (int i = 0; i < k; i += X::group) {
            typename X::Wide rows[pairs];
            MV2_UNROLL
            for (int p = 0; p < pairs; p++) {
                const int lower = 2 * p + 1 < R ? 2 * p + 1 : 2 * p;  // an odd row is its own pair
                rows[p] = X::pair(a + 2 * p * stride + i, a + lower * stride + i);
            }
            MV2_UNROLL
            for (int h = 0; h < halves; h++) {
                const auto w = X::weights(b + 8 * h);
                MV2_UNROLL
                for (int p = 0; p < pairs; p++) c[p][h] = X::dot(c[p][h], rows[p], w);
            }
            b += 8 * halves;
        }
    }
    MV2_UNROLL
    for (int r = 0; r < R; r++) {
        MV2_UNROLL
        for (int v = 0; v < N; v++) {
            const V left = c[r / 2][2 * v], right = c[r / 2][2 * v + 1];
            finish(row + r, column + v * X::lanes,
                   r % 2 ? vcombine_f32(vget_high_f32(left), vget_high_f32(right))
                         : vcombine_f32(vget_low_f32(left), vget_low_f32(right)));
        }
    }
}

}  // namespace mv2
