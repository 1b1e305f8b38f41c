// The source of queried pseudo-inverses that are proven, each with the channel of the call, by the
// formulas of operations/pseudo_inverse.py (`certificate`); what is not proven is computed.
//
// All of it in the frame of the link: that of the channel without the factors of its rows, which only
// matrices of rows x rows meet. The filter is B^H P. Where a lane is proven, B^H is what the latent
// tensor gives for A^+, and P makes the noise's filter of it; where it is not, B is A.
#pragma once

#include "definite.h"
#include "folded.h"
#include "regularised.h"

namespace {

template <class R, int K>
struct ProvenDefinite {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;
    using Mask = decltype(V{} < V{});

    static constexpr Filters FILTERS = Filters::CHANNEL;
    static constexpr bool EVALUATES = true;
    static constexpr int MOST = K ? K : MOST_ROWS;
    // Powers below it are taken for it, and rounding, as of single precision: PyTorch's.
    static constexpr R TINY = R(1.17549435e-38), ROUNDING = R(1.1920929e-7);

    static int64_t kept_size(const Call& call) { return int64_t(call.rows) * (call.rows + 1) + 1; }
    static int64_t scratch_size(const Call& call) {
        const int64_t m = call.rows;
        const int64_t computed =
            Definite<R, K>::kept_size(call) + Definite<R, K>::scratch_size(call);
        const int64_t step = regularised_size(m);
        return m * call.columns + 6 * m * m + 2 * m + Folded<R>::scratch_size(call) +
               (step > computed ? step : computed);
    }

    const Call& call;
    const int num_rows, columns;
    // [columns][rows]: the channel, then B.
    C* h;
    // [rows][rows]: what symbols are mixed with: P, or for a receiver its transpose.
    C* mixed;
    // [rows]; and by how much rounding is amplified, zero where lanes are proven.
    V *no_eff, *amplification;

    // Scratch. The queried filter, [columns][rows], conjugate; 1 over the rows' factors.
    C *queried, *over;
    // [rows][rows]: W^H W and X of the query, I - σ² X, what the proof is made of, and A W, later
    // the gains.
    C *gram_matrix, *x, *keeps, *whole, *gain, *spare;
    // [rows]: powers of the columns of the filter.
    V* power_of;
    const Folded<R> latent;
    C* rest;

    INLINE ProvenDefinite(const Call& call, C* channel, C* kept, C* scratch)
        : call(call), num_rows(call.rows), columns(call.columns), h(channel), mixed(kept),
          queried(scratch), over(queried + int64_t(rows()) * columns), gram_matrix(over + rows()),
          x(gram_matrix + rows() * rows()), keeps(x + rows() * rows()),
          whole(keeps + rows() * rows()), gain(whole + rows() * rows()),
          spare(gain + rows() * rows()),
          power_of(reinterpret_cast<V*>(spare + rows() * rows())),
          latent{call, power_of + 2 * rows()} {
        no_eff = reinterpret_cast<V*>(mixed + rows() * rows());
        amplification = no_eff + rows();
        rest = reinterpret_cast<C*>(latent.weights) + Folded<R>::scratch_size(call);
    }

    INLINE int rows() const { return K ? K : num_rows; }
    INLINE void begin() const {}
    INLINE void prepare(int64_t, int64_t, int64_t) const {}
    INLINE void prefilter(C*, int) const {}
    INLINE int inner_rows() const { return rows(); }

    // What emitters are handed over; all is made before.
    INLINE V precoder(V) const { return *amplification; }
    INLINE V receiver(V, V* noise) const {
        for (int k = 0; k < rows(); k++) noise[k] = no_eff[k];
        return *amplification;
    }
    INLINE void precode(C* z, int symbols, int step) const { mix_all(z, symbols, step); }
    INLINE void receive(C* z, int symbols, int step) const { mix_all(z, symbols, step); }
    INLINE void mix_all(C* z, int symbols, int step) const {
        mix<MOST>(mixed, rows(), rows(), z, symbols, step);
    }
    INLINE void effective(C*, C*, C*) const {}

