"""What a module of the paper hands over: a table, its pictures and how to read them."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/paper"

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How a module runs.

    :param quick: small sizes, few repetitions: all modules together take some minutes
    :param folder: where pictures go
    """

    quick: bool
    folder: Path


@dataclass
class Sheet:
    """A table with its pictures.

    :param name: of the module, "table_1"
    :param title: one line
    :param caption: the setting: sizes, samples, what was chosen where the paper says nothing
    :param rows: of the table, plain values; columns are the keys of the first row
    :param pictures: files in the settings' folder
    :param seconds: how long the module took
    """

    name: str
    title: str
    caption: str
    rows: list[Row] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def markdown(self, folder: str = ".") -> str:
        """The sheet as Markdown, pictures linked from a folder."""
        lines = [f"### {self.title}", "", f"{self.caption} ({self.seconds:.0f} s.)", ""]
        for group in _groups(self.rows):
            lines += [*_table(group), ""]
        lines += [f"![{self.title}]({folder}/{picture})\n" for picture in self.pictures]
        return "\n".join(lines)

    def write(self, folder: Path, origin: dict[str, Any]) -> None:
        """Write ``name.md`` and ``name.json``, each under a temporary name first."""
        data = {"origin": origin} | vars(self)
        text = self.markdown() + f"\n{_origin_line(origin)}\n"
        for suffix, content in ((".json", json.dumps(data, indent=1)), (".md", text)):
            file = folder / f"{self.name}{suffix}"
            part = file.with_suffix(suffix + ".part")
            part.write_text(content, encoding="utf-8")
            part.replace(file)


Module = Callable[[Settings], Sheet]


def origin(settings: Settings) -> dict[str, Any]:
    """Machine, versions and commit, for captions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "neumatc-mimo")},
        "torch_blas": "MKL" if torch.backends.mkl.is_available() else "other",
        "commit": _commit(),
        "quick": settings.quick,
    }


def run_and_write(module: Module, settings: Settings) -> Sheet:
    """Run one module, print its sheet and write it."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    # State before the run: results written while it lasts would make every commit a dirty one.
    source = origin(settings)
    started = time.perf_counter()
    sheet = module(settings)
    sheet.seconds = time.perf_counter() - started
    sheet.write(settings.folder, source)
    print(sheet.markdown())
    print(_origin_line(source), flush=True)
    return sheet


def main(module: Module) -> None:
    """The command line of a module."""
    parser = argparse.ArgumentParser(description=module.__doc__)
    add_arguments(parser)
    run_and_write(module, settings_of(parser.parse_args()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all modules share."""
    parser.add_argument("--quick", action="store_true", help="small sizes, few repetitions")
    parser.add_argument("--output", type=Path, help="folder of the results")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Settings from the command line; quick runs do not touch the committed results."""
    folder = ROOT / "report/paper" if arguments.quick else RESULTS
    return Settings(arguments.quick, arguments.output or folder)


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Consecutive rows with the same columns."""
    groups: list[list[Row]] = []
    for row in rows:
        if groups and list(groups[-1][0]) == list(row):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _table(rows: Sequence[Row]) -> list[str]:
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


def _origin_line(source: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in source["versions"].items())
    return (
        f"{source['processor']}, {source['cores']} cores, {source['threads']} threads, "
        f"{source['device']}; Python {source['python']}, {versions}; commit {source['commit']}."
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    # Only what is run counts, not the results of the modules before.
    changed = git("status", "--porcelain", "--", "neumatc_mimo", "benchmarks/paper", "scenarios")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" (changed)" if changed else "")
