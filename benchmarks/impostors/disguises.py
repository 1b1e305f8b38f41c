"""Impostors of any operation: exact results that were changed, or that belong elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from neumatc_mimo.operations import Components, Operation

Named = tuple[str, Components]
# A component with its columns, or its values, changed by sizes [num].
_Change = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def disguises(
    operation: Operation,
    a: Tensor,
    no: Tensor | float,
    exact: Components,
    generator: torch.Generator,
) -> Iterator[Named]:
    """Impostors [num, ...] by name, errors of sizes from 1e-3 to 1.

    :param a: [num, m, n]
    :param no: noise powers [num], or zero
    :param exact: components of a, in single precision
    """
    yield "zeros", tuple(torch.zeros_like(c) for c in exact)
    yield "negative", tuple(-c for c in exact)
    yield "conjugate", tuple(c.conj().resolve_conj() for c in exact)
    yield "of another matrix", tuple(c.roll(1, 0) for c in exact)
    yield "of twice the matrix", operation.exact(2 * a, no)
    size = sizes(len(a), generator)
    near = operation.exact(a + spread(size, a) * normal(a, generator) * rms(a), no)
    yield "of a neighbour", operation.align_to(near, exact)
    if isinstance(no, Tensor):
        yield "of another noise power", operation.exact(a, no * (1 + sizes(len(a), generator)))
        yield "of much less noise", operation.exact(a, no / (1 + 100 * size))
    yield "wrong everywhere", tuple(_disturbed(c, size, generator) for c in exact)
    for index, name in enumerate(operation.component_names):
        for what, change in _CHANGES.items():
            size = sizes(len(a), generator)
            changed = change(exact[index], size, generator)
            yield f"{what} {name}", (*exact[:index], changed, *exact[index + 1 :])


def sizes(num: int, generator: torch.Generator) -> Tensor:
    """Sizes of errors [num], logarithms spread evenly over three decades below one."""
    return 10 ** (-3 * torch.rand(num, generator=generator))


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Normal entries of the shape and kind of ``like``."""
    return torch.randn(like.shape, dtype=like.dtype, generator=generator)


def spread(x: Tensor, like: Tensor) -> Tensor:
    """x [num] with as many dimensions as ``like`` [num, ...]."""
    return x.reshape(-1, *(1,) * (like.ndim - 1))


def rms(x: Tensor) -> Tensor:
    """Root mean square of the entries of each x [num, ...], with its dimensions."""
    dims = tuple(range(1, x.ndim))
    power = x.abs().square().mean(dims, keepdim=True)
    return power.sqrt().clamp_min(torch.finfo(power.dtype).tiny)


def picked(c: Tensor, columns: Tensor) -> Tensor:
    """Columns [num, k] of c [num, n, l], or values of c [num, l]."""
    return c.gather(-1, columns if c.ndim == 2 else columns[:, None].expand(-1, c.shape[1], -1))


def _one_column(c: Tensor, generator: torch.Generator) -> Tensor:
    """A column of each c [num, ..., l], marked [num, ..., l]."""
    index = torch.randint(c.shape[-1], (len(c),), generator=generator)
    return (
        torch.nn.functional.one_hot(index, c.shape[-1])
        .bool()
        .reshape(len(c), *(1,) * (c.ndim - 2), -1)
    )


def _scaled(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    sign = torch.randn(len(c), generator=generator).sign()
    return c * (1 + spread(size * sign, c))


def _disturbed(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    return c + spread(size, c) * rms(c) * normal(c, generator)


def _permuted(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    del size
    order = torch.rand(len(c), c.shape[-1], generator=generator).argsort(-1)
    return picked(c, order)


def _swapped_rows(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    del size, generator
    return c.roll(1, 1)


def _dropped(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    del size
    return c.masked_fill(_one_column(c, generator), 0)


def _one_scaled(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(_one_column(c, generator), _scaled(c, size, generator), c)


def _one_disturbed(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(_one_column(c, generator), _disturbed(c, size, generator), c)


def _one_turned(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    factor = -torch.ones(len(c)) if not c.is_complex() else torch.polar(torch.ones(len(c)), size)
    return torch.where(_one_column(c, generator), c * spread(factor, c), c)


def _one_twice(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    del size
    order = torch.arange(c.shape[-1]).expand(len(c), -1).clone()
    where = torch.randint(c.shape[-1], (len(c), 1), generator=generator)
    return picked(c, order.scatter(1, where, (where + 1) % c.shape[-1]))


def _one_of_another(c: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    del size
    return torch.where(_one_column(c, generator), c.roll(1, 0), c)


_CHANGES: dict[str, _Change] = {
    "scaled": _scaled,
    "disturbed": _disturbed,
    "permuted columns of": _permuted,
    "permuted rows of": _swapped_rows,
    "a column dropped from": _dropped,
    "a column scaled in": _one_scaled,
    "a column disturbed in": _one_disturbed,
    "a column turned in": _one_turned,
    "a column twice in": _one_twice,
    "a column of another matrix in": _one_of_another,
}