    // A block of a channel: queried, proven, and computed where it is not proven.
    INLINE void evaluate(int64_t item, int64_t first, int count) const {
        query(item, first, count);
        // The link's: with noise all rows have one gain.
        const R* powers = static_cast<const R*>(call.noise);
        const V noise = powers ? powers[item * call.noise_item] * ::power(over[0]) : V{};
        regularise<R, true>(rows(), noise, x, rest);
        const Mask ok = proven(noise);
        if (call.emitter == RECEIVE) mix_received(noise);
        else mix_sent(noise);
        *amplification = V{};
        const Mask failed = ~ok;
        if (any(failed)) compute(noise, ok);
        else for (int64_t i = 0; i < int64_t(rows()) * columns; i++) h[i] = queried[i];
    }

    // The filter, the Gram matrix in the place of X, and the factors of the rows, in the order of the channel's rows.
    INLINE void query(int64_t item, int64_t first, int count) const {
        const int m = rows();
        const auto taken = latent.rows_of(item, first, count);
        const auto at = [&](int64_t k) { return latent.place(item, k); };
        latent.for_numbers(taken, 0, int64_t(m) * columns, [&](int64_t i, const V& re, const V& im) {
            queried[i / m * m + at(i % m)] = {re, -im};
        });
        latent.for_numbers(taken, 2 * int64_t(m) * columns, m * m,
                           [&](int64_t i, const V& re, const V& im) {
                               x[at(i / m) * m + at(i % m)] = {re, im};
                           });
        for (int k = 0; k < m; k++) {
            const C factor = latent.factor(item, first, count, k);
            const V size = ::power(factor);
            over[k] = {factor.re / size, -factor.im / size};
        }
    }

    // Which lanes are proven.
    INLINE Mask proven(V noise) const {
        const int m = rows();
        gram<R>(queried, m, columns, gram_matrix);
        mirror(m, gram_matrix);
        cross<R>(h, m, queried, m, columns, gain);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < m; j++) gain[i * m + j] = product(over[i], gain[i * m + j]);
        V* upper = power_of;
        V* lower = power_of + m;
        filter_grams(noise, upper, lower);
        return in_place(noise) & in_range(noise, upper, lower);
    }

    // I - σ² X; the Gram matrix of the filter and its noise's part together, the powers of the
    // columns of the filter, and of what X and that Gram matrix differ by; the gains.
    INLINE void filter_grams(V noise, V* upper, V* lower) const {
        const int m = rows(), size = m * m;
        if (!call.noise) {
            for (int i = 0; i < size; i++) whole[i] = gram_matrix[i];
            for (int k = 0; k < m; k++) upper[k] = gram_matrix[k * m + k].re, lower[k] = V{};
            return;
        }
        for (int i = 0; i < size; i++) {
            const V one = all<R>(i % (m + 1) == 0 ? 1 : 0);
            whole[i] = keeps[i] = {one - noise * x[i].re, -noise * x[i].im};
            spare[i] = x[i];
        }
        mix_in(gram_matrix, whole);
        mix_in(keeps, whole);
        mix_in(x, spare);
        for (int k = 0; k < m; k++) upper[k] = whole[k * m + k].re, lower[k] = V{};
        for (int i = 0; i < size; i++) {
            whole[i] = {whole[i].re + noise * spare[i].re, whole[i].im + noise * spare[i].im};
            const C apart = {whole[i].re - x[i].re, whole[i].im - x[i].im};
            lower[i % m] += noise * ::power(apart);
            spare[i] = keeps[i];
        }
        mix_in(gain, spare);
        for (int i = 0; i < size; i++) gain[i] = spare[i];
    }
    INLINE void mix_in(const C* y, C* z) const { mix<MOST>(y, rows(), rows(), z, rows(), rows()); }

