"""The interface of solvers, and the exact one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.tensorflow.operation import Operation


class Answers(Protocol):
    """A solver's answers on one grid; they may be asked in a graph."""

    def __call__(
        self, a: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None
    ) -> tuple[Any, tf.Tensor]:
        """The operation's answer, and how it came about, see :func:`counted`.

        :param a: channels [B, F, K, M]
        :param no: noise powers [B], or None for zero
        :param links: [B] link index, -1 for unknown; None if links have to be recognised
        """


class Solver(ABC):
    """A way to get an operation's result on a grid of subcarriers."""

    @abstractmethod
    def on(
        self,
        operation: Operation,
        frequencies: NDArray[np.float64],
        dtype: tf.DType,
        certify: str | None,
        tolerance: Tolerance | None,
    ) -> Answers:
        """Prepare answers; all that does not depend on channels is done here, once.

        :param frequencies: Hz relative to the carrier, [F], ascending
        :param dtype: complex precision
        :param certify: "link", "call" or None, see
            :class:`~neumatc_mimo.tensorflow.common.SolverBlock`
        :param tolerance: what a proof has to reach; None is the solver's default

        :raises ValueError: if the solver has no such results
        """

    def knows(self, operation: Operation, num_rows: int, num_cols: int) -> bool:
        """Whether it has results of an operation on matrices of this shape."""
        del operation, num_rows, num_cols
        return True


class Exact(Solver):
    """Every subcarrier computed from the channel, once for all OFDM symbols that share it."""

    def on(
        self,
        operation: Operation,
        frequencies: NDArray[np.float64],
        dtype: tf.DType,
        certify: str | None,
        tolerance: Tolerance | None,
    ) -> Answers:
        del frequencies, dtype, certify, tolerance  # an exact result needs no proof

        def answers(
            a: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None
        ) -> tuple[Any, tf.Tensor]:
            del links
            answer, refined = operation.exact(a, per_item(no))
            number = tf.shape(a)[0] * a.shape[1]
            return answer, counted(exact=number, refined=tf.math.count_nonzero(refined))

        return answers

    def __repr__(self) -> str:
        return "Exact()"


def per_item(no: tf.Tensor | None) -> tf.Tensor | None:
    """Noise powers [B] of items beside those of subcarriers [B, F]."""
    return None if no is None else no[:, None]


def counted(**numbers: tf.Tensor | int) -> tf.Tensor:
    """Numbers of ``Counts`` as a vector, in the order of its fields."""
    return tf.stack([tf.cast(numbers.get(f.name, 0), tf.int64) for f in fields(Counts)])
