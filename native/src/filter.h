// The depthwise 3x3 convolution, over one output row.
//
// It computes a few neighboring pixels at a time: at stride 1 they share most of their input.
#pragma once

#include "product.h"

namespace mv2 {

// P pixels from column x of an output row, all channels. `rows` are the three input rows, each from
// its left border on, so that the first tap of pixel x is at element x * S * channels.
template <class X, int S, int P, int N, class Finish>
inline void filter_pixels(const typename X::Element* const rows[3], const Filter& filter, int begin,
                          int end, int dilation, int x, Finish&& finish) {
    using V = typename X::V;
    const ptrdiff_t channels = filter.channels;
    for (int c = begin; c < end; c += N * X::lanes) {
        V sum[P][N];
        const float* weights[N];
        MV2_UNROLL
        for (int v = 0; v < N; v++) {
            const int channel = c + v * X::lanes;
            weights[v] = filter.weights + channel / 16 * 144 + channel % 16;
            const V bias = X::load(filter.bias + channel);
            MV2_UNROLL
            for (int i = 0; i < P; i++) sum[i][v] = bias;
        }
        for (int ky = 0; ky < 3; ky++) {
            const auto* in = rows[ky] + static_cast<ptrdiff_t>(x) * S * channels + c;
            V w[3][N];
            MV2_UNROLL
            for (int kx = 0; kx < 3; kx++) {
                MV2_UNROLL
                for (int v = 0; v < N; v++) w[kx][v] = X::load(weights[v] + (ky * 3 + kx) * 16);
            }
            if (dilation == 1) {
                MV2_UNROLL
                for (int j = 0; j < (P - 1) * S + 3; j++) {
                    MV2_UNROLL
                    for (int v = 0; v < N; v++) {
                        const V value = X::load(in + j * channels + v * X::lanes);
                        MV2_UNROLL
                        for (int kx = 0; kx < 3; kx++) {
                            if (j >= kx && (j - kx) % S == 0 && (j - kx) / S < P)
                                sum[(j - kx) / S][v] =
                                    X::fma(value, w[kx][v], sum[(j - kx) / S][v]);
                        }
                    }
                }
            } else {
                MV2_UNROLL
                for (int i = 0; i < P; i++) {
                    MV2_UNROLL
                    for (int kx = 0; kx < 3; kx++) {
                        MV2_UNROLL
                        for (int v = 0; v < N; v++) {
                            const V value =
                                X::load(in + (i * S + kx * dilation) * channels + v * X::lanes);
                            sum[i][v] = X::fma(value, w[kx][v], sum[i][v]);
                        }
                    }
                }
            }
        }
        MV2_UNROLL
        for (int i = 0; i < P; i++) {
            MV2_UNROLL
            for (int v = 0; v < N; v++) finish(x + i, c + v * X::lanes, sum[i][v]);
        }
    }
}

template <class X, int S, int P, class Finish>
inline void filter_channels(const typename X::Element* const rows[3], const Filter& filter,
                            int dilation, int x, Finish&& finish) {
    constexpr int N = X::filter_vectors;
    const int whole = filter.channels / (N * X::lanes) * (N * X::lanes);
    filter_pixels<X, S, P, N>(rows, filter, 0, whole, dilation, x, finish);
    filter_pixels<X, S, P, 1>(rows, filter, whole, filter.channels, dilation, x, finish);
}

// A whole output row of `width` pixels; `finish(pixel, channel, values)` gets each register once.
template <class X, int S, class Finish>
inline void filter_row(const typename X::Element* const rows[3], const Filter& filter, int dilation,
                       int width, Finish&& finish) {
    int x = 0;
    for (; x + X::pixels <= width; x += X::pixels)
        filter_channels<X, S, X::pixels>(rows, filter, dilation, x, finish);
    if constexpr (X::pixels > 4) {
        for (; x + 4 <= width; x += 4) filter_channels<X, S, 4>(rows, filter, dilation, x, finish);
    }
    for (; x < width; x++) filter_channels<X, S, 1>(rows, filter, dilation, x, finish);
}

template <class X, class Finish>
inline void filter_row(const typename X::Element* const rows[3], const Filter& filter, int stride,
                       int dilation, int width, Finish&& finish) {
    if (stride == 1)
        filter_row<X, 1>(rows, filter, dilation, width, finish);
    else
        filter_row<X, 2>(rows, filter, dilation, width, finish);
}

}  // namespace mv2
