// The emitter that precodes: symbols are mixed as the source says, and multiplied with A^H.
#pragma once

#include "tile.h"
#include "work.h"

namespace {

template <class R, int K, class Source>
struct Precoder : Work<R, K, Source> {
    using Base = Work<R, K, Source>;
    using typename Base::C;
    using typename Base::V;
    using Base::N, Base::blocks, Base::call, Base::chunk, Base::columns, Base::fetch_ahead;
    using Base::rows, Base::source, Base::symbols, Base::symbols_size, Base::write_to;

    // Whether the result is written past the cache, and rows that the product runs over.
    bool streams_past;
    int inner;

    // Beside the chunk: what the effective channel of a block is made of.
    static int64_t scratch_bytes(const Call& call) {
        const int64_t more = call.effective ? (2 * call.rows + call.columns) * call.streams : 0;
        return Base::memory(call) + more * sizeof(C);
    }

    Precoder(const Call& call, const Chunk& chunk, const Chunk* next, void* memory)
        : Base(call, chunk, next, memory), inner(source(0).inner_rows()) {
        int64_t written = call.items * call.columns * call.symbols * 2 * sizeof(R);
        streams_past = written * call.stretch[1] > LARGE;
    }

    // What `I` antennas send in a chunk, collected in the cache: rows are written as a whole.
    template <int I>
    using Sent = R[I][SYMBOLS][2 * LONGEST];

    // `I` antennas and `T` symbols of a block: one run through the streams.
    template <int I, int T>
    INLINE void precode_tile(const C* h, int t, int block, Sent<I>& sent) const {
        const C* z = symbols + block * symbols_size + t;
        product_tile<Conjugate::LEFT, I, T>(
            Matrix<C>{h, rows(), 1}, Matrix<C>{z, SYMBOLS, 1}, inner,
            [&](int i, int s, const C& value) { store<R>(sent[i][t + s] + 2 * block * N, value); });
    }

    template <int I>
    INLINE void precode_block(int column, int num, int block, int fetched, Sent<I>& sent) const {
        constexpr int T = MANY_REGISTERS ? 3 : 2;
        const C* h = Base::filters(block, column, I);
        int t = 0;
        for (; t + T <= num; t += T) {
            precode_tile<I, T>(h, t, block, sent);
            fetch_ahead(fetched);
        }
        if (T > 2 && t + 2 <= num) {
            precode_tile<I, 2>(h, t, block, sent);
            t += 2;
        }
        if (t < num) precode_tile<I, 1>(h, t, block, sent);
        fetch_ahead(fetched);
    }

    template <int I>
    INLINE void precode_columns(int column, int64_t symbol, int num, int fetched) const {
        alignas(LINE) Sent<I> sent;
        for (int b = 0; b < blocks; b++) precode_block<I>(column, num, b, fetched, sent);
        for (int i = 0; i < I; i++)
            for (int s = 0; s < num; s++)
                write_row<R>(write_to(column + i, symbol + s), sent[i][s],
                             2 * chunk.count * sizeof(R), streams_past);
    }

    INLINE void precode(int64_t symbol, int num) const {
        constexpr int I = MANY_REGISTERS ? 4 : 2, T = MANY_REGISTERS ? 3 : 2;
        const int sent = inner < call.streams ? inner : int(call.streams);
        for (int k = 0; k < sent; k++) Base::load_symbols(k, symbol, num);
        for (int b = 0; b < blocks; b++)
            source(b).precode(symbols + b * symbols_size, num, SYMBOLS);
        const int steps = (num + T - 1) / T * blocks;
        const int fetched = Base::ahead_each(int64_t(columns) / I * steps);
        Base::for_columns([&](int first, int many) {
            int column = first;
            for (; column + I <= first + many; column += I)
                precode_columns<I>(column, symbol, num, fetched);
            for (; column < first + many; column++)
                precode_columns<1>(column, symbol, num, fetched);
        });
    }

    // The channel times the filter: as what it makes of streams of ones.
    INLINE void store_effective(int block) const {
        const int streams = int(call.streams);
        C *sent = Base::rest, *made = sent + rows() * streams, *v = made + rows() * streams;
        source(block).effective(sent, v, made);
        R* to = static_cast<R*>(call.effective);
        to += 2 * (chunk.item * call.effective_item + chunk.first);
        for (int k = 0; k < rows(); k++)
            for (int s = 0; s < streams; s++)
                Base::store_to(to + 2 * (k * call.effective_row + s * call.effective_stream), block,
                               made[k * streams + s]);
    }

    void run() const {
        Base::load_channel();
        source(0).begin();
        for (int b = 0; b < blocks; b++) {
            Base::store_amplification(b, source(b).precoder(Base::noise(b)));
            if (call.effective) store_effective(b);
        }
        Base::for_symbols([&](int64_t symbol, int num) { precode(symbol, num); });
        if (streams_past) finish_streaming();
    }
};

}  // namespace
