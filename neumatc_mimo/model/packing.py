"""Models as tensors and plain values, as their folders hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.mapping.axes import Axis, make_axis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.mapping.refined import RefinedMapping
from neumatc_mimo.mapping.trunk import KnotTrunk, make_trunk
from neumatc_mimo.model.marks import Marks
from neumatc_mimo.model.operation_model import OperationModel
from neumatc_mimo.operations import make_operation
from neumatc_mimo.operations.base import Operation, Tolerance
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.storage.files import write_text
from neumatc_mimo.storage.manifest import MANIFEST, sealed
from neumatc_mimo.storage.names import RAGGED
from neumatc_mimo.storage.shards import indexed_digests


def write_manifest(
    folder: Path, name: str, scenario: Mapping[str, Any], operations: Mapping[str, dict[str, Any]]
) -> Path:
    """Write the manifest that makes a folder of shards and their indices a model.

    :param name: of the scenario
    :param scenario: description of the scenario that the models were trained on, plain values
    :param operations: values of each operation's model, as :func:`pack_model` returns them

    :raises OSError: if it cannot be written
    :raises ValueError: if a shard or its index is damaged
    """
    in_shards = {
        operation: {**values, "file": None, "tensors": indexed_digests(folder, operation)}
        for operation, values in operations.items()
    }
    return write_text(folder / MANIFEST, sealed(name, scenario, in_shards))


def shared_tensors(model: OperationModel) -> frozenset[str]:
    """Names of a packed model's tensors that are the same for all links; the others have a row for
    each.
    """
    trunk = model.mapping.trunk
    own = trunk.tensors() if trunk.is_shared else ()
    return frozenset({"unseen", "links.base_station_positions", *(f"mapping.{k}" for k in own)})


def pack_model(model: OperationModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON values of a model."""
    tensors = {f"mapping.{k}": v.contiguous() for k, v in model.mapping.tensors().items()}
    link_tensors, link_values = model.links.to_tensors()
    tensors |= {f"links.{k}": v for k, v in link_tensors.items()}
    tensors |= {f"marks.{k}": v for k, v in model.marks.tensors().items()}
    tensors["unseen"] = model.unseen
    mapping = model.mapping
    values: dict[str, Any] = {
        "operation": model.operation.settings(),
        "mapping": {
            "basis": mapping.trunk.settings(),
            "axis": mapping.axis.settings(),
            "layouts": [vars(layout) for layout in mapping.layouts],
            "band": mapping.band,
        },
        "links": link_values,
        "tolerance": vars(model.tolerance),
        "training": model.training,
    }
    # safetensors has no complex128: such tensors are stored as pairs of reals.
    values["complex"] = sorted(k for k, v in tensors.items() if v.is_complex())
    real = {k: torch.view_as_real(v) if v.is_complex() else v for k, v in tensors.items()}
    return {k: v.contiguous() for k, v in real.items()}, values


def unpack_model(tensors: dict[str, Tensor], values: dict[str, Any]) -> OperationModel:
    """The inverse of :func:`pack_model`."""
    # A copy: torch.compile traces no complex view of a real tensor.
    tensors = tensors | {k: torch.view_as_complex(tensors[k]).clone() for k in values["complex"]}

    def under(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    named, manifest = under("mapping."), values["mapping"]
    operation = make_operation(values["operation"])
    links = LinkSet.from_tensors(under("links."), values["links"])
    layouts = tuple(Layout(tuple(one["shape"]), one["kind"]) for one in manifest["layouts"])
    axis = make_axis(manifest["axis"])
    _check_layouts(layouts, operation, links, float(axis.powers[0]))
    if tensors["marks.corrected"].shape[1] != axis.num_stretches:
        raise ValueError(f"marks.corrected has marks of other times than those of {axis}.")
    mapping = make_mapping(named, manifest["basis"], axis, layouts, manifest["band"])
    return OperationModel(
        operation,
        mapping,
        links,
        Marks(**under("marks.")),
        tensors["unseen"],
        Tolerance(**values["tolerance"]),
        values["training"],
    )


def make_mapping(
    named: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    axis: Axis,
    layouts: tuple[Layout, ...],
    band: Sequence[float],
) -> CompactMapping:
    """The mapping whose tensors these are, see ``CompactMapping.tensors``.

    :param settings: of its trunk
    """
    trunk = make_trunk(settings, named)
    kind, prefix = (
        (RefinedMapping, RAGGED) if isinstance(trunk, KnotTrunk) else (CompactMapping, "")
    )
    latents = tuple(
        Latent(named[f"{prefix}latent.{i}"], named.get(f"{prefix}scale.{i}"))
        for i in range(len(layouts))
    )
    return kind(trunk, axis, latents, layouts, (band[0], band[1]))


def _check_layouts(
    layouts: tuple[Layout, ...], operation: Operation, links: LinkSet, no: float
) -> None:
    """Refuse components that are not stored as those of the operation on these links are."""
    one = links.channel(links.grid_frequencies()[:1], [0], aligned=True, dtype=torch.complex128)
    stored = operation.stored
    expected = tuple(
        Layout.of(tuple(c.shape[2:]), c, name in stored.hermitian)
        for name, c in zip(stored.component_names, stored.exact(one, no), strict=True)
    )
    if layouts != expected:
        raise ValueError(f"its components are {layouts}, those of the links are {expected}.")
