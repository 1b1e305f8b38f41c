// A chunk of subcarriers, worked on from the first load to the last store: its memory, and how rows
// of Sionna's tensors come into it and leave it.
#pragma once

#include "ahead.h"
#include "call.h"
#include "folded.h"
#include "vectors.h"

namespace {

// Subcarriers of a chunk: enough that each row of the result is written in long runs. Fewer where
// the channels of so many would not stay in the second-level cache.
constexpr int LONGEST = 64;
constexpr int64_t CACHE = 768 * 1024;
// OFDM symbols that are worked on together.
constexpr int SYMBOLS = 14;
// Rows that are fetched before they are read.
constexpr int EARLY = 4;
// A result of so many bytes is written past the cache: it would not stay there.
constexpr int64_t LARGE = 8 << 20;

// Base of the emitters: a chunk whose filters come from a source.
template <class R, int K, class Source>
struct Work {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;
    static constexpr int N = L::N;

    const Call& call;
    const Chunk& chunk;
    const int num_rows, columns, blocks;
    // Complex vectors of a block's channel, of what its source keeps, and of its symbols; an odd
    // number, as what lies a power of two apart meets in the same sets of the cache.
    const int64_t channel_size, kept_size, symbols_size;
    C *channel, *kept, *symbols, *scratch, *rest;

    static constexpr bool PASSING = Source::FILTERS == Filters::PASSING;

    // Complex vectors that filters, or channels in their place, take of a block.
    static int64_t filters_size(const Call& call) {
        return int64_t(call.rows) * (PASSING ? group_of(call) : call.columns);
    }
    static int64_t most_blocks(const Call& call) {
        const int64_t k = call.rows;
        // What is run through again and again: the channel, or symbols and what they are mixed with.
        const int64_t used = PASSING ? k * (k + SYMBOLS) : filters_size(call);
        const int64_t fit = CACHE / (used * sizeof(C));
        const int64_t most = LONGEST / N;
        return fit < 1 ? 1 : fit < most ? fit : most;
    }
    static int64_t length(const Call& call) { return most_blocks(call) * N; }

    // Bytes of it, with so many complex vectors more for each block.
    static int64_t memory(const Call& call, int64_t more = 0) {
        const int64_t k = call.rows;
        const int64_t block =
            (filters_size(call) | 1) + (Source::kept_size(call) | 1) + (k * SYMBOLS | 1) + more;
        return (most_blocks(call) * block + Source::scratch_size(call)) * sizeof(C);
    }

    // What the next chunk reads, as far as it is still to be fetched into the cache.
    mutable Ahead ahead;

    Work(const Call& call, const Chunk& chunk, const Chunk* next, void* memory)
        : call(call),
          chunk(chunk),
          num_rows(call.rows),
          columns(call.columns),
          blocks((chunk.count + N - 1) / N),
          channel_size(filters_size(call) | 1),
          kept_size(Source::kept_size(call) | 1),
          symbols_size(int64_t(call.rows) * SYMBOLS | 1),
          ahead(next ? read_ahead(call, *next) : Ahead()) {
        const int64_t most = most_blocks(call);
        channel = static_cast<C*>(memory);
        kept = channel + most * channel_size;
        symbols = kept + most * kept_size;
        scratch = symbols + most * symbols_size;
        rest = scratch + Source::scratch_size(call);
    }

    static INLINE Ahead read_ahead(const Call& call, const Chunk& next) {
        if constexpr (Source::FILTERS != Filters::CHANNEL) {
            // Those sources fetch for themselves.
            return {};
        } else {
            const int64_t at = next.item * call.h_item + next.first, size = 2 * sizeof(R);
            return Ahead({reinterpret_cast<const char*>(static_cast<const R*>(call.h) + 2 * at),
                          call.rows, call.columns, call.h_row * size, call.h_column * size,
                          (next.count * size - 1) / LINE + 1});
        }
    }

    INLINE int rows() const { return K ? K : num_rows; }
    // Subcarriers of a block.
    INLINE int count(int block) const {
        const int64_t rest = chunk.count - int64_t(block) * N;
        return rest < N ? int(rest) : N;
    }
    INLINE C load_from(const R* row, int block) const {
        const int n = count(block);
        const R* from = row + 2 * int64_t(block) * N;
        return n == N ? load<R>(from) : load_some<R>(from, n);
    }
    INLINE void store_to(R* row, int block, const C& value) const {
        const int n = count(block);
        R* to = row + 2 * int64_t(block) * N;
        if (n == N) store<R>(to, value);
        else store_some<R>(to, value, n);
    }

    // Where the chunk begins in a row of what is read, what is written.
    INLINE const R* read_from(int64_t row, int64_t symbol) const {
        const int64_t at = chunk.item * call.read_item + row * call.read_row + call.read_symbol[symbol];
        return static_cast<const R*>(call.read) + 2 * (at + chunk.first_in);
    }
    INLINE R* write_to(int64_t row, int64_t symbol) const {
        const int64_t at = chunk.item * call.out_item + row * call.out_row;
        return static_cast<R*>(call.out) + 2 * (at + call.out_symbol[symbol] + chunk.first);
    }

    INLINE Source source(int block) const {
        // Where filters pass by, blocks take turns in the first-level cache.
        C* own = channel + (PASSING ? 0 : block * channel_size);
        return {call, own, kept + block * kept_size, scratch};
    }

