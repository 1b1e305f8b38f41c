"""Derivatives within an operator, where PyTorch has turned them off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def as_outside() -> Iterator[None]:
    """Within an operator's implementation, operations record what derivatives need, as outside.

    PyTorch has no public function that turns that on again.
    """
    keys, guard = torch._C.DispatchKey, torch._C._SetExcludeDispatchKeyGuard
    with guard(keys.AutogradFunctionality, False), guard(keys.ADInplaceOrView, False):
        yield
