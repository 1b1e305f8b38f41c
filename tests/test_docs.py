"""What the documentation shows runs as it stands."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from docs_common import ROOT, blocks, run

from neumatc_mimo.operations import _REGISTERED as REGISTERED

pytestmark = pytest.mark.usefixtures("one_thread")

# That on TensorFlow runs beside Sionna 1.2: tests_tensorflow has it.
PAGES = sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs/tensorflow.md"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_a_page_run_one_after_the_other(page: Path) -> None:
    run(page)


def test_imports_of_the_readme_exist() -> None:
    """The rest takes a training of minutes and a resource grid: other tests have it."""
    found = blocks(ROOT / "README.md")
    assert found
    for _, text in found:
        tree = ast.parse(text)
        tree.body = [line for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
        exec(compile(tree, "README.md", "exec"), {})


def test_every_built_in_operation_is_in_the_table() -> None:
    lines = (ROOT / "docs/operations.md").read_text(encoding="utf-8").splitlines()
    for kind in REGISTERED.values():
        (row,) = (line for line in lines if line.startswith(f"| `{kind.__name__}("))
        components = row.split("|")[3]
        assert all(f"`{name}`" in components for name in kind.component_names)
