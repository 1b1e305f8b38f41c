"""Detection by expectation propagation."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from sionna.phy.mapping import Constellation
from sionna.phy.mimo import EPDetector as VectorDetector
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.bit_axes import BitAxis, shares
from neumatc_mimo.blocks.detector import Detector, Part
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.operations.definite_inverse import (
    side_by_side_inverse,
    side_by_side_rest,
    side_by_side_row_products,
)
from neumatc_mimo.solvers.base import Solver

# Of real and imaginary part each, of noise of power one.
_NOISE = 0.5


class EPDetector(Detector):
    r"""Expectation propagation (EP) detection for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.EPDetector` with the same outputs (Céspedes, Olmos,
    Sánchez-Fernández and Pérez-Cruz, Expectation Propagation Detection for High-Order High-
    Dimensional MIMO Systems, IEEE Trans. Commun. 62, 2014). Real and imaginary parts of the streams
    are real unknowns with Gaussian beliefs of precision :math:`\lambda_i` and mean
    :math:`\gamma_i/\lambda_i`; each iteration computes

    .. math::
        \boldsymbol{\Sigma}
            = (\mathbf{G} + \tfrac12\mathrm{diag}(\boldsymbol{\lambda}))^{-1}, \qquad
        \boldsymbol{\mu} = \boldsymbol{\Sigma}(\mathbf{z} + \tfrac12\boldsymbol{\gamma})

    (Eqs. (28), (29)) and matches the moments of each unknown to those of its constellation points.
    The precision of the cavity distribution, :math:`1/(\tfrac12\Sigma_{kk}) - \lambda_k` in
    Eq. (31), is computed as :math:`(\boldsymbol{\Sigma}\mathbf{G})_{kk}/(\tfrac12\Sigma_{kk})`,
    which is accurate at any noise power.
    The Gram matrix G of the whitened channel and the matched filter of z are computed once per
    subcarrier, see :class:`~neumatc_mimo.blocks.sufficient_statistics.SufficientStatistics`; an
    iteration inverts matrices of twice as many rows as there are streams.

    :param output: Type of output, either "bit" or "symbol"
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``. The matrices of this
        block are cheap, so they are always computed exactly: from the given channel, or from the
        links' own channels with ``trust="model"``
    :param num_bits_per_symbol: Number of bits per QAM symbol, e.g., 4 for QAM16
    :param hard_out: If `True`, the detector computes hard-decided bit values or constellation
        point indices instead of soft-values
    :param l: Number of iterations
    :param beta: Parameter in [0, 1] for update smoothing
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

        from neumatc_mimo.blocks import EPDetector
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=4, num_streams_per_tx=1)
        sm = StreamManagement(np.ones([1, 4]), 1)
        detector = EPDetector("bit", rg, sm, Exact(), 4)
        y = torch.randn(2, 1, 16, 14, 64, dtype=torch.complex64)
        h_hat = torch.randn(2, 1, 16, 4, 1, 14, 64, dtype=torch.complex64)
        print(detector(y, h_hat, 0., 0.1).shape)
        # torch.Size([2, 4, 1, 3584])
    """

    def __init__(
        self,
        output: str,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        num_bits_per_symbol: int | None = None,
        hard_out: bool = False,
        l: int = 10,  # noqa: E741 (Sionna's name)
        beta: float = 0.9,
        precision: str | None = None,
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        detector = VectorDetector(
            output=output,
            num_bits_per_symbol=num_bits_per_symbol,
            hard_out=hard_out,
            l=l,
            beta=beta,
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
        self._num_iterations, self._beta = l, beta
        assert num_bits_per_symbol is not None
        points = Constellation(
            "pam", num_bits_per_symbol // 2, precision=precision, device=self.device
        )()
        levels = points.real / math.sqrt(2)
        # As Sionna's: the variance of a sample.
        self._energy = float(levels.double().var())
        self._levels = levels.to(self.dtype).view(-1, 1, 1, 1)
        self._axis = BitAxis(slice(None), points)
        # Least variance that an iteration takes for real, as Sionna's.
        self._least = 1e-6 if self.precision == "single" else 1e-12

    def _detected(self, part: Part) -> Tensor:
        logits = self._logits(part)
        if self._output == "bit":
            # The axes take turns, the real one first.
            ratios = self._axis.ratios(logits, sums=False).chunk(2, 1)
            both = torch.stack(ratios, 1).flatten(0, 1)
            return (both > 0).to(both.dtype) if self._hard else both
        real, imag = logits.movedim(0, -1).contiguous().chunk(2)
        kind = self._detector
        if self._hard:
            chosen = (one.argmax(-1).to(torch.int32) for one in (real, imag))
            return kind._pam2qam(*chosen).to(torch.int32)[None]
        found: Tensor = kind._pam2qam(real, imag)
        return found.movedim(-1, 0)

    def _logits(self, part: Part) -> Tensor:
        """Of the levels of each unknown, [num_levels, 2 num_streams, symbols, subcarriers]."""
        gram, z = part.m, part.y
        top = torch.cat([gram.real, -gram.imag], 1)
        gram = torch.cat([top, torch.cat([gram.imag, gram.real], 1)])
        z = torch.cat([z.real, z.imag])
        levels = self._levels
        gamma, precision = torch.zeros_like(z), torch.full_like(z, 1 / self._energy)
        squares = -levels.square() / 2
        logits = told = known = z
        for _ in range(self._num_iterations):
            inverse = side_by_side_inverse(gram, _NOISE * precision)
            own = inverse.diagonal().movedim(-1, 0)
            # Eqs. (31), (32): what the others tell of an unknown, as a precision and its product
            # with the mean. The differences of the paper lose all digits where the noise is strong.
            told = side_by_side_row_products(inverse, gram) / (_NOISE * own)
            told = told.clamp(0, 1 / self._least)
            crossed = side_by_side_rest(inverse, z + _NOISE * gamma)
            known = (crossed / own + z) / _NOISE
            # Eq. (33): and its levels, but for what all of them have.
            logits = torch.addcmul(squares * told, levels, known)
            share = shares(logits)
            value = (levels * share).sum(0)
            spread = ((levels - value).square() * share).sum(0).clamp_min(self._least)
            # Eqs. (35) to (38).
            new_precision, new_gamma = 1 / spread - told, value / spread - known
            # What would have a negative precision stays as it was.
            kept = (new_precision < 0).to(z.dtype).clamp_min(self._beta)
            precision = torch.lerp(new_precision, precision, kept)
            gamma = torch.lerp(new_gamma, gamma, kept)
        heard = told > 0
        return logits - heard * known.square() / (2 * torch.where(heard, told, 1.0))
