"""Linear equalization followed by demapping."""

from __future__ import annotations

from typing import Any, Literal, Unpack

import torch
from sionna.phy import Block
from sionna.phy.mapping import Constellation, Demapper, SymbolDemapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import RemoveNulledSubcarriers, ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.qam_demapper import QAMDemapper
from neumatc_mimo.blocks.registry import EQUALIZERS
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.kernels.lanes.coverage import differentiates
from neumatc_mimo.solvers.base import Counts, Solver
from neumatc_mimo.tensors.tracing import is_traced


class LinearDetector(Displayed, Block):
    r"""Linear detection for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.LinearDetector`: an equalizer followed by a demapper. For
    bits of square QAM, the demapper is :class:`~neumatc_mimo.blocks.qam_demapper.QAMDemapper`. It
    gives the values of Sionna's :class:`~sionna.phy.mapping.Demapper` in a fraction of the time.
    Otherwise it is Sionna's :class:`~sionna.phy.mapping.Demapper` or
    :class:`~sionna.phy.mapping.SymbolDemapper`.

    :param equalizer: Name of the equalizer: "lmmse" for :class:`MMSEEqualizer`, "zf" for
        :class:`ZFEqualizer`, "mf" for :class:`MFEqualizer`. For your own callable, use Sionna's
        block.
    :param output: Type of output, either "bit" or "symbol"
    :param demapping_method: Demapping method used, either "app" or "maxlog"
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param constellation_type: "qam", "pam", "custom" or `None`; for "custom", an instance of
        :class:`~sionna.phy.mapping.Constellation` must be provided
    :param num_bits_per_symbol: Number of bits per constellation symbol, e.g., 4 for QAM16
    :param constellation: Instance of :class:`~sionna.phy.mapping.Constellation` or `None`.
        If `None`, ``constellation_type`` and ``num_bits_per_symbol`` must be provided.
    :param hard_out: If `True`, the detector computes hard-decided bit values or constellation
        point indices instead of soft-values
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `torch.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. Channel estimates for all streams.
    :input err_var: [Broadcastable to shape of ``h_hat``], `torch.float`. Variance of the channel
        estimation error.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `torch.float`. Variance
        of the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h_hat``.
    :input time: `None` (default) | `float`. Seconds from the start of the burst to the start of the
        slot, for models of moving users.
    :input noise_covariance: `None` (default) | [..., num_rx_ant, num_rx_ant], `torch.complex`.
        Covariance of noise that is correlated between antennas, in addition to ``no``, as for
        :class:`MMSEEqualizer`.

    :output z: [batch_size, num_tx, num_streams, num_data_symbols * num_bits_per_symbol] for
        ``output`` "bit": LLRs or hard decisions, `torch.float`; for "symbol" [batch_size, num_tx,
        num_streams, num_data_symbols, num_points], `torch.float`: logits, or [batch_size, num_tx,
        num_streams, num_data_symbols], `torch.int32`: symbol indices.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        from neumatc_mimo.blocks import LinearDetector
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=4, num_streams_per_tx=1)
        detector = LinearDetector("zf", "bit", "maxlog", rg, StreamManagement(np.ones([1, 4]), 1),
                                  Exact(), "qam", 4)
        y = torch.randn(2, 1, 16, 14, 64, dtype=torch.complex64)
        h_hat = torch.randn(2, 1, 16, 4, 1, 14, 64, dtype=torch.complex64)
        print(detector(y, h_hat, 0., 0.1).shape)
        # torch.Size([2, 4, 1, 3584])
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
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(precision=precision, device=device)
        if output not in ("bit", "symbol"):
            raise ValueError(f'output is {output!r}, it must be "bit" or "symbol".')
        if demapping_method not in ("app", "maxlog"):
            raise ValueError(
                f'demapping_method is {demapping_method!r}, it must be "app" or "maxlog".'
            )
        if not isinstance(equalizer, str):
            raise TypeError(
                f"equalizer is {type(equalizer).__name__}, the name of one is needed, such as "
                '"lmmse"; a function of your own is for sionna.phy.ofdm.LinearDetector.'
            )
        made = EQUALIZERS.find(equalizer)(
            resource_grid,
            stream_management,
            solver,
            precision=precision,
            device=device,
            **settings,
        )
        # No child: the state is that of Sionna's detector, whose children the others are.
        object.__setattr__(self, "_equalizer", made)
        self._resource_grid = resource_grid
        self._removed_nulled_scs = RemoveNulledSubcarriers(resource_grid, precision, device)
        constellation = Constellation.check_or_create(
            constellation_type=constellation_type,
            num_bits_per_symbol=num_bits_per_symbol,
            constellation=constellation,
            precision=precision,
            device=device,
        )
        demapper = _demapper(output, demapping_method, constellation, hard_out, precision, device)
        self._detector = torch.nn.ModuleDict(
            {"_constellation": constellation, "_demapper": demapper}
        )

    @property
    def _demapper(self) -> Block:
        return self._detector["_demapper"]

    @property
    def stats(self) -> Counts:
        """Counts of how results were obtained, summed over calls."""
        stats: Counts = self._equalizer.stats
        return stats

    def facts(self) -> Facts:
        facts = self._equalizer.facts()
        return Facts("", {"demapper": type(self._demapper).__name__, **facts.values})

    def call(
        self,
        y: Tensor,
        h_hat: Tensor,
        err_var: float | Tensor,
        no: float | Tensor,
        links: Tensor | None = None,
        time: float | None = None,
        noise_covariance: Tensor | None = None,
    ) -> Tensor:
        """Detect bits or symbols; inputs and outputs as in the class's description."""
        given = (y, h_hat, err_var, no, links, time, noise_covariance)
        demapper, tensors = self._demapper, [value for value in given if isinstance(value, Tensor)]
        # An equalizer that is one operator gives estimates.
        alone = is_traced() or differentiates(*tensors)
        if isinstance(demapper, QAMDemapper) and not alone:
            return self._equalizer.detect(demapper, *given)
        z: Tensor = demapper(*self._equalizer(*given))
        return z


def _demapper(
    output: str,
    method: Literal["app", "maxlog"],
    constellation: Constellation,
    hard_out: bool,
    precision: str | None,
    device: str | None,
) -> Block:
    """The demapper of a kind of output: ours for bits of square QAM, else Sionna's."""
    settings: dict[str, Any] = {
        "constellation": constellation,
        "hard_out": hard_out,
        "precision": precision,
        "device": device,
    }
    if output == "symbol":
        return SymbolDemapper(**settings)
    if QAMDemapper.suits(constellation):
        return QAMDemapper(method, **settings)
    return Demapper(method, **settings)
