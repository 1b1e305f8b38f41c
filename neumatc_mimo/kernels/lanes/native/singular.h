// The source of the strongest singular vectors: eigenvectors of the Gram matrix by Jacobi rotations.
//
// With A A^H U = U S² the right vectors are V = A^H U S^-1; the norms of A^H U are more accurate
// than roots of eigenvalues. Pairs are turned so that c^H V is real and positive for a chirp c.
#pragma once

#include "call.h"
#include "gram.h"
#include "jacobi.h"

namespace {

template <class R, int K>
struct Singular {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;

    static constexpr Filters FILTERS = Filters::CHANNEL;
    static constexpr bool EVALUATES = false;
    // Of the trace, what the power of weaker eigenvectors counts as: beside a stronger one their
    // digits are fewer by the root of that ratio, and single precision keeps none of them.
    static constexpr R FLOOR = sizeof(R) == 4 ? R(1e-5) : R(1e-12);
    static int64_t kept_size(const Call& call) { return (call.rows + 1) * call.streams; }
    static int64_t scratch_size(const Call& call) { return 3 * int64_t(call.rows) * call.rows + call.rows; }

    const Call& call;
    const int num_rows, columns, streams;
    // The channel, in whose place A^T conj(U) comes: [columns][rows], of which `streams` are used.
    C* h;
    // [streams][rows] conj(U), which a combiner applies; [streams] factors of what is sent.
    C *vectors, *factors;
    // Scratch: eigenvectors of A A^H, those of the block before to begin with; A A^H, which becomes
    // diagonal; and what is between, [rows][rows] each; [rows].
    C *eigenvectors, *gram_matrix, *between;
    V *rank, *size;

    INLINE Singular(const Call& call, C* channel, C* kept, C* scratch)
        : call(call), num_rows(call.rows), columns(call.columns), streams(int(call.streams)),
          h(channel), vectors(kept), factors(kept + call.rows * call.streams), eigenvectors(scratch) {
        gram_matrix = eigenvectors + rows() * rows();
        between = gram_matrix + rows() * rows();
        rank = reinterpret_cast<V*>(between + rows() * rows());
        size = rank + rows();
    }

    INLINE int rows() const { return K ? K : num_rows; }
    INLINE int inner_rows() const { return streams; }

    // A chunk begins: its bits depend on no other.
    INLINE void begin() const { identity<R>(rows(), eigenvectors); }

    // Eigenvectors of the Gram matrix; NaN where it has none in this range of numbers. Those of the
    // block before, of subcarriers not far away, are half of the way.
    INLINE V decompose() const {
        const int m = rows();
        gram<R>(h, m, columns, gram_matrix);
        V trace{};
        for (int k = 0; k < m; k++) trace += gram_matrix[k * m + k].re;
        const V nothing = unless_in_range<R>(trace);
        const V over = all<R>(1) / trace;
        for (int i = 0; i < m; i++)
            for (int j = 0; j <= i; j++) {
                C& a = gram_matrix[i * m + j];
                a = {a.re * over, a.im * over};
            }
        turn_basis<R>(m, gram_matrix, eigenvectors, between);
        return diagonalise<R>(m, gram_matrix, eigenvectors, FLOOR) ? nothing : all<R>(NO_NUMBER<R>);
    }

    // conj(U) of the strongest ones, in descending order.
    INLINE void choose() const {
        strongest<R>(rows(), gram_matrix, eigenvectors, streams, vectors, nullptr, rank);
        for (int i = 0; i < streams * rows(); i++) vectors[i].im = -vectors[i].im;
    }

    // `S` columns of A^T conj(U), in the place of the channel's where no other needs it any more.
    template <int S>
    INLINE void project_some(int column, int first, C (&sums)[4]) const {
        const int m = rows();
#pragma GCC unroll 8
        for (int s = 0; s < S; s++) sums[s] = C{};
        for (int k = 0; k < m; k++) {
            const C a = h[column * m + k];
#pragma GCC unroll 8
            for (int s = 0; s < S; s++) add(sums[s], a, vectors[(first + s) * m + k]);
        }
    }

