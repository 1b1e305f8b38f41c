"""Values that are kept between calls, bounded in bytes and free of the call that made them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from neumatc_mimo.tensors.autocast import full_precision

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Values by plain hashable keys; the least recently used ones go where they take too much.

    Threads may share it. A copy of it, by ``pickle`` or ``copy``, is empty: what is kept can be
    made again.

    :param max_bytes: bytes of all values together; a value of more is given and not kept

    :raises ValueError: if ``max_bytes`` is negative
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes}, zero or more is needed.")
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._num_bytes = 0
        self._num_made = 0

    def get(self, key: K, make: Callable[[], V], num_bytes: Callable[[V], int]) -> V:
        """The value of a key, made by ``make`` under :func:`outside_call` where it is not kept.

        Nothing waits for ``make``: two threads may make the same value, and both get the one that
        was kept first.

        :param num_bytes: bytes that a value takes, see :func:`storage_bytes`
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        with outside_call():
            value = make()
            size = num_bytes(value)
        with self._lock:
            self._num_made += 1
            if key not in self._kept and size <= self.max_bytes:
                self._kept[key] = value, size
                self._num_bytes += size
                while self._num_bytes > self.max_bytes:
                    _, (_, dropped) = self._kept.popitem(last=False)
                    self._num_bytes -= dropped
            return self._kept[key][0] if key in self._kept else value

    @property
    def num_bytes(self) -> int:
        """Bytes of the values that are kept."""
        return self._num_bytes

    @property
    def num_made(self) -> int:
        """How many values were made, those included that are not kept any more."""
        return self._num_made

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._kept.clear()
            self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["max_bytes"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"BoundedCache({self.max_bytes})"


@contextmanager
def outside_call() -> Iterator[None]:
    """The modes in which tensors are made that outlive a call: they may be used by any later one.

    No inference mode, whose tensors no gradient may flow through; no gradients, whose graph would
    live on; no autocast, whose halved precision is the caller's choice for this call alone.
    """
    with torch.inference_mode(False), torch.no_grad(), full_precision():
        yield


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the memory behind tensors; what several of them share counts once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def digest(tensor: Tensor) -> bytes:
    """A hash of a tensor's entries, bit by bit, its dtype and its shape, whatever its strides."""
    hashed = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=16)
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    hashed.update(plain.view(torch.uint8).numpy().data)
    return hashed.digest()
