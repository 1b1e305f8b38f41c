"""Whether the tensors of a model fit each other and what its manifest says of them.

Checked before anything is made of them: the sizes that a manifest names are then those of tensors
that were read, so that no lie asks for more memory or time than the files took.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neumatc_mimo.storage.names import RAGGED
from neumatc_mimo.storage.tensor_file import Array

# Correction steps that a subcarrier may be marked with: an iteration that takes more has failed.
_MOST_STEPS = 16


def check_packed(tensors: Mapping[str, Array], values: Mapping[str, Any]) -> None:
    """Refuse tensors that are not those of one operation's model.

    :param tensors: by name, as models are packed
    :param values: of the manifest

    :raises ValueError: if a number is NaN or infinite, or a shape, a type or a range is another
        than it has to be
    """
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ValueError(f"{name} has NaN or infinite entries, finite ones are needed.")
    _check_complex(tensors, values["complex"])
    num_links = _check_links(tensors, values["links"])
    _check_mapping(tensors, values["mapping"], num_links)
    _check_marks(tensors, num_links, values["links"]["fft_size"])
    _check_band(values["mapping"]["band"], values["links"])


def _check_complex(tensors: Mapping[str, Array], names: list[str]) -> None:
    """Complex tensors are pairs of reals."""
    for name in names:
        if _of(tensors, name).dtype.kind != "f" or tensors[name].shape[-1:] != (2,):
            raise ValueError(f"{name} is no tensor of complex numbers.")


def _check_links(tensors: Mapping[str, Array], values: Mapping[str, Any]) -> int:
    """Links by the tensor that holds them, and what belongs to it; the number of links."""
    check = next((check for name, check in _LINKS.items() if name in tensors), None)
    if check is None:
        raise ValueError(f"it lacks {' or '.join(_LINKS)}.")
    links, rows, cols = check(tensors, values["fft_size"])
    num_streams = values["num_streams"]
    if num_streams is not None and num_streams > min(rows, cols):
        raise ValueError(f"num_streams is {num_streams} in links of {rows} x {cols}.")
    _check_rows(tensors, "links.row_delays", (links, rows))
    return links


def _check_paths(tensors: Mapping[str, Array], fft_size: int) -> tuple[int, int, int]:
    """Paths [num_links, K, M, P]; their first three sizes."""
    coefficients = _of(tensors, "links.coefficients")
    if coefficients.ndim < 4 or 0 in coefficients.shape:
        raise ValueError(f"links.coefficients has the shape {list(coefficients.shape)}.")
    links, rows, cols, paths = coefficients.shape[:4]
    delays = _of(tensors, "links.delays")
    shared = [(links, k, m, paths) for k, m in ((1, 1), (rows, 1), (rows, cols))]
    if delays.dtype.kind != "f" or delays.shape not in shared:
        raise ValueError(f"links.delays is {delays.dtype} of the shape {list(delays.shape)}.")
    return links, rows, cols


def _check_samples(tensors: Mapping[str, Array], fft_size: int) -> tuple[int, int, int]:
    """Samples [num_links, fft_size, K, M]; the sizes that are no subcarriers."""
    samples = _of(tensors, "links.samples")
    if samples.ndim < 4 or 0 in samples.shape or samples.shape[1] != fft_size:
        raise ValueError(f"links.samples has the shape {list(samples.shape)}.")
    links, _, rows, cols = samples.shape[:4]
    _check_rows(tensors, "links.mean_delays", (links, rows))
    return links, rows, cols


def _check_rows(tensors: Mapping[str, Array], name: str, shape: tuple[int, int]) -> None:
    delays = _of(tensors, name)
    if delays.dtype.kind != "f" or delays.shape != shape:
        raise ValueError(f"{name} is {delays.dtype} of the shape {list(delays.shape)}.")


_LINKS = {"links.coefficients": _check_paths, "links.samples": _check_samples}


def _check_mapping(
    tensors: Mapping[str, Array], mapping: Mapping[str, Any], num_links: int
) -> None:
    """Latent tensors [num_links, rank, nodes or 1, n], and what reads them out; on knots of the
    links' own [num_rows, nodes or 1, n].
    """
    ragged = "mapping.functions" in tensors
    prefix = f"mapping.{RAGGED if ragged else ''}"
    leading = (_check_knots(tensors, mapping["basis"], num_links),) if ragged else (num_links,)
    layouts, nodes = mapping["layouts"], mapping["axis"].get("num_nodes")
    rank = None if ragged else _rank(tensors, mapping["basis"], num_links)
    latents = [name for name in tensors if name.startswith(f"{prefix}latent.")]
    if len(latents) != len(layouts):
        raise ValueError(f"there are {len(latents)} latent tensors of {len(layouts)} components.")
    for i, layout in enumerate(layouts):
        name = f"{prefix}latent.{i}"
        latent = _of(tensors, name)
        size = math.prod(layout["shape"]) * (2 if layout["kind"] == "complex" else 1)
        scale = tensors.get(f"{prefix}scale.{i}")
        first = latent.shape[1:2] if rank is None else (rank,)
        most = latent.shape[-2:-1] if nodes is None else (nodes,)
        before = leading if ragged else (*leading, *first)
        fitting = [(*before, *n, size) for n in ((1,), most)]
        fits = latent.dtype.kind == "f" if scale is None else latent.dtype == np.int16
        if not fits or latent.shape not in fitting:
            raise ValueError(
                f"{name} is {latent.dtype} of the shape {list(latent.shape)}, {list(fitting[1])} "
                "is needed."
            )
        if scale is not None:
            _check_scale(f"{prefix}scale.{i}", scale, latent, layout)


def _check_knots(tensors: Mapping[str, Array], basis: Mapping[str, Any], num_links: int) -> int:
    """Knots of each link's own, and numbers of functions; how many these are together."""
    degree = basis.get("degree") or 7
    knots, functions = _of(tensors, f"mapping.{RAGGED}knots"), _of(tensors, "mapping.functions")
    if functions.dtype != np.int32 or functions.shape != (num_links,):
        raise ValueError(
            f"mapping.functions is {functions.dtype} of the shape {list(functions.shape)}."
        )
    total = int(functions.sum(dtype=np.int64))
    least = int(functions.min(initial=degree + 1))
    if least <= degree or knots.dtype != np.int32:
        raise ValueError(f"mapping.functions has {least} splines of degree {degree}.")
    if knots.shape != (total - num_links * (degree - 1),):
        raise ValueError(
            f"mapping.{RAGGED}knots has the shape {list(knots.shape)} beside {total} functions."
        )
    return total