    // Where the ratio of each stream's power and its interference is large enough.
    INLINE Mask in_place(V noise) const {
        const int m = rows();
        const V quality = all<R>(R(call.quality));
        V over_power[MOST];
        for (int j = 0; j < m; j++)
            over_power[j] = all<R>(1) / largest(whole[j * m + j].re, all<R>(TINY));
        Mask ok = noise == noise;
        for (int k = 0; k < m; k++) {
            V leak{}, own{}, error{};
            for (int j = 0; j < m; j++) {
                const C &g = gain[k * m + j], &lost = x[k * m + j];
                const C kept = {g.re + noise * lost.re, g.im + noise * lost.im};
                const C defect = {all<R>(k == j ? 1 : 0) - kept.re, -kept.im};
                const V size = ::power(defect) * over_power[j];
                if (j != k) leak += size;
                else own = ::power(kept) * over_power[j], error = size;
            }
            const V floor = own * (ROUNDING * ROUNDING);
            ok &= own >= quality * largest(largest(leak, error), floor);
        }
        return ok;
    }

    // Where the filter is near enough to the range of the channel, and X to it.
    INLINE Mask in_range(V noise, const V* upper, const V* lower) const {
        const int m = rows();
        const V most = all<R>(R(call.range_error)), square = most * most, tiny = all<R>(TINY);
        V outside[MOST];
        distances(outside);
        Mask ok = noise == noise;
        for (int k = 0; k < m; k++) {
            const V power = largest(whole[k * m + k].re, tiny), own = x[k * m + k].re;
            ok &= outside[k] <= square * largest(upper[k], tiny);
            ok &= lower[k] <= square * power;
            const V apart = own - power;
            ok &= (apart <= most * power) & (apart >= -(most * power));
            const C& g = gain[k * m + k];
            const C lost = {all<R>(1) - noise * own - g.re, -g.im};
            ok &= ::power(lost) <= square * largest(::power(g), tiny * tiny);
        }
        return ok;
    }

    // Squared norms of the columns of A^H W̃^H W̃ - W (I - σ² X), in which nothing is left of a filter
    // in the range of the channel.
    INLINE void distances(V* outside) const {
        const int m = rows();
        // The conjugate of both sides' factors: `queried` is conjugate, too.
        for (int k = 0; k < m; k++)
            for (int j = 0; j < m; j++) {
                const C& w = whole[k * m + j];
                spare[k * m + j] = product(over[k], C{w.re, -w.im});
                outside[j] = V{};
            }
        constexpr int I = MANY_REGISTERS ? 4 : 2;
        int c = 0;
        for (; c + I <= columns; c += I) distances_of<I>(c, outside);
        for (; c < columns; c++) distances_of<1>(c, outside);
    }
    template <int I>
    INLINE void distances_of(int column, V* outside) const {
        int j = 0;
        for (; j + 2 <= rows(); j += 2) distances_tile<I, 2>(column, j, outside);
        if (j < rows()) distances_tile<I, 1>(column, j, outside);
    }
    template <int I, int J>
    INLINE void distances_tile(int column, int stream, V* outside) const {
        const int m = rows();
        const C *a = h + int64_t(column) * m, *w = queried + int64_t(column) * m;
        C sum[I][J];
#pragma GCC unroll 8
        for (int i = 0; i < I; i++)
#pragma GCC unroll 8
            for (int j = 0; j < J; j++) {
                const C& own = w[i * m + stream + j];
                sum[i][j] = call.noise ? C{} : C{-own.re, -own.im};
            }
        for (int k = 0; k < m; k++) {
            C back[J];
#pragma GCC unroll 8
            for (int j = 0; j < J; j++) back[j] = spare[k * m + stream + j];
#pragma GCC unroll 8
            for (int i = 0; i < I; i++)
#pragma GCC unroll 8
                for (int j = 0; j < J; j++) add(sum[i][j], a[i * m + k], back[j]);
        }
        if (call.noise)
            for (int k = 0; k < m; k++) {
                C kept[J];
#pragma GCC unroll 8
                for (int j = 0; j < J; j++) kept[j] = keeps[k * m + stream + j];
#pragma GCC unroll 8
                for (int i = 0; i < I; i++)
#pragma GCC unroll 8
                    for (int j = 0; j < J; j++) take_conjugate(sum[i][j], kept[j], w[i * m + k]);
            }
#pragma GCC unroll 8
        for (int j = 0; j < J; j++)
#pragma GCC unroll 8
            for (int i = 0; i < I; i++) outside[stream + j] += ::power(sum[i][j]);
    }

