// A chunk of subcarriers, worked on from the first load to the last store: a source that fills it
// from the channel, and emitters that apply it to the OFDM symbols.
#pragma once

#include "call.h"
#include "definite.h"

namespace {

// Subcarriers of a chunk: enough that each row of the result is written in long runs. Fewer where
// the channels of so many would not stay in the second-level cache.
constexpr int LONGEST = 64;
constexpr int64_t CACHE = 768 * 1024;
// OFDM symbols that are worked on together.
constexpr int SYMBOLS = 14;
// Symbols that a receiver works on at once.
constexpr int RECEIVED = MANY_REGISTERS ? 3 : 2;
// Rows that are fetched before they are read.
constexpr int EARLY = 4;
// A result of so many bytes is written past the cache: it would not stay there.
constexpr int64_t LARGE = 8 << 20;

template <class R, int K>
struct Work {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;
    static constexpr int N = L::N;

    const Call& call;
    const Chunk& chunk;
    const int num_rows, columns, blocks;
    // Complex vectors of a block's channel, factor and symbols; an odd number, as what lies a power
    // of two apart meets in the same sets of the cache.
    const int64_t channel_size, factor_size, symbols_size, received_size;
    C *channel, *factor, *symbols, *received, *inverse;
    V *before, *after, *scale, *lost, *own, *diagonal;

    static int64_t most_blocks(const Call& call) {
        const int64_t fit = CACHE / (int64_t(call.rows) * call.columns * sizeof(C));
        const int64_t most = LONGEST / N;
        return fit < 1 ? 1 : fit < most ? fit : most;
    }
    static int64_t length(const Call& call) { return most_blocks(call) * N; }

    static int64_t scratch(const Call& call) {
        const int64_t k = call.rows, m = call.columns, blocks = most_blocks(call);
        const int64_t symbols = (k * SYMBOLS | 1) + (call.kind == 0 ? 0 : m * RECEIVED | 1);
        const int64_t complex = blocks * ((k * m | 1) + (k * k | 1) + symbols) + k * k;
        return complex * sizeof(C) + (2 * blocks + 4) * k * sizeof(V);
    }

    // Where rows of the next chunk's channel begin that are still to be fetched into the cache.
    const R* ahead;
    mutable int ahead_row = 0, ahead_column = 0;
    int64_t ahead_lines;
    // Whether the result is written past the cache.
    bool streams_past;

