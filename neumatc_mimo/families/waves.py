"""Families over any domain: sums of plane waves, and the noise power as a coordinate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.families.base import Family
from neumatc_mimo.tensors.waves import turned


class PlaneWaves(Family):
    r"""Entries that are sums of complex exponentials along every coordinate.

    .. math:: A_{ij}(p) = \sum_{q=1}^{P} c_{ijq} \, e^{-2 \pi j \langle \nu_{ijq}, p \rangle}

    A multipath channel over frequency and time is one: ν holds the delay of each path in seconds
    and, with the other sign, its Doppler shift in Hz.

    :param coefficients: c, [m, n, P], complex
    :param cycles: ν, [m or 1, n or 1, P, d] cycles per unit of every coordinate
    :param domain: [d, 2] lowest and highest value of every coordinate, in its own units

    :raises ValueError: if shapes do not fit
    """

    def __init__(
        self, coefficients: Tensor, cycles: Tensor, domain: Tensor | Sequence[Sequence[float]]
    ) -> None:
        super().__init__(domain)
        wanted = (*coefficients.shape, self.dimension)
        fits = coefficients.ndim == 3 and cycles.shape[2:] == wanted[2:]
        if not fits or any(cycles.shape[i] not in (1, wanted[i]) for i in range(2)):
            raise ValueError(
                f"Coefficients {list(coefficients.shape)} and cycles {list(cycles.shape)} do not "
                f"fit: [m, n, paths] and [m or 1, n or 1, paths, {self.dimension}] are needed."
            )
        self._coefficients = coefficients.to(torch.complex128)
        self._cycles = cycles.to(torch.float64)

    @property
    def shape(self) -> tuple[int, int]:
        m, n, _ = self._coefficients.shape
        return m, n

    def __call__(self, p: Tensor) -> Tensor:
        self.coordinate(p)  # refuses other shapes
        turns = torch.tensordot(p.to(torch.float64), self._cycles.to(p.device), ([1], [3]))
        return (self._coefficients.to(p.device) * turned(-turns)).sum(-1)


class Augmented(Family):
    r"""Another family, augmented by its noise, :math:`\widetilde A = [A, \sigma I]`, [m, n + m].

    The last coordinate is the noise power in dB, :math:`\sigma^2 = 10^{\nu / 10}`. The
    pseudo-inverse is that of MMSE: :math:`\widetilde A^+ = [A^H X; \sigma X]` with
    :math:`X = (A A^H + \sigma^2 I)^{-1}`; X itself is the inverse of the
    :class:`~neumatc_mimo.families.products.Gram` of this family.

    :param family: A
    :param noise_db: lowest and highest noise power in dB
    """

    def __init__(self, family: Family, noise_db: tuple[float, float]) -> None:
        noise = torch.tensor([noise_db], dtype=torch.float64)
        super().__init__(torch.cat([family.domain, noise]))
        self._family = family

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self._family.shape
        return m, n + m

    def __call__(self, p: Tensor) -> Tensor:
        self.coordinate(p)  # refuses other shapes
        a = self._family(p[:, :-1])
        sigma = 10 ** (p[:, -1:, None].to(torch.float64) / 20)
        eye = torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
        return torch.cat([a, sigma * eye], dim=-1)
