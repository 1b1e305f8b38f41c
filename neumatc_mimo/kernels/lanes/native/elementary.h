// Powers of two and logarithms in all lanes, by their series: neither a call for each lane nor a table.
#pragma once

#include "vectors.h"

namespace {

template <class R> struct Format;
template <> struct Format<float> {
    typedef int32_t Bits;
    // Bits of the fraction, the exponent of 1, and terms of the series below.
    static constexpr int fraction = 23, bias = 127, power_terms = 7, log_terms = 5;
    static constexpr float tiny = 1.17549435e-38f;
};
template <> struct Format<double> {
    typedef int64_t Bits;
    static constexpr int fraction = 52, bias = 1023, power_terms = 13, log_terms = 11;
    static constexpr double tiny = 2.2250738585072014e-308;
};

// The bits of each lane, as signed integers.
template <class R>
struct Words {
    typedef typename Format<R>::Bits W;
    typedef W V __attribute__((vector_size(VECTOR_BYTES)));
};

constexpr double LN_2 = 0.69314718055994530942;

// ln(2)^k / k!, of the series of 2^r.
constexpr double power_term(int k) { return k ? power_term(k - 1) * LN_2 / k : 1; }

// A number so large that what is added to it is rounded to an integer, which its last bits are.
template <class R>
constexpr R ROUNDING = R(3) * R(int64_t(1) << (Format<R>::fraction - 1));
// Integers up to here are rounded so.
template <class R>
constexpr R LARGEST_ROUNDED = R(int64_t(1) << (Format<R>::fraction - 1));

// 2^n for integers n <= 0; the smallest normal number below.
template <class R>
INLINE typename Lanes<R>::V whole_power(typename Lanes<R>::V n) {
    using V = typename Lanes<R>::V;
    n = largest(all<R>(R(1 - Format<R>::bias)), n);
    const V rounded = n + all<R>(ROUNDING<R> + R(Format<R>::bias));
    return (V)((typename Words<R>::V)rounded << Format<R>::fraction);
}

// 2^u = fraction 2^whole with a fraction within 1/sqrt(2) and sqrt(2).
template <class R>
struct Scaled {
    typename Lanes<R>::V fraction, whole;
};

template <class R, int K>
INLINE typename Lanes<R>::V power_series(typename Lanes<R>::V r) {
    if constexpr (K == Format<R>::power_terms) return all<R>(R(power_term(K)));
    else return power_series<R, K + 1>(r) * r + all<R>(R(power_term(K)));
}

// For |u| up to LARGEST_ROUNDED; NaN stays NaN.
template <class R>
INLINE Scaled<R> power_of_two(typename Lanes<R>::V u) {
    const auto whole = (u + all<R>(ROUNDING<R>)) - all<R>(ROUNDING<R>);
    return {power_series<R, 0>(u - whole), whole};
}

// The sum of two, whatever they are: neither overflows.
template <class R>
INLINE Scaled<R> sum(const Scaled<R>& a, const Scaled<R>& b) {
    const auto difference = a.whole - b.whole;
    const auto a_larger = difference > typename Lanes<R>::V{};
    const auto large = a_larger ? a.fraction : b.fraction, small = a_larger ? b.fraction : a.fraction;
    return {large + small * whole_power<R>(a_larger ? -difference : difference),
            a_larger ? a.whole : b.whole};
}

template <class R, int K>
INLINE typename Lanes<R>::V log_series(typename Lanes<R>::V square) {
    constexpr R term = R(2.0 / (2 * K + 1));
    if constexpr (K + 1 == Format<R>::log_terms) return all<R>(term);
    else return log_series<R, K + 1>(square) * square + all<R>(term);
}

// ln(a / b) of two of them.
template <class R>
INLINE typename Lanes<R>::V log_ratio(const Scaled<R>& a, const Scaled<R>& b) {
    using V = typename Lanes<R>::V;
    using W = typename Words<R>::V;
    const V ratio = a.fraction / b.fraction;
    // ratio = m 2^e with m within 1/sqrt(2) and sqrt(2).
    const W from = (W)all<R>(R(0.70710678118654752440));
    const W exponent = ((W)ratio - from) >> Format<R>::fraction;
    const V m = (V)((W)ratio - (exponent << Format<R>::fraction));
    const V e = __builtin_convertvector(exponent, V);
    // ln m = 2 artanh s.
    const V s = (m - all<R>(1)) / (m + all<R>(1));
    return (a.whole - b.whole + e) * R(LN_2) + log_series<R, 0>(s * s) * s;
}

}  // namespace
