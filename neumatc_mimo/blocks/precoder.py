"""Base of the precoding blocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.common import (
    SolverBlock,
    check_complex,
    check_shape,
    collapse,
    in_rows,
    pieces,
    take,
)
from neumatc_mimo.compiled import is_traced
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Solver


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

    def _precode(
        self,
        x: Tensor,
        h: Tensor,
        no: Tensor | None,
        links: Tensor | None,
        amplitudes: Callable[[Any, int], Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode x, and apply h to the precoder if the effective channel is wanted.

        :param no: [batch_size, num_tx, num_ofdm_symbols or 1, fft_size or 1] or None
        :param amplitudes: Gives the amplitudes [batch_size, tile, num_streams] of the streams from
            an answer and the index of the transmitter; None for ones
        """
        batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_symbols, fft_size = h.shape
        operation = self._operation_for(num_rx_ant)
        links = self._check_links(links, batch_size, num_tx)
        groups = self._groups(h, constant=no is None or no.shape[2] == 1)
        x_precoded = x.new_empty(batch_size, num_tx, num_tx_ant, num_symbols, fft_size)
        h_eff = None
        if self._return_effective_channel:
            h_eff = x.new_empty(
                batch_size, num_rx * num_rx_ant, num_tx, x.shape[2], len(groups), fft_size
            )
        for tx in range(num_tx):
            link = None if links is None else links[:, tx]
            for group, symbols in enumerate(groups):
                # All receivers' rows: [batch_size, num_rx, num_rx_ant, num_tx_ant, fft_size]
                rows = h[:, :, :, tx, :, symbols.start]
                # Rows of the receivers that tx serves: [batch_size, fft_size, K, num_tx_ant]
                a = take(rows, 1, self._precoding_ind[tx]).flatten(1, 2).permute(0, 3, 1, 2)
                for tile, answer, _, applied in self._answers(
                    operation,
                    a,
                    _noise(no, tx, group),
                    link,
                    self._frequencies,
                    [slice(0, fft_size)],
                    products=h_eff is None,
                ):
                    # [batch_size, tile, num_streams, symbols]
                    part = in_rows(x[:, tx, :, symbols, tile], (0, 3, 1, 2))
                    gains = None if amplitudes is None else amplitudes(answer, tx)
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
                        # [batch_size, tile, num_rx * num_rx_ant, num_tx_ant]
                        a_all = rows[..., tile].flatten(1, 2).permute(0, 3, 1, 2).contiguous()
                        part = a_all @ self._matrix(answer)
                        if gains is not None:
                            part = part * gains[..., None, :]
                        h_eff[:, :, tx, :, group, tile] = part.permute(0, 2, 3, 1)
        if h_eff is None:
            return x_precoded
        h_eff = h_eff.index_select(-1, self._effective_ind)
        h_eff = h_eff.view(batch_size, num_rx, num_rx_ant, *h_eff.shape[2:])
        return x_precoded, h_eff.expand(*h_eff.shape[:5], num_symbols, -1)

    def _check(self, x: Tensor, h: Tensor) -> None:
        check_complex(x=x, h=h)
        grid = (self._num_symbols, self._fft_size)
        check_shape("h", h, (None, self._num_rx, None, self._num_tx, None, *grid))
        check_shape("x", x, (h.shape[0], self._num_tx, self._num_streams_per_tx, *grid))
        if self._num_streams_per_tx > h.shape[4]:
            raise ValueError(
                f"{self._num_streams_per_tx} streams are more than the {h.shape[4]} antennas of a "
                "transmitter."
            )


class UserPrecoder(Precoder):
    """Precoding with one stream for each antenna of a transmitter's users, in noise.

    The streams of a transmitter are those of its receivers' antennas, one receiver after another.
    """

    def _check(self, x: Tensor, h: Tensor) -> None:
        super()._check(x, h)
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
        self, x: Tensor, h: Tensor, no: float | Tensor, links: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        self._check(x, h)
        noise = self._noise_power("no", no, h)
        if noise is None:
            raise ValueError(f"no is zero, the {self._figure} is finite with noise only.")
        return self._precode(x, h, noise, links)


def _noise(no: Tensor | None, tx: int, group: int) -> Tensor | None:
    """Noise power [batch_size] or [batch_size, fft_size] of one transmitter and symbol."""
    if no is None:
        return None
    part = no[:, tx, min(group, no.shape[2] - 1)]
    return part[:, 0] if part.shape[1] == 1 else part
