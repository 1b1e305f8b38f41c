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
    explicit Ahead(const Pieces& pieces) { add(pieces); }

    INLINE void add(const Pieces& pieces) {
        parts[num++] = pieces;
        whole += pieces.rows * pieces.columns;
    }
    // Rows, `step` bytes apart, in pieces of some lines.
    INLINE void add_rows(const void* first, int64_t step, int64_t rows, int64_t bytes) {
        constexpr int64_t PIECE = 8 * LINE;
        const int64_t columns = (bytes + PIECE - 1) / PIECE;
        const int64_t lines = columns > 1 ? PIECE / LINE : (bytes + LINE - 1) / LINE;
        add({static_cast<const char*>(first), rows, columns, step, PIECE, lines});
    }

    INLINE int64_t size() const { return whole; }
    INLINE void fetch_next() {
        while (part < num && row == parts[part].rows) part++, row = 0;
        if (part == num) return;
        const Pieces& from = parts[part];
        const char* piece = from.memory + row * from.row_step + column * from.column_step;
        for (int64_t line = 0; line < from.lines; line++) __builtin_prefetch(piece + LINE * line, 0, 2);
        if (++column == from.columns) column = 0, row++;
    }

  private:
    Pieces parts[MOST_LATENTS];
    int num = 0, part = 0;
    int64_t whole = 0, row = 0, column = 0;
};

}  // namespace
