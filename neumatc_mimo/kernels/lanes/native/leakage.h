// The source of the largest signal-to-leakage-and-noise ratios of users with one antenna: the
// directions of regularised zero forcing, each turned so that its inner product with a chirp is real
// and positive.
#pragma once

#include "definite.h"

namespace {

template <class R, int K>
struct Leakage : Definite<R, K> {
    using Base = Definite<R, K>;
    using typename Base::C;
    using typename Base::V;
    using Base::columns, Base::h, Base::rows;

    static int64_t kept_size(const Call& call) { return Base::kept_size(call) + call.rows; }

    // [rows]: factors of the symbols, of modulus one.
    C* turn;

    INLINE Leakage(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), turn(kept + Base::kept_size(call)) {}

    INLINE V precoder(V noise) const {
        const int m = rows();
        const V most = Base::precoder(noise);
        Base::solve_chirp(turn);
        for (int k = 0; k < m; k++) {
            const V size = power(turn[k]), over = all<R>(1) / root<R>(size);
            turn[k] = {size > V{} ? turn[k].re * over : all<R>(1), size > V{} ? turn[k].im * over : V{}};
        }
        return most;
    }

    INLINE void precode(C* z, int symbols, int step) const {
        for (int k = 0; k < rows(); k++)
            for (int t = 0; t < symbols; t++) {
                C& x = z[k * step + t];
                x = {x.re * turn[k].re - x.im * turn[k].im, x.re * turn[k].im + x.im * turn[k].re};
            }
        Base::precode(z, symbols, step);
    }
    // A W, [rows][streams], where `sent` [rows][streams] and `v` [columns][streams] are scratch.
    INLINE void effective(C* sent, C* v, C* made) const {
        effective_of<R>(*this, h, rows(), columns, sent, v, made);
    }
};

}  // namespace
