"""Derivatives of a block: those of the exact computation, whatever the values come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

_DOUBLE = {tf.complex64: tf.complex128, tf.float32: tf.float64}

# Outputs of a block from its differentiable inputs, and whether rounding leaves too little of them.
Plain = Callable[..., tuple[Sequence[tf.Tensor], tf.Tensor]]


def with_exact_gradients(
    values: Callable[..., Sequence[tf.Tensor]], plain: Plain, inputs: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """What ``values(*inputs)`` returns, with the derivatives of ``plain(*inputs)``.

    A query depends on which link a channel is, not on the channel's entries: it has no gradient to
    give. Nor can a block see whether a tape watches its inputs. So derivatives are those of the
    exact computation, made when they are asked for: of every symbol and every entry on its own, as
    equal ones have gradients of their own, too. What single precision leaves too little of is
    differentiated in double precision.

    :param values: gives tensors, the first ``len(plain(*inputs)[0])`` of which are differentiable
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def call(*inputs: tf.Tensor) -> tuple[Any, Any]:
        def derivative(*upstream: tf.Tensor) -> Any:
            return _derivatives(plain, inputs, upstream)

        return tuple(values(*inputs)), derivative

    return list(call(*inputs))


def _derivatives(
    plain: Plain, inputs: Sequence[tf.Tensor], upstream: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    found, doubtful = _differentiated(plain, inputs, upstream)
    if all(x.dtype not in _DOUBLE for x in inputs):
        return found

    def again() -> list[tf.Tensor]:
        wide, _ = _differentiated(plain, [_widened(x) for x in inputs], upstream)
        return [tf.cast(g, x.dtype) for g, x in zip(wide, inputs, strict=True)]

    return list(tf.cond(doubtful, again, lambda: found))


def _differentiated(
    plain: Plain, inputs: Sequence[tf.Tensor], upstream: Sequence[tf.Tensor]
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Gradients with respect to inputs, and whether rounding leaves too little of them."""
    inputs = [tf.identity(x) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, doubtful = plain(*inputs)
    # What counts results has no derivative, and comes last.
    given = [tf.cast(g, y.dtype) for g, y in zip(upstream[: len(outputs)], outputs, strict=True)]
    zero = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(
        list(outputs), inputs, output_gradients=given, unconnected_gradients=zero
    )
    return gradients, doubtful


def _widened(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, _DOUBLE.get(x.dtype, x.dtype))
