// Components of recalled links as a model stores them: latent tensors at nodes of the noise power or
// the time, of single precision or of 16 bits, read, widened, combined and summed up a chunk at a
// time.
#pragma once

#include "ahead.h"
#include "folded.h"
#include "known.h"
#include "waves.h"

namespace {

// Base of the sources of recalled links: the filters in the channel's place, other components, and
// the factors of the rows.
template <class R, int K>
struct Recalled : Known<R, K> {
    using Base = Known<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Base::inner_rows;
    using Rows = typename Folded<R>::Rows;

    static constexpr bool READS_CHANNEL = false, EVALUATES = true;

    const Call& call;
    const Query& query;
    C* channel;
    Folded<R> latent;
    // First row of what is combined or widened, and these rows of each component.
    int64_t* lowest;
    float* combined;

    // Rows that a block takes: of the latent tensors, and those that stand in the place of some at its
    // subcarriers.
    struct Taken {
        int64_t item;
        Span span;
        int num;
        int64_t place[Lanes<R>::N];
    };

    static int64_t weights_size(const Call& call) {
        return Folded<R>::scratch_size(call) + Lanes<R>::N;
    }
    // What is summed up from other rows than those that are stored.
    static INLINE bool is_made(const Latent& stored) { return stored.nodes > 1 || stored.scale; }
    static INLINE int64_t width_of(const Latent& stored) {
        return stored.scale ? sizeof(int16_t) : sizeof(float);
    }
    static int64_t scratch_size(const Call& call) {
        int64_t numbers = 0;
        for (const Latent& stored : call.query.latent)
            if (is_made(stored)) numbers += call.functions * stored.size;
        return weights_size(call) + 1 + numbers * sizeof(float) / sizeof(C) + 1;
    }

    INLINE Recalled(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), call(call), query(call.query), channel(channel),
          latent{call, reinterpret_cast<V*>(scratch)} {
        C* rest = scratch + weights_size(call);
        lowest = reinterpret_cast<int64_t*>(rest);
        combined = reinterpret_cast<float*>(rest + 1);
    }

    // Where a row of an item's link begins.
    static INLINE const char* begin_of(const Call& call, const Latent& stored, int64_t item,
                                       int64_t row) {
        const int64_t at = call.query.start[call.query.link[item]] + row;
        return static_cast<const char*>(stored.rows) + at * stored.row_step * width_of(stored);
    }
    static INLINE Ahead ahead(const Call& call, const Chunk& chunk, const Chunk& next) {
        const Span span = span_beyond(call, chunk, next);
        Ahead ahead;
        for (const Latent& stored : call.query.latent) {
            if (!stored.rows) continue;
            const int64_t width = width_of(stored);
            ahead.add_rows(begin_of(call, stored, next.item, span.lowest), stored.row_step * width,
                           span.num, stored.nodes * stored.size * width);
        }
        return ahead;
    }

    // Components of several nodes at the item's value of the axis, and those of 16 bits, all that the
    // chunk reads.
    INLINE void prepare(int64_t item, int64_t first, int64_t count) const {
        const Span span = span_of(call, item, first, count);
        *lowest = span.lowest;
        float* to = combined;
        for (const Latent& stored : query.latent) {
            if (!is_made(stored)) continue;
            for (int64_t row = 0; row < span.num; row++)
                make_row(stored, item, span.lowest + row, to + row * stored.size);
            to += call.functions * stored.size;
        }
    }
    INLINE void make_row(const Latent& stored, int64_t item, int64_t row, float* sum) const {
        const int64_t size = stored.size;
        const char* from = begin_of(call, stored, item, row);
        const float* scale = nullptr;
        if (stored.scale) {
            const int64_t at = query.start[query.link[item]] + row;
            scale = stored.scale + at * stored.scale_step;
        }
        for (int64_t e = 0; e < size; e++) sum[e] = 0;
        for (int64_t node = 0; node < stored.nodes; node++) {
            const float weight = stored.weight ? stored.weight[item * stored.nodes + node] : 1;
            // At a node the others have no weight, and are not read.
            if (!weight) continue;
            const char* part = from + node * stored.node_step * width_of(stored);
            if (scale)
                widen(stored, reinterpret_cast<const int16_t*>(part), scale + node * stored.columns,
                      weight, sum);
            else {
                const float* number = reinterpret_cast<const float*>(part);
                for (int64_t e = 0; e < size; e++) sum[e] += weight * number[e];
            }
        }
    }
    // Integers times the scales of their columns: a pattern of whole vectors that repeats. What a number
    // is is rounded as PyTorch rounds it, before it meets the weight.
    INLINE void widen(const Latent& stored, const int16_t* from, const float* scale, float weight,
                      float* sum) const {
        constexpr int64_t VECTOR = 16;
        float pattern[2 * MOST_ROWS * VECTOR / 2];
        int64_t length = 2 * stored.columns;
        while (length % VECTOR) length *= 2;
        for (int64_t e = 0; e < length; e++) pattern[e] = scale[e / 2 % stored.columns];
        int64_t at = 0;
        for (; at + length <= stored.size; at += length)
            for (int64_t e = 0; e < length; e++)
                sum[at + e] += weight * (pattern[e] * float(from[at + e]));
        for (; at < stored.size; at++)
            sum[at] += weight * (pattern[at % length] * float(from[at]));
    }

