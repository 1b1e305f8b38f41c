"""Python blocks of the documentation's pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """The first line and the text of every block marked ``python``."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start(1)), m.group(1)) for m in _BLOCK.finditer(text)]


def run(page: Path, until: str | None = None) -> dict[str, Any]:
    """Run the blocks of a page in one namespace, at most those to the first that defines a name."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    for line, text in blocks(page):
        # Empty lines before it: an error names its line of the page.
        exec(compile("\n" * line + text, str(page), "exec"), namespace)
        if until in namespace:
            break
    return namespace
