"""Trained queries outside of this package: programs of ``torch.export``, and ONNX graphs."""

from neumatc_mimo.export.files import FORMATS, read_metadata, write_query
from neumatc_mimo.export.query import QueryModule

__all__ = ["FORMATS", "QueryModule", "read_metadata", "write_query"]
