"""What importing the package takes, and which Sionna its blocks are for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import neumatc_mimo as nm


def test_public_names() -> None:
    """All are there, though none is imported before it is used."""
    assert set(nm.__all__) <= set(dir(nm))
    for name in nm.__all__:
        assert getattr(nm, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Inexact'"):
        nm.Inexact  # noqa: B018


def test_pytorch_is_imported_when_needed() -> None:
    code = (
        "import sys, neumatc_mimo as nm; before = 'torch' in sys.modules; nm.Exact; "
        "sys.exit(before or 'torch' not in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tensorflow_blocks_need_sionna_1() -> None:
    with pytest.raises(ImportError, match="has blocks of Sionna 1.x, 2") as refusal:
        import neumatc_mimo.tensorflow  # noqa: F401
    assert "or take neumatc_mimo.blocks" in str(refusal.value)
