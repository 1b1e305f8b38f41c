// Inverses of Hermitian positive definite matrices [m][m], a subcarrier in each lane.
#pragma once

#include "range.h"
#include "vectors.h"

namespace {

// A number of rows or columns that are worked on at once: sums that do not wait for each other.
template <int T>
struct Together {
    static constexpr int N = T;
};
// Calls `work(number, first)` for all from one on to another.
template <class F>
INLINE void together(int first, int last, const F& work) {
    for (; first + 4 <= last; first += 4) work(Together<4>{}, first);
    if (first + 2 <= last) {
        work(Together<2>{}, first);
        first += 2;
    }
    if (first < last) work(Together<1>{}, first);
}

// `T` rows of a column of the factor, below its diagonal.
template <class R, int T>
INLINE void factor_rows(int m, typename Lanes<R>::C* factor, int column, int row) {
    using C = typename Lanes<R>::C;
    C sum[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) sum[t] = factor[(row + t) * m + column];
    for (int k = 0; k < column; k++) {
        const C left = factor[column * m + k];
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) take_conjugate(sum[t], left, factor[(row + t) * m + k]);
    }
    const auto over = factor[column * m + column].re;
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
        factor[(row + t) * m + column] = {sum[t].re * over, sum[t].im * over};
}

// C = L L^H in the lower triangle of C, with the reciprocals of L's diagonal on it; what lies above
// stays. Pivots are raised to the least one; NaN from the first that is not positive on.
template <class R>
INLINE void cholesky(int m, typename Lanes<R>::C* factor, R least = -Range<R>::most) {
    for (int j = 0; j < m; j++) {
        auto pivot = factor[j * m + j].re;
        typename Lanes<R>::V rest{};
        for (int k = 0; k < j; k++) {
            const auto& l = factor[j * m + k];
            pivot -= l.re * l.re;
            rest += l.im * l.im;
        }
        pivot -= rest;
        pivot = pivot < all<R>(least) ? all<R>(least) : pivot;
        factor[j * m + j].re = all<R>(1) / root<R>(pivot);
        together(j + 1, m, [&](auto number, int row) {
            factor_rows<R, decltype(number)::N>(m, factor, j, row);
        });
    }
}

// `T` columns of L^-1, and zeros between their diagonals; powers of these columns.
template <class R, int T>
INLINE void invert_columns(int m, const typename Lanes<R>::C* factor,
                           typename Lanes<R>::C* inverse, int column,
                           typename Lanes<R>::V* powers) {
    using V = typename Lanes<R>::V;
    using C = typename Lanes<R>::C;
    V squares[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) squares[t] = V{};
    for (int i = column; i < m; i++) {
        C sum[T];
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) sum[t] = {column + t == i ? all<R>(1) : V{}, V{}};
        for (int k = column; k < i; k++) {
            const C left = factor[i * m + k];
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) take(sum[t], left, inverse[k * m + column + t]);
        }
        const V over = factor[i * m + i].re;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            sum[t] = {sum[t].re * over, sum[t].im * over};
            inverse[i * m + column + t] = sum[t];
            squares[t] += power(sum[t]);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) powers[column + t] = squares[t];
}

// L^-1, lower, and the diagonal of C^-1 = L^-H L^-1.
template <class R>
INLINE void invert_factor(int m, const typename Lanes<R>::C* factor, typename Lanes<R>::C* inverse,
                          typename Lanes<R>::V* diagonal) {
    together(0, m, [&](auto number, int column) {
        invert_columns<R, decltype(number)::N>(m, factor, inverse, column, diagonal);
    });
}

// `T` rows of C^-1 right of a column, of rows of L^-1 from there on.
template <class R, int T>
INLINE void multiply_rows(int m, typename Lanes<R>::C* inverse, int row, int column) {
    typename Lanes<R>::C sum[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) sum[t] = typename Lanes<R>::C{};
    for (int i = column; i < m; i++) {
        const auto right = inverse[i * m + column];
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) add_conjugate(sum[t], inverse[i * m + row + t], right);
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) inverse[(row + t) * m + column] = sum[t];
}

// Above the diagonal of `inverse`, which invert_factor leaves free: C^-1.
template <class R>
INLINE void multiply_out(int m, typename Lanes<R>::C* inverse) {
    for (int column = 1; column < m; column++)
        together(0, column, [&](auto number, int row) {
            multiply_rows<R, decltype(number)::N>(m, inverse, row, column);
        });
}

// `T` right sides z [m][step] solved for C z by the factor that `cholesky` left, or for the conjugate
// of C.
template <class R, bool CONJUGATE, int T>
INLINE void solve_factors(int m, const typename Lanes<R>::C* factor, typename Lanes<R>::C* z,
                          int step) {
    using C = typename Lanes<R>::C;
    for (int i = 0; i < m; i++) {
        C sum[T];
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) sum[t] = z[i * step + t];
        for (int j = 0; j < i; j++) {
            const C l = factor[i * m + j];
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                if (CONJUGATE) take_conjugate(sum[t], l, z[j * step + t]);
                else take(sum[t], l, z[j * step + t]);
            }
        }
        const auto over = factor[i * m + i].re;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) z[i * step + t] = {sum[t].re * over, sum[t].im * over};
    }
    for (int i = m - 1; i >= 0; i--) {
        C sum[T];
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) sum[t] = z[i * step + t];
        for (int j = i + 1; j < m; j++) {
            const C l = factor[j * m + i];
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                if (CONJUGATE) take(sum[t], l, z[j * step + t]);
                else take_conjugate(sum[t], l, z[j * step + t]);
            }
        }
        const auto over = factor[i * m + i].re;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) z[i * step + t] = {sum[t].re * over, sum[t].im * over};
    }
}

// Symbols times factors of their rows.
template <class R, int T>
INLINE void scale_symbols(int m, const typename Lanes<R>::V* by, typename Lanes<R>::C* z, int step) {
    for (int i = 0; i < m; i++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            auto& x = z[i * step + t];
            x = {x.re * by[i], x.im * by[i]};
        }
}

template <class R, bool CONJUGATE, int T>
INLINE void solve_some(int m, const typename Lanes<R>::C* factor, const typename Lanes<R>::V* before,
                       const typename Lanes<R>::V* after, typename Lanes<R>::C* z, int step) {
    scale_symbols<R, T>(m, before, z, step);
    solve_factors<R, CONJUGATE, T>(m, factor, z, step);
    scale_symbols<R, T>(m, after, z, step);
}

// Symbols z [m][step] solved for C z = before z, then times `after`.
template <class R, bool CONJUGATE>
INLINE void solve_scaled(int m, const typename Lanes<R>::C* factor,
                         const typename Lanes<R>::V* before, const typename Lanes<R>::V* after,
                         typename Lanes<R>::C* z, int symbols, int step) {
    constexpr int T = MANY_REGISTERS ? 7 : 3;
    int t = 0;
    for (; t + T <= symbols; t += T)
        solve_some<R, CONJUGATE, T>(m, factor, before, after, z + t, step);
    for (; t < symbols; t++) solve_some<R, CONJUGATE, 1>(m, factor, before, after, z + t, step);
}

}  // namespace
