"""Memory of results: used again when a caller has dropped them.

A result of a slot is some 20 MB, one of a batch hundreds. New memory of that size comes from the
system page by page, each of which it clears first: that takes longer than a kernel takes to compute
what is written there. So the memory of a result that nothing refers to any more is kept for the
next one. What a caller holds, views of it and arrays that share its memory included, is never
written again.
"""

from __future__ import annotations

import os
import weakref
from collections import deque

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced

Bytes = npt.NDArray[np.uint8]

# Megabytes of dropped results that are kept at most; 0 keeps none.
VARIABLE = "NEUMATC_KEPT_MEMORY"
_DEFAULT = 512
# Bytes of a result from which on it pays, and by how much a kept piece may be too large.
_LEAST, _SLACK = 2**20, 1.25


class _Kept:
    """Pieces of memory that nothing refers to, oldest first.

    Finalizers give pieces back at any moment, also while one is taken: each step is one operation
    of a deque.
    """

    def __init__(self) -> None:
        self._pieces: deque[Bytes] = deque()

    def take(self, size: int) -> Bytes:
        """A piece of at least so many bytes."""
        for piece in list(self._pieces):
            if size <= piece.nbytes <= _SLACK * size:
                try:
                    self._pieces.remove(piece)
                except ValueError:
                    continue  # another thread was quicker
                return piece
        return np.empty(size, dtype=np.uint8)

    def give(self, piece: Bytes) -> None:
        """Keep a piece for later; the oldest ones go where that is too much."""
        self._pieces.append(piece)
        most = _most()
        while self.size > most:
            try:
                self._pieces.popleft()
            except IndexError:
                break

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        return sum(piece.nbytes for piece in list(self._pieces))

    def clear(self) -> None:
        """Give all of it back to the system."""
        self._pieces.clear()


kept = _Kept()


def new_result(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of the type and on the device of another, for what a block returns.

    Large ones on a CPU lie in memory of earlier results if there is some; a tensor of that kind
    cannot be resized.
    """
    size = like.element_size() * int(np.prod(shape)) if not is_traced() else 0
    if size < _LEAST or like.device.type != "cpu" or type(like) is not Tensor or not _most():
        return like.new_empty(*shape)
    piece = kept.take(size)
    # The object that the tensor's memory belongs to: it goes when the last reference has gone.
    owner = piece[:size]
    weakref.finalize(owner, kept.give, piece).atexit = False
    return torch.from_numpy(owner).view(like.dtype).view(shape)


def repeated(value: Tensor, num: int) -> Tensor:
    """A value [..., 1, n] as [..., num, n].

    On a CPU it is written out by one core: PyTorch has all of them copy what is no work for one,
    and waits for each where another process is busy. Else, and where it is differentiated, a view.
    """
    view = value.expand(*value.shape[:-2], num, -1)
    plain = type(value) is Tensor and value.device.type == "cpu" and not is_traced()
    if not plain or is_differentiated(value):
        return view
    whole = new_result(value, *view.shape)
    np.copyto(whole.numpy(), view.detach().numpy())
    return whole


def _most() -> int:
    """Bytes that are kept at most."""
    try:
        return int(float(os.environ.get(VARIABLE, _DEFAULT)) * 2**20)
    except ValueError:
        return _DEFAULT * 2**20
