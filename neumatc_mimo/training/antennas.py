r"""Links as the few directions of their antennas that their paths take, in which they are learned.

The rows of a link's channel lie, at every frequency, in the span of its paths' array responses:
with an orthonormal basis Q of it, :math:`A(f) = A(f) Q Q^H`. Paths of a city arrive from few
directions: a hundred of 256 are enough for 32 users of Munich. Where a result follows them, as
:math:`A^+ = Q (A Q)^+` does, samples, residuals and projections are those of the small A Q.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.operations import Operation
from neumatc_mimo.scenario.links import LinkSet

# Energy of the rows that may lie outside: the square of what single precision rounds.
_OUTSIDE = 1e-12
# Of the antennas, above which little is gained.
_MOST = 0.5


@dataclass(frozen=True)
class Directions:
    """Orthonormal bases of the rows of links' channels.

    :param basis: Q, [num_links, M, r] complex128
    """

    basis: Tensor

    @classmethod
    def of(cls, operation: Operation, links: LinkSet) -> Directions | None:
        """Those of some links; None where they are too many, or an operation does not follow."""
        gram = links.column_gram() if operation.column_components else None
        if gram is None:
            return None
        energy, vectors = torch.linalg.eigh(gram)
        # Ascending; a weak user counts as a strong one does.
        outside = energy.clamp_min(0).cumsum(-1) < _OUTSIDE * links.num_rows
        num = max(links.num_cols - int(outside.sum(-1).min()), links.num_rows)
        return cls(vectors[..., -num:]) if num <= _MOST * links.num_cols else None

    def mapping(self, operation: Operation, mapping: CompactMapping) -> CompactMapping:
        """That of the links from that of A Q."""
        parts = [
            self._all_antennas(layout, latent, mapping)
            if name in operation.column_components
            else (layout, latent)
            for name, layout, latent in zip(
                operation.component_names, mapping.layouts, mapping.latents, strict=True
            )
        ]
        layouts, latents = zip(*parts, strict=True)
        return replace(mapping, layouts=tuple(layouts), latents=tuple(latents))

    def _all_antennas(
        self, layout: Layout, latent: Latent, mapping: CompactMapping
    ) -> tuple[Layout, Latent]:
        """Q C for latent tensors C of a component [r, columns]."""
        full = Layout((self.basis.shape[1], *layout.shape[1:]), layout.kind)
        given = mapping.rows_of(latent).values
        into = given.new_empty(*given.shape[:-1], full.size)
        # Rows of links stand one below the other.
        ends = [*mapping.starts.tolist()[1:], len(given)]
        for start, end, basis in zip(
            mapping.starts.tolist(), ends, self.basis.to(torch.complex64), strict=True
        ):
            into[start:end] = full.pack(basis @ layout.unpack(given[start:end]))
        return full, Latent(into.view(*latent.shape[:-1], full.size))
