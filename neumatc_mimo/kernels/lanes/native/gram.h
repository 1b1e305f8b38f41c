// Gram matrices of channels, and matrices times symbols: products in tiles that stay in registers.
#pragma once

#include "vectors.h"

namespace {

// Tiles of a product that all registers hold.
constexpr int TILE = MANY_REGISTERS ? 4 : 2;

// `I` rows against `J` others of A B^H, for A [columns][rows] and B [columns][others].
template <class R, int I, int J>
INLINE void gram_tile(const typename Lanes<R>::C* left, int rows, const typename Lanes<R>::C* right,
                      int others, int columns, int row, int other, typename Lanes<R>::C* out) {
    using C = typename Lanes<R>::C;
    C sum[I][J];
#pragma GCC unroll 8
    for (int i = 0; i < I; i++)
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) sum[i][j] = C{};
    for (int column = 0; column < columns; column++) {
        C b[J];
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) b[j] = right[column * others + other + j];
#pragma GCC unroll 8
        for (int i = 0; i < I; i++) {
            const C a = left[column * rows + row + i];
#pragma GCC unroll 8
            for (int j = 0; j < J; j++) add_conjugate(sum[i][j], b[j], a);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < I; i++)
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) out[(row + i) * others + other + j] = sum[i][j];
}

template <class R, int I>
INLINE void gram_rows(const typename Lanes<R>::C* h, int rows, int columns, int row,
                      typename Lanes<R>::C* out) {
    int other = 0;
    for (; other + 2 <= row + I; other += 2)
        gram_tile<R, I, 2>(h, rows, h, rows, columns, row, other, out);
    for (; other < row + I; other++)
        gram_tile<R, I, 1>(h, rows, h, rows, columns, row, other, out);
}

// The lower triangle of A A^H, [rows][rows].
template <class R>
INLINE void gram(const typename Lanes<R>::C* h, int rows, int columns, typename Lanes<R>::C* out) {
    int row = 0;
    for (; row + TILE <= rows; row += TILE) gram_rows<R, TILE>(h, rows, columns, row, out);
    for (; row < rows; row++) gram_rows<R, 1>(h, rows, columns, row, out);
}

template <class R, int I>
INLINE void cross_rows(const typename Lanes<R>::C* left, int rows,
                       const typename Lanes<R>::C* right, int others, int columns, int row,
                       typename Lanes<R>::C* out) {
    int other = 0;
    for (; other + 2 <= others; other += 2)
        gram_tile<R, I, 2>(left, rows, right, others, columns, row, other, out);
    if (other < others) gram_tile<R, I, 1>(left, rows, right, others, columns, row, other, out);
}

// A B^H, [rows][others].
template <class R>
INLINE void cross(const typename Lanes<R>::C* left, int rows, const typename Lanes<R>::C* right,
                  int others, int columns, typename Lanes<R>::C* out) {
    int row = 0;
    for (; row + TILE <= rows; row += TILE)
        cross_rows<R, TILE>(left, rows, right, others, columns, row, out);
    for (; row < rows; row++) cross_rows<R, 1>(left, rows, right, others, columns, row, out);
}

// The lower triangle of a Hermitian matrix [rows][rows] to the upper one.
template <class C>
INLINE void mirror(int rows, C* a) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < i; j++) a[j * rows + i] = {a[i * rows + j].re, -a[i * rows + j].im};
}

// `I` rows and `S` columns of A V, for A [columns][rows] and V [columns][streams].
template <class R, int I, int S>
INLINE void product_tile(const typename Lanes<R>::C* h, int rows, int columns,
                         const typename Lanes<R>::C* v, int streams, int row, int stream,
                         typename Lanes<R>::C* out) {
    using C = typename Lanes<R>::C;
    C sum[I][S];
#pragma GCC unroll 8
    for (int i = 0; i < I; i++)
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) sum[i][s] = C{};
    for (int c = 0; c < columns; c++) {
        C right[S];
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) right[s] = v[c * streams + stream + s];
#pragma GCC unroll 8
        for (int i = 0; i < I; i++) {
            const C a = h[c * rows + row + i];
#pragma GCC unroll 8
            for (int s = 0; s < S; s++) add(sum[i][s], a, right[s]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < I; i++)
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) out[(row + i) * streams + stream + s] = sum[i][s];
}

