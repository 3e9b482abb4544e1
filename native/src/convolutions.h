// The heads' convolutions: 1x1, dense 3x3 with dilation, depthwise 3x3, and a single row.
#pragma once

#include "filter.h"

namespace mv2 {

// One row of the output: up to nine products, one per tap whose row is inside the map, summed in
// registers; columns beyond the edge are the border's zeros.
template <class X>
void conv_row(const ConvArgs& args, int y, Rows columns) {
    using T = typename X::Element;
    using V = typename X::V;
    const int n = args.matrix.n, width = args.in.width;
    const V least = X::set(args.least);
    const T* in = static_cast<const T*>(args.in.data);
    const auto* weights = static_cast<const unsigned char*>(args.matrix.weights);
    Operand<X> operands[9];
    int count = 0;
    if (args.dilation == 0) {
        in +=
            y * args.in.row_elements() + static_cast<ptrdiff_t>(args.in.border) * args.in.channels;
        operands[count++] = {in, weights, args.matrix.sums};
    } else {
        for (int tap = 0; tap < 9; tap++) {
            const int at = y + (tap / 3 - 1) * args.dilation;
            if (at < 0 || at >= args.in.height) continue;
            const ptrdiff_t x = args.in.border + (tap % 3 - 1) * args.dilation;
            operands[count++] = {in + at * args.in.row_elements() + x * args.in.channels,
                                 weights + tap * args.matrix.tap, args.matrix.sums + tap * n};
        }
    }
    if (args.floats) {
        float* out = args.floats + static_cast<ptrdiff_t>(y) * width * n;
        products<X>(operands, count, args.in.channels, width, args.matrix, columns, args.bias,
                    [&](int m, int c, V v) {
                        X::store(out + static_cast<ptrdiff_t>(m) * n + c, X::max(least, v));
                    });
    } else {
        const int channels = args.out.channels;
        T* out = static_cast<T*>(args.out.data) + y * args.out.row_elements() +
                 static_cast<ptrdiff_t>(args.out.border) * channels + args.channel;
        products<X>(operands, count, args.in.channels, width, args.matrix, columns, args.bias,
                    [&](int m, int c, V v) {
                        X::store(out + static_cast<ptrdiff_t>(m) * channels + c, X::max(least, v));
                    });
    }
}

// Columns outermost: as many as keep their weights in the cache while the rows pass by.
template <class X>
void conv(const ConvArgs& args, Rows rows) {
    constexpr size_t cached = 256 << 10;
    constexpr int width = X::vectors * X::lanes;
    const int n = args.matrix.n;
    int step = n;
    if (X::form != Form::quantized && rows.end - rows.begin > 1) {
        const size_t column = sizeof(typename X::Element) * args.matrix.k * (args.dilation ? 9 : 1);
        const size_t panels = cached / (column * width);
        step = static_cast<int>(panels > 1 ? panels : 1) * width;
    }
    for (int c = 0; c < n; c += step)
        for (int y = rows.begin; y < rows.end; y++)
            conv_row<X>(args, y, {c, c + step < n ? c + step : n});
}

template <class X>
void filter(const FilterArgs& args, Rows rows) {
    using T = typename X::Element;
    const int channels = args.out.channels;
    for (int y = rows.begin; y < rows.end; y++) {
        const T* from[3];
        for (int k = 0; k < 3; k++) {
            const int at = y * args.stride + (k - 1) * args.dilation;
            from[k] = at < 0 || at >= args.in.height
                          ? static_cast<const T*>(args.zeros)
                          : static_cast<const T*>(args.in.data) + at * args.in.row_elements();
        }
        T* out = static_cast<T*>(args.out.data) + y * args.out.row_elements() +
                 static_cast<ptrdiff_t>(args.out.border) * channels;
        filter_row<X>(from, args.filter, args.stride, args.dilation, args.out.width,
                      [&](int x, int c, typename X::V v) {
                          X::store(out + static_cast<ptrdiff_t>(x) * channels + c, v);
                      });
    }
}

template <class X>
void dense(const DenseArgs& args, Rows columns) {
    using T = typename X::Element;
    using V = typename X::V;
    const V least = X::set(args.least);
    const Operand<X> operand{static_cast<const T*>(args.in), args.matrix.weights, args.matrix.sums};
    products<X>(&operand, 1, args.matrix.k, 1, args.matrix, columns, args.bias,
                [&](int, int c, V v) { X::store(args.out + c, X::max(least, v)); });
}

}  // namespace mv2