def _check_scale(name: str, scale: Array, latent: Array, layout: Mapping[str, Any]) -> None:
    """Scales [num_links, rank, nodes, columns] of a complex matrix in 16 bits."""
    shape = (*latent.shape[:-1], layout["shape"][-1])
    fits = layout["kind"] == "complex" and len(layout["shape"]) == 2 and scale.shape == shape
    if scale.dtype != np.float32 or not fits:
        raise ValueError(
            f"{name} is {scale.dtype} of the shape {list(scale.shape)}, float32 of "
            f"{list(shape)} is needed, of a complex matrix."
        )


def _rank(tensors: Mapping[str, Array], settings: Mapping[str, Any], num_links: int) -> int | None:
    """The number of functions that a trunk has; None if its settings do not tell."""
    if settings.get("depth") is not None:
        return _checked_network(tensors, settings, num_links)
    readout, width = tensors.get("mapping.readout"), settings.get("num_functions")
    if readout is None:
        return width
    if readout.ndim != 3 or readout.shape[:2] != (num_links, width or readout.shape[1]):
        raise ValueError(f"mapping.readout has the shape {list(readout.shape)}.")
    return int(readout.shape[2])


def _checked_network(
    tensors: Mapping[str, Array], settings: Mapping[str, Any], num_links: int
) -> int:
    """The number of functions of a network, each layer of which takes what the last one gives."""
    links = () if settings.get("shared") else (num_links,)
    outputs = 1
    for layer in range(settings["depth"] + 1):
        weight, bias = (_of(tensors, f"mapping.{part}.{layer}") for part in ("weight", "bias"))
        fits = weight.shape == (*links, *weight.shape[-2:-1], outputs) and 0 not in weight.shape
        if weight.dtype.kind != "f" or not fits:
            raise ValueError(
                f"mapping.weight.{layer} is {weight.dtype} of the shape {list(weight.shape)}."
            )
        outputs = weight.shape[-2]
        if bias.dtype.kind != "f" or bias.shape != (*links, outputs):
            raise ValueError(
                f"mapping.bias.{layer} is {bias.dtype} of the shape {list(bias.shape)}."
            )
    return outputs


def _check_marks(tensors: Mapping[str, Array], num_links: int, fft_size: int) -> None:
    """Marks [num_links, num_stretches, fft_size] of subcarriers."""
    corrected = _of(tensors, "marks.corrected")
    shape = (num_links, *corrected.shape[1:2], fft_size)
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "marks.corrected": (np.int8, shape),
        "marks.patched": (np.bool_, shape),
        "marks.fragile": (np.bool_, shape),
        "marks.quality_db": (np.int8, shape),
        "marks.range_db": (np.int8, shape),
        "unseen": (np.bool_, (fft_size,)),
    }
    for name, (dtype, wanted) in expected.items():
        tensor = _of(tensors, name)
        if tensor.dtype != dtype or tensor.shape != wanted:
            raise ValueError(
                f"{name} is {tensor.dtype} of the shape {list(tensor.shape)}, "
                f"{np.dtype(dtype)} of {list(wanted)} is needed."
            )
    if corrected.size and not 0 <= corrected.min() <= corrected.max() <= _MOST_STEPS:
        raise ValueError(
            f"marks.corrected reaches from {corrected.min()} to {corrected.max()} steps, 0 to "
            f"{_MOST_STEPS} are possible."
        )


def _check_band(band: Sequence[float], links: Mapping[str, Any]) -> None:
    """The frequencies of a mapping reach over all subcarriers."""
    spacing, size = links["subcarrier_spacing"], links["fft_size"]
    low, high = -(size // 2) * spacing, (size - 1 - size // 2) * spacing
    if band[0] > low + spacing / 2 or band[1] < high - spacing / 2:
        raise ValueError(f"band is {list(band)}, subcarriers reach from {low} to {high} Hz.")


def _of(tensors: Mapping[str, Array], name: str) -> Array:
    if name not in tensors:
        raise ValueError(f"it lacks {name}.")
    return tensors[name]


__all__ = ["check_packed"]
