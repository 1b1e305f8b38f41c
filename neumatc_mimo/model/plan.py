"""What a query needs of a grid of frequencies, made once for a grid."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from neumatc_mimo.mapping.basis import Table
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.scenario.links import LinkSet


@dataclass(frozen=True)
class GridPlan:
    """What depends on a model and a grid alone.

    :param key: of the grid, by which other things are kept; empty in a trace, which keeps nothing
    :param frequencies: [F] Hz relative to the carrier, float64, on the model's device
    :param x: coordinates of the trunk's functions, [F] float64
    :param table: values of these functions; None where each link has its own
    :param index: [F] nearest subcarriers of the trained grid
    :param on_grid: [F] whether they are these subcarriers, and not between or beside them
    """

    key: bytes
    frequencies: Tensor
    x: Tensor
    table: Table | None
    index: Tensor
    on_grid: Tensor

    @classmethod
    def of(
        cls, mapping: CompactMapping, links: LinkSet, frequencies: Tensor, key: bytes = b""
    ) -> GridPlan:
        """The plan of frequencies [F] in Hz for the mapping of some links."""
        # A copy: the caller may write to its own.
        frequencies = frequencies.to(links.device, copy=True)
        index, on_grid = nearest_subcarriers(links, frequencies)
        x = mapping.coordinate(frequencies)
        table = mapping.trunk.table(x) if mapping.trunk.is_tabled_at_once else None
        return cls(key, frequencies, x, table, index, on_grid)

    def is_within(self, band: tuple[float, float], margin: float) -> bool:
        """Whether all frequencies lie in a band, or at most so many Hz beside it."""
        low, high = self.frequencies.min(), self.frequencies.max()
        return bool((low >= band[0] - margin) & (high <= band[1] + margin))


def nearest_subcarriers(links: LinkSet, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest trained subcarriers of frequencies [F], and whether they are these, [F] each."""
    position = frequencies / links.subcarrier_spacing + links.fft_size // 2
    index = position.round().clamp(0, links.fft_size - 1)
    return index.long(), (position - index).abs() < 1e-3
