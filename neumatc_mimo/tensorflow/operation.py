"""What an operation on the channels of a grid has to tell, in TensorFlow."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import tensorflow as tf

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.tensorflow.recognition import Found


class Operation(ABC):
    """A matrix operation on channels a [B, F, K, M] at noise powers [B], or None for zero.

    Answers are named tuples of tensors [B, F, ...].
    """

    name: ClassVar[str]

    @abstractmethod
    def exact(self, a: tf.Tensor, no: tf.Tensor | None) -> Any:
        """The exact answer."""

    @abstractmethod
    def recalled(self, components: list[tf.Tensor], found: Found, no: tf.Tensor | None) -> Any:
        """The answer for channels that were found to be links, from the links' components."""

    @abstractmethod
    def proven(
        self, a: tf.Tensor, answer: Any, no: tf.Tensor | None, tolerance: Tolerance
    ) -> tf.Tensor:
        """Which answers are within the tolerance, bool [B, F]."""

    def any_gain(self, no: tf.Tensor | None) -> bool:
        """Whether rows of a link may have different gains, or must share one."""
        del no
        return False

    def check_served(self, settings: dict[str, Any]) -> None:  # noqa: B027 (most serve all)
        """Refuse a model whose results are not those asked for.

        :param settings: of the operation that the model was trained for

        :raises ValueError: if they are not
        """


def power(z: tf.Tensor) -> tf.Tensor:
    """Squared moduli, real."""
    return tf.math.real(z) ** 2 + tf.math.imag(z) ** 2


def permuted(z: tf.Tensor, order: tf.Tensor, axis: int) -> tf.Tensor:
    """z [B, F, ...] with the entries along an axis in an order [B, K]."""
    return tf.gather(z, order, axis=axis, batch_dims=1)


def decibels(ratio: tf.Tensor) -> tf.Tensor:
    """A ratio of powers in dB."""
    return tf.math.log(tf.maximum(ratio, 1e-30)) * (10 / math.log(10))
