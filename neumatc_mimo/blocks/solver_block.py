"""The base of all blocks: what it is made of, and the answers of its solver, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple, TypeVar, Unpack

import torch
from sionna.phy import Block
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks import operators
from neumatc_mimo.blocks.checks import check_finite, check_links, finite
from neumatc_mimo.blocks.inputs import Inputs, ResultKind, by_trust
from neumatc_mimo.blocks.tiles import cut, stretches
from neumatc_mimo.foundation.block_checks import check_type
from neumatc_mimo.foundation.block_settings import BlockKeywords, BlockSettings
from neumatc_mimo.foundation.display import Displayed, Facts, brief
from neumatc_mimo.foundation.warnings import Warned
from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.kernels.lanes.coverage import differentiates
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.solvers.base import Answers, Channels, Counts, Solver, tiles
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_mapped, is_traced

# Share of the links that a model does not know above which a block warns.
_UNKNOWN = 0.5

T = TypeVar("T")


class TileAnswer(NamedTuple):
    """A solver's answer for a tile of subcarriers.

    :param tile: Subcarriers
    :param answer: Of the operation
    :param applied: Products with the component that the answer leaves out, or None
    :param answers: Whose tile it is
    :param given: The matrices that the solver got, [num_items, num_frequencies, m, n]
    :param where: The matrices that the answer is of, [num_items, num_frequencies] bool, where these
        are single ones, side by side as those of one item; None for a tile
    """

    tile: slice
    answer: Any
    applied: Applied | None
    answers: Answers
    given: Tensor
    where: Tensor | None = None

    def keep(self, name: str, make: Callable[[Tensor], T]) -> T:
        """What ``make`` makes of the matrices that the answer belongs to, [num_items, tile, m, n],
        as kept under ``name`` where they are a link's own.
        """
        return self.answers.keep(name, self.tile, make, self.given)


class SolverBlock(Displayed, Block):
    """Base of the blocks: a Sionna block whose matrices come from a solver.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param settings: ``certify``, ``tolerance``, ``time_varying`` and ``trust``, each explained and
        checked by :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`
    """

    _inputs: ClassVar[type[Inputs]]

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        check_type("resource_grid", resource_grid, ResourceGrid)
        check_type("stream_management", stream_management, StreamManagement)
        check_type("solver", solver, Solver)
        self._become_sionnas(resource_grid, stream_management, precision, device)
        self._settings = BlockSettings(**settings)
        if self._settings.trust == "model" and not solver.knows_links:
            raise ValueError(
                f'trust="model" needs a solver with trained links, a ScenarioModel or Auto of one; '
                f"{type(solver).__name__} has none."
            )
        self._resource_grid, self._stream_management = resource_grid, stream_management
        self._solver = solver
        self._handle = operators.handle_of(self)
        self.stats = Counts()
        self._warned = Warned()

        # Plain integers: Sionna's are partly NumPy's, which torch.compile takes for data.
        self._num_tx = int(stream_management.num_tx)
        self._num_rx = int(stream_management.num_rx)
        self._num_rx_per_tx = int(stream_management.num_rx_per_tx)
        self._num_streams_per_tx = int(stream_management.num_streams_per_tx)
        self._num_streams_per_rx = int(stream_management.num_streams_per_rx)
        self._num_symbols = int(resource_grid.num_ofdm_symbols)
        self._num_effective = int(resource_grid.num_effective_subcarriers)
        self._fft_size = fft_size = int(resource_grid.fft_size)

        # Kept out of the state, which is that of Sionna's blocks, and integers: halving a block
        # takes digits from what floats.
        index = torch.arange(fft_size, device=self.device) - fft_size // 2
        effective = torch.as_tensor(resource_grid.effective_subcarrier_ind, dtype=torch.int64)
        self._spacing = float(resource_grid.subcarrier_spacing)
        self.register_buffer("_index", index, persistent=False)
        self.register_buffer("_effective_ind", effective.to(self.device), persistent=False)
        # A few thousand entries, but PyTorch has all cores gather them, and waits for each.
        self.register_buffer("_effective_index", index[self._effective_ind], persistent=False)
        self._stretches = stretches(effective.tolist())

    def _become_sionnas(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        precision: str | None,
        device: str | None,
    ) -> None:
        """Begin as a block of Sionna's, of the kind that this one derives from."""
        del resource_grid, stream_management
        super().__init__(precision=precision, device=device)

    @property
    def _frequencies(self) -> Tensor:
        """Of all subcarriers, Hz from the carrier, float64."""
        return self._index.double() * self._spacing

    @property
    def _effective_frequencies(self) -> Tensor:
        """Of the effective subcarriers, likewise."""
        return self._effective_index.double() * self._spacing

    def __setstate__(self, state: Any) -> None:
        """A copy is a block of its own."""
        super().__setstate__(state)
        self._handle = operators.handle_of(self)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The block's call; eager within a compiled function where it decides on data and is no
        operator.
        """
        if torch.compiler.is_compiling() and not self._is_traceable():
            given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            if not self._is_operator(given):
                return _eagerly(self, args, kwargs)
        return super().forward(*args, **kwargs)

    def _is_traceable(self) -> bool:
        """Whether nothing is recognised and proven, which depends on data."""
        return self._settings.certify is None or isinstance(self._solver, Exact)

    def _is_operator(self, given: Sequence[Tensor]) -> bool:
        """Whether the block is one operator of a compiled function.

        An exported program is for where there is no such operator. Other solvers than the exact one
        have results without their derivatives, which operators compute before these are asked for.
        """
        if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return False
        alike = isinstance(self._solver, Exact) or not is_differentiated(*given)
        return alike and torch.device(self.device).type == "cpu"

    def _served(self, inputs: Inputs) -> Any:
        """:meth:`_results` of the block's inputs, for items of which the links of the same
        transmitters or receivers are trusted; as one operator where that is of use.
        """
        given = list(inputs.tensors().values())
        if self._is_operator(given):
            return operators.as_operator(self, inputs, alone=False)
        if isinstance(self._solver, Exact) and differentiates(*given):
            with suppress(operators.NoKernelError):
                return operators.as_operator(self, inputs, alone=True)
        return by_trust(self._results, inputs, self._settings.trust)

    def _results(self, inputs: Any) -> Any:
        """What the block returns, a tensor or a tuple of them, for inputs of its own kind."""
        raise NotImplementedError

    def _kinds(self, inputs: Any) -> list[ResultKind]:
        """Of what :meth:`_results` gives, before it is computed."""
        raise NotImplementedError

    def facts(self) -> Facts:
        grid, settings = self._resource_grid, self._settings
        values: dict[str, Any] = {
            "solver": brief(self._solver),
            "grid": f"{self._num_symbols} symbols, {self._fft_size} subcarriers of "
            f"{float(grid.subcarrier_spacing) / 1e3:g} kHz",
            "transmitters": f"{self._num_tx} of {self._num_streams_per_tx} streams",
            "receivers": f"{self._num_rx} of {self._num_streams_per_rx} streams",
            "certify": str(settings.certify),
            "trust": settings.trust,
            "precision": f"{self.precision} on {self.device}",
        }
        if settings.tolerance is not None:
            values["tolerance"] = f"{settings.tolerance.quality_db:g} dB"
        return Facts("", values | self.stats.words())

    def _answers(
        self,
        operation: Operation,
        channels: Channels,
        borders: Sequence[slice],
        solver: Solver | None = None,
        emitter: Emitter | None = None,
    ) -> Iterator[TileAnswer]:
        """Yield tiles of subcarriers, none across two ``borders``, with the solver's answer there.

        A noise power that differs between subcarriers, and other subcarriers than those of the
        grid, are computed exactly.

        :param solver: Another one than the block's
        :param emitter: What is made of the answers, if a kernel may do it: then the single matrices
            that it leaves are all that is yielded

        :raises ValueError: If the channel is found to have NaN or infinite entries, or a noise
            power that differs between subcarriers is asked of trusted links
        """
        a, settings = channels.a, self._settings
        if not _is_a_query(channels):
            if channels.trusted:
                raise ValueError(
                    'trust="model" needs the subcarriers of the grid and a noise power that is '
                    "the same on all subcarriers, or links of -1."
                )
            solver = Exact()
        with finite(a):
            start = self._able(solver or self._solver, channels).start
            answers = start(operation, channels, settings.certify, settings.tolerance)
        emitted = None if emitter is None else answers.emitted(emitter)
        if emitted is not None:
            check_finite(a, emitted.witness.sum())
            if emitted.left is not None:
                answer = operation.restricted(emitted.answer())
                yield TileAnswer(slice(None), answer, None, answers, a, emitted.left)
        elif not is_traced() and operators.kernels_alone():
            raise operators.NoKernelError
        rest = [] if emitted is not None else cut(tiles(a, answers.entries(a)), borders)
        for tile in rest:
            with finite(a):
                answer = operation.restricted(answers.tile(tile))
            if answers.reads_channel and not is_traced():
                check_finite(a, operation.witness(answer).sum())
            yield TileAnswer(tile, answer, answers.applied(tile), answers, a)
        answers.finish()
        # A model that knows nothing of the kind has said so itself.
        asked = (solver or self._solver).knows(operation, *a.shape[-2:])
        self._count(answers.counts, warns=asked)

    def _able(self, solver: Solver, channels: Channels) -> Solver:
        """The solver, or the exact one where the channel or the noise power is differentiated, or
        stands for many.

        A model's query depends on the link, not on the channel given: its gradients are zero, or
        those of other operations. Exact results have Sionna's. Who trusts a model or asks for no
        proof gets the model's.
        """
        if isinstance(solver, Exact) or channels.trusted:
            return solver
        if is_mapped():
            return Exact()  # which link a channel is no one can tell there
        if self._settings.certify is None:
            return solver
        return Exact() if is_differentiated(channels.a, channels.no) else solver

    def _moment(self, time: float | None, symbol: int) -> float:
        """Seconds from the burst's begin to an OFDM symbol of a slot that starts at ``time``."""
        if time is None:
            return 0.0
        # Sionna makes tensors of numbers.
        return float(time) + symbol * float(self._resource_grid.ofdm_symbol_duration)

    def _checked_links(
        self, links: Tensor | None, batch_sizes: Sequence[int], num: int
    ) -> Tensor | None:
        """Links as [batch_size, num], or None.

        :param batch_sizes: the ones that they may have
        """
        if links is not None:
            return check_links(links, batch_sizes, num, self.device)
        if self._settings.trust == "model":
            raise ValueError('trust="model" needs links: name the links whose matrices to use.')
        return None

    def _count(self, counts: Counts, *, warns: bool = True) -> None:
        # A traced counter would be a constant that asks for a new trace at every call.
        if is_traced() or operators.computed_again():
            return
        self.stats.add(counts)
        # Who trusts a model has named the links that it does not know.
        if warns and self._settings.trust == "estimate":
            _warn_of_unknown(type(self).__name__, self.stats, self._warned)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _eagerly(block: Block, args: Any, kwargs: Any) -> Any:
    """A block's call within a compiled function, but not of it."""
    return block.call(*args, **kwargs)


def _is_a_query(channels: Channels) -> bool:
    """Whether a solver may be asked: for all subcarriers of the grid, at one noise power."""
    whole = channels.a.shape[1] == len(channels.frequencies)
    return whole and (channels.no is None or channels.no.dim() == 1)


def _warn_of_unknown(name: str, stats: Counts, warned: Warned) -> None:
    """Warn of a model that does not know the links that a block meets; of what it was not trained
    for it has warned by itself.
    """
    unknown = stats.links_unknown - stats.links_beyond
    links = stats.links_unknown + stats.links_recalled + stats.links_adapted
    if unknown > _UNKNOWN * links:
        warned.once(
            "unknown links",
            f"{name} computed {unknown} of {links} links exactly, because its model does not know "
            "them. A model only knows the channels that it was trained on, "
            "on the subcarriers of its grid. For estimates of these channels, name the links and "
            'set trust="model". For other users and channels, train a model for them '
            "(nm.Scenario.from_channel), or use nm.Exact(). For channels from DeepMIMO's "
            "compute_channels, train with centred = false in [grid]. print(block) shows all "
            "counts.",
        )
