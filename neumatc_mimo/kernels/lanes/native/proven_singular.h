// The source of queried singular triplets that are proven, each with the channel of the call, by the
// formulas of operations/svd.py (`residual`, `range_error`); what is not proven is computed.
#pragma once

#include "folded.h"
#include "singular.h"

namespace {

template <class R, int K>
struct ProvenSingular {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;
    using Mask = decltype(V{} < V{});

    static constexpr Filters FILTERS = Filters::CHANNEL;
    static constexpr bool EVALUATES = true;
    static constexpr int MOST = K ? K : MOST_ROWS;
    // As operations/dominance.py: squarings of a matrix until its bound is taken for its norm, and
    // rounding that is forgiven, of single precision.
    static constexpr int SQUARINGS = 10;
    static constexpr R EPS = R(1.1920929e-7), FORGIVEN = 16 * EPS, TINY = R(1.17549435e-38);

    static int64_t kept_size(const Call& call) { return (call.rows + 2) * call.streams + 1; }
    static int64_t scratch_size(const Call& call) {
        const int64_t m = call.rows, l = call.streams;
        return call.columns * (l + m) + 4 * m * m + 4 * l + Folded<R>::scratch_size(call) +
               Singular<R, K>::kept_size(call) + Singular<R, K>::scratch_size(call);
    }

    const Call& call;
    const int num_rows, columns, streams;
    // [columns][rows]: the channel, then conj(V) S in the first columns.
    C* h;
    // [streams][rows] conj(U), which a combiner applies; [streams] factors of what is sent.
    C *vectors, *factors;
    // [streams]; and by how much rounding is amplified, zero where lanes are proven.
    V *no_eff, *amplification;

    // Scratch. The query: conj(V) [columns][streams], U [rows][streams], S [streams].
    C *right, *left;
    V* size;
    // What is left of the channel without U, [columns][rows]; A V, two matrices more, [rows][rows].
    C *beside, *product_v, *work, *spare;
    // [streams]: norms of A^H u.
    V* gain;
    const Folded<R> latent;
    C* rest;

    INLINE ProvenSingular(const Call& call, C* channel, C* kept, C* scratch)
        : call(call), num_rows(call.rows), columns(call.columns), streams(int(call.streams)),
          h(channel), vectors(kept), factors(kept + call.rows * call.streams), right(scratch),
          left(right + columns * streams), size(reinterpret_cast<V*>(left + rows() * rows())),
          beside(reinterpret_cast<C*>(size + 2 * streams)), product_v(beside + columns * rows()),
          work(product_v + rows() * rows()), spare(work + rows() * rows()),
          gain(reinterpret_cast<V*>(spare + rows() * rows())), latent{call, gain + 2 * streams} {
        no_eff = reinterpret_cast<V*>(factors + streams);
        amplification = no_eff + streams;
        rest = reinterpret_cast<C*>(latent.weights) + Folded<R>::scratch_size(call);
    }

    INLINE int rows() const { return K ? K : num_rows; }
    INLINE void begin() const {}
    INLINE void prepare(int64_t, int64_t, int64_t) const {}
    INLINE int inner_rows() const { return streams; }

    // What emitters are handed over; all is made before.
    INLINE V precoder(V) const { return *amplification; }
    INLINE V combiner(const V*, V* noise) const {
        for (int s = 0; s < streams; s++) noise[s] = no_eff[s];
        return *amplification;
    }
    INLINE void precode(C* z, int symbols, int step) const { made().precode(z, symbols, step); }
    INLINE void combine(C* z, int symbols, int step) const { made().combine(z, symbols, step); }
    INLINE void effective(C*, C*, C*) const {}
    INLINE Singular<R, K> made() const { return {call, h, vectors, rest}; }

    // A block of a channel: queried, proven, and computed where it is not proven.
    INLINE void evaluate(int64_t item, int64_t first, int count) const {
        query(item, first, count);
        sort();
        const Mask ok = proven();
        const Mask failed = ~ok;
        V noise[MOST];
        read_noise(item, noise);
        behind(noise);
        *amplification = V{};
        if (any(failed)) compute(noise, ok);
        else
            for (int c = 0; c < columns; c++)
                for (int s = 0; s < streams; s++) h[c * rows() + s] = scaled(c, s);
        point();
        if (any(failed)) merge(ok);
    }

