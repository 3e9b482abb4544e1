// Products of int8: weights are quantized once, per column; a map's rows are quantized here, per
// pixel.
//
// A pixel's channels become bytes between its own least and greatest value, so nothing needs
// calibration and no pixel suffers from another's range. With bytes q, value = offset + q * step,
// and a product is step * sum(q * w) + offset * sum(w): one sum of integers, and one known in
// advance. The instruction set decides how many bits q has and whether it is signed.
#pragma once

#include "product.h"

namespace mv2 {

constexpr int quantized_rows = 16;     // kept as bytes while all columns pass by
constexpr int quantized_depth = 4096;  // most channels of a row

struct QuantizedRows {
    alignas(64) uint8_t bytes[quantized_rows * quantized_depth];
    float offset[quantized_rows], step[quantized_rows];
};

// R rows, N registers of columns of one operand, added to `sum`.
template <class X, int R, int N>
inline void quantized_block(const QuantizedRows& q, int row, int k, const Operand<X>& operand,
                            const Matrix& matrix, int column, typename X::V (&sum)[R][N]) {
    typename X::Integers c[R][N];
    MV2_UNROLL
    for (int r = 0; r < R; r++) {
        MV2_UNROLL
        for (int v = 0; v < N; v++) c[r][v] = X::no_integers();
    }
    const uint8_t* a = q.bytes + row * k;
    const auto* b = static_cast<const int8_t*>(operand.b) + static_cast<ptrdiff_t>(column) * k;
    for (int i = 0; i < k; i += 4) {
        typename X::Bytes w[N];
        MV2_UNROLL
        for (int v = 0; v < N; v++) w[v] = X::bytes(b + v * X::lanes * 4);
        MV2_UNROLL
        for (int r = 0; r < R; r++) {
            const auto x = X::four(a + r * k + i);
            MV2_UNROLL
            for (int v = 0; v < N; v++) c[r][v] = X::dot4(c[r][v], x, w[v]);
        }
        b += N * X::lanes * 4;
    }
    MV2_UNROLL
    for (int v = 0; v < N; v++) {
        const auto scale = X::load(matrix.scales + column + v * X::lanes);
        const auto sums = X::load(operand.sums + column + v * X::lanes);
        MV2_UNROLL
        for (int r = 0; r < R; r++) {
            sum[r][v] = X::fma(X::set(q.offset[row + r]), sums, sum[r][v]);
            sum[r][v] =
                X::fma(X::to_floats(c[r][v]), X::mul(X::set(q.step[row + r]), scale), sum[r][v]);
        }
    }
}

template <class X, int R, int N, class Finish>
inline void quantized_finish(const QuantizedRows& q, int first, int row, int k,
                             const Operand<X>& operand, const Matrix& matrix, int column,
                             const float* bias, Finish&& finish) {
    typename X::V sum[R][N];
    MV2_UNROLL
    for (int v = 0; v < N; v++) {
        const auto start = bias ? X::load(bias + column + v * X::lanes) : X::zero();
        MV2_UNROLL
        for (int r = 0; r < R; r++) sum[r][v] = start;
    }
    quantized_block<X, R, N>(q, row, k, operand, matrix, column, sum);
    MV2_UNROLL
    for (int r = 0; r < R; r++) {
        MV2_UNROLL
        for (int v = 0; v < N; v++) finish(first + row + r, column + v * X::lanes, sum[r][v]);
    }
}

template <class X, int N, class Finish>
inline void quantized_panel(const QuantizedRows& q, int first, int rows, int k,
                            const Operand<X>& operand, const Matrix& matrix, int column,
                            const float* bias, Finish&& finish) {
    int row = 0;
    for (; row + X::rows <= rows; row += X::rows)
        quantized_finish<X, X::rows, N>(q, first, row, k, operand, matrix, column, bias, finish);
    for (; row + 4 <= rows; row += 4)
        quantized_finish<X, 4, N>(q, first, row, k, operand, matrix, column, bias, finish);
    for (; row < rows; row++)
        quantized_finish<X, 1, N>(q, first, row, k, operand, matrix, column, bias, finish);
}

// Several operands: a row's bytes have a scale of their own in each, so the operands are summed in
// floats, four rows at a time.
template <class X, int N, class Finish>
inline void quantized_sum(const Operand<X>* operands, int count, ptrdiff_t stride, int rows,
                          const Matrix& matrix, int column, const float* bias, QuantizedRows& q,
                          Finish&& finish) {
    typename X::V sum[4][N];
    for (int first = 0; first < rows; first += 4) {
        const int here = rows - first < 4 ? rows - first : 4;
        for (int v = 0; v < N; v++)
            for (int r = 0; r < 4; r++)
                sum[r][v] = bias ? X::load(bias + column + v * X::lanes) : X::zero();
        for (int t = 0; t < count; t++) {
            for (int r = 0; r < 4; r++)
                X::quantize(operands[t].a + (first + (r < here ? r : 0)) * stride, matrix.k,
                            q.bytes + r * matrix.k, &q.offset[r], &q.step[r]);
            quantized_block<X, 4, N>(q, 0, matrix.k, operands[t], matrix, column, sum);
        }
        for (int r = 0; r < here; r++)
            for (int v = 0; v < N; v++) finish(first + r, column + v * X::lanes, sum[r][v]);
    }
}

template <class X, class Finish>
void quantized_products(const Operand<X>* operands, int count, ptrdiff_t stride, int rows,
                        const Matrix& matrix, Rows columns, const float* bias, Finish&& finish) {
    constexpr int width = X::vectors * X::lanes;
    QuantizedRows q;
    const int k = matrix.k;
    if (count > 1) {
        int column = columns.begin;
        for (; column + width <= columns.end; column += width)
            quantized_sum<X, X::vectors>(operands, count, stride, rows, matrix, column, bias, q,
                                         finish);
        if (column < columns.end)
            quantized_sum<X, 1>(operands, count, stride, rows, matrix, column, bias, q, finish);
        return;
    }
    for (int first = 0; first < rows; first += quantized_rows) {
        const int here = rows - first < quantized_rows ? rows - first : quantized_rows;
        for (int r = 0; r < here; r++)
            X::quantize(operands[0].a + (first + r) * stride, k, q.bytes + r * k, &q.offset[r],
                        &q.step[r]);
        int column = columns.begin;
        for (; column + width <= columns.end; column += width)
            quantized_panel<X, X::vectors>(q, first, here, k, operands[0], matrix, column, bias,
                                           finish);
        if (column < columns.end)
            quantized_panel<X, 1>(q, first, here, k, operands[0], matrix, column, bias, finish);
    }
}

}  // namespace mv2
