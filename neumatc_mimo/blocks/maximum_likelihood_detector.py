"""Maximum-likelihood detection."""

from __future__ import annotations

from typing import Unpack

from sionna.phy.mapping import Constellation
from sionna.phy.mimo import MaximumLikelihoodDetector as VectorDetector
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.detector import Detector, Part
from neumatc_mimo.blocks.likelihood import Likelihood
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.solvers.base import Solver


class MaximumLikelihoodDetector(Detector):
    r"""Maximum-likelihood (ML) detection for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.MaximumLikelihoodDetector` with the same outputs. With
    the QR decomposition of the whitened channel

    .. math::
        \lVert\mathbf{L}^{-1}\mathbf{y} - \mathbf{L}^{-1}\mathbf{H}\mathbf{x}\rVert^2
        = \lVert\mathbf{Q}^{\mathsf{H}}\mathbf{L}^{-1}\mathbf{y} - \mathbf{R}\mathbf{x}\rVert^2
            + \mathrm{const}

    The products R x with all vectors of constellation points are computed once per subcarrier, and
    a distance has one term for each stream instead of one for each antenna; see
    :class:`~neumatc_mimo.blocks.sufficient_statistics.SufficientStatistics`.

    :param output: Type of output, either "bit" or "symbol"
    :param demapping_method: Demapping method used, either "app" or "maxlog"
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``. The matrices of this
        block are cheap, so they are always computed exactly: from the given channel, or from the
        links' own channels with ``trust="model"``
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

        from neumatc_mimo.blocks import MaximumLikelihoodDetector
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=4, num_streams_per_tx=1)
        sm = StreamManagement(np.ones([1, 4]), 1)
        detector = MaximumLikelihoodDetector("bit", "app", rg, sm, Exact(), "qam", 2)
        y = torch.randn(2, 1, 16, 14, 64, dtype=torch.complex64)
        h_hat = torch.randn(2, 1, 16, 4, 1, 14, 64, dtype=torch.complex64)
        print(detector(y, h_hat, 0., 0.1).shape)
        # torch.Size([2, 4, 1, 1792])
    """

    def __init__(
        self,
        output: str,
        demapping_method: str,
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
        detector = VectorDetector(
            output=output,
            demapping_method=demapping_method,
            num_streams=int(stream_management.num_streams_per_rx),
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
            triangular=True,
            energy=output == "symbol" and not hard_out,
            **settings,
        )
        self._likelihood = Likelihood(detector, output, demapping_method, hard_out)

    def _detected(self, part: Part) -> Tensor:
        return self._likelihood(part)
