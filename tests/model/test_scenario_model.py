"""Scenario models: training, answers, certificates, files. One small model serves most tests."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.bench.tasks import MMSE, Beamforming, Combining, Slot, Task, ZeroForcing
from neumatc_mimo.mapping.axes import NoiseAxis
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.model.likeness import Reference, probe_subcarriers, recognise
from neumatc_mimo.model.marks import Marks
from neumatc_mimo.operations import SVD, PseudoInverse, Triplets
from neumatc_mimo.operations.pseudo_inverse import Filter
from neumatc_mimo.progress import Event
from neumatc_mimo.solvers import Channels, Counts
from neumatc_mimo.training.jobs import _BATCH_BYTES
from tests.conftest import Trainer
from tests.warned import beyond, strangers, unwarned

TOML = """
name = "small"
seed = 1
[deepmimo]
path = "{path}"
[array]
bs = [4, 4]
[grid]
fft_size = 512
subcarrier_spacing = 60e3
[multi_user]
users_per_link = 3
num_links = 3
[single_user]
ue = [2, 1]
num_streams = 1
num_links = 2
[model]
rank = 192
svd_rank = 48
width = 192
samples = 96
collocation = 256
"""


@pytest.fixture(scope="module")
def scenario(munich: Path, tmp_path_factory: pytest.TempPathFactory) -> nm.Scenario:
    file = tmp_path_factory.mktemp("scenario") / "small.toml"
    file.write_text(TOML.format(path=munich))
    return nm.load_scenario(file)


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


def _unsampled(links: nm.LinkSet) -> torch.Tensor:
    """Frequencies between the subcarriers: no sample lies there."""
    return links.grid_frequencies()[5:-5:7] + 0.37 * links.subcarrier_spacing


@pytest.mark.parametrize("no", [0.0, 1e-3, 1.0])
def test_queried_filters_are_the_exact_ones(
    scenario: nm.Scenario, model: nm.ScenarioModel, no: float
) -> None:
    links = scenario.multi_user
    assert links is not None
    frequencies = _unsampled(links)
    (w,) = model.query("pseudo_inverse", frequencies, no=no)
    h = links.channel(frequencies, dtype=torch.complex128)
    exact = PseudoInverse().solve(h, no).dense
    error = torch.linalg.norm(w - exact, dim=(-2, -1)) / torch.linalg.norm(exact, dim=(-2, -1))
    assert w.shape == (3, len(frequencies), 16, 3)
    assert error.median() < 1e-2


def test_queried_triplets_satisfy_their_equations(
    scenario: nm.Scenario, model: nm.ScenarioModel
) -> None:
    links = scenario.single_user
    assert links is not None
    frequencies = _unsampled(links)
    u, s, v = model.query("svd", frequencies)
    h = links.channel(frequencies)
    largest = torch.linalg.svdvals(h)[..., :1]
    assert torch.linalg.norm(h @ v - u * s[..., None, :]) < 1e-2 * torch.linalg.norm(s)
    assert ((s - largest).abs() / largest).median() < 1e-3


def test_every_grid_answer_is_proven(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    """What the patches left in place passes the certificate at the powers it was made for."""
    part = model.models["pseudo_inverse"]
    frequencies = part.links.grid_frequencies()
    a = part.links.channel(frequencies, aligned=True)
    for no in (0.0, part.mapping.axis.highest):
        powers = torch.full((3,), no, dtype=torch.float64)
        components = part.components(frequencies, torch.arange(3), powers)
        proof = part.operation.certificate(a, components, no, part.tolerance)
        assert proof.ok.double().mean() > 0.999


def test_training_stays_within_its_budget_and_beats_an_untrained_trunk(
    model: nm.ScenarioModel,
) -> None:
    report = model.training["pseudo_inverse"]
    assert report["exact_samples_per_link"] <= 96
    assert report["error_median"] < 0.2 * report["untrained_error"]


def test_training_repeats_bit_for_bit(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    again = nm.train(scenario, progress=False)
    for name, part in model.models.items():
        for key, tensor in part.mapping.tensors().items():
            assert torch.equal(tensor, again.models[name].mapping.tensors()[key]), (name, key)


def test_files_round_trip(model: nm.ScenarioModel, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "model")
    loaded = nm.ScenarioModel.load(folder)
    frequencies = _unsampled(model.models["svd"].links)
    for name in model.models:
        for mine, theirs in zip(
            model.query(name, frequencies), loaded.query(name, frequencies), strict=True
        ):
            assert torch.equal(mine, theirs)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_saving_replaces_the_model_as_a_whole(model: nm.ScenarioModel, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "model")
    stale = set(folder.glob("*.safetensors"))
    (folder / "README.md").touch()
    model.save(folder)
    assert stale and not any(file.exists() for file in stale)
    assert (folder / "README.md").exists()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_no_generator_takes_is_refused_at_once(
    scenario: nm.Scenario, seed: int
) -> None:
    with pytest.raises(ValueError, match=f"seed is {seed}"):
        nm.train(scenario, seed=seed, progress=False)


def test_unwritable_folder(model: nm.ScenarioModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        model.save(tmp_path / "file" / "model")


@contextmanager
def _full_disk(most: int) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    resource = pytest.importorskip("resource", reason="this system has no limits of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_of_writing_and_leaves_what_was_there(
    model: nm.ScenarioModel, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    with _full_disk(1000), pytest.raises(OSError, match="model cannot be written"):
        model.save(tmp_path / "model")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    nm.ScenarioModel.load(tmp_path / "model").check(model.scenario["fingerprint"])


def test_a_folder_of_something_else_is_not_replaced(
    model: nm.ScenarioModel, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"contains files but no model\.json"):
        model.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_damaged_files_are_refused(model: nm.ScenarioModel, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match=r"model\.json is missing"):
        nm.ScenarioModel.load(tmp_path)
    (tensors,) = folder.glob("svd-*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated or damaged"):
        nm.ScenarioModel.load(folder)
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        nm.ScenarioModel.load(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        nm.ScenarioModel.load(folder)


def test_another_scenario_is_refused(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    model.check(scenario.fingerprint)
    with pytest.raises(ValueError, match="its data are others"):
        model.check("another")


def test_query_refuses_what_it_was_not_trained_for(model: nm.ScenarioModel) -> None:
    inside = torch.zeros(1)
    with pytest.raises(ValueError, match="band"):
        model.query("pseudo_inverse", torch.tensor([1e9]))
    with pytest.raises(ValueError, match="noise powers from 0 to 1"):
        model.query("pseudo_inverse", inside, no=2.0)
    with pytest.raises(ValueError, match="no model of"):
        model.query("qr", inside)
    with pytest.raises(ValueError, match="links"):
        model.query("svd", inside, links=[7])


class _InterruptedError(Exception):
    pass


def test_interrupted_training_resumes(
    scenario: nm.Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_BATCH_BYTES, "cpu", 1)  # link by link

    def stop(event: Event) -> None:
        if event.done == 2 and "round" in event.metrics:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        nm.train(scenario, progress=False, checkpoint=tmp_path / "c", callback=stop)
    (tmp_path / "c" / "notes.txt").touch()  # not ours to remove
    resumed: list[Event] = []
    again = nm.train(scenario, progress=False, checkpoint=tmp_path / "c", callback=resumed.append)
    assert next(event.done for event in resumed if "round" in event.metrics) == 2
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["notes.txt"]
    whole = nm.train(scenario, progress=False)
    for name, part in whole.models.items():
        for mine, theirs in zip(
            part.mapping.latents, again.models[name].mapping.latents, strict=True
        ):
            assert torch.equal(mine.values, theirs.values)


def _start(
    model: nm.ScenarioModel, h: torch.Tensor, no: torch.Tensor | None = None, **settings: Any
) -> tuple[Filter, Counts]:
    links = model.models["pseudo_inverse"].links
    channels = Channels(h, links.grid_frequencies(), no, settings.pop("links", None))
    answers = model.start(PseudoInverse(), channels, **settings)
    return answers.tile(slice(0, h.shape[1])), answers.counts


@pytest.mark.parametrize("no", [None, 1e-2])
@pytest.mark.parametrize("certify", ["link", "call"])
def test_recognised_up_to_phase_delay_order_and_gain(
    scenario: nm.Scenario, model: nm.ScenarioModel, no: float | None, certify: str
) -> None:
    links = scenario.multi_user
    assert links is not None
    frequencies = links.grid_frequencies()
    h = links.channel(frequencies, [2, 0])
    delay = torch.tensor([3e-8, -2e-7, 1.1e-6], dtype=torch.float64)
    turns = frequencies[:, None] * delay + torch.tensor([0.1, 0.7, 0.3])
    changed = h[..., [2, 0, 1], :] * torch.exp(-2j * torch.pi * turns)[..., None].to(h.dtype)
    changed = changed * (torch.tensor([1.0, 5.0, 0.3])[:, None] if no is None else 3.0)
    noise = None if no is None else torch.full((2,), no)
    answer, counts = _start(model, changed, noise, certify=certify)
    exact = PseudoInverse().solve(
        changed.to(torch.complex128), 0.0 if noise is None else noise[:, None].double()
    )
    assert counts.links_recalled == 2
    error = torch.linalg.norm(answer.dense - exact.dense, dim=(-2, -1))
    assert (error / torch.linalg.norm(exact.dense, dim=(-2, -1))).median() < 1e-2
    power = answer.column_power / exact.column_power - 1
    assert power.abs().median() < 1e-2
    # σ² X_kk is the same whichever gain the rows have in common.
    assert (answer.loss - exact.loss).abs().median() < 1e-3


def test_unknown_channels_are_computed_exactly(model: nm.ScenarioModel) -> None:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(2, 512, 3, 16, dtype=torch.complex64, generator=generator)
    answer, counts = _start(model, h)
    assert torch.equal(answer.dense, PseudoInverse().solve(h).dense)
    assert (counts.links_unknown, counts.exact, counts.queried) == (2, 1024, 0)


@pytest.mark.parametrize("no", [0.0, 0.1])
def test_marked_subcarriers_are_repaired(model: nm.ScenarioModel, no: float) -> None:
    """A model made worse: corrected subcarriers come closer, patched ones are exact."""
    part, generator = model.models["pseudo_inverse"], torch.Generator().manual_seed(0)
    corrected = torch.zeros(3, 512, dtype=torch.bool)
    patches = torch.zeros(3, 512, dtype=torch.bool)
    corrected[:, ::3], patches[:, 1::3] = True, True
    corrected[1, ::2] = patches[1] = False
    # The inverse of a Gram matrix amplifies what that lacks.
    latents = tuple(
        Latent(c.values * (1 + error * torch.randn(c.shape, generator=generator)))
        for c, error in zip(part.mapping.latents, (1e-2, 1e-5), strict=True)
    )
    mapping = replace(part.mapping, latents=latents)
    marks = replace(
        Marks.none(corrected[:, None]),
        corrected=corrected[:, None].to(torch.int8),
        patched=patches[:, None],
    )
    worse = replace(part, mapping=mapping, marks=marks)
    frequencies, powers = part.links.grid_frequencies(), torch.full((3,), no, dtype=torch.float64)
    a = part.links.channel(frequencies, aligned=True)
    plain = part.operation.from_stored(mapping(frequencies, powers), powers[:, None])
    repaired = worse.components(frequencies, torch.arange(3), powers)
    before, after = (part.operation.residual(a, c, no) for c in (plain, repaired))
    for one, other in zip(plain, repaired, strict=True):
        same = (one == other).flatten(2).all(-1)
        assert torch.equal(same, ~(corrected | patches))
    assert (after[corrected] < 0.1 * before[corrected]).double().mean() > 0.95
    assert after[patches].max() < 1e-4
    # Blocks' answers are repaired in the same places.
    scenario = nm.ScenarioModel("worse", {"pseudo_inverse": worse})
    answer, counts = _start(scenario, part.links.channel(frequencies), powers if no else None)
    phases = part.links.row_factors(frequencies, torch.arange(3)).to(torch.complex64)
    expected = part.operation.answer(repaired, powers[:, None].float() if no else 0.0, phases)
    error = torch.linalg.norm(answer.dense - expected.dense, dim=(-2, -1))
    assert (error < 1e-3 * torch.linalg.norm(expected.dense, dim=(-2, -1))).all()
    assert counts.corrected == corrected.sum() and counts.patched == patches.sum()
    assert counts.queried == 3 * 512 - counts.corrected - counts.patched


def test_known_and_unknown_items_in_one_batch(
    scenario: nm.Scenario, model: nm.ScenarioModel
) -> None:
    links = scenario.multi_user
    assert links is not None
    h = links.channel(links.grid_frequencies(), [1])
    both = torch.cat([torch.roll(h, 9, dims=1), h])
    answer, counts = _start(model, both)
    exact = PseudoInverse().solve(both.to(torch.complex128))
    assert (counts.links_recalled, counts.links_unknown) == (1, 1)
    assert torch.linalg.norm(answer.dense - exact.dense) < 2e-2 * torch.linalg.norm(exact.dense)


def test_almost_the_same_link_is_not_recognised(
    scenario: nm.Scenario,
) -> None:
    """Each path's length changed by up to 5 cm, as for a user who moved that far."""
    links = scenario.multi_user
    assert links is not None
    generator = torch.Generator().manual_seed(0)
    change = 0.05 * (2 * torch.rand(links.delays.shape, generator=generator) - 1)
    wave = torch.exp(-2j * torch.pi * change * links.carrier_frequency / 299792458.0)
    moved = replace(links, coefficients=links.coefficients * wave)
    probes = links.grid_frequencies()[probe_subcarriers(512)]
    reference = Reference.of(links, links.grid_frequencies(), torch.complex64)
    found = recognise(moved.channel(probes), reference, None, any_gain=True)
    same = recognise(links.channel(probes), reference, None, any_gain=True)
    assert found.links.tolist() == [-1, -1, -1]
    assert same.links.tolist() == [0, 1, 2]


