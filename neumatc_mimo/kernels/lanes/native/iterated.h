// What sources of precoders share that iterate on inverses (D^½ G D^½ + μ I)^-1, for the Gram matrix
// G of the channel in the unit that gives its rows a mean power of one. The precoder is A^H times the
// last one of them between two diagonal matrices: like zero forcing, two triangular solves.
#pragma once

#include "definite.h"

namespace {

template <class R, int K>
struct Iterated {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;
    // Below it a square is taken for zero.
    static constexpr R TINY = sizeof(R) == 4 ? R(1.17549435e-38) : R(2.2250738585072014e-308);
    // A change of so much is rounding.
    static constexpr R STILL = R(8) * (sizeof(R) == 4 ? R(1.1920929e-7) : R(2.220446049250313e-16));

    static constexpr Filters FILTERS = Filters::CHANNEL;
    static constexpr bool EVALUATES = false;
    static int64_t kept_size(const Call& call) { return int64_t(call.rows) * (call.rows + 1); }
    static int64_t scratch_size(const Call& call) {
        return 2 * int64_t(call.rows) * call.rows + 3 * call.rows + 1;
    }

    const Call& call;
    const int num_rows, columns;
    const C* h;
    // [rows][rows]: a system and its factor; [rows]: factors of the symbols before the solve and
    // after it.
    C* factor;
    V *before, *after;
    // [rows][rows]: the Gram matrix, lower triangle, and the system's inverse, see cholesky.h.
    C *gram_matrix, *inverse;
    // 1 over the mean power of the rows, the diagonal of the inverse [rows], and [4][rows] more.
    V *over_mean, *diagonal, *values;

    INLINE Iterated(const Call& call, C* channel, C* kept, C* scratch)
        : call(call), num_rows(call.rows), columns(call.columns), h(channel), factor(kept),
          gram_matrix(scratch) {
        const int64_t m = rows();
        before = reinterpret_cast<V*>(factor + m * m);
        after = before + m;
        inverse = gram_matrix + m * m;
        over_mean = reinterpret_cast<V*>(inverse + m * m);
        diagonal = over_mean + 2;
        values = diagonal + m;
    }

    INLINE int rows() const { return K ? K : num_rows; }
    INLINE void begin() const {}
    INLINE int inner_rows() const { return rows(); }

    INLINE void precode(C* z, int symbols, int step) const {
        solve_scaled<R, false>(rows(), factor, before, after, z, symbols, step);
    }

    // A W, [rows][rows], where `sent` [rows][streams] and `v` [columns][streams] are scratch.
    INLINE void effective(C* sent, C* v, C* made) const {
        effective_of<R>(*this, h, rows(), columns, sent, v, made);
    }

    // The entry (i, j) of the Gram matrix and of the inverse.
    INLINE C gram_at(int i, int j) const {
        const int m = rows();
        const C& g = gram_matrix[i >= j ? i * m + j : j * m + i];
        return {g.re, i >= j ? g.im : -g.im};
    }
    INLINE C inverse_at(int i, int j) const {
        const int m = rows();
        if (i == j) return {diagonal[i], V{}};
        const C& x = inverse[i < j ? i * m + j : j * m + i];
        return {x.re, i < j ? x.im : -x.im};
    }

    // The Gram matrix in its unit, and the noise power in it; NaN where there is no such unit.
    INLINE V start(V& noise) const {
        const int m = rows();
        gram<R>(h, m, columns, gram_matrix);
        V mean{};
        for (int k = 0; k < m; k++) mean += gram_matrix[k * m + k].re;
        mean *= R(1) / R(m);
        const V nothing = unless_in_range<R>(mean);
        const V over = all<R>(1) / mean;
        for (int i = 0; i < m; i++)
            for (int j = 0; j <= i; j++) {
                C& g = gram_matrix[i * m + j];
                g = {g.re * over, i == j ? V{} : g.im * over};
            }
        noise = noise * over;
        *over_mean = over;
        return nothing;
    }

    // What A^H is multiplied with is that of a channel in its unit: of the channel itself it is so
    // many times as large.
    INLINE V unit() const { return root<R>(*over_mean); }

    // (diag(d) G diag(d) + shift I)^-1, or (G + shift I)^-1 without d.
    INLINE void invert(const V* d, V shift) const {
        const int m = rows();
        for (int i = 0; i < m; i++)
            for (int j = 0; j <= i; j++) {
                const C& g = gram_matrix[i * m + j];
                const V both = d ? d[i] * d[j] : all<R>(1);
                factor[i * m + j] = {g.re * both, g.im * both};
                if (i == j) factor[i * m + j].re += shift;
            }
        cholesky<R>(m, factor);
        invert_factor<R>(m, factor, inverse, diagonal);
        multiply_out<R>(m, inverse);
    }

    // By how much the inverse of G + noise I amplifies rounding, and how much the terms of (G X)_kk
    // cancel.
    INLINE V amplification(V noise) const {
        const int m = rows();
        V most{}, nothing{};
        for (int k = 0; k < m; k++) {
            V grown = (gram_matrix[k * m + k].re + noise) * diagonal[k], sum{}, size{};
            for (int j = 0; j < m; j++) {
                const V term = inner(gram_at(j, k), inverse_at(j, k));
                sum += term;
                size += term > V{} ? term : -term;
            }
            // A user without a channel has no gain to lose.
            grown = largest(size > V{} ? size / largest(sum, V{}) : V{}, grown);
            most = largest(grown, most);
            nothing += grown - grown;
        }
        return most + nothing;
    }

    // (G diag(d) inverse)_kk
    INLINE V own_gain(const V* d, int k) const {
        V sum{};
        for (int j = 0; j < rows(); j++) {
            const C g = gram_at(j, k), x = inverse_at(j, k);
            // Re G_kj X_jk, G_kj the conjugate of G_jk.
            sum += d[j] * inner(g, x);
        }
        return sum;
    }
};

}  // namespace
