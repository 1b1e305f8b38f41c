"""Filters of recalled links in lanes, from latent tensors as they are stored, against PyTorch."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MaxMinPrecoder,
    MMSEEqualizer,
    SLNRPrecoder,
    SVDBeamformer,
    WMMSEPrecoder,
    ZFEqualizer,
    ZFPrecoder,
)
from neumatc_mimo.kernels.lanes import recalled
from neumatc_mimo.model import OperationModel
from neumatc_mimo.scenario import LinkSet
from tests.conftest import ScenarioWriter, Trainer
from tests.kernels.comparison import Choice, check, downlink, needs_library, normal, uplink

pytestmark = needs_library
NUM, SYMBOLS = 192, 3
TRAINED = [{"name": name, "noise_db": -10.0} for name in ("wmmse", "max_min", "slnr")]
# Noise powers below and above the rows' powers.
ANGLES = torch.arange(8) + 0.3
POWERS = torch.tensor([1e-3, 0.02, 0.3, 0.05])


# Of networks that were hardly trained little is asked.
NETWORK = {
    "trunk": "mlp",
    "tolerance_db": 15.0,
    "tolerance_range": 0.1,
    "mlp.width": 32,
    "mlp.rank": 64,
    "mlp.steps": 100,
    "mlp.samples": 96,
    "mlp.learning_rate": 2e-3,
    "mlp.projection": True,
}
TRUNKS: dict[str, dict[str, Any]] = {
    "splines": {"width": 96, "samples": 128, "collocation": 128},
    "sines, mixed": {"trunk": "sine", "rank": 48, "svd_rank": 48, "width": 96},
    "networks": NETWORK,
    "a network of all links": NETWORK | {"mlp.shared": True},
}


@pytest.fixture(scope="module", params=TRUNKS.values(), ids=TRUNKS)
def model(
    request: pytest.FixtureRequest, write_scenario: ScenarioWriter, trained: Trainer
) -> nm.ScenarioModel:
    """Of all precoders; that of splines with corrected and patched subcarriers."""
    file = write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": NUM, "subcarrier_spacing": 120e3},
        multi_user={"operation": TRAINED},
    )
    return trained(nm.load_scenario(file).with_model(**request.param))


def links_of(model: nm.ScenarioModel, operation: str) -> LinkSet:
    return model.models[operation].links


def channel(links: LinkSet, change: Callable[[Tensor], Tensor]) -> Tensor:
    """[num_links, K, 1, 1, M, SYMBOLS, NUM]"""
    h = change(links.channel(links.grid_frequencies())).permute(0, 2, 3, 1)
    return h[:, :, None, None, :, None].expand(-1, -1, -1, -1, -1, SYMBOLS, -1).contiguous()


def precoder(kind: type, *noise: Any, operation: str) -> Callable[..., tuple[Any, Any]]:
    """Makes of a model a block, and of links what it is called with."""

    def make(
        model: nm.ScenarioModel, change: Callable[[Tensor], Tensor], **settings: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        links = links_of(model, operation)
        h = channel(links, change)
        streams = h.shape[1] if kind is not SVDBeamformer else 2
        _, streams_of = downlink(h.shape[1], SYMBOLS, NUM)
        if kind is SVDBeamformer:
            streams_of, h = StreamManagement(np.ones([1, 1]), 2), h.transpose(1, 2)
        grid = ResourceGrid(SYMBOLS, NUM, 120e3, num_tx=1, num_streams_per_tx=streams)
        x = normal(len(h), 1, streams, SYMBOLS, NUM, dtype=torch.complex64)
        return kind(grid, streams_of, model, **settings), (x, h, *noise)

    return make


def equalizer(kind: type) -> Callable[..., tuple[Any, Any]]:
    """Likewise."""

    def make(
        model: nm.ScenarioModel, change: Callable[[Tensor], Tensor], **settings: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        links = links_of(model, "pseudo_inverse")
        h = channel(links, change).permute(0, 2, 4, 1, 3, 5, 6)
        _, streams_of = uplink(h.shape[3], SYMBOLS, NUM)
        grid = ResourceGrid(SYMBOLS, NUM, 120e3, num_tx=h.shape[3])
        y = normal(len(h), 1, h.shape[2], SYMBOLS, NUM, dtype=torch.complex64)
        return kind(grid, streams_of, model, **settings), (y, h, 0.0, POWERS)

    return make


BLOCKS = {
    "zero forcing": precoder(ZFPrecoder, operation="pseudo_inverse"),
    "regularised": precoder(ZFPrecoder, POWERS, operation="pseudo_inverse"),
    "equalizer": equalizer(MMSEEqualizer),
    "zero-forcing equalizer": equalizer(ZFEqualizer),
    "WMMSE": precoder(WMMSEPrecoder, 0.1, operation="wmmse"),
    "max-min": precoder(MaxMinPrecoder, 0.1, operation="max_min"),
    "SLNR": precoder(SLNRPrecoder, 0.1, operation="slnr"),
    "singular vectors": precoder(SVDBeamformer, operation="svd"),
}
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "as they are": lambda h: h,
    "turned": lambda h: h * torch.polar(torch.ones(h.shape[2]), ANGLES[: h.shape[2]])[:, None],
    "in another order": lambda h: h.roll(1, 2),
}
each_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)


class Asked:
    """Counts what kernels do of recalled links."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.items = 0
        run = recalled.run

        def counted(links: recalled.Recalled, *arguments: Any) -> None:
            self.items += len(links.links)
            run(links, *arguments)

        monkeypatch.setattr(recalled, "run", counted)


