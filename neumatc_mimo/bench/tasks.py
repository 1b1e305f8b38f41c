"""What each block does on one slot: its inputs, Sionna's way, ours, and the limit of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
from sionna.phy import ofdm
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LinearDetector, LMMSEEqualizer, ResourceGrid, RZFPrecoder
from torch import Tensor

from neumatc_mimo import blocks
from neumatc_mimo.bench.bandwidth import num_bytes
from neumatc_mimo.bench.timing import Call
from neumatc_mimo.blocks import (
    PRECODERS,
    MMSEDetector,
    MMSEEqualizer,
    OperationPrecoder,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecoder,
)
from neumatc_mimo.metrics.measures import relative_error
from neumatc_mimo.operations import (
    OPERATIONS,
    SVD,
    Dimensions,
    Operation,
    OperationConfig,
    PseudoInverse,
)
from neumatc_mimo.operations.tracking import normalised
from neumatc_mimo.scenario import ScenarioConfig
from neumatc_mimo.scenario.links import LinkKind, LinkSet
from neumatc_mimo.solvers.base import Channels, Solver, tiles
from neumatc_mimo.solvers.exact import Exact

NO_DB = -20.0
_NUM_BITS = 4

# Channels of this size are held for every OFDM symbol, as a simulation hands them over; larger
# ones repeat one symbol in memory.
_HELD_BYTES = 2**30
# Sionna's blocks hold some ten times the channel.
_THEIRS_BYTES = 3 * 2**28


@dataclass(frozen=True)
class Slot:
    """Sizes of what a block gets, beside those of its links.

    :param num_ofdm_symbols: OFDM symbols
    :param batch_size: batch items; they take the links in turn
    :param precision: "single" or "double"
    :param return_effective_channel: whether precoders return it
    """

    num_ofdm_symbols: int = 14
    batch_size: int = 1
    precision: str = "single"
    return_effective_channel: bool = False


class Task(ABC):
    """One block at one point.

    :param links: whose channels the slot has
    :param slot: the sizes
    :param turn: number of the slot, of which each has other links and other symbols
    """

    title: ClassVar[str]
    kind: ClassVar[LinkKind]
    operation: ClassVar[str]
    # Whether a model's results are of use to the block.
    queries: ClassVar[bool] = True
    # What stands for Sionna where it has no such block.
    theirs_title: ClassVar[str] = "Sionna"
    # Whether the block has a solver.
    asks_solver: ClassVar[bool] = True

    def __init__(self, links: LinkSet, slot: Slot, turn: int = 0) -> None:
        self.links, self.slot = links, slot
        self.device = str(links.device)
        self._generator = torch.Generator(self.device).manual_seed(turn)
        # Each item of a batch has another link than in the slot before.
        items = (torch.arange(slot.batch_size, device=links.device) + turn) % links.num_links
        self.dtype = torch.complex64 if slot.precision == "single" else torch.complex128
        # [batch_size, fft_size, K, M]
        self.h = links.channel(links.grid_frequencies(), items, dtype=self.dtype)
        self.no = torch.tensor(10 ** (NO_DB / 10), device=self.device, dtype=self.h.real.dtype)
        self._grid = (slot.num_ofdm_symbols, links.fft_size)

    @property
    def holds_symbols(self) -> bool:
        """Whether the channel lies in memory for each OFDM symbol."""
        return self.h.nbytes * self.slot.num_ofdm_symbols <= _HELD_BYTES

    @property
    def num_bytes(self) -> int:
        """Of the channel in memory."""
        symbols = self.slot.num_ofdm_symbols if self.holds_symbols else 1
        return self.h.nbytes * (1 + symbols)

    def bytes_moved(self, output: Any) -> int:
        """Least that has to be read and written: symbols and a channel of one OFDM symbol, results.

        :param output: of the block
        """
        # The channel is the second of the inputs, written out for every OFDM symbol.
        symbols, _, *others = self.inputs()
        return num_bytes((symbols, self.h, *others, output))

    @property
    def suits_theirs(self) -> bool:
        """Whether Sionna's way fits into memory, and into a benchmark's time."""
        return self.h.nbytes * self.slot.num_ofdm_symbols <= _THEIRS_BYTES

    @classmethod
    def suits(cls, sizes: Dimensions, num_matrices: int) -> bool:
        """Whether there are results for matrices of these sizes, and exact ones of so many fit into
        a benchmark's time.
        """
        del sizes, num_matrices
        return True

    def theirs(self) -> Call | None:
        """Sionna's block on the slot; None where nothing stands for it."""
        return None

    @abstractmethod
    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        """Our block with a solver."""

    @abstractmethod
    def inputs(self) -> tuple[Tensor, ...]:
        """The arguments of the block."""

    @abstractmethod
    def problem(self) -> tuple[Operation, Channels]:
        """What the block asks its solver for."""

    @abstractmethod
    def limit(self) -> Call:
        """Known matrices applied from and to Sionna's layout, and nothing else."""

    @abstractmethod
    def result(self, output: Any) -> Tensor:
        """The symbols that a block gives, [batch_size, rows, num_ofdm_symbols, fft_size]."""

    def ours(self, solver: Solver, certify: str | None = "link") -> Call:
        """Our block with a solver, on the slot."""
        block, inputs = self.block(solver, certify), self.inputs()
        return lambda: block(*inputs)

    def alone(self, solver: Solver) -> Call:
        """The answers of a solver, and nothing done with them."""
        operation, channels = self.problem()

        def call() -> None:
            answers = solver.start(operation, channels)
            for tile in tiles(channels.a, answers.entries(channels.a)):
                answers.tile(tile)

        return call

    def reference(self) -> Tensor:
        """The exact result in double precision."""
        block = self.block(Exact(), precision="double")
        return self.result(block(*map(_wide, self.inputs())))

    def error_db(self, output: Any, reference: Tensor) -> tuple[float, float]:
        """Relative error of the symbols on a subcarrier: median and largest, in dB."""
        error = relative_error(self.result(output).to(reference), reference, (1, 2))
        db = 20 * torch.log10(error.clamp_min(1e-16))
        return float(db.median()), float(db.max())

    def _symbols(self, *shape: int) -> Tensor:
        return torch.randn(
            (self.slot.batch_size, *shape, *self._grid),
            dtype=self.dtype,
            generator=self._generator,
            device=self.device,
        )

    def _in_layout(self, h: Tensor) -> Tensor:
        """[batch_size, fft_size, m, n] as [batch_size, m, n, num_ofdm_symbols, fft_size]."""
        h = h.permute(0, 2, 3, 1).contiguous()[..., None, :]
        h = h.expand(*h.shape[:3], *self._grid)
        return h.contiguous() if self.holds_symbols else h

    def _channels(self, a: Tensor, no: Tensor | None = None) -> Channels:
        noise = None if no is None else no.expand(self.slot.batch_size)
        return Channels(a, self.links.grid_frequencies(), noise)

    def _options(self, precision: str = "") -> dict[str, Any]:
        return {"precision": precision or self.slot.precision, "device": self.device}

    def _grids(self, num_tx: int, num_rx: int, streams: int) -> tuple[Any, Any]:
        grid = ResourceGrid(
            num_ofdm_symbols=self._grid[0],
            fft_size=self._grid[1],
            subcarrier_spacing=self.links.subcarrier_spacing,
            num_tx=num_tx,
            num_streams_per_tx=streams,
            device=self.device,
        )
        return grid, StreamManagement(np.ones([num_rx, num_tx]), streams)


