"""Queries as ONNX graphs: for ONNX Runtime and whatever else reads them."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import torch

from neumatc_mimo.export.program import METADATA, dynamic_shapes, quiet, traced
from neumatc_mimo.export.query import QueryModule
from neumatc_mimo.foundation.hints import install

# A file in protocol buffers holds no more.
_MOST_BYTES = 2**31 - 2**24


def write_onnx(query: QueryModule, file: Path) -> None:
    """Write a query as one ONNX file; complex results have a last dimension of two, real and
    imaginary parts.

    :raises ImportError: if onnxscript is not installed
    :raises ValueError: if the file would be larger than ONNX allows
    """
    ir = _library()
    num_bytes = sum(t.numel() * t.element_size() for t in query.buffers())
    if num_bytes > _MOST_BYTES:
        raise ValueError(
            f"The query of {query.num_links} links takes {num_bytes / 1e9:.1f} GB, an ONNX file "
            "can have 2 GB; choose fewer links, or write a .pt2 file."
        )
    model = _translated(query)
    model.producer_name, model.producer_version = "neumatc-mimo", query.metadata["version"]
    model.metadata_props[METADATA] = json.dumps(query.metadata)
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.doc_string = query.metadata["inputs" if value.is_graph_input() else "outputs"][
            value.name
        ]
    ir.save(model, file)


def read_onnx_metadata(file: Path) -> dict[str, Any]:
    """The metadata of a graph, empty if it has none.

    :raises ImportError: if onnxscript is not installed
    :raises ValueError: if the file is no graph
    """
    ir = _library()
    from google.protobuf.message import DecodeError

    try:
        properties = ir.load(file).metadata_props
    except DecodeError:
        raise ValueError(f"{file} is not an ONNX graph.") from None
    found: dict[str, Any] = json.loads(properties.get(METADATA, "{}"))
    return found


def check_onnx() -> None:
    """Find out whether ONNX files can be written and read.

    :raises ImportError: if onnxscript is not installed
    """
    _library()


def _library() -> Any:
    """onnx_ir, which onnxscript brings along."""
    if importlib.util.find_spec("onnxscript") is None:
        raise ImportError(f"ONNX files need the package onnxscript: {install('export')}.")
    import onnx_ir

    return onnx_ir


def _translated(query: QueryModule) -> Any:
    """The query as onnx_ir's model."""
    from neumatc_mimo.export.real import RealModule

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells that packages are missing which nothing here needs
    try:
        with quiet():
            program = torch.onnx.export(
                RealModule(traced(query, query).run_decompositions()),
                query.example(),
                input_names=query.input_names,
                output_names=query.output_names,
                dynamic_shapes=(dynamic_shapes(query),),
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return program.model


__all__ = ["check_onnx", "read_onnx_metadata", "write_onnx"]
