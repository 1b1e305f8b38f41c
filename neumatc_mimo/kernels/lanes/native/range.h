// The numbers that a precision holds.
#pragma once

#include "vectors.h"

namespace {

// Powers within which products of single precision keep their digits.
template <class R> struct Range;
template <> struct Range<float> { static constexpr float least = 1e-35f, most = 1e37f; };
template <> struct Range<double> { static constexpr double least = 1e-300, most = 1e300; };

template <class R>
constexpr R NO_NUMBER = R(__builtin_nan(""));

// Zero where a power is in that range, NaN elsewhere.
template <class R>
INLINE typename Lanes<R>::V unless_in_range(typename Lanes<R>::V value) {
    const auto inside = (value > all<R>(Range<R>::least)) & (value < all<R>(Range<R>::most));
    return inside ? typename Lanes<R>::V{} : all<R>(NO_NUMBER<R>);
}

}  // namespace
