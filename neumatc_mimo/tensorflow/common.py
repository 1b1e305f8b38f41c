"""What all blocks share: checks, channels that are constant over a slot, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Unpack

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sionna.phy import Block, config
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_checks import check_type
from neumatc_mimo.foundation.block_settings import ProofKeywords, ProofSettings
from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.tensorflow.operation import Operation
from neumatc_mimo.tensorflow.solver import Exact, Solver

# Runs of neighbouring subcarriers, and their length, at which OFDM symbols are compared.
_NUM_RUNS, _RUN = 2, 8


class SolverBlock(Block):
    """Base of the blocks: a Sionna block whose matrices come from a solver.

    Blocks may be called eagerly, in a ``tf.function`` and with ``jit_compile=True``. All
    dimensions but the batch's have to be known when a graph is built.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or
        :class:`~neumatc_mimo.tensorflow.Exact`
    :param operation: What is asked of the solver
    :param effective: Whether it is asked on effective subcarriers only
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify``, ``tolerance`` and ``time_varying``, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`. With "link" links are
        recognised at all subcarriers; `None` is a pure query of the links that the caller names.
        A channel that is said not to vary has that of its first OFDM symbol in all.
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        operation: Operation,
        *,
        effective: bool,
        precision: str | None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        super().__init__(precision=precision)
        check_type("resource_grid", resource_grid, ResourceGrid)
        check_type("stream_management", stream_management, StreamManagement)
        check_type("solver", solver, Solver)
        self._settings = ProofSettings(**settings)
        self._resource_grid, self._stream_management = resource_grid, stream_management
        self._solver, self._operation = solver, operation
        self._num_tx = int(stream_management.num_tx)
        self._num_rx = int(stream_management.num_rx)
        self._num_streams = int(stream_management.num_streams_per_tx)
        self._num_symbols = int(resource_grid.num_ofdm_symbols)
        self._fft_size = int(resource_grid.fft_size)
        self._effective = np.asarray(resource_grid.effective_subcarrier_ind)
        index = self._effective if effective else np.arange(self._fft_size)
        spacing = float(resource_grid.subcarrier_spacing)
        grid = (index - self._fft_size // 2).astype(np.float64) * spacing
        certify, tolerance = self._settings.certify, self._settings.tolerance
        self._answers = solver.on(operation, grid, self.cdtype, certify, tolerance)
        self._exact = Exact().on(operation, grid, self.cdtype, None, None)
        self._counts = tf.Variable(tf.zeros(len(fields(Counts)), tf.int64), trainable=False)

    @property
    def stats(self) -> Counts:
        """How results came about, accumulated over calls. Subcarriers that a solver's certificate
        told to compute exactly are ``patched``, all others that are so ``exact``.
        """
        return Counts(*(int(count) for count in self._counts.numpy()))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(solver={self._solver!r}, certify={self._settings.certify!r}, "
            f"precision={self.precision!r}, stats={self.stats})"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # AutoGraph has nothing to convert here, and takes twice as long to find that out as it
        # takes to build the graph.
        return tf.autograph.experimental.do_not_convert(super().__call__)(*args, **kwargs)

    def _over_symbols(
        self,
        h: tf.Tensor,
        conditions: Sequence[tf.Tensor] | None,
        once: Callable[[], tuple[Any, tf.Tensor]],
        each: Callable[[], tuple[Any, tf.Tensor]],
    ) -> Any:
        """What ``once`` returns, if the channel is constant over the OFDM symbols, or ``each``.

        Both return outputs and counts. A graph has both ways, unless it is known which one when it
        is built.

        :param h: [..., num_ofdm_symbols, num_subcarriers]
        :param conditions: What else has to be true for ``once``; None where shapes rule it out
        """
        if conditions is None or (self._settings.time_varying and self._num_symbols > 1):
            outputs, counts = each()
        elif conditions := [*conditions, *self._constant(h)]:
            outputs, counts = tf.cond(tf.reduce_all(tf.stack(conditions)), once, each)
        else:
            outputs, counts = once()
        self._counts.assign_add(counts)
        return outputs

    def _constant(self, h: tf.Tensor) -> list[tf.Tensor]:
        """What has to be true for h to be constant over the OFDM symbols.

        Comparing all of h costs more than the block, so symbols are compared bit by bit at probe
        subcarriers.
        """
        if self._settings.time_varying is not None or self._num_symbols == 1:
            return []
        probes = tf.gather(h, _probes(h.shape[-1]), axis=-1)
        return [tf.reduce_all(probes == probes[..., :1, :])]

    def _check_links(self, links: Any, num: int) -> tf.Tensor | None:
        """Links as [batch_size, num], or None."""
        if links is None:
            return None
        links = tf.convert_to_tensor(links)
        if not links.dtype.is_integer:
            raise TypeError(f"links is {links.dtype.name}, integer link indices are needed.")
        if links.shape.rank not in (1, 2) or (links.shape.rank == 2 and links.shape[1] != num):
            raise ValueError(
                f"links has the shape {links.shape}, [batch_size] or [batch_size, {num}] is needed."
            )
        links = tf.cast(links, tf.int32)
        return links if links.shape.rank == 2 else tf.tile(links[:, None], [1, num])


class InPrecision:
    """A block of Sionna 1.2 in a precision, which it does not tell all of its parts.

    :param make: makes the block
    :param precision: "single" or "double"
    """

    def __init__(self, make: Callable[[], Block], precision: str) -> None:
        self._precision = precision
        with self._configured():
            self._block = make()

    def __call__(self, *inputs: Any) -> Any:
        with self._configured():
            return self._block(*inputs)

    @contextmanager
    def _configured(self) -> Iterator[None]:
        before, config.precision = config.precision, self._precision
        try:
            yield
        finally:
            config.precision = before


def check_channel(name: str, h: tf.Tensor, sizes: Sequence[int | None]) -> None:
    """Refuse a tensor that is not complex, of another shape, or of one that is not known yet.

    :param sizes: of all dimensions but the first; None stands for any
    """
    if not tf.is_tensor(h) or not h.dtype.is_complex:
        kind = h.dtype.name if tf.is_tensor(h) else type(h).__name__
        raise TypeError(f"{name} is {kind}, a complex tensor is needed.")
    given = h.shape.as_list() if h.shape.rank is not None else []
    wanted = ", ".join("any" if size is None else str(size) for size in sizes)
    if len(given) != len(sizes) + 1 or any(
        size is not None and known not in (size, None)
        for known, size in zip(given[1:], sizes, strict=True)
    ):
        raise ValueError(f"{name} has the shape {given}, [batch_size, {wanted}] is needed.")
    if None in given[1:]:
        raise ValueError(
            f"{name} has the shape {given} in this graph, all dimensions but the first must be "
            "known when it is built."
        )


def symbols_first(z: tf.Tensor) -> tf.Tensor:
    """[batch_size, ..., num_symbols, n] as [batch_size * num_symbols, ..., 1, n]."""
    rank = len(z.shape)
    z = tf.transpose(z, [0, rank - 2, *range(1, rank - 2), rank - 1])
    return tf.reshape(z, [-1, *z.shape[2 : rank - 1], 1, z.shape[-1]])


def symbols_last(z: tf.Tensor, num_symbols: int) -> tf.Tensor:
    """The inverse of :func:`symbols_first`."""
    rank = len(z.shape)
    z = tf.reshape(z, [-1, num_symbols, *z.shape[1 : rank - 2], z.shape[-1]])
    return tf.transpose(z, [0, *range(2, rank - 1), 1, rank - 1])


def for_symbols(no: tf.Tensor, num_symbols: int) -> tf.Tensor:
    """A noise power [batch_size or 1, ...] for the items of :func:`symbols_first`."""
    return no if no.shape[0] == 1 else tf.repeat(no, num_symbols, axis=0)


def partners(stream_management: StreamManagement) -> tuple[list[int], list[int]]:
    """The one receiver of each transmitter, and the one transmitter of each receiver.

    :raises ValueError: if a transmitter serves several receivers, or the other way round
    """
    association = np.asarray(stream_management.rx_tx_association)
    num_rx, num_tx = association.shape
    if num_rx != num_tx or (association.sum(0) != 1).any() or (association.sum(1) != 1).any():
        raise ValueError(
            f"stream_management has {num_tx} transmitters and {num_rx} receivers, SVD "
            "transmission needs one receiver for each transmitter."
        )
    return association.argmax(0).tolist(), association.argmax(1).tolist()


def first_dimensions(no: Any, dtype: tf.DType) -> tf.Tensor:
    """A noise power [batch_size, num_rx, num_rx_ant] of which the last dimensions may lack or be
    one, with three of them.
    """
    noise = tf.cast(tf.convert_to_tensor(no), dtype)
    if noise.shape.rank is None or noise.shape.rank > 3:
        raise ValueError(
            f"no has the shape {noise.shape}, the first dimensions of [batch_size, num_rx, "
            "num_rx_ant] are needed."
        )
    return noise[(..., *(None,) * (3 - noise.shape.rank))]


def _probes(num: int) -> NDArray[np.int64]:
    """16 subcarriers of the whole band, or all if there are few."""
    if num <= 2 * _NUM_RUNS * _RUN:
        return np.arange(num)
    starts = (np.arange(_NUM_RUNS) + 1) * num // (_NUM_RUNS + 1)
    return (starts[:, None] + np.arange(_RUN)).ravel()
