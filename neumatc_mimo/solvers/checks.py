"""What solvers refuse: operations that they do not compute, and arguments out of range."""

from __future__ import annotations

from neumatc_mimo.operations.base import Operation
from neumatc_mimo.solvers.base import Channels, Solver


def require(solver: Solver, operation: Operation, *accepted: tuple[str, ...]) -> None:
    """Refuse an operation whose components are none of the accepted ones.

    :raises ValueError: saying which components the solver computes
    """
    if operation.component_names not in accepted:
        known = " or ".join(f"({', '.join(names)})" for names in accepted)
        raise ValueError(
            f"{type(solver).__name__} computes the components {known}, not "
            f"({', '.join(operation.component_names)}); take another solver."
        )


def num_triplets(solver: Solver, operation: Operation, channels: Channels) -> int:
    """Number of triplets that an operation asks of an SVD.

    :raises ValueError: if its components are no triplets, or more than the matrices have
    """
    require(solver, operation, ("u", "s", "v"))
    m, n = channels.a.shape[-2:]
    (num,) = operation.component_shapes(m, n)[1]
    if num > min(m, n):
        raise ValueError(f"{num} triplets are more than a matrix of {m} x {n} has.")
    return num


def check_positive(solver: Solver, **arguments: float) -> None:
    """Refuse arguments below one: numbers of samples, steps and so on."""
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(
                f"{name} of {type(solver).__name__} is {value}, at least one is needed."
            )
