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
    using Base::call, Base::inner_rows, Base::weights;

    const Query& query;
    // First row of what is combined, and the combined rows of each component.
    int64_t* lowest;
    float* combined;

    // Rows that a block takes: of the latent tensors, and those that stand in the place of some at its
    // subcarriers.
    struct Taken {
        int64_t item;
        Rows rows;
        int num;
        int64_t place[Lanes<R>::N];
    };

    static int64_t scratch_size(const Call& call) {
        int64_t numbers = 0;
        for (const Latent& latent : call.query.latent)
            if (latent.nodes > 1) numbers += call.functions * latent.size;
        return Base::scratch_size(call) + Lanes<R>::N + 1 + numbers * sizeof(float) / sizeof(C) + 1;
    }

    INLINE Recalled(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), query(call.query) {
        C* rest = scratch + Base::scratch_size(call) + Lanes<R>::N;
        lowest = reinterpret_cast<int64_t*>(rest);
        combined = reinterpret_cast<float*>(rest + 1);
    }

    static INLINE const float* stored(const Call& call, const Latent& latent, int64_t item) {
        return latent.rows + call.query.link[item] * latent.link_step;
    }
    static INLINE Ahead ahead(const Call& call, const Chunk& chunk, const Chunk& next) {
        const Rows rows = Base::rows_beyond(call, chunk, next);
        Ahead ahead;
        for (const Latent& latent : call.query.latent) {
            if (!latent.rows) continue;
            const float* first = stored(call, latent, next.item) + rows.lowest * latent.row_step;
            const int64_t bytes = latent.nodes * latent.size * sizeof(float);
            ahead.add_rows(first, latent.row_step, rows.num, bytes);
        }
        return ahead;
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
    INLINE Begin rows_from(int number, int64_t item, int64_t row) const {
        const Latent& latent = query.latent[number];
        if (latent.nodes <= 1)
            return {stored(call, latent, item) + row * latent.row_step, latent.row_step};
        const float* from = combined;
        for (int i = 0; i < number; i++)
            if (query.latent[i].nodes > 1) from += call.functions * query.latent[i].size;
        return {from + (row - *lowest) * latent.size, latent.size};
    }

    // A row that is given takes the place of all others in its lane.
    INLINE Taken find(int64_t item, int64_t first, int count) const {
        Taken taken{item, Base::weigh(first, count), 0, {}};
        const int64_t num = taken.rows.num;
        int64_t low = 0, high = query.places;
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (query.place_at[middle] < first) low = middle + 1;
            else high = middle;
        }
        for (; low < query.places && query.place_at[low] < first + count; low++) {
            if (query.place_item[low] != item) continue;
            const int lane = int(query.place_at[low] - first);
            for (int64_t c = 0; c < num; c++) weights[c][lane] = 0;
            V only{};
            only[lane] = 1;
            weights[num + taken.num] = only;
            taken.place[taken.num++] = low;
        }
        return taken;
    }
    // Numbers of a component from one on.
    template <int E>
    INLINE void sum(int number, const Begin& from, const Taken& taken, int64_t at, V (&sums)[E]) const {
        Base::template sum_rows<E>(from.row + at, from.step, taken.rows.num, sums);
        const Latent& latent = query.latent[number];
        for (int i = 0; i < taken.num; i++) {
            const V weight = weights[taken.rows.num + i];
            const float* given = latent.given + taken.place[i] * latent.size + at;
#pragma GCC unroll 16
            for (int e = 0; e < E; e++) sums[e] += weight * R(given[e]);
        }
    }
    INLINE void evaluate_filters(const Taken& taken) const {
        const Begin from = rows_from(0, taken.item, taken.rows.lowest);
        Base::sum_filters([&](int64_t at, auto& sums) INLINE_LAMBDA { sum(0, from, taken, at, sums); });
    }
    // Some numbers of a component, `step` apart.
    INLINE void evaluate_some(int number, const Taken& taken, int count, int step, V* to) const {
        const Begin from = rows_from(number, taken.item, taken.rows.lowest);
        for (int i = 0; i < count; i++) {
            V sums[1] = {};
            sum(number, from, taken, int64_t(i) * step, sums);
            to[i] = sums[0];
        }
    }
    // All of them.
    INLINE void evaluate_numbers(int number, const Taken& taken, V* to) const {
        const Begin from = rows_from(number, taken.item, taken.rows.lowest);
        const int64_t size = query.latent[number].size;
        int64_t at = 0;
        for (; at + 8 <= size; at += 8) {
            V sums[8] = {};
            sum(number, from, taken, at, sums);
#pragma GCC unroll 8
            for (int e = 0; e < 8; e++) to[at + e] = sums[e];
        }
        for (; at < size; at++) {
            V sums[1] = {};
            sum(number, from, taken, at, sums);
            to[at] = sums[0];
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
