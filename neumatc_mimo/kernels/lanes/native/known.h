// The source of filters that are known: what stands in the channel's place is their conjugate
// transpose.
#pragma once

#include "call.h"
#include "vectors.h"

namespace {

template <class R, int K>
struct Known {
    using V = typename Lanes<R>::V;
    using C = typename Lanes<R>::C;

    static constexpr Filters FILTERS = Filters::CHANNEL;
    static constexpr bool EVALUATES = false;
    static int64_t kept_size(const Call&) { return 0; }
    static int64_t scratch_size(const Call&) { return 0; }

    const int num_rows;

    INLINE Known(const Call& call, C*, C*, C*) : num_rows(call.rows) {}
    INLINE void begin() const {}
    INLINE int inner_rows() const { return K ? K : num_rows; }
    INLINE V precoder(V) const { return V{}; }
    INLINE void precode(C*, int, int) const {}
    INLINE void effective(C*, C*, C*) const {}
    INLINE V receiver(V, V*) const { return V{}; }
    INLINE void prefilter(C*, int) const {}
    INLINE void receive(C*, int, int) const {}
};

}  // namespace
