"""Training tells where a mapping is poor, once, and how to have it better."""

from __future__ import annotations

import warnings

import pytest

import neumatc_mimo as nm
from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.training.reports import warn_of_repairs

TOLERANCE = Tolerance()


@pytest.mark.parametrize(
    ("patched", "corrected", "told"),
    [
        (0.5, 0.0, "50 % .* svd are patched"),
        (0.5, 0.4, "patched"),
        (0.05, 0.95, "95 % .* corrected"),
    ],
)
def test_many_repairs_are_told_once(patched: float, corrected: float, told: str) -> None:
    with pytest.warns(nm.NeuMatCWarning, match=told) as found:
        warn_of_repairs("svd", patched, corrected, TOLERANCE)
    (one,) = found
    assert "raise samples, width or rank" in str(one.message)
    assert ("nm.Auto(model)" in str(one.message)) == (told.endswith("corrected"))


def test_few_repairs_are_not_worth_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_repairs("svd", 0.1, 0.9, TOLERANCE)
