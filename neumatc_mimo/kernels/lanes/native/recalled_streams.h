// Sources of precoding matrices from a model, whose columns take a phase each.
#pragma once

#include "recalled.h"

namespace {

// Symbols of the columns times their factors.
template <class C>
INLINE void turn_columns(const C* factor, int columns, C* z, int symbols, int step) {
    for (int k = 0; k < columns; k++)
        for (int t = 0; t < symbols; t++) {
            C& at = z[k * step + t];
            at = {at.re * factor[k].re - at.im * factor[k].im,
                  at.re * factor[k].im + at.im * factor[k].re};
        }
}

// Columns that belong to rows, turned back by the phases of these.
template <class R, int K>
struct RecalledColumns : Recalled<R, K> {
    using Base = Recalled<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Base::inner_rows;

    static int64_t kept_size(const Call& call) { return Base::kept_size(call) + call.rows; }

    C* factor;

    INLINE RecalledColumns(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), factor(kept + Base::kept_size(call)) {}

    INLINE void evaluate(int64_t item, int64_t first, int count) const {
        Base::find(item, first, count);
        for (int k = 0; k < inner_rows(); k++) {
            const C turn = Base::unit_factor(item, k, first, count);
            factor[k] = {turn.re, -turn.im};
        }
    }
    INLINE void precode(C* z, int symbols, int step) const {
        turn_columns(factor, inner_rows(), z, symbols, step);
    }
};

// Singular vectors, strongest first where their values are there, and the inner product of each with
// a chirp real and positive.
template <class R, int K>
struct RecalledVectors : Recalled<R, K> {
    using Base = Recalled<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Base::call, Base::inner_rows, Base::query;

    // Factors depend on all columns.
    static constexpr Filters FILTERS = Filters::STORED;
    static int64_t kept_size(const Call& call) {
        return Base::kept_size(call) + 2 * int64_t(call.rows);
    }

    const C* vectors;
    // Factors of the columns, and the number of stronger ones.
    C* factor;
    V* place;

    INLINE RecalledVectors(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), vectors(channel), factor(kept + Base::kept_size(call)),
          place(reinterpret_cast<V*>(factor + call.rows)) {}

    INLINE void evaluate(int64_t item, int64_t first, int count) const {
        Base::find(item, first, count);
    }

    INLINE V precoder(V) const {
        const int m = inner_rows();
        V size[K ? K : MOST_ROWS];
        for (int k = 0; k < m; k++) size[k] = V{};
        if (query.latent[1].rows) Base::evaluate_numbers(size);
        for (int k = 0; k < m; k++) {
            place[k] = V{};
            for (int j = 0; j < m; j++) {
                const auto before = j < k ? size[j] >= size[k] : size[j] > size[k];
                place[k] += before ? all<R>(1) : V{};
            }
            factor[k] = C{};
        }
        const R* chirp = static_cast<const R*>(call.chirp);
        for (int column = 0; column < call.columns; column++) {
            const R re = chirp[2 * column], im = chirp[2 * column + 1];
            for (int k = 0; k < m; k++) {
                // The chirp as given is conjugated, and so are the vector and the sum.
                const C a = vectors[column * m + k];
                factor[k].re += a.re * re + a.im * im;
                factor[k].im += a.im * re - a.re * im;
            }
        }
        for (int k = 0; k < m; k++) {
            const V whole = power(factor[k]), over = all<R>(1) / root<R>(whole);
            const auto turned = whole > V{};
            factor[k] = {turned ? factor[k].re * over : all<R>(1),
                         turned ? factor[k].im * over : V{}};
        }
        return V{};
    }
    INLINE void precode(C* z, int symbols, int step) const {
        const int m = inner_rows(), streams = int(call.streams);
        C sent[K ? K : MOST_ROWS];
        for (int t = 0; t < symbols; t++) {
            for (int i = 0; i < streams; i++) sent[i] = z[i * step + t];
            for (int k = 0; k < m; k++) {
                C own{};
                for (int i = 0; i < streams; i++) {
                    const auto here = place[k] == all<R>(R(i));
                    own = {here ? sent[i].re : own.re, here ? sent[i].im : own.im};
                }
                z[k * step + t] = own;
            }
        }
        turn_columns(factor, m, z, symbols, step);
    }
};

}  // namespace
