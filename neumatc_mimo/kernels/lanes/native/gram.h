// Gram matrices of channels, and matrices times symbols: products in tiles that stay in registers.
#pragma once

#include "tile.h"

namespace {

// `I` rows against `J` others of A B^H, for A [columns][rows] and B [columns][others].
template <class R, int I, int J>
INLINE void gram_tile(const typename Lanes<R>::C* left, int rows, const typename Lanes<R>::C* right,
                      int others, int columns, int row, int other, typename Lanes<R>::C* out) {
    using M = Matrix<typename Lanes<R>::C>;
    store_tile<Conjugate::RIGHT, I, J>(M{left + row, 1, rows}, M{right + other, others, 1}, columns,
                                       out + row * others + other, others, 1);
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
INLINE void multiply_tile(const typename Lanes<R>::C* h, int rows, int columns,
                          const typename Lanes<R>::C* v, int streams, int row, int stream,
                          typename Lanes<R>::C* out) {
    using M = Matrix<typename Lanes<R>::C>;
    store_tile<Conjugate::NONE, I, S>(M{h + row, 1, rows}, M{v + stream, streams, 1}, columns,
                                  out + row * streams + stream, streams, 1);
}

// A V, [rows][streams].
template <class R>
INLINE void multiply(const typename Lanes<R>::C* h, int rows, int columns,
                     const typename Lanes<R>::C* v, int streams, typename Lanes<R>::C* out) {
    int row = 0;
    for (; row + TILE <= rows; row += TILE) {
        int s = 0;
        for (; s + 2 <= streams; s += 2)
            multiply_tile<R, TILE, 2>(h, rows, columns, v, streams, row, s, out);
        if (s < streams) multiply_tile<R, TILE, 1>(h, rows, columns, v, streams, row, s, out);
    }
    for (; row < rows; row++)
        for (int s = 0; s < streams; s++)
            multiply_tile<R, 1, 1>(h, rows, columns, v, streams, row, s, out);
}

// A^H Z for Z [rows][streams], [columns][streams].
template <class R>
INLINE void multiply_adjoint(const typename Lanes<R>::C* h, int rows, int columns,
                             const typename Lanes<R>::C* z, int streams,
                             typename Lanes<R>::C* out) {
    using M = Matrix<typename Lanes<R>::C>;
    for (int c = 0; c < columns; c++) {
        const M row{h + c * rows, rows, 1};
        typename Lanes<R>::C* to = out + c * streams;
        int s = 0;
        for (; s + 4 <= streams; s += 4)
            store_tile<Conjugate::LEFT, 1, 4>(row, M{z + s, streams, 1}, rows, to + s, streams, 1);
        for (; s < streams; s++)
            store_tile<Conjugate::LEFT, 1, 1>(row, M{z + s, streams, 1}, rows, to + s, streams, 1);
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
    C made[MOST][T];
    for (int i = 0; i < rows; i++)
        store_tile<Conjugate::NONE, 1, T>(Matrix<C>{y + i * columns, columns, 1},
                                          Matrix<C>{z + t, step, 1}, columns, made[i], T, 1);
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int s = 0; s < T; s++) z[i * step + t + s] = made[i][s];
}

template <int MOST, class C>
INLINE void mix(const C* y, int rows, int columns, C* z, int symbols, int step) {
    constexpr int T = MANY_REGISTERS ? 7 : 3;
    int t = 0;
    for (; t + T <= symbols; t += T) mix_symbols<MOST, T>(y, rows, columns, z, step, t);
    for (; t < symbols; t++) mix_symbols<MOST, 1>(y, rows, columns, z, step, t);
}

}  // namespace
