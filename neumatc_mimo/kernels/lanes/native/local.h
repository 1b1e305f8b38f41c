// Least squares of local functions: some columns of the right side are swept from the targets to what
// the coefficients give, while they lie in the second-level cache. LAPACK's banded solver takes one
// column after the other, a blocked one multiplies zeros.
#pragma once

#include "call.h"
#include "vectors.h"

namespace {

// Columns that are swept together, and the vectors that hold a row of them.
constexpr int SWEPT = 32;
using Double = Lanes<double>;
constexpr int PARTS = SWEPT / Double::N;
typedef float Narrow __attribute__((vector_size(VECTOR_BYTES / 2)));

struct SweptRow {
    Double::V part[PARTS];

    // Its first `count` columns.
    static INLINE SweptRow read(const float* from, int count) {
        float numbers[SWEPT] = {};
        memcpy(numbers, from, count * sizeof(float));
        SweptRow row;
        for (int i = 0; i < PARTS; i++)
            row.part[i] = __builtin_convertvector(load_vector<Narrow>(numbers + i * Double::N), Double::V);
        return row;
    }
    INLINE void write(float* to, int count) const {
        float numbers[SWEPT];
        for (int i = 0; i < PARTS; i++)
            store_vector(numbers + i * Double::N, __builtin_convertvector(part[i], Narrow));
        memcpy(to, numbers, count * sizeof(float));
    }
    INLINE void add(const SweptRow& other, double times) {
        for (int i = 0; i < PARTS; i++) part[i] += times * other.part[i];
    }
    INLINE void scale(double times) {
        for (int i = 0; i < PARTS; i++) part[i] *= times;
    }
};

int64_t local_scratch(const Local& given) { return given.functions * sizeof(SweptRow); }

INLINE void sweep(const Local& given, int64_t item, int64_t column, int count, SweptRow* z) {
    const int64_t num = given.functions, band = given.band, taps = given.taps;
    const double* weight = given.weight + item * given.weight_item;
    const double* factor = given.factor + item * given.factor_item;
    const float* target = given.target + item * given.points * given.columns + column;
    float* fitted = given.fitted + item * given.points * given.columns + column;
    float* coefficient = given.coefficient + item * num * given.columns + column;
    for (int64_t i = 0; i < num; i++) z[i] = {};
    for (int64_t p = 0; p < given.points; p++) {
        if (weight[p] == 0) continue;
        SweptRow row = SweptRow::read(target + p * given.columns, count);
        row.scale(weight[p]);
        for (int64_t t = 0; t < taps; t++) z[given.first[p] + t].add(row, given.value[p * taps + t]);
    }
    for (int64_t i = 0; i < num; i++) {
        const double* row = factor + i * (band + 1) + band;
        SweptRow sum = z[i];
        for (int64_t d = band < i ? band : i; d > 0; d--) sum.add(z[i - d], -row[-d]);
        sum.scale(row[0]);
        z[i] = sum;
    }
    for (int64_t i = num - 1; i >= 0; i--) {
        const double* row = factor + i * (band + 1) + band;
        SweptRow sum = z[i];
        const int64_t most = band < num - 1 - i ? band : num - 1 - i;
        // Below the diagonal of column i: d rows further, d places to the left.
        for (int64_t d = 1; d <= most; d++) sum.add(z[i + d], -row[d * (band + 1) - d]);
        sum.scale(row[0]);
        z[i] = sum;
        sum.write(coefficient + i * given.columns, count);
    }
    for (int64_t p = 0; p < given.points; p++) {
        SweptRow sum{};
        for (int64_t t = 0; t < taps; t++) sum.add(z[given.first[p] + t], given.value[p * taps + t]);
        sum.write(fitted + p * given.columns, count);
    }
}

void local(const Local& given, int64_t item, int64_t column, void* scratch) {
    const int64_t rest = given.columns - column;
    SweptRow* z = static_cast<SweptRow*>(scratch);
    if (rest >= SWEPT) sweep(given, item, column, SWEPT, z);
    else sweep(given, item, column, int(rest), z);
}

}  // namespace
