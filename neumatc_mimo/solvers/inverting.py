"""Solvers that invert square matrices, and the square matrices of an operation."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, batched
from neumatc_mimo.solvers.approximating import Approximating
from neumatc_mimo.solvers.approximation import Approximation
from neumatc_mimo.solvers.base import Channels, Solver
from neumatc_mimo.solvers.checks import require


class Inverting(Approximating):
    """Base of those among them that invert square matrices.

    :raises ValueError: in ``start``, if the operation's components are no inverses
    """

    def _approximate(self, operation: Operation, channels: Channels) -> Approximation:
        square = SquareInverses(self, operation)

        def approximation(subcarriers: slice) -> Components:
            a = channels.a[:, subcarriers].contiguous()
            b = square.matrices(a, channels.noise(subcarriers=subcarriers))
            return square.components(a, self._inverse(b))

        return approximation

    @abstractmethod
    def _inverse(self, b: Tensor) -> Tensor:
        """Inverses of b [..., n, n]."""


class SquareInverses:
    r"""The square matrices whose inverses make up an operation's components.

    The component ``w`` alone is the inverse of A itself. With ``w`` and ``x`` (see
    :class:`~neumatc_mimo.operations.pseudo_inverse.PseudoInverse`) the matrices are
    :math:`A A^H` and :math:`A A^H + \sigma^2 I`, one and the same without noise, and
    :math:`w = A^H (A A^H)^{-1}`.

    :raises ValueError: if the components are others
    """

    def __init__(self, solver: Solver, operation: Operation) -> None:
        require(solver, operation, ("w",), ("w", "x"))
        self._plain = operation.component_names == ("w",)

    def matrices(self, a: Tensor, no: Tensor | float) -> Tensor:
        """[1 or 2, ..., m, m] of a [..., m, n]."""
        if self._plain:
            return a[None]
        gram = a @ a.mH
        if not isinstance(no, Tensor):
            return gram[None]
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        return torch.stack([gram, gram + batched(no, a) * eye])

    def components(self, a: Tensor, inverses: Tensor) -> Components:
        """Components of a [..., m, n] from the inverses [1 or 2, ..., m, m]."""
        if self._plain:
            return (inverses[0],)
        return a.mH @ inverses[0], inverses[-1]

    def inverses(self, components: Components, no: Tensor | float) -> Tensor:
        """[1 or 2, ..., m, m] from exact components."""
        if self._plain:
            return components[0][None]
        w, x = components
        return torch.stack([w.mH @ w, x]) if isinstance(no, Tensor) else x[None]
