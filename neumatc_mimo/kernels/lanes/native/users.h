// The source of precoders for users of several antennas: signal-to-leakage-and-noise ratios and,
// without noise, block diagonalisation (operations/slnr.py).
//
// A user's streams depend on what its rows span and on its own Gram matrix, so the rows may be
// turned: A' = T A, with T unitary and of one block [N][N] a user, has orthogonal rows for each. What
// is left to tell apart is users, not the antennas of one that hear nearly the same. With C, D and
// Y = C^-1 of A' as in definite.h, Λ = σ² D² and the columns k of a user, the matrix
//     X_kk^-1 - σ² I = D_k^-1 E D_k^-1,   E = Y_kk^-1 - Λ_k = (C - Λ)_kk + C_ko Y_ok Y_kk^-1
// for all other rows o has the eigenvalues s² and the eigenvectors u. It is graded as the rows are:
// Jacobi rotations lose none of its digits. The streams are v = A'^H D Y q with q = D_k u, over
//     λ² s² - Σ_o Λ_o |(Y q)_o|²,   λ = q^H Y_kk q,
// the square of its norm.
#pragma once

#include "definite.h"
#include "jacobi.h"

namespace {

// Antennas of a user at most.
constexpr int MOST_ANTENNAS = 16;

template <class R, int K>
struct Users : Definite<R, K> {
    using Base = Definite<R, K>;
    using typename Base::C;
    using typename Base::L;
    using typename Base::V;
    using Base::after, Base::before, Base::call, Base::columns, Base::diagonal, Base::factor, Base::h;
    using Base::inverse, Base::lost, Base::own, Base::rows, Base::scale;

    static int64_t kept_size(const Call& call) {
        return Base::kept_size(call) + 2 * call.antennas * call.rows;
    }
    static int64_t scratch_size(const Call& call) {
        return Base::scratch_size(call) + 4 * call.antennas * call.antennas + 4 * call.antennas + call.rows;
    }

    const int antennas;
    C* channel;
    // [rows][N] each: T, and what the symbols of a user are mixed with, q over the norms of v.
    C *turning, *mixing;
    // Scratch, [N][N]: a user's matrix, its eigenvectors, those in order, and an inverse.
    C *matrix, *vectors, *ordered, *small;
    // [N]: of that inverse the diagonal, D_k over its smallest entry, s² over its square, ranks.
    V *over, *grade, *value, *rank;
    // [rows]: to go by, and what belongs to a stream at all rows.
    C* chirped;

    INLINE Users(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), antennas(int(call.antennas)), channel(channel),
          turning(kept + Base::kept_size(call)), mixing(turning + antennas * call.rows),
          matrix(scratch + Base::scratch_size(call)) {
        const int64_t n = antennas;
        vectors = matrix + n * n;
        ordered = vectors + n * n;
        small = ordered + n * n;
        over = reinterpret_cast<V*>(small + n * n);
        grade = over + n;
        value = grade + n;
        rank = value + n;
        chirped = reinterpret_cast<C*>(rank + n);
    }

    // Numbers twice as wide as those of the channel, if there are any.
    typedef double Wide __attribute__((vector_size(L::N * sizeof(double))));
    static INLINE Wide widened(V a) { return __builtin_convertvector(a, Wide); }
    static INLINE V narrowed(Wide a) { return __builtin_convertvector(a, V); }

    // T of the user with the rows from `first` on, by rotations of its Gram matrix; NaN where there
    // are none.
    INLINE V find_turn(int first) const {
        const int m = rows(), n = antennas;
        V trace{};
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++) {
                C sum{};
                for (int c = 0; c < columns; c++)
                    add_conjugate(sum, h[c * m + first + j], h[c * m + first + i]);
                matrix[i * n + j] = sum;
                if (i == j) trace += sum.re;
            }
        const V nothing = unless_in_range<R>(trace), unit = all<R>(1) / trace;
        for (int i = 0; i < n * n; i++) matrix[i] = {matrix[i].re * unit, matrix[i].im * unit};
        identity<R>(n, vectors);
        const bool found = diagonalise<R>(n, matrix, vectors, 0);
        strongest<R>(n, matrix, vectors, n, turning + first * n, nullptr, rank);
        for (int i = first * n; i < (first + n) * n; i++) turning[i].im = -turning[i].im;
        return found ? nothing : all<R>(NO_NUMBER<R>);
    }