    // A^T conj(U), the conjugate of V S, in the channel's place; singular values, and factors whose
    // product with the conjugate of it is V. Returns by how much rounding is amplified.
    INLINE V project() const {
        const int m = rows();
        const R* chirp = static_cast<const R*>(call.chirp);
        for (int s = 0; s < streams; s++) size[s] = V{}, factors[s] = C{};
        for (int column = 0; column < columns; column++) {
            // A whole number of tiles.
            C made[K ? (K + 3) & ~3 : MOST_ROWS];
            int s = 0;
            for (; s + 4 <= streams; s += 4) {
                C sums[4];
                project_some<4>(column, s, sums);
#pragma GCC unroll 8
                for (int i = 0; i < 4; i++) made[s + i] = sums[i];
            }
            for (; s < streams; s++) {
                C sums[4];
                project_some<1>(column, s, sums);
                made[s] = sums[0];
            }
            const R re = chirp[2 * column], im = chirp[2 * column + 1];
            for (s = 0; s < streams; s++) {
                h[column * m + s] = made[s];
                size[s] += power(made[s]);
                // The chirp as given is conjugated, and so is the vector.
                factors[s].re += made[s].re * re + made[s].im * im;
                factors[s].im += made[s].re * im - made[s].im * re;
            }
        }
        V strongest{}, weakest = all<R>(Range<R>::most), nothing{};
        for (int s = 0; s < streams; s++) {
            strongest = largest(strongest, size[s]);
            weakest = size[s] < weakest ? size[s] : weakest;
            nothing += size[s] - size[s];
            const V overlap = power(factors[s]);
            const V norm = root<R>(size[s]), over = all<R>(1) / (root<R>(overlap) * norm);
            const auto turned = overlap > V{};
            factors[s] = {turned ? factors[s].re * over : all<R>(1) / norm,
                          turned ? -factors[s].im * over : V{}};
        }
        // A A^H squares the ratio of singular values; at one of 200 the weakest leaks at -50 dB.
        return strongest / weakest * R(0.1) + nothing;
    }

    INLINE V precoder(V) const {
        const V nothing = decompose();
        choose();
        return project() + nothing;
    }
    INLINE void precode(C* z, int symbols, int step) const { turn(z, symbols, step, false); }

    // A V = U S, of the streams' phases, [rows][streams].
    INLINE void effective(C*, C*, C* made) const {
        const int m = rows();
        for (int s = 0; s < streams; s++) {
            // Factors have the norms of A^H u in their denominators.
            const V re = factors[s].re * size[s], im = factors[s].im * size[s];
            for (int k = 0; k < m; k++) {
                // conj(u) is kept.
                const C& u = vectors[s * m + k];
                made[k * streams + s] = {u.re * re + u.im * im, u.re * im - u.im * re};
            }
        }
    }

    // Singular vectors that receive, and the noise behind them: of the antennas, `noise` [rows], and
    // what leaks between streams.
    INLINE V combiner(const V* noise, V* no_eff) const {
        const int m = rows();
        const V nothing = decompose();
        choose();
        const V most = project() + nothing;
        for (int s = 0; s < streams; s++) {
            V behind{};
            for (int k = 0; k < m; k++) behind += power(vectors[s * m + k]) * noise[k];
            no_eff[s] = behind / size[s];
        }
        for (int s = 0; s < streams; s++)
            for (int j = 0; j < s; j++) {
                C sum{};
                for (int c = 0; c < columns; c++) add_conjugate(sum, h[c * m + s], h[c * m + j]);
                // |e_sj|² = |w_s^H w_j|² / (s_s s_j)², with w = A^H u: not by squares of squares.
                const V over = all<R>(1) / (root<R>(size[s]) * root<R>(size[j]));
                const V leaked = power(C{sum.re * over, sum.im * over});
                no_eff[s] += leaked;
                no_eff[j] += leaked;
            }
        // The phases of U are those of V, and S^-1 comes with them.
        return most;
    }
    INLINE void combine(C* z, int symbols, int step) const {
        mix<K ? K : MOST_ROWS>(vectors, streams, rows(), z, symbols, step);
        turn(z, symbols, step, true);
    }

    // Symbols times the streams' factors, or their conjugates.
    INLINE void turn(C* z, int symbols, int step, bool conjugate) const {
        for (int s = 0; s < streams; s++) {
            const V re = factors[s].re, im = conjugate ? -factors[s].im : factors[s].im;
            for (int t = 0; t < symbols; t++) {
                C& x = z[s * step + t];
                x = {x.re * re - x.im * im, x.re * im + x.im * re};
            }
        }
    }
};

}  // namespace
