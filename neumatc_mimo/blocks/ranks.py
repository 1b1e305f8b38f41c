"""How many streams each receiver gets, and which columns of precoding matrices carry them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sionna.phy.mimo import StreamManagement
from torch import Tensor

from neumatc_mimo.blocks.tiles import take
from neumatc_mimo.foundation.block_checks import checked_ranks
from neumatc_mimo.operations.svd import SVD


class EveryStream:
    """One stream for each antenna of a receiver: what precoders without ranks know.

    :param stream_management: Of the block
    """

    def __init__(self, stream_management: StreamManagement) -> None:
        self._receivers: list[list[int]] = stream_management.precoding_ind.tolist()
        self._num_rx = int(stream_management.num_rx)
        num_streams = int(stream_management.num_streams_per_tx)
        # That a receiver may get from each of its transmitters.
        self._most = num_streams // int(stream_management.num_rx_per_tx)

    def check(self, num_rx_ant: int) -> None:
        """Refuse receivers of another number of antennas."""
        num = len(self._receivers[0])
        if num_rx_ant != self._most:
            raise ValueError(
                f"{num} receivers of {num_rx_ant} antennas make {num * num_rx_ant} rows of a "
                f"transmitter's channel, but it has {num * self._most} streams: they must be equal."
            )

    def is_full(self, num_rx_ant: int) -> bool:
        """Whether the columns of a transmitter's matrix are its streams, all in order."""
        del num_rx_ant
        return True

    def is_unknown(self, num_rx_ant: int) -> bool:
        """Whether no model knows such matrices: they are exact, whatever the solver."""
        del num_rx_ant
        return False

    def rows_of_user(self, num_rx_ant: int) -> int:
        """Of :meth:`rows`, those of a receiver that belong together."""
        return num_rx_ant

    def rows(self, h: Tensor, tx: int) -> Tensor:
        """Rows of a transmitter's channel, [batch_size, fft_size, num_rows, num_tx_ant].

        :param h: of its receivers, [batch_size, num_rx_per_tx, num_rx_ant, num_tx_ant, fft_size]
        """
        del tx
        return h.flatten(1, 2).permute(0, 3, 1, 2)

    def columns(self, tx: int, num_rx_ant: int) -> list[int | None]:
        """The stream of each column of a transmitter's matrix; None where nothing is sent."""
        del num_rx_ant
        return list(range(len(self._receivers[tx]) * self._most))

    def num_columns(self, num_rx_ant: int) -> int:
        """The most columns of a transmitter's matrix."""
        return max(len(self.columns(tx, num_rx_ant)) for tx in range(len(self._receivers)))


class Ranks(EveryStream):
    """Fewer streams than a receiver has antennas.

    :param ranks: Streams of each receiver from each of its transmitters, as many as those of
        ``stream_management`` at most: of these the first ones are sent; None for all

    :raises ValueError: if there are not as many ranks as receivers, or a rank is beyond its limits
    """

    def __init__(self, stream_management: StreamManagement, ranks: Sequence[int] | None) -> None:
        super().__init__(stream_management)
        self._ranks = checked_ranks(ranks, self._num_rx, self._most)

    def check(self, num_rx_ant: int) -> None:
        if num_rx_ant < self._most:
            super().check(num_rx_ant)

    def is_full(self, num_rx_ant: int) -> bool:
        return num_rx_ant == self._most and all(rank == self._most for rank in self._ranks)

    def of(self, rx: int) -> int:
        """Streams of a receiver."""
        return self._ranks[rx]

    def columns(self, tx: int, num_rx_ant: int) -> list[int | None]:
        """A receiver's strongest streams are the first columns of as many as it has antennas."""
        return [
            number * self._most + i if i < self._ranks[rx] else None
            for number, rx in enumerate(self._receivers[tx])
            for i in range(num_rx_ant)
        ]


class Modes(Ranks):
    r"""Fewer streams than antennas, of precoders that give each row of a channel a stream.

    A receiver then has a row for each of its streams: what it hears along the left singular vectors
    of its strongest singular values, :math:`s_i \mathbf{v}_i^{\mathsf{H}}` (Boccardi and Huang,
    ICASSP 2007: multiuser eigenmode transmission).
    """

    def is_unknown(self, num_rx_ant: int) -> bool:
        return not self.is_full(num_rx_ant)

    def rows_of_user(self, num_rx_ant: int) -> int:
        return num_rx_ant if self.is_full(num_rx_ant) else 1

    def rows(self, h: Tensor, tx: int) -> Tensor:
        if self.is_full(h.shape[2]):
            return super().rows(h, tx)
        # [batch_size * num_rx_per_tx, fft_size, num_rx_ant, num_tx_ant]
        by_receiver = h.permute(0, 1, 4, 2, 3).flatten(0, 1).contiguous()
        found = SVD(min(self._most, h.shape[3]), unused=("u",)).solve(by_receiver)
        modes = (found.v * found.s[..., None, :]).mH
        # [batch_size, fft_size, num_rx_per_tx, most, num_tx_ant]
        modes = modes.unflatten(0, h.shape[:2]).transpose(1, 2)
        sent = [
            number * self._most + i
            for number, rx in enumerate(self._receivers[tx])
            for i in range(self._ranks[rx])
        ]
        return take(modes.flatten(2, 3), 2, sent)

    def columns(self, tx: int, num_rx_ant: int) -> list[int | None]:
        if self.is_full(num_rx_ant):
            return super().columns(tx, num_rx_ant)
        return [c for c in super().columns(tx, num_rx_ant) if c is not None]


class Together(Ranks):
    """Fewer streams than antennas, of a precoder that is told the ranks and gives each receiver
    columns for all streams that it may get, zeros where it gets fewer.
    """

    def is_unknown(self, num_rx_ant: int) -> bool:
        return not self.is_full(num_rx_ant)

    def columns(self, tx: int, num_rx_ant: int) -> list[int | None]:
        return super().columns(tx, self._most)

    def of_transmitter(self, tx: int) -> list[int]:
        """Streams of each of a transmitter's receivers."""
        return [self._ranks[rx] for rx in self._receivers[tx]]

    @property
    def most(self) -> int:
        """Streams that a receiver may get from each of its transmitters."""
        return self._most


class Beams(Ranks):
    """Streams along a receiver's singular vectors: a column for each that it may get, however many
    antennas it has.
    """

    def is_full(self, num_rx_ant: int) -> bool:
        return super().is_full(self._most)

    def columns(self, tx: int, num_rx_ant: int) -> list[int | None]:
        return super().columns(tx, self._most)


def in_columns(x: Tensor, columns: Sequence[int | None]) -> Tensor:
    """What columns of a matrix are applied to, of streams x [batch_size, num_streams, ...]: zeros
    where nothing is sent.
    """
    nothing = torch.zeros_like(x[:, :1])
    last = x.shape[1]
    return take(torch.cat([x, nothing], 1), 1, [last if c is None else c for c in columns])


def of_streams(matrix: Tensor, columns: Sequence[int | None], num_streams: int) -> Tensor:
    """Columns of a matrix [..., num_columns] in the order of the streams: zeros for those that are
    not sent.
    """
    last = matrix.shape[-1]
    place = {stream: number for number, stream in enumerate(columns) if stream is not None}
    padded = torch.cat([matrix, torch.zeros_like(matrix[..., :1])], -1)
    return take(padded, -1, [place.get(stream, last) for stream in range(num_streams)])
