"""Linear equalization followed by demapping."""

from __future__ import annotations

from typing import Any, Literal, Unpack

import tensorflow as tf
from sionna.phy import Block
from sionna.phy.mapping import Constellation, Demapper, SymbolDemapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.tensorflow.equalizer import Equalizer
from neumatc_mimo.tensorflow.mf_equalizer import MFEqualizer
from neumatc_mimo.tensorflow.mmse_equalizer import MMSEEqualizer
from neumatc_mimo.tensorflow.solver import Solver
from neumatc_mimo.tensorflow.zf_equalizer import ZFEqualizer

# By Sionna's names.
_EQUALIZERS: dict[str, type[Equalizer]] = {
    "lmmse": MMSEEqualizer,
    "mf": MFEqualizer,
    "zf": ZFEqualizer,
}


class LinearDetector(Block):
    r"""Linear detection for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.LinearDetector` of Sionna 1.2: an equalizer followed by
    Sionna's :class:`~sionna.phy.mapping.Demapper` or :class:`~sionna.phy.mapping.SymbolDemapper`.

    :param equalizer: Name of the equalizer: "lmmse" for :class:`MMSEEqualizer`, "zf" for
        :class:`ZFEqualizer`, "mf" for :class:`MFEqualizer`
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
        equalizer: str,
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
        super().__init__(precision=precision)
        if output not in ("bit", "symbol"):
            raise ValueError(f'output is {output!r}, it must be "bit" or "symbol".')
        if demapping_method not in ("app", "maxlog"):
            raise ValueError(
                f'demapping_method is {demapping_method!r}, it must be "app" or "maxlog".'
            )
        if equalizer not in _EQUALIZERS:
            raise ValueError(
                f"equalizer is {equalizer!r}, it must be one of {', '.join(sorted(_EQUALIZERS))}."
            )
        self._equalizer = _EQUALIZERS[equalizer](
            resource_grid,
            stream_management,
            solver,
            precision=precision,
            **settings,
        )
        constellation = Constellation.check_or_create(
            constellation_type=constellation_type,
            num_bits_per_symbol=num_bits_per_symbol,
            constellation=constellation,
            precision=precision,
        )
        demapping: dict[str, Any] = {
            "constellation": constellation,
            "hard_out": hard_out,
            "precision": precision,
        }
        self._demapper: Block
        if output == "symbol":
            self._demapper = SymbolDemapper(**demapping)
        else:
            self._demapper = Demapper(demapping_method, **demapping)

    @property
    def stats(self) -> Counts:
        """Counts of how results were obtained, summed over calls."""
        return self._equalizer.stats

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._equalizer!r})"

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
        given = (y, h_hat, err_var, no, links, noise_covariance)
        return self._demapper(*self._equalizer(*given))
