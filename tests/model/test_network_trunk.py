"""Models whose trunk is a network: trained, certified, saved and served as any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.bench.tasks import MMSE, Beamforming, Combining, Slot, Task, ZeroForcing
from neumatc_mimo.export import QueryModule
from neumatc_mimo.mapping.trunk import NetworkTrunk
from neumatc_mimo.model.packing import shared_tensors
from neumatc_mimo.storage.manifest import MANIFEST, sealed
from neumatc_mimo.storage.shards import write_index
from neumatc_mimo.training.batch import train_batch
from neumatc_mimo.training.jobs import jobs
from neumatc_mimo.training.store import Store
from tests.conftest import ScenarioWriter, Trainer

KINDS = {
    "as published": {},
    "shared and projected": {"shared": True, "projection": True, "rank": 40},
}
NETWORK = {"width": 32, "rank": 32, "steps": 200, "samples": 96, "learning_rate": 2e-3}
SMALL: dict[str, Any] = {
    "array": {"bs": [4, 4]},
    "grid": {"fft_size": 192, "subcarrier_spacing": 120e3},
    "model": {"trunk": "mlp", "tolerance_db": 30.0, "tolerance_range": 0.05},
}


@pytest.fixture(scope="module")
def scenario(write_scenario: ScenarioWriter) -> nm.Scenario:
    return nm.load_scenario(write_scenario(**SMALL)).with_model(
        **{f"mlp.{key}": value for key, value in NETWORK.items()}
    )


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def model(
    request: pytest.FixtureRequest, scenario: nm.Scenario, trained: Trainer
) -> nm.ScenarioModel:
    return trained(scenario.with_model(**{f"mlp.{k}": v for k, v in request.param.items()}))


def part_of(model: nm.ScenarioModel, operation: str = "pseudo_inverse") -> Any:
    return model.models[operation]


def test_it_learns(model: nm.ScenarioModel) -> None:
    """Correction steps bring nearly all of it to what is asked for."""
    assert part_of(model).training["error_median"] < 0.05
    for part in model.models.values():
        assert part.marks.exact.double().mean() < 0.5


def test_what_is_learned_is_a_network(model: nm.ScenarioModel) -> None:
    for part in model.models.values():
        assert isinstance(part.mapping.trunk, NetworkTrunk)
        assert part.mapping.trunk.rank == part.mapping.latents[0].shape[1]
        assert part.training["stopped"] == ["steps"] * len(part.training["stopped"])


def test_queries_are_functions_times_latent_tensors(model: nm.ScenarioModel) -> None:
    part = part_of(model)
    frequencies = part.links.grid_frequencies()[::7]
    links = torch.tensor([2, 0])
    found = part.mapping.select(links)(frequencies, torch.zeros(2, dtype=torch.float64))[0]
    trunk = part.mapping.trunk.select(links)
    values = torch.as_tensor(trunk(part.mapping.coordinate(frequencies)))
    rows = values.double() @ part.mapping.latents[0].values[links, :, 0].double()
    torch.testing.assert_close(
        torch.view_as_real(found).flatten(2).double(), rows, rtol=1e-4, atol=1e-5
    )


def test_exported_queries_are_those_of_the_mapping(model: nm.ScenarioModel) -> None:
    part, links = part_of(model), torch.tensor([3, 0, 3])
    frequencies = part.links.grid_frequencies()[::5]
    no = torch.tensor([0.0, 0.02, 1.0], dtype=torch.float64)
    query = QueryModule(model, "pseudo_inverse")
    found, certified = query(links, frequencies, no)
    assert torch.equal(certified, ~part.marks.any.any(1)[links][:, ::5])
    zero = query(links[:1], frequencies, no[:1])[0]
    torch.testing.assert_close(found[:1], zero)
    expected = part.mapping.select(links[:1])(frequencies, no[:1])[0]
    # But for the phases of the rows, which an aligned link has not.
    norms = (torch.linalg.vector_norm(w, dim=-2) for w in (zero, expected))
    torch.testing.assert_close(*norms, rtol=1e-4, atol=1e-5)


def test_a_saved_model_answers_bit_by_bit(model: nm.ScenarioModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again = nm.ScenarioModel.load(tmp_path / "model")
    for name, part in model.models.items():
        frequencies = part.links.grid_frequencies()
        for one, other in zip(
            again.query(name, frequencies), model.query(name, frequencies), strict=True
        ):
            assert torch.equal(one, other)


@pytest.mark.parametrize("task", [ZeroForcing, MMSE, Beamforming, Combining])
def test_blocks_serve_it_within_what_was_asked_for(
    model: nm.ScenarioModel, task: type[Task]
) -> None:
    """Their answers differ from exact ones by the error that the certificate allows."""
    case = task(part_of(model, task.operation).links, Slot(num_ofdm_symbols=2, batch_size=3))
    block = case.block(model)
    median, largest = case.error_db(block(*case.inputs()), case.reference())
    assert median < -30 and largest < 0
    assert block.stats.links_recalled == 3 and block.stats.queried + block.stats.corrected > 192


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("depth", 3, "it lacks mapping.weight.3"),
        ("depth", 65, "depth is 65"),
        ("depth", None, "a network, and it alone, has a depth"),
        ("kind", "sine", "a network, and it alone, has a depth"),
        ("omega0", 0.0, "omega0 is 0.0"),
        ("shared", "yes", "shared is 'yes'"),
        ("shared", None, "a network, and it alone"),
    ],
)
def test_lies_about_a_network_are_refused(
    model: nm.ScenarioModel, tmp_path: Path, place: str, value: Any, message: str
) -> None:
    folder = Path(model.save(tmp_path / "model"))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["operations"]["svd"]["mapping"]["basis"][place] = value
    text = sealed("small", manifest["scenario"], manifest["operations"])
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        nm.ScenarioModel.load(folder)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_network_of_each_link_is_not_that_of_all(model: nm.ScenarioModel, tmp_path: Path) -> None:
    folder = Path(model.save(tmp_path / "model"))
    manifest = json.loads((folder / MANIFEST).read_text())
    basis = manifest["operations"]["svd"]["mapping"]["basis"]
    basis["shared"] = not basis["shared"]
    (folder / MANIFEST).write_text(sealed("small", manifest["scenario"], manifest["operations"]))
    with pytest.raises(ValueError, match=r"mapping.weight.0 is float32 of the shape"):
        nm.ScenarioModel.load(folder)


def test_links_do_not_depend_on_each_other(scenario: nm.Scenario) -> None:
    job = next(jobs(scenario.with_model(**{"mlp.steps": 20})))
    alone, together = (train_batch(job, torch.tensor(links)) for links in ([1], [0, 1, 3]))
    for one, other in zip(
        alone.mapping.trunk.tensors().values(),
        together.mapping.trunk.tensors().values(),
        strict=True,
    ):
        torch.testing.assert_close(one[0], other[1], rtol=1e-3, atol=1e-4)


def test_the_seed_decides(scenario: nm.Scenario) -> None:
    def weights(seed: int) -> torch.Tensor:
        job = next(jobs(scenario.with_model(**{"mlp.steps": 2, "mlp.seed": seed})))
        found: torch.Tensor = train_batch(job, torch.tensor([0])).mapping.tensors()["weight.1"]
        return found

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("shared", [False, True])
def test_shards_hold_a_shared_trunk_once(
    scenario: nm.Scenario, tmp_path: Path, shared: bool
) -> None:
    job = next(jobs(scenario.with_model(**{"mlp.shared": shared, "mlp.steps": 5}))).prepared()
    store = Store(tmp_path, job.operation.name, job.key)
    spans = [range(0, 2), range(2, 4)]
    parts = [train_batch(job, torch.tensor(list(span))) for span in spans]
    for span, part in zip(spans, parts, strict=True):
        store.write(span, part)
        assert ("mapping.weight.0" in shared_tensors(part)) is shared
    read = store.read(spans[1])
    assert read is not None
    for name, tensor in parts[1].mapping.tensors().items():
        assert torch.equal(read.mapping.tensors()[name], tensor)
    names = write_index(tmp_path, job.operation.name, spans).read_text()
    assert ('"mapping.weight.0"' in names) is shared


def test_a_shared_trunk_is_part_of_what_is_trained(scenario: nm.Scenario) -> None:
    """Links of another trunk are not taken for finished ones."""
    job = next(jobs(scenario.with_model(**{"mlp.shared": True, "mlp.steps": 3})))
    assert job.key != job.prepared().key == job.prepared().key


def test_functions_of_a_grid_are_kept_for_each_link(model: nm.ScenarioModel) -> None:
    part = part_of(model)
    own = replace(part)  # which has kept nothing
    fresh = replace(model, models={"pseudo_inverse": own})
    block = ZeroForcing(own.links, Slot(2, batch_size=4)).block(fresh)
    for turn in range(3):
        block(*ZeroForcing(own.links, Slot(2, batch_size=4), turn).inputs())
    made = own.kept.functions.num_made
    assert made == (0 if own.mapping.trunk.is_shared else own.links.num_links)
    block(*ZeroForcing(own.links, Slot(2, batch_size=4)).inputs())
    assert own.kept.functions.num_made == made


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"mlp.depth": 0}, "depth in [model.mlp] is 0"),
        ({"mlp.lambda": -1.0}, "lambda in [model.mlp] is -1.0"),
        ({"mlp.added": 400}, "[model.mlp] has added = 400"),
        ({"mlp.colour": 1}, 'unknown key "colour" in [model.mlp], known are depth'),
        ({"trunk": "wavelet"}, "trunk in [model] is 'wavelet'"),
    ],
)
def test_what_no_network_has_is_refused(
    scenario: nm.Scenario, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError) as error:
        scenario.with_model(**changes)
    assert said in str(error.value)


@pytest.mark.parametrize("fft_size", [1, 2, 5, 24])
def test_small_grids_leave_something_to_look_at(scenario: nm.Scenario, fft_size: int) -> None:
    settings = next(jobs(scenario)).settings
    points, sampled = settings.points(fft_size)
    assert sampled.any() and len(points) <= fft_size
    assert points.equal(points.unique()) and (fft_size < 3 or len(points) < fft_size)