def both(
    choose: Choice, block: Any, model: nm.ScenarioModel, change: Any, **settings: Any
) -> list[tuple[tuple[Tensor, ...], Any]]:
    found = []
    for value in ("", "off"):
        choose(value)
        made, inputs = block(model, change, **settings)
        outputs = made(*inputs)
        found.append((outputs if isinstance(outputs, tuple) else (outputs,), made.stats))
    return found


@each_block
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_blocks(
    choose: Choice,
    monkeypatch: pytest.MonkeyPatch,
    model: nm.ScenarioModel,
    block: Any,
    change: Callable[[Tensor], Tensor],
) -> None:
    asked = Asked(monkeypatch)
    (ours, counts), (theirs, right) = both(choose, block, model, change)
    assert asked.items == 4 and counts.links_recalled == 4 and counts.queried
    assert counts == right
    check(ours, theirs, "single")


@pytest.fixture(scope="module")
def wide(write_scenario: ScenarioWriter, trained: Trainer) -> nm.ScenarioModel:
    """Of a base station whose filters are made in several groups of antennas, and a last one."""
    file = write_scenario(
        array={"bs": [9, 9]},
        grid={"fft_size": NUM, "subcarrier_spacing": 120e3},
        multi_user={"operation": TRAINED},
    )
    return trained(nm.load_scenario(file).with_model(**TRUNKS["splines"]))


@each_block
def test_many_antennas_and_symbols(
    choose: Choice, monkeypatch: pytest.MonkeyPatch, wide: nm.ScenarioModel, block: Any
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SYMBOLS", 17)
    asked = Asked(monkeypatch)
    (ours, counts), (theirs, right) = both(choose, block, wide, CHANGES["turned"])
    assert asked.items == 4 and counts == right
    check(ours, theirs, "single")


@each_block
def test_tolerance_of_the_call(choose: Choice, model: nm.ScenarioModel, block: Any) -> None:
    """More than the training proved is computed from the channel of the call."""
    tolerance = nm.Tolerance(quality_db=60.0)
    (ours, counts), (theirs, right) = both(choose, block, model, lambda h: h, tolerance=tolerance)
    assert counts == right
    check(ours, theirs, "single")


@each_block
def test_repairs_that_are_too_large_to_keep(
    choose: Choice, monkeypatch: pytest.MonkeyPatch, model: nm.ScenarioModel, block: Any
) -> None:
    """What the training marked is computed from the channel of the call, too, by kernels."""
    monkeypatch.setattr("neumatc_mimo.model.operation_model.REPAIR_BYTES", 0)
    asked, copy = Asked(monkeypatch), pickle.loads(pickle.dumps(model))
    parts = {name: marked(part) for name, part in copy.models.items()}
    worse = nm.ScenarioModel("marked", parts)
    (ours, counts), (theirs, right) = both(choose, block, worse, lambda h: h)
    assert asked.items == 4 and counts == right
    assert counts.exact > 0 == counts.patched == counts.corrected
    check(ours, theirs, "single")


def marked(part: OperationModel) -> OperationModel:
    """A model that has to patch every seventh subcarrier."""
    patched = part.marks.patched.clone()
    patched[..., ::7] = True
    return replace(part, marks=replace(part.marks, patched=patched))
