"""How the tensors of a call fit each other: a tensor with one item, OFDM symbol or subcarrier is
used for all, as in Sionna.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def as_complex(name: str, z: Any, dtype: tf.DType) -> tf.Tensor:
    """A complex tensor of any numbers."""
    z = tf.convert_to_tensor(z)
    if not (z.dtype.is_complex or z.dtype.is_floating or z.dtype.is_integer):
        raise TypeError(f"{name} is {z.dtype.name}, numbers are needed.")
    return tf.cast(z, dtype)


def check_shape(name: str, z: tf.Tensor, sizes: Sequence[int | None]) -> None:
    """Refuse a tensor of another shape, or of one that is not known yet.

    :param sizes: of all dimensions but the first; None stands for any
    """
    given = z.shape.as_list() if z.shape.rank is not None else []
    wanted = ", ".join("any" if size is None else str(size) for size in sizes)
    if len(given) != len(sizes) + 1 or any(
        size is not None and known not in (size, None)
        for known, size in zip(given[1:], sizes, strict=True)
    ):
        raise ValueError(f"{name} has the shape {given}, [batch_size, {wanted}] is needed.")
    if None in given[1:]:
        raise ValueError(
            f"{name} has the shape {given} in this graph, all dimensions but the first must be "
            "known when it is built."
        )


def joint_size(what: str, **tensors: tuple[tf.Tensor, int]) -> int:
    """How many OFDM symbols, subcarriers, ... tensors have together, each or 1.

    :param tensors: each with the dimension that counts

    :raises ValueError: if they do not fit each other
    """
    sizes = {name: z.shape[dim] for name, (z, dim) in tensors.items()}
    several = set(sizes.values()) - {1}
    if len(several) > 1:
        given = ", ".join(f"{size} of {name}" for name, size in sizes.items())
        raise ValueError(f"There are {what}: {given}. They have to be as many, or one.")
    return several.pop() if several else 1


def joint_items(*tensors: tf.Tensor) -> tf.Tensor | int:
    """Number of items of tensors [batch_size or 1, ...] together."""
    known = [z.shape[0] for z in tensors]
    if None not in known:
        return next((size for size in known if size != 1), 1)
    sizes = tf.stack([tf.shape(z)[0] for z in tensors])
    # No items at all are fewer than one.
    return tf.where(tf.reduce_any(sizes == 0), 0, tf.reduce_max(sizes))


def spread(z: tf.Tensor, sizes: dict[int, Any]) -> tf.Tensor:
    """z with dimensions of one repeated to these sizes."""
    sizes = {dim % len(z.shape): size for dim, size in sizes.items()}
    if all(isinstance(size, int) and z.shape[dim] == size for dim, size in sizes.items()):
        return z
    shape = [sizes.get(dim, tf.shape(z)[dim]) for dim in range(len(z.shape))]
    static = [z.shape[dim] if dim not in sizes else sizes[dim] for dim in range(len(z.shape))]
    if all(isinstance(size, int) for size in static):
        shape = static
    wide = tf.broadcast_to(z, shape)
    wide.set_shape([size if isinstance(size, int) else None for size in static])
    return wide
