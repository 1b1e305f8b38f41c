"""A table with its pictures and how to read it, as Markdown and JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from neumatc_mimo.kernels.lanes import library
from neumatc_mimo.reporting.info import processor
from neumatc_mimo.storage.files import write_text

_FOLDER = Path(__file__).parent

Row = dict[str, Any]


@dataclass
class Sheet:
    """A table with its pictures.

    :param name: of its files, "table_1"
    :param title: one line
    :param caption: the setting: sizes, samples, what was chosen where the paper says nothing
    :param rows: of the table, plain values; columns are the keys of the first row
    :param pictures: files in the folder of the sheet
    :param seconds: how long it took
    """

    name: str
    title: str
    caption: str
    rows: list[Row] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def groups(self) -> list[list[dict[str, str]]]:
        """The table as text, rows of the same columns together."""
        return [
            [{name: _cell(value) for name, value in row.items()} for row in group]
            for group in _groups(self.rows)
        ]

    def markdown(self, folder: str = ".") -> str:
        """The sheet as Markdown, pictures linked from a folder."""
        lines = [f"### {self.title}", "", f"{self.caption} ({self.seconds:.0f} s.)", ""]
        for group in _groups(self.rows):
            lines += [*table(group), ""]
        lines += [f"![{self.title}]({folder}/{picture})\n" for picture in self.pictures]
        return "\n".join(lines)

    def write(self, folder: Path, origin: dict[str, Any]) -> None:
        """Write ``name.md`` and ``name.json``, each under a temporary name first."""
        data = {"origin": origin} | vars(self)
        text = self.markdown() + f"\n{origin_line(origin)}\n"
        for suffix, content in ((".json", json.dumps(data, indent=1)), (".md", text)):
            write_text(folder / f"{self.name}{suffix}", content)


def origin(*sources: str, device: str = "cpu") -> dict[str, Any]:
    """Machine, versions and commit, for captions.

    :param sources: paths in the repository beside the package; a commit is called changed where
        one of them was
    :param device: what was run on
    """
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": "CPU" if device == "cpu" else torch.cuda.get_device_name(device),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "neumatc-mimo")},
        "torch_blas": "MKL" if torch.backends.mkl.is_available() else "other",
        "kernels": kernels(),
        "commit": _commit(*sources),
    }


def kernels() -> str | None:
    """The variant of the C++ kernels that runs; None without them."""
    found = library.loaded()
    return None if found is None else found.name


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Consecutive rows with the same columns."""
    groups: list[list[Row]] = []
    for row in rows:
        if groups and list(groups[-1][0]) == list(row):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def table(rows: Sequence[Row]) -> list[str]:
    """A Markdown table whose source reads as one."""
    columns = list(rows[0])
    cells = [columns, *([_cell(row[c]) for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    padded = [" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells]
    rule = "|".join("-" * (width + 2) for width in widths)
    return [f"| {padded[0]} |", f"|{rule}|", *(f"| {line} |" for line in padded[1:])]


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return number(value)
    return str(value)


def number(value: float) -> str:
    """Three significant digits, in the form that is shortest to read."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}"
    return f"{value:.1e}"


def origin_line(source: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in source["versions"].items())
    return (
        f"{source['processor']}, {source['cores']} cores, {source['threads']} threads, "
        f"{source['device']}, {_with(source['kernels'])}; "
        f"Python {source['python']}, {versions}; commit {source['commit']}."
    )


def _with(variant: str | None) -> str:
    return "without kernels" if variant is None else f"with kernels {variant}"


def _commit(*sources: str) -> str:
    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=_FOLDER, capture_output=True, text=True)
        except OSError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    top = git("rev-parse", "--show-toplevel")
    # An installed package may lie in somebody else's repository.
    if not top or not (Path(top) / "neumatc_mimo").is_dir():
        return "unknown"
    # Only what is run counts, not the results of the runs before.
    paths = [str(Path(top) / name) for name in ("neumatc_mimo", "scenarios", *sources)]
    changed = git("status", "--porcelain", "--", *paths)
    return git("rev-parse", "--short", "HEAD") + (" (changed)" if changed else "")
