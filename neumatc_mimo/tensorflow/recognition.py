"""Telling in a graph which trained link a channel is; see :mod:`neumatc_mimo.model.recognition`.

Decisions on data are made with ``tf.where``: a graph has one way through for all items.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from neumatc_mimo.foundation.probes import DEVIATION, PEAK, TIE, looks, probe_indices
from neumatc_mimo.tensorflow.links import Links

Floats = NDArray[np.float64]


class Found(NamedTuple):
    r"""Which links the items are: row i of an item is ``rows[i]`` times row ``order[i]`` of the
    aligned link.

    :param links: [B] link index, -1 for unknown
    :param order: [B, K] row of the link that each given row is
    :param gain: [B, K] modulus of the rows' factors, float64
    :param rows: [B, F, K] factors of the rows, complex
    """

    links: tf.Tensor
    order: tf.Tensor
    gain: tf.Tensor
    rows: tf.Tensor


class Recognition:
    """What channels on one grid are compared with.

    :param links: the trained links
    :param frequencies: [F] of the grid in Hz, ascending
    :param dtype: complex precision of the channels
    """

    def __init__(self, links: Links, frequencies: Floats, dtype: tf.DType) -> None:
        self._probes = probe_indices(len(frequencies))
        self._frequencies, self._dtype = frequencies, dtype
        reference = links.channel(frequencies[self._probes], aligned=True)
        self._reference = tf.constant(reference, dtype)  # [L, P, K, M]
        self._norm = tf.constant(np.sqrt((np.abs(reference) ** 2).sum((1, 3))), dtype.real_dtype)
        self._delays = tf.constant(links.row_delays, tf.float64)
        self._num_links, self._num_rows = links.num_links, links.num_rows
        antennas = looks(len(frequencies), links.num_cols)
        # Places [F, antennas, 2] of a channel [F, M, ...].
        places = np.broadcast_to(np.arange(len(frequencies))[:, None], antennas.shape)
        self._places = tf.constant(np.stack([places, antennas], axis=-1), tf.int32)
        spots = [self._of_link(links, link, antennas) for link in range(links.num_links)]
        # [L, F, K, antennas]
        self._spots = tf.constant(np.stack(spots), dtype)

    def _of_link(
        self, links: Links, link: int, antennas: NDArray[np.int64]
    ) -> NDArray[np.complexfloating]:
        """A link as it is looked at, aligned, [F, K, antennas]."""
        channel = links.channel(self._frequencies, [link], aligned=True)[0]  # [F, K, M]
        return np.take_along_axis(channel, antennas[:, None], axis=2)

    def named(self, links: tf.Tensor) -> Found:
        """The links of these indices [B] themselves, as trained."""
        inside = (links >= 0) & (links < self._num_links)
        chosen = tf.where(inside, links, 0)
        order = tf.zeros_like(chosen)[:, None] + tf.range(self._num_rows, dtype=chosen.dtype)
        delay = tf.gather(self._delays, chosen)
        gain = tf.ones_like(delay)
        rows = self._rows(tf.cast(gain, tf.complex128), delay)
        return Found(tf.where(inside, links, -1), order, gain, rows)

    def __call__(
        self, a: tf.Tensor, candidates: tf.Tensor | None, *, any_gain: bool, everywhere: bool
    ) -> Found:
        """Compare channels with the trained links.

        :param a: [B, F, K, M]
        :param candidates: [B] links that the caller names, others than these are unknown; or None
        :param any_gain: whether rows may have different gains or must share one
        :param everywhere: whether to look between the probes, too
        """
        probed = tf.gather(a, self._probes, axis=1)
        given = tf.sqrt(_power(probed, [1, 3]))  # [B, K]
        if candidates is None:
            chosen = self._likeliest(probed, given)
            accepted = tf.ones_like(chosen, tf.bool)
        else:
            accepted = (candidates >= 0) & (candidates < self._num_links)
            chosen = tf.where(accepted, candidates, 0)
        reference, norm = tf.gather(self._reference, chosen), tf.gather(self._norm, chosen)
        # Magnitudes leave out phase and delay; 1 where rows agree.
        inner = tf.matmul(probed, reference, adjoint_b=True)
        likeness = tf.reduce_sum(tf.abs(inner), 1) / _positive(given)[..., None] / norm[:, None]
        # Rows that differ in phase and delay only are as good in their own order as in any.
        own_row = TIE * tf.eye(self._num_rows, dtype=likeness.dtype)
        order = tf.argmax(likeness + own_row, -1, output_type=chosen.dtype)
        proper = tf.sort(order, axis=-1) == tf.range(self._num_rows, dtype=order.dtype)
        accepted &= tf.reduce_all(proper, -1)

        rows = tf.gather(reference, order, axis=2, batch_dims=1)
        products = tf.transpose(tf.reduce_sum(tf.math.conj(rows) * probed, -1), [0, 2, 1])
        products = tf.cast(products, tf.complex128)  # [B, K, P]
        own = tf.gather(tf.gather(self._delays, chosen), order, batch_dims=1)
        frequencies = self._frequencies[self._probes]
        delay = _delays(products, frequencies, own)
        weight = tf.cast(tf.gather(norm, order, batch_dims=1), tf.float64) ** 2
        gain = _fitting(products, frequencies, delay) / tf.cast(weight, tf.complex128)
        # |a|^2 - |<a, fit>|^2 / |fit|^2 loses digits near zero, so the difference itself is taken.
        factor = gain[..., None] * _wave(-frequencies * delay[..., None])
        fit = tf.cast(rows, tf.complex128) * tf.transpose(factor, [0, 2, 1])[..., None]
        difference = _power(tf.cast(probed, tf.complex128) - fit, [1, 3])
        deviation = tf.sqrt(difference) / _positive(tf.cast(given, tf.float64))
        accepted &= tf.reduce_all((deviation < DEVIATION) & (given > 0), -1)
        size = tf.abs(gain)
        if not any_gain:
            largest, least = tf.reduce_max(size, -1), tf.reduce_min(size, -1)
            accepted &= largest - least < DEVIATION * largest
        factors = self._rows(gain, delay)
        if everywhere:
            accepted &= self._is_link(a, chosen, order, factors)
        return Found(tf.where(accepted, chosen, -1), order, size, factors)

    def _likeliest(self, probed: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
        """The link that each item is most like, [B]."""
        num_links, num_probes, num_rows, num_cols = self._reference.shape
        # [P, B * K, M] times [P, M, L * K]
        left = tf.reshape(tf.transpose(probed, [1, 0, 2, 3]), [num_probes, -1, num_cols])
        right = tf.reshape(tf.transpose(self._reference, [1, 0, 2, 3]), [num_probes, -1, num_cols])
        inner = tf.reduce_sum(tf.abs(tf.matmul(left, right, adjoint_b=True)), 0)
        likeness = tf.reshape(inner, [-1, num_rows, num_links, num_rows]) / self._norm
        best = tf.reduce_max(likeness, -1) / _positive(given)[..., None]  # [B, K, L]
        # The weakest row decides.
        return tf.argmax(tf.reduce_min(best, 1), -1, output_type=tf.int32)

    def _is_link(
        self, a: tf.Tensor, chosen: tf.Tensor, order: tf.Tensor, factors: tf.Tensor
    ) -> tf.Tensor:
        """Whether channels are the links they were taken for at every subcarrier, [B]."""
        # [F, antennas, B, K] → [B, F, K, antennas]
        given = tf.gather_nd(tf.transpose(a, [1, 3, 0, 2]), self._places)
        given = tf.transpose(given, [2, 0, 3, 1])
        expected = tf.gather(tf.gather(self._spots, chosen), order, axis=2, batch_dims=1)
        difference = _power(given - factors[..., None] * expected, [3])  # [B, F, K]
        mean = tf.reduce_mean(_power(given, [3]), 1)
        # NaN is no link either.
        return tf.reduce_all(tf.reduce_max(difference, 1) < PEAK**2 * mean, -1)

    def _rows(self, gain: tf.Tensor, delay: tf.Tensor) -> tf.Tensor:
        """gain · e^{-j2πf·delay}, [B, F, K]."""
        turns = -self._frequencies[:, None] * delay[:, None]
        return tf.cast(_wave(turns) * gain[:, None], self._dtype)


def _delays(products: tf.Tensor, frequencies: Floats, own: tf.Tensor) -> tf.Tensor:
    """Delay of each row [B, K]: the link's own, none (normalised delays), or the one that fits
    best.
    """
    tried = tf.stack([own, tf.zeros_like(own), _searched(products, frequencies)])
    total = tf.reduce_sum(tf.abs(products), -1)
    score = tf.abs(_fitting(products, frequencies, tried)) / _positive(total)
    # Noise of single precision leaves the score below one by 1e-10 and less.
    score = tf.where(score > 1 - 1e-7, tf.ones_like(score), score)
    best = tf.one_hot(tf.argmax(score, 0), tried.shape[0], axis=0, dtype=tf.float64)
    return tf.reduce_sum(best * tried, 0)


def _searched(products: tf.Tensor, frequencies: Floats) -> tf.Tensor:
    """Delay by refinement from the closest probes to the farthest apart; they ascend."""
    closest = int(np.diff(frequencies).argmin())
    reach = np.abs(frequencies - frequencies[closest]).argsort(kind="stable")
    delay = tf.zeros(tf.shape(products)[:-1], tf.float64)
    for index in reach[1:]:
        step = frequencies[index] - frequencies[closest]
        turn = products[..., index] * tf.math.conj(products[..., closest])
        angle = tf.math.angle(turn * _wave(step * delay))
        delay -= angle / (2 * math.pi * step)
    return delay


def _fitting(products: tf.Tensor, frequencies: Floats, delay: tf.Tensor) -> tf.Tensor:
    """Sum over the probes of products [B, K, P] with the delays [..., B, K] taken out."""
    return tf.reduce_sum(products * _wave(frequencies * delay[..., None]), -1)


def _wave(turns: tf.Tensor) -> tf.Tensor:
    """e^{j2π turns}; whole turns are dropped first."""
    angle = 2 * math.pi * (turns - tf.round(turns))
    return tf.complex(tf.cos(angle), tf.sin(angle))


def _power(z: tf.Tensor, axes: list[int]) -> tf.Tensor:
    return tf.reduce_sum(tf.math.real(z) ** 2 + tf.math.imag(z) ** 2, axes)


def _positive(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(x, 1e-30)
