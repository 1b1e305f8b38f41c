"""Where filters come from: the operations whose results the kernels compute."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.library import SourceKind
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.block_diagonalization import BlockDiagonalization
from neumatc_mimo.operations.max_min import MaxMin
from neumatc_mimo.operations.precoding import SumPowerPrecoding
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.operations.slnr import SLNR
from neumatc_mimo.operations.svd import SVD
from neumatc_mimo.operations.tracking import chirp
from neumatc_mimo.operations.wmmse import WMMSE

# Beyond, LAPACK's blocked factorisations gain on the kernels, and its eigenvectors on rotations: of
# a channel's rows, or of those of a user.
MOST_ROWS, _MOST_ROTATED = 64, 16


@dataclass(frozen=True)
class Source:
    """A way to fill a chunk of subcarriers from the channel.

    :param kind: which one of the library's
    :param num_streams: that are sent; None for as many as there are rows
    :param num_iterations: at most
    :param antennas_per_user: rows of each user
    :param own_noise: the noise power where a caller gives none, or zero
    :param proven: which one queries such results and proves them, if any does
    """

    kind: SourceKind
    num_streams: int | None = None
    num_iterations: int = 0
    antennas_per_user: int = 1
    own_noise: float | None = None
    proven: SourceKind | None = None

    def noise(self, no: Tensor | None, like: Tensor) -> Tensor | None:
        """The noise power that it computes with.

        :param no: [num_items, 1 or num_subcarriers] or None
        :param like: of the precision that it is to have
        """
        if self.own_noise is None:
            return no
        own = torch.full((1, 1), self.own_noise, dtype=like.dtype.to_real(), device=like.device)
        return own.expand(len(like), 1) if no is None else torch.where(no > 0, no, own)


def source_of(operation: Operation, num_rows: int, num_cols: int) -> Source | None:
    """The source of an operation's results for matrices of this shape, None where there is none.

    :param operation: Another one that derives from one of ours may mean another result
    """
    # More rows than columns are dependent, which only double precision tells apart.
    if not 0 < num_rows <= min(num_cols, MOST_ROWS):
        return None
    find = _SOURCES.get(type(operation))
    return None if find is None else find(operation, num_rows)


def receiving_source_of(operation: Operation, num_rows: int, num_cols: int) -> Source | None:
    """The source of receive filters that belong to an operation's results, likewise; streams may be
    more than antennas.
    """
    if type(operation) is not PseudoInverse:
        return None
    if num_rows > num_cols:
        return Source(SourceKind.COVARIANCE) if num_rows <= MOST_ROWS else None
    return source_of(operation, num_rows, num_cols)


def _pseudo_inverse(operation: Operation, num_rows: int) -> Source:
    del operation, num_rows
    return Source(SourceKind.DEFINITE, proven=SourceKind.PROVEN_DEFINITE)


def _svd(operation: Operation, num_rows: int) -> Source | None:
    assert isinstance(operation, SVD)
    if operation.num_streams > num_rows or num_rows > _MOST_ROTATED:
        return None
    return Source(SourceKind.SINGULAR, operation.num_streams, proven=SourceKind.PROVEN_SINGULAR)


def _slnr(operation: Operation, num_rows: int) -> Source | None:
    assert isinstance(operation, SLNR)
    return _by_user(operation, num_rows, operation.no)


def _block_diagonalization(operation: Operation, num_rows: int) -> Source | None:
    assert isinstance(operation, BlockDiagonalization)
    return _by_user(operation, num_rows, None)


def _by_user(operation: SLNR, num_rows: int, own_noise: float | None) -> Source | None:
    num = operation.antennas_per_user
    if num_rows % num or num > _MOST_ROTATED:
        return None
    kind = SourceKind.LEAKAGE if num == 1 else SourceKind.USERS
    return Source(kind, antennas_per_user=num, own_noise=own_noise)


def _sum_power(kind: SourceKind, operation: Operation, num_rows: int) -> Source:
    del num_rows
    assert isinstance(operation, SumPowerPrecoding)
    return Source(kind, num_iterations=operation.num_iterations, own_noise=operation.no)


_SOURCES: dict[type[Operation], Callable[[Any, int], Source | None]] = {
    PseudoInverse: _pseudo_inverse,
    SVD: _svd,
    SLNR: _slnr,
    BlockDiagonalization: _block_diagonalization,
    WMMSE: functools.partial(_sum_power, SourceKind.WMMSE),
    MaxMin: functools.partial(_sum_power, SourceKind.MAX_MIN),
}


@functools.lru_cache(maxsize=16)
def conjugate_chirp(num: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What singular vectors take their phase from, [num]."""
    return chirp(num, torch.empty(0, dtype=dtype, device=device)).conj().resolve_conj()
