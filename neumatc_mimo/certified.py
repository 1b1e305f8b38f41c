"""Query, certificate, correction, exact: the same for every solver, with counts."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, Tolerance
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
        components = replace_exact(operation, a, components, no, failed)
    return components


def replace_exact(
    operation: Operation, a: Tensor, components: Components, no: Tensor | float, where: Tensor
) -> Components:
    """Components with the exact ones, in the same gauge, at the marked matrices."""
    noise: Tensor | float = no
    if isinstance(no, Tensor) and no.ndim:
        noise = no.expand(where.shape)[where]
    exact = operation.exact(a[where], noise)
    exact = operation.align_to(exact, tuple(c[where] for c in components))
    patched = tuple(c.clone() for c in components)
    for into, value in zip(patched, exact, strict=True):
        into[where] = value.to(into.dtype)
    return patched


def select(where: Tensor, yes: Components, no: Components) -> Components:
    """``yes`` at the marked matrices, ``no`` elsewhere."""
    return tuple(
        torch.where(where.reshape(where.shape + (1,) * (y.ndim - where.ndim)), y, n)
        for y, n in zip(yes, no, strict=True)
    )
