"""Queries that kernels prove with the channel of the call before they apply them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.kernels.expansion import Expansion


@dataclass(frozen=True)
class Query:
    """Results of links, and what they are to be proven with.

    :param expansion: all components side by side, those of the link
    :param factors: of the channel's rows, by which it differs from the link,
        [num_items, num_subcarriers, num_rows] complex64
    :param places: which row of the channel each of the link's rows is, [num_items, num_rows] int64;
        None where it is the same
    :param tolerance: what a proof has to reach
    """

    expansion: Expansion
    factors: Tensor
    places: Tensor | None
    tolerance: Tolerance


def parts_of(query: Query | None) -> tuple[list[Tensor], list[float]]:
    """What operators take of a query: its tensors, and the least ratio of powers and the largest
    range error of a proof.
    """
    if query is None:
        return [], []
    factors = query.factors.resolve_conj().contiguous()
    places = [] if query.places is None else [query.places.contiguous()]
    tolerance = query.tolerance
    bounds = [10 ** (tolerance.quality_db / 10), tolerance.range_error]
    return [*query.expansion.plain(), factors, *places], bounds
