"""Queries that kernels prove with the channel of the call before they apply them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.kernels.expansion import plain


@dataclass(frozen=True)
class Query:
    """Results of links, and what they are to be proven with.

    :param columns: [num_subcarriers, num_terms] int64, consecutive rows that a subcarrier takes, or
        [num_items, num_subcarriers, num_terms] where items take other ones
    :param values: float32, their weights, likewise, or of each item
    :param rows: [num_items, rank, n] float32, all components of the links side by side
    :param factors: of the channel's rows, by which it differs from the link,
        [num_items, num_subcarriers, num_rows] complex64
    :param places: which row of the channel each of the link's rows is, [num_items, num_rows] int64;
        None where it is the same
    :param tolerance: what a proof has to reach
    """

    columns: Tensor
    values: Tensor
    rows: Tensor
    factors: Tensor
    places: Tensor | None
    tolerance: Tolerance

    def at(self, subcarriers: slice) -> Query:
        """That of some subcarriers."""
        return replace(
            self,
            columns=self.columns[..., subcarriers, :],
            values=self.values[..., subcarriers, :],
            factors=self.factors[:, subcarriers],
        )


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
    return [*plain(query.columns, query.values, query.rows), factors, *places], bounds
