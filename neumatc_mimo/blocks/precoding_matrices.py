"""The precoding matrices of every transmitter, from a solver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import as_complex, check_antennas, check_shape
from neumatc_mimo.blocks.inputs import Inputs, ResultKind
from neumatc_mimo.blocks.noise import noise_at
from neumatc_mimo.blocks.solver_block import SolverBlock, TileAnswer
from neumatc_mimo.blocks.symbols import Symbols
from neumatc_mimo.blocks.tiles import take
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.solvers.base import Channels, Solver


@dataclass(frozen=True, kw_only=True)
class ChannelKnowledge(Inputs):
    """What precoding matrices are made of.

    :param h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size]
    :param no: [batch_size, num_tx, num_ofdm_symbols or 1, fft_size or 1], or None for zero
    :param noise: Noise power at the receivers that the streams' powers follow, [batch_size or 1,
        num_rx or 1, num_rx_ant or 1]; None for streams of unit power
    """

    h: Tensor
    no: Tensor | None = None
    noise: Tensor | None = None


class PrecodingMatrices(SolverBlock):
    """Base of blocks that precode, or tell what precoding makes of channels.

    The streams of a transmitter are those of its receivers' antennas, one receiver after another.
    What a kind of precoding is stands here, once for all of its blocks: its operation, and what of
    an answer is the matrix.
    """

    _inputs: ClassVar[type[ChannelKnowledge]] = ChannelKnowledge
    _operation: Operation

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(resource_grid, stream_management, solver, precision, device, **settings)
        self._precoding_ind = stream_management.precoding_ind.tolist()

    def _operation_for(self, num_rx_ant: int) -> Operation:
        """The operation on the rows of receivers of so many antennas each."""
        del num_rx_ant
        return self._operation

    def _matrix(self, answer: Any) -> Tensor:
        """The precoding matrix, [..., num_tx_ant, num_streams]."""
        return answer.v

    def _amplitudes(self, answer: Any, inputs: ChannelKnowledge, tx: int) -> Tensor | None:
        """Amplitudes of a transmitter's streams, [batch_size, tile, num_streams]; None for ones."""
        del answer, inputs, tx
        return None

    def _emitter(
        self, out: Tensor, x: Tensor, symbols: Symbols, effective: Tensor | None
    ) -> Emitter | None:
        """All that precodes x, for a kernel; None where no kernel does that.

        :param out: [batch_size, num_tx_ant, symbols, fft_size]
        :param x: [batch_size, num_streams, symbols, fft_size]
        :param symbols: Those that share their matrices
        :param effective: [batch_size, num_rx * num_rx_ant, num_streams, fft_size] effective
            channels of the only transmitter, or None
        """
        del out, x, symbols, effective
        return None

    def _serves_all(self) -> bool:
        """Whether there is one transmitter, whose matrix has the rows of all receivers in order."""
        return self._num_tx == 1 and self._precoding_ind[0] == list(range(self._num_rx))

    def _matrices(
        self,
        inputs: ChannelKnowledge,
        tx: int,
        symbol: int,
        *,
        products: bool = False,
        emitter: Emitter | None = None,
    ) -> Iterator[TileAnswer]:
        """The solver's answers for one transmitter and OFDM symbol.

        :param products: Whether products with the matrices will do
        :param emitter: What is made of the answers, if a kernel may do it
        """
        rows = inputs.h[:, :, :, tx, :, symbol]
        # Rows of the receivers that tx serves: [batch_size, fft_size, K, num_tx_ant]
        a = take(rows, 1, self._precoding_ind[tx]).flatten(1, 2).permute(0, 3, 1, 2)
        channels = Channels(
            a,
            self._frequencies,
            no=noise_at(inputs.no, tx, symbol),
            links=inputs.links_of(tx),
            products=products,
            trusted=tx in inputs.trusted,
            time=self._moment(inputs.time, symbol),
        )
        operation = self._operation_for(rows.shape[2])
        whole = [slice(0, rows.shape[-1])]
        return self._answers(operation, channels, whole, emitter=emitter)

    def _effective_kind(self, h: Tensor) -> ResultKind:
        """Of the effective channel that precoders make of h."""
        streams, num_symbols = self._num_streams_per_tx, h.shape[5]
        return ResultKind(h.dtype, (*h.shape[:4], streams, num_symbols, self._num_effective))

    def _checked_channel(self, name: str, h: Tensor) -> Tensor:
        """A complex channel of this block's transmitters and receivers."""
        h = as_complex(name, h, self.cdtype)
        check_shape(name, h, (None, self._num_rx, None, self._num_tx, None, None, None))
        self._check_streams(h)
        return h

    def _check_antennas(self, h: Tensor, no: Tensor | None) -> None:
        """Refuse more streams than a transmitter has antennas."""
        del no
        check_antennas(self._num_streams_per_tx, h.shape[4], "a transmitter")

    def _check_streams(self, h: Tensor) -> None:
        """Refuse streams that are not those of the rows of a transmitter's channel."""
        num_rows = self._num_rx_per_tx * h.shape[2]
        if num_rows != self._num_streams_per_tx:
            raise ValueError(
                f"{self._num_rx_per_tx} receivers of {h.shape[2]} antennas make {num_rows} rows of "
                f"a transmitter's channel, its {self._num_streams_per_tx} streams need as many."
            )
