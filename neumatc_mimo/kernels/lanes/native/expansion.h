// The source of queried filters: sums of few rows of the latent tensor, evaluated where the channel
// would lie and applied from there.
#pragma once

#include "ahead.h"
#include "folded.h"
#include "known.h"

namespace {

template <class R, int K>
struct Expansion : Known<R, K> {
    using Base = Known<R, K>;
    using typename Base::C;
    using typename Base::V;

    static constexpr bool READS_CHANNEL = false, EVALUATES = true;
    static int64_t scratch_size(const Call& call) { return Folded<R>::scratch_size(call); }

    const Call& call;
    C* channel;
    const Folded<R> latent;

    INLINE Expansion(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), call(call), channel(channel),
          latent{call, reinterpret_cast<V*>(scratch)} {}

    // What the next chunk reads.
    static INLINE Ahead ahead(const Call& call, const Chunk& chunk, const Chunk& next) {
        const Span span = span_beyond(call, chunk, next);
        const float* first = call.latent + next.item * call.latent_item;
        const int64_t bytes = 2 * int64_t(call.rows) * call.columns * sizeof(float);
        Ahead ahead;
        ahead.add_rows(first + span.lowest * call.latent_row,
                       call.latent_row * int64_t(sizeof(float)), span.num, bytes);
        return ahead;
    }
    INLINE void prepare(int64_t, int64_t, int64_t) const {}

    // The conjugate of the filters of a block: emitters conjugate what lies there.
    INLINE void evaluate(int64_t item, int64_t first, int count) const {
        const auto rows = latent.rows_of(item, first, count);
        latent.for_numbers(rows, 0, int64_t(call.rows) * call.columns,
                           [&](int64_t i, const V& re, const V& im) { channel[i] = {re, -im}; });
    }
};

}  // namespace
