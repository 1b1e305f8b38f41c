// The emitters that receive: products with conj(A), mixed before or after as the source says, or with
// the singular vectors that it has.
#pragma once

#include "detect.h"
#include "tile.h"
#include "work.h"

namespace {

// Symbols that a receiver works on at once.
constexpr int RECEIVED = MANY_REGISTERS ? 3 : 2;

template <class R, int K, class Source>
struct Receiver : Work<R, K, Source> {
    using Base = Work<R, K, Source>;
    using typename Base::C;
    using typename Base::V;
    using Base::blocks, Base::call, Base::channel, Base::channel_size, Base::columns, Base::fetch;
    using Base::fetch_ahead, Base::load_from, Base::read_from, Base::rows, Base::source;
    using Base::symbols, Base::symbols_size;

    static constexpr bool PASSING = Base::PASSING;

    // Filters that are there are run through once for few symbols; those that pass by meet all symbols.
    static int64_t received_size(const Call& call) {
        return (PASSING ? int64_t(group_of(call)) * SYMBOLS : int64_t(call.columns) * RECEIVED) | 1;
    }
    static int64_t scratch_bytes(const Call& call) {
        return Base::memory(call, received_size(call)) +
               Base::most_blocks(call) * call.rows * sizeof(V);
    }

    // What the antennas received, [columns][symbols], and effective noise, [rows], of each block.
    C* received;
    V* no_eff;

    Receiver(const Call& call, const Chunk& chunk, const Chunk* next, void* memory)
        : Base(call, chunk, next, memory), received(Base::rest) {
        no_eff = reinterpret_cast<V*>(received + Base::most_blocks(call) * received_size(call));
    }

    // Columns that pass by, and what they add to all streams of all symbols.
    INLINE void receive_columns(int column, int num_columns, int64_t symbol, int num) const {
        constexpr int I = MANY_REGISTERS ? 4 : 2, T = RECEIVED;
        const auto row = [&](int i) { return read_from(column + i / num, symbol + i % num); };
        for (int i = 0; i < num_columns * num; i++) {
            if (i + EARLY < num_columns * num) fetch(row(i + EARLY));
            const R* y = row(i);
            const int c = i / num, s = i % num;
            for (int b = 0; b < blocks; b++)
                received[b * received_size(call) + c * SYMBOLS + s] =
                    Base::whitened(load_from(y, b), column + c, b);
        }
        for (int b = 0; b < blocks; b++) {
            const C* w = Base::filters(b, column, num_columns);
            int t = 0;
            for (; t + T <= num; t += T) add_rows<I, T>(w, num_columns, t, b);
            if (T > 2 && t + 2 <= num) {
                add_rows<I, 2>(w, num_columns, t, b);
                t += 2;
            }
            if (t < num) add_rows<I, 1>(w, num_columns, t, b);
        }
    }
    template <int I, int T>
    INLINE void add_rows(const C* w, int num_columns, int t, int block) const {
        int row = 0;
        for (; row + I <= rows(); row += I) add_tile<I, T>(w, num_columns, row, t, block);
        for (; row < rows(); row++) add_tile<1, T>(w, num_columns, row, t, block);
    }
    template <int I, int T>
    INLINE void add_tile(const C* w, int num_columns, int row, int t, int block) const {
        const C* y = received + block * received_size(call) + t;
        C* z = symbols + block * symbols_size + row * SYMBOLS + t;
        product_tile<Conjugate::LEFT, I, T>(
            Matrix<C>{w + row, 1, rows()}, Matrix<C>{y, SYMBOLS, 1}, num_columns,
            [&](int i, int s, const C& value) {
                C& sum = z[i * SYMBOLS + s];
                sum = {sum.re + value.re, sum.im + value.im};
            });
    }

    // What all antennas received in `T` symbols, into `received`, [columns][T] of each block: whole
    // rows of the chunk one after the other, and those to come fetched meanwhile.
    template <int T>
    INLINE void load_received(int64_t symbol, int fetched) const {
        for (int s = 0; s < T; s++) {
            const R* y = read_from(0, symbol + s);
            for (int c = 0; c < columns; c++, y += 2 * call.read_row) {
                if (c + EARLY < columns) fetch(y + 2 * EARLY * call.read_row);
                for (int b = 0; b < blocks; b++)
                    received[b * received_size(call) + c * T + s] =
                        Base::whitened(load_from(y, b), c, b);
                fetch_ahead(fetched);
            }
        }
    }

