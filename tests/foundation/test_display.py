"""Objects tell what a person wants to know: in a line, in a few lines, in a notebook."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

import neumatc_mimo as nm
from neumatc_mimo.blocks import MMSEDetector, SVDBeamformer, ZFPrecoder
from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.model.operation_model import figures


class Told(Displayed):
    """An object that tells what it is given."""

    def __init__(self, name: str, **values: Any) -> None:
        self._told = Facts(name, values)

    def facts(self) -> Facts:
        return self._told


class _Balanced(HTMLParser):
    """Refuses tags that do not close in their order, and collects cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def _cells(shown: Displayed) -> list[str]:
    parser = _Balanced()
    parser.feed(shown._repr_html_())
    parser.close()
    assert not parser.open
    return parser.cells


def _objects(model: nm.ScenarioModel, write_scenario: Any) -> list[Displayed]:
    scenario = nm.load_scenario(write_scenario())
    assert scenario.multi_user is not None and scenario.single_user is not None
    grid = ResourceGrid(2, 192, 120e3, num_tx=1, num_streams_per_tx=3)
    streams = StreamManagement(np.ones([3, 1]), 3)
    uplink = ResourceGrid(2, 192, 120e3, num_tx=3, num_streams_per_tx=1)
    users = StreamManagement(np.ones([1, 3]), 1)
    detector = MMSEDetector(
        "bit", "app", uplink, users, model, constellation_type="qam", num_bits_per_symbol=4
    )
    return [
        scenario,
        scenario.multi_user,
        scenario.single_user,
        model,
        *model.models.values(),
        ZFPrecoder(grid, streams, nm.Auto(model)),
        detector,
    ]


def test_all_three_ways_tell_the_same(small_model: nm.ScenarioModel, write_scenario: Any) -> None:
    for shown in _objects(small_model, write_scenario):
        line, lines, cells = repr(shown), str(shown), _cells(shown)
        assert "\n" not in line and line.startswith(f"{type(shown).__name__}(")
        facts = shown.facts()
        assert facts.values
        for label, value in facts.values.items():
            parts = value.values() if isinstance(value, dict) else [value]
            for text in (label, *parts):
                assert text and text in line and text in lines and text in cells


def test_numbers_are_those_of_the_object(small_model: nm.ScenarioModel) -> None:
    part = small_model.models["pseudo_inverse"]
    told = figures(part)
    assert told["links"] == "4 of 3 x 16"
    assert float(told["patched"].split()[0]) == pytest.approx(
        100 * part.marks.exact.double().mean().item(), abs=0.005
    )
    assert float(told["certificate (5 %)"].split()[0]) == pytest.approx(
        part.training["quality_5_percent_db"], abs=0.05
    )
    assert f"{small_model.num_bytes / 1e6:.3g} MB" in repr(small_model)


def test_a_scenario_tells_its_carrier_once_its_data_are_read(write_scenario: Any) -> None:
    scenario = nm.load_scenario(write_scenario())
    assert "carrier:" not in repr(scenario)
    links = scenario.multi_user
    assert links is not None
    for shown in (scenario, links):
        assert f"carrier: {links.carrier_frequency / 1e9:g} GHz" in repr(shown)


def test_a_block_shows_its_counts_and_no_more_of_its_solver_than_the_name(
    small_model: nm.ScenarioModel,
) -> None:
    links = small_model.models["svd"].links
    grid = ResourceGrid(2, 192, 120e3, num_tx=1, num_streams_per_tx=2)
    block = SVDBeamformer(grid, StreamManagement(np.ones([1, 1]), 2), nm.Auto(small_model))
    h = links.channel(links.grid_frequencies(), [0]).permute(0, 2, 3, 1)[:, None, :, None]
    h = h[..., None, :].expand(-1, -1, -1, -1, -1, 2, -1)
    block(torch.ones(1, 1, 2, 2, 192, dtype=torch.complex64), h)
    assert "Auto(ScenarioModel(small), num_trials=3)" in repr(block)
    stats = block.stats
    assert stats.exact + stats.queried + stats.corrected + stats.patched == 192
    assert f"exact {stats.exact}" in repr(block)
    assert str(stats.exact) in str(block).splitlines()[-1].split()
    # Inside another module the line is indented, not repeated.
    assert repr(torch.nn.Sequential(block)).count("SVDBeamformer(") == 1


def test_what_a_user_names_cannot_become_markup() -> None:
    shown = Told("<script>", a="x < y & z", **{"<i>": {"<b>": "</table>"}})
    assert set(_cells(shown)) == {"a", "x < y & z", "", "<b>", "<i>", "</table>"}
    assert "<script>" not in shown._repr_html_()
    assert html.escape("<script>") in shown._repr_html_()


def test_parts_with_the_same_labels_stand_in_columns() -> None:
    shown = Told(
        "t", size="3 MB", one={"rank": "1", "links": "20"}, two={"rank": "100", "links": "2"}
    )
    assert str(shown).splitlines() == [
        "Told t",
        "  size  3 MB",
        "        rank  links",
        "  one   1     20",
        "  two   100   2",
    ]
    assert repr(shown) == "Told(t; size: 3 MB; one: rank 1, links 20; two: rank 100, links 2)"
    assert len(re.findall("<table>", shown._repr_html_())) == 2
