"""Detection along the best paths of a tree."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Unpack

import torch
from sionna.phy.mapping import Constellation
from sionna.phy.mimo import KBestDetector as VectorDetector
from sionna.phy.mimo import List2LLRSimple, StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import check_antennas
from neumatc_mimo.blocks.detector import Detector, Part
from neumatc_mimo.blocks.tree_search import Candidates, Tree
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.operations.qr import QR
from neumatc_mimo.solvers.base import Solver


class KBestDetector(Detector):
    r"""K-best detection for OFDM MIMO transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.KBestDetector` with the same outputs (Guo and Nilsson,
    Algorithm and Implementation of the K-Best Sphere Decoding for MIMO Detection, IEEE J. Sel.
    Areas Commun. 24, 2006). The columns of the whitened channel are ordered by their norms, and

    .. math:: \mathbf{L}^{-1}\mathbf{H} = \mathbf{Q}\mathbf{R}

    is computed once per subcarrier, see
    :class:`~neumatc_mimo.blocks.sufficient_statistics.SufficientStatistics`. The search goes from
    the last stream to the first. In each layer, the k candidates with the smallest distances
    :math:`\lVert\mathbf{Q}^{\mathsf{H}}\mathbf{L}^{-1}\mathbf{y} - \mathbf{R}\mathbf{x}\rVert^2`
    are kept, see :class:`~neumatc_mimo.blocks.tree_search.Tree`.

    :param output: Type of output, either "bit" or "symbol"; soft symbols are not supported
    :param num_streams: Number of transmitted streams
    :param k: Number of paths to keep. Cannot be larger than the number of constellation points to
        the power of the number of streams.
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
    :param use_real_rep: If `True`, the detector uses the real-valued equivalent representation of
        the channel, for QAM only
    :param list2llr: Computes LLRs from a list of candidate solutions; if `None`,
        :class:`~sionna.phy.mimo.List2LLRSimple` is used
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

    :raises ValueError: If a receiver gets more streams than it has antennas

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        from neumatc_mimo.blocks import KBestDetector
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=4, num_streams_per_tx=1)
        sm = StreamManagement(np.ones([1, 4]), 1)
        detector = KBestDetector("bit", 4, 16, rg, sm, Exact(), "qam", 4)
        y = torch.randn(2, 1, 16, 14, 64, dtype=torch.complex64)
        h_hat = torch.randn(2, 1, 16, 4, 1, 14, 64, dtype=torch.complex64)
        print(detector(y, h_hat, 0., 0.1).shape)
        # torch.Size([2, 4, 1, 3584])
    """

    def __init__(
        self,
        output: str,
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
        list2llr: Callable[..., Tensor] | None = None,
        precision: str | None = None,
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        detector = VectorDetector(
            output=output,
            num_streams=num_streams,
            k=k,
            constellation_type=constellation_type,
            num_bits_per_symbol=num_bits_per_symbol,
            constellation=constellation,
            hard_out=hard_out,
            use_real_rep=use_real_rep,
            list2llr=list2llr,
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
            **settings,
        )
        wanted = int(stream_management.num_streams_per_rx)
        if num_streams != wanted:
            raise ValueError(
                f"num_streams is {num_streams}, stream_management has {wanted} for a receiver."
            )
        self._real = use_real_rep
        self._tree = Tree(detector._constellation, detector._k)

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
        if y.dim() == 5:
            num = self._statistics._num_streams_per_rx
            check_antennas(num, y.shape[2], "a receiver")
        return super().call(y, h_hat, err_var, no, links, time, noise_covariance)

    def _detected(self, part: Part) -> Tensor:
        y, r, order = self._ordered(part)
        found = self._tree.search(y, r)
        back = order.argsort(-1)
        if self._hard:
            best = found.points[..., 0, :].gather(-1, back.expand(*y.shape[:-1], -1))
            return self._decided(best)
        ratios = self._ratios(y, r, found)
        # [subcarriers, symbols, num_streams, num_bits]
        ratios = ratios.gather(-2, back[..., None].expand_as(ratios))
        if self._real:
            ratios = torch.stack(ratios.chunk(2, -2), -1).flatten(-2)
        return ratios.permute(3, 2, 1, 0)

    def _ordered(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """y [subcarriers, symbols, n], R [subcarriers, symbols or 1, n, n] and its columns' places
        before, [subcarriers, symbols or 1, n].
        """
        y, r = part.y.permute(2, 1, 0), part.m.permute(3, 2, 0, 1)
        if self._real:
            # Noise of power one in each part.
            y = math.sqrt(2) * torch.cat([y.real, y.imag], -1)
            left = torch.cat([r.real, r.imag], -2)
            r = math.sqrt(2) * torch.cat([left, torch.cat([-r.imag, r.real], -2)], -1)
        order = torch.linalg.vector_norm(r, dim=-2).argsort(-1, descending=True)
        q, r = QR().exact(r.gather(-1, order[..., None, :].expand_as(r)))
        shared = q.shape[1] == 1
        y = y @ q[:, 0].conj() if shared else (y[..., None, :] @ q.conj())[..., 0, :]
        return y, r, order

    def _ratios(self, y: Tensor, r: Tensor, found: Candidates) -> Tensor:
        """Log-likelihood ratios [subcarriers, symbols, n, num_bits] of the bits in the order of the
        columns of R.
        """
        made = self._detector.list2llr
        if type(made) is List2LLRSimple:
            size = found.distances / 2 if self._real else found.distances
            return self._tree.ratios(size, found.points, float(made.llr_clip_val))
        shape = y.shape[:2]
        n = r.shape[-1]
        ratios: Tensor = made(
            y.flatten(0, 1),
            r.expand(*shape, n, n).flatten(0, 1),
            found.distances.flatten(0, 1),
            found.points.flatten(0, 1).to(torch.int32),
            self._tree.points[found.points.flatten(0, 1)],
        )
        return ratios.unflatten(0, shape)

    def _decided(self, best: Tensor) -> Tensor:
        """Bits or indices [num_values, num_streams, symbols, subcarriers] of the points
        [subcarriers, symbols, n] of the best candidates.
        """
        kind = self._detector
        if self._real:
            best = kind._pam2qam(*(part.contiguous() for part in best.chunk(2, -1)))
        if self._output == "bit":
            bits: Tensor = kind._symbolinds2bits(best)
            return bits.permute(3, 2, 1, 0)
        return best.permute(2, 1, 0)[None]
