"""How many subcarriers and symbols a program has, and of how many warps it is.

A warp's threads have neighbouring subcarriers. What an emitter has of one lies in a single thread,
all rows of some symbols: sums over rows take no other thread. The tiles of a source are K times as
large, and several warps share them.
"""

from __future__ import annotations

# Rows of a channel at most.
MOST_ROWS = 32
# Subcarriers of an emitter's program, of one warp.
LANES = 32
# Complex entries of a tile in each thread: as compiled for compute capability 9.0 in single
# precision, no register is spilled with up to 16 rows.
_FILLED, _EMITTED = 16, 32


def filling(rows: int) -> tuple[int, int, int]:
    """Rows, subcarriers and warps of a program that fills, for matrices of so many rows."""
    block_k = power_of_two(rows)
    # Eight subcarriers at least are side by side in memory.
    block_f = min(max(_FILLED * LANES // (2 * block_k), 8), LANES)
    return block_k, block_f, max(block_k * block_k * block_f // (32 * _FILLED), 1)


def emitting(rows: int, symbols: int) -> tuple[int, int]:
    """Rows and symbols of a program that emits."""
    block_k = power_of_two(rows)
    return block_k, min(power_of_two(symbols), max(_EMITTED // block_k, 1))


def power_of_two(number: int) -> int:
    """The next one."""
    return 1 << max(number - 1, 0).bit_length()
