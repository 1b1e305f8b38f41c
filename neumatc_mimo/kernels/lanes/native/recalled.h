// Components of recalled links as a model stores them: latent tensors at nodes of the noise power or
// the time, of single precision or of 16 bits, read, widened, combined and summed up, filters a few
// columns at a time.
#pragma once

#include "folded.h"
#include "known.h"
#include "waves.h"

namespace {

// Base of the sources of recalled links: the filters, other components, and the factors of the rows.
template <class R, int K>
struct Recalled : Known<R, K> {
    using Base = Known<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Base::inner_rows;

    static constexpr Filters FILTERS = Filters::PASSING;
    static constexpr bool EVALUATES = true;
    // Numbers of a vector that 16 bits are widened to.
    static constexpr int64_t VECTOR = 16;

    // Rows that a chunk takes of the latent tensors of an item.
    struct Chunked {
        int64_t item;
        Span span;
        // And the columns that are prepared: the first one, and how many.
        int first, num;
    };
    // Rows that a block takes, and those that stand in the place of some at its subcarriers.
    struct Taken {
        Span span;
        int num;
        int64_t place[Lanes<R>::N];
    };

    const Call& call;
    const Query& query;
    // Of a block: what each lane takes of the rows, from the lowest one on, and then of those that
    // are given.
    Folded<R> latent;
    Taken* taken;
    // Of a chunk: scales of the filters' columns, [rows][nodes][pattern] numbers; the filters' rows
    // and those of the other components, where these are made of others than those that are stored.
    Chunked* chunked;
    float *scales, *columns, *combined;

    static int64_t complex_vectors(int64_t bytes) { return (bytes - 1) / int64_t(sizeof(C)) + 1; }
    static int64_t weights_size(const Call& call) {
        return Folded<R>::scratch_size(call) + Lanes<R>::N;
    }
    static int64_t kept_size(const Call& call) {
        return weights_size(call) + complex_vectors(sizeof(Taken));
    }
    // What is summed up from other rows than those that are stored.
    static INLINE bool is_made(const Latent& stored) { return stored.nodes > 1 || stored.scale; }
    static INLINE int64_t width_of(const Latent& stored) {
        return stored.scale ? sizeof(int16_t) : sizeof(float);
    }
    // Real numbers of a column of the filters.
    static INLINE int64_t height(const Call& call) { return 2 * int64_t(call.rows); }
    // Of the scales of a row: whole vectors that repeat, and no more than there are numbers.
    static INLINE int64_t pattern_of(const Latent& stored) {
        if (!stored.scale) return 0;
        int64_t length = 2 * stored.columns;
        while (length % VECTOR) length *= 2;
        return length < stored.size ? length : stored.size;
    }
    static int64_t scales_size(const Call& call) {
        const Latent& filters = call.query.latent[0];
        return call.functions * filters.nodes * pattern_of(filters);
    }
    static int64_t columns_size(const Call& call) {
        return is_made(call.query.latent[0]) ? call.functions * group_of(call) * height(call) : 0;
    }
    static int64_t scratch_size(const Call& call) {
        int64_t numbers = scales_size(call) + columns_size(call);
        for (int i = 1; i < MOST_LATENTS; i++)
            if (is_made(call.query.latent[i])) numbers += call.functions * call.query.latent[i].size;
        return 1 + complex_vectors(numbers * sizeof(float) + 1);
    }

    INLINE Recalled(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), call(call), query(call.query),
          latent{call, reinterpret_cast<V*>(kept)},
          taken(reinterpret_cast<Taken*>(kept + weights_size(call))),
          chunked(reinterpret_cast<Chunked*>(scratch)),
          scales(reinterpret_cast<float*>(scratch + 1)), columns(scales + scales_size(call)),
          combined(columns + columns_size(call)) {
        static_assert(sizeof(Chunked) <= sizeof(C));
    }

