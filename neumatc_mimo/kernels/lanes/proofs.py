"""Certificates, and steps that lower residuals, of results at many noise powers for each matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.library import loaded
from neumatc_mimo.operations.base import Certificate, Components, Operation
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse

_MOST_ROWS = 64


class Refined(NamedTuple):
    """Components after some steps.

    :param components: [num_links, F, q or 1, ...] each
    :param residual: of these, the largest of all noise powers, [num_links, F]
    """

    components: Components
    residual: Tensor


def certificate(
    operation: Operation, a: Tensor, components: Components, powers: Tensor, tolerance: Tolerance
) -> Certificate:
    """``operation.certificate`` of matrices with results at many noise powers.

    :param a: [num_links, F, q or 1, m, n]
    :param components: likewise, q of them where they depend on the noise
    :param powers: [q] or [1]
    """
    kernels = _KERNELS.get(type(operation))
    if kernels is None or not _covered(a, components, powers):
        return operation.certificate(a, components, powers, tolerance)
    return kernels.certificate(a, components, powers, tolerance)


def refined(
    operation: Operation, a: Tensor, components: Components, powers: Tensor, steps: int
) -> Refined:
    """Components after correction steps, and the residual that is left, shapes as in
    :func:`certificate`.

    :param steps: how many; zero for the residual alone
    """
    kernels = _KERNELS.get(type(operation))
    if kernels is not None and _covered(a, components, powers):
        return kernels.refined(a, components, powers, steps)
    for _ in range(steps):
        components = operation.correct(a, components, powers)
    return Refined(components, operation.residual(a, components, powers).amax(-1))


def _covered(a: Tensor, components: Components, powers: Tensor) -> bool:
    """Whether there is one matrix for all noise powers, in single precision."""
    return (
        covers(a, *components)
        and a.dtype == torch.complex64
        and a.ndim == 5
        and a.shape[2] == 1
        and 0 < a.shape[3] <= min(a.shape[4], _MOST_ROWS)
        and a.shape[1] > 0
        and components[-1].shape[2] == len(powers)
    )


def _certify_pseudo_inverse(
    a: Tensor, components: Components, powers: Tensor, tolerance: Tolerance
) -> Certificate:
    # Rows of what evaluates them hold both: no copy where only the step between matrices differs.
    matrices, w, x = (_stepped(t) for t in (a, *components))
    ratio, error = a.real.new_empty(2, *a.shape[:2], len(powers))
    _run(matrices, w, x, powers, ratio=ratio, range=error)
    quality = 10 * torch.log10(ratio.clamp_min(torch.finfo(ratio.dtype).tiny))
    return Certificate.of(quality, error, tolerance)


def _refine_pseudo_inverse(
    a: Tensor, components: Components, powers: Tensor, steps: int
) -> Refined:
    w, x = components
    if steps:
        w, x = (t.clone(memory_format=torch.contiguous_format) for t in (w, x))
    residual = a.real.new_empty(a.shape[:2])
    _run(_stepped(a), _stepped(w), _stepped(x), powers, steps=steps, residual=residual)
    return Refined((w, x), residual)


def _stepped(matrices: Tensor) -> Tensor:
    """Matrices [num, ...], of each of which all entries lie side by side."""
    flat = matrices.resolve_conj().flatten(0, 1)
    return flat if flat[0].is_contiguous() else flat.contiguous()


def _run(a: Tensor, w: Tensor, x: Tensor, powers: Tensor, **values: Tensor | int) -> None:
    library = loaded()
    assert library is not None
    library.proofs(
        rows=a.shape[-2],
        columns=a.shape[-1],
        matrices=len(a),
        powers=len(powers),
        channel=a,
        channel_step=2 * a.stride(0),
        filter=w,
        filter_step=2 * w.stride(0),
        inverse=x,
        inverse_step=2 * x.stride(0),
        power=powers.to(torch.float32),
        **values,
    )


class _Kernels(NamedTuple):
    certificate: Callable[[Tensor, Components, Tensor, Tolerance], Certificate]
    refined: Callable[[Tensor, Components, Tensor, int], Refined]


# Another operation that derives from one of these may mean another result.
_KERNELS: dict[type[Operation], _Kernels] = {
    PseudoInverse: _Kernels(_certify_pseudo_inverse, _refine_pseudo_inverse),
}
