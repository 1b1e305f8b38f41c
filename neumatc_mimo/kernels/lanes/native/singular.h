// The source of the strongest singular vectors: eigenvectors of the Gram matrix by Jacobi rotations,
// all lanes at once (Golub and Van Loan, Matrix Computations, 4th ed., Section 8.5).
//
// With A A^H U = U S² the right vectors are V = A^H U S^-1; the norms of A^H U are more accurate
// than roots of eigenvalues. Pairs are turned so that c^H V is real and positive for a chirp c.
#pragma once

#include "definite.h"

namespace {

template <class R, int K>
struct Singular {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;

    static constexpr bool READS_CHANNEL = true, EVALUATES = false;
    static int64_t kept_size(const Call& call) { return (call.rows + 1) * call.streams; }
    static int64_t scratch_size(const Call& call) { return 2 * int64_t(call.rows) * call.rows + call.rows; }

    const Call& call;
    const int num_rows, columns, streams;
    // The channel, in whose place A^T conj(U) comes: [columns][rows], of which `streams` are used.
    C* h;
    // [streams][rows] conj(U), which a combiner applies; [streams] factors of what is sent.
    C *vectors, *factors;
    // Scratch: A A^H, which becomes diagonal, and its eigenvectors, [rows][rows]; [rows].
    C *gram_matrix, *eigenvectors;
    V *rank, *size;

    INLINE Singular(const Call& call, C* channel, C* kept, C* scratch)
        : call(call), num_rows(call.rows), columns(call.columns), streams(int(call.streams)),
          h(channel), vectors(kept), factors(kept + call.rows * call.streams), gram_matrix(scratch) {
        eigenvectors = gram_matrix + rows() * rows();
        rank = reinterpret_cast<V*>(eigenvectors + rows() * rows());
        size = rank + rows();
    }

    INLINE int rows() const { return K ? K : num_rows; }
    INLINE int inner_rows() const { return streams; }

    // A pair of columns, turned by c and s e.
    static INLINE void rotate(C& p, C& q, const V& c, const C& s) {
        const C a = p, b = q;
        // p' = c p - conj(s e) q, q' = s e p + c q
        p = {c * a.re - s.re * b.re - s.im * b.im, c * a.im - s.re * b.im + s.im * b.re};
        q = {s.re * a.re - s.im * a.im + c * b.re, s.re * a.im + s.im * a.re + c * b.im};
    }

    // One rotation that takes out the entry (p, q) of the Gram matrix; whether any lane needed it.
    INLINE bool annihilate(int p, int q) const {
        const int m = rows();
        C* a = gram_matrix;
        // The lower triangle is stored: a_pq is the conjugate of a_qp.
        const C off = {a[q * m + p].re, -a[q * m + p].im};
        const V first = a[p * m + p].re, second = a[q * m + q].re, off_power = power(off);
        constexpr R close = R(8) * (sizeof(R) == 4 ? R(1.2e-7) : R(2.3e-16));
        // Relative to both users' own powers: a weak one's vectors are as accurate as a strong one's.
        const V least = all<R>(Range<R>::least);
        const auto turns = off_power > largest(first * second * (close * close), least);
        if (!any(turns)) return false;
        const V apart = second - first;
        const V distance = apart < V{} ? -apart : apart;
        const V over = all<R>(1) / (distance + root<R>(apart * apart + all<R>(4) * off_power));
        // The tangent of the angle is t = 2 |a_pq| over, of the sign of `apart`.
        const V twice = apart < V{} ? over * R(-2) : over * R(2);
        const V tangent_power = twice * twice * off_power;
        V c = all<R>(1) / root<R>(all<R>(1) + tangent_power);
        C s = {off.re * twice * c, off.im * twice * c};
        V moved = twice * off_power;
        // Lanes that are done stay as they are.
        c = turns ? c : all<R>(1);
        s = {turns ? s.re : V{}, turns ? s.im : V{}};
        moved = turns ? moved : V{};
        a[p * m + p].re = first - moved;
        a[q * m + q].re = second + moved;
        a[q * m + p] = {turns ? V{} : off.re, turns ? V{} : -off.im};
        for (int k = q + 1; k < m; k++) rotate(a[k * m + p], a[k * m + q], c, s);
        for (int k = 0; k < p; k++) {
            // Rows p and q are the conjugates of columns.
            C left = {a[p * m + k].re, -a[p * m + k].im}, right = {a[q * m + k].re, -a[q * m + k].im};
            rotate(left, right, c, s);
            a[p * m + k] = {left.re, -left.im};
            a[q * m + k] = {right.re, -right.im};
        }
        for (int k = p + 1; k < q; k++) {
            C right = {a[q * m + k].re, -a[q * m + k].im};
            rotate(a[k * m + p], right, c, s);
            a[q * m + k] = {right.re, -right.im};
        }
        for (int k = 0; k < m; k++) rotate(eigenvectors[k * m + p], eigenvectors[k * m + q], c, s);
        return true;
    }

    // Eigenvectors of the Gram matrix; NaN where it has none in this range of numbers.
    INLINE V decompose() const {
        const int m = rows();
        gram<R>(h, m, columns, gram_matrix);
        V trace{};
        for (int k = 0; k < m; k++) trace += gram_matrix[k * m + k].re;
        const V nothing = unless_in_range<R>(trace);
        const V over = all<R>(1) / trace;
        for (int i = 0; i < m; i++)
            for (int j = 0; j < m; j++) {
                if (j <= i) {
                    C& a = gram_matrix[i * m + j];
                    a = {a.re * over, a.im * over};
                }
                eigenvectors[i * m + j] = {all<R>(i == j ? 1 : 0), V{}};
            }
        // It is quadratic: what has not converged by then never will.
        constexpr int MOST_SWEEPS = 12;
        for (int sweep = 0; sweep < MOST_SWEEPS; sweep++) {
            bool turned = false;
            for (int p = 0; p < m - 1; p++)
                for (int q = p + 1; q < m; q++) turned |= annihilate(p, q);
            if (!turned) return nothing;
        }
        return all<R>(NO_NUMBER<R>);
    }

    // conj(U) of the strongest ones, in descending order: lanes differ in which these are.
    INLINE void choose() const {
        const int m = rows();
        for (int i = 0; i < m; i++) {
            const V value = gram_matrix[i * m + i].re;
            V stronger{};
            for (int j = 0; j < m; j++) {
                const V other = gram_matrix[j * m + j].re;
                if (j < i) stronger += other >= value ? all<R>(1) : V{};
                if (j > i) stronger += other > value ? all<R>(1) : V{};
            }
            rank[i] = stronger;
        }
        for (int s = 0; s < streams; s++)
            for (int k = 0; k < m; k++) {
                C chosen{};
                for (int i = 0; i < m; i++) {
                    const auto here = rank[i] == all<R>(R(s));
                    const C& value = eigenvectors[k * m + i];
                    chosen.re = here ? value.re : chosen.re;
                    chosen.im = here ? -value.im : chosen.im;
                }
                vectors[s * m + k] = chosen;
            }
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
