// Log-likelihood ratios of the bits of square QAM, whose bits lie on one axis each.
//
// With the real part r of a symbol, levels l_j and t_j = 2 r l_j - l_j² the ratio of a bit is
// ln Σ_1 exp(t_j / no) - ln Σ_0 exp(t_j / no) over levels whose bit is one and zero, or that with
// the largest term in the place of each sum. Levels are halved bit by bit, from the last one on: of
// two neighbours the one has a zero there, the other a one, and what both are together is all that
// the bits before need.
#pragma once

#include "call.h"
#include "elementary.h"

namespace {

// Bits of an axis at most: 1024-QAM has so many.
constexpr int MOST_BITS = 5;

// How symbols are demapped.
struct SquareQAM {
    // Bits of an axis, whether all points count or the nearest ones, and whether bits are decided.
    int64_t bits, sums, hard;
    // The levels of the real axis, then of the imaginary one, [2][2^bits], in the order of labels.
    const void* levels;
};

template <class Given>
INLINE SquareQAM qam_of(const Given& call) {
    return {call.bits, call.sums, call.hard, call.levels};
}

template <class V>
struct Largest {
    INLINE V operator()(const V& a, const V& b) const { return largest(a, b); }
};
template <class R>
struct Sum {
    INLINE Scaled<R> operator()(const Scaled<R>& a, const Scaled<R>& b) const { return sum(a, b); }
};

// Of 2^B terms: what those are together whose bit is zero and is one, for each bit; all of them.
template <int B, class T, class F>
INLINE T halve(T* terms, T (&zero)[B], T (&one)[B], const F& together) {
#pragma GCC unroll 8
    for (int bit = B - 1; bit >= 0; bit--) {
        T none = terms[0], some = terms[1];
        terms[0] = together(none, some);
#pragma GCC unroll 16
        for (int j = 1; j < 1 << bit; j++) {
            const T left = terms[2 * j], right = terms[2 * j + 1];
            none = together(none, left);
            some = together(some, right);
            terms[j] = together(left, right);
        }
        zero[bit] = none;
        one[bit] = some;
    }
    return terms[0];
}

// The ratios of the bits of an axis, from twice its levels and their squares. `SUMS`: not the
// largest terms alone.
template <class R, int B, bool SUMS>
INLINE void demap_axis(typename Lanes<R>::V part, typename Lanes<R>::V over_no, const R* slope,
                       const R* square, typename Lanes<R>::V (&ratio)[B]) {
    using V = typename Lanes<R>::V;
    constexpr int NUM = 1 << B;
    V terms[NUM], kept[NUM], zero[B], one[B];
#pragma GCC unroll 32
    for (int j = 0; j < NUM; j++)
        kept[j] = terms[j] = part * all<R>(slope[j]) - all<R>(square[j]);
    const V most = halve<B>(terms, zero, one, Largest<V>{});
#pragma GCC unroll 8
    for (int bit = 0; bit < B; bit++) ratio[bit] = (one[bit] - zero[bit]) * over_no;
    // Of one term a sum is that term.
    if constexpr (!SUMS || B == 1) return;
    Scaled<R> powers[NUM], without[B], with[B];
    const V scale = over_no * R(1 / LN_2);
#pragma GCC unroll 32
    for (int j = 0; j < NUM; j++)
        powers[j] = power_of_two<R>(largest(all<R>(-LARGEST_ROUNDED<R>), (kept[j] - most) * scale));
    halve<B>(powers, without, with, Sum<R>{});
#pragma GCC unroll 8
    for (int bit = 0; bit < B; bit++) {
        // Larger ratios are their largest terms' to rounding; powers so small there are not.
        const V limit = all<R>(LARGEST_ROUNDED<R> / 2);
        const auto within = (ratio[bit] < limit) & (ratio[bit] > -limit);
        ratio[bit] = within ? log_ratio(with[bit], without[bit]) : ratio[bit];
    }
}

// Pairs of C vectors by turns, the first of each, then the second, ...: vector `O` of these. `S`
// vectors are already where they belong.
template <int C, int O, int S, class V, int... I>
INLINE V woven(const V (&from)[C], V made, std::integer_sequence<int, I...> all) {
    constexpr int N = sizeof...(I);
    if constexpr (S == C) return made;
    else
        return woven<C, O, S + 1>(
            from,
            __builtin_shufflevector(
                made, from[S],
                ((O * N + I) / 2 % C == S ? N + (O * N + I) / 2 / C * 2 + I % 2 : I)...),
            all);
}

template <int C, class V, class All, int... O>
INLINE void store_woven(void* to, const V (&from)[C], All all, std::integer_sequence<int, O...>) {
    (store_vector(static_cast<V*>(to) + O, woven<C, O, 0>(from, from[0], all)), ...);
}

// Ratios of the bits of N symbols, [N][2 B]: the axes take turns, the real one first.
template <class R, int B>
INLINE void store_bits(R* to, const typename Lanes<R>::V (&real)[B],
                       const typename Lanes<R>::V (&imag)[B]) {
    using L = Lanes<R>;
    typename L::V early[B], late[B];
#pragma GCC unroll 8
    for (int bit = 0; bit < B; bit++) {
        early[bit] = lower(real[bit], imag[bit], typename L::All{});
        late[bit] = upper(real[bit], imag[bit], typename L::All{});
    }
    const std::make_integer_sequence<int, B> outputs;
    store_woven(to, early, typename L::All{}, outputs);
    store_woven(to + B * L::N, late, typename L::All{}, outputs);
}

// Symbols of which each `step`-th is demapped, and the noise behind them.
template <class R>
struct Estimates {
    const typename Lanes<R>::C* symbol;
    int64_t symbol_step;
    const typename Lanes<R>::V* no;
    int64_t no_step;
};

// So many vectors of symbols, into [blocks N][2 B].
template <class R, int B, bool SUMS>
void demap_blocks(const SquareQAM& qam, const Estimates<R>& from, int blocks, R* to) {
    using V = typename Lanes<R>::V;
    constexpr int NUM = 1 << B;
    R slope[2][NUM], square[2][NUM];
    for (int j = 0; j < 2 * NUM; j++) {
        const R level = static_cast<const R*>(qam.levels)[j];
        slope[j / NUM][j % NUM] = 2 * level;
        square[j / NUM][j % NUM] = level * level;
    }
    for (int b = 0; b < blocks; b++) {
        const auto symbol = from.symbol[b * from.symbol_step];
        // As Sionna's: zero is as the smallest number.
        const V over_no = all<R>(1) / largest(all<R>(Format<R>::tiny), from.no[b * from.no_step]);
        V real[B], imag[B];
        demap_axis<R, B, SUMS>(symbol.re, over_no, slope[0], square[0], real);
        demap_axis<R, B, SUMS>(symbol.im, over_no, slope[1], square[1], imag);
        if (qam.hard)
            for (int bit = 0; bit < B; bit++) {
                real[bit] = real[bit] > V{} ? all<R>(1) : V{};
                imag[bit] = imag[bit] > V{} ? all<R>(1) : V{};
            }
        store_bits<R, B>(to + int64_t(b) * Lanes<R>::N * 2 * B, real, imag);
    }
}

template <class R, bool SUMS>
void demap_with(const SquareQAM& qam, const Estimates<R>& from, int blocks, R* to) {
    static_assert(MOST_BITS == 5);
    switch (qam.bits) {
        case 1: return demap_blocks<R, 1, false>(qam, from, blocks, to);
        case 2: return demap_blocks<R, 2, SUMS>(qam, from, blocks, to);
        case 3: return demap_blocks<R, 3, SUMS>(qam, from, blocks, to);
        case 4: return demap_blocks<R, 4, SUMS>(qam, from, blocks, to);
        case 5: return demap_blocks<R, 5, SUMS>(qam, from, blocks, to);
    }
}

template <class R>
void demap_estimates(const SquareQAM& qam, const Estimates<R>& from, int blocks, R* to) {
    if (qam.sums) demap_with<R, true>(qam, from, blocks, to);
    else demap_with<R, false>(qam, from, blocks, to);
}

// Some of the symbols of a call, `first` and what follows.
template <class R>
void demap_some(const Demapping& call, int64_t first, int64_t count) {
    using L = Lanes<R>;
    constexpr int BLOCKS = 16;
    typename L::C symbol[BLOCKS];
    typename L::V no[BLOCKS];
    alignas(LINE) R made[BLOCKS * L::N * 2 * MOST_BITS];
    const int bits = 2 * int(call.bits);
    for (int64_t at = first; at < first + count; at += BLOCKS * L::N) {
        const int64_t rest = first + count - at, num = rest < BLOCKS * L::N ? rest : BLOCKS * L::N;
        const int blocks = int((num + L::N - 1) / L::N);
        for (int b = 0; b < blocks; b++) {
            const int64_t here = at + b * L::N, left = num - b * L::N;
            const int some = left < L::N ? int(left) : L::N;
            const R* y = static_cast<const R*>(call.y) + 2 * here;
            symbol[b] = some == L::N ? load<R>(y) : load_some<R>(y, some);
            const R* noise = static_cast<const R*>(call.no) + here * call.no_step;
            if (!call.no_step || some < L::N)
                for (int i = 0; i < L::N; i++) no[b][i] = noise[(i < some ? i : 0) * call.no_step];
            else no[b] = load_vector<typename L::V>(noise);
        }
        demap_estimates<R>(qam_of(call), {symbol, 1, no, 1}, blocks, made);
        memcpy(static_cast<R*>(call.llr) + at * bits, made, num * bits * sizeof(R));
    }
}

void demap(const Demapping& call, int64_t first, int64_t count) {
    if (call.wide) demap_some<double>(call, first, count);
    else demap_some<float>(call, first, count);
}

}  // namespace
