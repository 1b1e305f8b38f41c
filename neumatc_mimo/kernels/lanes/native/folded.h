// Rows of a latent tensor, of which few make the numbers of a subcarrier: 8 for splines of degree
// seven.
#pragma once

#include "call.h"
#include "vectors.h"

namespace {

// Columns of filters that are prepared for at once: what is made of them stays in the cache.
INLINE int group_of(const Call& call) {
    constexpr int TOGETHER = 128, FEWEST = 8;
    const int num = TOGETHER / call.rows / FEWEST * FEWEST;
    return num < FEWEST ? FEWEST : num;
}

// Rows of a latent tensor: the first one, and how many.
struct Span {
    int64_t lowest, num;
};
// Those that some subcarriers of an item take.
INLINE Span span_of(const Call& call, int64_t item, int64_t first, int64_t count) {
    const int64_t* lead = call.lead + item * call.lead_item + first;
    int64_t lowest = lead[0], highest = lead[0];
    for (int64_t i = 1; i < count; i++) {
        lowest = lead[i] < lowest ? lead[i] : lowest;
        highest = lead[i] > highest ? lead[i] : highest;
    }
    return {lowest, highest - lowest + call.terms};
}

template <class R>
struct Folded {
    using L = Lanes<R>;
    using V = typename L::V;

    static int64_t scratch_size(const Call& call) { return call.functions / 2 + 1; }

    const Call& call;
    // [functions]: what each lane takes of the rows of a block, from the lowest one on.
    V* weights;

    // Which rows a block of subcarriers takes: where they begin, how many, and how far apart they lie.
    struct Rows {
        const float* first;
        int64_t num, step;
    };
    INLINE Rows rows_of(int64_t item, int64_t first, int count) const {
        return rows_in(item, weigh(item, first, count));
    }
    INLINE Rows rows_in(int64_t item, const Span& span) const {
        const float* latent = call.latent + item * call.latent_item;
        return {latent + span.lowest * call.latent_row, span.num, call.latent_row};
    }

    // The same of any latent tensor, and what each lane takes of them.
    INLINE Span weigh(int64_t item, int64_t first, int count) const {
        const int64_t terms = call.terms, *lead = call.lead + item * call.lead_item + first;
        const float* weight = call.weight + item * call.weight_item + first * terms;
        const Span span = span_of(call, item, first, count);
        for (int64_t c = 0; c < span.num; c++) weights[c] = V{};
        for (int lane = 0; lane < L::N; lane++) {
            // The last one fills the lanes beyond it.
            const int64_t at = lane < count ? lane : count - 1;
            for (int64_t i = 0; i < terms; i++)
                weights[lead[at] - span.lowest + i][lane] += R(weight[at * terms + i]);
        }
        return span;
    }

    // Which row of the channel a row of the link is.
    INLINE int place(int64_t item, int64_t row) const {
        return int(call.place ? call.place[item * call.rows + row] : row);
    }

    // The factor of a row of the channel in each lane.
    INLINE typename L::C factor(int64_t item, int64_t first, int count, int row) const {
        const float* from = call.factor + 2 * (item * call.factor_item + first * call.rows + row);
        R numbers[2 * L::N];
        for (int lane = 0; lane < L::N; lane++) {
            const float* one = from + 2 * call.rows * (lane < count ? lane : count - 1);
            numbers[2 * lane] = R(one[0]), numbers[2 * lane + 1] = R(one[1]);
        }
        return load<R>(numbers);
    }

    // `E` neighbouring numbers, from `at` on.
    template <int E>
    INLINE void sum(const Rows& rows, int64_t at, V (&sums)[E]) const {
#pragma GCC unroll 16
        for (int e = 0; e < E; e++) sums[e] = V{};
        const float* row = rows.first + at;
        for (int64_t c = 0; c < rows.num; c++, row += rows.step) {
            const V weight = weights[c];
#pragma GCC unroll 16
            for (int e = 0; e < E; e++) sums[e] += weight * R(row[e]);
        }
    }

    // Calls `put(number, re, im)` for `num` complex numbers, from the real number `at` on.
    template <class F>
    INLINE void for_numbers(const Rows& rows, int64_t at, int64_t num, const F& put) const {
        constexpr int E = MANY_REGISTERS ? 16 : 8;
        int64_t i = 0;
        for (; i + E / 2 <= num; i += E / 2) {
            V sums[E];
            sum<E>(rows, at + 2 * i, sums);
#pragma GCC unroll 16
            for (int e = 0; e < E; e += 2) put(i + e / 2, sums[e], sums[e + 1]);
        }
        for (; i < num; i++) {
            V sums[2];
            sum<2>(rows, at + 2 * i, sums);
            put(i, sums[0], sums[1]);
        }
    }
};

}  // namespace
