// Which trained link a channel is, by all antennas at a few probe subcarriers, up to gain, phase, delay
// and order of its rows. What PyTorch's way decides is decided here likewise, see likeness.py.
#pragma once

#include "call.h"
#include "vectors.h"

namespace {

// Norms below it are none.
constexpr double LEAST = 1e-30;

struct Complex {
    double re, im;
};
INLINE Complex times(const Complex& a, const Complex& b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
INLINE double size_of(const Complex& a) { return __builtin_sqrt(a.re * a.re + a.im * a.im); }
INLINE double root_of(double a) { return a > 0 ? __builtin_sqrt(a) : 0; }
// e^{j2πu}
INLINE Complex turn_of(double u) {
    const double angle = 6.283185307179586 * (u - __builtin_rint(u));
    return {__builtin_cos(angle), __builtin_sin(angle)};
}

struct Recogniser {
    using L = Lanes<float>;
    using V = L::V;
    using C = L::C;

    const Recognition& given;
    const int64_t rows, antennas, probes, padded;
    // The channel at the probes [probes, rows, padded / N], and powers of it.
    C* channel;
    // Of a link, how like its rows are the given ones, [rows, rows].
    float *likeness, *power, *whole;
    // Inner products of the rows with the link's at each probe.
    Complex* products;

    static int64_t padded_of(const Recognition& given) { return (given.antennas + L::N - 1) / L::N; }
    static int64_t bytes(const Recognition& given) {
        const int64_t k = given.rows, p = given.probes;
        return p * k * padded_of(given) * sizeof(C) + p * k * sizeof(Complex) +
               (k * k + p * k + k) * sizeof(float);
    }

    Recogniser(const Recognition& given, void* memory)
        : given(given), rows(given.rows), antennas(given.antennas), probes(given.probes),
          padded(padded_of(given)), channel(static_cast<C*>(memory)) {
        products = reinterpret_cast<Complex*>(channel + probes * rows * padded);
        likeness = reinterpret_cast<float*>(products + probes * rows);
        power = likeness + rows * rows;
        whole = power + probes * rows;
    }

    // Antennas lie far apart: their lines are fetched some steps before they are read.
    void read() const {
        constexpr int64_t EARLY_ANTENNAS = 12;
        float* to = reinterpret_cast<float*>(channel);
        for (int64_t p = 0; p < probes; p++)
            for (int64_t k = 0; k < rows; k++) {
                C* last = channel + (p * rows + k) * padded + padded - 1;
                last->re = last->im = V{};
            }
        for (int64_t k = 0; k < rows; k++)
            for (int64_t m = 0; m < antennas; m++) {
                const float* from =
                    given.channel + 2 * (k * given.channel_row + m * given.channel_antenna);
                const int64_t step = 2 * given.channel_subcarrier;
                if (m + EARLY_ANTENNAS < antennas) {
                    const float* ahead = from + 2 * EARLY_ANTENNAS * given.channel_antenna;
                    for (int64_t p = 0; p < probes; p++)
                        __builtin_prefetch(ahead + step * given.probe[p]);
                }
                const int64_t place = m / L::N * 2 * L::N + m % L::N;
                for (int64_t p = 0; p < probes; p++) {
                    float* at = to + 2 * L::N * (p * rows + k) * padded + place;
                    at[0] = from[step * given.probe[p]];
                    at[L::N] = from[step * given.probe[p] + 1];
                }
            }
        for (int64_t k = 0; k < rows; k++) whole[k] = 0;
        for (int64_t p = 0; p < probes; p++)
            for (int64_t k = 0; k < rows; k++) {
                V sum{};
                for (int64_t i = 0; i < padded; i++) sum += ::power(at(p, k)[i]);
                power[p * rows + k] = total(sum);
                whole[k] += power[p * rows + k];
            }
    }
    INLINE const C* at(int64_t probe, int64_t row) const {
        return channel + (probe * rows + row) * padded;
    }
    static INLINE float total(const V& sum) {
        float whole = 0;
        for (int lane = 0; lane < L::N; lane++) whole += sum[lane];
        return whole;
    }
    INLINE const float* reference(int64_t link, int64_t probe, int64_t row) const {
        return given.reference + 2 * ((link * probes + probe) * rows + row) * antennas;
    }
    // What a link's row has at some antennas; what fills the lanes beyond the last meets zeros.
    INLINE C load_reference(const float* row, int64_t i) const {
        const int64_t rest = antennas - i * L::N;
        const float* from = row + 2 * i * L::N;
        return rest >= L::N ? load<float>(from) : load_some<float>(from, int(rest));
    }

    // <link's row, given row> at a probe.
    INLINE Complex inner(int64_t link, int64_t probe, int64_t own, int64_t row) const {
        const float* r = reference(link, probe, own);
        const C* a = at(probe, row);
        C sum{};
        for (int64_t i = 0; i < padded; i++) add_conjugate(sum, load_reference(r, i), a[i]);
        return {total(sum.re), total(sum.im)};
    }

    // Whether the first row can be one of the link's: the other probes, seen from the one where it is
    // strongest, are at best as like as their norms allow (Cauchy and Schwarz).
    bool is_possible(int64_t link, int64_t probe) const {
        const double own = power[probe * rows], norm = root_of(whole[0]);
        const double rest = root_of(whole[0] - own);
        for (int64_t k = 0; k < rows; k++) {
            const double theirs = given.norm[link * rows + k];
            const double here = given.power[(link * probes + probe) * rows + k];
            const double beside = root_of(theirs * theirs - here);
            const double most = size_of(inner(link, probe, k, 0)) + rest * beside;
            // Rounding is far smaller than what is left of one here.
            if (most >= (2 * given.alike - 1) * norm * theirs) return true;
        }
        return false;
    }

    // How like a given row is one of the link's, 1 where they agree. Magnitudes leave out phase and
    // delay.
    float like(int64_t link, int64_t row, int64_t own) const {
        double sum = 0;
        for (int64_t p = 0; p < probes; p++) sum += size_of(inner(link, p, own, row));
        const double norm = root_of(whole[row]);
        return float(sum / (norm > LEAST ? norm : LEAST) / given.norm[link * rows + own]);
    }

    // How like each given row is each of the link's, and that of the weakest row.
    float compare(int64_t link) const {
        float weakest = __builtin_inff();
        for (int64_t k = 0; k < rows; k++) {
            float best = like(link, k, k), *row = likeness + k * rows;
            // None is more like it than its own by more than rounding may tell apart: no need to ask.
            const bool sure = best > 1 - given.tie / 2;
            for (int64_t j = 0; j < rows; j++) row[j] = sure || j == k ? 0 : like(link, k, j);
            row[k] = best;
            // Not a number is never better.
            for (int64_t j = 0; j < rows; j++) best = row[j] > best ? row[j] : best;
            if (!(best >= 0)) best = 0;
            weakest = best < weakest ? best : weakest;
        }
        return weakest;
    }

    // The link that is most alike, with its likeness; -1 where none is alike enough.
    int64_t find() const {
        int64_t strongest = 0, found = -1;
        for (int64_t p = 1; p < probes; p++)
            if (power[p * rows] > power[strongest * rows]) strongest = p;
        float best = float(given.alike);
        for (int64_t link = 0; link < given.links; link++) {
            if (!is_possible(link, strongest)) continue;
            const float weakest = compare(link);
            if (weakest > best) best = weakest, found = link;
        }
        return found;
    }

    // Which row of the link each row is; false where two are the same.
    bool sort() const {
        for (int64_t k = 0; k < rows; k++) {
            // Rows that differ in phase and delay only are as good in their own order as in any.
            float best = -1;
            // Of what is not a number nothing is fitted later.
            given.order[k] = 0;
            for (int64_t j = 0; j < rows; j++) {
                const float like = likeness[k * rows + j] + (j == k ? float(given.tie) : 0);
                if (like > best) best = like, given.order[k] = j;
            }
            for (int64_t i = 0; i < k; i++)
                if (given.order[i] == given.order[k]) return false;
        }
        return true;
    }

    // How well a delay explains the phases of a row, 1 at best.
    double score(int64_t k, double delay) const {
        Complex sum{};
        double most = 0;
        for (int64_t p = 0; p < probes; p++) {
            const Complex& a = products[k * probes + p];
            const Complex turned = times(a, turn_of(given.frequency[p] * delay));
            sum = {sum.re + turned.re, sum.im + turned.im};
            most += size_of(a);
        }
        return size_of(sum) / (most > 1e-300 ? most : 1e-300);
    }
    bool certain() const {
        // Noise of single precision leaves the score below one by 1e-10 and less.
        for (int64_t k = 0; k < rows; k++)
            if (!(score(k, given.delay[k]) > 1 - 1e-7)) return false;
        return true;
    }
    void improve(int64_t k, double other) const {
        if (score(k, other) > score(k, given.delay[k])) given.delay[k] = other;
    }
    // By refinement from the closest probes to the farthest apart.
    double searched(int64_t k) const {
        const int64_t closest = given.reach[0];
        const Complex& base = products[k * probes + closest];
        double delay = 0;
        for (int64_t i = 1; i < probes; i++) {
            const int64_t p = given.reach[i];
            const double step = given.frequency[p] - given.frequency[closest];
            const Complex turn = times(products[k * probes + p], {base.re, -base.im});
            const Complex left = times(turn, turn_of(step * delay));
            delay -= __builtin_atan2(left.im, left.re) / (6.283185307179586 * step);
        }
        return delay;
    }
    // The link's own delays, none (normalised delays), or those that fit best.
    void find_delays(int64_t link) const {
        for (int64_t k = 0; k < rows; k++) given.delay[k] = given.delays[link * rows + given.order[k]];
        if (certain()) return;
        for (int64_t k = 0; k < rows; k++) improve(k, 0);
        if (certain()) return;
        for (int64_t k = 0; k < rows; k++) improve(k, searched(k));
    }

    // Gains and delays that fit best; whether what is left is small enough.
    bool fit(int64_t link) const {
        for (int64_t k = 0; k < rows; k++)
            for (int64_t p = 0; p < probes; p++)
                products[k * probes + p] = inner(link, p, given.order[k], k);
        find_delays(link);
        bool fits = true;
        for (int64_t k = 0; k < rows; k++) {
            const double norm = given.norm[link * rows + given.order[k]];
            Complex gain{};
            for (int64_t p = 0; p < probes; p++) {
                const Complex turn = turn_of(given.frequency[p] * given.delay[k]);
                const Complex part = times(products[k * probes + p], turn);
                gain = {gain.re + part.re, gain.im + part.im};
            }
            gain = {gain.re / (norm * norm), gain.im / (norm * norm)};
            given.gain[2 * k] = gain.re, given.gain[2 * k + 1] = gain.im;
            // |a|² - |<a, fit>|² / |fit|² loses digits near zero, so the difference itself is taken.
            double left = 0;
            for (int64_t p = 0; p < probes; p++) {
                const Complex turn = turn_of(-given.frequency[p] * given.delay[k]);
                const Complex factor = times(gain, turn);
                const V re = all<float>(float(factor.re)), im = all<float>(float(factor.im));
                const float* r = reference(link, p, given.order[k]);
                V sum{};
                for (int64_t i = 0; i < padded; i++) {
                    const C a = at(p, k)[i], b = load_reference(r, i);
                    C beside = {a.re - (b.re * re - b.im * im), a.im - (b.re * im + b.im * re)};
                    if ((i + 1) * L::N > antennas)
                        for (int lane = int(antennas - i * L::N); lane < L::N; lane++)
                            beside.re[lane] = beside.im[lane] = 0;
                    sum += ::power(beside);
                }
                left += total(sum);
            }
            const double own = root_of(whole[k]);
            fits = fits && own > 0 && root_of(left) / (own > LEAST ? own : LEAST) < given.deviation;
        }
        return fits;
    }
    bool has_one_gain() const {
        double largest = 0, smallest = __builtin_inff();
        for (int64_t k = 0; k < rows; k++) {
            const double size = size_of({given.gain[2 * k], given.gain[2 * k + 1]});
            largest = size > largest ? size : largest;
            smallest = size < smallest ? size : smallest;
        }
        return largest - smallest < given.deviation * largest;
    }

    int64_t run() const {
        read();
        // A link that the caller names is the only one that it may be.
        const int64_t link = given.named ? given.candidate : find();
        if (link < 0) return -1;
        compare(link);
        const bool same = sort() && fit(link) && (given.any_gain || has_one_gain());
        return same ? link : -1;
    }
};

int64_t recognise(const Recognition& given, void* scratch) { return Recogniser(given, scratch).run(); }
int64_t recognition_scratch(const Recognition& given) { return Recogniser::bytes(given); }

}  // namespace
