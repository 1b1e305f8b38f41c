"""What an operation on the channels of a grid has to tell, in TensorFlow."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.tensorflow.recognition import Found


class Operation(ABC):
    """A matrix operation on channels a [..., K, M] at noise powers that fit [...], or None for
    zero.

    Answers are named tuples of tensors [..., ...]. Solvers ask for [B, F, K, M].
    """

    name: ClassVar[str]

    def exact(
        self,
        a: tf.Tensor,
        no: tf.Tensor | None,
        precisely: Callable[[], tf.Tensor] | None = None,
    ) -> tuple[Any, tf.Tensor]:
        """The exact answer, and where it was computed in double precision because rounding left too
        little of it in single, bool [...].

        :param precisely: gives a in double precision, where it is a rounded product; None widens it
        """
        answer, doubtful = self.plain(a, no)
        if a.dtype == tf.complex128:
            return answer, tf.zeros_like(doubtful)

        def refined() -> Any:
            power = None if no is None else tf.cast(no, tf.float64)
            wide = tf.cast(a, tf.complex128) if precisely is None else precisely()
            double = self.narrow(self.plain(wide, power)[0])
            return chosen(doubtful, double, answer)

        return tf.cond(tf.reduce_any(doubtful), refined, lambda: answer), doubtful

    @abstractmethod
    def plain(self, a: tf.Tensor, no: tf.Tensor | None) -> tuple[Any, tf.Tensor]:
        """The exact answer in the precision of a, and where rounding leaves too little of it, bool
        [...]; nowhere in matrices that are not finite.
        """

    @abstractmethod
    def narrow(self, answer: Any) -> Any:
        """An answer of double precision in single precision."""

    def from_stored(self, stored: list[tf.Tensor], no: tf.Tensor) -> list[tf.Tensor]:
        """Components at noise powers [B], float64, from those that models store."""
        del no
        return stored

    @abstractmethod
    def recalled(self, components: list[tf.Tensor], found: Found, no: tf.Tensor | None) -> Any:
        """The answer for channels that were found to be links, from the links' components.

        :param no: noise powers [B], or None for zero
        """

    @abstractmethod
    def proven(
        self, a: tf.Tensor, answer: Any, no: tf.Tensor | None, tolerance: Tolerance
    ) -> tf.Tensor:
        """Which recalled answers are within the tolerance, bool [B, F]."""

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


def chosen(where: tf.Tensor, yes: Any, no: Any) -> Any:
    """``yes`` at the marked items or subcarriers, ``no`` elsewhere."""

    def choose(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        ones = [1] * (len(one.shape) - len(where.shape))
        return tf.where(tf.reshape(where, [*tf.unstack(tf.shape(where)), *ones]), one, other)

    return tf.nest.map_structure(choose, yes, no)


def doubted(amplification: tf.Tensor, share: float) -> tf.Tensor:
    """Where rounding, so many times amplified, takes a share of a result; NaN counts, bool."""
    eps = float(np.finfo(amplification.dtype.as_numpy_dtype).eps)
    return ~(amplification * eps < share)


def magnitude(size: tf.Tensor) -> tf.Tensor:
    """The power of two next below positive sizes, 1 for zero and what is not finite.

    Dividing by it rounds nothing. What is computed in a unit of that size knows no scale: neither
    the square of a weak channel vanishes nor that of a strong one overflows.
    """
    bits, exponent = {
        tf.float32: (tf.int32, 0x7F800000),
        tf.float64: (tf.int64, 0x7FF0000000000000),
    }[size.dtype]
    mask = tf.constant(exponent, bits)
    unit = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(size, bits), mask), size.dtype)
    plain = (size > 0) & (unit > 0) & tf.math.is_finite(size)
    return tf.stop_gradient(tf.where(plain, unit, tf.ones_like(unit)))


def largest(a: tf.Tensor) -> tf.Tensor:
    """Largest real or imaginary part of matrices, [...], by modulus."""
    return tf.reduce_max(tf.maximum(tf.abs(tf.math.real(a)), tf.abs(tf.math.imag(a))), [-2, -1])


def over(z: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Complex matrices z [..., K, M] over real sizes [...]."""
    return z * tf.cast(1 / size, z.dtype)[..., None, None]
