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
    using Base::call, Base::columns, Base::h, Base::rows, Base::scale;

    static int64_t kept_size(const Call& call) { return Base::kept_size(call) + call.rows; }

    // [rows]: factors of the symbols, of modulus one.
    C* turn;

    INLINE Leakage(const Call& call, C* channel, C* kept, C* scratch)
        : Base(call, channel, kept, scratch), turn(kept + Base::kept_size(call)) {}

    INLINE V precoder(V noise) const {
        const int m = rows();
        const V most = Base::precoder(noise);
        const R* chirp = static_cast<const R*>(call.chirp);
        // D A c, where Base::scale still has D.
        for (int k = 0; k < m; k++) {
            C sum{};
            for (int c = 0; c < columns; c++) {
                const C& a = h[c * m + k];
                const R re = chirp[2 * c], im = chirp[2 * c + 1];
                // The chirp as given is conjugated.
                sum.re += a.re * re + a.im * im;
                sum.im += a.im * re - a.re * im;
            }
            turn[k] = {sum.re * scale[k], sum.im * scale[k]};
        }
        // The conjugate of c^H A^H D C^-1 e_k, by solves: they lose less than the inverse.
        Base::solve_once(turn);
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
