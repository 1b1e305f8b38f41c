"""Builds the C++ kernels where this machine can, and says why where it cannot.

``python build_kernels.py`` builds them into the checkout; ``hatch_build.py`` has them built when
the package is installed. ``NEUMATC_KERNELS`` decides what becomes of a failure:

===========  =================================================================
not set      the package works without, with PyTorch
``require``  it is an error
``off``      nothing is built
===========  =================================================================

The standard library alone: neither the package nor what it needs is installed yet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VARIABLE = "NEUMATC_KERNELS"
ROOT = Path(__file__).resolve().parent
# Beside library.py, which loads the one and tells what the other says.
FOLDER = Path("neumatc_mimo/kernels/lanes")
LIBRARY = FOLDER / "_lanes.so"
NOTE = FOLDER / "_not_built.txt"

_COMPILERS = ("c++", "g++", "clang++")


class NotBuiltError(Exception):
    """There is no library, and why."""


def choice() -> str:
    """``NEUMATC_KERNELS``: nothing, ``"require"`` or ``"off"``.

    :raise SystemExit: if it is something else
    """
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "require", "off"):
        raise SystemExit(f"{VARIABLE}={value} means nothing: require, off, or not set.")
    return value


def requirements() -> list[str]:
    """Packages with the tools that are missing beside a compiler."""
    if choice() == "off" or not _compiler():
        return []
    cmake = [] if shutil.which("cmake") else ["cmake>=3.18"]
    return cmake + ([] if shutil.which("make") or shutil.which("ninja") else ["ninja"])


def build(library: Path) -> None:
    """Compile, from nothing and in a temporary folder: a minute, and no state that is old.

    :param library: file to write, in one step: processes that run keep the one they have loaded
    :raise NotBuiltError: if that is not possible, or turned off
    :raise SystemExit: likewise, where kernels are required
    """
    try:
        if choice() == "off":
            raise NotBuiltError(f"turned off by {VARIABLE}=off")
        if not _compiler():
            raise NotBuiltError("there was no C++ compiler")
        if not shutil.which("cmake"):
            raise NotBuiltError("there was no CMake")
        with tempfile.TemporaryDirectory(prefix="neumatc-kernels-") as folder:
            generator = [] if shutil.which("make") or os.name == "nt" else ["-G", "Ninja"]
            _run("cmake", "-S", str(ROOT), "-B", folder, *generator)
            _run("cmake", "--build", folder, "--parallel")
            library.parent.mkdir(parents=True, exist_ok=True)
            new = library.with_suffix(".new")
            shutil.copy(Path(folder) / library.name, new)
            new.replace(library)
    except (NotBuiltError, OSError) as error:
        if choice() == "require":
            raise SystemExit(f"The C++ kernels are not built: {error}.") from None
        raise NotBuiltError(str(error)) from None


def build_in_place() -> str:
    """Build into the checkout, where an old library or a note of an earlier attempt goes.

    :return: one line that says what there is now
    """
    library, note = ROOT / LIBRARY, ROOT / NOTE
    # Whoever asks for a build has changed the sources: none is better than an old one.
    library.unlink(missing_ok=True)
    note.unlink(missing_ok=True)
    try:
        build(library)
    except NotBuiltError as error:
        note.write_text(f"{error}\n", encoding="utf-8")
        return missing(error)
    return f"C++ kernels: built, {LIBRARY}"


def missing(error: NotBuiltError) -> str:
    """The one line that says that there are no kernels."""
    return f"C++ kernels: none, {error}; everything is computed with PyTorch (docs/kernels.md)"


def _compiler() -> str | None:
    """The C++ compiler that CMake would find, as far as it can be told without it."""
    if "CXX" in os.environ:
        return os.environ["CXX"]
    return next(filter(None, map(shutil.which, _COMPILERS)), None)


def _run(*command: str) -> None:
    """A command, silent unless it fails."""
    # Messages in English: the last line becomes part of a sentence.
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise NotBuiltError(f"{_first_error(done.stdout)} ({' '.join(command[:2])} failed)")


def _first_error(output: str) -> str:
    """The first error in a tool's output; CMake's stand in the line below."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if "rror" in line:
            return following.rstrip(":") if line.endswith(":") else line
    return "no message"


if __name__ == "__main__":
    print(build_in_place())
