"""The compiled library: where it lies, which of its variants runs here, and calls of it."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# "off" leaves all to PyTorch; the name of a variant takes that one.
VARIABLE = "NEUMATC_LANES"
# The library of another version of this file has another one.
_ABI = 14
_FILE = Path(__file__).with_name("_lanes.so")
# In the library's place, where building it was tried: why there is none.
_NOTE = "_not_built.txt"
_REMEDY = (
    "with CMake and GCC 12 or Clang, make kernels builds it in a checkout, "
    "installing the package again elsewhere"
)


class SourceKind(IntEnum):
    """``Source`` of ``native/call.h``: where filters come from."""

    DEFINITE = 0
    SINGULAR = 1
    LEAKAGE = 2
    WMMSE = 3
    MAX_MIN = 4
    KNOWN = 5
    EXPANSION = 6
    USERS = 7
    COVARIANCE = 8
    PROVEN_DEFINITE = 9
    PROVEN_SINGULAR = 10
    RECALLED_FILTER = 11
    RECALLED_COLUMNS = 12
    RECALLED_VECTORS = 13
    FORCING = 14
    RECALLED_FORCING = 15


# Components of a link that a kernel reads at most.
MOST_LATENTS = 2
_COUNTS = ("source", "emitter", "wide", "threads", "rows", "columns")


_LATENT_NUMBERS = ("row_step", "node_step", "nodes", "size", "columns", "scale_step")

# Of ``Latent``, by which a call has several.
_LATENT: tuple[tuple[str, Any], ...] = (
    *((name, ctypes.c_void_p) for name in ("rows", "scale")),
    *((n, ctypes.c_int64) for n in _LATENT_NUMBERS),
    *((name, ctypes.c_void_p) for name in ("weight", "given")),
)


class Call(ctypes.Structure):
    """``Call`` of ``native/call.h``, which explains the fields."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in _COUNTS),
        ("items", ctypes.c_int64),
        ("h", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("h_item", "h_row", "h_column")),
        ("noise", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("noise_item", "noise_step")),
        ("whitening", ctypes.c_void_p),
        *((n, ctypes.c_int64) for n in ("whitening_item", "whitening_column", "whitening_step")),
        *((name, ctypes.c_int64) for name in ("iterations", "antennas")),
        ("chirp", ctypes.c_void_p),
        ("latent", ctypes.c_void_p),
        *((n, ctypes.c_int64) for n in ("latent_item", "latent_row", "functions", "terms")),
        ("lead", ctypes.c_void_p),
        ("lead_item", ctypes.c_int64),
        ("weight", ctypes.c_void_p),
        ("weight_item", ctypes.c_int64),
        ("factor", ctypes.c_void_p),
        ("factor_item", ctypes.c_int64),
        ("place", ctypes.c_void_p),
        *((name, ctypes.c_double) for name in ("quality", "range_error")),
        ("read", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("read_item", "read_row")),
        ("out", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("out_item", "out_row", "symbols")),
        *((name, ctypes.c_void_p) for name in ("read_symbol", "out_symbol")),
        ("stretches", ctypes.c_int64),
        ("stretch", ctypes.c_void_p),
        ("amplification", ctypes.c_void_p),
        ("amplification_item", ctypes.c_int64),
        ("effective", ctypes.c_void_p),
        *((n, ctypes.c_int64) for n in ("effective_item", "effective_row", "effective_stream")),
        ("no_eff", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("no_eff_item", "no_eff_row", "streams")),
        ("stream", ctypes.c_void_p),
        ("llr", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("llr_item", "llr_row", "bits", "sums", "hard")),
        *((n, ctypes.c_void_p) for n in ("levels", "data_row", "data_begin", "data_symbol")),
        ("grid_symbols", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("run_at", "run")),
        *((name, ctypes.c_void_p) for name in ("link", "start", "order")),
        *(
            (f"latent_{number}_{name}", kind)
            for number in range(MOST_LATENTS)
            for name, kind in _LATENT
        ),
        *((name, ctypes.c_void_p) for name in ("frequency", "gain", "delay")),
        ("places", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("place_item", "place_at")),
    )


