// The source of the largest sum rate, by weighted minimum mean squared errors (operations/wmmse.py).
//
// The iteration V ← A^H (D G + μ I)^-1 diag(u w) has the Hermitian form V = A^H X,
//     X = D^½ Y diag(e),   Y = (D^½ G D^½ + μ I)^-1,   e_k² = w_k,
// as u_k w_k = (w_k d_k)^½. From G X = D^-½ (I - μ Y) diag(e) the powers that the weights need are
// |(G X)_kj|² = μ² |Y_kj|² w_j / d_k beside the diagonal: no product of matrices is left but those
// of the inverse.
#pragma once

#include "iterated.h"

namespace {

template <class R, int K>
struct Wmmse : Iterated<R, K> {
    using Base = Iterated<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Base::amplification, Base::call, Base::diagonal, Base::gram_at, Base::inverse;
    using Base::inverse_at, Base::invert, Base::own_gain, Base::rows, Base::TINY, Base::values;

    // [rows]: d^½, w, Σ_{j≠k} |Y_kj|² w_j, (G D^½ Y)_kk.
    V *root_d, *weight, *beside, *own;

    static int64_t scratch_size(const Call& call) {
        return Base::scratch_size(call) + 2 * int64_t(call.rows) * call.rows;
    }

    INLINE Wmmse(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), root_d(values), weight(root_d + rows()),
          beside(weight + rows()), own(beside + rows()) {}

    // What the weights need of Y; the power of V in the unit of the channel. At the start all
    // columns get the same power.
    INLINE V look(V shift, bool start) const {
        const int m = rows();
        V column[K ? K : MOST_ROWS];
        for (int k = 0; k < m; k++) {
            own[k] = own_gain(root_d, k);
            column[k] = beside[k] = V{};
        }
        for (int k = 0; k < m; k++)
            for (int j = 0; j < k; j++) {
                const V size = ::power(inverse[j * m + k]);
                column[k] += size;
                column[j] += size;
            }
        V total{};
        for (int k = 0; k < m; k++) {
            // (Y D^½ G D^½ Y)_kk without the cancellation of Y - μ Y².
            const V size = diagonal[k] * root_d[k] * own[k] - shift * column[k];
            if (start) weight[k] = all<R>(1) / largest(size, all<R>(TINY));
            total += weight[k] * size;
        }
        for (int k = 0; k < m; k++)
            for (int j = 0; j < k; j++) {
                const V size = ::power(inverse[j * m + k]);
                beside[k] += size * weight[j];
                beside[j] += size * weight[k];
            }
        return total;
    }

    // X in the unit that gives V the power of its columns.
    INLINE void form(C* to, V scale) const {
        const int m = rows();
        const V size = root<R>(scale);
        for (int j = 0; j < m; j++) {
            const V right = root<R>(weight[j]) * size;
            for (int i = 0; i < m; i++) {
                const V both = root_d[i] * right;
                const C y = inverse_at(i, j);
                to[i * m + j] = {y.re * both, y.im * both};
            }
        }
    }

    // Whether V moved by more than rounding in any lane since X was `before`.
    INLINE bool moved(const C* before, const C* after) const {
        const int m = rows();
        V sum{};
        for (int j = 0; j < m; j++)
            for (int i = 0; i < m; i++) {
                C image{};
                for (int k = 0; k < m; k++) {
                    const C &a = after[k * m + j], &b = before[k * m + j];
                    add(image, gram_at(i, k), C{a.re - b.re, a.im - b.im});
                }
                const C &a = after[i * m + j], &b = before[i * m + j];
                sum += ::inner(C{a.re - b.re, a.im - b.im}, image);
            }
        return any(sum > all<R>(Base::STILL * Base::STILL * R(m)));
    }

    INLINE V precoder(V noise) const {
        const int m = rows();
        // Iterations between two looks at whether it is done.
        constexpr int BETWEEN = 10;
        C *last = reinterpret_cast<C*>(own + m), *current = last + m * m;
        const V nothing = Base::start(noise);
        invert(nullptr, noise);
        const V most = amplification(noise) + nothing;
        for (int k = 0; k < m; k++) root_d[k] = all<R>(1);
        look(noise, true);
        V scale = all<R>(1), shift = noise;
        for (int64_t number = 0; number < call.iterations; number++) {
            const bool asks = number % BETWEEN == BETWEEN - 1;
            if (asks) form(last, scale);
            V sum{};
            for (int k = 0; k < m; k++) {
                const V d = largest(root_d[k] * root_d[k], all<R>(TINY));
                const V rest = shift * shift * scale * beside[k] / d + noise;
                const V desired = scale * weight[k] * own[k] * own[k];
                const V total = rest + desired;
                const V next = total / largest(rest, all<R>(TINY));
                const V next_d = next * desired / (total * total);
                weight[k] = next;
                root_d[k] = root<R>(next_d);
                sum += next_d;
            }
            shift = noise * sum * (R(1) / R(m));
            invert(root_d, shift);
            const V power = look(shift, false);
            scale = all<R>(R(m)) / largest(power, all<R>(TINY));
            if (asks) {
                form(current, scale);
                if (!moved(last, current)) break;
            }
        }
        const V size = root<R>(scale) * Base::unit();
        for (int k = 0; k < m; k++) {
            Base::before[k] = root<R>(weight[k]) * size;
            Base::after[k] = root_d[k];
        }
        return most;
    }
};

}  // namespace
