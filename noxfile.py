"""The package at the lowest and the newest versions that pyproject.toml allows, on every Python.

``make compatibility`` runs all of it, ``make compatibility ARGS="-s resolve lowest"`` what every
change has to pass. Interpreters that are not there are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"

PYTHONS = ["3.11", "3.12", "3.13"]
RESOLUTIONS = ["lowest-direct", "highest"]

# What depends on other packages most: their data, their blocks, files, compilers, the terminal.
QUICK = [
    "tests/blocks/test_compile.py",
    "tests/blocks/test_inverse.py",
    "tests/blocks/test_svd.py",
    "tests/cli",
    "tests/storage/test_files.py",
    "tests/model/test_scenario_model.py",
    "tests/scenario/test_channels.py",
    "tests/scenario/test_deepmimo_data.py",
    "tests/scenario/test_schema.py",
]
# Tools of the tests, not what is tested: always the newest.
TOOLS = ["pytest", "hypothesis"]
# Sionna 1 is TensorFlow's, and tested in an environment of its own.
SIONNA = ["sionna>=2.1"]
SHOWN = [
    *("torch", "numpy", "scipy", "sionna", "deepmimo", "safetensors", "fsspec", "pydantic"),
    *("typer", "rich", "matplotlib", "onnxscript", "onnxruntime"),
]


@nox.session(python=PYTHONS)
@nox.parametrize("resolution", RESOLUTIONS)
def compatibility(session: nox.Session, resolution: str) -> None:
    """Tests that are not slow, at the lowest or the newest versions of all dependencies."""
    _install(session, resolution)
    _test(session, session.posargs or ["-m", "not slow"])


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Some tests with all but PyTorch at the lowest versions, and the CPU build that is pinned."""
    _install(session, "lowest-direct", _pinned("torch"))
    _test(session, session.posargs or [*QUICK, "-m", "not slow"])


@nox.session(venv_backend="none")
@nox.parametrize("resolution", RESOLUTIONS)
def resolve(session: nox.Session, resolution: str) -> None:
    """Whether there are versions for every Python that suit each other; nothing is installed."""
    only = Path(session.create_tmp()) / "sionna.txt"
    only.write_text("\n".join(SIONNA), encoding="utf-8")
    for python in PYTHONS:
        tool = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--quiet"]
        chosen = ["--extra", "export", "--resolution", resolution, "--python-version", python]
        chosen += ["--constraint", str(only)]
        file = f"{session.create_tmp()}/{resolution}-{python}.txt"
        session.run(*tool, *chosen, "--output-file", file, external=True)


def _install(session: nox.Session, resolution: str, *pinned: str) -> None:
    session.install("--resolution", resolution, ".[export]", *SIONNA, *pinned)
    session.install(*TOOLS)


def _test(session: nox.Session, arguments: list[str]) -> None:
    session.run("python", "-c", _SHOW, *SHOWN)
    # Versions that are not pinned deprecate one thing or another.
    quiet = ["-q", "-p", "no:cacheprovider", "-W", "default"]
    session.run("python", "-m", "pytest", *quiet, *arguments)


def _pinned(name: str) -> str:
    lines = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


# One row of the table in docs/compatibility.md.
_SHOW = (
    "import sys; from importlib.metadata import version; "
    "print('|', ' | '.join([sys.version.split()[0], *map(version, sys.argv[1:])]), '|')"
)