    // What all blocks of a chunk take of the small components, and the scales of the filters.
    INLINE void prepare(int64_t item, int64_t first, int64_t count) const {
        const Span span = span_of(call, item, first, count);
        *chunked = {item, span, 0, 0};
        float* to = combined;
        for (int i = 1; i < MOST_LATENTS; i++) {
            const Latent& stored = query.latent[i];
            if (!is_made(stored)) continue;
            alignas(LINE) float pattern[MOST_ROWS * VECTOR];
            for (int64_t row = 0; row < span.num; row++)
                combine(stored, row, 0, stored.size, to + row * stored.size,
                        [&](int64_t node) { return scales_to(pattern, stored, row, node); });
            to += call.functions * stored.size;
        }
        const Latent& filters = query.latent[0];
        const int64_t length = pattern_of(filters);
        for (int64_t at = 0; length && at < span.num * filters.nodes; at++)
            scales_to(scales + at * length, filters, at / filters.nodes, at % filters.nodes);
    }
    // Likewise of some columns of the filters; the lines of those that follow are fetched meanwhile.
    INLINE void prepare_columns(int column, int num) const {
        chunked->first = column, chunked->num = num;
        const Latent& filters = query.latent[0];
        const int64_t size = num * height(call), from = column * height(call);
        const int64_t length = pattern_of(filters);
        for (int64_t row = 0; row < chunked->span.num; row++) {
            fetch(filters, row, from + size, size);
            if (!is_made(filters)) continue;
            const float* scale = scales + row * filters.nodes * length;
            combine(filters, row, from, size, columns + row * size,
                    [&](int64_t node) { return scale + node * length; });
        }
    }

    // The conjugates of some of these columns at a block's subcarriers: emitters conjugate what lies
    // there.
    INLINE void make(int column, int num, C* to) const {
        constexpr int E = MANY_REGISTERS ? 16 : 8;
        const Latent& filters = query.latent[0];
        const int64_t above = taken->span.lowest - chunked->span.lowest;
        const int64_t begin = column * height(call), size = num * height(call);
        const bool made = is_made(filters);
        const int64_t step = made ? chunked->num * height(call) : filters.row_step;
        const float* first = made ? columns + above * step + (column - chunked->first) * height(call)
                                  : static_cast<const float*>(begin_of(filters, above)) + begin;
        const Rows rows{first, taken->span.num, step};
        int64_t at = 0;
        for (; at + E <= size; at += E) {
            V sums[E];
            sum(filters, rows, at, begin, sums);
#pragma GCC unroll 16
            for (int e = 0; e < E; e += 2) to[(at + e) / 2] = {sums[e], -sums[e + 1]};
        }
        for (; at < size; at += 2) {
            V sums[2];
            sum(filters, rows, at, begin, sums);
            to[at / 2] = {sums[0], -sums[1]};
        }
    }

    // All numbers of the second component at a block's subcarriers.
    INLINE void evaluate_numbers(V* to) const {
        const Latent& stored = query.latent[1];
        const int64_t size = stored.size, above = taken->span.lowest - chunked->span.lowest;
        const bool made = is_made(stored);
        const int64_t step = made ? size : stored.row_step;
        const float* first = made ? combined + above * step
                                  : static_cast<const float*>(begin_of(stored, above));
        const Rows rows{first, taken->span.num, step};
        int64_t at = 0;
        for (; at + 8 <= size; at += 8) {
            V sums[8];
            sum(stored, rows, at, 0, sums);
#pragma GCC unroll 8
            for (int e = 0; e < 8; e++) to[at + e] = sums[e];
        }
        for (; at < size; at++) {
            V sums[1];
            sum(stored, rows, at, 0, sums);
            to[at] = sums[0];
        }
    }

    // Which rows a block takes; one that is given takes the place of all others in its lane.
    INLINE void find(int64_t item, int64_t first, int count) const {
        taken->span = latent.weigh(item, first, count);
        taken->num = 0;
        V* weights = latent.weights;
        const int64_t num = taken->span.num;
        int64_t low = 0, high = query.places;
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (query.place_at[middle] < first) low = middle + 1;
            else high = middle;
        }
        for (; low < query.places && query.place_at[low] < first + count; low++) {
            if (query.place_item[low] != item) continue;
            const int lane = int(query.place_at[low] - first);
            for (int64_t c = 0; c < num; c++) weights[c][lane] = 0;
            V only{};
            only[lane] = 1;
            weights[num + taken->num] = only;
            taken->place[taken->num++] = low;
        }
    }
    // In which lanes rows are given.
    INLINE V given() const {
        V some{};
        for (int i = 0; i < taken->num; i++) some += latent.weights[taken->span.num + i];
        return some;
    }

