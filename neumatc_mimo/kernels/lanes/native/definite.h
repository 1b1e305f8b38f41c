// The source of zero forcing and MMSE: a scaled Gram matrix, its Cholesky factor, and what belongs
// to the inverse.
//
// With the rows' powers p_k = [A A^H + σ² I]_kk and D = diag(p_k)^-1/2 the matrix
// C = D (A A^H + σ² I) D has a diagonal of ones, whatever the users' gains: no number of it leaves
// the range of single precision, and its condition number is near the smallest that any scaling
// gives (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Section 10.1). The filter
// is W = A^H D C^-1 D; it is never written down, as A^H times two triangular solves does the same.
#pragma once

#include "vectors.h"

namespace {

// Powers within which products of single precision keep their digits.
template <class R> struct Range;
template <> struct Range<float> { static constexpr float least = 1e-35f, most = 1e37f; };
template <> struct Range<double> { static constexpr double least = 1e-300, most = 1e300; };

template <class R>
constexpr R NO_NUMBER = R(__builtin_nan(""));

// A channel of one block of lanes, and what is made of it. `K` is the number of rows where a
// template knows it, else zero.
template <class R, int K>
struct Definite {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;

    // The channel, [columns][rows].
    const C* h;
    // [rows][rows]: below the diagonal the factor, above it C itself; the reciprocals of the
    // factor's diagonal on it.
    C* factor;
    // Scratch, [rows][rows].
    C* inverse;
    // [rows]: 1/sqrt(p), σ²/p, the share of the power that is the channel's, and of the inverse
    // of C the diagonal.
    V *scale, *lost, *own, *diagonal;
    int num_rows, columns;

    INLINE int rows() const { return K ? K : num_rows; }

