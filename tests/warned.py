"""Warnings that tests expect."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

import neumatc_mimo as nm


def strangers(expected: bool = True) -> contextlib.AbstractContextManager[object]:
    """Where links are computed exactly as no model knows them, a user is told of it."""
    if not expected:
        return contextlib.nullcontext()
    return pytest.warns(nm.NeuMatCWarning, match="because its model does not know them")


def patched() -> contextlib.AbstractContextManager[object]:
    """A training that leaves many subcarriers to exact results, or to corrections, says so."""
    return pytest.warns(nm.NeuMatCWarning, match="of the subcarriers of .* are (patched|corrected)")


def beyond(expected: bool = True) -> contextlib.AbstractContextManager[object]:
    """Noise powers that a model was not trained for take exact results, and it says so."""
    if not expected:
        return contextlib.nullcontext()
    return pytest.warns(nm.NeuMatCWarning, match="widen noise_db")


def unwarned(model: nm.ScenarioModel) -> nm.ScenarioModel:
    """The same model, as one that has not warned yet: it does so once."""
    parts = {name: replace(part) for name, part in model.models.items()}
    return replace(model, models=parts)
