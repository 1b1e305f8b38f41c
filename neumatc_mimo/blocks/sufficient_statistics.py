"""All that detectors need of a received vector, of as many entries as there are streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Unpack

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.coloured_noise import Whitening
from neumatc_mimo.blocks.equalizer import Equalizer, EqualizerInputs, merged
from neumatc_mimo.blocks.inputs import ResultKind
from neumatc_mimo.blocks.noise_covariance import Grouped
from neumatc_mimo.blocks.receiver import ReceiveFilter, as_it_is, filtered
from neumatc_mimo.blocks.symbols import at_symbols
from neumatc_mimo.blocks.tiles import on_grid
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.operations.base import identity
from neumatc_mimo.operations.qr import QR
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.tensors.results import new_result


class SufficientStatistics(Equalizer):
    r"""What a received vector tells of the streams that were sent, and how it depends on them.

    With the channel :math:`\mathbf{H}` of the streams that a receiver is to get, and the covariance
    of noise, estimation errors and the streams that others want,
    :math:`\mathbf{S} = \mathbf{L}\mathbf{L}^{\mathsf{H}}`, the likelihood of y depends on

    .. math::
        \mathbf{z} = \mathbf{H}^{\mathsf{H}}\mathbf{S}^{-1}\mathbf{y}, \qquad
        \mathbf{G} = \mathbf{H}^{\mathsf{H}}\mathbf{S}^{-1}\mathbf{H},

    or on :math:`\mathbf{Q}^{\mathsf{H}}\mathbf{L}^{-1}\mathbf{y}` and R of the decomposition
    :math:`\mathbf{L}^{-1}\mathbf{H} = \mathbf{Q}\mathbf{R}`, alone (Hochwald and ten Brink, IEEE
    Trans. Commun. 51, 2003). Filters, G and R are found once for OFDM symbols of the same channel
    and the same variances; nothing is kept of H for a symbol.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``. The matrices of this
        block are cheap, so they are always computed exactly: from the given channel, or from the
        links' own channels with ``trust="model"``
    :param triangular: whether Q and R are wanted
    :param energy: whether y has another row, the part of :math:`\lVert\mathbf{L}^{-1}\mathbf{y}
        \rVert^2` that no stream explains; needs ``triangular``
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

    :output y: [batch_size, num_rx, n, num_ofdm_symbols, num_effective_subcarriers],
        `torch.complex`, with n streams, or as many as there are antennas if these are fewer
    :output m: [batch_size or 1, num_rx, n, num_streams, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`: G or R; a view that repeats one symbol if it
        is the same for all
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        *,
        triangular: bool = False,
        energy: bool = False,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(resource_grid, stream_management, solver, precision, device, **settings)
        self._triangular, self._energy = triangular, energy

    def _sizes(self, inputs: EqualizerInputs) -> tuple[int, int]:
        """Rows of a matrix, and of what y becomes."""
        num = self._num_streams_per_rx
        rows = min(num, inputs.y.shape[2]) if self._triangular else num
        return rows, rows + self._energy

    def _kinds(self, inputs: EqualizerInputs) -> list[ResultKind]:  # type: ignore[override]
        rows, entries = self._sizes(inputs)
        place = (self._num_symbols, self._num_effective)
        matrix = (len(inputs.h_hat), self._num_rx, rows, self._num_streams_per_rx, *place)
        received = (len(inputs.y), self._num_rx, entries, *place)
        return [ResultKind(self.cdtype, received), ResultKind(self.cdtype, matrix)]

    def _results(self, inputs: EqualizerInputs) -> tuple[Tensor, Tensor]:
        """Statistics where the links of some receivers are trusted."""
        inputs = merged(inputs)
        y, items, groups = inputs.y, len(inputs.h_hat), self._groups(inputs)
        (rows, entries), num = self._sizes(inputs), self._num_streams_per_rx
        found = new_result(y, len(y), self._num_rx, entries, y.shape[3], self._num_effective)
        matrices = new_result(y, items, self._num_rx, rows * num, len(groups), self._num_effective)
        for rx in range(self._num_rx):
            for group, symbols in enumerate(groups):
                for part in self._parts(inputs, rx, symbols[0].start):
                    tile = part.tile
                    matrices[:, rx, :, group, tile] = part.matrix.flatten(2).mT
                    made = ReceiveFilter(tile, part.filters, as_it_is, part.matrix)
                    for run in symbols:
                        here = y[:, rx, :, run, on_grid(tile, self._stretches)]
                        seen = filtered(here, made)
                        found[:, rx, :rows, run, tile] = seen[:, :rows]
                        if self._energy:
                            found[:, rx, rows, run, tile] = _unexplained(part.q, seen)
        whole = at_symbols(matrices, groups, y.shape[3])
        return found, whole.unflatten(2, (rows, num))

    def _parts(self, inputs: EqualizerInputs, rx: int, symbol: int) -> Iterator[_Part]:
        """Tiles of a receiver in one OFDM symbol."""
        variance = inputs.noise_of(rx, symbol)
        correlated = inputs.correlated_noise(rx, symbol)
        for tile, a in self._own_channels(inputs, rx, symbol):
            noise: Tensor | Grouped
            if correlated is not None:
                noise = correlated.at(tile)
            else:
                noise = (variance if variance.shape[-1] == 1 else variance[..., tile]).mT
            others = self._unwanted(inputs, rx, symbol)[:, tile].contiguous()
            whitening = Whitening.of(others, noise)
            h = whitening.rows(a).mT
            q, matrix = _decomposed(h) if self._triangular else (h, h.mH @ h)
            columns = q
            if self._energy:
                columns = torch.cat([q, identity(h.mT).expand(*h.shape[:2], -1, -1)], -1)
            filters = whitening.filters(columns)
            yield _Part(tile, filters.to(self.cdtype), matrix.to(self.cdtype), q.to(self.cdtype))


class _Part(NamedTuple):
    """A tile's filters [batch_size, tile, num_rx_ant, n], matrices, and Q."""

    tile: slice
    filters: Tensor
    matrix: Tensor
    q: Tensor


def _decomposed(h: Tensor) -> tuple[Tensor, Tensor]:
    """Q and R of h [..., num_rx_ant, num_streams]."""
    if h.shape[-2] >= h.shape[-1]:
        return QR().exact(h)  # type: ignore[return-value]
    q, r = torch.linalg.qr(h)
    return q, r


def _unexplained(q: Tensor, seen: Tensor) -> Tensor:
    r""":math:`\lVert\mathbf{y} - \mathbf{Q}\mathbf{Q}^{\mathsf{H}}\mathbf{y}\rVert^2`, [batch_size,
    symbols, tile].

    :param seen: of white y, [batch_size, n + num_rx_ant, symbols, tile]: first
        :math:`\mathbf{Q}^{\mathsf{H}}\mathbf{y}`
    """
    num = q.shape[-1]
    q = q.expand(len(seen), -1, -1, -1)
    rest = seen[:, num:] - torch.einsum("btmn,bnst->bmst", q, seen[:, :num])
    return torch.view_as_real(rest.resolve_conj()).square().sum((1, -1))