    // `I` rows against `J` others of the Gram matrix.
    template <int I, int J>
    INLINE void gram_tile(int row, int other) const {
        const int m = rows();
        C sum[I][J];
#pragma GCC unroll 8
        for (int i = 0; i < I; i++)
#pragma GCC unroll 8
            for (int j = 0; j < J; j++) sum[i][j] = C{};
        for (int column = 0; column < columns; column++) {
            const C* a = h + column * m;
            C right[J];
#pragma GCC unroll 8
            for (int j = 0; j < J; j++) right[j] = a[other + j];
#pragma GCC unroll 8
            for (int i = 0; i < I; i++) {
                const C left = a[row + i];
#pragma GCC unroll 8
                for (int j = 0; j < J; j++) add_conjugate(sum[i][j], right[j], left);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < I; i++)
#pragma GCC unroll 8
            for (int j = 0; j < J; j++) factor[(row + i) * m + other + j] = sum[i][j];
    }

    template <int I>
    INLINE void gram_rows(int row) const {
        int other = 0;
        for (; other + 2 <= row + I; other += 2) gram_tile<I, 2>(row, other);
        for (; other < row + I; other++) gram_tile<I, 1>(row, other);
    }

    // The lower triangle of A A^H.
    INLINE void gram() const {
        constexpr int TILE = MANY_REGISTERS ? 4 : 2;
        const int m = rows();
        int row = 0;
        for (; row + TILE <= m; row += TILE) gram_rows<TILE>(row);
        for (; row < m; row++) gram_rows<1>(row);
    }

    // C from the Gram matrix: lower triangle for the factor, the upper one to stay. `nothing`
    // becomes NaN where a power is out of range.
    INLINE void normalise(V noise, V& nothing) const {
        const int m = rows();
        for (int k = 0; k < m; k++) {
            const V channel = factor[k * m + k].re, power = channel + noise;
            nothing = power > all<R>(Range<R>::least) ? nothing : all<R>(NO_NUMBER<R>);
            nothing = power < all<R>(Range<R>::most) ? nothing : all<R>(NO_NUMBER<R>);
            scale[k] = all<R>(1) / root<R>(power);
            lost[k] = noise / power;
            own[k] = channel / power;
        }
        for (int i = 0; i < m; i++) {
            factor[i * m + i] = {all<R>(1), V{}};
            for (int j = 0; j < i; j++) {
                const V both = scale[i] * scale[j];
                const C& g = factor[i * m + j];
                const C value = {g.re * both, g.im * both};
                factor[i * m + j] = value;
                factor[j * m + i] = {value.re, -value.im};
            }
        }
    }

    // C = L L^H; NaN from the first pivot that is not positive on.
    INLINE void cholesky() const {
        const int m = rows();
        for (int j = 0; j < m; j++) {
            V pivot = factor[j * m + j].re;
            for (int k = 0; k < j; k++) {
                const C& l = factor[j * m + k];
                pivot -= l.re * l.re;
                pivot -= l.im * l.im;
            }
            const V over = all<R>(1) / root<R>(pivot);
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
    INLINE void invert_factor() const {
        const int m = rows();
        for (int j = 0; j < m; j++) {
            V power = factor[j * m + j].re * factor[j * m + j].re;
            inverse[j * m + j] = {factor[j * m + j].re, V{}};
            for (int i = j + 1; i < m; i++) {
                C sum{};
                for (int k = j; k < i; k++) take(sum, factor[i * m + k], inverse[k * m + j]);
                sum = {sum.re * factor[i * m + i].re, sum.im * factor[i * m + i].re};
                inverse[i * m + j] = sum;
                power += sum.re * sum.re;
                power += sum.im * sum.im;
            }
            diagonal[j] = power;
        }
    }

    // Above the diagonal of `inverse`, which it leaves free: C^-1.
    INLINE void multiply_out() const {
        const int m = rows();
        for (int j = 0; j < m; j++)
            for (int k = j + 1; k < m; k++) {
                C sum{};
                for (int i = k; i < m; i++)
                    add_conjugate(sum, inverse[i * m + j], inverse[i * m + k]);
                inverse[j * m + k] = sum;
            }
    }

    // All of it; by how much rounding is amplified is max_k [C^-1]_kk, NaN where there is no C^-1.
    INLINE V prepare(V noise) const {
        const int m = rows();
        V nothing{}, most{};
        gram();
        normalise(noise, nothing);
        cholesky();
        invert_factor();
        for (int k = 0; k < m; k++) {
            most = diagonal[k] > most ? diagonal[k] : most;
            // Zero, and NaN where this is infinite or NaN.
            nothing += diagonal[k] - diagonal[k];
        }
        return most + nothing;
    }

    // The shares of symbols that the filter keeps, g_k = (A W)_kk = 1 - σ² X_kk. For users below
    // the noise that difference cancels, and g_k is taken from the products; so it needs C^-1.
    INLINE V gain(int k) const {
        const int m = rows();
        const V loss = lost[k] * diagonal[k];
        V sum = own[k] * diagonal[k];
        for (int j = 0; j < m; j++) {
            if (j == k) continue;
            // Re C_kj [C^-1]_jk, both from above the diagonal: their phases are opposite.
            const C& c = factor[j < k ? j * m + k : k * m + j];
            const C& x = inverse[j < k ? j * m + k : k * m + j];
            sum += c.re * x.re;
            sum += c.im * x.im;
        }
        sum = sum > V{} ? sum : V{};
        return loss > all<R>(R(0.5)) ? sum : all<R>(1) - loss;
    }

    // Whether a user of any lane lies below the noise: only then C^-1 is needed for the gains.
    INLINE bool any_below() const {
        const int m = rows();
        for (int k = 0; k < m; k++) {
            const V loss = lost[k] * diagonal[k];
            for (int lane = 0; lane < L::N; lane++)
                if (!(loss[lane] <= R(0.5))) return true;
        }
        return false;
    }

    // Σ_{j≠k} σ²/p_j |[C^-1]_jk|².
    INLINE V leaked(int k) const {
        const int m = rows();
        V sum{};
        for (int j = 0; j < m; j++) {
            if (j == k) continue;
            const C& x = inverse[j < k ? j * m + k : k * m + j];
            sum += lost[j] * (x.re * x.re + x.im * x.im);
        }
        return sum;
    }

    // `T` symbols of z [rows][step], from `at` on, solved for C z = before z, then times `after`.
    // `CONJUGATE`: for the conjugate of C.
    template <bool CONJUGATE, int T>
    INLINE void solve_symbols(C* z, int step, const V* before, const V* after) const {
        const int m = rows();
        for (int i = 0; i < m; i++) {
            C sum[T];
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                const C& x = z[i * step + t];
                sum[t] = {x.re * before[i], x.im * before[i]};
            }
            for (int j = 0; j < i; j++) {
                const C l = factor[i * m + j];
#pragma GCC unroll 8
                for (int t = 0; t < T; t++) {
                    if (CONJUGATE) take_conjugate(sum[t], l, z[j * step + t]);
                    else take(sum[t], l, z[j * step + t]);
                }
            }
            const V over = factor[i * m + i].re;
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
            const V over = factor[i * m + i].re;
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) z[i * step + t] = {sum[t].re * over, sum[t].im * over};
        }
        for (int i = 0; i < m; i++) {
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                C& x = z[i * step + t];
                x = {x.re * after[i], x.im * after[i]};
            }
        }
    }

    template <bool CONJUGATE>
    INLINE void solve(C* z, int symbols, int step, const V* before, const V* after) const {
        constexpr int T = MANY_REGISTERS ? 7 : 3;
        int t = 0;
        for (; t + T <= symbols; t += T)
            solve_symbols<CONJUGATE, T>(z + t, step, before, after);
        for (; t < symbols; t++) solve_symbols<CONJUGATE, 1>(z + t, step, before, after);
    }
};

}  // namespace
