"""Families made of others: their Gram matrices, and their products."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.families.base import Family
from neumatc_mimo.families.entries import diagonal


class Gram(Family):
    r"""The regularised Gram matrix of another family, :math:`A(p) A(p)^H + \sigma^2 I`, [m, m].

    :param family: A
    :param no: σ², zero or more; above zero every matrix has an inverse

    :raises ValueError: if σ² is negative
    """

    def __init__(self, family: Family, no: float = 0.0) -> None:
        super().__init__(family.domain)
        if not no >= 0:
            raise ValueError(f"The noise power of a Gram matrix is {no}, it is not negative.")
        self._family = family
        self._offset = diagonal(self.shape, no)

    @property
    def shape(self) -> tuple[int, int]:
        rows, _ = self._family.shape
        return rows, rows

    def __call__(self, p: Tensor) -> Tensor:
        a = self._family(p)
        return a @ a.mH + self._offset.to(a.device)


class Product(Family):
    r"""The product of two families on the same domain, :math:`A(p) = L(p) R(p)^H`, [m, n].

    With L [m, k] and R [n, k] its rank is k at most (NeuMatC, Section 3.1).

    :param left: L
    :param right: R

    :raises ValueError: if domains or inner dimensions differ
    """

    def __init__(self, left: Family, right: Family) -> None:
        super().__init__(left.domain)
        if not torch.equal(left.domain, right.domain) or left.shape[1] != right.shape[1]:
            raise ValueError(
                f"There is no product of {list(left.shape)} over {left.domain.tolist()} and the "
                f"adjoint of {list(right.shape)} over {right.domain.tolist()}."
            )
        self._left, self._right = left, right

    @property
    def shape(self) -> tuple[int, int]:
        return self._left.shape[0], self._right.shape[0]

    def __call__(self, p: Tensor) -> Tensor:
        return self._left(p) @ self._right(p).mH