class Look(ctypes.Structure):
    """``Look`` of ``native/call.h``, which explains the fields."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "subcarriers", "looks")),
        ("channel", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("channel_row", "channel_antenna")),
        *((name, ctypes.c_void_p) for name in ("antenna", "expected", "order")),
        *((name, ctypes.c_void_p) for name in ("frequency", "gain", "delay")),
        *((name, ctypes.c_void_p) for name in ("distance", "power")),
    )


class Recognition(ctypes.Structure):
    """``Recognition`` of ``native/call.h``, which explains the fields."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "antennas", "probes", "links")),
        ("channel", ctypes.c_void_p),
        ("channel_row", ctypes.c_int64),
        ("channel_antenna", ctypes.c_int64),
        ("channel_subcarrier", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("probe", "frequency", "reach")),
        *((name, ctypes.c_void_p) for name in ("reference", "power", "norm", "delays")),
        *((name, ctypes.c_int64) for name in ("named", "candidate", "any_gain")),
        *((name, ctypes.c_double) for name in ("alike", "deviation", "tie")),
        *((name, ctypes.c_void_p) for name in ("order", "gain", "delay")),
    )


class Local(ctypes.Structure):
    """``Local`` of ``native/call.h``, which explains the fields."""

    _fields_ = (
        ("threads", ctypes.c_int32),
        *((name, ctypes.c_int64) for name in ("items", "points", "functions", "columns", "taps")),
        *((name, ctypes.c_void_p) for name in ("first", "value", "weight")),
        *((name, ctypes.c_int64) for name in ("weight_item", "band")),
        ("factor", ctypes.c_void_p),
        ("factor_item", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("target", "coefficient", "fitted")),
    )


