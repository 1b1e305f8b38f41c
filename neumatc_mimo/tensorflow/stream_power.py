"""Powers in the shapes that Sionna's precoded channels take: the first of some dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def leading(name: str, value: tf.Tensor, sizes: Sequence[int]) -> tf.Tensor:
    """A tensor that has the first ones of dimensions, with the others of size one.

    :param sizes: of all dimensions but the batch's

    :raises ValueError: if it does not fit
    """
    given = value.shape
    if given.rank is not None and given.rank <= len(sizes) + 1:
        value = value[(..., *(None,) * (len(sizes) + 1 - given.rank))]
        if all(size in (1, full) for size, full in zip(value.shape[1:], sizes, strict=True)):
            return value
    raise ValueError(
        f"{name} has the shape {given}, the first dimensions of [batch_size, "
        f"{', '.join(map(str, sizes))}] are needed."
    )
