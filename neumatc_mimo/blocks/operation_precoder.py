"""Precoding with the result of any operation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Unpack

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.matrix_precoder import ChannelKnowledge, MatrixPrecoder
from neumatc_mimo.blocks.noise import transmitter_noise
from neumatc_mimo.blocks.solver_block import TileAnswer
from neumatc_mimo.foundation.block_checks import check_type
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.tensors.tracing import is_traced


class OperationPrecoder(MatrixPrecoder):
    r"""Precoding with the result of any operation, for operations without a block of their own.

    For every transmitter the channels to its receivers are collected in :math:`\mathbf{H}` as in
    :class:`ZFPrecoder`, a receiver's antennas in consecutive rows. The precoding matrix
    [num_tx_ant, num_streams_per_tx] is the component of the operation's result that its attribute
    ``applied`` names, by default the first one. Its columns are not normalised.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param operation: The operation; that of a model is ``model.models[name].operation``
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input x: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size], `torch.complex`.
        Resource grids to be precoded.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Channel knowledge based on which the precoding is computed.
    :input no: `0.` (default) | [batch_size] | [batch_size, num_tx, num_ofdm_symbols, fft_size] (or
        broadcastable), `float`. Noise power, for operations that depend on it.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.
    :input time: `None` (default) | `float`. Seconds from the start of the burst to the start of the
        slot, for models of moving users.

    :output x_precoded: [batch_size, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Precoded resource grids.
    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. Only returned if
        ``return_effective_channel=True``.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        import neumatc_mimo as nm
        from neumatc_mimo.blocks import OperationPrecoder

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        precoder = OperationPrecoder(rg, StreamManagement(np.ones([4, 1]), 4), nm.Exact(),
                                     nm.Inverse())
        x = torch.randn(2, 1, 4, 14, 64, dtype=torch.complex64)
        h = torch.randn(2, 4, 1, 1, 4, 14, 64, dtype=torch.complex64)
        print(precoder(x, h).shape)
        # torch.Size([2, 1, 4, 14, 64])
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        operation: Operation,
        return_effective_channel: bool = False,
        precision: str | None = None,
        device: str | None = None,
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
        check_type("operation", operation, Operation)
        self._operation = operation

    def call(
        self,
        x: Tensor,
        h: Tensor,
        no: float | Tensor = 0.0,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        x, h = self._checked(x, h)
        noise = None
        if self._operation.depends_on_noise():
            noise = transmitter_noise("no", no, self._sizes(x, h), self.dtype, self.device)
        return self._precoded(x, h, noise, links=links, time=time)

    def _matrices(
        self,
        inputs: ChannelKnowledge,
        tx: int,
        symbol: int,
        *,
        products: bool = False,
        emitter: Emitter | None = None,
    ) -> Iterator[TileAnswer]:
        """With the matrices themselves: not all operations know answers without them."""
        del products, emitter
        return super()._matrices(inputs, tx, symbol)

    def _factors(self, answer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._matrix(answer), x

    def _matrix(self, answer: Any) -> Tensor:
        return self._operation.results(answer)[self._operation.matrix]

    def _check_streams(self, h: Tensor) -> None:
        """Refuse streams that are not those of the operation's matrix."""
        if is_traced():
            return
        operation, num_rows = self._operation, self._num_rx_per_tx * h.shape[2]
        shape = operation.component_shapes(num_rows, h.shape[4])[operation.matrix]
        if shape != (h.shape[4], self._num_streams_per_tx):
            raise ValueError(
                f"{operation.name} of a channel of {num_rows} x {h.shape[4]} is {list(shape)}, "
                f"{[h.shape[4], self._num_streams_per_tx]} is needed to precode "
                f"{self._num_streams_per_tx} streams."
            )
