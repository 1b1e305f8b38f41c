"""What large arrays cost, from ``python -m benchmarks.large``."""

from __future__ import annotations

from benchmarks.pages.registry import figure
from benchmarks.pages.results import RESULTS, origin, rows
from benchmarks.paper.sheet import Row, number
from neumatc_mimo.bench.sheet import origin_line, table

# Sheets in the order of their sizes, and how the page calls them.
_SIZES = {
    "8_64": "8 × 64",
    "16_128": "16 × 128",
    "32_256": "32 × 256",
    "64_256": "64 × 256",
    "64_1024": "64 × 1024, 1584 subcarriers",
    "400_mhz": "8 × 256, 400 MHz",
    "16_streams": "32 × 256, 16 streams, 40 ns",
    "16_streams_100_ns": "32 × 256, 16 streams, 100 ns",
    "16_streams_300_ns": "32 × 256, 16 streams, 300 ns",
}
_NONE = "`python -m benchmarks.large` writes it."
_RIVALS = ("spline", "DFT", "randomised SVD")


@figure
def large_times() -> str:
    """A block and size a row: exact and queried, and what is interpolated."""
    lines: list[Row] = []
    for block, size, found in _blocks():
        ways = {str(row["way"]).split(",")[0]: row for row in found}
        exact, queried = ways["exact"], ways["queried"]
        rivals = {f"{name}, ms": ways[name]["ms"] if name in ways else None for name in _RIVALS}
        lines.append(
            {
                "block": block,
                "K × M": size,
                "exact, ms": exact["ms"],
                "queried, ms": queried["ms"],
                "exact over queried": queried["exact over it"],
                **rivals,
                "error of exact, dB": exact["error, dB"],
                "of queried": queried["error, dB"],
            }
        )
    return "\n".join(table(lines)) if lines else f"{_NONE}\n"


@figure
def large_models() -> str:
    """What is learned for it."""
    lines: list[Row] = []
    for block, size, found in _blocks():
        (queried,) = (row for row in found if row["way"] == "queried")
        lines.append(
            {
                "block": block,
                "K × M": size,
                "training of a link, s": queried["trained, s"],
                "MB a link": queried["MB"],
                "corrected": f"{100 * float(queried['corrected']):.2f} %",
                "patched": f"{100 * float(queried['patched']):.2f} %",
                "most memory, GB": queried["peak, GB"],
            }
        )
    return "\n".join(table(lines)) if lines else f"{_NONE}\n"


@figure
def large_crossover() -> str:
    """From which size on a query is faster than the exact block, in a sentence a block."""
    told: dict[str, str] = {}
    for block, size, found in _blocks():
        (queried,) = (row for row in found if row["way"] == "queried")
        if block not in told and float(queried["exact over it"]) > 1:
            told[block] = f"{block} from {size} on ({number(queried['exact over it'])} times)"
    return ", ".join(told.values()) or "none of those measured"


@figure
def large_origin() -> str:
    """Machine, versions and commit of these."""
    names = _names()
    return origin_line(origin(f"large/{names[0]}")) if names else _NONE


def _names() -> list[str]:
    return [name for name in _SIZES if (RESULTS / f"large/{name}.json").is_file()]


def _blocks() -> list[tuple[str, str, list[Row]]]:
    """Blocks, sizes, and the rows of both."""
    found = {name: rows(f"large/{name}") for name in _names()}
    blocks = dict.fromkeys(str(row["block"]) for own in found.values() for row in own)
    return [
        (block, _SIZES[name], [row for row in own if row["block"] == block])
        for block in blocks
        for name, own in found.items()
        if any(row["block"] == block for row in own)
    ]
