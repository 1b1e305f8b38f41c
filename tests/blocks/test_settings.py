"""Settings that all blocks share: one frozen object, which every block takes and refuses alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any, get_type_hints

import numpy as np
import pytest
from sionna.phy.mimo import StreamManagement

import neumatc_mimo as nm
from neumatc_mimo import blocks
from neumatc_mimo.foundation.block_settings import (
    BlockKeywords,
    BlockSettings,
    ProofKeywords,
    ProofSettings,
)
from neumatc_mimo.foundation.display import Displayed
from tests.blocks.common import grid

DOWN = (grid(1, 3), StreamManagement(np.ones([3, 1]), 3))
UP = (grid(3, 1), StreamManagement(np.ones([1, 3]), 1))
ONE = (grid(1, 2), StreamManagement(np.ones([1, 1]), 2))
# What comes before the solver and after it.
ARGUMENTS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "BDPrecodedChannel": (DOWN, ()),
    "BDPrecoder": (DOWN, ()),
    "EPDetector": (("bit", *UP), (2,)),
    "KBestDetector": (("bit", 3, 8, *UP), ("qam", 2)),
    "LMMSEPostEqualizationSINR": (UP, ()),
    "LinearDetector": (("zf", "bit", "app", *UP), ("qam", 2)),
    "MFEqualizer": (UP, ()),
    "MMSEDetector": (("bit", "app", *UP), ("qam", 2)),
    "MMSEEqualizer": (UP, ()),
    "MaxMinPrecodedChannel": (DOWN, ()),
    "MMSEPICDetector": (("bit", "app", *UP), (1, "qam", 2)),
    "MaxMinPrecoder": (DOWN, ()),
    "MaximumLikelihoodDetector": (("bit", "app", *UP), ("qam", 2)),
    "MaximumLikelihoodDetectorWithPrior": (("bit", "app", *UP), ("qam", 2)),
    "OperationPrecodedChannel": (DOWN, (nm.PseudoInverse(),)),
    "OperationPrecoder": (DOWN, (nm.PseudoInverse(),)),
    "SLNRPrecodedChannel": (DOWN, ()),
    "SLNRPrecoder": (DOWN, ()),
    "SVDBeamformer": (ONE, ()),
    "SVDPrecodedChannel": (ONE, ()),
    "SVDCombiner": (ONE, ()),
    "WMMSEPrecodedChannel": (DOWN, ()),
    "WMMSEPrecoder": (DOWN, ()),
    "ZFEqualizer": (UP, ()),
    "ZFPrecodedChannel": (DOWN, ()),
    "ZFPrecoder": (DOWN, ()),
}
BASES = ("MatrixPrecodedChannel", "MatrixPrecoder", "NoisyPrecodedChannel", "NoisyPrecoder")
# They need no solver.
WITHOUT = ("CBFPrecodedChannel", "EyePrecodedChannel")
TABLES = (
    *("EQUALIZERS", "PRECODED_CHANNELS", "PRECODERS"),
    *("register", "register_channel", "register_equalizer"),
)
ACCEPTED = [
    {},
    {"certify": None},
    {"certify": "call", "tolerance": nm.Tolerance(50.0, 1e-3)},
    {"certify": "link", "time_varying": True, "trust": "estimate"},
    {"time_varying": False},
    {"trust": "model"},
]
REFUSED = [
    ({"certify": "always"}, ValueError, 'certify is \'always\', it must be "link", "call" or'),
    ({"tolerance": 40}, TypeError, "tolerance is a int, it must be a Tolerance"),
    ({"time_varying": "no"}, ValueError, "time_varying is 'no', it must be None, True or False"),
    ({"trust": "true"}, ValueError, 'trust is \'true\', it must be "estimate" or "model"'),
    ({"certfy": None}, TypeError, "certfy"),
    ({"tolerances": None}, TypeError, "tolerances"),
]


class Knowing(nm.Exact):
    """A solver that says that it knows links."""

    @property
    def knows_links(self) -> bool:
        return True


def made(name: str, solver: nm.Solver, **settings: Any) -> Any:
    before, after = ARGUMENTS[name]
    return getattr(blocks, name)(*before, solver, *after, **settings)


def test_the_table_has_all_blocks() -> None:
    assert set(blocks.__all__) - {*BASES, *WITHOUT, *TABLES} == set(ARGUMENTS)


@pytest.mark.parametrize("settings", ACCEPTED, ids=str)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_accepted_alike(name: str, settings: dict[str, Any]) -> None:
    block = made(name, Knowing(), **settings)
    # What asks the solver.
    asked = next(
        (found for name in ("_equalizer", "_statistics") if (found := getattr(block, name, None))),
        block,
    )
    assert asked._settings == BlockSettings(**settings)
    assert f"certify: {settings.get('certify', 'link')}" in repr(block)
    assert f"trust: {settings.get('trust', 'estimate')}" in repr(block)


@pytest.mark.parametrize("settings, error, message", REFUSED, ids=str)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_refused_alike(
    name: str, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        made(name, Knowing(), **settings)
    with pytest.raises(error, match=message):
        BlockSettings(**settings)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_trust_needs_a_solver_that_knows_links(name: str) -> None:
    with pytest.raises(ValueError, match="needs a solver with trained links"):
        made(name, nm.Exact(), trust="model")


@pytest.mark.parametrize("kind", [ProofSettings, BlockSettings])
def test_settings_are_frozen_and_compare_by_value(kind: Callable[..., Any]) -> None:
    settings = kind(certify="call")
    with pytest.raises(FrozenInstanceError):
        settings.certify = None
    assert settings == kind(certify="call") != kind()
    with pytest.raises(TypeError):
        kind("call")


def test_blocks_of_tensorflow_have_no_trust() -> None:
    with pytest.raises(TypeError, match="trust"):
        ProofSettings(trust="model")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "kind, keywords", [(ProofSettings, ProofKeywords), (BlockSettings, BlockKeywords)]
)
def test_type_checkers_know_the_fields(kind: type, keywords: type) -> None:
    assert get_type_hints(keywords) == get_type_hints(kind)
    assert list(get_type_hints(keywords)) == [field.name for field in fields(kind)]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_settings_are_keywords_only(name: str) -> None:
    """What all blocks share stands behind what each has of its own."""
    kinds = [p.kind for p in inspect.signature(getattr(blocks, name)).parameters.values()]
    assert kinds[-1] is inspect.Parameter.VAR_KEYWORD
    before, after = ARGUMENTS[name]
    with pytest.raises(TypeError, match="positional argument"):
        getattr(blocks, name)(*before, nm.Exact(), *after, *[None] * 9)


@pytest.mark.parametrize("name", [*ARGUMENTS, *BASES])
def test_at_most_three_classes_up_to_sionna(name: str) -> None:
    above = inspect.getmro(getattr(blocks, name))[1:]
    ours = [kind for kind in above if kind.__module__.startswith("neumatc_mimo.")]
    between = [kind for kind in ours if kind is not Displayed]
    assert len(between) <= 3
