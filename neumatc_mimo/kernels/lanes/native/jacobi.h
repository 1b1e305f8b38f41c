// Eigenvectors of small Hermitian matrices by Jacobi rotations, all lanes at once (Golub and Van
// Loan, Matrix Computations, 4th ed., Section 8.5).
#pragma once

#include "range.h"
#include "vectors.h"

namespace {

// A pair of columns, turned by c and s e.
template <class V, class C>
INLINE void rotate(C& p, C& q, const V& c, const C& s) {
    const C a = p, b = q;
    // p' = c p - conj(s e) q, q' = s e p + c q
    p = {c * a.re - s.re * b.re - s.im * b.im, c * a.im - s.re * b.im + s.im * b.re};
    q = {s.re * a.re - s.im * a.im + c * b.re, s.re * a.im + s.im * a.re + c * b.im};
}

// One rotation that takes out the entry (p, q) of a [m][m], of which the lower triangle is stored,
// and turns the columns of `vectors` [m][m]; whether any lane needed it. Powers below `floor` count
// as that.
template <class R>
INLINE bool annihilate(int m, typename Lanes<R>::C* a, typename Lanes<R>::C* vectors, int p, int q,
                       R floor) {
    using V = typename Lanes<R>::V;
    using C = typename Lanes<R>::C;
    // The lower triangle is stored: a_pq is the conjugate of a_qp.
    const C off = {a[q * m + p].re, -a[q * m + p].im};
    const V first = a[p * m + p].re, second = a[q * m + q].re, off_power = power(off);
    constexpr R close = R(8) * (sizeof(R) == 4 ? R(1.2e-7) : R(2.3e-16));
    // Relative to both rows' own powers: a weak one's vectors are as accurate as a strong one's.
    const V both = largest(first, all<R>(floor)) * largest(second, all<R>(floor));
    const V least = all<R>(Range<R>::least);
    const auto turns = off_power > largest(both * (close * close), least);
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
    for (int k = 0; k < m; k++) rotate(vectors[k * m + p], vectors[k * m + q], c, s);
    return true;
}

template <class R>
INLINE void identity(int m, typename Lanes<R>::C* a) {
    using V = typename Lanes<R>::V;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++) a[i * m + j] = {all<R>(i == j ? 1 : 0), V{}};
}

// `J` columns of a row of a U, for a Hermitian and of which the lower triangle is stored.
template <int J, class C>
INLINE void turn_row(int m, const C* a, const C* u, int row, int column, C* out) {
    C sum[J] = {};
    for (int k = 0; k <= row; k++)
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) add(sum[j], a[row * m + k], u[k * m + column + j]);
    for (int k = row + 1; k < m; k++)
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) add_conjugate(sum[j], a[k * m + row], u[k * m + column + j]);
    for (int j = 0; j < J; j++) out[row * m + column + j] = sum[j];
}

// `J` columns of a row of U^H b.
template <int J, class C>
INLINE void turn_column(int m, const C* u, const C* b, int row, int column, C* out) {
    C sum[J] = {};
    for (int k = 0; k < m; k++)
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) add_conjugate(sum[j], u[k * m + row], b[k * m + column + j]);
    for (int j = 0; j < J; j++) out[row * m + column + j] = sum[j];
}

// a becomes U^H a U, lower triangles, all [m][m]; `made` is scratch.
template <class R>
INLINE void turn_basis(int m, typename Lanes<R>::C* a, const typename Lanes<R>::C* u,
                       typename Lanes<R>::C* made) {
    for (int i = 0; i < m; i++) {
        int j = 0;
        for (; j + 4 <= m; j += 4) turn_row<4>(m, a, u, i, j, made);
        for (; j < m; j++) turn_row<1>(m, a, u, i, j, made);
    }
    for (int i = 0; i < m; i++) {
        int j = 0;
        for (; j + 4 <= i + 1; j += 4) turn_column<4>(m, u, made, i, j, a);
        for (; j <= i; j++) turn_column<1>(m, u, made, i, j, a);
    }
}

// a [m][m], lower triangle, becomes diagonal, and the columns of `vectors` [m][m], which are those of
// some basis, turn with it; whether all lanes did.
template <class R>
INLINE bool diagonalise(int m, typename Lanes<R>::C* a, typename Lanes<R>::C* vectors, R floor) {
    // It is quadratic: what has not converged by then never will.
    constexpr int MOST_SWEEPS = 12;
    for (int sweep = 0; sweep < MOST_SWEEPS; sweep++) {
        bool turned = false;
        for (int p = 0; p < m - 1; p++)
            for (int q = p + 1; q < m; q++) turned |= annihilate<R>(m, a, vectors, p, q, floor);
        if (!turned) return true;
    }
    return false;
}

// `num` columns of `vectors` [m][m] that belong to the largest entries on the diagonal of a [m][m],
// in descending order, to `chosen` [num][m], and these entries to `values` [num], unless null:
// lanes differ in which these are. `rank` [m] is scratch.
template <class R>
INLINE void strongest(int m, const typename Lanes<R>::C* a, const typename Lanes<R>::C* vectors,
                      int num, typename Lanes<R>::C* chosen, typename Lanes<R>::V* values,
                      typename Lanes<R>::V* rank) {
    using V = typename Lanes<R>::V;
    using C = typename Lanes<R>::C;
    for (int i = 0; i < m; i++) {
        const V value = a[i * m + i].re;
        V stronger{};
        for (int j = 0; j < m; j++) {
            const V other = a[j * m + j].re;
            if (j < i) stronger += other >= value ? all<R>(1) : V{};
            if (j > i) stronger += other > value ? all<R>(1) : V{};
        }
        rank[i] = stronger;
    }
    for (int s = 0; s < num; s++) {
        for (int k = 0; k < m; k++) {
            C sum{};
            for (int i = 0; i < m; i++) {
                const auto here = rank[i] == all<R>(R(s));
                const C& value = vectors[k * m + i];
                sum.re = here ? value.re : sum.re;
                sum.im = here ? value.im : sum.im;
            }
            chosen[s * m + k] = sum;
        }
        if (!values) continue;
        values[s] = V{};
        for (int i = 0; i < m; i++)
            values[s] = rank[i] == all<R>(R(s)) ? a[i * m + i].re : values[s];
    }
}

}  // namespace
