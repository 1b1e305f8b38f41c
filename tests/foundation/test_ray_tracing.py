"""Whether Sionna RT can run is tried before it is said."""

from __future__ import annotations

import pytest

from neumatc_mimo.foundation.ray_tracing import computes


@pytest.mark.parametrize("path", ["/nonexistent/libLLVM.so", "libc.so.6"])
def test_a_library_that_does_not_do_is_none(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", path)
    assert not computes("llvm")


def test_a_backend_that_there_is_not_computes_nothing() -> None:
    assert not computes("abacus")
