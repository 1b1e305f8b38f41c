"""Trained queries outside of this package: programs of ``torch.export``, and ONNX graphs."""

from neumatc_mimo.export.files import FORMATS, check_target, read_metadata, write_query
from neumatc_mimo.export.query import QueryModule

__all__ = ["FORMATS", "QueryModule", "check_target", "read_metadata", "write_query"]