class ZeroForcing(Task):
    """:class:`~neumatc_mimo.blocks.ZFPrecoder` beside Sionna's ``RZFPrecoder``."""

    title, kind, operation = "ZFPrecoder", "multi_user", "pseudo_inverse"

    def __init__(self, links: LinkSet, slot: Slot, turn: int = 0) -> None:
        super().__init__(links, slot, turn)
        self._x = self._symbols(1, links.num_rows)
        self._h = self._in_layout(self.h)[:, :, None, None]
        self._pair = self._grids(1, links.num_rows, links.num_rows)

    def inputs(self) -> tuple[Tensor, ...]:
        return self._x, self._h

    def problem(self) -> tuple[Operation, Channels]:
        return PseudoInverse(), self._channels(self._rows())

    def _rows(self) -> Tensor:
        """The channel of a symbol as the block sees it, [batch_size, fft_size, K, M]."""
        return self._h[:, :, 0, 0, :, 0].permute(0, 3, 1, 2)

    def theirs(self) -> Call | None:
        effective = self.slot.return_effective_channel
        block = RZFPrecoder(*self._pair, return_effective_channel=effective, **self._options())
        return lambda: block(self._x, self._h)

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        effective = self.slot.return_effective_channel
        options = self._options(precision)
        return ZFPrecoder(*self._pair, solver, effective, certify=certify, **options)

    def limit(self) -> Call:
        w = PseudoInverse().solve(self.h).dense
        w = normalised(w)[0].contiguous()
        if not self.slot.return_effective_channel:
            return lambda: applied(w, self._x[:, 0])
        return lambda: (applied(w, self._x[:, 0]), effective_channel(self._h[:, :, 0, 0, :, 0], w))

    def result(self, output: Any) -> Tensor:
        return (output[0] if self.slot.return_effective_channel else output)[:, 0]


