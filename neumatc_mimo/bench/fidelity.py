"""How close a solver's results come to the exact ones, where it was not trained."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid
from torch import Tensor

from neumatc_mimo import metrics
from neumatc_mimo.bench.promise import served
from neumatc_mimo.blocks import MMSEEqualizer
from neumatc_mimo.operations import SVD, WMMSE, Components, Operation, PseudoInverse
from neumatc_mimo.operations.config import power
from neumatc_mimo.operations.tracking import normalised
from neumatc_mimo.progress import Callbacks, Event, reported
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.scenario.links import LinkSet

# The name of some figures, and what computes them.
Comparison = tuple[str, Callable[[], dict[str, float]]]

# A bound below single precision is none.
_ROUNDING = 1e-7
_RATE_NO = 10 ** (-20 / 10)
# Number of results without the quality that was promised.
BELOW = "below_promise"


@dataclass(frozen=True)
class Asked:
    """How much is compared, see :func:`fidelity`."""

    num_frequencies: int | None
    num_receivers: int | None
    seed: int


@torch.no_grad()
def fidelity(
    model: Any,
    scenario: Scenario,
    *,
    num_frequencies: int | None = None,
    num_receivers: int | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callbacks = None,
) -> dict[str, dict[str, float]]:
    """Compare a model's queries with exact results in double precision.

    All figures are taken on grid subcarriers that were neither samples nor collocation points.
    Results are as users get them, with corrections and patches; those of the mapping alone, and
    the shares of corrected and patched subcarriers, stand beside them. ``below_promise`` counts
    results without the quality that training proved: filters at every subcarrier of the grid, as
    blocks apply them, results of other operations among the subcarriers compared. Percentiles are
    those of the worst: a 5th-percentile SIR is exceeded by 95 % of the streams. SINRs and rates of
    zero forcing and of the SVD are those at a noise power of -20 dB.

    :param model: A ScenarioModel
    :param scenario: The scenario that it was trained for
    :param num_frequencies: Evenly spread ones of these subcarriers to use; None is all of them
    :param num_receivers: Links whose MMSE block is compared with Sionna's; None is all of them
    :param seed: Seed of the received symbols
    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Told of the comparisons that are done

    :return: Plain values by operation, ready for JSON
    """
    results: dict[str, dict[str, float]] = {}
    asked = Asked(num_frequencies, num_receivers, seed)
    comparisons = list(_comparisons(model, scenario, asked))
    with reported(callback, progress) as tell:
        for number, (name, compare) in enumerate(comparisons):
            done = Event("comparing with exact results", number, len(comparisons), "figures")
            tell(done)
            results[name] = compare() | results.get(name, {})
        tell(replace(done, done=len(comparisons)))
    return results


def _comparisons(model: Any, scenario: Scenario, asked: Asked) -> Iterator[Comparison]:
    """Names and functions of the comparisons; figures of the same name stand together."""
    for part in model.models.values():
        links = getattr(scenario, part.links.kind)
        if links is not None:
            yield from particular_figures(part.operation, model, links, asked)
    for name, part in model.models.items():
        yield name, partial(_compared, part, _unseen(part, asked.num_frequencies))


@functools.singledispatch
def particular_figures(
    operation: Operation, model: Any, links: LinkSet, asked: Asked
) -> Iterator[Comparison]:
    """Comparisons that mean something for one operation, beside those of all.

    Another one has its own where ``@particular_figures.register`` stands above a function whose
    first argument is of its class.

    :param operation: of the model
    :param model: a ScenarioModel
    :param links: whose channels it was trained on
    """
    del operation, model, links, asked
    return iter(())


@particular_figures.register
def _(operation: PseudoInverse, model: Any, links: LinkSet, asked: Asked) -> Iterator[Comparison]:
    if links.noise_db is None:
        return
    part = model.models[operation.name]
    frequencies = _unseen(part, asked.num_frequencies)
    yield "zero_forcing", partial(_inverse, model, links, 0.0, frequencies)
    low, high = links.noise_db
    chosen = range(links.num_links)[: asked.num_receivers]
    for noise_db in (low, (low + high) / 2, high):
        compare = partial(_mmse, model, links, power(noise_db), frequencies, chosen, asked.seed)
        yield f"mmse_{noise_db:g}_db", compare


@particular_figures.register
def _(operation: WMMSE, model: Any, links: LinkSet, asked: Asked) -> Iterator[Comparison]:
    frequencies = _unseen(model.models[operation.name], asked.num_frequencies)
    yield operation.name, partial(_sum_rate, model, operation, links, frequencies)


@particular_figures.register
def _(operation: SVD, model: Any, links: LinkSet, asked: Asked) -> Iterator[Comparison]:
    frequencies = _unseen(model.models[operation.name], asked.num_frequencies)
    yield operation.name, partial(_svd, model, operation, links, frequencies)


def _mmse(
    model: Any,
    links: LinkSet,
    no: float,
    frequencies: Tensor,
    chosen: Sequence[int],
    seed: int,
) -> dict[str, float]:
    """The filter and the receiver at a noise power."""
    return _inverse(model, links, no, frequencies) | _receiver(model, links, no, chosen, seed)


def _shares(part: Any) -> dict[str, float]:
    """Shares of the unseen subcarriers of all links."""
    return {
        f"{name}_share": float((mask[..., part.unseen] > 0).double().mean())
        for name, mask in (("corrected", part.marks.corrected), ("patched", part.marks.exact))
    }


def _compared(part: Any, frequencies: Tensor) -> dict[str, float]:
    """Shares of what was repaired, the components' errors in the gauge of the exact ones, and what
    their certificate proves.

    At the lowest noise power that the mapping knows; the error is that of the component that a
    block applies, or else of the first one.
    """
    operation, links = part.operation, part.links
    index = operation.matrix
    no = float(part.mapping.axis.powers[0])
    errors, qualities = [], []
    for link in range(links.num_links):
        h, found = _aligned(part, link, no, frequencies)
        exact = operation.align_to(operation.exact(h, no), found)
        difference = (found[index] - exact[index]).flatten(1)
        size = torch.linalg.vector_norm(exact[index].flatten(1), dim=-1)
        errors.append(torch.linalg.vector_norm(difference, dim=-1) / size)
        qualities.append(operation.certificate(h, found, no, part.tolerance).quality)
    error = torch.cat(errors)
    return (
        _shares(part)
        | {
            "error_median_db": _db(error.median()),
            "error_max_db": _db(error.max()),
        }
        | _worst("certificate", torch.cat(qualities))
        | {BELOW: float((~(torch.cat(qualities) >= part.tolerance.quality_db)).sum())}
    )


def _aligned(part: Any, link: int, no: float, frequencies: Tensor) -> tuple[Tensor, Components]:
    """An aligned link [F, m, n] and its components as users get them, in double precision."""
    chosen = torch.tensor([link], device=part.links.device)
    h = part.links.channel(frequencies, chosen, aligned=True, dtype=torch.complex128)[0]
    power = torch.full((1,), no, dtype=torch.float64, device=part.links.device)
    components = part.components(frequencies, chosen, power)
    return h, tuple(c[0].to(h if c.is_complex() else h.real) for c in components)


def _worst(name: str, values_db: Tensor) -> dict[str, float]:
    """The percentiles of the worst values, and the median, in dB."""
    values = values_db.flatten()
    return {
        f"{name}_1st_percentile_db": float(_quantile(values, 0.01)),
        f"{name}_5th_percentile_db": float(_quantile(values, 0.05)),
        f"{name}_median_db": float(_quantile(values, 0.5)),
    }


def _beside_exact(sinr_db: Tensor, exact_db: Tensor) -> dict[str, float]:
    """SINRs in dB [..., num_streams] of queried and exact results, and the ratio of sum rates."""
    rates = [torch.log2(1 + 10 ** (ratio / 10)).sum(-1).mean() for ratio in (sinr_db, exact_db)]
    return (
        _worst("sinr", sinr_db)
        | _worst("exact_sinr", exact_db)
        | {"sum_rate_ratio": float(rates[0] / rates[1])}
    )


def _inverse(model: Any, links: LinkSet, no: float, frequencies: Tensor) -> dict[str, float]:
    operation, part = PseudoInverse(), model.models["pseudo_inverse"]
    errors, ratios, alone, alone_ratios = [], [], [], []
    noisy, exact_noisy, qualities = [], [], []
    for link in range(links.num_links):
        chosen = torch.tensor([link], device=links.device)
        h = links.channel(frequencies, [link], dtype=torch.complex128)[0]
        exact = operation.solve(h, no).dense
        (w,) = model.query("pseudo_inverse", frequencies, links=chosen, no=no)
        errors.append(metrics.relative_error(w[0].to(exact), exact))
        ratios.append(metrics.sir_db(h, w[0].to(exact)).amin(-1))
        noisy.append(metrics.sinr_db(h, w[0].to(exact), no or _RATE_NO))
        exact_noisy.append(metrics.sinr_db(h, exact, no or _RATE_NO))
        aligned, found = _aligned(part, link, no, frequencies)
        qualities.append(part.operation.certificate(aligned, found, no, part.tolerance).quality)
        components = part.mapping.select(chosen)(frequencies, torch.tensor([no]))
        rows = part.links.row_factors(frequencies, chosen).to(torch.complex64)
        plain = operation.answer(components, no, rows).dense[0].to(exact)
        alone.append(metrics.relative_error(plain, exact))
        alone_ratios.append(metrics.sir_db(h, plain).amin(-1))
    error, plain_error = torch.cat(errors), torch.cat(alone)
    result = {
        "filter_error_median_db": _db(error.median()),
        "filter_error_max_db": _db(error.max()),
        "mapping_alone_error_median_db": _db(plain_error.median()),
    }
    result |= _worst("certificate", torch.cat(qualities))
    if no == 0:
        result |= _worst("sir", torch.cat(ratios))
        result["mapping_alone_sir_5th_percentile_db"] = float(
            _quantile(torch.cat(alone_ratios), 0.05)
        )
    result |= _beside_exact(torch.cat(noisy), torch.cat(exact_noisy))
    if no == 0:
        result |= _over_bound(part, links)
    everywhere = served(model, links, no, tolerance=part.tolerance)
    return result | {"least_served_sir_db": everywhere.least, BELOW: float(everywhere.below)}


def broken_promises(results: Mapping[str, Any]) -> dict[str, int]:
    """Operations of a fidelity report with results below the promised quality, and how many."""
    return {
        name: int(values[BELOW])
        for name, values in results.items()
        if isinstance(values, Mapping) and values.get(BELOW)
    }


def _over_bound(part: Any, links: LinkSet, num_links: int = 8) -> dict[str, float]:
    """The mapping's error beside the Eckart-Young bound, medians over links.

    The mapping alone, at no = 0, on every third subcarrier; aligned samples with real and
    imaginary parts side by side, as the basis is real. Beside the mapping's rank stands the rank
    whose bound is the mapping's error. The ratio at the mapping's own rank has a meaning only where
    the bound is above rounding: not for a trunk of local functions that keeps all of them.
    """
    mapping = part.mapping
    frequencies = links.grid_frequencies()[1::3]
    ratios, ranks = [], []
    for link in range(min(num_links, links.num_links)):
        chosen = torch.tensor([link], device=links.device)
        h = links.channel(frequencies, [link], aligned=True, dtype=torch.complex128)[0]
        exact = PseudoInverse().exact(h)[0]
        w = mapping.select(chosen)(frequencies, torch.zeros(1))[0][0]
        error = float(torch.linalg.norm(w - exact) / torch.linalg.norm(exact))
        bounds = metrics.eckart_young_bounds(exact.flatten(1))
        bound = float(bounds[mapping.trunk.rank]) if mapping.trunk.rank < len(bounds) else 0.0
        if bound > _ROUNDING:
            ratios.append(error / bound)
        ranks.append(int((bounds > error).sum()))
    ratio = {"error_over_eckart_young": median(ratios)} if ratios else {}
    return {
        "rank": float(mapping.trunk.rank),
        "rank_of_equal_eckart_young_bound": float(median(ranks)),
    } | ratio


def _receiver(
    model: Any, links: LinkSet, no: float, chosen: Sequence[int], seed: int
) -> dict[str, float]:
    """The queried MMSE block against Sionna's in double precision, one OFDM symbol a link."""
    num_users, num_antennas = links.num_rows, links.num_cols
    device = str(links.device)
    grid = ResourceGrid(
        num_ofdm_symbols=1,
        fft_size=links.fft_size,
        subcarrier_spacing=links.subcarrier_spacing,
        num_tx=num_users,
        num_streams_per_tx=1,
        device=device,
    )
    management = StreamManagement(np.ones([1, num_users]), 1)
    sionna = LMMSEEqualizer(grid, management, precision="double", device=device)
    ours = MMSEEqualizer(grid, management, model, device=device)
    frequencies = links.grid_frequencies()
    unseen = model.models["pseudo_inverse"].unseen
    generator = torch.Generator(device).manual_seed(seed)
    errors, deviations = [], []
    for link in chosen:
        h = links.channel(frequencies, [link], dtype=torch.complex128)  # [1, F, K, M]
        h = h.permute(0, 3, 2, 1)[:, None, :, :, None, None]
        shape = (1, num_users, 1, 1, links.fft_size)
        x = torch.randn(shape, dtype=torch.complex128, generator=generator, device=device)
        noise = torch.randn(
            (1, 1, num_antennas, 1, links.fft_size),
            dtype=torch.complex128,
            generator=generator,
            device=device,
        )
        y = (h * x[:, None, None]).sum((3, 4)) + no**0.5 * noise
        power = torch.tensor(no, dtype=torch.float64, device=device)
        expected = sionna(y, h, torch.zeros_like(power), power)
        got = ours(y.to(torch.complex64), h.to(torch.complex64), 0.0, power.float())
        # [num_users, F], on subcarriers that were not trained on
        difference = (got[0] - expected[0])[0, :, 0][:, unseen]
        errors.append(
            torch.linalg.norm(difference, dim=0)
            / torch.linalg.norm(expected[0][0, :, 0][:, unseen], dim=0)
        )
        deviation = (got[1] / expected[1] - 1).abs()[0, :, 0][:, unseen]
        deviations.append(deviation.flatten())
    error, deviation = torch.cat(errors), torch.cat(deviations)
    return {
        "x_hat_error_median_db": _db(error.median()),
        "x_hat_error_95th_percentile_db": _db(_quantile(error, 0.95)),
        "no_eff_deviation_99th_percentile": float(_quantile(deviation, 0.99)),
        "no_eff_deviation_max": float(deviation.max()),
    }