    // The triplets of the channel: with the phases, the order and the common gain of its rows.
    INLINE void query(int64_t item, int64_t first, int count) const {
        const int m = rows(), n = streams;
        const auto taken = latent.rows_of(item, first, count);
        latent.for_numbers(taken, 0, m * n, [&](int64_t i, const V& re, const V& im) {
            left[latent.place(item, i / n) * n + i % n] = {re, im};
        });
        V common{};
        for (int k = 0; k < m; k++) {
            const C factor = latent.factor(item, first, count, k);
            if (k == 0) common = root<R>(power(factor));
            const C turn = {factor.re / common, factor.im / common};
            for (int s = 0; s < n; s++) left[k * n + s] = product(turn, left[k * n + s]);
        }
        latent.for_numbers(taken, 2 * m * n, (n + 1) / 2, [&](int64_t i, const V& re, const V& im) {
            size[2 * i] = re * common;
            if (2 * i + 1 < n) size[2 * i + 1] = im * common;
        });
        latent.for_numbers(taken, 2 * m * n + n + n % 2, int64_t(columns) * n,
                           [&](int64_t i, const V& re, const V& im) { right[i] = {re, -im}; });
    }

    // In descending order: lanes differ in which these are.
    INLINE void sort() const {
        for (int last = streams - 1; last > 0; last--)
            for (int s = 0; s < last; s++) {
                const auto turns = size[s] < size[s + 1];
                if (!any(turns)) continue;
                const V weaker = size[s];
                size[s] = turns ? size[s + 1] : weaker;
                size[s + 1] = turns ? weaker : size[s + 1];
                exchange(turns, left + s, rows());
                exchange(turns, right + s, columns);
            }
    }
    INLINE void exchange(const Mask& where, C* a, int num) const {
        for (int i = 0; i < num; i++, a += streams) {
            const C before = a[0];
            a[0] = select(where, a[1], before);
            a[1] = select(where, before, a[1]);
        }
    }

    // Which lanes are proven.
    INLINE Mask proven() const {
        const int m = rows(), n = streams;
        for (int s = 0; s < n; s++)
            for (int k = 0; k < m; k++) {
                const C& u = left[k * n + s];
                vectors[s * m + k] = {u.re, -u.im};
                gain[s] = V{};
            }
        V apart{}, whole{};
        for (int c = 0; c < columns; c++) apart += project(c, whole);
        cross<R>(h, m, right, n, columns, product_v);
        for (int i = 0; i < m * n; i++) {
            const C &made = product_v[i], &u = left[i];
            const V s = size[i % n];
            apart += power(C{made.re - u.re * s, made.im - u.im * s});
        }
        const V strongest = largest(size[0] * size[0], all<R>(TINY));
        const V residual = apart / strongest + defect(left, m) + defect(right, columns);
        // No result is taken for a better one than rounding leaves.
        const V quality = all<R>(R(call.quality));
        const Mask ok = (residual * quality <= all<R>(1)) & (quality * (EPS * EPS) <= all<R>(1));
        return ok & in_range(root<R>(whole));
    }

    // Of a column of A: the squared distance of A^T conj(U) from S conj(V); what is left of A without
    // U, and the norms.
    INLINE V project(int column, V& whole) const {
        const int m = rows(), n = streams;
        const C* a = h + column * m;
        C taken[MOST];
        V apart{};
        for (int s = 0; s < n; s++) {
            C sum{};
            for (int k = 0; k < m; k++) add(sum, a[k], vectors[s * m + k]);
            const C& v = right[column * n + s];
            apart += power(C{sum.re - v.re * size[s], sum.im - v.im * size[s]});
            gain[s] += power(sum);
            taken[s] = sum;
        }
        for (int k = 0; k < m; k++) {
            whole += power(a[k]);
            if (n == m) continue;
            C sum = a[k];
            for (int s = 0; s < n; s++) take(sum, left[k * n + s], taken[s]);
            beside[column * m + k] = sum;
        }
        return apart;
    }

    // The squared distance of the Gram matrix of vectors [num][streams] from the identity.
    INLINE V defect(const C* vectors, int num) const {
        const int n = streams;
        gram<R>(vectors, n, num, work);
        V sum{};
        for (int i = 0; i < n; i++) {
            const V own = work[i * n + i].re - all<R>(1);
            sum += own * own;
            for (int j = 0; j < i; j++) sum += all<R>(2) * power(work[i * n + j]);
        }
        return sum;
    }

    // Where singular values are the norms, and no direction left out is stronger than one taken.
    INLINE Mask in_range(V whole) const {
        const V most = all<R>(R(call.range_error)), forgiven = whole * FORGIVEN;
        Mask ok = whole == whole;
        V weakest = all<R>(Range<R>::most);
        for (int s = 0; s < streams; s++) {
            gain[s] = root<R>(gain[s]);
            weakest = gain[s] < weakest ? gain[s] : weakest;
            const V wrong = size[s] - gain[s], bound = most * gain[s] + forgiven;
            ok &= (wrong <= bound) & (wrong >= -bound);
        }
        if (streams == rows()) return ok;
        const V outside = root<R>(radius_bound(weakest * weakest));
        return ok & (outside - forgiven <= (all<R>(1) + most) * weakest);
    }

