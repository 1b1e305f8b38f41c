"""PyTorch's SVD: LAPACK on a CPU, cuSOLVER on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximating import Approximating
from neumatc_mimo.solvers.approximation import Approximation
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.solvers.checks import num_triplets
from neumatc_mimo.solvers.registry import register

_DRIVERS = ("gesvd", "gesvdj", "gesvda")


@register(name="library_svd")
@dataclass(frozen=True)
class LibrarySVD(Approximating):
    r"""The strongest triplets of the thin SVD, ``torch.linalg.svd`` ("cuSOLVER" in NeuMatC).

    All triplets are found, of which the first L are kept. Exact to rounding, in the precision of
    the channels, each point by itself; those of a tile are one call. On a CPU it is LAPACK's
    ``gesdd``, whatever the driver.

    :param driver: cuSOLVER's method on CUDA: "gesvd" (QR iteration), "gesvdj" (Jacobi), "gesvda"
        (approximate, batched, for tall matrices) or None, PyTorch's own choice between them

    :raises ValueError: if there is no such driver; in ``start``, if the operation's components are
        no triplets
    """

    driver: str | None = None

    def __post_init__(self) -> None:
        if self.driver is not None and self.driver not in _DRIVERS:
            raise ValueError(
                f'cuSOLVER has no driver "{self.driver}", known are {", ".join(_DRIVERS)}.'
            )

    def _approximate(self, operation: Operation, channels: Channels) -> Approximation:
        strongest = slice(0, num_triplets(self, operation, channels))
        # PyTorch refuses the argument on a CPU.
        driver = self.driver if channels.a.is_cuda else None

        def approximation(subcarriers: slice) -> Components:
            a = channels.a[:, subcarriers]
            u, s, vh = torch.linalg.svd(a, full_matrices=False, driver=driver)
            return u[..., strongest], s[..., strongest], vh[..., strongest, :].mH

        return approximation