class _Uplink(Task):
    """Reception from the users at once."""

    kind, operation = "multi_user", "pseudo_inverse"

    def __init__(self, links: LinkSet, slot: Slot, turn: int = 0) -> None:
        super().__init__(links, slot, turn)
        self._h = self._in_layout(self.h.mT)[:, None, :, :, None]
        x = self._symbols(links.num_rows, 1)
        y = self.h.mT @ x[:, :, 0].permute(0, 3, 1, 2)
        noise = self._symbols(1, links.num_cols)
        self._y = y.permute(0, 2, 3, 1)[:, None].contiguous() + self.no.sqrt() * noise
        self._pair = self._grids(links.num_rows, 1, 1)

    def inputs(self) -> tuple[Tensor, ...]:
        return self._y, self._h, torch.zeros_like(self.no), self.no

    def problem(self) -> tuple[Operation, Channels]:
        return PseudoInverse(), self._channels(
            self._h[:, 0, :, :, 0, 0].permute(0, 3, 2, 1), self.no
        )


class MMSE(_Uplink):
    """:class:`~neumatc_mimo.blocks.MMSEEqualizer` beside Sionna's ``LMMSEEqualizer``."""

    title = "MMSEEqualizer"

    def theirs(self) -> Call:
        block = LMMSEEqualizer(*self._pair, **self._options())
        return lambda: block(*self.inputs())

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        return MMSEEqualizer(*self._pair, solver, certify=certify, **self._options(precision))

    def limit(self) -> Call:
        filters = PseudoInverse().solve(self.h, self.no)
        w = filters.dense.mT.contiguous()
        no_eff = filters.loss.mT.contiguous()
        return lambda: (applied(w, self._y[:, 0]), no_eff.clone())

    def result(self, output: Any) -> Tensor:
        return output[0][:, :, 0].unflatten(-1, self._grid)


class Detection(_Uplink):
    """:class:`~neumatc_mimo.blocks.MMSEDetector` beside Sionna's ``LinearDetector``."""

    title = "MMSEDetector"

    def theirs(self) -> Call:
        arguments: Any = ("bit", "maxlog", *self._pair, "qam", _NUM_BITS)
        block = LinearDetector("lmmse", *arguments, **self._options())
        return lambda: block(*self.inputs())

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        return MMSEDetector(
            "bit",
            "maxlog",
            *self._pair,
            solver,
            "qam",
            _NUM_BITS,
            certify=certify,
            **self._options(precision),
        )

    def limit(self) -> Call:
        """A known filter, and the demapper."""
        equalizer = MMSEEqualizer(*self._pair, Exact(), **self._options())
        x_hat, no_eff = equalizer(*self.inputs())
        demapper = self.block(Exact())._demapper
        w = PseudoInverse().solve(self.h, self.no).dense.mT.contiguous()
        return lambda: (applied(w, self._y[:, 0]), demapper(x_hat, no_eff))

    def result(self, output: Any) -> Tensor:
        bits: Tensor = output[:, :, 0].unflatten(-1, (*self._grid, _NUM_BITS))
        return bits[..., 0]


