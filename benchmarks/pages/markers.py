"""Markers of a page, and what is written between them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from benchmarks.pages import (  # noqa: F401  their figures
    demo,
    large,
    sheets,
    simulations,
    sizes,
    speed,
    training,
    users,
)
from benchmarks.pages.registry import FIGURES
from benchmarks.pages.results import RESULTS
from benchmarks.paper.sheet import ROOT
from neumatc_mimo.storage.files import write_text

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = re.compile(
    r"(?P<begin><!-- figures: (?P<name>[^>]+?) -->)(?P<body>.*?)(?P<end><!-- /figures -->)",
    re.DOTALL,
)


def rendered(text: str, page: Path) -> str:
    """A page as the results at hand make it.

    :param text: of the page
    :param page: where it lies, for links to pictures
    """
    return MARKED.sub(lambda found: _written(found, page), text)


def renew() -> None:
    """Write all pages anew."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (new := rendered(text, page)) != text:
            write_text(page, new)


def _written(found: re.Match[str], page: Path) -> str:
    name, *arguments = found["name"].split()
    body = FIGURES[name](*arguments)
    if "\n" in body:
        # Pictures lie beside the results.
        beside = Path(os.path.relpath(RESULTS, page.parent)).as_posix()
        body = f"\n\n{body.strip().replace('](results:', f']({beside}/')}\n\n"
    return f"{found['begin']}{body}{found['end']}"