class Proofs(ctypes.Structure):
    """``Proofs`` of ``native/call.h``, which explains the fields."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("threads", "rows", "columns")),
        *((name, ctypes.c_int64) for name in ("matrices", "powers")),
        ("channel", ctypes.c_void_p),
        ("channel_step", ctypes.c_int64),
        ("filter", ctypes.c_void_p),
        ("filter_step", ctypes.c_int64),
        ("gram", ctypes.c_void_p),
        ("gram_step", ctypes.c_int64),
        ("power", ctypes.c_void_p),
        ("steps", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("residual", "ratio", "range")),
    )


class Demapping(ctypes.Structure):
    """``Demapping`` of ``native/call.h``, which explains the fields."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("wide", "threads")),
        *((name, ctypes.c_int64) for name in ("bits", "sums", "hard")),
        ("levels", ctypes.c_void_p),
        ("number", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("y", "no")),
        ("no_step", ctypes.c_int64),
        ("llr", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Library:
    """The library, and the variant that was chosen.

    :param handle: as ctypes has it
    :param number: of the variant
    :param name: likewise
    """

    handle: Any
    number: int
    name: str

    def run(self, **values: Any) -> None:
        """One call of a kernel with the threads that PyTorch may use.

        :param values: Fields of :class:`Call`; tensors and sequences of integers are passed by
            their addresses
        """
        self._spread("run", Call, values)

    def look(self, **values: Any) -> None:
        """A look at a channel.

        :param values: Fields of :class:`Look`, as for :meth:`run`
        """
        self._invoke("look", Look, values)

    def local(self, **values: Any) -> None:
        """Least squares of local functions with the threads that PyTorch may use.

        :param values: Fields of :class:`Local`, as for :meth:`run`
        """
        self._spread("local", Local, values)

    def proofs(self, **values: Any) -> None:
        """Pseudo-inverses: steps, or proofs at many noise powers, with the threads that PyTorch
        may use.

        :param values: Fields of :class:`Proofs`, as for :meth:`run`
        """
        self._spread("proofs", Proofs, values)

    def demap(self, **values: Any) -> None:
        """Demapping of symbols with the threads that PyTorch may use.

        :param values: Fields of :class:`Demapping`, as for :meth:`run`
        """
        self._spread("demap", Demapping, values)

    def _spread(self, name: str, structure: type[ctypes.Structure], values: dict[str, Any]) -> None:
        """Call a function that spreads its work over the threads that PyTorch may use."""
        if self._invoke(name, structure, values | {"threads": torch.get_num_threads()}):
            raise MemoryError("There is no memory for a kernel of subcarriers in lanes.")

    def recognise(self, **values: Any) -> int:
        """The link that a channel is, -1 where it is none.

        :param values: Fields of :class:`Recognition`, as for :meth:`run`
        """
        link = int(self._invoke("recognise", Recognition, values))
        if link < -1:
            raise MemoryError("There is no memory for recognising a link.")
        return link

    def _invoke(self, name: str, structure: type[ctypes.Structure], values: dict[str, Any]) -> Any:
        """What a function of the library says, called with a structure and the variant."""
        # Arrays live until the call ends.
        arrays = {name: _array(value) for name, value in values.items()}
        given = structure(**{name: _plain(value) for name, value in arrays.items()})
        return getattr(self.handle, f"neumatc_lanes_{name}")(ctypes.byref(given), self.number)

    def is_constant(
        self, address: int, rows: Sequence[int], symbols: int, step: int, size: int
    ) -> bool:
        """Whether the symbols of each row are the same, bit by bit; all in bytes.

        :param rows: where they begin, from the address on
        :param step: from one symbol to the next
        :param size: of a symbol
        """
        places = (ctypes.c_int64 * len(rows))(*rows)
        numbers = (ctypes.c_int64(n) for n in (len(rows), symbols, step, size))
        found = self.handle.neumatc_lanes_constant(ctypes.c_void_p(address), places, *numbers)
        return bool(found)


def loaded() -> Library | None:
    """The library, None where it is missing or turned off."""
    found = _found()
    return found if isinstance(found, Library) else None


def why_not() -> str | None:
    """Why there is no :func:`loaded`; None where there is one."""
    found = _found()
    return found if isinstance(found, str) else None


def forget() -> None:
    """Look for the library again when it is needed next: after a change of ``NEUMATC_LANES``."""
    _found.cache_clear()


@functools.cache
def _found() -> Library | str:
    """The library with its best variant that runs here, or why there is none."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "off":
        return f"turned off by {VARIABLE}=off"
    if not _FILE.is_file():
        note = _FILE.with_name(_NOTE)
        tried = f"{note.read_text(encoding='utf-8').strip()}; " if note.is_file() else ""
        return f"not built: {tried}{_REMEDY}"
    try:
        handle = ctypes.CDLL(str(_FILE))
        abi = handle.neumatc_lanes_abi()
    except (OSError, AttributeError) as error:
        return f"not loaded: {error}"
    if abi != _ABI:
        return f"not loaded: {_FILE} was built from another version, build it again"
    handle.neumatc_lanes_variant.restype = ctypes.c_char_p
    variants = _variants(handle)
    names = [name for name, runs in variants if runs]
    if wanted and wanted not in names:
        return f"{VARIABLE}={wanted} is not one of the variants that run here: {', '.join(names)}"
    for number, (name, runs) in enumerate(variants):
        if runs and wanted in ("", name):
            return Library(handle, number, name)
    return "no variant of it runs on this processor"


def _variants(handle: Any) -> list[tuple[str, bool]]:
    """Names of the variants, best first, and whether they run here."""
    variants: list[tuple[str, bool]] = []
    runs = ctypes.c_int32()
    while name := handle.neumatc_lanes_variant(len(variants), ctypes.byref(runs)):
        variants.append((name.decode(), bool(runs.value)))
    return variants


def _array(value: Any) -> Any:
    """A sequence of integers as an array in memory; anything else as it is."""
    if isinstance(value, Sequence):
        return (ctypes.c_int64 * len(value))(*value)
    return value


def _plain(value: Any) -> Any:
    """An address in the place of what lies in memory."""
    if isinstance(value, Tensor):
        return value.data_ptr()
    return ctypes.addressof(value) if isinstance(value, ctypes.Array) else value
