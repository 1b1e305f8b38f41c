// The source of queried filters: sums of few rows of the latent tensor, a few columns at a time.
#pragma once

#include "folded.h"
#include "known.h"

namespace {

template <class R, int K>
struct Expansion : Known<R, K> {
    using Base = Known<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Rows = typename Folded<R>::Rows;

    static constexpr Filters FILTERS = Filters::PASSING;
    static constexpr bool EVALUATES = true;
    static int64_t kept_size(const Call& call) { return Folded<R>::scratch_size(call) + 1; }
    static int64_t scratch_size(const Call&) { return 1; }

    const Call& call;
    // Of a block, and all of those that a chunk takes.
    const Folded<R> latent;
    Rows *taken, *all_taken;

    INLINE Expansion(const Call& call, C*, C* kept, C* scratch)
        : Base(call, nullptr, kept, scratch), call(call), latent{call, reinterpret_cast<V*>(kept)},
          taken(reinterpret_cast<Rows*>(kept + Folded<R>::scratch_size(call))),
          all_taken(reinterpret_cast<Rows*>(scratch)) {
        static_assert(sizeof(Rows) <= sizeof(C));
    }

    INLINE void prepare(int64_t item, int64_t first, int64_t count) const {
        *all_taken = latent.rows_in(item, span_of(call, item, first, count));
    }
    INLINE void evaluate(int64_t item, int64_t first, int count) const {
        *taken = latent.rows_of(item, first, count);
    }
    // Lines of the columns that follow are fetched meanwhile.
    INLINE void prepare_columns(int column, int num) const {
        const int64_t size = 2 * int64_t(num) * call.rows;
        if (column + num >= call.columns) return;
        const float* row = all_taken->first + 2 * int64_t(column + num) * call.rows;
        for (int64_t c = 0; c < all_taken->num; c++, row += all_taken->step)
            fetch_lines(row, size * int64_t(sizeof(float)));
    }
    // The conjugates of columns at a block's subcarriers: emitters conjugate what lies there.
    INLINE void make(int column, int num, C* to) const {
        latent.for_numbers(*taken, 2 * int64_t(column) * call.rows, int64_t(num) * call.rows,
                           [&](int64_t i, const V& re, const V& im) { to[i] = {re, -im}; });
    }
};

}  // namespace
