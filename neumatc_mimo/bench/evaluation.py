"""The fidelity of a scenario's model as its users meet it: figures, error rates, tiers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from neumatc_mimo.bench.fidelity import fidelity
from neumatc_mimo.bench.paired import PairedErrors, paired_errors
from neumatc_mimo.progress import Callback, Callbacks, Event, reported, within
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.simulation import PIPELINES, Pipeline, fall
from neumatc_mimo.solvers.base import Counts
from neumatc_mimo.solvers.exact import Exact

# Bits of a QAM symbol, from QPSK to 256-QAM.
MODULATIONS = (2, 4, 6, 8)
# Blocks of the same length for all of these; it is a multiple of each, and two blocks of QPSK fill
# a slot of two symbols of so many subcarriers, which span the whole band.
_BLOCK_LENGTH = 528
_SUBCARRIERS = 273
_NUM_OFDM_SYMBOLS = 2
# Blocks that are decoded at once: more of them leave the cache.
_CALL = 512
# The block error rate of the exact results at which the others are compared: some of the blocks
# are always near the edge between lost and received, where a small difference would show.
_FALL = 0.1


def evaluate(
    model: Any,
    scenario: Scenario,
    *,
    num_blocks: int = 1000,
    bits: Sequence[int] = MODULATIONS,
    level: float = 0.99,
    num_frequencies: int | None = None,
    num_receivers: int | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callbacks = None,
) -> dict[str, Any]:
    """Compare a model with exact results: figures of each operation, and paired error rates.

    :param model: A ScenarioModel
    :param scenario: The scenario that it was trained for
    :param num_blocks: Coded blocks of each modulation; 0 leaves the error rates out
    :param bits: Bits of the QAM symbols
    :param level: Level of the confidence intervals
    :param num_frequencies: See :func:`~neumatc_mimo.bench.fidelity.fidelity`
    :param num_receivers: See :func:`~neumatc_mimo.bench.fidelity.fidelity`
    :param seed: Seed of bits, noise and received symbols
    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Told of every figure's links, and of the blocks that were sent

    :return: Plain values, ready for JSON: those of ``fidelity`` by operation, and
        ``error_rates``, a list as :func:`error_rates` returns it
    :raises ValueError: If ``num_blocks`` is negative, ``level`` is no probability, or there is no
        QAM of so many bits
    """
    _check(num_blocks, bits, level)
    with reported(callback, progress) as tell:
        results: dict[str, Any] = dict(
            fidelity(
                model,
                scenario,
                num_frequencies=num_frequencies,
                num_receivers=num_receivers,
                seed=seed,
                progress=False,
                callback=tell,
            )
        )
        if num_blocks:
            results["error_rates"] = error_rates(
                model,
                scenario,
                num_blocks=num_blocks,
                bits=bits,
                level=level,
                seed=seed,
                progress=False,
                callback=tell,
            )
    return results


def error_rates(
    model: Any,
    scenario: Scenario,
    *,
    num_blocks: int,
    bits: Sequence[int] = MODULATIONS,
    tasks: Sequence[str] = tuple(PIPELINES),
    level: float = 0.99,
    seed: int = 0,
    progress: bool = True,
    callback: Callbacks = None,
) -> list[dict[str, Any]]:
    """Coded block error rates of exact and of a model's results, on the same blocks.

    Each transmission that the scenario has links for is simulated with each modulation, at the
    Eb/N0 where exact results lose a block in ten, or at the end of the pipeline's range where that
    comes first.

    :param tasks: Transmissions, of the names in :data:`~neumatc_mimo.simulation.PIPELINES`
    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Told of the blocks that were sent, and of those lost so far

    :return: A row for each, plain values: the setting, counts, rates with their intervals, the
        difference with its interval, the p-value of
        :attr:`~neumatc_mimo.bench.paired.PairedErrors.p_value`, and the ``tiers`` of the model's
        answers
    """
    _check(num_blocks, bits, level)
    device = next(iter(model.models.values())).links.device
    rows = []
    with reported(callback, progress) as tell:
        for task in tasks:
            links = getattr(scenario, PIPELINES[task].kind)
            for order in bits if links is not None else ():
                label = f"{PIPELINES[task].title}, {_modulation(order)}"
                rows.append(
                    _error_rate(
                        model,
                        task,
                        links.to(device),
                        order,
                        num_blocks,
                        level,
                        seed,
                        within(label, tell),
                    )
                )
    return rows


def _error_rate(
    model: Any,
    task: str,
    links: LinkSet,
    order: int,
    num_blocks: int,
    level: float,
    seed: int,
    tell: Callback,
) -> dict[str, Any]:
    """The row of one transmission with one modulation."""
    kind = PIPELINES[task]
    settings = _settings(kind, links.fft_size, order) | {"seed": seed}
    exact, queried = (kind(links, solver, **settings) for solver in (Exact(), model))
    together = min(_CALL, num_blocks)
    batch_size = max(1, together // (exact.num_streams * exact.num_blocks))
    tell(Event("finding Eb/N0"))
    ebno_db = fall(
        kind(links, Exact(), **settings),
        bler=_FALL,
        batch_size=batch_size,
        num_blocks=min(1000, num_blocks),
    )
    pairs = paired_errors(exact, queried, ebno_db, num_blocks, batch_size=batch_size, callback=tell)
    return (
        {
            "task": task,
            "transmission": kind.title,
            "modulation": _modulation(order),
            "bits_per_symbol": order,
            "coderate": kind.modulation[1],
            "block_length": settings["block_length"],
            "ebno_db": ebno_db,
        }
        | _paired(pairs, level)
        | {"tiers": tiers(queried.stats)}
    )


def tiers(counts: Counts) -> dict[str, float]:
    """Shares of the ways in which answers came about, of the links and of the subcarriers."""
    shares: dict[str, float] = {}
    for of_links in (True, False):
        group = {k: v for k, v in vars(counts).items() if k.startswith("links_") == of_links}
        total = sum(group.values())
        shares |= {name: value / total if total else 0.0 for name, value in group.items()}
    return shares


def shares_by_task(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean tiers of each transmission over the rows of :func:`error_rates`."""
    gathered: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        gathered.setdefault(row["transmission"], []).append(row["tiers"])
    return {
        name: {key: math.fsum(part[key] for part in parts) / len(parts) for key in parts[0]}
        for name, parts in gathered.items()
    }


