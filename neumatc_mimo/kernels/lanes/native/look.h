// Whether a channel is the link that it was taken for, at every subcarrier.
#pragma once

#include "call.h"
#include "waves.h"

namespace {

// Some subcarriers of a row that lie in stretches of other antennas each; zero beyond the last.
INLINE Lanes<float>::C load_looks(const Look& given, const float* row, int64_t first, int count,
                                  int64_t look) {
    constexpr int N = Lanes<float>::N, S = N < STRETCH ? N : STRETCH;
    float numbers[2 * N] = {};
    for (int lane = 0; lane < count; lane += S) {
        const int64_t stretch = (first + lane) / STRETCH;
        const int64_t antenna = given.antenna[stretch * given.looks + look];
        const int rest = count - lane;
        memcpy(numbers + 2 * lane, row + 2 * (antenna * given.channel_antenna + first + lane),
               2 * sizeof(float) * (rest < S ? rest : S));
    }
    return load<float>(numbers);
}

// Lines that a stretch some way ahead reads: they lie far apart.
INLINE void fetch_looks(const Look& given, const float* row, int64_t subcarrier) {
    constexpr int64_t EARLY_STRETCHES = 6;
    const int64_t stretch = subcarrier / STRETCH + EARLY_STRETCHES, first = stretch * STRETCH;
    for (int64_t i = 0; first < given.subcarriers && i < given.looks; i++) {
        const int64_t antenna = given.antenna[stretch * given.looks + i];
        const float* line = row + 2 * (antenna * given.channel_antenna + first);
        __builtin_prefetch(line);
        __builtin_prefetch(line + 2 * STRETCH - 1);
    }
}

void look(const Look& given) {
    using L = Lanes<float>;
    using V = L::V;
    using C = L::C;
    const int64_t num = given.subcarriers, looks = given.looks;
    for (int64_t k = 0; k < given.rows; k++) {
        const float* row = given.channel + 2 * k * given.channel_row;
        const float* expected = given.expected + 2 * given.order[k] * looks * num;
        const V re = all<float>(float(given.gain[2 * k])), im = all<float>(float(given.gain[2 * k + 1]));
        V most{}, whole{}, nothing{};
        for (int64_t f = 0; f < num; f += L::N) {
            const int count = num - f < L::N ? int(num - f) : L::N;
            for (int s = 0; s < L::N; s += STRETCH) fetch_looks(given, row, f + s);
            const C turn = wave<float>(given.frequency + f, count, given.delay[k]);
            const C by = {turn.re * re - turn.im * im, turn.re * im + turn.im * re};
            V distance{}, power{};
            for (int64_t i = 0; i < looks; i++) {
                const C a = load_looks(given, row, f, count, i);
                C e{};
                const float* from = expected + 2 * (i * num + f);
                if (count == L::N) {
                    e = load<float>(from);
                } else {
                    float numbers[2 * L::N] = {};
                    memcpy(numbers, from, 2 * sizeof(float) * count);
                    e = load<float>(numbers);
                }
                const V x = a.re - (by.re * e.re - by.im * e.im);
                const V y = a.im - (by.re * e.im + by.im * e.re);
                distance += x * x + y * y;
                power += a.re * a.re + a.im * a.im;
            }
            most = largest(distance, most);
            nothing += distance - distance;
            whole += power;
        }
        float highest = 0, sum = 0;
        bool sound = true;
        for (int lane = 0; lane < L::N; lane++) {
            // Not a number where a distance is none, or infinite.
            sound = sound && nothing[lane] == 0;
            highest = most[lane] > highest ? most[lane] : highest;
            sum += whole[lane];
        }
        given.distance[k] = sound ? highest : __builtin_inff();
        given.power[k] = sum;
    }
}

}  // namespace