def _svd(model: Any, operation: SVD, links: LinkSet, frequencies: Tensor) -> dict[str, float]:
    queried, exact, residuals = [], [], []
    ratios, noisy, exact_noisy = [], [], []
    for link in range(links.num_links):
        h = links.channel(frequencies, [link], dtype=torch.complex128)[0]
        u, s, v = (
            t[0] for t in model.query(operation.name, frequencies, links=torch.tensor([link]))
        )
        u, s, v = u.to(h), s.to(h.real), v.to(h)
        no = torch.tensor(_RATE_NO, dtype=torch.float64)
        queried.append(metrics.achievable_rate(h, v, no))
        best_u, _, best_v = operation.exact(h)
        exact.append(metrics.achievable_rate(h, best_v, no))
        residuals.append(metrics.svd_residual(h, u, s, v))
        # Combined with U^H, whose rows leave the noise as it is.
        ratios.append(metrics.sir_db(u.mH @ h, v).amin(-1))
        noisy.append(metrics.sinr_db(u.mH @ h, v, no))
        exact_noisy.append(metrics.sinr_db(best_u.mH @ h, best_v, no))
    residual = torch.cat(residuals)
    together = _worst("sir", torch.cat(ratios))
    together |= _beside_exact(torch.cat(noisy), torch.cat(exact_noisy))
    return together | {
        "rate_ratio": float(torch.cat(queried).mean() / torch.cat(exact).mean()),
        "residual_median_db": _db(residual.median()),
        "residual_max_db": _db(residual.max()),
    }