def _check(num_blocks: int, bits: Sequence[int], level: float) -> None:
    if num_blocks < 0:
        raise ValueError(f"num_blocks is {num_blocks}, it must not be negative.")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, a probability between 0 and 1 is needed.")
    if not bits:
        raise ValueError("bits is empty, give the bits of at least one QAM symbol.")
    for order in bits:
        if order not in MODULATIONS:
            raise ValueError(f"bits has the entry {order}, it must be one of {MODULATIONS}.")


def _settings(kind: type[Pipeline], fft_size: int, bits: int) -> dict[str, Any]:
    """A slot that spans the band with few subcarriers, and blocks that fit into it with QPSK."""
    stride = max(1, fft_size // _SUBCARRIERS)
    fits = fft_size // stride * _NUM_OFDM_SYMBOLS * min(MODULATIONS)
    unit = math.lcm(*MODULATIONS)
    return {
        "num_bits_per_symbol": bits,
        "coderate": kind.modulation[1],
        "block_length": min(_BLOCK_LENGTH, fits // unit * unit),
        "stride": stride,
        "num_ofdm_symbols": _NUM_OFDM_SYMBOLS,
    }


def _modulation(bits: int) -> str:
    return "QPSK" if bits == 2 else f"{2**bits}-QAM"


def _paired(pairs: PairedErrors, level: float) -> dict[str, Any]:
    return {
        "num_blocks": pairs.num_blocks,
        "level": level,
        "exact_bler": pairs.first,
        "exact_bler_interval": list(pairs.interval(pairs.both + pairs.only_first, level)),
        "queried_bler": pairs.second,
        "queried_bler_interval": list(pairs.interval(pairs.both + pairs.only_second, level)),
        "only_exact_lost": pairs.only_first,
        "only_queried_lost": pairs.only_second,
        "difference": pairs.difference,
        "difference_interval": list(pairs.difference_interval(level)),
        "p_value": pairs.p_value,
        "differs": pairs.p_value < 1 - level,
    }
