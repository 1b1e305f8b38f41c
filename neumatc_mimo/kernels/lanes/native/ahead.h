// Memory that the next chunk reads, fetched into the second-level cache meanwhile: its lines lie far
// apart, and no processor foresees them.
#pragma once

#include "call.h"
#include "vectors.h"

namespace {

// Pieces of memory, [rows][columns] of them, with strides in bytes.
struct Pieces {
    const char* memory;
    int64_t rows, columns, row_step, column_step, lines;
};

class Ahead {
  public:
    Ahead() = default;
    explicit Ahead(const Pieces& pieces) : from(pieces) {}

    INLINE int64_t size() const { return from.rows * from.columns; }
    INLINE void fetch_next() {
        if (row == from.rows) return;
        const char* piece = from.memory + row * from.row_step + column * from.column_step;
        fetch_lines(piece, from.lines * LINE);
        if (++column == from.columns) column = 0, row++;
    }

  private:
    Pieces from{};
    int64_t row = 0, column = 0;
};

}  // namespace
