"""Figures of the pages are those of the committed results, and no figure is written by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.pages import markers
from benchmarks.pages.markers import MARKED, PAGES, rendered
from benchmarks.pages.registry import FIGURES
from tests.docs.common import ROOT

# What a machine and a run make: times, and how many times as fast something is.
_FIGURE = re.compile(
    r"\d[\d.,]*\s*(?:ms|µs|[hs] a \w+|times|×(?!\s*\d))(?!\w)|\d[\d.,]*\s*(?:s|minutes)\b(?!\w)"
)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

# Pages whose figures have no committed result, and why.
_LEFT_OUT = {
    "docs/kernels.md": "two versions of the package by turns, the command stands beside them",
    "docs/paper.md": "sums up the tables on the same page, which are written from results",
}
# What looks like a figure and is none: of a page, the words, and why.
_ALLOWED = {
    "docs/performance.md": {"1.49 times the Eckart–Young": "an error, which no machine changes"},
    "docs/users.md": {
        "at most 1.5 times the least": "a rule of training",
        "20 slots, 10 ms": "how long a burst is",
    },
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_figures_are_those_of_the_committed_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert rendered(text, page) == text, "make pages writes them anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_figure_is_written_by_hand(page: Path) -> None:
    name = str(page.relative_to(ROOT))
    if name in _LEFT_OUT:
        pytest.skip(_LEFT_OUT[name])
    text = _FENCED.sub("", MARKED.sub("", page.read_text(encoding="utf-8")))
    for allowed in _ALLOWED.get(name, {}):
        assert allowed in text, f"{name} no longer says: {allowed}"
        text = text.replace(allowed, "")
    found = [text[max(0, m.start() - 40) : m.end() + 20] for m in _FIGURE.finditer(text)]
    assert not found


def test_markers_are_pairs() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        begins, ends = text.count("<!-- figures: "), text.count("<!-- /figures -->")
        assert begins == ends == len(MARKED.findall(text)), page


def test_no_paragraph_breaks_at_a_marker() -> None:
    """A line that begins with a comment is HTML to Markdown, and ends the paragraph before it."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"^[ *-]*<!-- /?figures[^>]*-->[^\n]", text, re.MULTILINE), page


def test_what_stands_between_markers_is_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FIGURES, "value", lambda unit: f"3 {unit}")
    monkeypatch.setitem(FIGURES, "picture", lambda: "| a |\n|---|\n![b](results:b/c.png)")
    page = markers.ROOT / "docs/page.md"
    text = (
        "It takes <!-- figures: value ms -->2 ms<!-- /figures -->.\n\n"
        "<!-- figures: picture -->\nold\n<!-- /figures -->\nAfter.\n"
    )
    once = rendered(text, page)
    assert "It takes <!-- figures: value ms -->3 ms<!-- /figures -->." in once
    assert "(../benchmarks/results/b/c.png)" in once and "old" not in once
    assert once.endswith("<!-- /figures -->\nAfter.\n")
    assert rendered(once, page) == once


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("takes 0.3 ms", True),
        ("is 1.1 to 1.3 times as fast", True),
        ("1.5 × the limit", True),
        ("0.8 s a link", True),
        ("8 × 64 antennas", False),
        ("in 14 symbols", False),
    ],
)
def test_what_a_figure_is(text: str, found: bool) -> None:
    assert bool(_FIGURE.search(text)) == found