    // The blocks' channels, and what the source makes in their place.
    INLINE void load_channel() const {
        if constexpr (Source::FILTERS == Filters::CHANNEL) read_channel();
        if constexpr (Source::EVALUATES) {
            source(0).prepare(chunk.item, chunk.first, chunk.count);
            for (int b = 0; b < blocks; b++)
                source(b).evaluate(chunk.item, chunk.first + int64_t(b) * N, count(b));
        }
        if constexpr (Source::FILTERS == Filters::STORED)
            in_groups([&](int column, int num) {
                for (int b = 0; b < blocks; b++)
                    source(b).make(column, num, channel + b * channel_size + column * rows());
            });
    }
    // Calls `work(first, number)` for all columns, so many at a time, of which is prepared what the
    // chunk takes.
    template <class F>
    INLINE void in_groups(const F& work) const {
        const int group = group_of(call);
        for (int column = 0; column < columns; column += group) {
            const int rest = columns - column, num = rest < group ? rest : group;
            source(0).prepare_columns(column, num);
            work(column, num);
        }
    }
    // The same to apply the filters: all at once where they are there.
    template <class F>
    INLINE void for_columns(const F& work) const {
        if constexpr (PASSING) in_groups(work);
        else work(0, columns);
    }
    // Some columns of the filters of a block, or of the channel in their place, [columns][rows].
    INLINE const C* filters(int block, int column, int num) const {
        if constexpr (PASSING) {
            source(block).make(column, num, channel);
            return channel;
        } else {
            return channel + block * channel_size + int64_t(column) * rows();
        }
    }
    INLINE void read_channel() const {
        const int m = rows();
        const R* h = static_cast<const R*>(call.h) + 2 * (chunk.item * call.h_item + chunk.first);
        for (int k = 0; k < m; k++)
            for (int c = 0; c < columns; c++) {
                const R* row = h + 2 * (k * call.h_row + c * call.h_column);
                for (int b = 0; b < blocks; b++)
                    channel[b * channel_size + c * m + k] = whitened(load_from(row, b), c, b);
            }
    }

    // What is read along a column of the channel, in noise that is the same along all of them.
    INLINE C whitened(const C& value, int column, int block) const {
        if (!call.whitening) return value;
        const int64_t at = chunk.item * call.whitening_item + column * call.whitening_column;
        const R* from = static_cast<const R*>(call.whitening) + at;
        const int n = count(block);
        V factor = all<R>(*from);
        if (call.whitening_step) {
            from += (chunk.first + int64_t(block) * N) * call.whitening_step;
            if (n == N && call.whitening_step == 1) factor = load_vector<V>(from);
            else
                for (int lane = 0; lane < N; lane++)
                    factor[lane] = from[(lane < n ? lane : n - 1) * call.whitening_step];
        }
        return {value.re * factor, value.im * factor};
    }

    INLINE V noise(int block) const {
        if (!call.noise) return V{};
        const R* no = static_cast<const R*>(call.noise) + chunk.item * call.noise_item;
        V value;
        for (int lane = 0; lane < N; lane++) {
            const int64_t at = int64_t(block) * N + lane;
            value[lane] = no[(chunk.first + (at < chunk.count ? at : chunk.count - 1)) * call.noise_step];
        }
        return value;
    }

    // By how much a block's filters amplify rounding.
    INLINE void store_amplification(int block, const V& most) const {
        if (!call.amplification) return;
        R* to = static_cast<R*>(call.amplification) + chunk.item * call.amplification_item;
        store_real<R>(to + chunk.first + int64_t(block) * N, most, count(block));
    }

    // Fetch a row of this chunk into the second-level cache.
    INLINE void fetch(const R* row) const {
        fetch_lines(row, chunk.count * 2 * sizeof(R));
    }

    // Fetch so many more pieces of what the next chunk reads.
    INLINE void fetch_ahead(int num) const {
        for (int i = 0; i < num; i++) ahead.fetch_next();
    }

    // Pieces to fetch at each of so many steps.
    INLINE int ahead_each(int64_t steps) const {
        return int(ahead.size() / (steps < 1 ? 1 : steps)) + 1;
    }

    // The row of the source that a row of the item is.
    INLINE int64_t placed(int64_t row) const {
        const int64_t* order = call.query.order;
        return order ? order[chunk.item * call.rows + row] : row;
    }

    // Symbols of a row to where the sources want them.
    INLINE void load_symbols(int row, int64_t symbol, int num) const {
        const int64_t to = placed(row) * SYMBOLS;
        for (int t = 0; t < num; t++) {
            if (t + EARLY < num) fetch(read_from(row, symbol + t + EARLY));
            const R* from = read_from(row, symbol + t);
            for (int b = 0; b < blocks; b++)
                symbols[b * symbols_size + to + t] = load_from(from, b);
        }
    }

    // Streams, each from a row of the symbols, to where the caller wants them; effective noise
    // likewise.
    INLINE void store_streams(int64_t symbol, int num) const {
        for (int64_t s = 0; s < call.streams; s++) {
            const int64_t from = placed(call.stream[s]) * SYMBOLS;
            for (int t = 0; t < num; t++) {
                R* row = write_to(s, symbol + t);
                for (int b = 0; b < blocks; b++)
                    store_to(row, b, symbols[b * symbols_size + from + t]);
            }
        }
    }
    INLINE void store_no_eff(int block, const V* no_eff) const {
        if (!call.no_eff) return;
        R* to = static_cast<R*>(call.no_eff) + chunk.item * call.no_eff_item + chunk.first;
        for (int64_t s = 0; s < call.streams; s++)
            store_real<R>(to + s * call.no_eff_row + int64_t(block) * N, no_eff[placed(call.stream[s])],
                          count(block));
    }

    // Calls `work(first, number)` for all OFDM symbols, so many at a time.
    template <class F>
    INLINE void for_symbols(const F& work) const {
        for (int64_t symbol = 0; symbol < call.symbols; symbol += SYMBOLS) {
            const int64_t rest = call.symbols - symbol;
            work(symbol, rest < SYMBOLS ? int(rest) : SYMBOLS);
        }
    }
};

}  // namespace
