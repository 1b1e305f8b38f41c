"""A trunk of splines on knots that each link has of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis import KnotSplines, Table
from neumatc_mimo.mapping.trunk.base import Trunk


@dataclass(frozen=True)
class KnotTrunk(Trunk):
    """The splines of links themselves, other ones and other numbers of them for each.

    :param basis: of all links
    """

    basis: KnotSplines

    @property
    def rank(self) -> int:
        """Most functions of a link."""
        return self.basis.width

    @property
    def is_shared(self) -> bool:
        return False

    @property
    def is_tabled_at_once(self) -> bool:
        # Few functions differ from zero at a point.
        return True

    def table(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Table:
        return self.basis.table(x, dtype)

    def select(self, links: slice | Tensor) -> KnotTrunk:
        index = links if isinstance(links, slice) else links.cpu()
        return KnotTrunk(self.basis.select(torch.arange(self.basis.num_links)[index].tolist()))

    def to(self, other: torch.device | str | torch.dtype) -> KnotTrunk:
        return self if isinstance(other, torch.dtype) else KnotTrunk(self.basis.to(other))

    def joined(self, others: Sequence[KnotTrunk]) -> KnotTrunk:
        bases = [trunk.basis for trunk in (self, *others)]
        places = [basis.places(link) for basis in bases for link in range(basis.num_links)]
        return KnotTrunk(KnotSplines.of(places, self.basis.degree))

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.basis.tensors)

    def settings(self) -> dict[str, Any]:
        return self.basis.settings()