class Forcing(_Uplink):
    """:class:`~neumatc_mimo.blocks.ZFEqualizer` beside Sionna's."""

    title = "ZFEqualizer"

    def problem(self) -> tuple[Operation, Channels]:
        operation, channels = super().problem()
        return operation, replace(channels, no=None)

    def theirs(self) -> Call:
        block = getattr(ofdm, self.title)(*self._pair, **self._options())
        return lambda: block(*self.inputs())

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        kind = getattr(blocks, self.title)
        return kind(*self._pair, solver, certify=certify, **self._options(precision))

    def limit(self) -> Call:
        filters = PseudoInverse().solve(self.h)
        w = filters.dense.mT.contiguous()
        no_eff = filters.column_power.mT.contiguous()
        return lambda: (applied(w, self._y[:, 0]), no_eff.clone())

    def result(self, output: Any) -> Tensor:
        return output[0][:, :, 0].unflatten(-1, self._grid)


class Matching(Forcing):
    """:class:`~neumatc_mimo.blocks.MFEqualizer` beside Sionna's."""

    title, queries = "MFEqualizer", False


class LinearDetection(Detection):
    """:class:`~neumatc_mimo.blocks.LinearDetector` with zero forcing beside Sionna's."""

    title = "LinearDetector"

    def problem(self) -> tuple[Operation, Channels]:
        operation, channels = super().problem()
        return operation, replace(channels, no=None)

    def theirs(self) -> Call:
        arguments: Any = ("bit", "maxlog", *self._pair, "qam", _NUM_BITS)
        block = LinearDetector("zf", *arguments, **self._options())
        return lambda: block(*self.inputs())

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        return blocks.LinearDetector(
            "zf",
            "bit",
            "maxlog",
            *self._pair,
            solver,
            "qam",
            _NUM_BITS,
            certify=certify,
            **self._options(precision),
        )


class Ratios(_Uplink):
    """:class:`~neumatc_mimo.blocks.LMMSEPostEqualizationSINR` beside Sionna's."""

    title = "LMMSEPostEqualizationSINR"

    def inputs(self) -> tuple[Tensor, ...]:
        return self._h, self.no

    def bytes_moved(self, output: Any) -> int:
        return num_bytes((self.h, self.no, output))

    def theirs(self) -> Call:
        block = ofdm.LMMSEPostEqualizationSINR(*self._pair, **self._options())
        return lambda: block(*self.inputs())

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        options = {"certify": certify} | self._options(precision)
        return blocks.LMMSEPostEqualizationSINR(*self._pair, solver, **options)

    def limit(self) -> Call:
        w = PseudoInverse().solve(self.h, self.no).dense
        return lambda: self.h @ w

    def result(self, output: Any) -> Tensor:
        ratios: Tensor = output[..., 0, :].permute(0, 3, 1, 2)
        return ratios


class Joint(_Uplink):
    """A detector of all streams together, of 64-QAM, beside Sionna's."""

    queries = False
    num_bits: ClassVar[int] = 6
    # Beside the grid, the streams and the solver, "pair".
    arguments: ClassVar[tuple[Any, ...]]

    @classmethod
    def suits(cls, sizes: Dimensions, num_matrices: int) -> bool:
        """Sionna's take minutes, and all memory, for more streams."""
        return sizes.num_rows <= 4 and num_matrices <= 2 * 3276

    def theirs(self) -> Call:
        block = self._made(ofdm, (), self._options())
        return lambda: block(*self.inputs())

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        return self._made(blocks, (solver,), {"certify": certify} | self._options(precision))

    def _made(self, module: Any, solver: tuple[Solver, ...], options: dict[str, Any]) -> Any:
        values: list[Any] = []
        for argument in self.arguments:
            values += (*self._pair, *solver) if argument == "pair" else (argument,)
        rows = self.links.num_rows
        values = [rows if value == "rows" else value for value in values]
        return getattr(module, self.title)(*values, **options)

    def limit(self) -> Call:
        """Matched filters, which none does without."""
        w = self.h.conj().resolve_conj().contiguous()
        return lambda: applied(w, self._y[:, 0])

    def result(self, output: Any) -> Tensor:
        ratios: Tensor = output[:, :, 0].unflatten(-1, (*self._grid, self.num_bits))
        return ratios[..., 0]


class KBest(Joint):
    """:class:`~neumatc_mimo.blocks.KBestDetector`, with 64 paths."""

    title = "KBestDetector"
    arguments = ("bit", "rows", 64, "pair", "qam", 6)


