// The source of zero forcing and MMSE: a scaled Gram matrix, its Cholesky factor, and what belongs
// to the inverse.
//
// With the rows' powers p_k = [A A^H + σ² I]_kk and D = diag(p_k)^-1/2 the matrix
// C = D (A A^H + σ² I) D has a diagonal of ones, whatever the users' gains: no number of it leaves
// the range of single precision, and its condition number is near the smallest that any scaling
// gives (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Section 10.1). The filter
// is W = A^H D C^-1 D; it is never written down, as A^H times two triangular solves does the same.
#pragma once

#include "call.h"
#include "cholesky.h"
#include "gram.h"
#include "range.h"

namespace {

// Of the power that a column would have without the noise, the share below which it is measured.
constexpr double SHORT = 0.5;

// ‖A^H column‖², for A [columns][rows].
template <class R>
INLINE typename Lanes<R>::V power_through(const typename Lanes<R>::C* h, int rows, int columns,
                                          const typename Lanes<R>::C* column) {
    typename Lanes<R>::V whole{};
    for (int c = 0; c < columns; c++) {
        typename Lanes<R>::C sum{};
        for (int i = 0; i < rows; i++) add_conjugate(sum, h[c * rows + i], column[i]);
        whole += power(sum);
    }
    return whole;
}

// ‖size A^H diag(scale) C^-1 e_k‖² by the factor of C: what is left of users in one place, whom the noise
// alone tells apart, is rounding in products of the inverse. `MOST` rows at most.
template <class R, int MOST>
INLINE typename Lanes<R>::V column_power(const typename Lanes<R>::C* h, int rows, int columns,
                                         const typename Lanes<R>::C* factor,
                                         const typename Lanes<R>::V* scale, int k,
                                         typename Lanes<R>::V size) {
    using V = typename Lanes<R>::V;
    typename Lanes<R>::C column[MOST];
    // In its size before it meets the channel: squares of small numbers would vanish.
    for (int i = 0; i < rows; i++) column[i] = {i == k ? size : V{}, V{}};
    solve_factors<R, false, 1>(rows, factor, column, 1);
    scale_symbols<R, 1>(rows, scale, column, 1);
    return power_through<R>(h, rows, columns, column);
}

// A source works on the channel of one block of lanes, [columns][rows]. `K` is the number of rows
// where a template knows it, else zero. What it keeps for the symbols lies in `kept`; `scratch` is
// anyone's afterwards.
template <class R, int K>
struct Definite {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;

    static constexpr Filters FILTERS = Filters::CHANNEL;
    static constexpr bool EVALUATES = false;
    static int64_t kept_size(const Call& call) { return int64_t(call.rows) * (call.rows + 1); }
    static int64_t scratch_size(const Call& call) { return int64_t(call.rows) * (call.rows + 2); }

    const Call& call;
    const int num_rows, columns;
    const C* h;
    // [rows][rows]: below the diagonal the factor, above it C itself; the reciprocals of the
    // factor's diagonal on it.
    C* factor;
    // [rows]: factors of the symbols before the solve and after it.
    V *before, *after;
    // Scratch, [rows][rows].
    C* inverse;
    // [rows]: 1/sqrt(p), σ²/p, the share of the power that is the channel's, and of the inverse
    // of C the diagonal.
    V *scale, *lost, *own, *diagonal;

    INLINE Definite(const Call& call, C* channel, C* kept, C* scratch)
        : call(call), num_rows(call.rows), columns(call.columns), h(channel), factor(kept),
          inverse(scratch) {
        const int64_t m = rows();
        before = reinterpret_cast<V*>(factor + m * m);
        after = before + m;
        scale = reinterpret_cast<V*>(inverse + m * m);
        lost = scale + m;
        own = lost + m;
        diagonal = own + m;
    }

    INLINE int rows() const { return K ? K : num_rows; }
    INLINE void begin() const {}
    // Rows of what is sent that the last product runs over.
    INLINE int inner_rows() const { return rows(); }

    // Whether the noise is no part of the filter, and only what lies behind it.
    INLINE bool forces() const { return call.source == FORCING; }