    // The rows of a component that a block takes.
    INLINE Rows rows_of(int number, const Taken& taken) const {
        const Latent& stored = query.latent[number];
        const int64_t row = taken.span.lowest, num = taken.span.num;
        if (!is_made(stored)) {
            const char* first = begin_of(call, stored, taken.item, row);
            return {reinterpret_cast<const float*>(first), num, stored.row_step};
        }
        const float* from = combined;
        for (int i = 0; i < number; i++)
            if (is_made(query.latent[i])) from += call.functions * query.latent[i].size;
        return {from + (row - *lowest) * stored.size, num, stored.size};
    }

    // A row that is given takes the place of all others in its lane.
    INLINE Taken find(int64_t item, int64_t first, int count) const {
        Taken taken{item, latent.weigh(item, first, count), 0, {}};
        V* weights = latent.weights;
        const int64_t num = taken.span.num;
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
    INLINE void sum(int number, const Rows& rows, const Taken& taken, int64_t at, V (&sums)[E]) const {
        latent.template sum<E>(rows, at, sums);
        const Latent& stored = query.latent[number];
        for (int i = 0; i < taken.num; i++) {
            const V weight = latent.weights[rows.num + i];
            const float* given = stored.given + taken.place[i] * stored.size + at;
#pragma GCC unroll 16
            for (int e = 0; e < E; e++) sums[e] += weight * R(given[e]);
        }
    }
    // The conjugate of the filters: emitters conjugate what lies there.
    INLINE void evaluate_filters(const Taken& taken) const {
        constexpr int E = MANY_REGISTERS ? 16 : 8;
        const Rows rows = rows_of(0, taken);
        const int64_t size = query.latent[0].size;
        int64_t at = 0;
        for (; at + E <= size; at += E) {
            V sums[E];
            sum(0, rows, taken, at, sums);
#pragma GCC unroll 16
            for (int e = 0; e < E; e += 2) channel[(at + e) / 2] = {sums[e], -sums[e + 1]};
        }
        for (; at < size; at += 2) {
            V sums[2];
            sum(0, rows, taken, at, sums);
            channel[at / 2] = {sums[0], -sums[1]};
        }
    }
    // Some numbers of a component, `step` apart.
    INLINE void evaluate_some(int number, const Taken& taken, int count, int step, V* to) const {
        const Rows rows = rows_of(number, taken);
        for (int i = 0; i < count; i++) {
            V sums[1];
            sum(number, rows, taken, int64_t(i) * step, sums);
            to[i] = sums[0];
        }
    }
    // All of them.
    INLINE void evaluate_numbers(int number, const Taken& taken, V* to) const {
        const Rows rows = rows_of(number, taken);
        const int64_t size = query.latent[number].size;
        int64_t at = 0;
        for (; at + 8 <= size; at += 8) {
            V sums[8];
            sum(number, rows, taken, at, sums);
#pragma GCC unroll 8
            for (int e = 0; e < 8; e++) to[at + e] = sums[e];
        }
        for (; at < size; at++) {
            V sums[1];
            sum(number, rows, taken, at, sums);
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
