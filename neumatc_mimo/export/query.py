"""A trained query as a module of PyTorch, free of decisions on data, to be compiled or exported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import neumatc_mimo
from neumatc_mimo.mapping.axes import TimeAxis
from neumatc_mimo.mapping.basis import Table
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.refined import RefinedMapping
from neumatc_mimo.mapping.trunk import make_trunk
from neumatc_mimo.model import OperationModel, ScenarioModel
from neumatc_mimo.operations.base import Components
from neumatc_mimo.tensors.waves import wave

# A frequency off the grid by less than this share of the spacing is that of the subcarrier.
_ON_GRID = 1e-3

_INPUTS = {
    "links": "int64 [num_links], places in the metadata's links",
    "frequencies": "float64 [num_frequencies], Hz relative to the carrier; that of subcarrier i is "
    "(i - fft_size // 2) * subcarrier_spacing_hz",
    "no": "float64 [num_links], noise power, linear, relative to unit mean channel power",
}


class QueryModule(nn.Module):
    r"""The query of one operation, and which of its results the training has certified.

    It computes what :meth:`~neumatc_mimo.ScenarioModel.query` does before it repairs subcarriers:

    .. math:: \hat Y_i(f, \sigma^2) = C_i(\sigma^2) \times_3 \varphi(f; \theta),

    in the order, gauge and phases of the link. Repairs need the channel, which an exported query
    does not have. Instead, ``certified`` says which results were proven in the training, to the
    tolerance in :attr:`metadata`. These can be used as they are. The application has to compute the
    others exactly. Results for links, frequencies or noise powers that were not trained are NaN.

    :param model: the trained models of a scenario
    :param operation: name of the operation, as in the model
    :param links: indices of the links to include, in the order in which the module numbers them.
        None: all
    :raises ValueError: if the model does not have the operation or the links, or if its users move
    """

    row_delays: Tensor
    marked: Tensor

    def __init__(
        self,
        model: ScenarioModel,
        operation: str,
        links: Tensor | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        part = _part(model, operation, links)
        axis, mapping = part.mapping.axis, part.mapping
        if isinstance(axis, TimeAxis):
            raise ValueError(
                f"The model of {operation} is for moving users, at {axis}; only models of users "
                "that do not move can be exported."
            )
        if isinstance(mapping, RefinedMapping):
            mapping = mapping.alone
        self._operation, self._axis = part.operation, axis
        self._mapping, self._links = mapping, part.links
        for name, tensor in mapping.tensors().items():
            self.register_buffer(_buffer(name), tensor)
        self.register_buffer("row_delays", part.links.row_delays)
        marked = part.marks.any.any(1)
        self.register_buffer("marked", marked)
        results = self(*self.example(1, 1))
        self.output_names = [*part.operation.component_names[: len(results) - 1], "certified"]
        self.metadata = _metadata(model, operation, part, links)
        self.metadata["inputs"] = {name: _INPUTS[name] for name in self.input_names}
        self.metadata["outputs"] = {
            name: f"{str(r.dtype).removeprefix('torch.')} "
            f"[{', '.join(['num_links', 'num_frequencies', *map(str, r.shape[2:])])}]"
            for name, r in zip(self.output_names, results, strict=True)
        }

    @property
    def takes_noise(self) -> bool:
        """Whether the results depend on a noise power that is given with the call."""
        return self._axis.takes_noise

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs of a call, in order."""
        return ["links", "frequencies", "no"] if self.takes_noise else ["links", "frequencies"]

    @property
    def num_links(self) -> int:
        """Number of links that it knows."""
        return len(self.marked)

    def example(self, num_links: int = 2, num_frequencies: int = 3) -> tuple[Tensor, ...]:
        """Example inputs of a call, with the right dtypes."""
        links = torch.arange(num_links) % self.num_links
        frequencies = self._links.grid_frequencies().cpu()
        frequencies = frequencies[torch.linspace(0, len(frequencies) - 1, num_frequencies).long()]
        no = torch.full((num_links,), float(self._axis.checks[-1]), dtype=torch.float64)
        return (links, frequencies, no) if self.takes_noise else (links, frequencies)

    def forward(
        self, links: Tensor, frequencies: Tensor, no: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Results of links at frequencies.

        :param links: [num_links] int64, as the module numbers them
        :param frequencies: [num_frequencies] float64, Hz relative to the carrier
        :param no: [num_links] float64, linear, 0 for zero forcing; only where
            :attr:`takes_noise`

        :return: the operation's results [num_links, num_frequencies, ...] as ``query`` gives them,
            complex64 or float32, and ``certified`` [num_links, num_frequencies], bool
        """
        known_link, known_frequency, on_grid, index = self._checked(links, frequencies)
        power = torch.zeros_like(links, dtype=torch.float64) if no is None else no
        known_link = known_link & self._axis.covers(power, 0.0)
        # What is not known must not lead out of a table.
        links = torch.where(known_link, links, 0)
        frequencies = torch.where(known_frequency, frequencies, 0.0)
        power = torch.where(known_link, power, 0.0)
        operation = self._operation
        noise: Tensor | float = 0.0 if no is None else power[:, None].float()
        stored = self._components(links, frequencies, power)
        components = operation.from_stored(stored, noise)
        rows = wave(frequencies[:, None], self.row_delays[links][:, None], torch.complex64)
        results = operation.results(operation.answer(components, noise, rows))
        known = known_link[:, None] & known_frequency
        certified = known & on_grid & ~self.marked[links[:, None], index]
        return *(_where(known, result) for result in results), certified

    def _checked(self, links: Tensor, frequencies: Tensor) -> tuple[Tensor, ...]:
        """Which links and frequencies are known, and frequencies on the grid; their subcarriers."""
        size, spacing = self._links.fft_size, self._links.subcarrier_spacing
        known_link = (links >= 0) & (links < self.num_links)
        position = frequencies / spacing + size // 2
        known_frequency = (position >= -0.5) & (position <= size - 0.5)
        position = torch.where(known_frequency, position, 0.0)
        index = position.round().clamp(0, size - 1)
        return known_link, known_frequency, (position - index).abs() < _ON_GRID, index.long()

    def _components(self, links: Tensor, frequencies: Tensor, power: Tensor) -> Components:
        """Components of aligned links as they are stored, [num_links, num_frequencies, ...]."""
        mapping = self._mapping
        # A module's own tensors are what it is exported with.
        named = {name: self.get_buffer(_buffer(name)) for name in mapping.tensors()}
        if isinstance(mapping, RefinedMapping):
            few = mapping.reading(named).select(links)
            table = few.table(frequencies)
            return few.evaluate(table, slice(None), few.at(power))
        weights = mapping.axis.weights(power).float()
        trunk = make_trunk(mapping.trunk.settings(), named).select(links)
        table = trunk.table(mapping.coordinate(frequencies))
        components = []
        for i, layout in enumerate(mapping.layouts):
            scales = named[f"scale.{i}"][links] if f"scale.{i}" in named else None
            latent = Latent(named[f"latent.{i}"][links], scales).values
            nodes = latent.shape[2]
            folded = (
                latent[:, :, 0] if nodes == 1 else torch.einsum("lrqn,lq->lrn", latent, weights)
            )
            components.append(layout.unpack(self._combined(table, folded)))
        return tuple(components)

    def _combined(self, table: Table, rows: Tensor) -> Tensor:
        """Combinations of latent rows [num_links, rank, n] by the trunk's values."""
        columns, values = table.terms()
        if not table.is_local:
            return values @ rows
        # [num_links, F, 1, w] times [num_links, F, w, n]: few of many functions differ from zero.
        return (values[:, None] @ rows[:, columns])[..., 0, :]


def _buffer(name: str) -> str:
    """The name of a mapping's tensor as a buffer's."""
    return name.replace(".", "_")


def _part(
    model: ScenarioModel, operation: str, links: Tensor | Sequence[int] | None
) -> OperationModel:
    """The model of an operation, of some links, on the CPU."""
    if operation not in model.models:
        raise ValueError(
            f'There is no model of "{operation}", known are {", ".join(model.models)}.'
        )
    part = model.models[operation].to("cpu")
    if links is None:
        return part
    chosen = part.links.check_links(links)
    return replace(
        part,
        mapping=part.mapping.select(chosen),
        links=part.links.select(chosen),
        marks=part.marks[chosen],
    )


def _where(known: Tensor, result: Tensor) -> Tensor:
    """The result where it is known, NaN elsewhere."""
    where = known.reshape(known.shape + (1,) * (result.ndim - known.ndim))
    return result * torch.where(where, 1.0, math.nan)


def _metadata(
    model: ScenarioModel,
    operation: str,
    part: OperationModel,
    links: Tensor | Sequence[int] | None,
) -> dict[str, Any]:
    """What a file says of itself, plain values; units are in the names."""
    own, axis = part.links, part.mapping.axis
    # Without noise, an operation has one power, zero.
    ends = [float(power) for power in axis.checks[[0, -1]]]
    chosen = range(own.num_links) if links is None else torch.as_tensor(links).tolist()
    marked = part.marks.any
    return {
        "package": "neumatc-mimo",
        "version": neumatc_mimo.__version__,
        "scenario": model.name,
        "fingerprint": model.scenario.get("fingerprint"),
        "operation": operation,
        "settings": part.operation.settings(),
        "links": list(chosen),
        "num_rows": own.num_rows,
        "num_cols": own.num_cols,
        "fft_size": own.fft_size,
        "subcarrier_spacing_hz": own.subcarrier_spacing,
        "carrier_frequency_hz": own.carrier_frequency,
        "noise_powers": ends,
        "certified_quality_db": part.tolerance.quality_db,
        "certified_range_error": part.tolerance.range_error,
        "certified_share": 1 - marked.double().mean().item(),
    }


__all__ = ["QueryModule"]
