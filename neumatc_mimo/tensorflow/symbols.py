"""Whether OFDM symbols share their matrices: what differs is computed, what is alike once."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

# Antennas that take turns along the band, as in neumatc_mimo.blocks.symbols.
_ANTENNAS = 8


def constant_channel(h: tf.Tensor, dim: int) -> list[tf.Tensor]:
    """What has to be true for a channel to be constant over the OFDM symbols.

    Comparing all of h costs more than the block, so symbols are compared bit by bit in every row at
    every subcarrier, each by one antenna, another one in each stretch of the band: what happens to
    a user, a resource block or a symbol is seen, whatever it is; what happens to single antennas
    may not be. NaN equals nothing.

    :param h: [..., num_ofdm_symbols, num_subcarriers]
    :param dim: along which antennas of a row lie
    """
    if h.shape[-2] == 1:
        return []
    return [tf.reduce_all(look[..., 1:, :] == look[..., :1, :]) for look in _looks(h, dim)]


def constant(value: tf.Tensor, dims: tuple[int, ...]) -> list[tf.Tensor]:
    """What has to be true for all entries along some dimensions to be equal."""
    dims = tuple(dim for dim in dims if value.shape[dim] != 1)
    if not dims:
        return []
    index = [slice(None)] * len(value.shape)
    for dim in dims:
        index[dim] = slice(0, 1)
    return [tf.reduce_all(value == value[tuple(index)])]


def _looks(h: tf.Tensor, dim: int) -> Iterator[tf.Tensor]:
    """h at every subcarrier of one antenna each, stretch by stretch."""
    num_antennas, num = h.shape[dim], h.shape[-1]
    turns = min(_ANTENNAS, num_antennas, num)
    length, step = num // turns, num_antennas // turns
    for turn in range(turns):
        # The last one takes what is left of the band.
        end = num if turn == turns - 1 else (turn + 1) * length
        index = [slice(None)] * len(h.shape)
        index[dim] = slice(turn * step, turn * step + 1)
        index[-1] = slice(turn * length, end)
        yield h[tuple(index)]