class Propagation(Joint):
    """:class:`~neumatc_mimo.blocks.EPDetector`, with ten iterations."""

    title, arguments = "EPDetector", ("bit", "pair", 6)


class Cancellation(Joint):
    """:class:`~neumatc_mimo.blocks.MMSEPICDetector`, with two iterations."""

    title = "MMSEPICDetector"
    arguments: ClassVar[tuple[Any, ...]] = ("bit", "maxlog", "pair", 2, "qam", 6)

    def __init__(self, links: LinkSet, slot: Slot, turn: int = 0) -> None:
        super().__init__(links, slot, turn)
        known = self._symbols(links.num_rows, self.num_bits).real.movedim(2, -1)
        self._prior = known.flatten(-3)[:, :, None].contiguous()

    def inputs(self) -> tuple[Tensor, ...]:
        y, h, *noise = super().inputs()
        return y, h, self._prior, *noise


class Likelihoods(Joint):
    """:class:`~neumatc_mimo.blocks.MaximumLikelihoodDetector`, of QPSK."""

    title, num_bits = "MaximumLikelihoodDetector", 2
    arguments = ("bit", "app", "pair", "qam", 2)


class LikelihoodsWithPrior(Cancellation):
    """:class:`~neumatc_mimo.blocks.MaximumLikelihoodDetectorWithPrior`, of QPSK."""

    title, num_bits = "MaximumLikelihoodDetectorWithPrior", 2
    arguments = ("bit", "app", "pair", "qam", 2)


