"""Notebooks: each is its script, executed, with nothing of the machine that ran it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext", reason="jupytext reads the scripts of notebooks")

FOLDER = Path(__file__).parents[2] / "notebooks"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if not path.stem.startswith("__"))
# Folders of people and machines; what documentation may name, such as /usr, is none.
_PATHS = re.compile(r"/(?:home|root|tmp|Users|work|mnt|opt|private|var)/|[A-Z]:\\\\")


def notebook(script: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    return read


def outputs(script: Path) -> list[dict[str, Any]]:
    return [output for cell in notebook(script)["cells"] for output in cell.get("outputs", [])]


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.stem)
def script(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_notebook_has_its_script_and_a_line_in_the_list() -> None:
    names = {path.stem for path in SCRIPTS}
    assert names == {path.stem for path in FOLDER.glob("*.ipynb")}
    listed = re.findall(r"^\| \[.*?\]\((\w+)\.ipynb\)", (FOLDER / "README.md").read_text(), re.M)
    assert sorted(listed) == sorted(names)


def test_cells_are_those_of_the_script(script: Path) -> None:
    def text(cell: Any) -> str:
        source = cell["source"]
        return source if isinstance(source, str) else "".join(source)

    ours = jupytext.read(script, fmt="py:percent").cells
    theirs = notebook(script)["cells"]
    assert [(c["cell_type"], text(c)) for c in theirs] == [(c["cell_type"], text(c)) for c in ours]


def test_all_cells_ran_in_order_without_error_and_drew_pictures(script: Path) -> None:
    code = [cell for cell in notebook(script)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for output in outputs(script)}
    assert kinds and "error" not in kinds
    assert not [output for output in outputs(script) if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs(script))


def test_nothing_tells_of_the_machine(script: Path) -> None:
    read = notebook(script)
    assert set(read["metadata"]) == {"kernelspec", "language_info"}
    assert read["metadata"]["kernelspec"]["name"] == "python3"
    assert read["metadata"]["language_info"] == {"name": "python"}
    assert all(not cell["metadata"] for cell in read["cells"])
    for output in outputs(script):
        data = {k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")}
        found = _PATHS.search(json.dumps([output.get("text"), data]))
        assert found is None, found


def test_notebooks_stay_small(script: Path) -> None:
    assert script.with_suffix(".ipynb").stat().st_size < 400_000


def test_links_between_notebooks_lead_somewhere(script: Path) -> None:
    for target in re.findall(r"\]\((\w+\.ipynb)\)", script.read_text(encoding="utf-8")):
        assert (FOLDER / target).is_file()


@pytest.mark.slow
def test_a_cell_that_fails_fails_the_run_and_leaves_the_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    package = tmp_path / "notebooks"
    package.mkdir()
    for name in ("__init__.py", "__main__.py"):
        (package / name).write_text((FOLDER / name).read_text(encoding="utf-8"))
    (package / "good.py").write_text("# %%\nprint(6 * 7)\n\n# %% [markdown]\n# Said.\n")
    (package / "bad.py").write_text("# %%\n1 / 0\n")
    (package / "bad.ipynb").write_text("as it was")

    def run(*names: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "notebooks", *names]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert run("good").returncode == 0
    first = (package / "good.ipynb").read_text()
    assert "42" in first
    assert run("good").returncode == 0
    assert (package / "good.ipynb").read_text() == first

    failed = run()
    assert failed.returncode == 1 and "ZeroDivisionError" in failed.stderr
    assert (package / "bad.ipynb").read_text() == "as it was"
    unknown = run("ugly")
    assert unknown.returncode == 1 and "known are bad, good." in unknown.stderr
