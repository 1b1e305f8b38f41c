"""What all receivers share: their inputs, and which streams each of them wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import numpy as np
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import Ask, SolverBlock, first_dimensions
from neumatc_mimo.tensorflow.data_symbols import DataSymbols
from neumatc_mimo.tensorflow.fitting import as_complex, check_shape, spread
from neumatc_mimo.tensorflow.noise import Noise, covariance_on_grid
from neumatc_mimo.tensorflow.pseudo_inverse import PseudoInverse
from neumatc_mimo.tensorflow.solver import Solver, counted
from neumatc_mimo.tensorflow.symbols import constant


class Seen(NamedTuple):
    """What one receiver gets.

    :param rx: its number
    :param a: channels, [batch_size, symbols, F, num_tx * num_streams, num_rx_ant]
    :param noise: at its antennas
    :param links: [batch_size] or None
    :param received: [batch_size, symbols, F, num_rx_ant]; None where channels alone are looked at
    """

    rx: int
    a: tf.Tensor
    noise: Noise
    links: tf.Tensor | None
    received: tf.Tensor = None


# Results [batch_size, symbols, F, K, ...] of the streams that a receiver is to get, and counts; of
# whom to ask, what the receiver gets, and further inputs of the call.
AtReceiver = Callable[..., tuple[list[tf.Tensor], tf.Tensor]]


class Receiver(SolverBlock):
    """Base of the receivers, which have something for each stream that a receiver is to get.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        # Per receiver, positions of its own streams in [num_tx * num_streams], and of the others.
        own = np.asarray(stream_management.stream_association)
        own = own.reshape(int(stream_management.num_rx), -1)
        self._desired = [row.nonzero()[0] for row in own]
        self._undesired = [(row == 0).nonzero()[0] for row in own]
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            PseudoInverse(interference=any(len(row) for row in self._undesired)),
            effective=True,
            precision=precision,
            **settings,
        )
        self._data_symbols = DataSymbols(resource_grid, stream_management)

    def _received(
        self,
        at: AtReceiver,
        y: tf.Tensor,
        h_hat: tf.Tensor,
        err_var: Any,
        no: Any,
        links: Any,
        noise_covariance: Any,
        *more: tf.Tensor,
    ) -> list[tf.Tensor]:
        """What ``at`` makes of the data symbols at each receiver, [batch_size, num_tx, num_streams,
        num_data_symbols, ...].

        :param more: further inputs that derivatives are asked of
        """
        y, h_hat = as_complex("y", y, self.cdtype), self._channel("h_hat", h_hat)
        self._check_received(y, h_hat)
        variance = self._variance(h_hat, err_var, no)

        def with_y(
            ask: Ask, seen: Seen, y: tf.Tensor, *more: tf.Tensor
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            own = tf.gather(y[:, min(seen.rx, y.shape[1] - 1)], self._effective, axis=-1)
            received = tf.transpose(own, [0, 2, 3, 1])
            return at(ask, seen._replace(received=received), *more)

        def extracted(found: tf.Tensor) -> tf.Tensor:
            # [batch_size, num_rx, K, num_ofdm_symbols, num_effective_subcarriers, ...]
            order = [0, 1, 4, 2, 3, *range(5, len(found.shape))]
            return self._data_symbols(tf.transpose(found, order))

        return self._at_receivers(
            with_y, extracted, h_hat, variance, links, noise_covariance, y, *more
        )

    def _at_receivers(
        self,
        at: AtReceiver,
        finish: Callable[[tf.Tensor], tf.Tensor],
        h_hat: tf.Tensor,
        variance: tf.Tensor,
        links: Any,
        noise_covariance: Any,
        *more: tf.Tensor,
    ) -> list[tf.Tensor]:
        """What ``finish`` makes of all receivers' results [batch_size, num_rx, num_ofdm_symbols,
        num_effective_subcarriers, K, ...].

        :param variance: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols,
            num_effective_subcarriers], each or 1
        """
        links = self._check_links(links, self._num_rx)
        inputs = [h_hat, variance, *more]
        correlated = noise_covariance is not None
        if correlated:
            given = as_complex("noise_covariance", noise_covariance, tf.complex128)
            sizes = (self._num_rx, self._num_symbols, len(self._effective), h_hat.shape[2])
            inputs.append(covariance_on_grid(given, *sizes))

        def core(ask: Ask, *inputs: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            h_hat, variance, *more = inputs
            covariance = more.pop() if correlated else None
            each, counts = self._at_each(at, ask, h_hat, variance, covariance, links, more)
            sizes = {2: self._num_symbols, 3: len(self._effective)}
            wide = [spread(tf.stack(parts, axis=1), sizes) for parts in zip(*each, strict=True)]
            return [finish(z) for z in wide], counts

        white = self._asks_for_white() and not correlated
        shared = self._shared(h_hat, 2)
        alike = None
        if shared is not None:
            alike = [*shared, *constant(variance, (2, 3, 4) if white else (3,))]
            alike += constant(inputs[-1], (2,)) if correlated else []

        def first(*inputs: tf.Tensor) -> list[tf.Tensor]:
            h_hat, variance, *rest = inputs
            some = variance[:, :, :1, :1, :1] if white else variance[:, :, :, :1]
            if correlated:
                rest[-1] = rest[-1][:, :, :1]
            return [h_hat[..., :1, :], some, *rest]

        return self._served(core, inputs, alike, first)

    def _asks_for_white(self) -> bool:
        """Whether the solver is asked for filters in white noise alone."""
        return False

    def _at_each(
        self,
        at: AtReceiver,
        ask: Ask,
        h_hat: tf.Tensor,
        variance: tf.Tensor,
        covariance: tf.Tensor | None,
        links: tf.Tensor | None,
        more: list[tf.Tensor],
    ) -> tuple[list[list[tf.Tensor]], tf.Tensor]:
        """Results of each receiver, where channel and noise have one OFDM symbol for all, or as
        many as what is received.

        :param covariance: [batch_size, num_rx, num_ofdm_symbols, num_groups, num_rx_ant,
            num_rx_ant], each or 1
        """
        each: list[list[tf.Tensor]] = []
        counts = counted()
        num_streams = self._num_tx * self._num_streams
        for rx in range(self._num_rx):
            # [batch_size, symbols, num_effective_subcarriers, num_tx * num_streams, num_rx_ant]
            h = tf.transpose(h_hat[:, rx], [0, 4, 5, 2, 3, 1])
            a = tf.reshape(h, [-1, *h.shape[1:3], num_streams, h_hat.shape[2]])
            noise = tf.transpose(variance[:, min(rx, variance.shape[1] - 1)], [0, 2, 3, 1])
            matrix = None
            if covariance is not None:
                matrix = covariance[:, min(rx, covariance.shape[1] - 1)]
            own = None if links is None else links[:, rx]
            seen = Seen(rx, a, Noise(noise, matrix, len(self._effective)), own)
            found, made = at(ask, seen, *more)
            counts += made
            each.append(found)
        return each, counts

    def _wanted(self, rx: int, a: tf.Tensor) -> tf.Tensor:
        """Rows of the streams that a receiver is to get."""
        if not len(self._undesired[rx]):
            return a
        return tf.gather(a, self._desired[rx], axis=-2)

    def _unwanted(self, rx: int, a: tf.Tensor) -> tf.Tensor | None:
        """Those of the other streams, if there are any."""
        if not len(self._undesired[rx]):
            return None
        return tf.gather(a, self._undesired[rx], axis=-2)

    def _variance(self, h_hat: tf.Tensor, err_var: Any, no: Any) -> tf.Tensor:
        """Variance of noise and estimation errors, [batch_size, num_rx, num_rx_ant,
        num_ofdm_symbols, num_effective_subcarriers], each or 1.
        """
        error = tf.cast(tf.convert_to_tensor(err_var), self.rdtype)
        if error.shape.rank is None or error.shape.rank > 7:
            raise ValueError(
                f"err_var has the shape {error.shape}, one that can be broadcast to {h_hat.shape} "
                "is needed."
            )
        error = error[(*(None,) * (7 - error.shape.rank), ...)]
        if any(
            size not in (1, full)
            for size, full in zip(error.shape[1:], h_hat.shape[1:], strict=True)
        ):
            raise ValueError(
                f"err_var has the shape {error.shape}, one that can be broadcast to {h_hat.shape} "
                "is needed."
            )
        noise = first_dimensions(no, self.rdtype)
        # Only the variance of each entry is known: the errors of all streams add up.
        times = (self._num_tx // error.shape[3]) * (self._num_streams // error.shape[4])
        return tf.reduce_sum(error, [3, 4]) * times + noise[..., None, None]

    def _channel(self, name: str, h: Any) -> tf.Tensor:
        """A complex channel of the grid, of which one symbol or subcarrier may hold for all."""
        h = as_complex(name, h, self.cdtype)
        streams = (self._num_rx, None, self._num_tx, self._num_streams)
        check_shape(name, h, (*streams, None, None))
        sizes = (self._num_symbols, len(self._effective))
        given = [1 if h.shape[dim] == 1 else size for dim, size in zip((5, 6), sizes, strict=True)]
        check_shape(name, h, (*streams, *given))
        return h

    def _check_received(self, y: tf.Tensor, h_hat: tf.Tensor) -> None:
        """Refuse y that does not fit the grid, of which one symbol may hold for all."""
        one_symbol = len(y.shape) == 5 and y.shape[3] == 1
        one_receiver = len(y.shape) == 5 and y.shape[1] == 1
        check_shape(
            "y",
            y,
            (
                1 if one_receiver else self._num_rx,
                h_hat.shape[2],
                1 if one_symbol else self._num_symbols,
                self._fft_size,
            ),
        )
