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
void store_runs(const Detected& to, const Chunk& chunk, int64_t pair, const R* bits, R* llr) {
    const int64_t each = 2 * to.qam.bits, end = chunk.first + chunk.count;
    // The first run that ends behind the chunk's begin.
    int64_t low = to.run_at[pair], most = to.run_at[pair + 1];
    for (int64_t high = most; low < high;) {
        const int64_t middle = (low + high) / 2;
        if (to.run[3 * middle] + to.run[3 * middle + 1] > chunk.first) high = middle;
        else low = middle + 1;
    }
    for (const int64_t* run = to.run + 3 * low; low < most && run[0] < end; low++, run += 3) {
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
    const Detected& to = *call.detected;
    alignas(LINE) R bits[LONGEST * 2 * MOST_BITS];
    const int blocks = int((chunk.count + N - 1) / N);
    for (int64_t s = 0; s < call.streams; s++)
        for (int t = 0; t < num; t++) {
            const int64_t k = call.stream[s], pair = to.row[s] * to.symbols + to.symbol[symbol + t];
            if (to.run_at[pair] == to.run_at[pair + 1]) continue;
            const auto* first = from.symbol + k * from.symbol_row + t;
            demap_estimates<R>(to.qam, {first, from.symbol_block, from.no + k, from.no_block}, blocks,
                               bits);
            R* llr = static_cast<R*>(to.llr) + chunk.item * to.llr_item + to.row[s] * to.llr_row;
            store_runs<R>(to, chunk, pair, bits, llr + to.begin[symbol + t]);
        }
}

}  // namespace
