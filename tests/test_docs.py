"""What the documentation shows runs as it stands."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from docs_common import ROOT, blocks, run

from neumatc_mimo.operations import _REGISTERED as REGISTERED

PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Tensors are so small that threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
