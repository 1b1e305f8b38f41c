"""Zero-forcing precoding, plain or regularised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import check_antennas
from neumatc_mimo.blocks.matrix_precoder import MatrixPrecoder
from neumatc_mimo.blocks.noise import transmitter_noise
from neumatc_mimo.blocks.ranks import Modes
from neumatc_mimo.blocks.symbols import Symbols, members
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.lanes import Precoded
from neumatc_mimo.operations.pseudo_inverse import Filter, PseudoInverse
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.tensors.tracing import is_traced


class ZFPrecoder(MatrixPrecoder):
    r"""Zero-forcing precoding for multi-antenna OFDM transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.RZFPrecoder` with the same outputs: for every transmitter
    the channels to all its receivers are collected in :math:`\mathbf{H}`, and

    .. math::
        \mathbf{G} = \mathbf{V}\mathbf{D}, \qquad
        \mathbf{V} = \mathbf{H}^{\mathsf{H}} (\mathbf{H}\mathbf{H}^{\mathsf{H}}
        + \alpha\mathbf{I})^{-1}, \qquad
        \mathbf{D} = \mathrm{diag}(\lVert\mathbf{v}_k\rVert_2^{-1})

    precodes the streams. :math:`\mathbf{V}` comes from the ``solver``, once for all OFDM symbols
    with the same channel and the same :math:`\alpha`. Channels are the same if they are a view with
    a zero stride, or equal bit by bit over the band. ``time_varying=True`` skips this check. If
    :math:`\alpha` differs between subcarriers, or is outside of the solver's noise powers, the
    filters are exact.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param ranks: Number of streams that each receiver gets, at most as many as in
        ``stream_management``. The first ones are sent. `None`: all
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input x: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size], `torch.complex`.
        Resource grids to be precoded.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Channel knowledge based on which the precoding is computed. ``x`` or ``h``
        may have one item, symbol or subcarrier, which is then used for all. With more streams than
        antennas, ``alpha`` must be above zero.
    :input alpha: `0.` (default) | [batch_size] | [batch_size, num_tx, num_ofdm_symbols, fft_size]
        (or broadcastable), `float`. Regularization parameter, a noise power. A vector with one
        entry for each subcarrier is used along the subcarriers, as in Sionna.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.
    :input time: `None` (default) | `float`. Seconds from the start of the burst to the start of the
        slot, for models of moving users.

    :output x_precoded: [batch_size, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Precoded resource grids.
    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. Only returned if
        ``return_effective_channel=True``. The effective channels of all streams after precoding,
        without nulled subcarriers; a view that repeats one symbol if ``h`` is constant.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        from neumatc_mimo.blocks import ZFPrecoder
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        precoder = ZFPrecoder(rg, StreamManagement(np.ones([4, 1]), 4), Exact())
        x = torch.randn(2, 1, 4, 14, 64, dtype=torch.complex64)
        h = torch.randn(2, 4, 1, 1, 16, 14, 64, dtype=torch.complex64)
        print(precoder(x, h).shape)
        # torch.Size([2, 1, 16, 14, 64])
    """

    _operation = PseudoInverse()

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        return_effective_channel: bool = False,
        precision: str | None = None,
        device: str | None = None,
        *,
        ranks: Sequence[int] | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            return_effective_channel,
            precision,
            device,
            **settings,
        )
        self._streams = Modes(stream_management, ranks)

    def call(
        self,
        x: Tensor,
        h: Tensor,
        alpha: float | Tensor = 0.0,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        x, h = self._checked(x, h)
        no = transmitter_noise("alpha", alpha, self._sizes(x, h), self.dtype, self.device)
        return self._precoded(x, h, no, links=links, time=time)

    def _check_antennas(self, h: Tensor, no: Tensor | None) -> None:
        """More streams than antennas have no zero forcing, but a regularised one."""
        if no is None or not (is_traced() or bool((no > 0).all())):
            check_antennas(
                self._streams.num_columns(h.shape[2]),
                h.shape[4],
                "a transmitter",
                "; alpha above 0 serves them",
            )

    def _factors(self, answer: Filter, x: Tensor) -> tuple[Tensor, Tensor]:
        return answer.w, _unit_columns(answer).before(x)

    def _emitter(
        self, out: Tensor, x: Tensor, symbols: Symbols, effective: Tensor | None
    ) -> Precoded:
        return Precoded(x, out, members(symbols), effective)

    def _matrix(self, answer: Filter) -> Tensor:
        return _unit_columns(answer).dense


def _unit_columns(answer: Filter) -> Filter:
    # A column of zeros stays one, as in Sionna.
    norm = answer.column_norm
    return answer.scaled(torch.where(norm > 0, norm.reciprocal(), 1.0))
