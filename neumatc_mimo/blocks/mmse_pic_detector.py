"""Detection by MMSE filters and parallel interference cancellation."""

from __future__ import annotations

from typing import Unpack

import torch
from sionna.phy.mapping import Constellation
from sionna.phy.mimo import MMSEPICDetector as VectorDetector
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.bit_axes import BitAxis, bit_axes, shares
from neumatc_mimo.blocks.detector import DetectorWithPrior, Part
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.operations.definite_inverse import side_by_side_inverse, side_by_side_product
from neumatc_mimo.solvers.base import Solver

# As Sionna's: what is left of a stream's power at least.
_LEAST = 1e-4


class MMSEPICDetector(DetectorWithPrior):
    r"""MMSE detection with parallel interference cancellation (PIC) for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.MMSEPICDetector` with the same outputs (Studer, Fateh and
    Seethaler, ASIC Implementation of Soft-Input Soft-Output MIMO Detection Using MMSE Parallel
    Interference Cancellation, IEEE J. Solid-State Circuits 46, 2011). From the prior, each symbol
    has a mean in :math:`\hat{\mathbf{s}}` and a variance in V. With these, an iteration computes

    .. math::
        \mathbf{A} = \mathbf{G}\mathbf{V} + \mathbf{I}, \qquad
        \mu_k = [\mathbf{A}^{-1}\mathbf{G}]_{kk}, \qquad
        \hat{x}_k = \hat{s}_k
            + [\mathbf{A}^{-1}(\mathbf{z} - \mathbf{G}\hat{\mathbf{s}})]_k / \mu_k

    with an effective noise of :math:`1/\mu_k - V_k`, and demaps them. The Gram matrix G of the
    whitened channel and the matched filter of z are computed once per subcarrier, see
    :class:`~neumatc_mimo.blocks.sufficient_statistics.SufficientStatistics`.

    :param output: Type of output, either "bit" or "symbol"
    :param demapping_method: Demapping method used, either "app" or "maxlog"
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``. The matrices of this
        block are cheap, so they are always computed exactly: from the given channel, or from the
        links' own channels with ``trust="model"``
    :param num_iter: Number of MMSE PIC iterations
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
        num_effective_subcarriers], `torch.complex`. Channel estimates for all streams. ``y`` or
        ``h_hat`` may have one item or symbol, which is then used for all.
    :input prior: [batch_size, num_tx, num_streams, num_data_symbols * num_bits_per_symbol] for
        ``output`` "bit": LLRs; or [batch_size, num_tx, num_streams, num_data_symbols, num_points]
        for "symbol": logits, `torch.float`. Prior knowledge of the transmitted signals.
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

        from neumatc_mimo.blocks import MMSEPICDetector
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=4, num_streams_per_tx=1)
        sm = StreamManagement(np.ones([1, 4]), 1)
        detector = MMSEPICDetector("bit", "maxlog", rg, sm, Exact(), 1, "qam", 4)
        y = torch.randn(2, 1, 16, 14, 64, dtype=torch.complex64)
        h_hat = torch.randn(2, 1, 16, 4, 1, 14, 64, dtype=torch.complex64)
        prior = torch.zeros(2, 4, 1, 3584)
        print(detector(y, h_hat, prior, 0., 0.1).shape)
        # torch.Size([2, 4, 1, 3584])
    """

    def __init__(
        self,
        output: str,
        demapping_method: str,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        num_iter: int = 1,
        constellation_type: str | None = None,
        num_bits_per_symbol: int | None = None,
        constellation: Constellation | None = None,
        hard_out: bool = False,
        precision: str | None = None,
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        detector = VectorDetector(
            output=output,
            demapping_method=demapping_method,
            num_iter=num_iter,
            constellation_type=constellation_type,
            num_bits_per_symbol=num_bits_per_symbol,
            constellation=constellation,
            hard_out=hard_out,
            precision=precision,
            device=device,
        )
        super().__init__(
            detector,
            output,
            resource_grid,
            stream_management,
            solver,
            precision,
            device,
            **settings,
        )
        self._num_iterations, self._sums = num_iter, demapping_method == "app"
        self._made_axes = bit_axes(self._constellation)

    def _detected(self, part: Part) -> Tensor:
        assert part.prior is not None
        before, kind = part.prior, self._detector
        if self._output == "symbol":
            logits = before.movedim(0, -1).contiguous()
            before = kind._symbol_logits_2_llrs(logits).movedim(-1, 0)
        known, found = torch.zeros_like(before), before
        for _ in range(self._num_iterations):
            known, found = found, self._iterated(part, found)
        gained = found - known
        if self._output == "symbol":
            decided: Tensor = kind._llr_2_symbol_logits_output(gained.movedim(0, -1).contiguous())
            return decided[None] if self._hard else decided.movedim(-1, 0)
        return (gained > 0).to(gained.dtype) if self._hard else gained

    def _iterated(self, part: Part, known: Tensor) -> Tensor:
        """Log-likelihood ratios [num_bits, num_streams, symbols, subcarriers] from those known."""
        gram = part.m
        logits = [axis.logits(known) for axis in self._axes]
        mean, variance = self._moments(logits)
        inverse = side_by_side_inverse(gram * variance, torch.ones_like(variance))
        gain = (inverse * gram.transpose(0, 1)).sum(1).real
        rest = part.y - side_by_side_product(gram, mean)
        x = mean + side_by_side_product(inverse, rest) / gain
        no = (1 - variance * gain).clamp_min(_LEAST) / gain
        # As Sionna's demapper: zero is as the smallest number.
        no = no.clamp_min(torch.finfo(no.dtype).tiny)
        found = torch.empty_like(known)
        for axis, before in zip(self._axes, logits, strict=True):
            points = axis.points.to(x.dtype).view(-1, 1, 1, 1)
            distance = (x.real - points.real).square() + (x.imag - points.imag).square()
            found[axis.bits] = axis.ratios(before - distance / no, self._sums)
        return found

    @property
    def _axes(self) -> list[BitAxis]:
        """Those of the constellation, whose points may be trained."""
        trained = self._constellation.constellation_type == "custom"
        return bit_axes(self._constellation) if trained else self._made_axes

    def _moments(self, logits: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Means and variances of the symbols, from logits of the points of each axis."""
        means, variances = [], []
        for axis, values in zip(self._axes, logits, strict=True):
            points = axis.points.to(self.cdtype).view(-1, 1, 1, 1)
            share = shares(values)
            real, imag = ((part * share).sum(0) for part in (points.real, points.imag))
            away = (points.real - real).square() + (points.imag - imag).square()
            means.append(torch.complex(real, imag))
            variances.append((away * share).sum(0))
        return sum(means[1:], means[0]), sum(variances[1:], variances[0])