def _sum_rate(
    model: Any, operation: WMMSE, links: LinkSet, frequencies: Tensor
) -> dict[str, float]:
    """Sum rates of queried and exact precoders, and of regularised zero forcing."""
    no = operation.no
    queried, exact, regularised = [], [], []
    for link in range(links.num_links):
        h = links.channel(frequencies, [link], dtype=torch.complex128)[0]
        (v,) = model.query(operation.name, frequencies, links=torch.tensor([link]))
        w = PseudoInverse().solve(h, no).dense
        queried.append(metrics.sum_rate(h, v[0].to(h), no))
        exact.append(metrics.sum_rate(h, operation.exact(h)[0], no))
        regularised.append(metrics.sum_rate(h, normalised(w)[0], no))
    found, best, plain = (torch.cat(rates) for rates in (queried, exact, regularised))
    return {
        "rate_ratio": float(found.mean() / best.mean()),
        "rate_ratio_least": float((found / best).min()),
        "rate_ratio_of_regularised_zero_forcing": float(plain.mean() / best.mean()),
    }


def _unseen(part: Any, num_frequencies: int | None) -> Tensor:
    frequencies: Tensor = part.links.grid_frequencies()[part.unseen]
    if not len(frequencies):
        raise ValueError(
            f"All {part.links.fft_size} subcarriers were samples or collocation points of the "
            "training, none is left to compare on; lower collocation and samples in [model], and "
            "train again."
        )
    if num_frequencies is None or num_frequencies >= len(frequencies):
        return frequencies
    index = torch.linspace(0, len(frequencies) - 1, num_frequencies).round().long()
    return frequencies[index.to(frequencies.device)]


def _quantile(values: Tensor, q: float) -> Tensor:
    """As torch.quantile, which refuses more than 2^24 values."""
    rank = round(q * (len(values) - 1)) + 1
    return values.kthvalue(rank).values


def _db(error: Tensor) -> float:
    """Relative error as a power ratio in dB."""
    return 20 * math.log10(max(float(error), 1e-20))
