"""How close a solver's results come to the exact ones, over a whole grid."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo import metrics
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.operations.svd import SVD
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.scenario.links import LinkSet

_RATE_NO = 10 ** (-20 / 10)


@torch.no_grad()
def fidelity(model: Any, scenario: Scenario, *, num_frequencies: int | None = None) -> Any:
    """Compare a model's queries with exact results in double precision.

    :param model: A ScenarioModel
    :param scenario: The scenario that it was trained for
    :param num_frequencies: Evenly spread subcarriers to use; None is all of them

    :return: Plain values by operation, ready for JSON
    """
    results: dict[str, Any] = {}
    if scenario.multi_user is not None:
        links = scenario.multi_user
        assert links.noise_db is not None
        low, high = links.noise_db
        results["zero_forcing"] = _inverse(model, links, 0.0, num_frequencies)
        for noise_db in (low, (low + high) / 2, high):
            key = f"mmse_{noise_db:g}_db"
            results[key] = _inverse(model, links, 10 ** (noise_db / 10), num_frequencies)
    if scenario.single_user is not None:
        results["svd"] = _svd(model, scenario.single_user, num_frequencies)
    return results


def _inverse(model: Any, links: LinkSet, no: float, num_frequencies: int | None) -> Any:
    frequencies = _subset(links, num_frequencies)
    errors, ratios = [], []
    operation = PseudoInverse()
    for link in range(links.num_links):
        h = links.channel(frequencies, [link], dtype=torch.complex128)[0]
        exact = operation.exact(h, no)[0][..., : links.num_cols, :]
        (w,) = model.query("pseudo_inverse", frequencies, links=torch.tensor([link]), no=no)
        w = w[0].to(exact)
        errors.append(metrics.relative_error(w, exact))
        ratios.append(metrics.sir_db(h, w).amin(-1) if no == 0 else None)
    error = torch.cat(errors)
    result = {
        "filter_error_median_db": _db(error.median()),
        "filter_error_max_db": _db(error.max()),
    }
    if no == 0:
        result["error_over_eckart_young"] = _over_bound(model, links)
        sir = torch.cat([ratio for ratio in ratios if ratio is not None])
        result["sir_5th_percentile_db"] = float(torch.quantile(sir, 0.05))
        result["sir_median_db"] = float(sir.median())
    return result


def _over_bound(model: Any, links: LinkSet, num_links: int = 8) -> float:
    """Median over links of the mapping's error over the Eckart-Young bound at its rank.

    The mapping alone, without corrections and patches, at no = 0 on every third subcarrier;
    aligned samples with real and imaginary parts side by side, as the basis is real.
    """
    mapping = model.models["pseudo_inverse"].mapping
    frequencies = links.grid_frequencies()[1::3]
    ratios = []
    for link in range(min(num_links, links.num_links)):
        h = links.channel(frequencies, [link], aligned=True, dtype=torch.complex128)[0]
        exact = PseudoInverse().exact(h)[0][:, : links.num_cols]
        (w,) = mapping.select(torch.tensor([link], device=h.device))(frequencies, torch.zeros(1))
        error = torch.linalg.norm(w[0, :, : links.num_cols] - exact) / torch.linalg.norm(exact)
        ratios.append(float(error) / metrics.eckart_young(exact.flatten(1), mapping.trunk.rank))
    return sorted(ratios)[len(ratios) // 2]


def _svd(model: Any, links: LinkSet, num_frequencies: int | None) -> Any:
    frequencies = _subset(links, num_frequencies)
    operation = SVD(links.num_streams or links.num_rows)
    queried, exact, residuals = [], [], []
    for link in range(links.num_links):
        h = links.channel(frequencies, [link], dtype=torch.complex128)[0]
        u, s, v = (t[0] for t in model.query("svd", frequencies, links=torch.tensor([link])))
        u, s, v = u.to(h), s.to(h.real), v.to(h)
        no = torch.tensor(_RATE_NO, dtype=torch.float64)
        queried.append(metrics.achievable_rate(h, v, no))
        exact.append(metrics.achievable_rate(h, operation.exact(h)[2], no))
        residuals.append(metrics.svd_residual(h, u, s, v))
    residual = torch.cat(residuals)
    return {
        "rate_ratio": float(torch.cat(queried).mean() / torch.cat(exact).mean()),
        "residual_median_db": _db(residual.median()),
        "residual_max_db": _db(residual.max()),
    }


def _subset(links: LinkSet, num_frequencies: int | None) -> Tensor:
    frequencies = links.grid_frequencies()
    if num_frequencies is None or num_frequencies >= len(frequencies):
        return frequencies
    index = torch.linspace(0, len(frequencies) - 1, num_frequencies).round().long()
    return frequencies[index.to(frequencies.device)]


def _db(error: Tensor) -> float:
    """Relative error as a power ratio in dB."""
    return 20 * math.log10(max(float(error), 1e-20))
