// The source of the largest smallest SINR (operations/max_min.py).
//
// With the uplink's powers Q = diag(q) and Z = (Q^½ G Q^½ + σ² I)^-1 the directions are A^H F,
// F = (σ² I + Q G)^-1 = Q^½ Z Q^-½, so that F_kk = Z_kk and, beside the diagonal,
// (G F)_jk = -σ² Z_jk / (q_j q_k)^½.
#pragma once

#include "iterated.h"

namespace {

template <class R, int K>
struct MaxMin : Iterated<R, K> {
    using Base = Iterated<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Base::amplification, Base::call, Base::diagonal, Base::inverse;
    using Base::columns, Base::factor, Base::h, Base::invert, Base::own_gain, Base::rows, Base::TINY;
    using Base::values;

    static int64_t scratch_size(const Call& call) {
        return Base::scratch_size(call) + int64_t(call.rows) * call.rows;
    }

    // [rows]: q, q^½, (G F)_kk, and powers.
    V *q, *root_q, *gain, *sent;

    INLINE MaxMin(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), q(values), root_q(q + rows()), gain(root_q + rows()),
          sent(gain + rows()) {}

    // Z and the gains that belong to q.
    INLINE void solve(V noise) const {
        const int m = rows();
        for (int k = 0; k < m; k++) root_q[k] = root<R>(q[k]);
        invert(root_q, noise);
        for (int k = 0; k < m; k++)
            gain[k] = largest(own_gain(root_q, k) / root_q[k], all<R>(TINY));
    }

    // ‖A^H F e_k‖² in the unit of the channel: what is left of users in one place is rounding in
    // the products of the inverse.
    INLINE V measured(int k) const {
        const V size = Base::unit() / root_q[k];
        return column_power<R, K ? K : MOST_ROWS>(h, rows(), columns, factor, root_q, k, size);
    }

    // Powers p with p_k g_kk = ratio_k (Σ_{j≠k} g_kj p_j + σ²), by elimination: of an M-matrix, it
    // needs no pivots. `system` [rows][rows] is lost.
    INLINE void powers(V* system, V* p) const {
        const int m = rows();
        for (int k = 0; k < m; k++) {
            const V over = all<R>(1) / system[k * m + k];
            for (int i = k + 1; i < m; i++) {
                const V factor = system[i * m + k] * over;
                for (int j = k + 1; j < m; j++) system[i * m + j] -= factor * system[k * m + j];
                p[i] -= factor * p[k];
            }
        }
        for (int i = m - 1; i >= 0; i--) {
            for (int j = i + 1; j < m; j++) p[i] -= system[i * m + j] * p[j];
            p[i] /= system[i * m + i];
        }
    }

    INLINE V precoder(V noise) const {
        const int m = rows();
        V nothing = Base::start(noise);
        invert(nullptr, noise);
        const V most = amplification(noise);
        for (int k = 0; k < m; k++) q[k] = all<R>(1);
        for (int64_t number = 0; number < call.iterations; number++) {
            solve(noise);
            V sum{}, change{}, greatest{};
            for (int k = 0; k < m; k++) {
                // Without user k itself, by the formula of Sherman and Morrison.
                sent[k] = largest(noise * diagonal[k], all<R>(TINY)) / gain[k];
                sum += sent[k];
            }
            const V scale = all<R>(R(m)) / largest(sum, all<R>(TINY));
            for (int k = 0; k < m; k++) {
                const V next = sent[k] * scale, apart = next > q[k] ? next - q[k] : q[k] - next;
                change = largest(apart, change);
                greatest = largest(next, greatest);
                q[k] = next;
            }
            if (!any(change > greatest * Base::STILL)) break;
        }
        solve(noise);
        // Powers of the directions, then what each user gets of each of them, of unit norm.
        V* system = sent + m;
        for (int k = 0; k < m; k++) {
            V size{};
            for (int j = 0; j < m; j++)
                if (j != k) size += ::power(inverse[j < k ? j * m + k : k * m + j]);
            const V whole = diagonal[k] * gain[k];
            sent[k] = whole - noise / q[k] * size;
            const auto is_short = sent[k] < whole * R(SHORT);
            if (any(is_short)) sent[k] = is_short ? measured(k) : sent[k];
        }
        V rhs[K ? K : MOST_ROWS];
        for (int k = 0; k < m; k++) {
            const V ratio = q[k] * gain[k] / largest(noise * diagonal[k], all<R>(TINY));
            rhs[k] = ratio * noise;
            for (int j = 0; j < m; j++) {
                const V size = ::power(inverse[j < k ? j * m + k : k * m + j]);
                system[k * m + j] = j == k ? gain[k] * gain[k] / sent[k]
                                           : -ratio * (noise * noise * size / (q[k] * q[j] * sent[j]));
            }
        }
        powers(system, rhs);
        V total{};
        for (int k = 0; k < m; k++) {
            // There is no power below zero, and none that is not finite.
            nothing = rhs[k] > V{} ? nothing : all<R>(NO_NUMBER<R>);
            total += rhs[k];
        }
        const V unit = all<R>(R(m)) / total;
        for (int j = 0; j < m; j++) {
            Base::before[j] = root<R>(rhs[j] / sent[j] * unit) / root_q[j] * Base::unit();
            Base::after[j] = root_q[j];
        }
        return most + nothing;
    }
};

}  // namespace