class _SingleUser(Task):
    """Transmission along singular vectors: Sionna has no block, users call a library's SVD."""

    kind, operation = "single_user", "svd"
    theirs_title = "an SVD for each symbol"
    # The side that the block does not use.
    unused: ClassVar[str]

    def __init__(self, links: LinkSet, slot: Slot, turn: int = 0) -> None:
        super().__init__(links, slot, turn)
        assert links.num_streams is not None
        self.num_streams = links.num_streams
        self._h = self._in_layout(self.h)[:, None, :, None]
        self._x = self._symbols(1, self.num_streams)
        self._pair = self._grids(1, 1, self.num_streams)
        self._operation = SVD(self.num_streams)

    def problem(self) -> tuple[Operation, Channels]:
        operation = SVD(self.num_streams, (self.unused,))
        return operation, self._channels(self._h[:, 0, :, 0, :, 0].permute(0, 3, 1, 2))

    def _triplets(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of every OFDM symbol and subcarrier, [batch_size, num_ofdm_symbols, fft_size, ...]."""
        h = self._h[:, 0, :, 0].permute(0, 3, 4, 1, 2)
        u, s, vh = torch.linalg.svd(h, full_matrices=False)
        num = self.num_streams
        return u[..., :num], s[..., :num], vh[..., :num, :].mH


class Beamforming(_SingleUser):
    """:class:`~neumatc_mimo.blocks.SVDBeamformer`."""

    title, unused = "SVDBeamformer", "u"

    def inputs(self) -> tuple[Tensor, ...]:
        return self._x, self._h

    def theirs(self) -> Call:
        def call() -> Tensor:
            _, _, v = self._triplets()
            x = v @ self._x[:, 0].permute(0, 2, 3, 1)[..., None]
            return x[..., 0].permute(0, 3, 1, 2)

        return call

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        effective = self.slot.return_effective_channel
        options = self._options(precision)
        return SVDBeamformer(*self._pair, solver, effective, certify=certify, **options)

    def limit(self) -> Call:
        v = self._operation.exact(self.h)[2].contiguous()
        if not self.slot.return_effective_channel:
            return lambda: applied(v, self._x[:, 0])
        return lambda: (applied(v, self._x[:, 0]), effective_channel(self._h[:, 0, :, 0, :, 0], v))

    def result(self, output: Any) -> Tensor:
        return (output[0] if self.slot.return_effective_channel else output)[:, 0]


class Combining(_SingleUser):
    """:class:`~neumatc_mimo.blocks.SVDCombiner`."""

    title, unused = "SVDCombiner", "v"

    def __init__(self, links: LinkSet, slot: Slot, turn: int = 0) -> None:
        super().__init__(links, slot, turn)
        sender = SVDBeamformer(*self._pair, Exact(), **self._options())
        sent = sender(self._x, self._h)[:, 0]
        y = self.h @ sent.permute(0, 3, 1, 2)
        noise = self._symbols(1, links.num_rows)
        self._y = y.permute(0, 2, 3, 1)[:, None].contiguous() + self.no.sqrt() * noise

    def inputs(self) -> tuple[Tensor, ...]:
        return self._y, self._h, self.no

    def theirs(self) -> Call:
        def call() -> Tensor:
            u, s, _ = self._triplets()
            x = u.mH @ self._y[:, 0].permute(0, 2, 3, 1)[..., None]
            return x[..., 0] / s

        return call

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        return SVDCombiner(*self._pair, solver, certify=certify, **self._options(precision))

    def limit(self) -> Call:
        u, s, _ = self._operation.exact(self.h)
        w = (u.mH / s[..., None]).contiguous()
        no_eff = s.mT.contiguous()
        return lambda: (applied(w, self._y[:, 0]), no_eff.clone())

    def result(self, output: Any) -> Tensor:
        return output[0][:, 0].unflatten(-1, self._grid)


class Precoding(Task):
    """Precoding of users' streams with an operation's result; Sionna has no such blocks."""

    config: ClassVar[OperationConfig]

    @classmethod
    def of(cls, config: OperationConfig, kind: LinkKind = "multi_user") -> type[Precoding]:
        """The task of an operation, by the block that is registered for it or the general one."""
        block = PRECODERS.get(config.name)
        title = f"OperationPrecoder of {config.name}" if block is None else block.__name__
        facts = {"title": title, "kind": kind, "operation": config.name, "config": config}
        return cast("type[Precoding]", type("Precoding", (cls,), facts))

    def __init__(self, links: LinkSet, slot: Slot, turn: int = 0) -> None:
        super().__init__(links, slot, turn)
        self._solved = self._made(links.dimensions)
        if self.config.no is not None:
            self.no = torch.full_like(self.no, self.config.no)
        _, num_streams = _matrix_shape(self._solved, links.dimensions)
        self._x = self._symbols(1, num_streams)
        by_user = self._in_layout(self.h).unflatten(1, (links.num_users, -1))
        self._h = by_user[:, :, :, None]
        self._pair = self._grids(1, links.num_users, num_streams)

    @classmethod
    def suits(cls, sizes: Dimensions, num_matrices: int) -> bool:
        try:
            operation = cls._made(sizes)
            shape = _matrix_shape(operation, sizes)
        except (ValueError, TypeError, RuntimeError):
            return False  # such matrices have no such result
        if len(shape) != 2 or shape[0] != sizes.num_cols:
            return False  # nothing to precode with
        # Of an iteration some ten seconds at most.
        dear = operation.adapts(sizes.num_rows, sizes.num_cols)
        return not dear or sizes.num_rows**3 * num_matrices <= 8**3 * 3276 * 16

    def inputs(self) -> tuple[Tensor, ...]:
        noise = (self.no,) if self._solved.depends_on_noise() else ()
        return self._x, self._h, *noise

    def problem(self) -> tuple[Operation, Channels]:
        rows = self._h[:, :, :, 0, :, 0].flatten(1, 2).permute(0, 3, 1, 2)
        noise = self.no if self._solved.depends_on_noise() else None
        return self._solved, self._channels(rows, noise)

    def block(self, solver: Solver, certify: str | None = "link", precision: str = "") -> Any:
        effective = self.slot.return_effective_channel
        options = self._options(precision) | {"certify": certify}
        if self.operation in PRECODERS:
            return PRECODERS[self.operation](*self._pair, solver, effective, **options)
        return OperationPrecoder(*self._pair, solver, self._solved, effective, **options)

    def limit(self) -> Call:
        # Any matrices take as long.
        shape = (*self.h.shape[:2], self.h.shape[3], self._x.shape[2])
        w = torch.ones(shape, dtype=self.dtype, device=self.device)
        if not self.slot.return_effective_channel:
            return lambda: applied(w, self._x[:, 0])
        rows = self._h[:, :, :, 0, :, 0].flatten(1, 2)
        return lambda: (applied(w, self._x[:, 0]), effective_channel(rows, w))

    def result(self, output: Any) -> Tensor:
        return (output[0] if self.slot.return_effective_channel else output)[:, 0]

    @classmethod
    def _made(cls, sizes: Dimensions) -> Operation:
        return OPERATIONS.find(cls.operation).configured(cls.config, sizes)


def _matrix_shape(operation: Operation, sizes: Dimensions) -> tuple[int, ...]:
    """Shape of the component that blocks apply."""
    return operation.component_shapes(sizes.num_rows, sizes.num_cols)[operation.matrix]


def _at_noise() -> list[type[Task]]:
    """Precoding in noise, for each of the operations that have a block for it."""
    kinds = [OPERATIONS.find(name) for name in PRECODERS]
    return [
        Precoding.of(kind.config.model_validate({"name": kind.name, "noise_db": NO_DB}))
        for kind in kinds
        if kind.depends_on_noise()
    ]


_MULTI_USER: tuple[type[Task], ...] = (
    ZeroForcing,
    MMSE,
    Detection,
    Forcing,
    LinearDetection,
    Ratios,
)
_SINGLE_USER: tuple[type[Task], ...] = (Beamforming, Combining)

# What every scenario's links are timed with.
TASKS: tuple[type[Task], ...] = (*_MULTI_USER, *_at_noise(), *_SINGLE_USER)

# Receivers to which a model is of no use.
RECEIVERS: tuple[type[Task], ...] = (
    Matching,
    KBest,
    Propagation,
    Cancellation,
    Likelihoods,
    LikelihoodsWithPrior,
)


def tasks_of(config: ScenarioConfig) -> list[type[Task]]:
    """Those, with each operation as a scenario trains it, and all others that it trains."""
    always = {task.operation for task in (*_MULTI_USER, *_SINGLE_USER)}
    precoding = {task.operation: task for task in TASKS if task.operation not in always}
    kinds: tuple[LinkKind, ...] = ("multi_user", "single_user")
    for kind in kinds:
        section = getattr(config, kind)
        for keys in section.operations if section is not None else ():
            if keys.name not in always:
                precoding[keys.name] = Precoding.of(keys, kind)
    return [*_MULTI_USER, *RECEIVERS, *precoding.values(), *_SINGLE_USER]


def _wide(t: Tensor) -> Tensor:
    """In double precision; what stands for all OFDM symbols at once still does."""
    dtype = torch.complex128 if t.is_complex() else torch.float64
    if t.ndim > 1 and t.stride(-2) == 0:
        return t[..., :1, :].to(dtype).expand(t.shape)
    return t.to(dtype)


def applied(w: Tensor, x: Tensor, size: int = 420) -> Tensor:
    """Known matrices times symbols from and to Sionna's layout: copies, product and copy.

    As our blocks do: a tile is copied into the cache as it lies and transposed there, and its size
    is no power of two.

    :param w: [batch_size, fft_size, m, n]
    :param x: [batch_size, n, num_ofdm_symbols, fft_size]

    :return: [batch_size, m, num_ofdm_symbols, fft_size]
    """
    out = x.new_empty((x.shape[0], w.shape[2], *x.shape[2:]))
    step = size if w.device.type == "cpu" else x.shape[-1]
    items = x.shape[0] if w.device.type != "cpu" else 1
    for first in range(0, x.shape[0], items):
        chosen = slice(first, first + items)
        for i in range(0, x.shape[-1], step):
            tile = slice(i, i + step)
            part = x[chosen, ..., tile].contiguous().permute(0, 3, 1, 2).contiguous()
            out[chosen, ..., tile] = (w[chosen, tile] @ part).permute(0, 2, 3, 1)
    return out


def effective_channel(h: Tensor, w: Tensor, size: int = 252) -> Tensor:
    """H W of channels in Sionna's layout, tile by tile.

    :param h: [batch_size, K, M, fft_size]
    :param w: [batch_size, fft_size, M, n]

    :return: [batch_size, K, n, fft_size]
    """
    out = h.new_empty((*h.shape[:2], w.shape[3], h.shape[3]))
    for i in range(0, h.shape[3], size):
        tile = slice(i, i + size)
        part = h[..., tile].permute(0, 3, 1, 2).contiguous() @ w[:, tile]
        out[..., tile] = part.permute(0, 2, 3, 1)
    return out
