"""Error curves with estimated channels: exact and queried on the estimate, and side information."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.command import run, say
from benchmarks.munich import munich
from benchmarks.paper.pictures import panels, save
from benchmarks.paper.sheet import Row, Settings, Sheet
from neumatc_mimo import Exact, LinkSet, ScenarioModel
from neumatc_mimo.progress import Event
from neumatc_mimo.simulation import ErrorCurve, error_curves, snr_offset_db, waterfall
from neumatc_mimo.simulation.pilots import CSI, PilotDownlink, PilotPipeline, PilotUplink

_PIPELINES: dict[str, Callable[..., PilotPipeline]] = {
    "uplink": PilotUplink,
    "downlink": PilotDownlink,
}
_MOST_DB = 18.0
PERFECT, TRUSTED = "Sionna, perfect CSI", 'trust="model"'


@dataclass(frozen=True)
class Case:
    """A curve: who computes the matrices, from what, and whether links are taken at their word."""

    solver: Any
    csi: CSI
    trust: str = "estimate"


def cases(model: ScenarioModel) -> dict[str, Case]:
    """The curves by name, the reference first."""
    found = {PERFECT: Case(None, "perfect")}
    names: dict[CSI, str] = {"nn": "nearest neighbour", "lin": "linear"}
    for csi, name in names.items():
        found[f"exact, {name}"] = Case(Exact(), csi)
        found[f"queried, {name}"] = Case(model, csi)
    return found | {TRUSTED: Case(model, "lin", "model")}


def sheets(settings: Settings) -> list[Sheet]:
    """Both directions, one table each, in one picture."""
    num_links = 2 if settings.quick else 8
    scenario, model = munich(4, num_links)
    assert scenario.multi_user is not None
    links, model = scenario.multi_user.timing_advanced(), model.timing_advanced()
    made = []
    figure, axes = panels(list(_PIPELINES))
    for ax, name in zip(axes, _PIPELINES, strict=True):
        started = time.perf_counter()
        size: dict[str, Any] = {"num_calls": 3, "stride": 2}
        if settings.quick:
            size = {"num_calls": 1, "num_points": 3, "stride": 6, "block_length": 480}
        curves = simulate(name, links, cases(model), **size)
        _draw(ax, curves)
        made.append(
            Sheet(
                name,
                f"BLER of the {name} with estimated channels",
                f"Munich, {links.num_links} links of 4 users on 64 antennas with timing advance, "
                "pilots of Sionna's Kronecker pattern in one OFDM symbol, LS estimates, LDPC code; "
                "the same bits and noise for all. Offset: Eb/N0 that a curve needs beyond the "
                "first, in dB, largest over the levels that both reach.",
                _rows(curves),
                seconds=time.perf_counter() - started,
            )
        )
    axes[0].set_ylabel("BLER")
    axes[0].legend(fontsize=7)
    made[-1].pictures.append(save(figure, settings, "estimates"))
    return made


def simulate(
    name: str,
    links: LinkSet,
    chosen: Mapping[str, Case],
    *,
    num_calls: int,
    points: Sequence[float] | None = None,
    num_points: int = 7,
    **grid: int,
) -> dict[str, ErrorCurve]:
    """Error curves of all cases.

    :param name: "uplink" or "downlink"
    :param num_calls: Batches of two slots at a point, at most
    :param points: Eb/N0 in dB; where `None` from where perfect CSI begins to get blocks through to
        where linear estimates get nearly all
    :param grid: Settings of the pipelines
    """
    kind = partial(_PIPELINES[name], links, num_bits_per_symbol=4, coderate=0.5, **grid)
    if points is None:
        say(f"{name}: where the curves fall")
        search: dict[str, Any] = {"num_points": 2, "batch_size": 2, "step_db": 3.0}
        first = waterfall(kind(Exact(), csi="perfect"), **search)[0]
        last = waterfall(kind(Exact(), csi="lin"), **search)[1]
        # Where estimates leave a floor, the end is not the fall's.
        points = np.linspace(first, min(last, first + _MOST_DB), num_points).round(2).tolist()

    def told(event: Event) -> None:
        if event.metrics:
            ebno_db, errors = event.metrics["ebno_db"], event.metrics["block_errors"]
            say(f"{name}, {event.step}, {ebno_db:g} dB: {errors} block errors")

    return error_curves(
        lambda case: kind(case.solver, csi=case.csi, trust=case.trust),
        chosen,
        points,
        batch_size=2,
        target_block_errors=300,
        max_calls=num_calls,
        progress=False,
        callback=told,
    )


def _rows(curves: Mapping[str, ErrorCurve]) -> list[Row]:
    reference = curves[PERFECT]
    return [
        *(
            _row(name, curve.bler, curve, _offset(reference, curve))
            for name, curve in curves.items()
        ),
        _row("blocks", reference.num_blocks, reference, None),
    ]


def _row(name: str, values: Sequence[float], curve: ErrorCurve, offset: float | None) -> Row:
    points = {f"{e:g} dB": value for e, value in zip(curve.ebno_dbs, values, strict=True)}
    return {"curve": name, **points, "offset, dB": offset}


def _offset(reference: ErrorCurve, curve: ErrorCurve) -> float | None:
    """In dB; None where the curves share no level."""
    offset = snr_offset_db(reference, curve)
    return None if math.isnan(offset) else offset


def _draw(ax: Any, curves: Mapping[str, ErrorCurve]) -> None:
    """Lines of what is computed, marks of what is queried: these lie on those."""
    for name, curve in curves.items():
        queried = name.startswith("queried") or name == TRUSTED
        style: dict[str, Any] = (
            {"linestyle": "none", "marker": "o", "fillstyle": "none"} if queried else {}
        )
        ax.semilogy(curve.ebno_dbs, np.maximum(curve.bler, 1e-5), label=name, **style)
    ax.set_xlabel("Eb/N0, dB")
    ax.set_ylim(1e-3, 1.1)


if __name__ == "__main__":
    run("estimates", __doc__, sheets)
