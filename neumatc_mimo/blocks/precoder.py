"""Base of the precoding blocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.common import (
    SolverBlock,
    Symbols,
    TileAnswer,
    at_symbols,
    check_complex,
    check_shape,
    collapse,
    in_rows,
    pieces,
    take,
)
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.tensors.tracing import is_traced


class Precoder(SolverBlock):
    """Precoding of every transmitter with matrices of the solver; see :class:`ZFPrecoder`."""

    _operation: Operation

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        return_effective_channel: bool = False,
        precision: str | None = None,
        device: str | None = None,
        *,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
        time_varying: bool | None = None,
        trust: str = "estimate",
    ) -> None:
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            precision,
            device,
            certify=certify,
            tolerance=tolerance,
            time_varying=time_varying,
            trust=trust,
        )
        self._return_effective_channel = return_effective_channel
        self._precoding_ind = stream_management.precoding_ind.tolist()

    def _operation_for(self, num_rx_ant: int) -> Operation:
        """The operation on the rows of receivers of so many antennas each."""
        del num_rx_ant
        return self._operation

    @abstractmethod
    def _factors(self, answer: Any, x: Tensor) -> tuple[Any, Tensor]:
        """A matrix [..., num_tx_ant, num_streams] and what it is applied to, of the shape of x
        [..., num_streams, symbols]: their product is the precoded x. The matrix is None where the
        answer leaves it out.
        """

    @abstractmethod
    def _matrix(self, answer: Any) -> Tensor:
        """The precoding matrix, [..., num_tx_ant, num_streams]."""

    def _amplitudes(self, answer: Any, noise: Tensor, tx: int) -> Tensor:
        """Amplitudes of a transmitter's streams, [batch_size, tile, num_streams]."""
        raise NotImplementedError(f"{type(self).__name__} has streams of one power.")

    def _precode(
        self,
        x: Tensor,
        h: Tensor,
        no: Tensor | None,
        links: Tensor | None,
        time: float | None = None,
        noise: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode x, and apply h to the precoder if the effective channel is wanted.

        :param no: [batch_size, num_tx, num_ofdm_symbols or 1, fft_size or 1] or None
        :param time: Seconds from the burst's begin to the slot; None where users stand still
        :param noise: Noise power at the receivers that decides on :meth:`_amplitudes`, [batch_size
            or 1, num_rx or 1, num_rx_ant or 1]; None for ones
        """
        links = self._check_links(links, h.shape[0], h.shape[3])
        precoded: Tensor | tuple[Tensor, Tensor] = self._in_parts(
            partial(self._precode_alike, time), links, x, h, no, noise
        )
        return precoded

    def _precode_alike(
        self,
        time: float | None,
        trusted: frozenset[int],
        links: Tensor | None,
        x: Tensor,
        h: Tensor,
        no: Tensor | None,
        noise: Tensor | None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """:meth:`_precode` for items of which the links of the same transmitters are trusted."""
        batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_symbols, fft_size = h.shape
        # The effective channel is that of the channel given, whoever's precoder it meets.
        known = frozenset() if self._return_effective_channel else trusted
        groups = self._groups(h, no, trusted=known, dim=3, time=time)
        x_precoded = x.new_empty(batch_size, num_tx, num_tx_ant, num_symbols, fft_size)
        h_eff = None
        if self._return_effective_channel:
            h_eff = x.new_empty(
                batch_size, num_rx * num_rx_ant, num_tx, x.shape[2], len(groups), fft_size
            )
        for tx in range(num_tx):
            for group, runs in enumerate(groups):
                first = runs[0].start
                for tile, answer, _, applied, _ in self._parts(
                    h[:, :, :, tx, :, first],
                    tx,
                    noise_of(no, tx, first),
                    links,
                    trusted,
                    self._moment(time, first),
                    products=h_eff is None,
                ):
                    gains = None if noise is None else self._amplitudes(answer, noise, tx)
                    for symbols in runs:
                        # [batch_size, tile, num_streams, symbols]
                        part = in_rows(x[:, tx, :, symbols, tile], (0, 3, 1, 2))
                        if gains is not None:
                            part = part * gains[..., None]
                        w, part = self._factors(answer, part)
                        if applied is not None:
                            precoded = applied.precode(part.permute(0, 2, 3, 1))
                            x_precoded[:, tx, :, symbols, tile] = precoded
                            continue
                        for piece in pieces(part):
                            precoded = (w[:, piece] @ part[:, piece]).permute(0, 2, 3, 1)
                            x_precoded[:, tx, :, symbols, tile][..., piece] = precoded
                    if h_eff is not None:
                        rows = h[:, :, :, tx, :, first, tile]
                        matrix = self._matrix(answer)
                        if gains is not None:
                            matrix = matrix * gains[..., None, :]
                        h_eff[:, :, tx, :, group, tile] = effective(rows, matrix)
        if h_eff is None:
            return x_precoded
        return x_precoded, self._seen(h_eff, num_rx, groups)

    def _parts(
        self,
        rows: Tensor,
        tx: int,
        no: Tensor | None,
        links: Tensor | None,
        trusted: frozenset[int],
        time: float = 0.0,
        *,
        products: bool = False,
    ) -> Iterator[TileAnswer]:
        """The solver's answers for one transmitter and OFDM symbol.

        :param rows: All receivers' rows, [batch_size, num_rx, num_rx_ant, num_tx_ant, fft_size]
        :param no: [batch_size] or [batch_size, fft_size], or None
        :param links: [batch_size, num_tx] or None
        :param trusted: Transmitters whose links are trusted
        :param time: Seconds since the burst began
        """
        # Rows of the receivers that tx serves: [batch_size, fft_size, K, num_tx_ant]
        a = take(rows, 1, self._precoding_ind[tx]).flatten(1, 2).permute(0, 3, 1, 2)
        return self._answers(
            self._operation_for(rows.shape[2]),
            a,
            no,
            None if links is None else links[:, tx],
            self._frequencies,
            [slice(0, self._fft_size)],
            products=products,
            trusted=tx in trusted,
            time=time,
        )

    def _seen(self, h_eff: Tensor, num_rx: int, groups: list[Symbols]) -> Tensor:
        """Effective channels without nulled subcarriers, for all OFDM symbols.

        :param h_eff: [batch_size, num_rx * num_rx_ant, num_tx, num_streams, groups, fft_size]
        """
        h_eff = h_eff.index_select(-1, self._effective_ind)
        h_eff = h_eff.unflatten(1, (num_rx, -1))
        return at_symbols(h_eff, groups, self._num_symbols)

    def _check(self, x: Tensor, h: Tensor) -> None:
        self._check_channel(h)
        check_complex(x=x)
        streams = (self._num_tx, self._num_streams_per_tx)
        check_shape("x", x, (h.shape[0], *streams, self._num_symbols, self._fft_size))

    def _check_channel(self, h: Tensor) -> None:
        check_complex(h=h)
        grid = (self._num_symbols, self._fft_size)
        check_shape("h", h, (None, self._num_rx, None, self._num_tx, None, *grid))
        if self._num_streams_per_tx > h.shape[4]:
            raise ValueError(
                f"{self._num_streams_per_tx} streams are more than the {h.shape[4]} antennas of a "
                "transmitter."
            )


class UserPrecoder(Precoder):
    """Precoding with one stream for each antenna of a transmitter's users, in noise.

    The streams of a transmitter are those of its receivers' antennas, one receiver after another.
    """

    def _check_channel(self, h: Tensor) -> None:
        super()._check_channel(h)
        num_rows = self._num_rx_per_tx * h.shape[2]
        if num_rows != self._num_streams_per_tx:
            raise ValueError(
                f"{self._num_rx_per_tx} receivers of {h.shape[2]} antennas make {num_rows} rows of "
                f"a transmitter's channel, its {self._num_streams_per_tx} streams need as many."
            )

    def _noise_power(self, name: str, power: float | Tensor, h: Tensor) -> Tensor | None:
        """Noise power [batch_size, num_tx, num_ofdm_symbols or 1, fft_size or 1]; None for zero.

        :param name: what errors call it
        :param power: [batch_size], or broadcastable to
            [batch_size, num_tx, num_ofdm_symbols, fft_size]
        """
        if isinstance(power, float | int) and power == 0:
            return None
        power = torch.as_tensor(power, dtype=self.dtype, device=self.device)
        if not is_traced():
            if not bool((power >= 0).all()):
                raise ValueError(f"{name} has negative entries or NaN, it is a noise power.")
            if not bool(power.any()):
                return None
        shape = (h.shape[0], h.shape[3], *h.shape[5:])
        if power.shape == shape[:1] and shape[0] not in (1, shape[3]):
            power = power[:, None, None, None]
        try:
            power = power.broadcast_to(shape)
        except RuntimeError:
            raise ValueError(
                f"{name} has the shape {list(power.shape)}, [batch_size] or one that can be "
                f"broadcast to {list(shape)} is needed."
            ) from None
        return collapse(collapse(power, 3), 2)


class MatrixPrecoder(UserPrecoder):
    """Base of precoders whose answer has the precoding matrix as ``v``, [..., num_tx_ant, K]."""

    def _factors(self, answer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return answer.v, x

    def _matrix(self, answer: Any) -> Tensor:
        matrix: Tensor = answer.v
        return matrix


class NoisyPrecoder(MatrixPrecoder):
    """Base of precoders that are called with the noise power at a user, above zero; see
    :class:`WMMSEPrecoder`.
    """

    # What is finite with noise only.
    _figure: ClassVar[str] = "rate"

    def call(
        self,
        x: Tensor,
        h: Tensor,
        no: float | Tensor,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        self._check(x, h)
        noise = self._noise_power("no", no, h)
        if noise is None:
            raise ValueError(f"no is zero, the {self._figure} is finite with noise only.")
        return self._precode(x, h, noise, links, time)


def effective(rows: Tensor, matrix: Tensor) -> Tensor:
    """Rows [batch_size, num_rx, num_rx_ant, num_tx_ant, tile] times precoding matrices.

    :param matrix: [batch_size, tile, num_tx_ant, num_streams]

    :return: [batch_size, num_rx * num_rx_ant, num_streams, tile]
    """
    a = rows.flatten(1, 2).permute(0, 3, 1, 2).contiguous()
    return (a @ matrix).permute(0, 2, 3, 1)


def noise_of(no: Tensor | None, tx: int, symbol: int) -> Tensor | None:
    """Noise power [batch_size] or [batch_size, fft_size] of one transmitter and symbol."""
    if no is None:
        return None
    part = no[:, tx, min(symbol, no.shape[2] - 1)]
    return part[:, 0] if part.shape[1] == 1 else part
