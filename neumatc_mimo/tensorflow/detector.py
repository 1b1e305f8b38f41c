"""What detectors share that look at all streams of a receiver together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np
import tensorflow as tf
from sionna.phy import Block
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import Ask
from neumatc_mimo.tensorflow.fitting import joint_items, spread
from neumatc_mimo.tensorflow.in_precision import InPrecision
from neumatc_mimo.tensorflow.receiver import Receiver, Seen
from neumatc_mimo.tensorflow.solver import Solver, counted
from neumatc_mimo.tensorflow.sufficient_statistics import (
    Statistics,
    Whitened,
    statistics,
    whitened,
)


class Detector(Receiver):
    """Base of the detectors: statistics once per subcarrier, then Sionna's detector of single
    vectors for all symbols, of as many entries as there are streams.

    Derivatives are those of Sionna's detector for the whitened channel.

    :param detector: makes Sionna's detector
    :param output: Type of output, either "bit" or "symbol"
    :param hard_out: whether it decides
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param precision: Precision used for internal calculations and outputs
    :param settings: ``certify`` and the other settings of all blocks
    """

    def __init__(
        self,
        detector: Callable[[], Block],
        output: str,
        hard_out: bool,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        super().__init__(resource_grid, stream_management, solver, precision, **settings)
        self._output, self._hard_out = output, hard_out
        self._detector = InPrecision(detector, self.precision)
        # Where each stream has data, [num_tx, num_streams, symbols, subcarriers].
        self._data = np.asarray(resource_grid.pilot_pattern.mask) == 0
        # OFDM symbols that carry data of any stream: the others are not detected.
        self._carrying = self._data.any((0, 1, 3)).nonzero()[0]

    def call(
        self,
        y: tf.Tensor,
        h_hat: tf.Tensor,
        err_var: Any,
        no: Any,
        links: Any = None,
        noise_covariance: Any = None,
    ) -> tf.Tensor:
        """Detect bits or symbols; inputs and outputs as in the class's description."""
        return self._decided(y, h_hat, err_var, no, links, noise_covariance)

    def _statistics(self, white: Whitened) -> Statistics:
        """What the detector is given, once for OFDM symbols of the same channel."""
        return statistics(white)

    def _whitened(self, seen: Seen) -> Whitened:
        own, others = self._wanted(seen.rx, seen.a), self._unwanted(seen.rx, seen.a)
        return whitened(own, others, seen.received, seen.noise)

    def _vectors(self, given: Statistics, prior: tf.Tensor | None) -> tf.Tensor:
        """What Sionna's detector makes of vectors, [batch_size, symbols, F, K, ...].

        :param prior: [batch_size, symbols, F, K, num_values], or None
        """
        # In noise of power one.
        s = tf.eye(given.h.shape[-2], batch_shape=[1, 1, 1], dtype=given.y.dtype)
        return self._detector(given.y, given.h, s, *(() if prior is None else (prior,)))

    def _decided(self, *given: Any) -> tf.Tensor:
        (z,) = self._received(self._detected, *given)
        if self._output == "bit":
            return tf.reshape(z, [-1, *z.shape[1:3], z.shape[3] * z.shape[4]])
        return tf.cast(z, tf.int32) if self._hard_out else z

    def _detected(
        self, ask: Ask, seen: Seen, *more: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        prior = tf.gather(more[0], self._desired[seen.rx], axis=-2) if more else None
        seen, prior = self._carrying_data(seen), self._of_carrying(prior)
        white = self._whitened(seen)
        given = self._statistics(white)
        if ask == self._plainly and given.order is None:
            # As Sionna differentiates: equal columns have no derivative of Q and R.
            given = Statistics(white.y, tf.cast(white.h, seen.received.dtype))
        num = tf.size(given.h[..., 0, 0])
        z = self._vectors(*self._fitting(given, prior))
        # Decisions have no derivative, but stand among what has one.
        z = tf.cast(z, self.rdtype)
        return [self._whole(z)], counted(exact=num)

    def _fitting(
        self, given: Statistics, prior: tf.Tensor | None
    ) -> tuple[Statistics, tf.Tensor | None]:
        """Vectors and priors with as many items, symbols and subcarriers."""
        known = given.y if prior is None else prior
        sizes = {
            0: joint_items(given.y, given.h, known),
            1: max(given.y.shape[1], given.h.shape[1], known.shape[1]),
            2: max(given.y.shape[2], given.h.shape[2], known.shape[2]),
        }
        wide = given._replace(y=spread(given.y, sizes))
        return wide, None if prior is None else spread(prior, sizes)

    def _carrying_data(self, seen: Seen) -> Seen:
        """The symbols that carry data; the same where one stands for all."""
        noise = seen.noise
        covariance = noise.covariance
        return seen._replace(
            a=self._of_carrying(seen.a),
            received=self._of_carrying(seen.received),
            noise=noise._replace(
                variance=self._of_carrying(noise.variance),
                covariance=self._of_carrying(covariance),
            ),
        )

    def _of_carrying(self, z: tf.Tensor | None) -> tf.Tensor | None:
        """[batch_size, symbols, ...] of the symbols that carry data, or of one for all."""
        if z is None or z.shape[1] == 1 or len(self._carrying) == self._num_symbols:
            return z
        return tf.gather(z, self._carrying, axis=1)

    def _whole(self, z: tf.Tensor) -> tf.Tensor:
        """[batch_size, symbols, F, K, ...] of all symbols, zero where there are no data."""
        num = len(self._carrying)
        if z.shape[1] == 1 or num == self._num_symbols:
            return z
        place = np.full(self._num_symbols, num)
        place[self._carrying] = np.arange(num)
        padded = tf.concat([z, tf.zeros_like(z[:, :1])], axis=1)
        return tf.gather(padded, place, axis=1)


class DetectorWithPrior(Detector):
    """Base of the detectors that take what is known beforehand; arguments are those of
    :class:`Detector`.
    """

    def call(  # type: ignore[override]
        self,
        y: tf.Tensor,
        h_hat: tf.Tensor,
        prior: tf.Tensor,
        err_var: Any,
        no: Any,
        links: Any = None,
        noise_covariance: Any = None,
    ) -> tf.Tensor:
        """Detect bits or symbols; inputs and outputs as in the class's description."""
        known = self._on_grid(prior)
        return self._decided(y, h_hat, err_var, no, links, noise_covariance, known)

    @property
    def _num_values(self) -> int:
        """Number of values that a prior has of a symbol: bits, or points of the constellation."""
        constellation = self._detector.block._constellation
        bits = self._output == "bit"
        return int(constellation.num_bits_per_symbol if bits else constellation.num_points)

    def _on_grid(self, prior: Any) -> tf.Tensor:
        """A prior on the grid, zero where no data are, [batch_size, num_ofdm_symbols,
        num_effective_subcarriers, num_tx * num_streams, num_values].
        """
        prior = tf.cast(tf.convert_to_tensor(prior), self.rdtype)
        num_tx, num_streams, *symbols = self._data.shape
        num = num_tx * num_streams
        data = self._data.reshape(num, -1)
        num_data = int(data[0].sum())
        values = (num_data, self._num_values)
        wanted: tuple[int, ...] = (num_tx, num_streams, *values)
        if self._output == "bit":
            wanted = (num_tx, num_streams, num_data * values[1])
        if prior.shape.rank is None or tuple(prior.shape[1:]) != wanted:
            raise ValueError(
                f"prior has the shape {prior.shape}, [batch_size, "
                f"{', '.join(map(str, wanted))}] is needed."
            )
        # Zero follows the values of a stream, for all places without data.
        padded = tf.pad(tf.reshape(prior, [-1, num, *values]), [[0, 0], [0, 0], [0, 1], [0, 0]])
        place = np.where(data, data.cumsum(-1) - 1, num_data)
        every = np.arange(num)[:, None] * (num_data + 1) + place
        flat = tf.reshape(padded, [-1, num * (num_data + 1), values[1]])
        grid = tf.reshape(tf.gather(flat, every.ravel(), axis=1), [-1, num, *symbols, values[1]])
        return tf.transpose(grid, [0, 2, 3, 1, 4])
