"""Detection by expectation propagation."""

from __future__ import annotations

from functools import partial
from typing import Literal, Unpack

import tensorflow as tf
from sionna.phy.mimo import EPDetector as VectorDetector
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.detector import Detector
from neumatc_mimo.tensorflow.solver import Solver
from neumatc_mimo.tensorflow.sufficient_statistics import Statistics


class EPDetector(Detector):
    r"""Expectation propagation (EP) detection for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.EPDetector` of Sionna 1.2 with the same outputs. Sionna's
    :class:`~sionna.phy.mimo.EPDetector` is given :math:`\mathbf{Q}^{\mathsf{H}}\mathbf{L}^{-1}
    \mathbf{y}` and R of the whitened channel :math:`\mathbf{L}^{-1}\mathbf{H} =
    \mathbf{Q}\mathbf{R}`, which are found once per subcarrier, see
    :class:`~neumatc_mimo.tensorflow.sufficient_statistics.Statistics`.

    :param output: Type of output, either "bit" or "symbol"
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``. What is computed
        here is cheap: it is computed exactly, whatever the solver
    :param num_bits_per_symbol: Number of bits per QAM symbol, e.g., 4 for QAM16
    :param hard_out: If `True`, the detector computes hard-decided bit values or constellation
        point indices instead of soft-values
    :param l: Number of iterations
    :param beta: Parameter in [0, 1] for update smoothing
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
    """

    def __init__(
        self,
        output: Literal["bit", "symbol"],
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        num_bits_per_symbol: int | None = None,
        hard_out: bool = False,
        l: int = 10,  # noqa: E741 (Sionna's name)
        beta: float = 0.9,
        precision: str | None = None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        detector = partial(
            VectorDetector, output, num_bits_per_symbol, hard_out, l, beta, precision=precision
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

    def _fitting(
        self, given: Statistics, prior: tf.Tensor | None
    ) -> tuple[Statistics, tf.Tensor | None]:
        given, prior = super()._fitting(given, prior)
        return given.of_each(), prior
