"""Times of all blocks, from ``python -m benchmarks.speed``."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.pages.registry import figure
from benchmarks.pages.results import RESULTS, origin, row, rows
from benchmarks.paper.sheet import Row, number
from neumatc_mimo.bench.sheet import origin_line, table

BASE = "speed/blocks"
_EXACT = "speed/exact"
_OFF = "off"
_LARGER = ("speed/blocks_16_128", "speed/blocks_32_256")


@figure
def speed_short() -> str:
    """The README's table: a slot in every block, with the kernels."""
    columns = ("one slot, ms", "Sionna", "exact", "queried")
    lines = []
    for block in _blocks(BASE):
        line = _line(block)
        theirs = line["Sionna"]
        short: Row = {name: line[name] for name in columns}
        short["exact, times Sionna's speed"] = f"{theirs / line['exact']:.0f}" if theirs else None
        short["queried, times exact's speed"] = line["exact over queried"]
        lines.append(short)
    return "\n".join(table(lines))


@figure
def speed() -> str:
    """A slot in every block, best ways with the kernels."""
    return "\n".join(table([_line(block) for block in _blocks(BASE)]))


@figure
def speed_origin() -> str:
    """Machine, versions and commit of the times."""
    return origin_line(origin(BASE))


@figure
def speed_all() -> str:
    """All columns of the base point."""
    kept = []
    for line in rows(BASE):
        # Neither depends on the kernels, so they stand once.
        if line["kernels"] == _OFF and line["way"] == "limit" and _variant() != _OFF:
            continue
        bound = line["bandwidth"]
        kept.append(
            {
                "block": line["block"],
                "kernels": line["kernels"] if line["way"] not in ("limit", *_THEIRS) else None,
                "way": line["way"],
                "ms": f"{number(line['ms'])} [{number(line['low'])}, {number(line['high'])}]",
                "over bandwidth": line["ms"] / bound,
                "bandwidth, ms": bound,
                "alone, ms": line["alone"],
                "same link again, ms": line["again"],
                "error, dB": None if line["error, dB"] is None else f"{line['error, dB']:.0f}",
                "repaid, slots": _repaid(line),
            }
        )
    return "\n".join(table(sorted(kept, key=lambda line: list(_blocks(BASE)).index(line["block"]))))


@figure
def sizes() -> str:
    """Exact and queried times along the number of users and antennas."""
    names = [name for name in (BASE, *_LARGER) if (RESULTS / f"{name}.json").is_file()]
    blocks = list(dict.fromkeys(block for name in names for block in _blocks(name)))
    lines = []
    for block in blocks:
        line: Row = {"block": block}
        for name in names:
            users, antennas = name.removeprefix(BASE).split("_")[1:] or ("8", "64")
            line[f"{users} × {antennas}, ms"] = (
                _pair(name, block) if block in _blocks(name) else None
            )
        lines.append(line)
    return "\n".join(table(lines))


@figure
def times_theirs(block: str, way: str = "exact") -> str:
    """How many times as fast as Sionna's a way is."""
    return f"{_ms(BASE, block, 'Sionna') / _ms(BASE, block, way):.0f} times"


@figure
def query_gain(block: str) -> str:
    """How many times as fast as the exact block its query is."""
    return f"{number(_ms(BASE, block, 'exact') / _ms(BASE, block, 'queried'))} times"


@figure
def milliseconds(block: str, way: str) -> str:
    """Of a slot, with the kernels."""
    return f"{number(_ms(BASE, block, way))} ms"


@figure
def training(block: str) -> str:
    """Seconds of the training of a link."""
    return f"{number(_of(BASE, block, 'queried', _variant())['training'])} s"


@figure
def repaid(block: str) -> str:
    """Slots after which training a link has paid."""
    return _repaid(_of(BASE, block, "queried", _variant())) or ""


@figure
def kernels_gain() -> str:
    """Exact blocks with and without the kernels."""
    lines = []
    sheets = [name for name in (BASE, _EXACT) if (RESULTS / f"{name}.json").is_file()]
    for name, block in [(sheet, block) for sheet in sheets for block in _blocks(sheet)]:
        without, with_them = (_ms(name, block, "exact", kernels) for kernels in (_OFF, _variant()))
        lines.append(
            {
                "exact": _quoted(block),
                "without, ms": without,
                "with, ms": with_them,
                "ratio": with_them / without,
            }
        )
    return "\n".join(table(lines))


@figure
def proofs() -> str:
    """What it takes to prove each answer, with the kernels."""
    lines: list[Row] = []
    for block in ("ZFPrecoder", "MMSEEqualizer", "SVDBeamformer", "SVDCombiner"):
        exact, queried, proven = (
            _ms(BASE, block, way) for way in ("exact", "queried", "queried, proven a call")
        )
        lines.append(
            {
                "one slot, ms": f"`{block}`",
                "exact": exact,
                "queried": queried,
                "queried, proven a call": proven,
                "proven over queried": proven / queried,
                "proven over exact": proven / exact,
            }
        )
    return "\n".join(table(lines))


_THEIRS = ("Sionna", "an SVD for each symbol")


def _quoted(block: str) -> str:
    """A block's name as code, with what it is given."""
    name, *given = block.split(", ")
    return ", ".join([f"`{name}`", *given])


def _line(block: str) -> Row:
    exact = _of(BASE, block, "exact", _variant())
    # What no model helps has exact rows alone.
    queried = _queried(BASE, block, _variant())
    theirs = [line for way in _THEIRS for line in rows(BASE, block=block, way=way)]
    kept = rows(BASE, block=block, way="exact, cached", kernels=_variant())
    without = _queried(BASE, block, _OFF)
    return {
        "one slot, ms": f"`{block}`",
        "Sionna": theirs[0]["ms"] if theirs else None,
        "exact": exact["ms"],
        "queried": queried["ms"] if queried else None,
        "exact over queried": exact["ms"] / queried["ms"] if queried else None,
        "bytes over bandwidth": exact["bandwidth"],
        "exact, no kernels": _ms(BASE, block, "exact", _OFF),
        "queried, no kernels": without["ms"] if without else None,
        "same link again: queried": queried["again"] if queried else None,
        "same link again: exact, kept": kept[0]["again"] if kept else None,
    }


def _queried(name: str, block: str, kernels: str) -> Row | None:
    """The row of a query; None where there is none."""
    found = rows(name, block=block, way="queried", kernels=kernels)
    return found[0] if found else None


def _pair(name: str, block: str) -> str:
    exact = _ms(name, block, "exact")
    # Not every operation is trained at every size.
    if not rows(name, block=block, way="queried", kernels=_variant()):
        return number(exact)
    queried = _ms(name, block, "queried")
    return f"{number(exact)}, {number(queried)} ({number(exact / queried)})"


def _blocks(name: str) -> dict[str, None]:
    """In their order."""
    return dict.fromkeys(line["block"] for line in rows(name))


def _variant() -> str:
    """Of the kernels that ran."""
    return str(rows(BASE)[0]["kernels"])


def _of(name: str, block: str, way: str, kernels: Any) -> Row:
    return row(name, block=block, way=way, kernels=kernels)


def _ms(name: str, block: str, way: str, kernels: str | None = None) -> float:
    return float(_of(name, block, way, kernels or _variant())["ms"])


def _repaid(line: Row) -> str | None:
    if line["training"] is None:
        return None
    slots = line["repaid, slots"]
    return "never" if slots is None else f"{math.ceil(slots):,}"
