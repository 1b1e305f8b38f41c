// A tile of a product: some of its rows and columns, which stay in registers while what both factors
// share is run through once.
#pragma once

#include "vectors.h"

namespace {

// Rows of a tile that all registers hold, beside two columns.
constexpr int TILE = MANY_REGISTERS ? 4 : 2;

// Numbers of a matrix: from one row, and one column, to the next.
template <class C>
struct Matrix {
    const C* first;
    int64_t row, column;
    INLINE C at(int64_t i, int64_t j) const {
        // By its parts: of a whole one GCC puts a copy on the stack.
        const C& entry = first[i * row + j * column];
        return {entry.re, entry.im};
    }
};

// Which of two factors is conjugated.
enum class Conjugate { NONE, LEFT, RIGHT };

// `I` rows and `J` columns of the product of A and B over `num` columns of A and rows of B: `put` is
// called with the row, the column and the entry.
template <Conjugate WHICH, int I, int J, class C, class F>
INLINE void product_tile(const Matrix<C>& a, const Matrix<C>& b, int num, const F& put) {
    C sum[I][J];
#pragma GCC unroll 8
    for (int i = 0; i < I; i++)
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) sum[i][j] = C{};
    for (int k = 0; k < num; k++) {
        C right[J];
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) right[j] = b.at(k, j);
#pragma GCC unroll 8
        for (int i = 0; i < I; i++) {
            const C left = a.at(i, k);
#pragma GCC unroll 8
            for (int j = 0; j < J; j++) {
                if constexpr (WHICH == Conjugate::LEFT) add_conjugate(sum[i][j], left, right[j]);
                else if constexpr (WHICH == Conjugate::RIGHT)
                    add_conjugate(sum[i][j], right[j], left);
                else add(sum[i][j], left, right[j]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < I; i++)
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) put(i, j, sum[i][j]);
}

// The same into a matrix.
template <Conjugate WHICH, int I, int J, class C>
INLINE void store_tile(const Matrix<C>& a, const Matrix<C>& b, int num, C* out, int64_t row,
                       int64_t column) {
    product_tile<WHICH, I, J>(a, b, num, [&](int i, int j, const C& value) {
        out[i * row + j * column] = value;
    });
}

}  // namespace