// A V, [rows][streams].
template <class R>
INLINE void multiply(const typename Lanes<R>::C* h, int rows, int columns,
                     const typename Lanes<R>::C* v, int streams, typename Lanes<R>::C* out) {
    int row = 0;
    for (; row + TILE <= rows; row += TILE) {
        int s = 0;
        for (; s + 2 <= streams; s += 2)
            product_tile<R, TILE, 2>(h, rows, columns, v, streams, row, s, out);
        if (s < streams) product_tile<R, TILE, 1>(h, rows, columns, v, streams, row, s, out);
    }
    for (; row < rows; row++)
        for (int s = 0; s < streams; s++)
            product_tile<R, 1, 1>(h, rows, columns, v, streams, row, s, out);
}

// A^H Z for Z [rows][streams], [columns][streams].
template <class R>
INLINE void multiply_adjoint(const typename Lanes<R>::C* h, int rows, int columns,
                             const typename Lanes<R>::C* z, int streams,
                             typename Lanes<R>::C* out) {
    using C = typename Lanes<R>::C;
    for (int c = 0; c < columns; c++) {
        int s = 0;
        for (; s + 4 <= streams; s += 4) {
            C sum[4] = {};
            for (int k = 0; k < rows; k++)
#pragma GCC unroll 8
                for (int i = 0; i < 4; i++)
                    add_conjugate(sum[i], h[c * rows + k], z[k * streams + s + i]);
#pragma GCC unroll 8
            for (int i = 0; i < 4; i++) out[c * streams + s + i] = sum[i];
        }
        for (; s < streams; s++) {
            C sum{};
            for (int k = 0; k < rows; k++)
                add_conjugate(sum, h[c * rows + k], z[k * streams + s]);
            out[c * streams + s] = sum;
        }
    }
}

// A W of a source, which it applies to streams of ones, [rows][rows].
template <class R, class Source>
INLINE void effective_of(const Source& source, const typename Lanes<R>::C* h, int rows, int columns,
                         typename Lanes<R>::C* sent, typename Lanes<R>::C* v,
                         typename Lanes<R>::C* made) {
    for (int k = 0; k < rows; k++)
        for (int s = 0; s < rows; s++) sent[k * rows + s] = {all<R>(k == s ? 1 : 0), typename Lanes<R>::V{}};
    source.precode(sent, rows, rows);
    multiply_adjoint<R>(h, rows, columns, sent, rows, v);
    multiply<R>(h, rows, columns, v, rows, made);
}

// `T` symbols of z [rows][step], from `t` on: Y z in its place, for Y [rows][columns]; `MOST` rows
// at most.
template <int MOST, int T, class C>
INLINE void mix_symbols(const C* y, int rows, int columns, C* z, int step, int t) {
    C sum[MOST][T];
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int s = 0; s < T; s++) sum[i][s] = C{};
        for (int j = 0; j < columns; j++) {
            const C a = y[i * columns + j];
#pragma GCC unroll 8
            for (int s = 0; s < T; s++) add(sum[i][s], a, z[j * step + t + s]);
        }
    }
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int s = 0; s < T; s++) z[i * step + t + s] = sum[i][s];
}

template <int MOST, class C>
INLINE void mix(const C* y, int rows, int columns, C* z, int symbols, int step) {
    constexpr int T = MANY_REGISTERS ? 7 : 3;
    int t = 0;
    for (; t + T <= symbols; t += T) mix_symbols<MOST, T>(y, rows, columns, z, step, t);
    for (; t < symbols; t++) mix_symbols<MOST, 1>(y, rows, columns, z, step, t);
}

}  // namespace