    // C from the Gram matrix: lower triangle for the factor, the upper one to stay. `nothing`
    // becomes NaN where a power is out of range.
    INLINE void normalise(V noise, V& nothing) const {
        const int m = rows();
        for (int k = 0; k < m; k++) {
            const V channel = factor[k * m + k].re;
            const V power = forces() ? channel : channel + noise;
            nothing += unless_in_range<R>(power);
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

    // All of it; by how much rounding is amplified is max_k [C^-1]_kk, NaN where there is no C^-1.
    INLINE V prepare(V noise) const {
        const int m = rows();
        V nothing{}, most{};
        gram<R>(h, m, columns, factor);
        normalise(noise, nothing);
        cholesky<R>(m, factor);
        invert_factor<R>(m, factor, inverse, diagonal);
        for (int k = 0; k < m; k++) {
            most = diagonal[k] > most ? diagonal[k] : most;
            // Zero, and NaN where this is infinite or NaN.
            nothing += diagonal[k] - diagonal[k];
        }
        return most + nothing;
    }

    // The shares of symbols that the filter keeps, g_k = (A W)_kk = 1 - σ² X_kk. For users below
    // the noise that difference cancels, and g_k is taken from the products; so it needs C^-1.
    // These cancel, too, where other users bury one: `most` grows by as much.
    INLINE V gain(int k, V& most) const {
        const int m = rows();
        const V loss = lost[k] * diagonal[k];
        V sum = own[k] * diagonal[k], size = sum;
        for (int j = 0; j < m; j++) {
            if (j == k) continue;
            // Re C_kj [C^-1]_jk, both from above the diagonal: their phases are opposite.
            const V term = inner(factor[j < k ? j * m + k : k * m + j],
                                 inverse[j < k ? j * m + k : k * m + j]);
            sum += term;
            size += term > V{} ? term : -term;
        }
        sum = largest(sum, V{});
        const auto below = loss > all<R>(R(0.5));
        // What is NaN stays that.
        const V grown = largest(most, size / sum);
        most = (below & (size > V{}) & (most == most)) ? grown : most;
        return below ? sum : all<R>(1) - loss;
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
            sum += lost[j] * power(inverse[j < k ? j * m + k : k * m + j]);
        }
        return sum;
    }

    // ‖A^H D C^-1 e_k‖²: what is left of users in one place, whom the noise alone tells apart, is
    // rounding in the products above.
    INLINE V measured(int k) const {
        return column_power<R, K ? K : MOST_ROWS>(h, rows(), columns, factor, scale, k, all<R>(1));
    }

    // A filter with columns of unit norm; by how much rounding is amplified.
    INLINE V precoder(V noise) const {
        const int m = rows();
        V most = prepare(noise);
        if (call.noise) multiply_out<R>(m, inverse);
        for (int k = 0; k < m; k++) {
            // w_k^H w_k of A^H D C^-1, whose columns differ from W's in their norms alone.
            V norm = diagonal[k];
            if (call.noise) {
                const V whole = norm * gain(k, most);
                norm = whole - leaked(k);
                const auto is_short = norm < whole * R(SHORT);
                if (any(is_short)) norm = is_short ? measured(k) : norm;
            }
            // A column of zeros stays one, as in Sionna.
            before[k] = norm > V{} ? all<R>(1) / root<R>(norm) : all<R>(1);
            after[k] = scale[k];
        }
        return most;
    }
    INLINE void precode(C* z, int symbols, int step) const { solve<false>(z, symbols, step); }
    // A W, [rows][streams], where `sent` [rows][streams] and `v` [columns][streams] are scratch.
    INLINE void effective(C* sent, C* v, C* made) const {
        effective_of<R>(*this, h, rows(), columns, sent, v, made);
    }

    // A filter with gains of one, and the noise behind it, [rows]; likewise.
    INLINE V receiver(V noise, V* no_eff) const {
        const int m = rows();
        V most = prepare(noise);
        const bool below = !forces() && any_below();
        if (below) multiply_out<R>(m, inverse);
        for (int k = 0; k < m; k++) {
            const V loss = lost[k] * diagonal[k];
            const V kept = below ? gain(k, most) : forces() ? all<R>(1) : all<R>(1) - loss;
            before[k] = scale[k];
            // Of a stream that does not arrive nothing is known: zero, in infinite noise.
            after[k] = kept == V{} ? V{} : scale[k] / kept;
            no_eff[k] = loss / kept;
        }
        return most;
    }
    INLINE void prefilter(C*, int) const {}
    INLINE void receive(C* z, int symbols, int step) const { solve<true>(z, symbols, step); }

    // C^-1 D A c for a chirp c: the conjugate of c^H A^H D C^-1, by solves, which lose less than the
    // inverse.
    INLINE void solve_chirp(C* z) const {
        const int m = rows();
        const R* chirp = static_cast<const R*>(call.chirp);
        for (int k = 0; k < m; k++) {
            C sum{};
            for (int c = 0; c < columns; c++) {
                const C& a = h[c * m + k];
                const R re = chirp[2 * c], im = chirp[2 * c + 1];
                // The chirp as given is conjugated.
                sum.re += a.re * re + a.im * im;
                sum.im += a.im * re - a.re * im;
            }
            z[k] = {sum.re * scale[k], sum.im * scale[k]};
        }
        solve_factors<R, false, 1>(m, factor, z, 1);
    }

    // Symbols z [rows][step] solved for C z = before z, then times `after`. `CONJUGATE`: for the
    // conjugate of C.
    template <bool CONJUGATE>
    INLINE void solve(C* z, int symbols, int step) const {
        solve_scaled<R, CONJUGATE>(rows(), factor, before, after, z, symbols, step);
    }
};

}  // namespace
