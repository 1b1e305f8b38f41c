"""What the documentation shows runs as it stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import typer
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

import neumatc_mimo as nm
from neumatc_mimo.operations import OPERATIONS as REGISTERED
from neumatc_mimo.scenario.bundled import scenarios_folder
from tests.docs.common import PAGES, ROOT, blocks, check, reason


def _takes_long(page: Path) -> bool:
    return any("nm.train(" in block.text or block.comment == "executed" for block in blocks(page))


@pytest.fixture
def few_links(
    munich: Path, in_haste: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """An empty folder to work in, where the bundled Munich has two links of each kind, not 32, and
    few buildings.
    """
    bundled, work = tmp_path / "bundled", tmp_path / "work"
    bundled.mkdir()
    work.mkdir()
    text = (scenarios_folder() / "munich.toml").read_text(encoding="utf-8")
    assert text.count("num_links = 32") == 2
    (bundled / "munich.toml").write_text(text.replace("num_links = 32", "num_links = 2"))
    (bundled / "data").mkdir()
    (bundled / "data/munich_3p5").symlink_to(munich)
    for module in ("bundled", "schema"):
        monkeypatch.setattr(f"neumatc_mimo.scenario.{module}.scenarios_folder", lambda: bundled)
    # What a page registers is known to no other test.
    monkeypatch.setattr(REGISTERED, "_kinds", dict(REGISTERED))
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(ROOT))
    with patch.dict(os.environ):
        yield


@pytest.mark.usefixtures("few_links")
@pytest.mark.filterwarnings("default::neumatc_mimo.NeuMatCWarning")  # pages may show what warns
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=str(page.relative_to(ROOT)),
            marks=[pytest.mark.slow] if _takes_long(page) else [],
        )
        for page in PAGES
    ],
)
def test_blocks_of_a_page_run_one_after_the_other(page: Path) -> None:
    check(page, {"__name__": page.stem} | (_simulation() if page.name == "README.md" else {}))


def _simulation() -> dict[str, Any]:
    """What the README calls a user's own."""
    grid = ResourceGrid(14, 3276, 30e3, num_tx=1, num_streams_per_tx=8)
    links = nm.load_scenario("munich").multi_user
    assert links is not None
    h = links.channel(links.grid_frequencies()).permute(0, 2, 3, 1)
    return {
        "resource_grid": grid,
        "stream_management": StreamManagement(np.ones([8, 1]), 8),
        "x": torch.ones(2, 1, 8, 14, 3276, dtype=torch.complex64),
        "h": h[:, :, None, None, :, None].expand(-1, -1, -1, -1, -1, 14, -1),
    }


@pytest.mark.parametrize(
    "text",
    [
        "python\nassert False",
        "toml\n[grid]\nfft_size = 12\nsubcarrier_spacing = 30e3\nnum_symbols = 14",
        "toml\n[motion]\nspeed = 3.0\n# num_slot = 20",
        "\nneumatc-mimo train munich --rang 64",
        "sh\nneumatc-mimo evaluate munich --blocks many",
        "sh\nmake demos",
        "sh\nmake bench ARGS=--quik",
        "bash\npython -m benchmarks.unseen --tims",
        "bash\npython -m pip install 'neumatc-mimo[grpu]'",
        "bash\npython simulation.py",
        "bash\nsionna train",
        "rust\nfn main() {}",
        "python title=simulation.py\nimport torch",
    ],
)
@pytest.mark.usefixtures("few_links")
def test_blocks_that_are_wrong_are_found(text: str) -> None:
    page = Path("page.md")
    page.write_text(f"```{text}\n```\n", encoding="utf-8")
    refused: Any = typer.BadParameter.__base__  # the command line's own base of usage errors
    with pytest.raises((AssertionError, ValueError, refused)):
        check(page, {})


def test_blocks_that_are_not_executed_say_why(capsys: Any) -> None:
    left_out = {
        f"{page.relative_to(ROOT)}:{block.line}": reason(block)
        for page in PAGES
        for block in blocks(page)
        if block.comment.startswith("not")
    }
    with capsys.disabled():
        print("", *(f"not executed: {place}: {why}" for place, why in left_out.items()), sep="\n")
    assert all(len(why.split()) > 1 for why in left_out.values())


def test_every_built_in_operation_is_in_the_table() -> None:
    lines = (ROOT / "docs/operations.md").read_text(encoding="utf-8").splitlines()
    for kind in REGISTERED.values():
        (row,) = (line for line in lines if line.startswith(f"| `{kind.__name__}("))
        components = row.split("|")[3]
        assert all(f"`{name}`" in components for name in kind.component_names)
