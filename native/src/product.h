// The matrix product, which is nearly all of the network's arithmetic.
//
// The sums of a few rows by a few registers of columns stay in registers while k runs; what follows
// a convolution (activation, scale, residual) happens there too, before anything is written.
//
// X is an instruction set with its element type; see simd_*.h.
#pragma once

#include "kernels.h"

#if defined(__GNUC__) && !defined(__clang__)
#define MV2_UNROLL _Pragma("GCC unroll 32")
#elif defined(__clang__)
#define MV2_UNROLL _Pragma("unroll")
#else
#define MV2_UNROLL
#endif

namespace mv2 {

// How an instruction set multiplies (X::form): as below, with tiles (tiles.h), or with rows that
// are quantized on the fly (quantized.h).
enum class Form { registers, tiles, quantized };

// One operand of a sum of products: rows of `a`, and the columns of a packed matrix.
template <class X>
struct Operand {
    const typename X::Element* a;
    const void* b;
    const float* sums = nullptr;  // Matrix::sums of these columns
};

template <class X, class Finish>
void tile_products(const Operand<X>* operands, int count, ptrdiff_t stride, int rows,
                   const Matrix& matrix, Rows columns, const float* bias, Finish&& finish);
template <class X, class Finish>
void quantized_products(const Operand<X>* operands, int count, ptrdiff_t stride, int rows,
                        const Matrix& matrix, Rows columns, const float* bias, Finish&& finish);

// R rows, N registers of columns; `finish(row, column, values)` gets each register once. The
// columns of a panel lie side by side for each k, so that weights are read in one stream.
template <class X, int R, int N, class Finish>
inline void block(const Operand<X>* operands, int count, ptrdiff_t stride, int k, const float* bias,
                  int row, int column, Finish&& finish) {
    typename X::V c[R][N];
    MV2_UNROLL
    for (int v = 0; v < N; v++) {
        const auto start = bias ? X::load(bias + column + v * X::lanes) : X::zero();
        MV2_UNROLL
        for (int r = 0; r < R; r++) c[r][v] = start;
    }
    for (int t = 0; t < count; t++) {
        const auto* a = operands[t].a + row * stride;
        const auto* b = static_cast<const typename X::Element*>(operands[t].b) +
                        static_cast<ptrdiff_t>(column) * k;
        for (int i = 0; i < k; i += X::group) {
            typename X::Wide w[N];
            MV2_UNROLL
            for (int v = 0; v < N; v++) w[v] = X::weights(b + v * X::lanes * X::group);
            MV2_UNROLL
            for (int r = 0; r < R; r++) {
                const auto x = X::broadcast(a + r * stride + i);
                MV2_UNROLL
                for (int v = 0; v < N; v++) c[r][v] = X::dot(c[r][v], x, w[v]);
            }
            b += N * X::lanes * X::group;
        }
    }
    MV2_UNROLL
    for (int r = 0; r < R; r++) {
        MV2_UNROLL
        for (int v = 0; v < N; v++) finish(row + r, column + v * X::lanes, c[r][v]);
    }
}

// All rows of a panel of N registers: full blocks, then the rest.
template <class X, int N, class Finish>
inline void panel(const Operand<X>* operands, int count, ptrdiff_t stride, int rows, int k,
                  const float* bias, int column, Finish&& finish) {
    int row = 0;
    for (; row + X::rows <= rows; row += X::rows)
        block<X, X::rows, N>(operands, count, stride, k, bias, row, column, finish);
    for (; row + 4 <= rows; row += 4)
        block<X, 4, N>(operands, count, stride, k, bias, row, column, finish);
    for (; row < rows; row++) block<X, 1, N>(operands, count, stride, k, bias, row, column, finish);
}

// The sum of `count` products of [rows, k] (rows `stride` elements apart) with columns begin to end
// of packed matrices [k, n]; begin is a multiple of a panel's width.
template <class X, class Finish>
inline void products(const Operand<X>* operands, int count, ptrdiff_t stride, int rows,
                     const Matrix& matrix, Rows columns, const float* bias, Finish&& finish) {
    if constexpr (X::form == Form::tiles) {
        tile_products<X>(operands, count, stride, rows, matrix, columns, bias, finish);
    } else if constexpr (X::form == Form::quantized) {
        quantized_products<X>(operands, count, stride, rows, matrix, columns, bias, finish);
    } else {
        constexpr int width = X::vectors * X::lanes;
        int column = columns.begin;
        for (; column + width <= columns.end; column += width)
            panel<X, X::vectors>(operands, count, stride, rows, matrix.k, bias, column, finish);
        if constexpr (width > X::channel_multiple) {
            if (column < columns.end)
                panel<X, 1>(operands, count, stride, rows, matrix.k, bias, column, finish);
        }
    }
}

template <class X, class Finish>
inline void product(const typename X::Element* a, ptrdiff_t stride, int rows, const Matrix& matrix,
                    const float* bias, Finish&& finish) {
    const Operand<X> operand{a, matrix.weights, matrix.sums};
    products<X>(&operand, 1, stride, rows, matrix, {0, matrix.n}, bias, finish);
}

// Where (k, n) of a matrix [depth, columns] lies: panels of columns, in each panel k by groups. The
// last panel may be one register wide.
template <class X>
size_t place(int depth, int columns, int k, int n) {
    constexpr int width = X::vectors * X::lanes, group = X::group;
    const int start = n / width * width;
    const int wide = columns - start < width ? columns - start : width;
    return static_cast<size_t>(start) * depth + static_cast<size_t>(k / group) * wide * group +
           (n - start) * group + k % group;
}

// Multiplies in registers alone, as fast as the processor can. The sums start differently, so that
// no compiler finds the same one twelve times.
template <class X>
double spin(ptrdiff_t rounds) {
    constexpr int sums = 12;
    alignas(64) static const unsigned char zeros[64] = {};
    if constexpr (X::form == Form::tiles) {
        return X::spin(rounds);
    } else if constexpr (X::form == Form::quantized) {
        const auto a = X::four(zeros);
        typename X::Integers c[sums];
        MV2_UNROLL
        for (int i = 0; i < sums; i++) {
            const unsigned char start[4] = {static_cast<unsigned char>(i)};
            c[i] = X::dot4(X::no_integers(), X::four(start), X::four(start));
        }
        for (ptrdiff_t round = 0; round < rounds; round++) {
            MV2_UNROLL
            for (int i = 0; i < sums; i++) c[i] = X::dot4(c[i], a, a);
        }
        volatile float sink = 0;
        for (int i = 0; i < sums; i++) sink = sink + X::sum(X::to_floats(c[i]));
        return static_cast<double>(sums) * X::lanes * 4 * rounds;
    } else {
        const auto a = X::weights(reinterpret_cast<const typename X::Element*>(zeros));
        typename X::V c[sums];
        MV2_UNROLL
        for (int i = 0; i < sums; i++) c[i] = X::set(static_cast<float>(i));
        for (ptrdiff_t round = 0; round < rounds; round++) {
            MV2_UNROLL
            for (int i = 0; i < sums; i++) c[i] = X::dot(c[i], a, a);
        }
        volatile float sink = 0;
        for (int i = 0; i < sums; i++) sink = sink + X::sum(c[i]);
        return static_cast<double>(sums) * X::lanes * X::group * rounds;
    }
}

}  // namespace mv2
