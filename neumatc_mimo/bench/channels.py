"""What each precoded channel does on one slot, beside Sionna's and its limit."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from sionna.phy import ofdm
from torch import Tensor

from neumatc_mimo.bench.bandwidth import num_bytes
from neumatc_mimo.bench.tasks import NO_DB, Beamforming, Precoding, Task, ZeroForcing
from neumatc_mimo.bench.tasks import effective_channel as through
from neumatc_mimo.bench.timing import Call
from neumatc_mimo.blocks import (
    PRECODED_CHANNELS,
    CBFPrecodedChannel,
    EyePrecodedChannel,
    SVDPrecodedChannel,
    ZFPrecodedChannel,
)
from neumatc_mimo.operations import OPERATIONS, MatchedFilter, Operation
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.solvers.base import Channels, Solver


class OfChannel(Task):
    """A precoded channel, of a transmitter that knows the channel, for streams of unit power."""

    _h: Tensor
    _pair: tuple[Any, Any]

    def inputs(self) -> tuple[Tensor, ...]:
        streams = (self.slot.batch_size, 1, int(self._pair[1].num_streams_per_tx))
        return self._h, torch.ones(streams, dtype=self.h.real.dtype, device=self.device)

    def bytes_moved(self, output: Any) -> int:
        return num_bytes((self.h, output))

    def limit(self) -> Call:
        # Any matrices take as long.
        num_streams = int(self._pair[1].num_streams_per_tx)
        shape = (*self.h.shape[:2], self.h.shape[3], num_streams)
        w = torch.ones(shape, dtype=self.dtype, device=self.device)
        rows = self._h[:, :, :, 0, :, 0].flatten(1, 2)
        return lambda: through(rows, w)

    def result(self, output: Any) -> Tensor:
        """Gains of the streams at the antennas, [batch_size, rows, num_ofdm_symbols, fft_size]."""
        gains: Tensor = output[:, :, :, 0].flatten(1, 3)
        return gains


class ZeroForcedChannel(OfChannel, ZeroForcing):
    """:class:`~neumatc_mimo.blocks.ZFPrecodedChannel` beside Sionna's ``RZFPrecodedChannel``."""

    title = "ZFPrecodedChannel"
    # Sionna's block.
    rival: ClassVar[type[ofdm.PrecodedChannel]] = ofdm.RZFPrecodedChannel

    def theirs(self) -> Call:
        block = self.rival(*self._pair, **self._options())
        return lambda: block(*self.inputs())

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        return ZFPrecodedChannel(*self._pair, solver, certify=certify, **self._options(precision))


class MatchedChannel(ZeroForcedChannel):
    """:class:`~neumatc_mimo.blocks.CBFPrecodedChannel` beside Sionna's."""

    title = "CBFPrecodedChannel"
    asks_solver = False
    rival = ofdm.CBFPrecodedChannel

    def problem(self) -> tuple[Operation, Channels]:
        return MatchedFilter(), self._channels(self._rows())

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        del solver, certify
        return CBFPrecodedChannel(*self._pair, **self._options(precision))


class AntennaChannel(MatchedChannel):
    """:class:`~neumatc_mimo.blocks.EyePrecodedChannel` beside Sionna's, to one receiver."""

    title = "EyePrecodedChannel"
    rival = ofdm.EyePrecodedChannel

    def __init__(self, links: LinkSet, slot: Any, turn: int = 0) -> None:
        super().__init__(links, slot, turn)
        self._h = self._h.transpose(1, 2)
        self._pair = self._grids(1, 1, links.num_cols)

    def _rows(self) -> Tensor:
        return self._h[:, 0, :, 0, :, 0].permute(0, 3, 1, 2)

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        del solver, certify
        return EyePrecodedChannel(*self._pair, **self._options(precision))

    @property
    def suits_theirs(self) -> bool:
        # It multiplies with an identity on each resource element.
        num_rows, num_cols = self.h.shape[2:]
        return super().suits_theirs and self.h.nbytes * num_cols // num_rows <= 2**25

    def limit(self) -> Call:
        rows = self._h[..., 0, :]
        return rows.clone


class PrecodedChannel(OfChannel, Precoding):
    """A precoded channel of users' streams by an operation; Sionna has no such blocks."""

    @classmethod
    def of_operation(cls, name: str) -> type[PrecodedChannel]:
        """The task of an operation that has a block of its own."""
        kind = OPERATIONS.find(name)
        noise = {"noise_db": NO_DB} if kind.depends_on_noise() else {}
        facts = {
            "title": PRECODED_CHANNELS[name].__name__,
            "kind": "multi_user",
            "operation": name,
            "config": kind.config.model_validate({"name": name} | noise),
        }
        return cast("type[PrecodedChannel]", type("PrecodedChannel", (cls,), facts))

    def inputs(self) -> tuple[Tensor, ...]:
        h, power = super().inputs()
        # Where a knowledge of the channel may stand the channel itself does.
        return (h, power, h, self.no) if self._solved.depends_on_noise() else (h, power)

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        options = self._options(precision) | {"certify": certify}
        kind: Any = PRECODED_CHANNELS[self.operation]
        return kind(*self._pair, solver, **options)


class BeamChannel(OfChannel, Beamforming):
    """:class:`~neumatc_mimo.blocks.SVDPrecodedChannel` beside an SVD of one's own."""

    title = "SVDPrecodedChannel"

    def theirs(self) -> Call:
        def call() -> Tensor:
            _, _, v = self._triplets()
            # [batch_size, num_ofdm_symbols, fft_size, num_rx_ant, num_streams]
            h_eff = self._h[:, 0, :, 0].permute(0, 3, 4, 1, 2) @ v
            return h_eff.permute(0, 3, 4, 1, 2)

        return call

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        options = self._options(precision) | {"certify": certify}
        return SVDPrecodedChannel(*self._pair, solver, **options)


# What is timed beside the blocks that every scenario's links are timed with.
CHANNELS: tuple[type[Task], ...] = (
    ZeroForcedChannel,
    MatchedChannel,
    AntennaChannel,
    *map(PrecodedChannel.of_operation, ("wmmse", "max_min", "slnr", "block_diagonalization")),
    BeamChannel,
)
