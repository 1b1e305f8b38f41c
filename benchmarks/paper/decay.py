"""How fast the singular values of a sampled family fall along its parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.paper.pictures import panels, save
from benchmarks.paper.problems import Problem, synthetic_inversion, synthetic_svd
from benchmarks.paper.real import real_inversion, real_svd, scenarios
from benchmarks.paper.sheet import Settings, Sheet
from neumatc_mimo.metrics.measures import eckart_young_bounds

# Curves of one colour differ in their strokes.
_STYLES, _COLOURS = ("-", "--", ":"), 10
_LEVELS = (1e-1, 1e-2, 1e-3)


def sheet_of_decays(
    settings: Settings, name: str, title: str, parts: Callable[[Problem], dict[str, Any]]
) -> Sheet:
    """A table of ranks at some errors and a picture, over synthetic families and real channels.

    :param parts: a problem to the tensors [num_points, ...] that are looked at
    """
    sheet = Sheet(
        name,
        title,
        "The samples of the whole grid are the rows of one matrix, with real and imaginary parts "
        "side by side. Rank: the smallest one with an Eckart–Young error below the level. "
        "Synthetic: 64 × 64 families of Tables 1 and 2. Real channels: 64 users and 128 antennas "
        "(inversion), one user with 64 antennas and 128 antennas (SVD, four triplets, aligned), "
        "with a point every 120 kHz.",
    )
    figure, axes = panels(["synthetic", "real channels"])
    for ax, problems in zip(axes, (_synthetic(), _real(settings)), strict=True):
        for label, given in problems.items():
            for key, value in parts(given).items():
                bounds = eckart_young_bounds(_complex(value))
                style = _STYLES[len(ax.lines) // _COLOURS]
                ax.semilogy([float(b) for b in bounds if b > 1e-7], style, label=f"{label}: {key}")
                sheet.rows.append(
                    {"family": label, "component": key, "points": len(value)}
                    | {f"rank at {level:g}": int((bounds >= level).sum()) for level in _LEVELS}
                )
        ax.set_xlabel("rank")
        ax.legend(fontsize=7)
    axes[0].set_ylabel("Eckart–Young error")
    sheet.pictures.append(save(figure, settings, name))
    return sheet


def _synthetic() -> dict[str, Problem]:
    return {"inversion": synthetic_inversion(64, 0), "SVD": _aligned(synthetic_svd(64, 0))}


def _real(settings: Settings) -> dict[str, Problem]:
    found: dict[str, Problem] = {}
    for name in scenarios()[: 1 if settings.quick else None]:
        for label, make in (("inversion", _inversion), ("SVD", _svd)):
            try:
                found[f"{name}, {label}"] = make(name)
            except ValueError:
                continue  # the scenario has no such users
    return found


def _inversion(name: str) -> Problem:
    return real_inversion(name, 64, spacing=4)


def _svd(name: str) -> Problem:
    return _aligned(real_svd(name, 64, 4, spacing=4))


def _aligned(given: Problem) -> Problem:
    return replace(given, exact=given.operation.align(given.exact))


def _complex(value: Any) -> torch.Tensor:
    return value.to(torch.complex128)
