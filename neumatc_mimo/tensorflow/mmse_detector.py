"""Linear MMSE equalization followed by demapping."""

from __future__ import annotations

from typing import Literal, Unpack

from sionna.phy.mapping import Constellation
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.linear_detector import LinearDetector
from neumatc_mimo.tensorflow.solver import Solver


class MMSEDetector(LinearDetector):
    r"""Linear MMSE detection for OFDM MIMO transmissions.

    A :class:`LinearDetector` with ``equalizer="lmmse"``.

    :param output: Type of output, either "bit" or "symbol"
    :param demapping_method: Demapping method used, either "app" or "maxlog"
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param constellation_type: "qam", "pam", "custom" or `None`; for "custom", an instance of
        :class:`~sionna.phy.mapping.Constellation` must be provided
    :param num_bits_per_symbol: Number of bits per constellation symbol, e.g., 4 for QAM16
    :param constellation: Instance of :class:`~sionna.phy.mapping.Constellation` or `None`.
        If `None`, ``constellation_type`` and ``num_bits_per_symbol`` must be provided.
    :param hard_out: If `True`, the detector computes hard-decided bit values or constellation
        point indices instead of soft-values
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`

    Inputs are those of :class:`MMSEEqualizer`.

    :output z: [batch_size, num_tx, num_streams, num_data_symbols * num_bits_per_symbol] for
        ``output`` "bit": LLRs or hard decisions, `tf.float`; for "symbol" [batch_size, num_tx,
        num_streams, num_data_symbols, num_points], `tf.float`: logits, or [batch_size, num_tx,
        num_streams, num_data_symbols], `tf.int32`: symbol indices.
    """

    def __init__(
        self,
        output: Literal["bit", "symbol"],
        demapping_method: Literal["app", "maxlog"],
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        constellation_type: str | None = None,
        num_bits_per_symbol: int | None = None,
        constellation: Constellation | None = None,
        hard_out: bool = False,
        precision: str | None = None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        super().__init__(
            "lmmse",
            output,
            demapping_method,
            resource_grid,
            stream_management,
            solver,
            constellation_type,
            num_bits_per_symbol,
            constellation,
            hard_out,
            precision,
            **settings,
        )