    // The channel's rows turned, in their place. What is left of a user's weak rows is a small
    // difference: it is taken in double precision, where T may be any matrix that is near enough to
    // a unitary one.
    INLINE void turn_rows(int first) const {
        const int m = rows(), n = antennas;
        for (int c = 0; c < columns; c++) {
            C* a = channel + c * m + first;
            C made[MOST_ANTENNAS];
            for (int i = 0; i < n; i++) {
                Wide re{}, im{};
                for (int j = 0; j < n; j++) {
                    const C& t = turning[(first + i) * n + j];
                    const Wide t_re = widened(t.re), t_im = widened(t.im);
                    const Wide a_re = widened(a[j].re), a_im = widened(a[j].im);
                    re += t_re * a_re - t_im * a_im;
                    im += t_re * a_im + t_im * a_re;
                }
                made[i] = {narrowed(re), narrowed(im)};
            }
            for (int i = 0; i < n; i++) a[i] = made[i];
        }
    }

    // Entries of C and of Y, whose upper triangles are kept.
    INLINE C entry(const C* upper, int i, int j) const {
        const int m = rows();
        const C& x = upper[i < j ? i * m + j : j * m + i];
        return {x.re, i < j ? x.im : -x.im};
    }
    INLINE C inverse_at(int i, int j) const {
        return i == j ? C{diagonal[i], V{}} : entry(inverse, i, j);
    }

