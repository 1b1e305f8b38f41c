// The source of MMSE for more streams than antennas, by the covariance of what the antennas receive:
// with S = A^T conj(A) + σ² I the estimates are conj(A) S^-1 y over their gains a_k^H S^-1 a_k, of which
// none can cancel. S is scaled as in definite.h.
#pragma once

#include "definite.h"

namespace {

template <class R, int K>
struct Covariance {
    using L = Lanes<R>;
    using V = typename L::V;
    using C = typename L::C;

    static constexpr Filters FILTERS = Filters::CHANNEL;
    static constexpr bool EVALUATES = false;
    static int64_t kept_size(const Call& call) {
        return int64_t(call.columns) * (call.columns + 1) + call.rows;
    }
    static int64_t scratch_size(const Call& call) { return int64_t(call.columns) * (call.columns + 1); }

    const Call& call;
    const int num_rows, columns;
    const C* h;
    // [columns][columns]: the factor of D S D; [columns]: D; [rows]: one over the gains.
    C* factor;
    V *scale, *over_gain;
    // Scratch, [columns][columns] and [columns].
    C* inverse;
    V* diagonal;

    INLINE Covariance(const Call& call, C* channel, C* kept, C* scratch)
        : call(call), num_rows(call.rows), columns(call.columns), h(channel), factor(kept),
          inverse(scratch) {
        scale = reinterpret_cast<V*>(factor + columns * columns);
        over_gain = scale + columns;
        diagonal = reinterpret_cast<V*>(inverse + columns * columns);
    }

    INLINE int rows() const { return K ? K : num_rows; }

    // D S D; NaN where a power is out of range.
    INLINE V fill(V noise) const {
        const int m = rows();
        V nothing{};
        for (int i = 0; i < columns; i++) {
            V whole = noise;
            for (int k = 0; k < m; k++) whole += power(h[i * m + k]);
            nothing += unless_in_range<R>(whole);
            scale[i] = all<R>(1) / root<R>(whole);
            for (int j = 0; j < i; j++) {
                C sum{};
                for (int k = 0; k < m; k++) add_conjugate(sum, h[j * m + k], h[i * m + k]);
                const V both = scale[i] * scale[j];
                factor[i * columns + j] = {sum.re * both, sum.im * both};
            }
            factor[i * columns + i] = {all<R>(1), V{}};
        }
        return nothing;
    }

    // ‖L^-1 D a_k^T‖²
    INLINE V gain(int k) const {
        const int m = rows();
        V whole{};
        for (int i = 0; i < columns; i++) {
            C sum{};
            for (int j = 0; j <= i; j++) {
                const C& a = h[j * m + k];
                add(sum, inverse[i * columns + j], C{a.re * scale[j], a.im * scale[j]});
            }
            whole += power(sum);
        }
        return whole;
    }

    // The streams that are put out; by how much rounding is amplified, in what a strong one loses, too.
    INLINE V receiver(V noise, V* no_eff) const {
        V nothing = fill(noise), most{};
        cholesky<R>(columns, factor);
        invert_factor<R>(columns, factor, inverse, diagonal);
        for (int i = 0; i < columns; i++) {
            most = largest(diagonal[i], most);
            nothing += diagonal[i] - diagonal[i];
        }
        V weakest = all<R>(1);
        for (int64_t s = 0; s < call.streams; s++) {
            const int k = int(call.stream[s]);
            const V kept = gain(k), loss = largest(all<R>(1) - kept, V{});
            weakest = loss < weakest ? loss : weakest;
            // Of a stream that does not arrive nothing is known: zero, in infinite noise.
            over_gain[k] = kept == V{} ? V{} : all<R>(1) / kept;
            no_eff[k] = loss / kept;
        }
        return most / weakest + nothing;
    }

    // S^-1 y, in the place of y [columns][symbols].
    INLINE void prefilter(C* y, int symbols) const {
        solve_scaled<R, false>(columns, factor, scale, scale, y, symbols, symbols);
    }

    INLINE void receive(C* z, int symbols, int step) const {
        for (int64_t s = 0; s < call.streams; s++) {
            const int k = int(call.stream[s]);
            for (int t = 0; t < symbols; t++) {
                C& x = z[k * step + t];
                x = {x.re * over_gain[k], x.im * over_gain[k]};
            }
        }
    }
};

}  // namespace