    // A row's factor without its magnitude, gain / |gain| e^{-j2πfτ}, at a block's subcarriers.
    INLINE C unit_factor(int64_t item, int row, int64_t first, int count) const {
        const int64_t at = item * inner_rows() + row;
        const double re = query.gain[2 * at], im = query.gain[2 * at + 1];
        const double size = magnitude(item, row);
        const V a = all<R>(R(size > 0 ? re / size : 1)), b = all<R>(R(size > 0 ? im / size : 0));
        const C turn = wave<R>(query.frequency + first, count, query.delay[at]);
        return {a * turn.re - b * turn.im, a * turn.im + b * turn.re};
    }
    INLINE double magnitude(int64_t item, int row) const {
        const double* gain = query.gain + 2 * (item * inner_rows() + row);
        return __builtin_sqrt(gain[0] * gain[0] + gain[1] * gain[1]);
    }

  private:
    using Rows = typename Folded<R>::Rows;

    // Where the item's link has a row of a component, counted from the chunk's lowest one on.
    INLINE int64_t place_of(int64_t row) const {
        return query.start[query.link[chunked->item]] + chunked->span.lowest + row;
    }
    INLINE const void* begin_of(const Latent& stored, int64_t row) const {
        const int64_t bytes = stored.row_step * width_of(stored);
        return static_cast<const char*>(stored.rows) + place_of(row) * bytes;
    }
    INLINE void fetch(const Latent& stored, int64_t row, int64_t from, int64_t size) const {
        if (from >= stored.size) return;
        const int64_t width = width_of(stored);
        const char* begin = static_cast<const char*>(begin_of(stored, row)) + from * width;
        for (int64_t node = 0; node < stored.nodes; node++, begin += stored.node_step * width)
            fetch_lines(begin, size * width);
    }

    // Scales of a row and node, repeated: one for both parts of a number.
    INLINE const float* scales_to(float* to, const Latent& stored, int64_t row,
                                  int64_t node) const {
        if (!stored.scale) return nullptr;
        const float* from = stored.scale + place_of(row) * stored.scale_step + node * stored.columns;
        const int64_t length = pattern_of(stored), once = 2 * stored.columns;
        for (int64_t e = 0; e < once && e < length; e++) to[e] = from[e / 2];
        for (int64_t e = once; e < length; e++) to[e] = to[e - once];
        return to;
    }

    // Some numbers of a row at the item's value of the axis, from one on that a pattern begins with:
    // sums over nodes of what is stored, integers times their scales first. What a number is is
    // rounded as PyTorch rounds it, before it meets the weight.
    template <class F>
    INLINE void combine(const Latent& stored, int64_t row, int64_t from, int64_t size, float* sum,
                        const F& scale) const {
        const char* begin = static_cast<const char*>(begin_of(stored, row));
        if (stored.nodes > 1)
            for (int64_t e = 0; e < size; e++) sum[e] = 0;
        for (int64_t node = 0; node < stored.nodes; node++) {
            const int64_t at = chunked->item * stored.nodes + node;
            const float weight = stored.weight ? stored.weight[at] : 1;
            // At a node the others have no weight, and are not read.
            if (!weight) continue;
            const char* part = begin + (node * stored.node_step + from) * width_of(stored);
            const int64_t length = pattern_of(stored);
            if (stored.nodes == 1)
                widen(part, scale(node), length, size,
                      [&](int64_t e, float number) { sum[e] = number; });
            else if (stored.scale)
                widen(part, scale(node), length, size,
                      [&](int64_t e, float number) { sum[e] += weight * number; });
            else
                for (int64_t e = 0; e < size; e++)
                    sum[e] += weight * reinterpret_cast<const float*>(part)[e];
        }
    }
    // Integers of 16 bits times a pattern of scales that repeats.
    template <class F>
    INLINE void widen(const char* from, const float* pattern, int64_t length, int64_t size,
                      const F& put) const {
        const auto* number = reinterpret_cast<const int16_t*>(from);
        for (int64_t e = 0; e < size; e += length) {
            const int64_t rest = size - e, count = rest < length ? rest : length;
            for (int64_t i = 0; i < count; i++) put(e + i, pattern[i] * float(number[e + i]));
        }
    }

    // Numbers of a component at a block's subcarriers: `at` of the rows, which begin at `begin` of the
    // component.
    template <int E>
    INLINE void sum(const Latent& stored, const Rows& rows, int64_t at, int64_t begin,
                    V (&sums)[E]) const {
        latent.template sum<E>(rows, at, sums);
        for (int i = 0; i < taken->num; i++) {
            const V weight = latent.weights[rows.num + i];
            const float* given = stored.given + taken->place[i] * stored.size + begin + at;
#pragma GCC unroll 16
            for (int e = 0; e < E; e++) sums[e] += weight * R(given[e]);
        }
    }
};

}  // namespace