    // Y_kk^-1 of a user: above the diagonal of `small`, and `over`.
    INLINE void invert_own(int first) const {
        const int n = antennas;
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++) matrix[i * n + j] = inverse_at(first + i, first + j);
        cholesky<R>(n, matrix);
        invert_factor<R>(n, matrix, small, over);
        multiply_out<R>(n, small);
    }
    INLINE C own_inverse_at(int i, int j) const {
        const int n = antennas;
        if (i == j) return {over[i], V{}};
        const C& x = small[i < j ? i * n + j : j * n + i];
        return {x.re, i < j ? x.im : -x.im};
    }

    // An entry E_ii. Of rows below the noise the difference cancels, and it is taken from the products;
    // these cancel, too, where other users bury one: `most` grows by as much.
    INLINE V own_entry(int first, int i, V& most) const {
        const int m = rows(), n = antennas, row = first + i;
        const V plain = over[i] - lost[row];
        const auto below = lost[row] * diagonal[row] > all<R>(R(0.5));
        if (!any(below)) return largest(plain, V{});
        V sum = own[row], size = sum;
        for (int j = 0; j < m; j++) {
            if (j >= first && j < first + n) continue;
            C through{};
            for (int l = 0; l < n; l++) add(through, inverse_at(j, first + l), own_inverse_at(l, i));
            // Re C_ij (Y_ok Y_kk^-1)_ji
            const V term = inner(entry(factor, j, row), through);
            sum += term;
            size += term > V{} ? term : -term;
        }
        sum = largest(sum, V{});
        const V grown = largest(most, size / sum);
        most = (below & (size > V{})) ? grown : most;
        return largest(below ? sum : plain, V{});
    }

    // Directions of a user's streams in `mixing`, as v = A'^H D Y q, and s² in `value`.
    INLINE V find_streams(int first, V& most) const {
        const int n = antennas;
        invert_own(first);
        V least = scale[first], heard{};
        for (int i = 1; i < n; i++) least = scale[first + i] < least ? scale[first + i] : least;
        for (int i = 0; i < n; i++) grade[i] = scale[first + i] / least;
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++) {
                const V both = all<R>(1) / (grade[i] * grade[j]);
                const C e = i == j ? C{own_entry(first, i, most), V{}} : own_inverse_at(i, j);
                matrix[i * n + j] = {e.re * both, e.im * both};
                if (i == j) heard += matrix[i * n + i].re;
            }
        // In its own unit: users may lie far below the noise.
        const V unit = heard > V{} ? heard : all<R>(1);
        for (int i = 0; i < n * n; i++) matrix[i] = {matrix[i].re / unit, matrix[i].im / unit};
        identity<R>(n, vectors);
        const bool found = diagonalise<R>(n, matrix, vectors, 0);
        strongest<R>(n, matrix, vectors, n, ordered, value, rank);
        for (int s = 0; s < n; s++) {
            value[s] = largest(value[s] * unit, V{});
            for (int i = 0; i < n; i++) {
                const C& u = ordered[s * n + i];
                mixing[(first + i) * n + s] = {u.re * grade[i], u.im * grade[i]};
            }
        }
        return found ? V{} : all<R>(NO_NUMBER<R>);
    }

    // ‖A'^H D Y q‖² by the factor of C, see column_power.
    INLINE V measured(int first, int stream) const {
        const int m = rows(), n = antennas;
        C column[K ? K : MOST_ROWS];
        for (int i = 0; i < m; i++) column[i] = C{};
        for (int i = 0; i < n; i++) column[first + i] = mixing[(first + i) * n + stream];
        solve_factors<R, false, 1>(m, factor, column, 1);
        scale_symbols<R, 1>(m, scale, column, 1);
        return power_through<R>(h, m, columns, column);
    }

    // The norm of a stream's column v, and its phase, out of `mixing`.
    INLINE void finish_stream(int first, int stream) const {
        const int m = rows(), n = antennas;
        V share{}, leaked{};
        C overlap{};
        for (int j = 0; j < m; j++) {
            C sum{};
            for (int l = 0; l < n; l++)
                add(sum, inverse_at(j, first + l), mixing[(first + l) * n + stream]);
            if (j >= first && j < first + n) share += inner(mixing[j * n + stream], sum);
            else leaked += lost[j] * power(sum);
        }
        const V whole = share * share * value[stream];
        V norm = call.noise ? whole - leaked : share;
        if (call.noise) {
            const auto is_short = !(norm > whole * R(SHORT));
            if (any(is_short)) norm = is_short ? measured(first, stream) : norm;
        }
        for (int i = 0; i < n; i++)
            add(overlap, chirped[first + i], mixing[(first + i) * n + stream]);
        const V size = power(overlap), apart = all<R>(1) / root<R>(size);
        // A column of zeros stays one.
        const V factor = norm > V{} ? all<R>(1) / root<R>(norm) : all<R>(1);
        const C phase = {size > V{} ? overlap.re * apart * factor : factor,
                         size > V{} ? -overlap.im * apart * factor : V{}};
        for (int i = 0; i < n; i++) {
            C& q = mixing[(first + i) * n + stream];
            q = {q.re * phase.re - q.im * phase.im, q.re * phase.im + q.im * phase.re};
        }
    }

    // (c^H A'^H D Y) for a chirp c, by solves: they lose less than the inverse.
    INLINE void find_phases() const {
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
            chirped[k] = {sum.re * scale[k], sum.im * scale[k]};
        }
        Base::solve_once(chirped);
        for (int k = 0; k < m; k++) chirped[k].im = -chirped[k].im;
    }

    // By how much more the rounding of rows that were turned in no wider numbers counts.
    INLINE V spread(int first) const {
        V least = scale[first], most = least;
        for (int i = 1; i < antennas; i++) {
            least = scale[first + i] < least ? scale[first + i] : least;
            most = largest(scale[first + i], most);
        }
        return most / least;
    }

    INLINE V precoder(V noise) const {
        const int m = rows(), n = antennas;
        V nothing{};
        for (int first = 0; first < m; first += n) {
            nothing += find_turn(first);
            turn_rows(first);
        }
        V most = Base::prepare(noise);
        multiply_out<R>(m, inverse);
        find_phases();
        for (int k = 0; k < m; k++) before[k] = all<R>(1), after[k] = scale[k];
        V wide = all<R>(1);
        for (int first = 0; first < m; first += n) {
            nothing += find_streams(first, most);
            for (int s = 0; s < n; s++) finish_stream(first, s);
            if (sizeof(R) == sizeof(double)) wide = largest(spread(first), wide);
        }
        return most * wide + nothing;
    }

    INLINE void precode(C* z, int symbols, int step) const {
        const int n = antennas;
        for (int first = 0; first < rows(); first += n)
            mix<MOST_ANTENNAS>(mixing + first * n, n, n, z + first * step, symbols, step);
        Base::precode(z, symbols, step);
    }

    // A W = T^H A' W, [rows][streams], where `sent` [rows][streams] and `v` [columns][streams] are
    // scratch.
    INLINE void effective(C* sent, C* v, C* made) const {
        const int m = rows(), n = antennas;
        effective_of<R>(*this, h, m, columns, sent, v, made);
        for (int first = 0; first < m; first += n)
            for (int s = 0; s < m; s++) {
                C turned[MOST_ANTENNAS];
                for (int i = 0; i < n; i++) {
                    turned[i] = C{};
                    for (int j = 0; j < n; j++)
                        add_conjugate(turned[i], turning[(first + j) * n + i], made[(first + j) * m + s]);
                }
                for (int i = 0; i < n; i++) made[(first + i) * m + s] = turned[i];
            }
    }
};

}  // namespace
