// X = (G + σ² I)^-1 from the Gram matrix G that a model stores, at the noise power of a call.
//
// In the units of the diagonal no number leaves the range of single precision, and the condition number
// is near the smallest that any scaling gives, as in definite.h.
#pragma once

#include "cholesky.h"
#include "vectors.h"

namespace {

// Complex vectors of scratch memory that it takes.
INLINE int64_t regularised_size(int64_t m) { return 2 * m * m + m; }

// G [m][m], of which the lower triangle is read, becomes X; without `WHOLE` its diagonal alone is
// written. Where what a model gives is not positive definite, and so is proven nowhere, pivots that
// are rounding are raised: there is some number.
template <class R, bool WHOLE>
INLINE void regularise(int m, typename Lanes<R>::V noise, typename Lanes<R>::C* x,
                       typename Lanes<R>::C* scratch) {
    using V = typename Lanes<R>::V;
    using C = typename Lanes<R>::C;
    C *factor = scratch, *inverse = factor + m * m;
    V *scale = reinterpret_cast<V*>(inverse + m * m), *diagonal = scale + m;
    const V tiny = all<R>(sizeof(R) == 4 ? R(1.17549435e-38) : R(2.2250738585072014e-308));
    for (int k = 0; k < m; k++) {
        const V own = x[k * m + k].re + noise;
        scale[k] = all<R>(1) / root<R>(own < tiny ? tiny : own);
    }
    for (int i = 0; i < m; i++) {
        factor[i * m + i] = {all<R>(1), V{}};
        for (int j = 0; j < i; j++) {
            const V both = scale[i] * scale[j];
            const C& g = x[i * m + j];
            factor[i * m + j] = {g.re * both, g.im * both};
        }
    }
    cholesky<R>(m, factor, sizeof(R) == 4 ? R(1.1920929e-7) : R(2.220446049250313e-16));
    invert_factor<R>(m, factor, inverse, diagonal);
    if (WHOLE) multiply_out<R>(m, inverse);
    for (int j = 0; j < m; j++) {
        x[j * m + j] = {scale[j] * scale[j] * diagonal[j], V{}};
        if (!WHOLE) continue;
        for (int k = j + 1; k < m; k++) {
            const V both = scale[j] * scale[k];
            const C value = {inverse[j * m + k].re * both, inverse[j * m + k].im * both};
            x[j * m + k] = value;
            x[k * m + j] = {value.re, -value.im};
        }
    }
}

}  // namespace
