// The first convolution: 3x3, stride 2, from planar fp32 pixels of few channels to a map.
#pragma once

#include <cmath>
#include <cstring>

#include "product.h"
#include "scratch.h"

namespace mv2 {

// P neighboring pixels, N registers of channels. For each plane and kernel row, `lines` holds the
// row's pixels with a zero before and after them, `line` floats each.
template <class X, int P, int N>
inline void stem_pixels(const StemArgs& args, const float* lines, ptrdiff_t line, int x,
                        typename X::Element* out) {
    using V = typename X::V;
    const int channels = args.out.channels;
    for (int c = 0; c < channels; c += N * X::lanes) {
        V sum[P][N];
        MV2_UNROLL
        for (int v = 0; v < N; v++) {
            const V bias = X::load(args.bias + c + v * X::lanes);
            MV2_UNROLL
            for (int i = 0; i < P; i++) sum[i][v] = bias;
        }
        for (int q = 0; q < args.planes * 3; q++) {
            for (int kx = 0; kx < 3; kx++) {
                const float* w = args.weights + static_cast<ptrdiff_t>(q * 3 + kx) * channels + c;
                const float* in = lines + q * line + 2 * x + kx;
                V weights[N];
                MV2_UNROLL
                for (int v = 0; v < N; v++) weights[v] = X::load(w + v * X::lanes);
                MV2_UNROLL
                for (int i = 0; i < P; i++) {
                    const V value = X::set(in[2 * i]);
                    MV2_UNROLL
                    for (int v = 0; v < N; v++) sum[i][v] = X::fma(value, weights[v], sum[i][v]);
                }
            }
        }
        MV2_UNROLL
        for (int i = 0; i < P; i++) {
            MV2_UNROLL
            for (int v = 0; v < N; v++)
                X::store(out + static_cast<ptrdiff_t>(x + i) * channels + c + v * X::lanes,
                         X::silu(sum[i][v]));
        }
    }
}

template <class X, int P>
inline void stem_channels(const StemArgs& args, const float* lines, ptrdiff_t line, int x,
                          typename X::Element* out) {
    if (args.out.channels % (2 * X::lanes) == 0)
        stem_pixels<X, P, 2>(args, lines, line, x, out);
    else
        stem_pixels<X, P, 1>(args, lines, line, x, out);
}

// Replaces every NaN by the usual one: rounding to bf16 makes numbers of some others.
template <class X>
void copy_pixels(const float* from, int count, float* to) {
    for (int i = 0; i < count; i++) to[i] = from[i] == from[i] ? from[i] : NAN;
}

template <class X>
size_t stem_scratch(const StemArgs& args) {
    return static_cast<size_t>(args.planes) * 3 * (args.width + 3) * sizeof(float) + 128;
}

template <class X>
void stem(const StemArgs& args, Rows rows, Scratch scratch) {
    const ptrdiff_t line = args.width + 3;
    float* lines = Pieces(scratch.data).take<float>(args.planes * 3 * line);
    for (int y = rows.begin; y < rows.end; y++) {
        for (int plane = 0; plane < args.planes; plane++) {
            for (int ky = 0; ky < 3; ky++) {
                float* to = lines + (plane * 3 + ky) * line;
                const int from = 2 * y + ky - 1;
                std::memset(to, 0, line * sizeof(float));
                const ptrdiff_t row = static_cast<ptrdiff_t>(plane) * args.height + from;
                if (from >= 0 && from < args.height)
                    copy_pixels<X>(args.pixels + row * args.width, args.width, to + 1);
            }
        }
        auto* out = static_cast<typename X::Element*>(args.out.data) + y * args.out.row_elements();
        int x = 0;
        for (; x + X::pixels <= args.out.width; x += X::pixels)
            stem_channels<X, X::pixels>(args, lines, line, x, out);
        for (; x < args.out.width; x++) stem_channels<X, 1>(args, lines, line, x, out);
    }
}

}  // namespace mv2
