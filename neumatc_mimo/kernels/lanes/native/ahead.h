// Memory that the next chunk reads, fetched into the second-level cache meanwhile: its lines lie far
// apart, and no processor foresees them.
#pragma once

#include "call.h"
#include "vectors.h"

namespace {

// Rows of a latent tensor: the first one, and how many.
struct Rows {
    int64_t lowest, num;
};

// Pieces of memory, [rows][columns] of them, with strides in bytes.
struct Ahead {
    const char* memory;
    int64_t rows, columns, row_step, column_step, lines;

    static INLINE Ahead none() { return {nullptr, 0, 0, 0, 0, 0}; }
    // Rows of single precision, `step` numbers apart, in pieces of some lines.
    static INLINE Ahead of_rows(const float* first, int64_t step, int64_t num, int64_t bytes) {
        constexpr int64_t PIECE = 8 * LINE;
        return {reinterpret_cast<const char*>(first), num, (bytes + PIECE - 1) / PIECE,
                step * int64_t(sizeof(float)), PIECE, PIECE / LINE};
    }
};

}  // namespace