def test_a_wrong_link_index_is_not_believed(scenario: nm.Scenario, model: nm.ScenarioModel) -> None:
    links = scenario.multi_user
    assert links is not None
    h = links.channel(links.grid_frequencies(), [0])
    _, counts = _start(model, h, links=torch.tensor([1]))
    assert counts.links_unknown == 1


def test_noise_outside_the_range_is_exact_with_a_warning(
    scenario: nm.Scenario, model: nm.ScenarioModel
) -> None:
    links = scenario.multi_user
    assert links is not None
    h = links.channel(links.grid_frequencies(), [0])
    with beyond():
        answer, counts = _start(unwarned(model), h, torch.tensor([50.0]))
    assert counts.queried == counts.corrected == 0
    assert torch.equal(answer.dense, PseudoInverse().solve(h, torch.tensor([[50.0]])).dense)


def test_noise_axis_interpolates_filters() -> None:
    axis = NoiseAxis(1e-4, 1.0, 8)
    assert torch.equal(axis.weights(axis.nodes), torch.eye(8, dtype=torch.float64))
    values = torch.tensor([0.0, 3e-4, 0.02, 0.9], dtype=torch.float64)

    def gain(no: torch.Tensor) -> torch.Tensor:
        return 1.0 / (1.0 + no)

    assert (axis.weights(values) @ gain(axis.nodes) - gain(values)).abs().max() < 1e-3
    inside = axis.covers(torch.tensor([0.0, 1.0, 1.1, -0.1]), 0.0)
    assert inside.tolist() == [True, True, False, False]
    assert math.isclose(axis.nodes[-1].item(), 1.0)


