"""What all blocks share: checks, the loop over tiles, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from sionna.phy import Block
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.foundation.block_checks import check_proofs, check_type
from neumatc_mimo.foundation.display import Displayed, Facts, brief
from neumatc_mimo.foundation.warnings import Warned
from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Channels, Counts, Solver, tiles
from neumatc_mimo.solvers.exact import Exact
from neumatc_mimo.tensors.tracing import is_traced

# Runs of neighbouring subcarriers, and their length, at which a channel is checked to be finite and
# constant over the OFDM symbols: a line of the cache holds eight of them.
_NUM_RUNS, _RUN = 2, 8
# Subcarriers to which a filter is applied at once on a CPU: measured with 64 antennas and 14
# symbols; a fifth faster than 1008, and no power of two.
_PIECE = 336

# Share of the links that a model does not know above which a block warns.
_UNKNOWN = 0.5

# OFDM symbols that share their matrices, in runs of neighbours.
Symbols = tuple[slice, ...]


class TileAnswer(NamedTuple):
    """A solver's answer for a tile of subcarriers.

    :param tile: subcarriers
    :param answer: of the operation
    :param keep: gives what the function ``make`` makes of these matrices, as kept under ``name``
        where they are a link's own
    :param applied: products with the component that the answer leaves out, or None
    :param channel: gives the matrices that the answer belongs to, [num_items, tile, m, n]
    """

    tile: slice
    answer: Any
    keep: Callable[..., Any]
    applied: Applied | None
    channel: Callable[[], Tensor]


class SolverBlock(Displayed, Block):
    """Base of the blocks: a Sionna block whose matrices come from a solver.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param certify: "link" (recognised links carry the certificate made in training), "call" (prove
        each call) or `None` (pure query, compiles and captures)
    :param tolerance: What a certificate asks for; `None` is 40 dB and a range error of 1e-2
    :param time_varying: Whether the channel differs between OFDM symbols; `None` finds out
    :param trust: What matrices are computed from where the caller names links. "estimate" (default)
        asks for those of the channel that the block is given: links are recognised from it, and of
        an estimate, which none of them equals, they are computed exactly. "model" takes the word
        of ``links``, which is needed then, as side information: the matrices are those of the
        named links' own channels, with their gains and delays, as if these were known perfectly,
        and what the block is given is not compared with them. Links of -1 are computed exactly
        from what the block is given.
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None,
        device: str | None,
        *,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
        time_varying: bool | None = None,
        trust: str = "estimate",
    ) -> None:
        super().__init__(precision=precision, device=device)
        check_type("resource_grid", resource_grid, ResourceGrid)
        check_type("stream_management", stream_management, StreamManagement)
        check_type("solver", solver, Solver)
        check_proofs(certify, tolerance, time_varying)
        if trust not in ("estimate", "model"):
            raise ValueError(f'trust is {trust!r}, it must be "estimate" or "model".')
        if trust == "model" and not solver.knows_links:
            raise ValueError(
                f'trust="model" needs a solver that knows links, a ScenarioModel or Auto of one; '
                f"{type(solver).__name__} knows none."
            )
        self._resource_grid = resource_grid
        self._stream_management = stream_management
        self._solver = solver
        self._certify = certify
        self._tolerance = tolerance
        self._time_varying = time_varying
        self._trust = trust
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

        index = torch.arange(fft_size, dtype=torch.float64, device=self.device)
        effective = torch.as_tensor(resource_grid.effective_subcarrier_ind, dtype=torch.int64)
        self.register_buffer(
            "_frequencies", (index - fft_size // 2) * float(resource_grid.subcarrier_spacing)
        )
        self.register_buffer("_effective_ind", effective.to(self.device))
        self.register_buffer("_effective_frequencies", self._frequencies[self._effective_ind])
        self._runs = _runs(effective.tolist())

    def facts(self) -> Facts:
        grid = self._resource_grid
        values: dict[str, Any] = {
            "solver": brief(self._solver),
            "grid": f"{self._num_symbols} symbols, {self._fft_size} subcarriers of "
            f"{float(grid.subcarrier_spacing) / 1e3:g} kHz",
            "transmitters": f"{self._num_tx} of {self._num_streams_per_tx} streams",
            "receivers": f"{self._num_rx} of {self._num_streams_per_rx} streams",
            "certify": str(self._certify),
            "trust": self._trust,
            "precision": f"{self.precision} on {self.device}",
        }
        if self._tolerance is not None:
            values["tolerance"] = f"{self._tolerance.quality_db:g} dB"
        return Facts("", values | self.stats.words())

    def _in_parts(
        self, call: Callable[..., Any], links: Tensor | None, *inputs: Tensor | None
    ) -> Any:
        """What ``call(trusted, links, *inputs)`` returns, a tensor or a tuple of them.

        ``trusted`` holds the transmitters or receivers whose links are taken at their word. They
        are the same for all items of a call: a batch in which they differ is taken apart.

        :param links: [batch_size, num] or None
        :param inputs: [batch_size or 1, ...] each, or None
        """
        if self._trust == "estimate":
            return call(frozenset(), links, *inputs)
        assert links is not None
        if is_traced() or bool((links >= 0).all()):
            return call(frozenset(range(links.shape[1])), links, *inputs)
        patterns, kind = torch.unique(links >= 0, dim=0, return_inverse=True)
        parts = []
        for number, named in enumerate(patterns):
            items = (kind == number).nonzero()[:, 0]
            some = (t if t is None or t.shape[0] == 1 else t[items] for t in inputs)
            trusted = frozenset(named.nonzero()[:, 0].tolist())
            parts.append((items, call(trusted, links[items], *some)))
        if isinstance(parts[0][1], Tensor):
            return _put_together(len(links), parts)
        return tuple(
            _put_together(len(links), [(items, output[i]) for items, output in parts])
            for i in range(len(parts[0][1]))
        )

    def _groups(
        self,
        h: Tensor,
        *others: Tensor | None,
        trusted: frozenset[int] = frozenset(),
        dim: int = 1,
        time: float | None = None,
    ) -> list[Symbols]:
        """OFDM symbols that share their matrices, in the order of each group's first symbol.

        Comparing all of h costs more than the block (188 MB for a slot of 14 symbols), so symbols
        are compared bit by bit at probe subcarriers. NaN and infinite entries are refused there.

        :param h: [..., num_ofdm_symbols, num_subcarriers]
        :param others: What the matrices depend on beside h, all of which is compared, likewise;
            None, or of one symbol, where it is constant
        :param trusted: Transmitters or receivers, along ``dim`` of h, that do not depend on h
        :param time: None where their channels are constant
        """
        num = h.shape[-2]
        if trusted and time is not None:
            return each(num)
        rest = [i for i in range(h.shape[dim]) if i not in trusted]
        if trusted and rest:
            h = take(h, dim, rest)
        if not rest or h.stride(-2) == 0:
            h = h[..., :1, :]
        values = [value for value in others if value is not None and value.shape[-2] > 1]
        if is_traced():
            unknown = h.shape[-2] > 1 if self._time_varying is None else self._time_varying
            return each(num) if unknown or values else [(slice(0, num),)]
        probes = _probes(h)
        check_finite(probes, probes.sum())
        if h.shape[-2] > 1 and self._time_varying:
            return each(num)
        if h.shape[-2] > 1 and self._time_varying is None:
            values.append(probes)
        return _alike(values, num)

    def _answers(
        self,
        operation: Operation,
        a: Tensor,
        no: Tensor | None,
        links: Tensor | None,
        frequencies: Tensor,
        cuts: Sequence[slice],
        *,
        products: bool = False,
        trusted: bool = False,
        time: float = 0.0,
        solver: Solver | None = None,
    ) -> Iterator[TileAnswer]:
        """Yield tiles of subcarriers, none across two ``cuts``, with the solver's answer there.

        :param a: [num_items, num_frequencies, m, n], a view
        :param no: [num_items], or [num_items, num_frequencies], which is computed exactly
        :param links: [num_items] or None
        :param products: Whether products with the operation's ``applied`` component will do
        :param trusted: Whether the links are taken at their word; none is -1 then
        :param time: Seconds since the burst began
        :param solver: Another one than the block's

        :raises ValueError: If ``a`` is found to have NaN or infinite entries, or a noise power
            that differs between subcarriers is asked of trusted links
        """
        if trusted and no is not None and no.dim() == 2:
            raise ValueError(
                'trust="model" needs a noise power that is the same on all subcarriers, or links '
                "of -1."
            )
        if no is not None and no.dim() == 2:
            solver = Exact()
        solver = solver or self._solver
        channels = Channels(a, frequencies, no, links, products, trusted, time)
        with _finite(a):
            answers = solver.start(operation, channels, self._certify, self._tolerance)
        for tile in split(tiles(a, answers.entries(a)), cuts):
            with _finite(a):
                answer = operation.restricted(answers.tile(tile))
            if answers.reads_channel and not is_traced():
                # What is not finite shows in the last of the answer's tensors.
                check_finite(a, answer[-1].sum())
            keep = partial(answers.keep, subcarriers=tile, given=a)
            channel = partial(answers.channel, tile, a)
            yield TileAnswer(tile, answer, keep, answers.applied(tile), channel)
        answers.finish()
        self._count(answers.counts)

    def _moment(self, time: float | None, symbol: int) -> float:
        """Seconds from the burst's begin to an OFDM symbol of a slot that starts at ``time``."""
        if time is None:
            return 0.0
        # Sionna makes tensors of numbers.
        return float(time) + symbol * float(self._resource_grid.ofdm_symbol_duration)

    def _count(self, counts: Counts) -> None:
        # A traced counter would be a constant that asks for a new trace at every call.
        if is_traced():
            return
        self.stats.add(counts)
        unknown = self.stats.links_unknown
        links = unknown + self.stats.links_recalled + self.stats.links_adapted
        # Who trusts a model has named the links that it does not know.
        if self._trust == "estimate" and unknown > _UNKNOWN * links:
            self._warned.once(
                "unknown links",
                f"{type(self).__name__} computed {unknown} of {links} links exactly, as they are "
                f"none that its model knows. A model knows the channels that it was trained on, "
                'not estimates of them: for these name the links and set trust="model"; for other '
                "users train a model of theirs, or use nm.Exact(). print(block) shows all counts.",
            )

    def _check_links(self, links: Tensor | None, batch_size: int, num: int) -> Tensor | None:
        """Links as [batch_size, num], or None."""
        if links is None:
            if self._trust == "model":
                raise ValueError('trust="model" needs links: they tell whose matrices to take.')
            return None
        links = torch.as_tensor(links, device=self.device)
        if links.is_floating_point() or links.is_complex() or links.dtype == torch.bool:
            raise TypeError(f"links is {links.dtype}, integer link indices are needed.")
        if links.shape == (batch_size,):
            links = links[:, None].expand(-1, num)
        check_shape("links", links, (batch_size, num))
        if not is_traced() and bool((links < -1).any()):
            raise ValueError(
                f"links has the entry {int(links.min())}, an index or -1 for unknown is needed."
            )
        return links.to(torch.int64)


def _put_together(num_items: int, parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """One tensor [num_items, ...] of those of some items each."""
    whole = parts[0][1].new_empty(num_items, *parts[0][1].shape[1:])
    for items, part in parts:
        whole[items] = part
    return whole


def _probes(h: Tensor) -> Tensor:
    """h [..., num_subcarriers] at 16 subcarriers of the whole band, or at all if there are few."""
    num = h.shape[-1]
    if num <= 2 * _NUM_RUNS * _RUN:
        return h.contiguous()
    starts = [(number + 1) * num // (_NUM_RUNS + 1) for number in range(_NUM_RUNS)]
    return torch.cat([h[..., start : start + _RUN] for start in starts], dim=-1)


def each(num: int) -> list[Symbols]:
    """OFDM symbols each on its own."""
    return [(slice(i, i + 1),) for i in range(num)]


def _alike(values: Sequence[Tensor], num: int) -> list[Symbols]:
    """Symbols in groups of equal values [..., num_ofdm_symbols, n]."""
    values = [v for v in values if not bool((v[..., 1:, :] == v[..., :1, :]).all())]
    groups: list[list[slice]] = []
    for i in range(num):
        for group in groups:
            first, last = group[0].start, group[-1]
            if all(torch.equal(v.select(-2, i), v.select(-2, first)) for v in values):
                if last.stop == i:
                    group[-1] = slice(last.start, i + 1)
                else:
                    group.append(slice(i, i + 1))
                break
        else:
            groups.append([slice(i, i + 1)])
    return [tuple(group) for group in groups]


def at_symbols(value: Tensor, groups: Sequence[Symbols], num: int) -> Tensor:
    """A value [..., num_groups, n] of each group at each of its symbols; a view if it is one."""
    if len(groups) == 1:
        return value.expand(*value.shape[:-2], num, -1)
    group_of = {
        symbol: group
        for group, runs in enumerate(groups)
        for run in runs
        for symbol in range(run.start, run.stop)
    }
    return take(value, -2, [group_of[symbol] for symbol in range(num)])


def check_shape(name: str, tensor: Tensor, shape: Sequence[int | None]) -> None:
    """Refuse a tensor of another shape; None stands for any size."""
    sizes = list(tensor.shape)
    if len(sizes) != len(shape) or any(
        wanted is not None and size != wanted for size, wanted in zip(sizes, shape, strict=True)
    ):
        wanted_text = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has the shape {sizes}, [{wanted_text}] is needed.")


def check_complex(**tensors: Tensor) -> None:
    """Refuse real resource grids and channels."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_complex():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} is {kind}, a complex tensor is needed.")


def partners(stream_management: StreamManagement) -> tuple[list[int], list[int]]:
    """The one receiver of each transmitter, and the one transmitter of each receiver.

    :raises ValueError: if a transmitter serves several receivers, or the other way round
    """
    association = torch.as_tensor(stream_management.rx_tx_association)
    num_rx, num_tx = association.shape
    if num_rx != num_tx or bool((association.sum(0) != 1).any() | (association.sum(1) != 1).any()):
        raise ValueError(
            f"stream_management has {num_tx} transmitters and {num_rx} receivers, SVD "
            "transmission needs one receiver for each transmitter."
        )
    return association.argmax(0).tolist(), association.argmax(1).tolist()


def check_noise(
    no: float | Tensor, shape: Sequence[int], dtype: torch.dtype, device: str
) -> Tensor:
    """Noise power as [batch_size, num_rx, num_rx_ant], each or 1, from its first n dimensions."""
    noise = torch.as_tensor(no, dtype=dtype, device=device)
    given = list(noise.shape)
    noise = noise[(..., *(None,) * (3 - noise.dim()))]
    try:
        noise.broadcast_to(list(shape))
    except RuntimeError:
        raise ValueError(
            f"no has the shape {given}, the first dimensions of {list(shape)} are needed."
        ) from None
    if not is_traced() and not bool((noise >= 0).all()):
        raise ValueError("no has negative entries or NaN, it is a noise power.")
    return noise


def collapse(value: Tensor, dim: int) -> Tensor:
    """Reduce a dimension along which all entries are equal to size one."""
    if value.shape[dim] == 1:
        return value
    first = value.narrow(dim, 0, 1)
    if value.stride(dim) == 0 or (not is_traced() and bool((value == first).all())):
        return first
    return value


def take(tensor: Tensor, dim: int, index: Sequence[int]) -> Tensor:
    """Entries along a dimension: a view where they are consecutive, else a copy."""
    start = index[0]
    if list(index) == list(range(start, start + len(index))):
        return tensor.narrow(dim, start, len(index))
    return tensor.index_select(dim, torch.tensor(list(index), device=tensor.device))


def in_rows(x: Tensor, dims: tuple[int, int, int, int]) -> Tensor:
    """A permuted copy of x [batch_size, ..., tile], a tile of a tensor in Sionna's layout.

    Copied into the cache as it lies, then transposed there: half the time of one strided copy from
    memory.
    """
    return x.contiguous().permute(dims).contiguous()


def pieces(x: Tensor) -> list[slice]:
    """A tile [batch_size, tile, ...] in pieces whose products with a filter stay in the cache."""
    num = x.shape[1]
    step = _PIECE if x.device.type == "cpu" and not is_traced() else max(num, 1)
    return [slice(i, min(i + step, num)) for i in range(0, num, step)]


def moved(part: slice, runs: Sequence[tuple[slice, slice]]) -> slice:
    """The slice that corresponds to a part of one of the runs' first slices."""
    for here, there in runs:
        if here.start <= part.start < here.stop:
            shift = there.start - here.start
            return slice(part.start + shift, part.stop + shift)
    raise ValueError(f"{part} lies in none of the runs.")


def split(parts: Sequence[slice], cuts: Sequence[slice]) -> list[slice]:
    """The intersections of two lists of ascending slices."""
    both = [
        slice(max(part.start, cut.start), min(part.stop, cut.stop))
        for part in parts
        for cut in cuts
    ]
    return [part for part in both if part.start < part.stop]


def _runs(index: list[int]) -> list[tuple[slice, slice]]:
    """Consecutive stretches of ascending indices: positions in the list, and the indices."""
    starts = [i for i in range(len(index)) if i == 0 or index[i] != index[i - 1] + 1]
    stops = [*starts[1:], len(index)]
    return [
        (slice(i, j), slice(index[i], index[i] + j - i)) for i, j in zip(starts, stops, strict=True)
    ]


@contextmanager
def _finite(a: Tensor) -> Iterator[None]:
    """Tell of a channel that is not finite, on which decompositions on a CPU fail."""
    try:
        yield
    except RuntimeError:
        check_finite(a, a.new_full((), torch.nan))
        raise


def check_finite(a: Tensor, total: Tensor) -> None:
    """Refuse a channel with NaN or infinite entries where a total derived from it shows it.

    A singular but finite channel gives NaN at its subcarriers only, as in Sionna.
    """
    if not bool(torch.isfinite(total)) and not bool(torch.isfinite(a).all()):
        raise ValueError("The channel has NaN or infinite entries, finite ones are needed.")
