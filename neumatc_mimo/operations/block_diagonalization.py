"""Zero forcing between users of several antennas."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, positive
from neumatc_mimo.operations.config import Dimensions, OperationConfig
from neumatc_mimo.operations.registry import register
from neumatc_mimo.operations.slnr import SLNR


@register
class BlockDiagonalization(SLNR):
    r"""Precoder V of users with N antennas each, N consecutive rows :math:`A_k` of A [m, n], m <= n
    of full rank, such that no user receives another user's streams,

    .. math:: A_j V_k = 0 \quad (j \ne k), \qquad V_k^H V_k = I,

    and sends each user's along the right singular vectors of its rows within the null space of the
    others' (Spencer, Swindlehurst and Haardt, IEEE Trans. Signal Process. 52, 2004), the N that lie
    in the range of A^H.

    It is the limit of :class:`SLNR` without noise: from the pseudo-inverse and an eigenvalue
    problem of N x N a user, instead of a null space of n x n. ``s`` are the singular values.

    :param antennas_per_user: N
    """

    name: ClassVar[str] = "block_diagonalization"
    title: ClassVar[str] = "block-diagonalising precoder"
    noise_free: ClassVar[tuple[str, ...]] = ("v", "s")
    config: ClassVar[type[OperationConfig]] = OperationConfig

    def __init__(self, antennas_per_user: int = 1) -> None:
        self._set_antennas(antennas_per_user)

    @classmethod
    def configured(cls, config: Any, dimensions: Dimensions) -> Operation:
        del config
        return cls(dimensions.antennas_per_user)

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "antennas_per_user": self.antennas_per_user}

    def free_gains(self, no: Tensor | None) -> bool:
        # Gains within a user change its singular vectors; those between users change s alone.
        return self.antennas_per_user == 1

    def _compared(
        self, a: Tensor, components: Components, no: Tensor | float
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """As for the SLNR precoder, and what a user hears of others relative to its own."""
        defects, short = super()._compared(a, components, no)
        power = (a @ components[0]).abs().square().mT
        # By row and column of users, [..., K, K].
        power = self._by_user(self._by_user(power).mT)
        own = power.diagonal(dim1=-2, dim2=-1)
        foreign = power - torch.diag_embed(own)
        leakage = (foreign.sum(-1) / positive(own)).sum(-1)
        return (*defects, positive(leakage).sqrt()), short

    def _short(self, image: Tensor, v: Tensor, x: Tensor, noise: Tensor) -> Tensor:
        """None: without noise the rate is that of the leakage, which the residual has."""
        del image, x, noise
        return torch.zeros_like(v[..., 0, 0].real)

    def _check_gain(self, no: Tensor | float, rows: Tensor) -> None:
        """Any: there is no noise that a gain would count against."""

    def _noise(self, no: Tensor | float, like: Tensor) -> Tensor:
        return torch.zeros((), dtype=like.real.dtype, device=like.device)
