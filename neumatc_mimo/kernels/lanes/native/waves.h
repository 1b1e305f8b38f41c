// Waves e^{-j2πfτ} with a subcarrier in each lane: whole turns are dropped in double precision, what
// is left of one fits single precision.
#pragma once

#include "vectors.h"

namespace {

// So large that its last digit is one: what is added to it is rounded.
template <class R> constexpr R ROUNDS = R(12582912);
template <> constexpr double ROUNDS<double> = 6755399441055744.0;

// e^{j2πu} for u from -1/2 to 1/2, to 3e-8.
template <class R>
INLINE typename Lanes<R>::C turned(typename Lanes<R>::V u) {
    using V = typename Lanes<R>::V;
    // Within an eighth of a turn few terms of the series are enough.
    const V quarters = (4 * u + ROUNDS<R>) - ROUNDS<R>;
    const V a = (u - R(0.25) * quarters) * R(6.283185307179586), b = a * a;
    const V sine = a + a * b * (R(-1. / 6) + b * (R(1. / 120) + b * (R(-1. / 5040) + b * R(1. / 362880))));
    const V cosine = 1 + b * (R(-.5) + b * (R(1. / 24) + b * (R(-1. / 720) + b * R(1. / 40320))));
    const auto across = quarters * quarters == all<R>(1);
    const V re = across ? -sine : cosine, im = across ? cosine : sine;
    const auto back = (quarters * quarters == all<R>(4)) | (quarters == all<R>(-1));
    return {back ? -re : re, back ? -im : im};
}

// e^{-j2πfτ} at some subcarriers; the last one's fills the other lanes.
template <class R>
INLINE typename Lanes<R>::C wave(const double* frequency, int count, double delay) {
    constexpr int N = Lanes<R>::N;
    typename Lanes<R>::V turns;
    for (int lane = 0; lane < N; lane++) {
        const double whole = frequency[lane < count ? lane : count - 1] * delay;
        turns[lane] = R(__builtin_rint(whole) - whole);
    }
    return turned<R>(turns);
}

}  // namespace
