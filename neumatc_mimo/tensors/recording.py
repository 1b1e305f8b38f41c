"""Work within an operator, where PyTorch has switched off parts of itself."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def as_outside() -> Iterator[None]:
    """Within an operator's implementation, operations do what they do outside: they record what
    derivatives need, and know conjugate views, whatever calls the operator.
    """
    # PyTorch has no public way to that.
    with torch._C._ForceDispatchKeyGuard(*_keys()):
        yield


@functools.cache
def _keys() -> tuple[Any, Any]:
    """Of parts that are on, and that are off, where nobody has changed them: in a new thread."""
    with ThreadPoolExecutor(1) as pool:
        included = pool.submit(torch._C._dispatch_tls_local_include_set).result()
        return included, pool.submit(torch._C._dispatch_tls_local_exclude_set).result()
