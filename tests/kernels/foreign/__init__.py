"""The kernels of another processor, in its emulator, in the place of this one's.

``make arm`` builds them and names the command that runs them; the tests of kernels then take them
where they would take the library.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import struct
import subprocess
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes import library
from neumatc_mimo.kernels.lanes.library import Library

# The runner of runner.cpp with the library, in an emulator: one line, as of a shell.
VARIABLE = "NEUMATC_FOREIGN_LANES"


def install() -> None:
    """Take the kernels of ``NEUMATC_FOREIGN_LANES``, where it is set."""
    command = os.environ.get(VARIABLE)
    if command:
        handle = ForeignHandle(shlex.split(command))
        library._found = functools.cache(lambda: _found(handle))


def _found(handle: ForeignHandle) -> Library | str:
    wanted = os.environ.get(library.VARIABLE, "")
    if wanted:
        if wanted == "off":
            return f"turned off by {library.VARIABLE}=off"
        return f"{library.VARIABLE}={wanted} is not one of the variants that run here: foreign"
    return ForeignLibrary(handle, 0, "foreign")


class ForeignHandle:
    """A process of the emulator.

    :param command: that starts it
    """

    def __init__(self, command: list[str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe)

    def call(self, name: str, given: ctypes.Structure, number: int, pointed: dict[str, Any]) -> int:
        """What a function says, called with a structure.

        :param number: of the variant
        :param pointed: tensors and arrays whose addresses the structure has, by its fields;
            tensors become what the call has made of them
        """
        blocks: dict[int, tuple[memoryview, int]] = {}
        pointers = []
        for field, value in pointed.items():
            begin, memory = _memory(value)
            _, block = blocks.setdefault(begin, (memory, len(blocks)))
            pointers += [getattr(type(given), field).offset, block, _address(value) - begin]
        self._send(_sized(f"neumatc_lanes_{name}".encode()), _sized(bytes(given)), _int(number))
        self._send(_int(len(blocks)), *(_sized(memory) for memory, _ in blocks.values()))
        self._send(_int(len(pointers) // 3), *map(_int, pointers))
        assert self._process.stdin is not None
        self._process.stdin.flush()
        said: int = struct.unpack("q", self._receive(8))[0]
        for memory, _ in blocks.values():
            memory[:] = self._receive(len(memory))
        return said

    def _send(self, *parts: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"".join(parts))

    def _receive(self, size: int) -> bytes:
        assert self._process.stdout is not None
        answer = self._process.stdout.read(size)
        if len(answer) < size:
            raise RuntimeError(f"The emulator has ended, with {self._process.wait()}.")
        return answer


class ForeignLibrary(Library):
    """The library of another processor."""

    def _invoke(self, name: str, structure: type[ctypes.Structure], values: dict[str, Any]) -> int:
        arrays = {field: library._array(value) for field, value in values.items()}
        pointed = {f: v for f, v in arrays.items() if isinstance(v, Tensor | ctypes.Array)}
        plain = {field: value for field, value in arrays.items() if field not in pointed}
        return int(self.handle.call(name, structure(**plain), self.number, pointed))

    def is_constant(
        self, address: int, rows: Sequence[int], symbols: int, step: int, size: int
    ) -> bool:
        # Comparing bytes is the C library's work on every processor.
        texts = (
            [ctypes.string_at(address + row + s * step, size) for s in range(symbols)]
            for row in rows
        )
        return all(text == first for first, *others in texts for text in others)


def _memory(value: Tensor | ctypes.Array[Any]) -> tuple[int, memoryview]:
    """Where the memory begins that a value lies in, and all of it."""
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        whole = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        return storage.data_ptr(), memoryview(whole).cast("B")
    return ctypes.addressof(value), memoryview(value).cast("B")


def _address(value: Tensor | ctypes.Array[Any]) -> int:
    return value.data_ptr() if isinstance(value, Tensor) else ctypes.addressof(value)


def _int(number: int) -> bytes:
    return struct.pack("q", number)


def _sized(data: bytes | memoryview) -> bytes:
    return _int(len(data)) + bytes(data)
