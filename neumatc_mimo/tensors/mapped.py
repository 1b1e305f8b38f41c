"""Tensors under ``torch.vmap``."""

from __future__ import annotations

from torch import Tensor

from neumatc_mimo.tensors.tracing import is_mapped


def mapped_alike(value: Tensor, *others: Tensor | None) -> Tensor:
    """The value, mapped over where one of the others is: memory of its kind then takes results of
    all of them.
    """
    if not is_mapped():
        return value
    for other in others:
        if other is not None:
            value = value + other.new_zeros(()).real.to(value.real)
    return value
