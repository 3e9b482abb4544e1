// The matrix product by tiles: 16 rows by 16 columns of sums in a register of 1 KiB, 32 values of k
// at once.
//
// A block is two tiles of rows by two of columns: four loads, four products. Rows are loaded in
// place. Sums leave through memory; what follows a convolution is applied to a block's sums while
// the next block's products run.
//
// Nothing is read past the last row: its tile begins 16 rows before the end, and recomputes the
// rows that it shares with the previous one. Only if there are fewer than 16 rows in all are the
// tiles made shorter for the time, which costs some 100 cycles.
#pragma once

#include <atomic>

#include "product.h"
#include "tile_config.h"

namespace mv2 {

// The sums of a panel, and of the tiles of rows that begin at `first` and, with R == 2, `second`.
template <class X, int R>
inline void tile_block(const Operand<X>* operands, int count, ptrdiff_t stride, int k,
                       const float* bias, int first, int second, int column) {
    using Tiles = typename X::Tiles;
    using Element = typename X::Element;
    constexpr ptrdiff_t pitch = 2 * tile_columns * 4;  // bytes from pair to pair of a panel
    if (bias) {                                        // rows 0 bytes apart: the same in each
        Tiles::template load<0>(bias + column, 0);
        Tiles::template load<1>(bias + column + tile_columns, 0);
        if constexpr (R == 2) {
            Tiles::template load<2>(bias + column, 0);
            Tiles::template load<3>(bias + column + tile_columns, 0);
        }
    } else {
        Tiles::template zero<0>();
        Tiles::template zero<1>();
        if constexpr (R == 2) {
            Tiles::template zero<2>();
            Tiles::template zero<3>();
        }
    }
    const ptrdiff_t bytes = stride * static_cast<ptrdiff_t>(sizeof(Element));
    for (int t = 0; t < count; t++) {
        const auto* a = operands[t].a + first * stride;
        const ptrdiff_t apart = (second - first) * stride;
        const auto* b =
            static_cast<const Element*>(operands[t].b) + static_cast<ptrdiff_t>(column) * k;
        for (int i = 0; i < k; i += tile_depth) {
            Tiles::template load<4>(a, bytes);
            Tiles::template load<6>(b, pitch);
            Tiles::template load<7>(b + 2 * tile_columns, pitch);
            Tiles::template dot<0, 4, 6>();
            Tiles::template dot<1, 4, 7>();
            if constexpr (R == 2) {
                Tiles::template load<5>(a + apart, bytes);
                Tiles::template dot<2, 5, 6>();
                Tiles::template dot<3, 5, 7>();
            }
            a += tile_depth;
            b += tile_depth * 2 * tile_columns;
        }
    }
}

// Whether rows are the outer loop and columns the inner, or the other way round. Each turn of the
// outer loop reads again what the inner loop covers: this should be the smaller, and never weights
// that exceed half an L2 cache.
inline bool rows_outermost(ptrdiff_t rows_bytes, ptrdiff_t weights_bytes) {
    constexpr ptrdiff_t first_cache = 16 << 10, second_cache = 1 << 20;  // one operand's share
    return rows_bytes > first_cache && weights_bytes <= second_cache;
}

template <class X, class Finish>
void tile_products(const Operand<X>* operands, int count, ptrdiff_t stride, int rows,
                   const Matrix& matrix, Rows columns, const float* bias, Finish&& finish) {
    using Tiles = typename X::Tiles;
    constexpr int height = 2 * tile_rows, width = 2 * tile_columns;
    constexpr ptrdiff_t pitch = width * sizeof(float);
    alignas(64) float sums[height * width];
    // The waiting sums: rows begin to end of a panel; `sums` begins with row `base`.
    int base = 0, begin = 0, end = 0, at = 0;
    const auto drain = [&] {
        for (int row = begin; row < end; row++) {
            const float* s = sums + (row - base) * width;
            finish(row, at, X::load(s));
            finish(row, at + tile_columns, X::load(s + tile_columns));
        }
    };

    // GCC's tile loads don't declare that they read memory: earlier writes have to be done.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const bool low = rows < tile_rows;
    if (low) Tiles::configure(tile_configs.of[rows]);
    const int last = low ? 0 : rows - tile_rows;  // where the last tile of rows begins
    const int blocks = (rows + height - 1) / height, panels = (columns.end - columns.begin) / width;
    const ptrdiff_t depth =
        count * static_cast<ptrdiff_t>(sizeof(typename X::Element)) * matrix.k;  // bytes
    const bool by_rows = rows_outermost(depth * rows, depth * panels * width);
    const int outer = by_rows ? blocks : panels, inner = by_rows ? panels : blocks;
    for (int o = 0; o < outer; o++) {
        for (int i = 0; i < inner; i++) {
            const int row = (by_rows ? o : i) * height;
            const int column = columns.begin + (by_rows ? i : o) * width;
            const bool two = rows - row > tile_rows;
            const int first = row < last ? row : last;
            const int second = row + tile_rows < last ? row + tile_rows : last;
            if (two)
                tile_block<X, 2>(operands, count, stride, matrix.k, bias, first, second, column);
            else
                tile_block<X, 1>(operands, count, stride, matrix.k, bias, first, first, column);
            drain();
            Tiles::template store<0>(sums, pitch);
            Tiles::template store<1>(sums + tile_columns, pitch);
            if (two) {  // over rows of the first tile, where they are the same
                Tiles::template store<2>(sums + (second - first) * width, pitch);
                Tiles::template store<3>(sums + (second - first) * width + tile_columns, pitch);
            }
            base = first;
            begin = row;
            end = row + height < rows ? row + height : rows;
            at = column;
        }
    }
    drain();
    if (low) Tiles::configure(tile_configs.of[tile_rows]);
}

}  // namespace mv2
