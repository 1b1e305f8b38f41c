"""K-best detection."""

from __future__ import annotations

from functools import partial
from typing import Literal, Unpack

import tensorflow as tf
from sionna.phy.mapping import Constellation
from sionna.phy.mimo import KBestDetector as VectorDetector
from sionna.phy.mimo import List2LLR, StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.detector import Detector
from neumatc_mimo.tensorflow.receiver import Seen
from neumatc_mimo.tensorflow.solver import Solver
from neumatc_mimo.tensorflow.sufficient_statistics import (
    Statistics,
    Whitened,
    statistics,
    whitened,
)


class KBestDetector(Detector):
    r"""K-best detection for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.KBestDetector` of Sionna 1.2 with the same outputs. The
    columns of the whitened channel are ordered by their norms, and

    .. math:: \mathbf{L}^{-1}\mathbf{H} = \mathbf{Q}\mathbf{R}

    is found once per subcarrier, see
    :class:`~neumatc_mimo.tensorflow.sufficient_statistics.Statistics`. The search is that of
    Sionna's :class:`~sionna.phy.mimo.KBestDetector`.

    With ``use_real_rep`` the real and the imaginary part of a stream have columns of the same norm,
    and rounding decides which one is first, in Sionna as here. A list that does not hold all
    candidates may then be another one where streams of others interfere or noise is correlated.

    :param output: Type of output, either "bit" or "symbol"; soft symbols are not supported
    :param num_streams: Number of transmitted streams
    :param k: Number of paths to keep. Cannot be larger than the number of constellation points to
        the power of the number of streams.
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``. What is computed
        here is cheap: it is computed exactly, whatever the solver
    :param constellation_type: "qam", "pam", "custom" or `None`; for "custom", an instance of
        :class:`~sionna.phy.mapping.Constellation` must be provided
    :param num_bits_per_symbol: Number of bits per constellation symbol, e.g., 4 for QAM16
    :param constellation: Instance of :class:`~sionna.phy.mapping.Constellation` or `None`.
        If `None`, ``constellation_type`` and ``num_bits_per_symbol`` must be provided.
    :param hard_out: If `True`, the detector computes hard-decided bit values or constellation
        point indices instead of soft-values
    :param use_real_rep: If `True`, the detector uses the real-valued equivalent representation of
        the channel, for QAM alone
    :param list2llr: Computes LLRs from a list of candidate solutions; if `None`,
        :class:`~sionna.phy.mimo.List2LLRSimple` is used
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `tf.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. Channel estimates for all streams. ``y`` or
        ``h_hat`` may have one item, symbol or subcarrier, which is then used for all.
    :input err_var: [Broadcastable to shape of ``h_hat``], `tf.float`. Variance of the channel
        estimation error.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `tf.float`. Variance of
        the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Accepted as by all
        receivers.
    :input noise_covariance: `None` (default) | [..., num_rx_ant, num_rx_ant], `tf.complex`.
        Covariance of noise that is correlated between antennas, beside that of ``no``, as of
        :class:`MMSEEqualizer`.

    :output z: [batch_size, num_tx, num_streams, num_data_symbols * num_bits_per_symbol] for
        ``output`` "bit": LLRs or hard decisions, `tf.float`; for "symbol" [batch_size, num_tx,
        num_streams, num_data_symbols, num_points], `tf.float`: logits, or [batch_size, num_tx,
        num_streams, num_data_symbols], `tf.int32`: symbol indices.
    :raises ValueError: If a receiver gets more streams than it has antennas
    """

    def __init__(
        self,
        output: Literal["bit", "symbol"],
        num_streams: int,
        k: int,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        constellation_type: str | None = None,
        num_bits_per_symbol: int | None = None,
        constellation: Constellation | None = None,
        hard_out: bool = False,
        use_real_rep: bool = False,
        list2llr: List2LLR | None = None,
        precision: str | None = None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        detector = partial(
            _OfFactors,
            output,
            num_streams,
            k,
            constellation_type,
            num_bits_per_symbol,
            constellation,
            hard_out,
            use_real_rep,
            list2llr,
            precision=precision,
        )
        super().__init__(
            detector,
            output,
            hard_out,
            resource_grid,
            stream_management,
            solver,
            precision,
            **settings,
        )
        wanted = int(stream_management.num_streams_per_rx)
        if num_streams != wanted:
            raise ValueError(
                f"num_streams is {num_streams}, stream_management has {wanted} for a receiver."
            )
        self._real = use_real_rep

    def _whitened(self, seen: Seen) -> Whitened:
        own, others = self._wanted(seen.rx, seen.a), self._unwanted(seen.rx, seen.a)
        num_streams, num_rx_ant = own.shape[3:]
        if num_streams > num_rx_ant:
            raise ValueError(
                f"{num_streams} streams are more than the {num_rx_ant} antennas of a receiver."
            )
        return whitened(own, others, seen.received, seen.noise, real=self._real)

    def _statistics(self, white: Whitened) -> Statistics:
        return statistics(white, ordered=True)

    def _fitting(
        self, given: Statistics, prior: tf.Tensor | None
    ) -> tuple[Statistics, tf.Tensor | None]:
        given, prior = super()._fitting(given, prior)
        return given.of_each(), prior

    def _vectors(self, given: Statistics, prior: tf.Tensor | None) -> tf.Tensor:
        return self._detector(given.y, given.h, given.order)


class _OfFactors(VectorDetector):
    """Sionna's search, given what it would make of a channel: the third input is the order of the
    streams.
    """

    def _preprocessing(
        self, y: tf.Tensor, h: tf.Tensor, s: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return y, h, s