def _svd_answer(model: nm.ScenarioModel, h: torch.Tensor, **settings: Any) -> Triplets:
    links = model.models["svd"].links
    operation = SVD(1, **settings)
    answer = model.start(operation, Channels(h, links.grid_frequencies())).tile(slice(0, 512))
    assert isinstance(answer, Triplets)
    return answer


@pytest.mark.parametrize("flipped", [False, True])
def test_one_side_of_the_triplets_is_that_of_both(model: nm.ScenarioModel, flipped: bool) -> None:
    part = model.models["svd"]
    h = part.links.channel(part.links.grid_frequencies())
    h = h.flip(2) if flipped else h
    both = _svd_answer(model, h)
    for unused, used in (("u", "v"), ("v", "u")):
        one = _svd_answer(model, h, unused=(unused,))
        torch.testing.assert_close(getattr(one, used), getattr(both, used), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(one.s, both.s)
        assert (one.left if unused == "u" else one.right) is None
    u, s, v = part.operation.results(both)
    image = h @ v
    scale = torch.linalg.norm(image)
    assert torch.linalg.norm(image - u * s[..., None, :]) < 1e-2 * scale


def test_factors_of_the_triplets_multiply_out() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(2, 7, 3, 5, dtype=torch.complex128, generator=generator)
    a[0, 3:] = a[0, 3:].flip(1)
    operation = SVD(2)
    u, s, v = operation.exact(a)
    # Branches that have crossed, and rows with phases of their own.
    swapped = (u.flip(-1), s.flip(-1), v.flip(-1))
    angle = torch.rand(2, 7, 3, dtype=torch.float64, generator=generator)
    rows = torch.polar(torch.full_like(angle, 2.0), angle)
    answer = operation.answer(swapped, rows=rows)
    plain = operation.solve(rows[..., None] * a)
    torch.testing.assert_close(operation.results(answer), operation.results(plain))
    x = torch.randn(2, 7, 2, 4, dtype=a.dtype, generator=generator)
    y = torch.randn(2, 7, 4, 3, dtype=a.dtype, generator=generator)
    for found in (answer, plain, answer.complete()):
        assert found.right is not None
        torch.testing.assert_close(found.right @ found.before(x), plain.v @ x)
        combined = y @ plain.u.conj() / plain.s[..., None, :]
        torch.testing.assert_close(found.after(y @ found.receiving), combined)
    with pytest.raises(ValueError, match="unused is 'w'"):
        SVD(2, unused="w")


def test_what_follows_from_a_certified_link_is_kept(model: nm.ScenarioModel) -> None:
    part = model.models["svd"]
    h = part.links.channel(part.links.grid_frequencies())
    made: list[str] = []

    def make(a: torch.Tensor) -> str:
        assert a.shape[1] == 100
        made.append("once")
        return "leakage"

    for certify, count in (("link", 1), ("link", 1), ("call", 2), ("call", 3)):
        channels = Channels(h, part.links.grid_frequencies())
        answers = model.start(SVD(1), channels, certify)
        assert answers.keep("of a test", slice(0, 100), make, h) == "leakage"
        assert len(made) == count
    # Another channel has no right to it.
    others = model.start(SVD(1), Channels(h.roll(9, 1), part.links.grid_frequencies()))
    others.keep("of a test", slice(0, 100), make, h)
    assert len(made) == 4


@pytest.mark.parametrize("task", [ZeroForcing, MMSE, Beamforming, Combining], ids=lambda t: t.title)
@pytest.mark.parametrize("share", ["none", "some"])
def test_blocks_compute_unknown_channels_exactly(
    model: nm.ScenarioModel, task: type[Task], share: str
) -> None:
    case = task(model.models[task.operation].links, Slot(num_ofdm_symbols=2, batch_size=2))
    generator = torch.Generator().manual_seed(0)
    inputs = list(case.inputs())
    h = inputs[1].clone()
    drawn = torch.randn(h[..., :1, :].shape, dtype=h.dtype, generator=generator).expand(h.shape)
    h[: 2 if share == "none" else 1] = drawn[: 2 if share == "none" else 1]
    inputs[1] = h
    block = case.block(model)
    with strangers(share == "none"):
        found = block(*inputs)
    expected = case.block(nm.Exact())(*inputs)
    for one, other in zip(_tensors(found), _tensors(expected), strict=True):
        assert torch.linalg.norm(one - other) < 2e-2 * torch.linalg.norm(other)
    assert block.stats.links_unknown == (2 if share == "none" else 1)
    assert block.stats.exact >= 512 * block.stats.links_unknown


def _tensors(output: Any) -> tuple[torch.Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)
