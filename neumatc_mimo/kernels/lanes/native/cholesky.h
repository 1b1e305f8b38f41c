// Inverses of Hermitian positive definite matrices [m][m], a subcarrier in each lane.
#pragma once

#include "range.h"
#include "vectors.h"

namespace {

// C = L L^H in the lower triangle of C, with the reciprocals of L's diagonal on it; what lies above
// stays. Pivots are raised to the least one; NaN from the first that is not positive on.
template <class R>
INLINE void cholesky(int m, typename Lanes<R>::C* factor, R least = -Range<R>::most) {
    using C = typename Lanes<R>::C;
    for (int j = 0; j < m; j++) {
        auto pivot = factor[j * m + j].re;
        for (int k = 0; k < j; k++) {
            const C& l = factor[j * m + k];
            pivot -= l.re * l.re;
            pivot -= l.im * l.im;
        }
        pivot = pivot < all<R>(least) ? all<R>(least) : pivot;
        pivot = pivot < all<R>(least) ? all<R>(least) : pivot;
        const auto over = all<R>(1) / root<R>(pivot);
        factor[j * m + j].re = over;
        for (int i = j + 1; i < m; i++) {
            C sum = factor[i * m + j];
            for (int k = 0; k < j; k++)
                take_conjugate(sum, factor[j * m + k], factor[i * m + k]);
            factor[i * m + j] = {sum.re * over, sum.im * over};
        }
    }
}

// L^-1, lower, and the diagonal of C^-1 = L^-H L^-1.
template <class R>
INLINE void invert_factor(int m, const typename Lanes<R>::C* factor, typename Lanes<R>::C* inverse,
                          typename Lanes<R>::V* diagonal) {
    using L = Lanes<R>;
    for (int j = 0; j < m; j++) {
        const auto over = factor[j * m + j].re;
        auto sum_of_squares = over * over;
        inverse[j * m + j] = {over, typename L::V{}};
        for (int i = j + 1; i < m; i++) {
            typename L::C sum{};
            for (int k = j; k < i; k++) take(sum, factor[i * m + k], inverse[k * m + j]);
            sum = {sum.re * factor[i * m + i].re, sum.im * factor[i * m + i].re};
            inverse[i * m + j] = sum;
            sum_of_squares += sum.re * sum.re;
            sum_of_squares += sum.im * sum.im;
        }
        diagonal[j] = sum_of_squares;
    }
}

// Above the diagonal of `inverse`, which invert_factor leaves free: C^-1.
template <class R>
INLINE void multiply_out(int m, typename Lanes<R>::C* inverse) {
    for (int j = 0; j < m; j++)
        for (int k = j + 1; k < m; k++) {
            typename Lanes<R>::C sum{};
            for (int i = k; i < m; i++)
                add_conjugate(sum, inverse[i * m + j], inverse[i * m + k]);
            inverse[j * m + k] = sum;
        }
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
