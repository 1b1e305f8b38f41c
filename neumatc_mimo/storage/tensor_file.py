"""Arrays in safetensors files, read and written without mapping a file into memory.

A file is the length of its header in eight bytes, the header in JSON, which names each tensor's
type, shape and place, and the bytes of the tensors one after the other
(https://github.com/huggingface/safetensors). What is read lies in memory of its own: a file that is
changed or cut short later changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.storage.names import shown

Array = NDArray[Any]

# NumPy has no type for the others that the format knows; nothing here writes them.
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}

# As the format's own library has it.
_MOST_HEADER_BYTES = 100_000_000
_METADATA = "__metadata__"
_MOST_DIMENSIONS = 16

# Bytes that are hashed while they are still in the processor's cache.
_CHUNK = 2**20


class Entry(NamedTuple):
    """A tensor in a file.

    :param dtype: its type's name in the format
    :param shape: its shape
    :param start: place of its first byte, counted from the end of the header
    :param stop: place behind its last one
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class TensorFile:
    """An open file, whose header is sound.

    :param entries: tensors by name
    :param metadata: texts in the header
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    _raw: BufferedReader
    _begin: int

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._entry(name).shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of a tensor."""
        return np.dtype(_DTYPES[self._entry(name).dtype])

    def read(self, name: str, digest: str, into: Array | None = None) -> Array:
        """A tensor, in memory of its own.

        :param digest: what :func:`digest_of` has to give for it
        :param into: contiguous, of its type and shape; where to read it to

        :raises ValueError: if there is no such tensor, or it is another one
        """
        entry = self._entry(name)
        array = np.empty(entry.shape, self.dtype(name)) if into is None else into
        hashed = _begun(entry.dtype, entry.shape)
        self._raw.seek(self._begin + entry.start)
        for piece in _chunks(array):
            if self._raw.readinto(piece) != len(piece):
                raise ValueError("it is shorter than it was")
            hashed.update(piece)
        if hashed.hexdigest() != digest:
            raise ValueError(f"the SHA-256 of {name} is another")
        return array

    def _entry(self, name: str) -> Entry:
        if name not in self.entries:
            raise ValueError(f"it lacks {name}")
        return self.entries[name]


@contextmanager
def opened(file: Path) -> Iterator[TensorFile]:
    """Open a file and check its header.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is no regular file, or its header does not tell what it holds
    """
    with open_regular(file) as raw:
        size = os.fstat(raw.fileno()).st_size
        length = int.from_bytes(raw.read(8), "little")
        if size < 8 or length > min(size - 8, _MOST_HEADER_BYTES):
            raise ValueError("its header is longer than the file")
        header = parsed(raw.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is no table")
        metadata = header.pop(_METADATA, {})
        if not isinstance(metadata, dict):
            raise ValueError("its metadata are no table")
        entries = {name: _entry(name, value) for name, value in header.items()}
        _check_places(entries, size - 8 - length)
        yield TensorFile(entries, metadata, raw, 8 + length)


def write_arrays(
    file: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Write arrays to a new file.

    :param metadata: texts for the header

    :return: their digests, see :func:`digest_of`
    :raises OSError: if the file cannot be written
    :raises ValueError: if the format has no name for the type of an array
    """
    # Large types first: each tensor then begins at a multiple of its type's size.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {} if metadata is None else {_METADATA: dict(metadata)}
    stop = 0
    for name in names:
        start, stop = stop, stop + arrays[name].nbytes
        header[name] = {
            "dtype": dtype_name(arrays[name]),
            "shape": list(arrays[name].shape),
            "data_offsets": [start, stop],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digests = {}
    with file.open("xb") as raw:
        raw.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            hashed = _begun(dtype_name(arrays[name]), arrays[name].shape)
            for piece in _chunks(_as_written(arrays[name])):
                raw.write(piece)
                hashed.update(piece)
            digests[name] = hashed.hexdigest()
    return digests


def digest_of(array: Array) -> str:
    """SHA-256, in hex, of an array's type, shape and bytes."""
    hashed = _begun(dtype_name(array), array.shape)
    for piece in _chunks(_as_written(array)):
        hashed.update(piece)
    return hashed.hexdigest()


def dtype_name(array: Array) -> str:
    """Name of an array's type in the format.

    :raises ValueError: if it has none
    """
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise ValueError(f"An array of {array.dtype} cannot be written, real numbers can.")
    return _NAMES[dtype]


@contextmanager
def open_regular(file: Path) -> Iterator[BufferedReader]:
    """Open a file for reading; what is none, such as a pipe that nobody writes to, is refused.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is no regular file
    """
    # Without waiting: opening a pipe blocks until somebody writes to it.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is no regular file")
    with os.fdopen(descriptor, "rb") as raw:
        yield raw


def read_regular(file: Path, most: int) -> bytes:
    """The bytes of a file that has at most so many.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is no regular file, or has more of them
    """
    with open_regular(file) as raw:
        content = raw.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content


def parsed(content: bytes) -> Any:
    """JSON that others wrote.

    :raises ValueError: if it is none, or nested too deeply
    """
    try:
        return json.loads(content.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


_BINARY: int = getattr(os, "O_BINARY", 0)


def _entry(name: str, value: Any) -> Entry:
    """What a header says of a tensor."""
    try:
        dtype, shape, (start, stop) = value["dtype"], value["shape"], value["data_offsets"]
        sound = dtype in _DTYPES and len(shape) <= _MOST_DIMENSIONS
        sound = sound and all(_is_size(n) for n in (*shape, start, stop))
    except (TypeError, KeyError, ValueError):
        sound = False
    if not sound:
        raise ValueError(f"its header says of {shown(name)} {shown(value)}")
    if prod(shape) * np.dtype(_DTYPES[dtype]).itemsize != stop - start:
        raise ValueError(f"{shown(name)} takes other bytes than its shape")
    return Entry(dtype, tuple(shape), start, stop)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _check_places(entries: Mapping[str, Entry], size: int) -> None:
    """Refuse tensors that do not fill the file one after the other."""
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.stop)):
        if entry.start != end:
            raise ValueError("its tensors do not lie one behind the other")
        end = entry.stop
    if end != size:
        raise ValueError(f"its tensors take {end} bytes, it has {size} of them")


def _begun(dtype: str, shape: tuple[int, ...]) -> Any:
    """A hash that has taken type and shape."""
    return hashlib.sha256(f"{dtype} {list(shape)}\n".encode())


def _as_written(array: Array) -> Array:
    """An array as files have it."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _chunks(array: Array) -> Iterator[memoryview]:
    """The bytes of a contiguous array, some at a time."""
    content = memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    for start in range(0, len(content), _CHUNK):
        yield content[start : start + _CHUNK]


__all__ = [
    "Array",
    "Entry",
    "TensorFile",
    "digest_of",
    "dtype_name",
    "open_regular",
    "opened",
    "parsed",
    "read_regular",
    "write_arrays",
]
