// The source of zero forcing and MMSE from a model: W = A^+ and A A^H of the aligned link, of which a
// step of rows x rows makes X = (A A^H + σ² I)^-1. The filter is W (I - σ² X) times factors of its
// columns; symbols meet the small matrices beside W.
#pragma once

#include "gram.h"
#include "recalled.h"
#include "regularised.h"

namespace {

template <class R, int K>
struct RecalledFilter : Recalled<R, K> {
    using Base = Recalled<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Base::call, Base::inner_rows;

    static int64_t kept_size(const Call& call) {
        return Base::kept_size(call) + int64_t(call.rows) * (call.rows + 2);
    }
    static int64_t scratch_size(const Call& call) {
        const int64_t m = call.rows;
        return Base::scratch_size(call) + m * m + regularised_size(m);
    }

    // X [rows][rows], and then what symbols are multiplied with; the columns' factors, without their
    // magnitudes, which are the sizes; the diagonal of X. The Gram matrix as it is stored: real parts
    // in the lower triangle, imaginary ones above.
    C *x, *column;
    V *size, *own, *numbers;
    C* step;

    INLINE RecalledFilter(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), x(kept + Base::kept_size(call)),
          column(x + int64_t(call.rows) * call.rows),
          size(reinterpret_cast<V*>(column + call.rows)), own(size + call.rows),
          numbers(reinterpret_cast<V*>(scratch + Base::scratch_size(call))),
          step(scratch + Base::scratch_size(call) + int64_t(call.rows) * call.rows) {}

    INLINE void evaluate(int64_t item, int64_t first, int count) const {
        Base::find(item, first, count);
        const int m = inner_rows();
        // Gains of one need no X where there is no noise to tell of.
        if (call.noise || call.emitter == PRECODE) invert(item);
        for (int k = 0; k < m; k++) {
            // Those of the row's reciprocal.
            const C turn = Base::unit_factor(item, k, first, count);
            column[k] = {turn.re, -turn.im};
            size[k] = all<R>(R(1 / Base::magnitude(item, k)));
        }
    }

    // Whether the noise is a part of the filter, and not only what lies behind it.
    INLINE bool weighs_noise() const { return call.noise && call.source != RECALLED_FORCING; }

    // Columns of unit norm. With A A^H X = I - σ² X their squares are [X - σ² X²]_kk.
    INLINE V precoder(V noise) const {
        const int m = inner_rows();
        for (int k = 0; k < m; k++) {
            const V power = largest(own[k], V{});
            V share = all<R>(1);
            if (call.noise) {
                // Over X_kk: powers of channels of any gain would overflow, or vanish.
                share -= noise * power;
                const V over = noise / (power > V{} ? power : all<R>(1));
                for (int j = 0; j < m; j++)
                    if (j != k) {
                        const C a = x[k * m + j];
                        share -= a.re * over * a.re + a.im * over * a.im;
                    }
            }
            const V norm = root<R>(power * largest(share, V{}));
            // A column of zeros stays one.
            scale(k, norm > V{} ? all<R>(1) / norm : size[k]);
        }
        if (!call.noise) return V{};
        for (int k = 0; k < m; k++)
            for (int j = 0; j < m; j++) x[k * m + j] = product(kept(noise, k, j), column[j]);
        return V{};
    }
    INLINE void precode(C* z, int symbols, int step) const { apply(z, symbols, step); }

    // Gains of one, with (A W)_kk = 1 - σ² X_kk. Of zero forcing σ² X_kk in the unit of the channel is
    // the noise.
    INLINE V receiver(V noise, V* no_eff) const {
        const int m = inner_rows();
        if (!weighs_noise()) {
            for (int k = 0; k < m; k++) {
                no_eff[k] = call.noise ? noise * own[k] * size[k] * size[k] : V{};
                scale(k, size[k]);
            }
            return V{};
        }
        for (int k = 0; k < m; k++) {
            const V lost = noise * own[k], over = all<R>(1) / (all<R>(1) - lost);
            no_eff[k] = lost * over;
            scale(k, size[k] * over);
        }
        // Symbols in a row meet the matrix from the right. It is Hermitian but for the factors.
        for (int k = 0; k < m; k++)
            for (int j = 0; j < m; j++) {
                const C a = kept(noise, k, j);
                x[k * m + j] = product({a.re, -a.im}, column[k]);
            }
        return V{};
    }
    INLINE void receive(C* z, int symbols, int step) const { apply(z, symbols, step); }

  private:
    // X of all lanes; without noise its diagonal, the squared norms of W's columns.
    INLINE void invert(int64_t item) const {
        const int m = inner_rows();
        const R* powers = weighs_noise() ? static_cast<const R*>(call.noise) : nullptr;
        Base::evaluate_numbers(numbers);
        unpack();
        if (powers) regularise<R, true>(m, all<R>(powers[item * call.noise_item]), x, step);
        else regularise<R, false>(m, V{}, x, step);
        for (int k = 0; k < m; k++) own[k] = x[k * m + k].re;
        if (!Base::taken->num) return;
        // Where components are given, it is X itself.
        const auto where = Base::given() > V{};
        for (int i = 0; i < m * m; i++) step[i] = x[i];
        unpack();
        for (int i = 0; i < m * m; i++) x[i] = select(where, x[i], step[i]);
        for (int k = 0; k < m; k++) own[k] = where ? numbers[k * m + k] : own[k];
    }
    INLINE void unpack() const {
        const int m = inner_rows();
        for (int k = 0; k < m; k++) {
            x[k * m + k] = {numbers[k * m + k], V{}};
            for (int j = 0; j < k; j++) {
                const V re = numbers[k * m + j], im = numbers[j * m + k];
                x[k * m + j] = {re, -im};
                x[j * m + k] = {re, im};
            }
        }
    }
    static INLINE C product(const C& a, const C& b) {
        return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
    }
    INLINE void scale(int k, V by) const { column[k] = {column[k].re * by, column[k].im * by}; }
    // Entries of I - σ² X.
    INLINE C kept(V noise, int k, int j) const {
        const C a = x[k * inner_rows() + j];
        return {(k == j ? all<R>(1) : V{}) - noise * a.re, -noise * a.im};
    }
    INLINE void apply(C* z, int symbols, int step) const {
        const int m = inner_rows();
        if (weighs_noise()) return mix<K ? K : MOST_ROWS>(x, m, m, z, symbols, step);
        for (int k = 0; k < m; k++)
            for (int t = 0; t < symbols; t++) z[k * step + t] = product(z[k * step + t], column[k]);
    }
};

}  // namespace