    Work(const Call& call, const Chunk& chunk, const Chunk* next, void* memory)
        : call(call),
          chunk(chunk),
          num_rows(call.rows),
          columns(call.columns),
          blocks((chunk.count + N - 1) / N),
          channel_size(int64_t(call.rows) * call.columns | 1),
          factor_size(int64_t(call.rows) * call.rows | 1),
          symbols_size(int64_t(call.rows) * SYMBOLS | 1),
          received_size(call.kind == 0 ? 0 : int64_t(call.columns) * RECEIVED | 1) {
        const int64_t k = call.rows, most = most_blocks(call);
        channel = static_cast<C*>(memory);
        factor = channel + most * channel_size;
        symbols = factor + most * factor_size;
        received = symbols + most * symbols_size;
        inverse = received + most * received_size;
        before = reinterpret_cast<V*>(inverse + k * k);
        after = before + most * k;
        scale = after + most * k;
        lost = scale + k;
        own = lost + k;
        diagonal = own + k;
        const int64_t at = next ? next->item * call.h_item + next->first : 0;
        ahead = next ? static_cast<const R*>(call.h) + 2 * at : nullptr;
        int64_t written = call.items * call.columns * call.symbols * 2 * sizeof(R);
        written *= call.stretch[1];
        streams_past = call.kind == 0 && written > LARGE;
        ahead_lines = next ? (next->count * 2 * sizeof(R) - 1) / LINE + 1 : 0;
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

    INLINE Definite<R, K> source(int block) const {
        return {channel + block * channel_size, factor + block * factor_size, inverse,
                scale, lost, own, diagonal, num_rows, columns};
    }

    INLINE void load_channel() const {
        const int m = rows();
        const R* h = static_cast<const R*>(call.h) + 2 * (chunk.item * call.h_item + chunk.first);
        for (int k = 0; k < m; k++)
            for (int c = 0; c < columns; c++) {
                const R* row = h + 2 * (k * call.h_row + c * call.h_column);
                for (int b = 0; b < blocks; b++)
                    channel[b * channel_size + c * m + k] = load_from(row, b);
            }
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

    // Factors of the symbols before the solve and after it, of a filter with columns of unit norm.
    INLINE void precode_factors(const Definite<R, K>& made, V* before, V* after) const {
        const int m = rows();
        if (call.noise) made.multiply_out();
        for (int k = 0; k < m; k++) {
            // w_k^H w_k of A^H D C^-1, whose columns differ from W's in their norms alone.
            V power = diagonal[k];
            if (call.noise) power = power * made.gain(k) - made.leaked(k);
            // A column of zeros stays one, as in Sionna.
            before[k] = power > V{} ? all<R>(1) / root<R>(power) : all<R>(1);
            after[k] = scale[k];
        }
    }

    // Likewise of a filter with gains of one, and the noise behind it.
    INLINE void receive_factors(const Definite<R, K>& made, int block, V* before, V* after) const {
        const int m = rows();
        const bool below = made.any_below();
        if (below) made.multiply_out();
        for (int k = 0; k < m; k++) {
            const V loss = lost[k] * diagonal[k];
            const V gain = below ? made.gain(k) : all<R>(1) - loss;
            before[k] = scale[k];
            // Of a stream that does not arrive nothing is known: zero, in infinite noise.
            after[k] = gain == V{} ? V{} : scale[k] / gain;
            own[k] = loss / gain;
        }
        R* no_eff = static_cast<R*>(call.no_eff) + chunk.item * call.no_eff_item + chunk.first;
        for (int64_t s = 0; s < call.streams; s++) {
            R* to = no_eff + s * call.no_eff_row + int64_t(block) * N;
            store_real<R>(to, own[call.stream[s]], count(block));
        }
    }

    INLINE void fill() const {
        load_channel();
        R* amplification = static_cast<R*>(call.amplification);
        amplification += chunk.item * call.amplification_item + chunk.first;
        for (int b = 0; b < blocks; b++) {
            const Definite<R, K> made = source(b);
            const V most = made.prepare(noise(b));
            store_real<R>(amplification + int64_t(b) * N, most, count(b));
            V *first = before + b * rows(), *last = after + b * rows();
            if (call.kind == 0) precode_factors(made, first, last);
            else receive_factors(made, b, first, last);
        }
    }

    // Fetch a row of this chunk into the second-level cache.
    INLINE void fetch(const R* row) const {
        const int64_t lines = (chunk.count * 2 * sizeof(R) - 1) / LINE + 1;
        for (int64_t line = 0; line < lines; line++)
            __builtin_prefetch(reinterpret_cast<const char*>(row) + LINE * line, 0, 2);
    }

    // Fetch so many more rows of the next chunk's channel into the second-level cache: their lines
    // lie far apart, and no processor foresees them.
    INLINE void fetch_ahead(int num) const {
        if (!ahead) return;
        for (int i = 0; i < num; i++) {
            if (ahead_row == rows()) return;
            const int64_t at = ahead_row * call.h_row + ahead_column * call.h_column;
            const char* row = reinterpret_cast<const char*>(ahead + 2 * at);
            for (int64_t line = 0; line < ahead_lines; line++)
                __builtin_prefetch(row + LINE * line, 0, 2);
            if (++ahead_column == columns) ahead_column = 0, ahead_row++;
        }
    }

    // Rows to fetch at each of so many steps.
    INLINE int ahead_each(int64_t steps) const {
        return int(int64_t(rows()) * columns / (steps < 1 ? 1 : steps)) + 1;
    }

    // ---- A^H z

    // `I` antennas and `T` symbols of a block: one run through the streams.
    template <int I, int T>
    INLINE void precode_tile(int column, int t, int block, R (&into)[I][T][2 * LONGEST]) const {
        const int m = rows();
        const C* h = channel + block * channel_size + int64_t(column) * m;
        const C* z = symbols + block * symbols_size + t;
        C sum[I][T];
#pragma GCC unroll 8
        for (int i = 0; i < I; i++)
#pragma GCC unroll 8
            for (int s = 0; s < T; s++) sum[i][s] = C{};
        for (int k = 0; k < m; k++) {
            C sent[T];
#pragma GCC unroll 8
            for (int s = 0; s < T; s++) sent[s] = z[k * SYMBOLS + s];
#pragma GCC unroll 8
            for (int i = 0; i < I; i++) {
                const C a = h[i * m + k];
#pragma GCC unroll 8
                for (int s = 0; s < T; s++) add_conjugate(sum[i][s], a, sent[s]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < I; i++)
#pragma GCC unroll 8
            for (int s = 0; s < T; s++) store<R>(into[i][s] + 2 * block * N, sum[i][s]);
    }

    // The same in all blocks, collected in the first-level cache: rows are written as a whole.
    template <int I, int T>
    INLINE void precode_blocks(int column, int64_t symbol, int t, int fetched) const {
        alignas(LINE) R written[I][T][2 * LONGEST];
        for (int b = 0; b < blocks; b++) {
            precode_tile<I, T>(column, t, b, written);
            fetch_ahead(fetched);
        }
        for (int i = 0; i < I; i++)
            for (int s = 0; s < T; s++)
                write_row<R>(write_to(column + i, symbol + t + s), written[i][s],
                             2 * chunk.count * sizeof(R), streams_past);
    }

    template <int I>
    INLINE void precode_columns(int column, int64_t symbol, int num, int fetched) const {
        constexpr int T = MANY_REGISTERS ? 3 : 2;
        int t = 0;
        for (; t + T <= num; t += T) precode_blocks<I, T>(column, symbol, t, fetched);
        if (T > 2 && t + 2 <= num) {
            precode_blocks<I, 2>(column, symbol, t, fetched);
            t += 2;
        }
        if (t < num) precode_blocks<I, 1>(column, symbol, t, fetched);
    }

    INLINE void precode(int64_t symbol, int num) const {
        constexpr int I = MANY_REGISTERS ? 4 : 2, T = MANY_REGISTERS ? 3 : 2;
        const int m = rows();
        for (int k = 0; k < m; k++)
            for (int t = 0; t < num; t++) {
                if (t + EARLY < num) fetch(read_from(k, symbol + t + EARLY));
                const R* row = read_from(k, symbol + t);
                for (int b = 0; b < blocks; b++)
                    symbols[b * symbols_size + k * SYMBOLS + t] = load_from(row, b);
            }
        for (int b = 0; b < blocks; b++)
            source(b).template solve<false>(symbols + b * symbols_size, num, SYMBOLS,
                                            before + b * m, after + b * m);
        const int fetched = ahead_each(int64_t(columns) / I * ((num + T - 1) / T) * blocks);
        int column = 0;
        for (; column + I <= columns; column += I)
            precode_columns<I>(column, symbol, num, fetched);
        for (; column < columns; column++) precode_columns<1>(column, symbol, num, fetched);
    }

    // ---- conj(A) y

    // What all antennas received in `T` symbols, into `received`, [columns][T] of each block: whole
    // rows of the chunk one after the other, and those to come fetched meanwhile.
    template <int T>
    INLINE void load_received(int64_t symbol, int fetched) const {
        for (int s = 0; s < T; s++) {
            const R* y = read_from(0, symbol + s);
            for (int c = 0; c < columns; c++, y += 2 * call.read_row) {
                if (c + EARLY < columns) fetch(y + 2 * EARLY * call.read_row);
                for (int b = 0; b < blocks; b++)
                    received[b * received_size + c * T + s] = load_from(y, b);
                fetch_ahead(fetched);
            }
        }
    }

    // `I` streams and `T` symbols of a block: one run through the antennas.
    template <int I, int T>
    INLINE void receive_tile(int row, int t, int block) const {
        const int m = rows();
        const C* h = channel + block * channel_size + row;
        const C* y = received + block * received_size;
        C sum[I][T];
#pragma GCC unroll 8
        for (int i = 0; i < I; i++)
#pragma GCC unroll 8
            for (int s = 0; s < T; s++) sum[i][s] = C{};
        for (int column = 0; column < columns; column++) {
            C got[T];
#pragma GCC unroll 8
            for (int s = 0; s < T; s++) got[s] = y[column * T + s];
#pragma GCC unroll 8
            for (int i = 0; i < I; i++) {
                const C a = h[column * m + i];
#pragma GCC unroll 8
                for (int s = 0; s < T; s++) add_conjugate(sum[i][s], a, got[s]);
            }
        }
        C* z = symbols + block * symbols_size + row * SYMBOLS + t;
#pragma GCC unroll 8
        for (int i = 0; i < I; i++)
#pragma GCC unroll 8
            for (int s = 0; s < T; s++) z[i * SYMBOLS + s] = sum[i][s];
    }

    // All streams of T symbols.
    template <int T>
    INLINE void receive_symbols(int64_t symbol, int t, int fetched) const {
        constexpr int I = MANY_REGISTERS ? 4 : 2;
        load_received<T>(symbol + t, fetched);
        const int m = rows();
        for (int b = 0; b < blocks; b++) {
            int row = 0;
            for (; row + I <= m; row += I) receive_tile<I, T>(row, t, b);
            for (; row < m; row++) receive_tile<1, T>(row, t, b);
        }
    }

    INLINE void receive(int64_t symbol, int num) const {
        constexpr int T = RECEIVED;
        const int m = rows(), fetched = ahead_each(int64_t(columns) * num);
        int t = 0;
        for (; t + T <= num; t += T) receive_symbols<T>(symbol, t, fetched);
        if (T > 2 && t + 2 <= num) {
            receive_symbols<2>(symbol, t, fetched);
            t += 2;
        }
        if (t < num) receive_symbols<1>(symbol, t, fetched);
        for (int b = 0; b < blocks; b++)
            source(b).template solve<true>(symbols + b * symbols_size, num, SYMBOLS,
                                           before + b * m, after + b * m);
        for (int64_t s = 0; s < call.streams; s++)
            for (int t = 0; t < num; t++) {
                R* row = write_to(s, symbol + t);
                for (int b = 0; b < blocks; b++)
                    store_to(row, b, symbols[b * symbols_size + call.stream[s] * SYMBOLS + t]);
            }
    }

    void run() const {
        fill();
        for (int64_t symbol = 0; symbol < call.symbols; symbol += SYMBOLS) {
            const int64_t rest = call.symbols - symbol;
            const int num = rest < SYMBOLS ? int(rest) : SYMBOLS;
            if (call.kind == 0) precode(symbol, num);
            else receive(symbol, num);
        }
        if (streams_past) finish_streaming();
    }
};

}  // namespace
