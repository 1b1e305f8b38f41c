"""The documentation's site: it builds without a warning, and nothing is missing from it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import FunctionType

import pytest
import typer
from pydantic import BaseModel

from neumatc_mimo.cli import app
from neumatc_mimo.scenario import schema
from tests.docs.common import ROOT

_SECTIONS = [
    kind
    for kind in vars(schema).values()
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.model_fields
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install neumatc-mimo[docs]")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("module", ["", ".blocks", ".operations", ".scenario", ".solvers"])
def test_every_public_name_has_an_entry(site: Path, module: str) -> None:
    package = importlib.import_module(f"neumatc_mimo{module}")
    _, _, packed = (site / "objects.inv").read_bytes().partition(b"zlib.\n")
    entries = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    for name in package.__all__:
        thing = getattr(package, name)
        # Types of tuples and tables of classes have no docstring.
        if isinstance(thing, type | FunctionType):
            assert {f"{package.__name__}.{name}", f"{thing.__module__}.{name}"} & entries, name


@pytest.mark.slow
def test_every_command_and_every_key_is_shown(site: Path) -> None:
    commands = (site / "commands.html").read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"Usage: neumatc-mimo {name} [OPTIONS]" in re.sub("<[^>]*>", "", commands)
    keys = (site / "scenario-file.html").read_text(encoding="utf-8")
    for section in _SECTIONS:
        for name, field in section.model_fields.items():
            key = field.alias or name
            assert f"<code>{key}</code>" in keys or re.search(
                rf"<code>\[(\w+\.)*{key}\]</code>", keys
            )


@pytest.mark.slow
def test_docstrings_leave_no_markup_behind(site: Path) -> None:
    """Fields, roles and directives that no rule of docs/_site/docstrings.py takes."""
    for page in (site / "api").glob("*.html"):
        text = re.sub(r"<pre>.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        left = re.findall(r":(?:param|input|output|return|raises)\b|:\w+:`|\.\. \w+::", text)
        assert not left, f"{page.name}: {left}"


@pytest.mark.slow
def test_pages_need_no_network(site: Path) -> None:
    """Scripts, styles and pictures lie beside them, if npm was there to bring two of them."""
    loaded = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]*)"')
    for page in site.rglob("*.html"):
        for address in loaded.findall(page.read_text(encoding="utf-8")):
            assert "/npm/" in address, f"{page.name} loads {address}"


@pytest.mark.parametrize("section", _SECTIONS, ids=lambda section: section.__name__)
def test_every_key_of_a_scenario_file_is_described(section: type[BaseModel]) -> None:
    for key, field in section.model_fields.items():
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        if not any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
            assert field.description, f"{key} in {section.__name__} has no line that describes it"
