"""How the figures look, and where they are written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.paper.sheet import Settings
from neumatc_mimo.storage.files import replaced


def panels(titles: Sequence[str], *, sharey: bool = False) -> tuple[Any, list[Any]]:
    """A figure of panels side by side, one a title, on one scale if so asked."""
    count = len(titles)
    size = (4.4 * count, 3.6)
    figure, axes = plt.subplots(1, count, figsize=size, squeeze=False, sharey=sharey)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
        ax.grid(True, which="major", alpha=0.3)
    return figure, list(axes[0])


def save(figure: Any, settings: Settings, name: str) -> str:
    """Write a figure; its file name."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    file = f"{name}.png"
    figure.tight_layout()
    replaced(settings.folder / file, partial(figure.savefig, format="png", dpi=110))
    plt.close(figure)
    return file
