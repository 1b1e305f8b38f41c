// Components of recalled links as a model stores them: latent tensors at nodes of the noise power or
// the time, read, combined and summed up a chunk at a time.
#pragma once

#include "expansion.h"
#include "waves.h"

namespace {

// Base of the sources of recalled links: the filters in the channel's place, other components, and
// the factors of the rows.
template <class R, int K>
struct Recalled : Expansion<R, K> {
    using Base = Expansion<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Base::call, Base::channel, Base::inner_rows;

    const Query& query;
    // First row of what is combined, and the combined rows of each component.
    int64_t* lowest;
    float* combined;

    static int64_t scratch_size(const Call& call) {
        int64_t numbers = 0;
        for (const Latent& latent : call.query->latent)
            if (latent.nodes > 1) numbers += call.functions * latent.size;
        return Base::scratch_size(call) + 1 + numbers * sizeof(float) / sizeof(C) + 1;
    }

    INLINE Recalled(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), query(*call.query) {
        C* rest = scratch + Base::scratch_size(call);
        lowest = reinterpret_cast<int64_t*>(rest);
        combined = reinterpret_cast<float*>(rest + 1);
    }

    static INLINE const float* stored(const Call& call, const Latent& latent, int64_t item) {
        return latent.rows + call.query->link[item] * latent.link_step;
    }
    static INLINE Ahead ahead(const Call& call, const Chunk& chunk, const Chunk& next) {
        // The filters are by far the largest.
        const Latent& latent = call.query->latent[0];
        const Rows rows = Base::rows_beyond(call, chunk, next);
        const float* first = stored(call, latent, next.item) + rows.lowest * latent.row_step;
        const int64_t bytes = latent.nodes * latent.size * sizeof(float);
        return Ahead::of_rows(first, latent.row_step, rows.num, bytes);
    }

    // Components of several nodes at the item's value of the axis, all that the chunk reads.
    INLINE void prepare(int64_t item, int64_t first, int64_t count) const {
        const Rows rows = Base::rows_of(call, first, count);
        *lowest = rows.lowest;
        float* to = combined;
        for (const Latent& latent : query.latent) {
            if (latent.nodes <= 1) continue;
            const float* weight = latent.weight + item * latent.nodes;
            const float* from = stored(call, latent, item) + rows.lowest * latent.row_step;
            const int64_t size = latent.size;
            for (int64_t row = 0; row < rows.num; row++, from += latent.row_step) {
                float* sum = to + row * size;
                for (int64_t e = 0; e < size; e++) sum[e] = 0;
                for (int64_t node = 0; node < latent.nodes; node++) {
                    // At a node the others have no weight, and are not read.
                    if (!weight[node]) continue;
                    const float* part = from + node * latent.node_step;
                    for (int64_t e = 0; e < size; e++) sum[e] += weight[node] * part[e];
                }
            }
            to += call.functions * size;
        }
    }

    // Where rows of a component begin, from one on, and how far apart they lie.
    struct Begin {
        const float* row;
        int64_t step;
    };
    INLINE Begin begin(int number, int64_t item, int64_t row) const {
        const Latent& latent = query.latent[number];
        if (latent.nodes <= 1)
            return {stored(call, latent, item) + row * latent.row_step, latent.row_step};
        const float* from = combined;
        for (int i = 0; i < number; i++)
            if (query.latent[i].nodes > 1) from += call.functions * query.latent[i].size;
        return {from + (row - *lowest) * latent.size, latent.size};
    }

    INLINE void evaluate_filters(int64_t item, const Rows& rows) const {
        const Begin from = begin(0, item, rows.lowest);
        Base::sum_filters(from.row, from.step, rows.num);
    }
    // A component of real numbers.
    INLINE void evaluate_numbers(int number, int64_t item, const Rows& rows, V* to) const {
        const Begin from = begin(number, item, rows.lowest);
        const int64_t size = query.latent[number].size;
        int64_t at = 0;
        for (; at + 8 <= size; at += 8) {
            V sums[8];
            Base::template sum_rows<8>(from.row + at, from.step, rows.num, sums);
#pragma GCC unroll 8
            for (int e = 0; e < 8; e++) to[at + e] = sums[e];
        }
        for (; at < size; at++) {
            V sums[1];
            Base::template sum_rows<1>(from.row + at, from.step, rows.num, sums);
            to[at] = sums[0];
        }
    }

    // Calls `use(place, lane)` for the places of a block whose components are given.
    template <class F>
    INLINE void for_given(int64_t item, int64_t first, int count, const F& use) const {
        int64_t low = 0, high = query.places;
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (query.place_at[middle] < first) low = middle + 1;
            else high = middle;
        }
        for (; low < query.places && query.place_at[low] < first + count; low++)
            if (query.place_item[low] == item) use(low, int(query.place_at[low] - first));
    }
    // Given filters in their lane of the channel.
    INLINE void put_filters(int64_t place, int lane) const {
        const int64_t size = int64_t(call.rows) * call.columns;
        const float* given = query.latent[0].given + 2 * size * place;
        for (int64_t e = 0; e < size; e++) {
            channel[e].re[lane] = R(given[2 * e]);
            channel[e].im[lane] = -R(given[2 * e + 1]);
        }
    }

    // A row's factor without its magnitude, gain / |gain| e^{-j2πfτ}, at a block's subcarriers.
    INLINE C unit_factor(int64_t item, int row, int64_t first, int count) const {
        const int64_t at = item * inner_rows() + row;
        const double re = query.gain[2 * at], im = query.gain[2 * at + 1];
        const double size = magnitude(item, row);
        const V a = all<R>(R(size > 0 ? re / size : 1)), b = all<R>(R(size > 0 ? im / size : 0));
        const C turn = wave<R>(query.frequency + first, count, query.delay[at]);
        return {a * turn.re - b * turn.im, a * turn.im + b * turn.re};
    }
    INLINE double magnitude(int64_t item, int row) const {
        const double* gain = query.gain + 2 * (item * inner_rows() + row);
        return __builtin_sqrt(gain[0] * gain[0] + gain[1] * gain[1]);
    }
};

}  // namespace
