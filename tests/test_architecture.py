"""The house: what lies at its root, and that imports run downwards only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import neumatc_mimo as nm

PACKAGE = Path(nm.__file__).parent
TENSORFLOW = "neumatc_mimo.tensorflow"


def test_the_root_holds_packages_only() -> None:
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


def test_imports_run_downwards_only() -> None:
    """The contracts of pyproject.toml, as ``make lint`` asks for them."""
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", lint, "--no-cache"]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_tensorflow_imports_needs_no_pytorch() -> None:
    """In a process where PyTorch cannot be imported."""
    modules = sorted(_imported_from_elsewhere())
    assert {"neumatc_mimo.foundation.tolerance", "neumatc_mimo.storage.files"} <= set(modules)
    code = (
        "import importlib, sys; sys.modules['torch'] = None; "
        "[importlib.import_module(name) for name in sys.argv[1:]]"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _imported_from_elsewhere() -> set[str]:
    """Modules of the package that those of TensorFlow import, anywhere in their code."""
    found = set()
    for file in (PACKAGE / "tensorflow").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} has a relative import"
                found.add(str(node.module))
            elif isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
    ours = {name for name in found if name.partition(".")[0] == PACKAGE.name}
    return {name for name in ours if not f"{name}.".startswith(f"{TENSORFLOW}.")}
