// The source of queried filters: sums of few rows of the latent tensor, evaluated where the channel
// would lie and applied from there.
#pragma once

#include "ahead.h"
#include "known.h"

namespace {

template <class R, int K>
struct Expansion : Known<R, K> {
    using Base = Known<R, K>;
    using typename Base::C;
    using typename Base::V;

    static constexpr bool READS_CHANNEL = false, EVALUATES = true;
    static int64_t scratch_size(const Call& call) { return call.functions / 2 + 1; }

    const Call& call;
    C* channel;
    // [functions]: what each lane takes of the block's rows.
    V* weights;

    INLINE Expansion(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), call(call), channel(channel),
          weights(reinterpret_cast<V*>(scratch)) {}

    // The rows that some subcarriers take: the first one, and how many.
    static INLINE Rows rows_of(const Call& call, int64_t first, int64_t count) {
        const int64_t terms = call.terms, *term = call.term + first * terms;
        int64_t lowest = term[0], highest = term[0];
        for (int64_t i = 1; i < count * terms; i++) {
            lowest = term[i] < lowest ? term[i] : lowest;
            highest = term[i] > highest ? term[i] : highest;
        }
        return {lowest, highest - lowest + 1};
    }
    // Those of the next chunk that another one does not read.
    static INLINE Rows rows_beyond(const Call& call, const Chunk& chunk, const Chunk& next) {
        Rows rows = rows_of(call, next.first, next.count);
        if (chunk.item != next.item) return rows;
        const Rows read = rows_of(call, chunk.first, chunk.count);
        const int64_t end = rows.lowest + rows.num;
        const int64_t from = read.lowest + read.num;
        if (read.lowest <= rows.lowest && rows.lowest < from && from <= end)
            rows = {from, end - from};
        return rows;
    }
    static INLINE Ahead ahead(const Call& call, const Chunk& chunk, const Chunk& next) {
        const Rows rows = rows_beyond(call, chunk, next);
        const float* latents = call.latent + next.item * call.latent_item;
        const int64_t bytes = 2 * int64_t(call.rows) * call.columns * sizeof(float);
        Ahead ahead;
        ahead.add_rows(latents + rows.lowest * call.latent_row, call.latent_row, rows.num, bytes);
        return ahead;
    }

    // The block's rows, and in `weights` what each lane takes of them.
    INLINE Rows weigh(int64_t first, int count) const {
        const int64_t terms = call.terms, *term = call.term + first * terms;
        const float* weight = call.weight + first * terms;
        const Rows rows = rows_of(call, first, count);
        for (int64_t c = 0; c < rows.num; c++) weights[c] = V{};
        for (int lane = 0; lane < count; lane++)
            for (int64_t i = 0; i < terms; i++)
                weights[term[lane * terms + i] - rows.lowest][lane] += R(weight[lane * terms + i]);
        return rows;
    }

    // Adds up `E` neighbouring numbers from `num` rows of a latent tensor, `step` numbers apart.
    template <int E>
    INLINE void sum_rows(const float* row, int64_t step, int64_t num, V (&sums)[E]) const {
        for (int64_t c = 0; c < num; c++, row += step) {
            const V weight = weights[c];
#pragma GCC unroll 16
            for (int e = 0; e < E; e++) sums[e] += weight * R(row[e]);
        }
    }

    // The conjugate of the filters: emitters conjugate what lies there. `sum(at, sums)` adds up the
    // numbers from one on.
    template <class F>
    INLINE void sum_filters(const F& sum) const {
        constexpr int E = MANY_REGISTERS ? 16 : 8;
        const int64_t size = 2 * int64_t(call.rows) * call.columns;
        int64_t at = 0;
        for (; at + E <= size; at += E) {
            V sums[E] = {};
            sum(at, sums);
#pragma GCC unroll 16
            for (int e = 0; e < E; e += 2) channel[(at + e) / 2] = {sums[e], -sums[e + 1]};
        }
        for (; at < size; at += 2) {
            V sums[2] = {};
            sum(at, sums);
            channel[at / 2] = {sums[0], -sums[1]};
        }
    }

    INLINE void prepare(int64_t, int64_t, int64_t) const {}
    INLINE void evaluate(int64_t item, int64_t first, int count) const {
        const Rows rows = weigh(first, count);
        const float* latents = call.latent + item * call.latent_item;
        latents += rows.lowest * call.latent_row;
        sum_filters([&](int64_t at, auto& sums) INLINE_LAMBDA {
            sum_rows(latents + at, call.latent_row, rows.num, sums);
        });
    }
};

}  // namespace
