"""What all tests of kernels take."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neumatc_mimo.kernels.lanes import library
from tests.kernels import foreign

# Before the tests look whether there are kernels.
foreign.install()

from tests.kernels.comparison import Choice, Spy  # noqa: E402


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    library.forget()


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choice:
    return Choice(monkeypatch)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)
