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

from neumatc_mimo.compiled import is_traced
from neumatc_mimo.fused import Applied
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.solvers.base import Channels, Counts, Solver, tiles
from neumatc_mimo.solvers.exact import Exact

# Runs of neighbouring subcarriers, and their length, at which a channel is checked to be finite and
# constant over the OFDM symbols: a line of the cache holds eight of them.
_NUM_RUNS, _RUN = 2, 8
# Subcarriers to which a filter is applied at once on a CPU: measured with 64 antennas and 14
# symbols; a fifth faster than 1008, and no power of two.
_PIECE = 336


class Part(NamedTuple):
    """A solver's answer for a tile of subcarriers.

    :param tile: subcarriers
    :param answer: of the operation
    :param keep: gives what the function ``make`` makes of it, as kept under ``name`` if it is
        known from an earlier call
    :param applied: products with the component that the answer leaves out, or None
    """

    tile: slice
    answer: Any
    keep: Callable[..., Any]
    applied: Applied | None


class SolverBlock(Block):
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
    ) -> None:
        super().__init__(precision=precision, device=device)
        _check_type("resource_grid", resource_grid, ResourceGrid)
        _check_type("stream_management", stream_management, StreamManagement)
        _check_type("solver", solver, Solver)
        if certify not in ("link", "call", None):
            raise ValueError(f'certify is {certify!r}, it must be "link", "call" or None.')
        if tolerance is not None:
            _check_type("tolerance", tolerance, Tolerance)
        if time_varying not in (None, True, False):
            raise ValueError(f"time_varying is {time_varying!r}, it must be None, True or False.")
        self._resource_grid = resource_grid
        self._stream_management = stream_management
        self._solver = solver
        self._certify = certify
        self._tolerance = tolerance
        self._time_varying = time_varying
        self.stats = Counts()

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

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(solver={self._solver!r}, certify={self._certify!r}, "
            f"precision={self.precision!r}, device={self.device!r}, stats={self.stats})"
        )

    def _groups(self, h: Tensor, *, constant: bool = True) -> list[slice]:
        """OFDM symbols that share their matrices: all of them, or each on its own.

        :param h: [..., num_ofdm_symbols, num_subcarriers]
        :param constant: Whether all that the matrices depend on beside h is constant
        """
        if self._is_constant(h) and constant:
            return [slice(0, h.shape[-2])]
        return [slice(i, i + 1) for i in range(h.shape[-2])]

    def _is_constant(self, h: Tensor) -> bool:
        """Whether h is the same for all OFDM symbols.

        Comparing all of h costs more than the block (188 MB for a slot of 14 symbols), so symbols
        are compared bit by bit at probe subcarriers. NaN and infinite entries are refused there.
        """
        if h.stride(-2) == 0:
            h = h[..., :1, :]
        if is_traced():
            return h.shape[-2] == 1 if self._time_varying is None else not self._time_varying
        probes = _probes(h)
        _check_finite(probes, probes.sum())
        if h.shape[-2] == 1 or self._time_varying is not None:
            return h.shape[-2] == 1 or not self._time_varying
        return bool((probes[..., 1:, :] == probes[..., :1, :]).all())

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
        solver: Solver | None = None,
    ) -> Iterator[Part]:
        """Yield tiles of subcarriers, none across two ``cuts``, with the solver's answer there.

        :param a: [num_items, num_frequencies, m, n], a view
        :param no: [num_items], or [num_items, num_frequencies], which is computed exactly
        :param links: [num_items] or None
        :param products: Whether products with the operation's ``applied`` component will do
        :param solver: Another one than the block's

        :raises ValueError: If ``a`` is found to have NaN or infinite entries
        """
        if no is not None and no.dim() == 2:
            solver = Exact()
        solver = solver or self._solver
        channels = Channels(a, frequencies, no, links, products)
        with _finite(a):
            answers = solver.start(operation, channels, self._certify, self._tolerance)
        for tile in split(tiles(a, answers.entries(a)), cuts):
            with _finite(a):
                answer = operation.own(answers.tile(tile))
            if answers.reads_channel and not is_traced():
                # What is not finite shows in the last of the answer's tensors.
                _check_finite(a, answer[-1].sum())
            yield Part(tile, answer, partial(answers.keep, subcarriers=tile), answers.applied(tile))
        answers.finish()
        self._count(answers.counts)

    def _count(self, counts: Counts) -> None:
        # A traced counter would be a constant that asks for a new trace at every call.
        if not is_traced():
            self.stats.add(counts)

    def _check_links(self, links: Tensor | None, batch_size: int, num: int) -> Tensor | None:
        """Links as [batch_size, num], or None."""
        if links is None:
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


def _probes(h: Tensor) -> Tensor:
    """h [..., num_subcarriers] at 16 subcarriers of the whole band, or at all if there are few."""
    num = h.shape[-1]
    if num <= 2 * _NUM_RUNS * _RUN:
        return h.contiguous()
    starts = [(number + 1) * num // (_NUM_RUNS + 1) for number in range(_NUM_RUNS)]
    return torch.cat([h[..., start : start + _RUN] for start in starts], dim=-1)


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


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is a {type(value).__name__}, it must be a {kind.__name__}.")


@contextmanager
def _finite(a: Tensor) -> Iterator[None]:
    """Tell of a channel that is not finite, on which decompositions on a CPU fail."""
    try:
        yield
    except RuntimeError:
        _check_finite(a, a.new_full((), torch.nan))
        raise


def _check_finite(a: Tensor, total: Tensor) -> None:
    """Refuse a channel with NaN or infinite entries where a total derived from it shows it.

    A singular but finite channel gives NaN at its subcarriers only, as in Sionna.
    """
    if not bool(torch.isfinite(total)) and not bool(torch.isfinite(a).all()):
        raise ValueError("The channel has NaN or infinite entries, finite ones are needed.")
