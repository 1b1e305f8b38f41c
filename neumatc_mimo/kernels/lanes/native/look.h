// Whether a channel is the link that it was taken for, at every subcarrier.
#pragma once

#include <cmath>

#include "call.h"

namespace {

void look(const Look& given) {
    const int64_t num = given.subcarriers, looks = given.looks, rows = given.rows;
    for (int64_t k = 0; k < rows; k++) {
        const float* row = given.channel + 2 * k * given.channel_row;
        const float* expected = given.expected + 2 * k * looks * num;
        float most = 0, whole = 0;
        bool sound = true;
        for (int64_t f = 0; f < num; f++) {
            const float re = given.factor[2 * (f * rows + k)];
            const float im = given.factor[2 * (f * rows + k) + 1];
            float distance = 0, power = 0;
            for (int64_t i = 0; i < looks; i++) {
                const float* a =
                    row + 2 * (given.antenna[f * looks + i] * given.channel_antenna + f);
                const float* e = expected + 2 * (i * num + f);
                const float x = a[0] - (re * e[0] - im * e[1]), y = a[1] - (re * e[1] + im * e[0]);
                distance += x * x + y * y;
                power += a[0] * a[0] + a[1] * a[1];
            }
            sound = sound && distance < INFINITY;
            most = distance > most ? distance : most;
            whole += power;
        }
        given.distance[k] = sound ? most : INFINITY;
        given.power[k] = whole;
    }
}

}  // namespace
