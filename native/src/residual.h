// The inverted residual, a few rows at a time: the widened map, the largest of all, never exists as
// a whole. Its rows stay in the cache, in a ring that the same thread's next rows continue.
#pragma once

#include <cstring>

#include "filter.h"
#include "scratch.h"

namespace mv2 {

template <class X>
struct ResidualPieces {
    using T = typename X::Element;
    T* ring;      // [args.ring][width + 2 * dilation][wide]
    T* zeros;     // a row beyond the edge
    T* filtered;  // [rows * out.width][wide]
    T** places;   // where each pixel of a product goes
    size_t bytes;

    ResidualPieces(const ResidualArgs& args, int rows, unsigned char* memory) {
        Pieces pieces(memory);
        const size_t line = static_cast<size_t>(args.in.width + 2 * args.dilation) * args.widen.n;
        ring = pieces.take<T>(args.ring * line);
        zeros = pieces.take<T>(line);
        filtered = pieces.take<T>(static_cast<size_t>(rows) * args.out.width * args.widen.n);
        const size_t widened = static_cast<size_t>(args.ring) * args.in.width;
        const size_t made = static_cast<size_t>(rows) * args.out.width;
        places = pieces.take<T*>(widened > made ? widened : made);
        bytes = pieces.used();
    }
};

// Sets a row's border, left and right of it, to 0.
template <class T>
inline void clear_border(T* row, int width, int border, int channels) {
    std::memset(static_cast<void*>(row), 0, sizeof(T) * border * channels);
    std::memset(static_cast<void*>(row + static_cast<ptrdiff_t>(border + width) * channels), 0,
                sizeof(T) * border * channels);
}

// Rows begin to end of the widened map, into the ring.
template <class X>
inline void widen_rows(const ResidualArgs& args, const ResidualPieces<X>& p, int begin, int end) {
    using T = typename X::Element;
    const int width = args.in.width, wide = args.widen.n, border = args.dilation;
    const ptrdiff_t line = static_cast<ptrdiff_t>(width + 2 * border) * wide;
    int count = 0;
    for (int y = begin; y < end; y++) {
        T* row = p.ring + y % args.ring * line;
        clear_border(row, width, border, wide);
        for (int x = 0; x < width; x++)
            p.places[count++] = row + static_cast<ptrdiff_t>(x + border) * wide;
    }
    const T* in = static_cast<const T*>(args.in.data) + begin * args.in.row_elements();
    product<X>(in, args.in.channels, count, args.widen, args.widen.bias,
               [&](int m, int c, typename X::V v) { X::store(p.places[m] + c, X::silu(v)); });
}

template <class X>
void residual(const ResidualArgs& args, Rows rows, Scratch scratch) {
    using T = typename X::Element;
    const ResidualPieces<X> p(args, rows.end - rows.begin, scratch.data);
    const int wide = args.widen.n, reach = args.dilation, height = args.in.height;
    const ptrdiff_t line = static_cast<ptrdiff_t>(args.in.width + 2 * reach) * wide;

    const int first = rows.begin * args.stride - reach;  // of the widened rows needed
    const int last = (rows.end - 1) * args.stride + reach + 1;
    const int stop = last < height ? last : height;
    const int start = first > 0 ? first : 0;
    Ring& kept = *scratch.ring;
    if (kept.phase != args.phase || kept.begin > start || kept.end < start || kept.end > stop) {
        std::memset(static_cast<void*>(p.zeros), 0, line * sizeof(T));
        kept = {args.phase, start, start};
    }
    if (kept.end < stop) widen_rows<X>(args, p, kept.end, stop);
    kept.end = stop;

    const int width = args.out.width;
    for (int y = rows.begin; y < rows.end; y++) {
        const T* from[3];
        for (int k = 0; k < 3; k++) {
            const int at = y * args.stride + (k - 1) * reach;
            from[k] = at < 0 || at >= height ? p.zeros : p.ring + at % args.ring * line;
        }
        T* to = p.filtered + static_cast<ptrdiff_t>(y - rows.begin) * width * wide;
        filter_row<X>(from, args.filter, args.stride, reach, width,
                      [&](int x, int c, typename X::V v) {
                          X::store(to + static_cast<ptrdiff_t>(x) * wide + c, X::silu(v));
                      });
    }

    const int channels = args.out.channels, border = args.out.border;
    int count = 0;
    for (int y = rows.begin; y < rows.end; y++) {
        T* row = static_cast<T*>(args.out.data) + y * args.out.row_elements();
        clear_border(row, width, border, channels);
        for (int x = 0; x < width; x++)
            p.places[count++] = row + static_cast<ptrdiff_t>(x + border) * channels;
    }
    if (args.add) {
        const T* in = static_cast<const T*>(args.in.data) + rows.begin * args.in.row_elements();
        product<X>(p.filtered, wide, count, args.narrow, args.narrow.bias,
                   [&](int m, int c, typename X::V v) {
                       X::store(p.places[m] + c,
                                X::add(v, X::load(in + static_cast<ptrdiff_t>(m) * channels + c)));
                   });
    } else {
        product<X>(p.filtered, wide, count, args.narrow, args.narrow.bias,
                   [&](int m, int c, typename X::V v) { X::store(p.places[m] + c, v); });
    }
}

template <class X>
size_t residual_scratch(const ResidualArgs& args, int rows) {
    return ResidualPieces<X>(args, rows, nullptr).bytes;
}

}  // namespace mv2