    // An upper bound of the squared singular values of what is left of the channel, see
    // operations/dominance.py.
    INLINE V radius_bound(V enough) const {
        const int m = rows();
        gram<R>(beside, m, columns, work);
        mirror(m, work);
        V bound{};
        for (int k = 0; k < m; k++) bound += work[k * m + k].re;
        V norm = root<R>(frobenius());
        for (int number = 1; number <= SQUARINGS + 1; number++) {
            const Mask unclear = bound > enough;
            if (!any(unclear)) break;
            if (number > 1) {
                for (int i = 0; i < m * m; i++) spare[i] = work[i];
                mix<MOST>(spare, m, m, work, m, m);
                norm = root<R>(frobenius());
            }
            V factor = norm;
            for (int i = 1; i < number; i++) factor = root<R>(factor);
            bound = number > 1 ? bound * factor : norm;
            const V over = all<R>(1) / largest(norm, all<R>(TINY));
            for (int i = 0; i < m * m; i++) work[i] = {work[i].re * over, work[i].im * over};
        }
        return bound;
    }
    INLINE V frobenius() const {
        V sum{};
        for (int i = 0; i < rows() * rows(); i++) sum += power(work[i]);
        return sum;
    }

    INLINE void read_noise(int64_t item, V* noise) const {
        const R* given = static_cast<const R*>(call.noise);
        for (int k = 0; k < rows(); k++)
            noise[k] = given ? all<R>(given[item * call.noise_item + k * call.noise_step]) : V{};
    }

    // The noise behind a combiner along the query, and what leaks between streams sent along it.
    INLINE void behind(const V* noise) const {
        const int m = rows(), n = streams;
        for (int s = 0; s < n; s++) {
            const V over = all<R>(1) / size[s];
            V sum{};
            for (int k = 0; k < m; k++) sum += power(left[k * n + s]) * noise[k];
            sum *= over * over;
            for (int j = 0; j < n; j++) {
                C leaked{};
                for (int k = 0; k < m; k++) add_conjugate(leaked, left[k * n + s], product_v[k * n + j]);
                leaked = {leaked.re * over - all<R>(s == j ? 1 : 0), leaked.im * over};
                sum += power(leaked);
            }
            no_eff[s] = sum;
        }
    }

    // conj(V) S of the query.
    INLINE C scaled(int column, int s) const {
        const C& v = right[column * streams + s];
        return {v.re * size[s], v.im * size[s]};
    }

    // Factors of the query's streams, which its columns' overlap with the chirp tells.
    INLINE void point() const {
        const R* chirp = static_cast<const R*>(call.chirp);
        for (int s = 0; s < streams; s++) {
            C overlap{};
            for (int c = 0; c < columns; c++) {
                const C& v = right[c * streams + s];
                const R re = chirp[2 * c], im = chirp[2 * c + 1];
                overlap.re += v.re * re + v.im * im;
                overlap.im += v.re * im - v.im * re;
            }
            const V length = root<R>(power(overlap)), over = all<R>(1) / (length * size[s]);
            const auto turned = length > V{};
            factors[s] = {turned ? overlap.re * over : all<R>(1) / size[s],
                          turned ? -overlap.im * over : V{}};
        }
    }

    // Exact vectors in the place of the channel, and the query's in the lanes where it is proven.
    INLINE void compute(const V* noise, const Mask& ok) const {
        const int m = rows();
        const Singular<R, K> exact(call, h, rest, rest + Singular<R, K>::kept_size(call));
        exact.begin();
        V* found = gain;
        const V most = call.emitter == RECEIVE ? exact.combiner(noise, found) : exact.precoder(V{});
        *amplification = ok ? V{} : most;
        for (int c = 0; c < columns; c++)
            for (int s = 0; s < streams; s++) h[c * m + s] = select(ok, scaled(c, s), h[c * m + s]);
        if (call.emitter == RECEIVE)
            for (int s = 0; s < streams; s++) no_eff[s] = ok ? no_eff[s] : found[s];
    }
    INLINE void merge(const Mask& ok) const {
        const int m = rows();
        const Singular<R, K> exact(call, h, rest, rest + Singular<R, K>::kept_size(call));
        for (int i = 0; i < streams * m; i++) vectors[i] = select(ok, vectors[i], exact.vectors[i]);
        for (int s = 0; s < streams; s++) factors[s] = select(ok, factors[s], exact.factors[s]);
    }
};

}  // namespace
