"""Linear filtering at every receiver: the base of the receiving blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Unpack

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import RemoveNulledSubcarriers, ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import as_complex, check_shape
from neumatc_mimo.blocks.data_symbols import DataSymbols
from neumatc_mimo.blocks.detected_bits import DetectedBits
from neumatc_mimo.blocks.fitting import joint_items, joint_sizes, spread
from neumatc_mimo.blocks.inputs import Inputs, ResultKind
from neumatc_mimo.blocks.places import Places
from neumatc_mimo.blocks.products import received
from neumatc_mimo.blocks.qam_demapper import QAMDemapper
from neumatc_mimo.blocks.solver_block import SolverBlock
from neumatc_mimo.blocks.symbols import Symbols, at_symbols, members
from neumatc_mimo.blocks.tiles import on_grid, take
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.tensors.results import new_result, repeated


@dataclass(frozen=True, kw_only=True)
class ReceiverInputs(Inputs):
    """What every receiver is called with.

    :param y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size]
    """

    symbols = "y"

    y: Tensor


class ReceiveFilter(NamedTuple):
    """Receive filters of a tile of subcarriers.

    :param tile: Effective subcarriers
    :param matrix: [batch_size, tile, num_rx_ant, num_streams], or products with it
    :param after: Gives x_hat [batch_size, tile, symbols, num_streams] for y times the matrix
    :param no_eff: [batch_size, tile, num_streams] effective noise variance
    :param where: [batch_size, num_effective_subcarriers] bool, single subcarriers in the place of a
        tile; the others have them side by side, as those of one item
    """

    tile: slice
    matrix: Tensor | Applied
    after: Callable[[Tensor], Tensor]
    no_eff: Tensor
    where: Tensor | None = None


class Estimates(NamedTuple):
    """What receivers estimate on the whole grid.

    :param x_hat: [batch_size, num_rx, num_streams, num_ofdm_symbols, num_effective_subcarriers]
    :param no_eff: [batch_size, num_rx, num_streams, len(groups), num_effective_subcarriers]
    :param groups: OFDM symbols that share their filters
    """

    x_hat: Tensor
    no_eff: Tensor
    groups: list[Symbols]


# Gives the filters of a receiver and an OFDM symbol, but for what it has an emitter do.
Filters = Callable[[int, int, Emitter | None], Iterator[ReceiveFilter]]


class Receiver(SolverBlock):
    """Linear filtering at every receiver with matrices of the solver."""

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
        self._data_symbols = DataSymbols(self._resource_grid, self.device)
        # The state is that of Sionna's equalizers.
        self._removed_nulled_scs = RemoveNulledSubcarriers(resource_grid, precision, device)
        self._stream_ind = self._stream_management.stream_ind.tolist()
        # Where the streams of each receiver are among those of all transmitters.
        num = self._num_streams_per_rx
        at = [self._stream_ind.index(stream) for stream in range(self._num_rx * num)]
        self._rows = [at[rx * num : (rx + 1) * num] for rx in range(self._num_rx)]

    def _kinds(self, inputs: ReceiverInputs) -> list[ResultKind]:
        y, num_data = inputs.y, self._data_symbols.num_data
        shape = (len(y), self._num_tx, self._num_streams_per_tx, num_data)
        return [ResultKind(y.dtype, shape), ResultKind(self.dtype, shape)]

    def _emitter(
        self, rx: int, y: Tensor, x_hat: Tensor, no_eff: Tensor, symbols: Symbols
    ) -> Emitter | None:
        """All that is done at a receiver, for a kernel; None where no kernel does that.

        :param y: [batch_size, num_rx_ant, num_ofdm_symbols, fft_size]
        :param x_hat: [batch_size, num_streams, num_ofdm_symbols, num_effective_subcarriers]
        :param no_eff: [batch_size, num_streams, num_effective_subcarriers]
        :param symbols: Those that share their filters
        """
        del rx, y, x_hat, no_eff, symbols
        return None

    def _places(self) -> list[tuple[int, int, int]]:
        """First effective subcarrier, number of subcarriers, and place of the first one on the grid
        of each stretch of neighbours.
        """
        return [
            (effective.start, effective.stop - effective.start, grid.start)
            for effective, grid in self._stretches
        ]

    def _receive(
        self,
        y: Tensor,
        groups: list[Symbols],
        filters: Filters,
    ) -> tuple[Tensor, Tensor]:
        """Apply filters to y and extract the data symbols.

        :param y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size]; filters of one item
            serve all
        :param groups: OFDM symbols that share their filters
        :param filters: Gives the filters of a receiver and a group's first symbol, but for what it
            has an emitter do

        :return: x_hat and no_eff, [batch_size, num_tx, num_streams, num_data_symbols]
        """
        return self._extracted(self._estimate(y, groups, filters))

    def _detect(
        self, y: Tensor, groups: list[Symbols], filters: Filters, demapper: QAMDemapper
    ) -> Tensor:
        """Likewise, and demap them: [batch_size, num_tx, num_streams, num_data_symbols *
        num_bits_per_symbol].
        """
        bits = DetectedBits(demapper, self._data_symbols, y)
        estimates = self._estimate(y, groups, filters, bits)
        llr = bits.completed(lambda: self._extracted(estimates))
        return llr.unflatten(1, (self._num_tx, self._num_streams_per_tx))

    def _estimate(
        self,
        y: Tensor,
        groups: list[Symbols],
        filters: Filters,
        bits: DetectedBits | None = None,
    ) -> Estimates:
        """Apply filters to y, as :meth:`_receive` has them.

        :param bits: takes what a kernel estimates, if bits are wanted
        """
        shape = (y.shape[0], self._num_rx, self._num_streams_per_rx)
        x_hat = new_result(y, *shape, y.shape[3], self._num_effective)
        no_eff = y.real.new_empty(*shape, len(groups), self._num_effective)
        for rx in range(self._num_rx):
            rows = self._rows[rx]
            for group, symbols in enumerate(groups):
                behind = no_eff[:, rx, :, group]
                emitter = self._emitter(rx, y[:, rx], x_hat[:, rx], behind, symbols)
                if bits is not None:
                    emitter = bits.emitter(emitter, rows)
                emitted = True
                for part in filters(rx, symbols[0].start, emitter):
                    if part.where is not None:
                        noise = part.no_eff.mT[:, :, None]
                        for places, run, streams in self._singles(y[:, rx], symbols, part):
                            if bits is None:
                                places.write(behind[:, :, None], noise)
                                places.write(x_hat[:, rx, :, run], streams)
                            else:
                                symbols_here = range(run.start, run.stop)
                                bits.put(rows, *places, symbols_here, streams, noise)
                        continue
                    emitted = False
                    behind[..., part.tile] = part.no_eff.mT
                    for run in symbols:
                        here = y[:, rx, :, run, on_grid(part.tile, self._stretches)]
                        x_hat[:, rx, :, run, part.tile] = filtered(here, part)
                if emitted and bits is not None:
                    bits.written(rows, members(symbols))
        return Estimates(x_hat, no_eff, groups)

    def _singles(
        self, y: Tensor, symbols: Symbols, part: ReceiveFilter
    ) -> Iterator[tuple[Places, slice, Tensor]]:
        """The streams of single subcarriers, [1 or batch_size, num_streams, symbols, num_places],
        in each run of the symbols.
        """
        assert part.where is not None
        places = Places.marked(part.where, len(y))
        at = self._effective_ind[places.at]
        for run in symbols:
            yield places, run, filtered(places.read(y[:, :, run], at), part)

    def _extracted(self, estimates: Estimates) -> tuple[Tensor, Tensor]:
        """x_hat and no_eff of the data symbols, [batch_size, num_tx, num_streams,
        num_data_symbols].
        """
        x_hat, no_eff, groups = estimates
        num = x_hat.shape[-2]
        no_eff = repeated(no_eff, num) if len(groups) == 1 else at_symbols(no_eff, groups, num)
        return self._extract(x_hat), self._extract(no_eff)

    def _fitting(
        self, y: Tensor, h: Tensor, num_subcarriers: int, names: tuple[str, str]
    ) -> tuple[Tensor, Tensor]:
        """y and h as complex tensors of one number of symbols, and of one batch size or h of one.

        :param num_subcarriers: that h has, or one
        :param names: what errors call y and h
        """
        y, h = as_complex(names[0], y, self.cdtype), as_complex(names[1], h, self.cdtype)
        check_shape(names[0], y, (None, self._num_rx, None, None, self._fft_size))
        if h.dim() == 7 and h.shape[-1] == 1:
            h = spread(h, subcarriers=num_subcarriers)
        check_shape(names[1], h, (None, self._num_rx, y.shape[2], *[None] * 3, num_subcarriers))
        items, symbols, _ = joint_sizes(**{names[0]: y[..., :1], names[1]: h[..., :1]})
        if symbols not in (1, self._num_symbols):
            raise ValueError(
                f"{names[0]} and {names[1]} have {symbols} OFDM symbols, the grid has "
                f"{self._num_symbols}."
            )
        return spread(y, items, self._num_symbols), spread(h, symbols=self._num_symbols)

    def _items(
        self, y: Tensor, h: Tensor, noise: Tensor, links: Tensor | None
    ) -> tuple[int, Tensor | None]:
        """How many items have filters of their own, one or all of y, and their links."""
        items = joint_items(len(h), len(noise))
        links = self._checked_links(links, (items, len(y)), self._num_rx)
        return (items if links is None else max(items, len(links))), links

    def _extract(self, z: Tensor) -> Tensor:
        """Data symbols of all transmitters' streams from the receivers' streams."""
        z = take(z.flatten(1, 2), 1, self._stream_ind)
        # [batch_size, num_tx, num_streams, num_ofdm_symbols, num_effective_subcarriers]
        z = z.reshape(z.shape[0], self._num_tx, self._num_streams_per_tx, *z.shape[2:])
        return self._data_symbols(z)


def filtered(y: Tensor, part: ReceiveFilter) -> Tensor:
    """Streams [batch_size, num_streams, symbols, tile] of y [batch_size, num_rx_ant, symbols, tile]
    behind filters of as many items, or of one.
    """
    if len(part.no_eff) == len(y):
        return part.after(received(y, part.matrix)).permute(0, 3, 2, 1)
    # One filter for all items: their symbols are those of one item.
    side_by_side = y.transpose(0, 1).flatten(1, 2)[None]
    streams = part.after(received(side_by_side, part.matrix))[0].unflatten(1, (len(y), -1))
    return streams.permute(1, 3, 2, 0)


def as_it_is(z: Tensor) -> Tensor:
    """y times a filter that needs nothing more."""
    return z
