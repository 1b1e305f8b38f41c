"""Queries of trained links outside of a block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.operations.base import Components


def query(
    model: OperationModel,
    frequencies: Tensor,
    links: Tensor | Sequence[int] | None = None,
    no: Tensor | float = 0.0,
    time: float = 0.0,
) -> Components:
    """Results of the links with their own rows, see :meth:`ScenarioModel.query`."""
    frequencies, links, power = _checked(model, frequencies, links, no, time)
    components = model.components(frequencies, links, power, time)
    noise = power[:, None].float() if bool(power.any()) else 0.0
    rows = model.links.row_factors(frequencies, links, time).to(torch.complex64)
    results = model.operation.results(model.operation.answer(components, noise, rows))
    held = torch.tensor(model.held(links.tolist(), torch.complex64, time), device=links.device)
    lost = (~held).nonzero()[:, 0]
    if not len(lost):
        return results
    # Users in one place, of whom components hold no answers.
    a = model.links.channel(frequencies, links[lost], dtype=torch.complex128, time=time)
    exact = model.operation.results(model.operation.solve_surely(a, power[lost, None]).answer)
    return tuple(r.index_put((lost,), e.to(r.dtype)) for r, e in zip(results, exact, strict=True))


def residual(
    model: OperationModel,
    frequencies: Tensor,
    links: Tensor | Sequence[int] | None = None,
    no: float = 0.0,
    time: float = 0.0,
) -> Tensor:
    """Relative residual of the answers, [num_links, num_frequencies]."""
    frequencies, links, power = _checked(model, frequencies, links, no, time)
    components = model.components(frequencies, links, power, time)
    a = model.links.channel(frequencies, links, aligned=True, time=time)
    return model.operation.residual(a, components, no)


def _checked(
    model: OperationModel,
    frequencies: Tensor,
    links: Tensor | Sequence[int] | None,
    no: Tensor | float,
    time: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Frequencies, links and a noise power for each, on the model's device.

    :raises ValueError: if any of them, or the time, was not trained
    """
    frequencies = model.links.check_frequencies(frequencies)
    links = model.links.check_links(links)
    power = torch.as_tensor(no, dtype=torch.float64).expand(len(links))
    if not bool(model.mapping.axis.covers(power, time).all()):
        raise ValueError(
            f"no reaches from {power.min().item():g} to {power.max().item():g} and time is "
            f"{time:g} s, the model was trained for {model.mapping.axis}."
        )
    return frequencies, links, power.to(frequencies.device)
