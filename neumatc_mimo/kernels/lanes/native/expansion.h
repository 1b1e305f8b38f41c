// The source of queried filters: sums of few rows of a latent tensor, 8 of them for splines of degree
// seven, evaluated where the channel would lie and applied from there.
#pragma once

#include "known.h"

namespace {

template <class R, int K>
struct Expansion : Known<R, K> {
    using Base = Known<R, K>;
    using typename Base::C;
    using typename Base::V;

    static constexpr bool READS_CHANNEL = false;
    static int64_t scratch_size(const Call& call) { return call.functions / 2 + 1; }

    const Call& call;
    C* channel;
    // [functions]: what each lane takes of the block's rows.
    V* weights;

    INLINE Expansion(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), call(call), channel(channel),
          weights(reinterpret_cast<V*>(scratch)) {}

    // `E` neighbouring numbers of the filters from `num` rows of the latent tensor.
    template <int E>
    INLINE void sum_rows(const float* row, int64_t num, V (&sums)[E]) const {
#pragma GCC unroll 16
        for (int e = 0; e < E; e++) sums[e] = V{};
        for (int64_t c = 0; c < num; c++, row += call.h_row) {
            const V weight = weights[c];
#pragma GCC unroll 16
            for (int e = 0; e < E; e++) sums[e] += weight * R(row[e]);
        }
    }

    // The conjugate of the filters of a block: emitters conjugate what lies there.
    INLINE void evaluate(int64_t item, int64_t first, int count) const {
        const int64_t terms = call.terms, *term = call.term + first * terms;
        const float* weight = call.weight + first * terms;
        int64_t lowest = term[0], highest = term[0];
        for (int64_t i = 1; i < count * terms; i++) {
            lowest = term[i] < lowest ? term[i] : lowest;
            highest = term[i] > highest ? term[i] : highest;
        }
        const int64_t num = highest - lowest + 1;
        for (int64_t c = 0; c < num; c++) weights[c] = V{};
        for (int lane = 0; lane < count; lane++)
            for (int64_t i = 0; i < terms; i++)
                weights[term[lane * terms + i] - lowest][lane] += R(weight[lane * terms + i]);
        const float* rows = static_cast<const float*>(call.h) + item * call.h_item;
        rows += lowest * call.h_row;
        constexpr int E = MANY_REGISTERS ? 16 : 8;
        const int64_t size = 2 * int64_t(call.rows) * call.columns;
        int64_t at = 0;
        for (; at + E <= size; at += E) {
            V sums[E];
            sum_rows<E>(rows + at, num, sums);
#pragma GCC unroll 16
            for (int e = 0; e < E; e += 2) channel[(at + e) / 2] = {sums[e], -sums[e + 1]};
        }
        for (; at < size; at += 2) {
            V sums[2];
            sum_rows<2>(rows + at, num, sums);
            channel[at / 2] = {sums[0], -sums[1]};
        }
    }
};

}  // namespace
