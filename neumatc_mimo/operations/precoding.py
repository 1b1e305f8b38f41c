"""What precoders of a sum power have in common, whatever they maximise."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from neumatc_mimo.operations.base import (
    Components,
    Operation,
    Surely,
    batched,
    frobenius,
    identity,
    positive,
    underivable,
)
from neumatc_mimo.operations.config import AtNoiseConfig, Dimensions, OperationConfig
from neumatc_mimo.operations.definite_inverse import definite_inverse
from neumatc_mimo.operations.ill_conditioned import gain_terms, surely
from neumatc_mimo.operations.tracking import unit
from neumatc_mimo.tensors.tracing import is_traced

# What has not converged by then never will.
_MOST_ITERATIONS = 10_000


class Precoding(NamedTuple):
    """A precoding matrix.

    :param v: [..., n, m], one column a stream
    """

    v: Tensor


class SumPowerConfig(AtNoiseConfig):
    """The keys of a precoder of a sum power."""

    num_iterations: Annotated[int, Field(ge=1, le=_MOST_ITERATIONS)] = 60
    """Largest number of iterations."""


class SumPowerPrecoding(Operation):
    r"""Base of the precoders V [n, m] for m users with one antenna each, rows :math:`a_k` of
    A [m, n], in noise of power :math:`\sigma^2` and with
    :math:`\sum_k \lVert v_k \rVert^2 = m`, the power of zero forcing with columns of unit norm.

    V lies in the range of A^H, and :math:`a_k v_k` is real and positive.

    :param no: default of :math:`\sigma^2`
    :param num_iterations: Largest number of iterations
    """

    component_names: ClassVar[tuple[str, ...]] = ("v",)
    follows_rows: ClassVar[bool] = True
    answer_type: ClassVar[Any] = Precoding
    config: ClassVar[type[OperationConfig]] = SumPowerConfig

    def __init__(self, no: float = 0.1, num_iterations: int = 60) -> None:
        if not no > 0:
            raise ValueError(f"no is {no}, a noise power above zero is needed.")
        if num_iterations < 1:
            raise ValueError(f"num_iterations is {num_iterations}, at least one is needed.")
        if num_iterations > _MOST_ITERATIONS:
            raise ValueError(
                f"num_iterations is {num_iterations}, {_MOST_ITERATIONS} at most are possible."
            )
        self.no = no
        self.num_iterations = num_iterations

    @classmethod
    def configured(cls, config: Any, dimensions: Dimensions) -> Operation:
        del dimensions
        return cls(config.no, **config.own())

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        return ((num_cols, num_rows),)

    def adapts(self, num_rows: int, num_cols: int) -> bool:
        del num_rows, num_cols
        return True

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """D_R^H V D_L^H: rows and columns of A turn those of V back."""
        (v,) = components
        return (right.conj()[..., :, None] * v * left.conj()[..., None, :],)

    def permute(self, components: Components, order: Tensor) -> Components:
        (v,) = components
        return (v.gather(-1, order[:, None, None, :].expand_as(v)),)

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "no": self.no, "num_iterations": self.num_iterations}

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> Precoding:
        """The precoder; with rows of magnitude c it is that of the noise power no c².

        :raises ValueError: if c is not one and the noise power is the operation's own
        """
        (v,) = components
        if rows is None:
            return Precoding(v)
        check_gain(self.title, no, rows)
        return Precoding(v * unit(rows).conj()[..., None, :])

    def solve_surely(
        self, a: Tensor, no: Tensor | float = 0.0, unproven: Tensor | None = None
    ) -> Surely:
        components = self.exact(a, no)
        unit, noise = in_unit(a.detach(), self._noise(no, a).expand(a.shape[:-2]))
        amplification = _amplification(unit @ unit.mH, noise.detach())
        return surely(self, a, no, components, amplification, unproven)

    def _noise(self, no: Tensor | float, like: Tensor) -> Tensor:
        """The noise power as a tensor; where it is zero, the operation's own."""
        return own_noise(no, like, self.no)


def _amplification(gram: Tensor, noise: Tensor) -> Tensor:
    r"""By how much rounding grows in regularised zero forcing, from which precoders start, [...].

    As for the pseudo-inverse, :math:`[A A^H + \sigma^2 I]_{kk} X_{kk}` is by how much the other
    rows amplify the errors of a row, and the terms of :math:`(A A^H X)_{kk}` tell how much they
    cancel.
    """
    x = definite_inverse(gram + noise[..., None, None] * identity(gram))
    own, inverse = (t.diagonal(dim1=-2, dim2=-1).real for t in (gram, x))
    gain, size = gain_terms(gram, x)
    # A user without a channel has no gain to lose.
    buried = torch.where(size > 0, size / gain.clamp_min(0), 1.0)
    return torch.maximum((own + noise[..., None]) * inverse, buried).amax(-1)


def own_noise(no: Tensor | float, like: Tensor, own: float) -> Tensor:
    """The noise power as a tensor; where it is zero, an operation's own."""
    value = batched(no, like, 0)
    return torch.where(value > 0, value, own)


def check_gain(title: str, no: Tensor | float, rows: Tensor) -> None:
    """Refuse factors of the rows that would change the noise power of an operation's own.

    :raises ValueError: if their magnitude is not one, and ``no`` is not given
    """
    own = not isinstance(no, Tensor) and no == 0
    if own and not is_traced() and bool(((rows.abs() - 1).abs() > 1e-3).any()):
        raise underivable(title, "diag(rows) A")


def in_unit(a: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A in the unit that gives its rows a mean power of one, and noise powers [...] in it.

    Precoders are the same in any, and squares of powers neither vanish nor overflow.
    """
    size = frobenius(a.detach()) / a.shape[-2] ** 0.5
    size = torch.where(size > 0, size, 1.0)
    return a / size[..., None, None], noise / size / size


def in_gauge(a: Tensor, v: Tensor) -> Tensor:
    """V with a_k v_k real and positive, and of the power of its m columns of unit norm."""
    v = v * unit((a @ v).diagonal(dim1=-2, dim2=-1)).conj()[..., None, :]
    return v * (v.shape[-1] ** 0.5 / positive(frobenius(v)))[..., None, None]


def gauge_defect(v: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """By how much V misses its power, and by how much the phases of a_k v_k, relative, [...]."""
    power = frobenius(v).square() / v.shape[-1] - 1
    level = positive(own.abs().square().sum(-1)).sqrt()
    return power, torch.linalg.vector_norm(own.abs() - own, dim=-1) / level


def shortfall(least: Tensor, most: Tensor) -> Tensor:
    """By how much a rate falls short of another one, relative, [...]."""
    return (1 - least / positive(most)).clamp_min(0)


def sinr(image: Tensor, no: Tensor) -> Tensor:
    """Signal-to-interference-and-noise ratio [..., m] of A V [..., m, m] in noise [...]."""
    own, others = desired_and_others(image)
    return own / positive(others + no[..., None])


def desired_and_others(image: Tensor) -> tuple[Tensor, Tensor]:
    """Powers [..., m] that users get of their own streams and of the others', for A V [..., m, m].

    The others' are summed without the users' own, which would leave nothing but rounding of them.
    """
    power = image.abs().square()
    own = power.diagonal(dim1=-2, dim2=-1)
    return own, (power - torch.diag_embed(own)).sum(-1)
