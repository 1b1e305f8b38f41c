// Bits in the place of estimates: what a receiver has in the cache is demapped, and goes to where
// the data symbols belong.
#pragma once

#include "demap.h"
#include "work.h"

namespace {

// Estimates of a chunk, [rows][symbols] of each block of lanes, and the noise behind them, [rows].
template <class R>
struct Streams {
    const typename Lanes<R>::C* symbol;
    int64_t symbol_row, symbol_block;
    const typename Lanes<R>::V* no;
    int64_t no_block;
};

// Subcarriers of a chunk that carry data in one row and symbol, from their bits [count][2 bits].
template <class R>
void store_runs(const Call& call, const Chunk& chunk, int64_t pair, const R* bits, R* llr) {
    const int64_t each = 2 * call.bits, end = chunk.first + chunk.count;
    // The first run that ends behind the chunk's begin.
    int64_t low = call.run_at[pair], most = call.run_at[pair + 1];
    for (int64_t high = most; low < high;) {
        const int64_t middle = (low + high) / 2;
        if (call.run[3 * middle] + call.run[3 * middle + 1] > chunk.first) high = middle;
        else low = middle + 1;
    }
    for (const int64_t* run = call.run + 3 * low; low < most && run[0] < end; low++, run += 3) {
        const int64_t from = run[0] > chunk.first ? run[0] : chunk.first;
        const int64_t until = run[0] + run[1] < end ? run[0] + run[1] : end;
        memcpy(llr + (run[2] + from - run[0]) * each, bits + (from - chunk.first) * each,
               (until - from) * each * sizeof(R));
    }
}

// The streams of so many symbols of a call, from one on.
template <class R>
void store_bits_of(const Call& call, const Chunk& chunk, const Streams<R>& from, int64_t symbol,
                   int num) {
    constexpr int N = Lanes<R>::N;
    alignas(LINE) R bits[LONGEST * 2 * MOST_BITS];
    const int blocks = int((chunk.count + N - 1) / N);
    for (int64_t s = 0; s < call.streams; s++)
        for (int t = 0; t < num; t++) {
            const int64_t k = call.stream[s], row = call.data_row[s];
            const int64_t pair = row * call.grid_symbols + call.data_symbol[symbol + t];
            if (call.run_at[pair] == call.run_at[pair + 1]) continue;
            const auto* first = from.symbol + k * from.symbol_row + t;
            demap_estimates<R>(qam_of(call), {first, from.symbol_block, from.no + k, from.no_block},
                               blocks, bits);
            R* llr = static_cast<R*>(call.llr) + chunk.item * call.llr_item + row * call.llr_row;
            store_runs<R>(call, chunk, pair, bits, llr + call.data_begin[symbol + t]);
        }
}

}  // namespace
