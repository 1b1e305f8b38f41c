"""Precoding with matrices of the solver: the base of the precoding blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import RemoveNulledSubcarriers, ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import as_complex, check_antennas, check_shape
from neumatc_mimo.blocks.effective_channel import EffectiveChannel
from neumatc_mimo.blocks.fitting import joint_items, joint_sizes, spread
from neumatc_mimo.blocks.inputs import Inputs, ResultKind
from neumatc_mimo.blocks.noise import constant, noise_at
from neumatc_mimo.blocks.places import Places
from neumatc_mimo.blocks.products import permuted_copy, write_precoded
from neumatc_mimo.blocks.ranks import EveryStream, in_columns, of_streams
from neumatc_mimo.blocks.solver_block import SolverBlock, TileAnswer
from neumatc_mimo.blocks.symbols import Symbols, sharing
from neumatc_mimo.blocks.tiles import take
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.solvers.base import Channels, Solver
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.mapped import mapped_alike
from neumatc_mimo.tensors.results import new_result


@dataclass(frozen=True, kw_only=True)
class ChannelKnowledge(Inputs):
    """What precoding matrices are made of.

    :param h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size]
    :param no: [batch_size, num_tx, num_ofdm_symbols or 1, fft_size or 1], or None for zero
    :param noise: Noise power at the receivers that the streams' powers follow, [batch_size or 1,
        num_rx or 1, num_rx_ant or 1]; None for streams of unit power
    """

    h: Tensor
    no: Tensor | None
    noise: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class PrecoderInputs(ChannelKnowledge):
    """What a precoder is called with.

    :param x: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size]
    """

    symbols = "x"

    x: Tensor


class MatrixPrecoder(SolverBlock):
    """Base class of the precoders. The answer contains a transmitter's precoding matrix as ``v``,
    [..., num_tx_ant, num_streams].

    The streams of a transmitter are those of its receivers' antennas, one receiver after another.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`
    """

    _inputs: ClassVar[type[ChannelKnowledge]] = PrecoderInputs
    _operation: Operation

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        return_effective_channel: bool = False,
        precision: str | None = None,
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(resource_grid, stream_management, solver, precision, device, **settings)
        self._return_effective_channel = return_effective_channel
        self._precoding_ind = stream_management.precoding_ind.tolist()
        self._streams: EveryStream = EveryStream(stream_management)
        # The state is that of Sionna's precoders.
        self._remove_nulled_scs = RemoveNulledSubcarriers(resource_grid, precision, device)
        precoding_ind = torch.tensor(self._precoding_ind, device=self.device)
        self.register_buffer("_precoding_ind_tensor", precoding_ind)

    def _operation_for(self, num_rx_ant: int) -> Operation:
        """The operation on the rows of receivers of so many antennas each."""
        del num_rx_ant
        return self._operation

    def _operation_of(self, tx: int, num_rx_ant: int) -> Operation:
        """The operation on the rows of a transmitter's receivers of so many antennas each."""
        del tx
        return self._operation_for(self._streams.rows_of_user(num_rx_ant))

    def _factors(self, answer: Any, x: Tensor) -> tuple[Any, Tensor]:
        """A matrix [..., num_tx_ant, num_streams] and what it is applied to, of the shape of x
        [..., num_streams, symbols]: their product is the precoded x. The matrix is None where the
        answer leaves it out.
        """
        return answer.v, x

    def _matrix(self, answer: Any) -> Tensor:
        """The precoding matrix, [..., num_tx_ant, num_streams]."""
        return answer.v

    def _emitter(
        self, out: Tensor, x: Tensor, symbols: Symbols, effective: Tensor | None
    ) -> Emitter | None:
        """All of what :meth:`_factors` makes of x, for a kernel; None where no kernel does that.

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

    def _amplitudes(self, answer: Any, inputs: ChannelKnowledge, tx: int) -> Tensor | None:
        """Amplitudes of a transmitter's streams, [batch_size, tile, num_streams]; None for ones."""
        del answer, inputs, tx
        return None

    def _sending(self, matrix: Tensor, gains: Tensor | None, num_rx_ant: int, tx: int) -> Tensor:
        """The precoding matrix of all streams of a transmitter, with their amplitudes; zeros for
        those that are not sent.
        """
        if gains is not None:
            matrix = matrix * gains[..., None, :]
        if self._streams.is_full(num_rx_ant):
            return matrix
        columns = self._streams.columns(tx, num_rx_ant)
        return of_streams(matrix, columns, self._num_streams_per_tx)

    def _precoded(
        self,
        x: Tensor,
        h: Tensor,
        no: Tensor | None = None,
        noise: Tensor | None = None,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode x, and return h_eff if it is wanted, where what has one item, symbol or
        subcarrier holds for all.

        :param x: [batch_size or 1, num_tx, num_streams, symbols or 1, subcarriers or 1]
        :param h: As :meth:`_checked` gives it, each or 1 likewise
        :param no: As :func:`transmitter_noise` gives it
        :param noise: As of :class:`ChannelKnowledge`
        """
        self._check_antennas(h, no)
        h = mapped_alike(h, no, noise)
        x = mapped_alike(x, h)
        own, whole = joint_sizes(h=h, no=no), joint_sizes(x=x, h=h, no=no)
        # x alone may have more items: one matrix precodes all of them.
        items = joint_items(own.items, 1 if noise is None else len(noise))
        links = self._checked_links(links, (items, whole.items), self._num_tx)
        if links is not None:
            items = joint_items(items, len(links))
        inputs = PrecoderInputs(
            x=spread(x, max(items, whole.items), whole.symbols, whole.subcarriers),
            h=spread(h, items, whole.symbols, whole.subcarriers),
            no=None if no is None else no.expand(items, *no.shape[1:]),
            noise=noise,
            links=links,
            time=time,
        )
        result = self._served(inputs)
        if not self._return_effective_channel:
            return result
        x_precoded, h_eff = result
        return x_precoded, h_eff[..., : own.symbols, :]

    def _kinds(self, inputs: ChannelKnowledge) -> list[ResultKind]:
        assert isinstance(inputs, PrecoderInputs)
        h, x = inputs.h, inputs.x
        kinds = [ResultKind(x.dtype, (len(x), self._num_tx, *h.shape[4:]))]
        return [*kinds, self._effective_kind(h)] if self._return_effective_channel else kinds

    def _effective_kind(self, h: Tensor) -> ResultKind:
        """Of the effective channel that precoders make of h."""
        streams, num_symbols = self._num_streams_per_tx, h.shape[5]
        return ResultKind(h.dtype, (*h.shape[:4], streams, num_symbols, self._num_effective))

    def _results(self, inputs: ChannelKnowledge) -> Tensor | tuple[Tensor, Tensor]:
        """Precode x, and apply h to the precoder if the effective channel is wanted; for items of
        which the links of the same transmitters are trusted.
        """
        assert isinstance(inputs, PrecoderInputs)
        inputs = replace(inputs, no=constant(inputs.no))
        h, x = inputs.h, inputs.x
        # The effective channel is that of the channel given, whoever's precoder it meets.
        trusted = frozenset() if self._return_effective_channel else inputs.trusted
        varying = self._settings.time_varying
        groups = sharing(h, inputs.no, varying, dim=3, trusted=trusted, time=inputs.time)
        x_precoded = new_result(x, len(x), self._num_tx, *h.shape[4:])
        # Kernels know no derivatives.
        products = not self._return_effective_channel and not is_differentiated(x)
        h_eff = None
        if self._return_effective_channel:
            h_eff = EffectiveChannel(h, self._num_streams_per_tx, groups)
        full = self._streams.is_full(h.shape[2])
        for tx in range(self._num_tx):
            columns = self._streams.columns(tx, h.shape[2])
            sent = x[:, tx] if full else in_columns(x[:, tx], columns)
            for group, symbols in enumerate(groups):
                first = symbols[0].start
                emitter = None
                if h_eff is None or (full and self._serves_all()):
                    effective = None if h_eff is None else h_eff.of_group(group)
                    emitter = self._emitter(x_precoded[:, tx], sent, symbols, effective)
                parts = self._matrices(inputs, tx, first, products=products, emitter=emitter)
                for part in parts:
                    gains = self._amplitudes(part.answer, inputs, tx)
                    for run in symbols:
                        self._send(x_precoded[:, tx, :, run], sent[:, :, run], part, gains)
                    if h_eff is None:
                        continue
                    matrix = self._matrix(part.answer)
                    if part.where is not None:
                        h_eff.put_single(part.given, matrix, group, part.where)
                    else:
                        matrix = self._sending(matrix, gains, h.shape[2], tx)
                        h_eff.put(h[:, :, :, tx, :, first], matrix, tx, group, part.tile)
        return x_precoded if h_eff is None else (x_precoded, h_eff.seen(self._effective_ind))

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
        a = self._streams.rows(take(rows, 1, self._precoding_ind[tx]), tx)
        unknown = self._streams.is_unknown(rows.shape[2])
        if unknown and tx in inputs.trusted:
            raise ValueError(
                'trust="model" needs a stream for each antenna of a receiver, or links of -1.'
            )
        channels = Channels(
            a,
            self._frequencies,
            no=noise_at(inputs.no, tx, symbol),
            links=inputs.links_of(tx),
            products=products,
            trusted=tx in inputs.trusted,
            time=self._moment(inputs.time, symbol),
        )
        operation = self._operation_of(tx, rows.shape[2])
        whole, solver = [slice(0, rows.shape[-1])], Exact() if unknown else None
        return self._answers(operation, channels, whole, solver, emitter)

    def _send(self, out: Tensor, x: Tensor, part: TileAnswer, gains: Tensor | None) -> None:
        """Write the precoded symbols of a tile, or of single subcarriers.

        :param out: [batch_size, num_tx_ant, symbols, fft_size]
        :param x: [batch_size, num_streams, symbols, fft_size]
        :param gains: Amplitudes of the streams, [batch_size, tile, num_streams], or None
        """
        if part.where is not None:
            places = Places.marked(part.where, len(x))
            x = places.read(x)
            some = x.new_empty(len(x), out.shape[1], *x.shape[2:])
            self._send(some, x, part._replace(where=None, given=part.given[:1]), gains)
            places.write(out, some)
            return
        out, x = out[..., part.tile], x[..., part.tile]
        if len(part.given) < len(x):
            # One matrix for all items: their symbols are those of one item.
            side_by_side = x.transpose(0, 1).flatten(1, 2)[None]
            whole = x.new_empty(1, out.shape[1], *side_by_side.shape[2:])
            self._write(whole, side_by_side, part, gains)
            out[:] = whole[0].unflatten(1, (len(x), -1)).transpose(0, 1)
        else:
            self._write(out, x, part, gains)

    def _write(self, out: Tensor, x: Tensor, part: TileAnswer, gains: Tensor | None) -> None:
        """Write the precoded symbols of a tile, [num_items, ..., symbols, tile], of the items that
        the answer has.
        """
        # [num_items, tile, num_streams, symbols]; kernels take them as they lie
        sent = permuted_copy(x, (0, 3, 1, 2)) if part.applied is None else x.permute(0, 3, 1, 2)
        if gains is not None:
            sent = sent * gains[..., None]
        matrix, sent = self._factors(part.answer, sent)
        write_precoded(out, matrix, sent, part.applied)

    def _checked(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x and h as complex tensors that fit each other."""
        h = self._checked_channel("h", h)
        x = as_complex("x", x, self.cdtype)
        one_for_all = x.dim() == 5 and x.shape[1] == 1
        num_tx = 1 if one_for_all else self._num_tx
        check_shape("x", x, (None, num_tx, self._num_streams_per_tx, None, None))
        x = x.expand(-1, self._num_tx, -1, -1, -1)
        num = joint_sizes(x=x, h=h).subcarriers
        if self._return_effective_channel and num not in (1, self._fft_size):
            raise ValueError(
                f"x has the shape {list(x.shape)}, h {list(h.shape)}: the effective channel needs "
                f"all {self._fft_size} subcarriers of the grid."
            )
        return x, h

    def _checked_channel(self, name: str, h: Tensor) -> Tensor:
        """A complex channel of this block's transmitters and receivers."""
        h = as_complex(name, h, self.cdtype)
        check_shape(name, h, (None, self._num_rx, None, self._num_tx, None, None, None))
        self._check_streams(h)
        return h

    def _sizes(self, x: Tensor, h: Tensor) -> tuple[int, int, int, int]:
        """[batch_size, num_tx, num_ofdm_symbols, fft_size] of x and h together."""
        items, symbols, subcarriers = joint_sizes(x=x, h=h)
        return items, self._num_tx, symbols, subcarriers

    def _check_antennas(self, h: Tensor, no: Tensor | None) -> None:
        """Refuse more columns of a matrix than a transmitter has antennas."""
        del no
        check_antennas(self._streams.num_columns(h.shape[2]), h.shape[4], "a transmitter")

    def _check_streams(self, h: Tensor) -> None:
        """Refuse streams that are not those of the rows of a transmitter's channel."""
        self._streams.check(h.shape[2])