    // `I` streams and `T` symbols of a block: one run through the antennas.
    template <int I, int T>
    INLINE void receive_tile(int row, int t, int block) const {
        const int m = rows();
        const C* h = channel + block * channel_size + row;
        const C* y = received + block * received_size(call);
        C* z = symbols + block * symbols_size + row * SYMBOLS + t;
        store_tile<Conjugate::LEFT, I, T>(Matrix<C>{h, 1, m}, Matrix<C>{y, T, 1}, columns, z, SYMBOLS,
                                          1);
    }

    // All streams of T symbols.
    template <int T>
    INLINE void receive_symbols(int64_t symbol, int t, int fetched) const {
        constexpr int I = MANY_REGISTERS ? 4 : 2;
        load_received<T>(symbol + t, fetched);
        const int m = rows();
        for (int b = 0; b < blocks; b++) {
            source(b).prefilter(received + b * received_size(call), T);
            int row = 0;
            for (; row + I <= m; row += I) receive_tile<I, T>(row, t, b);
            for (; row < m; row++) receive_tile<1, T>(row, t, b);
        }
    }

    INLINE void receive_all_columns(int64_t symbol, int num) const {
        for (int b = 0; b < blocks; b++)
            for (int64_t i = 0; i < symbols_size; i++) symbols[b * symbols_size + i] = C{};
        Base::for_columns([&](int column, int num_columns) {
            receive_columns(column, num_columns, symbol, num);
        });
    }
    INLINE void receive_all_symbols(int64_t symbol, int num) const {
        constexpr int T = RECEIVED;
        const int fetched = Base::ahead_each(int64_t(columns) * num);
        int t = 0;
        for (; t + T <= num; t += T) receive_symbols<T>(symbol, t, fetched);
        if (T > 2 && t + 2 <= num) {
            receive_symbols<2>(symbol, t, fetched);
            t += 2;
        }
        if (t < num) receive_symbols<1>(symbol, t, fetched);
    }

    INLINE void receive(int64_t symbol, int num) const {
        if constexpr (PASSING) receive_all_columns(symbol, num);
        else receive_all_symbols(symbol, num);
        for (int b = 0; b < blocks; b++)
            source(b).receive(symbols + b * symbols_size, num, SYMBOLS);
        if (call.llr)
            store_bits_of<R>(call, Base::chunk, {symbols, SYMBOLS, symbols_size, no_eff, rows()},
                             symbol, num);
        else Base::store_streams(symbol, num);
    }

    void run() const {
        Base::load_channel();
        for (int b = 0; b < blocks; b++) {
            V* behind = no_eff + b * rows();
            Base::store_amplification(b, source(b).receiver(Base::noise(b), behind));
            Base::store_no_eff(b, behind);
        }
        Base::for_symbols([&](int64_t symbol, int num) { receive(symbol, num); });
    }
};

// At the rows of the channel: each receives one antenna's symbols.
template <class R, int K, class Source>
struct Combiner : Work<R, K, Source> {
    using Base = Work<R, K, Source>;
    using typename Base::V;
    using Base::blocks, Base::call, Base::rows, Base::source, Base::symbols, Base::symbols_size;

    static int64_t scratch_bytes(const Call& call) {
        return Base::memory(call) + 2 * call.rows * sizeof(V);
    }

    V *noise, *no_eff;

    Combiner(const Call& call, const Chunk& chunk, const Chunk* next, void* memory)
        : Base(call, chunk, next, memory), noise(reinterpret_cast<V*>(Base::rest)) {
        no_eff = noise + call.rows;
        const R* given = static_cast<const R*>(call.noise) + chunk.item * call.noise_item;
        for (int k = 0; k < rows(); k++) noise[k] = all<R>(given[k * call.noise_step]);
    }

    INLINE void combine(int64_t symbol, int num) const {
        for (int k = 0; k < rows(); k++) {
            Base::load_symbols(k, symbol, num);
            Base::fetch_ahead(Base::ahead_each(rows()));
        }
        for (int b = 0; b < blocks; b++)
            source(b).combine(symbols + b * symbols_size, num, SYMBOLS);
        Base::store_streams(symbol, num);
    }

    void run() const {
        Base::load_channel();
        source(0).begin();
        for (int b = 0; b < blocks; b++) {
            Base::store_amplification(b, source(b).combiner(noise, no_eff));
            Base::store_no_eff(b, no_eff);
        }
        Base::for_symbols([&](int64_t symbol, int num) { combine(symbol, num); });
    }
};

}  // namespace
