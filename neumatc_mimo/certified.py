"""Query, certificate, correction, exact: the same for every solver, with counts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, Tolerance, select
from neumatc_mimo.solvers.base import Counts


def certify(
    operation: Operation,
    a: Tensor,
    components: Components,
    no: Tensor | float,
    tolerance: Tolerance,
    counts: Counts,
) -> Components:
    """Prove the components of every matrix; correct, then compute exactly, what is not proven.

    :param a: [num_items, num_subcarriers, m, n]
    :param components: [num_items, num_subcarriers, ...] each
    :param no: noise power, broadcastable to [num_items, num_subcarriers]
    :param counts: increased by what was queried, corrected and computed exactly
    """
    ok = operation.certificate(a, components, no, tolerance).ok
    counts.queried += int(ok.sum())
    if bool(ok.all()):
        return components
    corrected = operation.correct(a, components, no)
    better = operation.certificate(a, corrected, no, tolerance).ok
    components = select(~ok & better, corrected, components)
    counts.corrected += int((~ok & better).sum())
    failed = ~(ok | better)
    if bool(failed.any()):
        counts.exact += int(failed.sum())
        components = repair(operation, a, components, no, torch.zeros_like(failed), failed)
    return components


def repair(
    operation: Operation,
    a: Tensor,
    components: Components,
    no: Tensor | float,
    corrected: Tensor,
    exactly: Tensor,
) -> Components:
    """Components with a correction step at some matrices, and exact ones at others.

    :param corrected: [num_items, num_subcarriers] matrices that take a step
    :param exactly: [num_items, num_subcarriers] matrices that are computed exactly
    """
    for where, step in ((corrected, operation.correct), (exactly, _exact_in(operation))):
        if bool(where.any()):
            noise: Tensor | float = no
            if isinstance(no, Tensor) and no.ndim:
                noise = no.expand(where.shape)[where]
            fixed = step(a[where], tuple(c[where] for c in components), noise)
            components = tuple(
                c.index_put((where,), value.to(c.dtype))
                for c, value in zip(components, fixed, strict=True)
            )
    return components


def _exact_in(operation: Operation) -> Callable[[Tensor, Components, Tensor | float], Components]:
    """The exact components in the gauge of given ones."""
    return lambda a, like, no: operation.align_to(operation.exact(a, no), like)