    // P of the query with columns of unit norm, as X tells it.
    INLINE void mix_sent(V noise) const {
        const int m = rows();
        for (int j = 0; j < m; j++) {
            const V diagonal = largest(x[j * m + j].re, V{});
            V power = diagonal;
            if (call.noise) {
                V share = all<R>(1) - noise * x[j * m + j].re;
                const V kept = share;
                for (int k = 0; k < m; k++)
                    if (k != j) share -= noise * ::power(x[j * m + k]) / largest(diagonal, all<R>(TINY));
                // What is left of users in one place is rounding: the norm as it is.
                power = share < kept * R(SHORT) ? power_of[j] : diagonal * share;
            }
            // A column of zeros stays one, as in Sionna.
            const V norm = root<R>(power * ::power(over[j]));
            const V factor = norm > V{} ? all<R>(1) / norm : all<R>(1);
            set_column(j, {over[j].re * factor, over[j].im * factor});
        }
    }
    // P of the query with a column's factor; before, the identity without noise.
    INLINE void set_column(int j, const C& factor) const {
        const int m = rows();
        for (int i = 0; i < m; i++) {
            if (call.noise) mixed[i * m + j] = product(factor, keeps[i * m + j]);
            else mixed[i * m + j] = i == j ? factor : C{};
        }
    }

    // The transpose of P of the query with gains of one, and the noise behind it.
    INLINE void mix_received(V noise) const {
        const int m = rows();
        for (int i = 0; i < m; i++) {
            const V loss = noise * x[i * m + i].re, factor = all<R>(1) / (all<R>(1) - loss);
            no_eff[i] = loss * factor;
            const C own = {over[i].re * factor, over[i].im * factor};
            for (int j = 0; j < m; j++) {
                if (call.noise) mixed[i * m + j] = product(own, keeps[j * m + i]);
                else mixed[i * m + j] = i == j ? own : C{};
            }
        }
    }

    // The exact filter in the lanes that are not proven, what was queried in the others.
    INLINE void compute(V noise, const Mask& ok) const {
        const int m = rows();
        for (int c = 0; c < columns; c++)
            for (int k = 0; k < m; k++) h[c * m + k] = product(over[k], h[c * m + k]);
        const Definite<R, K> exact(call, h, rest, rest + Definite<R, K>::kept_size(call));
        for (int i = 0; i < m * m; i++) spare[i] = {all<R>(i % (m + 1) == 0 ? 1 : 0), V{}};
        V* behind = power_of;
        V most;
        if (call.emitter == RECEIVE) {
            most = exact.receiver(noise, behind);
            exact.receive(spare, m, m);
        } else {
            most = exact.precoder(noise);
            exact.precode(spare, m, m);
        }
        for (int i = 0; i < m; i++) {
            if (call.emitter == RECEIVE) no_eff[i] = ok ? no_eff[i] : behind[i];
            for (int j = 0; j < m; j++) {
                const C turned = product(call.emitter == RECEIVE ? over[i] : turn(over[j]),
                                         spare[i * m + j]);
                mixed[i * m + j] = select(ok, mixed[i * m + j], turned);
            }
        }
        for (int64_t i = 0; i < int64_t(m) * columns; i++) h[i] = select(ok, queried[i], h[i]);
        *amplification = ok ? V{} : most;
    }

    // Of modulus one.
    static INLINE C turn(const C& a) {
        const V size = all<R>(1) / root<R>(::power(a));
        return {a.re * size, a.im * size};
    }
};

}  // namespace
