"""All blocks on whatever can be drawn, against Sionna on the same inputs.

``make test-random`` draws four times as many examples, ``python -m benchmarks.against_sionna`` any
number.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import neumatc_mimo as nm
from benchmarks.against_sionna.blocks import Comparison, RefusedError
from benchmarks.against_sionna.tally import KINDS

COMPARISONS = [
    pytest.param(comparison, id=f"{block} on {kind}")
    for kind, blocks in KINDS.items()
    for block, comparison in blocks.items()
]


@pytest.mark.parametrize("comparison", COMPARISONS)
@given(data=st.data())
def test_blocks_are_right_whatever_is_drawn(
    comparison: Comparison, small_model: nm.ScenarioModel, data: Any
) -> None:
    draw = data.draw(comparison.draws)
    with warnings.catch_warnings():
        # Of what is computed exactly, which other tests look at.
        warnings.simplefilter("ignore", nm.NeuMatCWarning)
        try:
            for what, deviation in comparison.deviations(draw, small_model):
                assert deviation <= 1, (what, deviation)
        except RefusedError:
            assume(False)


def test_what_differs_is_counted(small_model: nm.ScenarioModel) -> None:
    """The comparison sees a block that is wrong by a thousandth."""
    from benchmarks.against_sionna import blocks, tally

    class Wrong(blocks.ZFPrecoder):
        def call(self, *inputs: Any, **options: Any) -> Any:
            x, h_eff = super().call(*inputs, **options)
            return 1.001 * x, h_eff

    comparison = blocks.BLOCKS["ZFPrecoder"]
    assert not tally.tried(comparison, small_model, 5, seed=1).differences
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "ZFPrecoder", Wrong)
        found = tally.tried(comparison, small_model, 5, seed=1)
    assert len(found.differences) > 2 and found.largest["x_precoded"] > 10
