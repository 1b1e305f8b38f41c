"""The noise power as second coordinate of a mapping."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from neumatc_mimo.foundation.registry import Registry

_AXES: Registry[type[Axis]] = Registry("axis", key="kind", none="The TensorFlow blocks have no")


class Axis(Protocol):
    """A second coordinate of a mapping."""

    def covers(self, no: tf.Tensor) -> tf.Tensor:
        """Which noise powers [...] are within what the axis stands for, with some slack."""

    def weights(self, no: tf.Tensor) -> tf.Tensor:
        """Weights of the nodes at noise powers [...] float64: [..., num_nodes]."""


@_AXES.register(name="noise_range")
class NoiseRange:
    """Any noise power, of what is stored without it, see
    :class:`~neumatc_mimo.mapping.axes.NoiseRange`, whose arguments these are.
    """

    def __init__(self, lowest: float, highest: float) -> None:
        del lowest  # it tells where links are certified
        self._most = highest * (1 + 1e-6)

    def covers(self, no: tf.Tensor) -> tf.Tensor:
        return (no >= 0) & (no <= self._most)

    def weights(self, no: tf.Tensor) -> tf.Tensor:
        return tf.ones_like(no)[..., None]


@_AXES.register(name="noise")
class NoiseAxis:
    """Interpolation between Chebyshev nodes along log(no + lowest), see
    :class:`~neumatc_mimo.mapping.axes.NoiseAxis`, whose arguments these are.
    """

    def __init__(self, lowest: float, highest: float, num_nodes: int) -> None:
        self._lowest, self._highest, self._num_nodes = lowest, highest, num_nodes

    def covers(self, no: tf.Tensor) -> tf.Tensor:
        """Which noise powers [...] are within what the axis stands for, with some slack."""
        if self._num_nodes == 1:
            return (no == 0) | (tf.abs(no - self._highest) <= 1e-3 * self._highest)
        return (no >= 0) & (no <= self._highest * (1 + 1e-6))

    def weights(self, no: tf.Tensor) -> tf.Tensor:
        """Lagrange's basis, barycentric, at noise powers [...] float64: [..., num_nodes]."""
        if self._num_nodes == 1:
            return tf.ones_like(no)[..., None]
        low, high = math.log(self._lowest), math.log(self._highest + self._lowest)
        t = 2 * (tf.math.log(no + self._lowest) - low) / (high - low) - 1
        order = np.arange(self._num_nodes)
        sign = (-1.0) ** order * np.where((order == 0) | (order == self._num_nodes - 1), 0.5, 1)
        difference = t[..., None] + np.cos(np.pi * order / (self._num_nodes - 1))
        hit = tf.abs(difference) < 1e-12
        terms = sign / tf.where(hit, tf.ones_like(difference), difference)
        weights = terms / tf.reduce_sum(terms, -1, keepdims=True)
        at_node = tf.reduce_any(hit, -1, keepdims=True)
        return tf.where(at_node, tf.cast(hit, weights.dtype), weights)


def make_axis(settings: dict[str, Any]) -> Axis:
    """The axis that ``Axis.settings`` described.

    :raises ValueError: if it is another one
    """
    axis: Axis = _AXES.make(settings)
    return axis
