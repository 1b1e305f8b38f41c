"""Training of a scenario's models: the front door, with progress and checkpoints."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.foundation.warnings import warn
from neumatc_mimo.learning.adaptive import OnRound
from neumatc_mimo.learning.fit import FitConfig, Problem, fit
from neumatc_mimo.learning.projection import Design, project
from neumatc_mimo.mapping.axes import Axis, NoiseAxis, TimeAxis
from neumatc_mimo.mapping.basis import Basis, SineBasis, SplineBasis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.model import OperationModel, ScenarioModel
from neumatc_mimo.operations import (
    SLNR,
    SVD,
    WMMSE,
    BlockDiagonalization,
    MaxMin,
    Operation,
    PseudoInverse,
    Tolerance,
    certified,
)
from neumatc_mimo.progress import Callback, Callbacks, Event, reported
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.schema import ModelConfig
from neumatc_mimo.storage.model_folder import FORMAT_VERSION
from neumatc_mimo.tensors.device import check_device
from neumatc_mimo.training.store import Store, discard_finished
from neumatc_mimo.training.time_nodes import NodeSearch, enough_nodes

# Links are trained together as long as their samples take so many bytes. On a CPU more of them
# leave its cache and ask for new pages at every step: 0.9 s a link of 8 x 64 become 2.5 s. A step
# holds some thirty times as much.
_BATCH_BYTES = {"cpu": 2**25, "cuda": 2**30}

# Share of patched subcarriers above which training warns.
_PATCHED = 0.1

# Subcarriers times values of the axis that are certified at once, for each link.
_AT_ONCE = 2**16

# Of the training report what the certificate found.
CERTIFIED = ("error_median", "quality_5_percent_db", "corrected_share", "patched_share")


def train(
    scenario: Scenario,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callbacks = None,
) -> ScenarioModel:
    """Train, certify and patch the models of a scenario's link sets.

    :param scenario: from :func:`load_scenario`
    :param seed: of the untrained trunk that the report compares with, and recorded; the models
        themselves draw nothing at random, so that they are the same whatever it is
    :param device: where to train; None is the CPU
    :param progress: show a progress bar, in a terminal or a notebook
    :param checkpoint: folder that keeps finished links, so that an interrupted training resumes;
        they are removed at the end
    :param callback: told of every round of training, with its loss and residual, and of links
        that are done, with the figures of their certificate; the step is the operation's name

    :return: the models, on the device
    :raises ValueError: if there is no such device, or the data do not allow such links
    """
    model = train_and_keep(
        scenario, seed, device, progress, checkpoint=checkpoint, callback=callback
    )
    if checkpoint is not None:
        discard_finished(Path(checkpoint), model.models)
    return model


def train_and_keep(
    scenario: Scenario,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callbacks = None,
) -> ScenarioModel:
    """As :func:`train`, but the finished links stay, for whoever has yet to save the model."""
    models = {}
    with reported(callback, progress) as tell:
        for job in jobs(scenario, check_device(device)):
            store = None
            if checkpoint is not None:
                store = Store(Path(checkpoint), job.operation.name, job.key)
            models[job.operation.name] = _train_links(job, store, seed, tell)
    for name, model in models.items():
        warn_of_patches(name, model.patches.double().mean().item(), model.tolerance)
    return ScenarioModel(scenario.name, models, origin(scenario, seed))


def warn_of_patches(name: str, share: float, tolerance: Tolerance) -> None:
    """Warn where a large share of the subcarriers of an operation's model is patched."""
    if share > _PATCHED:
        warn(
            f"{100 * share:.0f} % of the subcarriers of {name} are patched, the mapping does not "
            f"reach {tolerance.quality_db:g} dB there: queries compute them exactly. To have "
            "fewer, raise samples, width or rank in [model] of the scenario, or ask for less by "
            "tolerance_db and tolerance_range."
        )


def origin(scenario: Scenario, seed: int) -> dict[str, Any]:
    """What models of a scenario are trained on, as their manifest tells it."""
    return {
        "fingerprint": scenario.fingerprint,
        "seed": seed,
        "torch": torch.__version__,
        "config": json.loads(scenario.config.model_dump_json()),
    }


@dataclass(frozen=True)
class Job:
    """What is trained of a scenario for one operation. All that depends on all of the links is
    decided here, so that any of them can be trained anywhere.

    :param operation: the operation
    :param links: the links
    :param axis: noise powers or times
    :param settings: how it is learned
    :param tolerance: what the certificate asks for
    :param search: what gave an axis of the time the number of its nodes; None if it was given
    """

    operation: Operation
    links: LinkSet
    axis: Axis
    settings: FitConfig
    tolerance: Tolerance
    search: NodeSearch | None = None

    @property
    def key(self) -> str:
        """SHA-256 in hex: equal exactly if the same is trained in the same way."""
        settings = vars(self.settings) | {"basis": self.settings.basis.settings()}
        parts = [
            FORMAT_VERSION,
            self.links.fingerprint(),
            self.operation.settings(),
            self.axis.settings(),
            settings,
            vars(self.tolerance),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def together(self) -> int:
        """Number of links that are trained together."""
        shapes = self.operation.component_shapes(self.links.num_rows, self.links.num_cols)
        numbers = 0
        for name, shape in zip(self.operation.component_names, shapes, strict=True):
            numbers += math.prod(shape) * self.axis.nodes_of(name in self.operation.noise_free)
        points, _ = self.settings.points(self.links.fft_size)
        most = _BATCH_BYTES.get(self.links.device.type, 2**30)
        return max(most // (16 * numbers * len(points)), 1)

    @property
    def problem(self) -> Problem:
        """The same as a problem of :func:`~neumatc_mimo.learning.fit.fit`."""

        def matrices(chosen: Tensor, frequencies: Tensor) -> Tensor:
            return _channels(self.links, self.axis.nodes, chosen, frequencies, torch.complex128)

        frequencies = self.links.grid_frequencies()
        return Problem(self.operation, matrices, self.links.num_links, frequencies, self.axis)


def jobs(scenario: Scenario, device: str = "cpu") -> Iterator[Job]:
    """All that is trained for a scenario, with links on a device."""
    config = scenario.config.model
    tolerance = Tolerance(config.tolerance_db, config.tolerance_range)
    many, one = scenario.multi_user, scenario.single_user
    if many is not None:
        many = many.to(device)
        settings = _settings(config, many.fft_size, config.rank)
        for operation, noise in _multi_user(scenario, many):
            axis, search = _in_time(scenario, operation, many, noise, tolerance)
            yield Job(operation, many, axis, settings, tolerance, search)
    if one is not None:
        one = one.to(device)
        assert one.num_streams is not None
        settings, svd = _settings(config, one.fft_size, config.svd_rank), SVD(one.num_streams)
        axis, search = _in_time(scenario, svd, one, NoiseAxis.at(0.0), tolerance)
        yield Job(svd, one, axis, settings, tolerance, search)


def train_batch(job: Job, batch: Tensor, on_round: OnRound | None = None) -> OperationModel:
    """Train and certify some links together, on one device.

    :param batch: indices of the links
    """
    started = time.perf_counter()
    mapping, report = fit(job.problem, job.settings, batch, on_round)
    part = _certified(job, mapping, job.links.select(batch))
    part.training.update(
        exact_samples_per_link=report.exact_samples_per_link,
        seconds_per_link=(time.perf_counter() - started) / len(batch),
        bytes_per_link=part.num_bytes / len(batch),
        stopped=[report.stopped],
        batches=[report.history],
    )
    return part


def concatenated(parts: Sequence[OperationModel], links: LinkSet) -> OperationModel:
    """One model of the links of several, in their order."""
    return OperationModel(
        parts[0].operation,
        CompactMapping.concatenate([part.mapping for part in parts]),
        links,
        torch.cat([part.corrected for part in parts]),
        torch.cat([part.patches for part in parts]),
        parts[0].unseen,
        parts[0].tolerance,
        mean_report([(part.links.num_links, part.training) for part in parts]),
    )


def mean_report(parts: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """One training report of several numbers of links and the report on each: means over links."""
    report: dict[str, Any] = {}
    for name in parts[0][1]:
        told = [(number, r[name]) for number, r in parts if isinstance(r.get(name), float)]
        if told:
            report[name] = sum(n * value for n, value in told) / sum(n for n, _ in told)
    for name in ("stopped", "batches"):  # one entry a batch
        # Links that an earlier version trained do not tell why it stopped.
        report[name] = [entry for _, r in parts for entry in r.get(name, [])]
    return report


def add_search(job: Job, report: dict[str, Any]) -> None:
    """Add to a training report how the number of nodes of the time was found, if it was."""
    if job.search is not None:
        report["time_nodes"] = job.search.as_dict()
        report["seconds_per_link"] += job.search.seconds / job.links.num_links


def _in_time(
    scenario: Scenario,
    operation: Operation,
    links: LinkSet,
    noise: NoiseAxis,
    tolerance: Tolerance,
) -> tuple[Axis, NodeSearch | None]:
    """The axis of links whose users move, at the first noise power; of others that of the noise."""
    motion, power = scenario.config.motion, float(noise.nodes[0])
    if motion is None or links.doppler is None or links.row_doppler is None:
        return noise, None
    if motion.num_nodes is not None:
        return TimeAxis(links.duration, motion.num_nodes, power), None
    spread = (links.doppler - links.row_doppler[:, : links.doppler.shape[1], None, None]).abs()
    start = TimeAxis.for_doppler(links.duration, float(spread.max()), power)

    def channels(chosen: Tensor, frequencies: Tensor, values: Tensor) -> Tensor:
        return _channels(links, values, chosen, frequencies, torch.complex128)

    every = torch.arange(links.num_links, device=links.device)
    asked = _stricter(tolerance, start)
    return enough_nodes(operation, channels, every, links.grid_frequencies(), start, asked)


def _stricter(tolerance: Tolerance, axis: Axis) -> Tolerance:
    """With the margin by which a certificate at an axis' checks vouches for what lies between."""
    range_error = tolerance.range_error * 10 ** (-axis.margin_db / 20)
    return Tolerance(tolerance.quality_db + axis.margin_db, range_error)


def _multi_user(scenario: Scenario, links: LinkSet) -> Iterator[tuple[Operation, NoiseAxis]]:
    """The operations on links of several users, each with its noise powers."""
    section = scenario.config.multi_user
    assert section is not None and links.noise_db is not None
    low, high = map(_power, links.noise_db)
    # Squared singular values of joint links lie amid the noise powers, where s / (s² + no) bends.
    nodes = scenario.config.model.noise_nodes or (22 if section.joint else 14)
    yield PseudoInverse(), NoiseAxis(low, high, nodes)
    antennas = links.antennas_per_user
    designs: tuple[tuple[float | None, Callable[[float], Operation]], ...] = (
        (section.wmmse_db, WMMSE),
        (section.max_min_db, MaxMin),
        (section.slnr_db, lambda no: SLNR(no, antennas)),
    )
    for decibels, make in designs:
        if decibels is not None:
            no = _power(decibels)
            yield make(no), NoiseAxis.at(no)
    if section.block_diagonalization:
        yield BlockDiagonalization(antennas), NoiseAxis.at(0.0)


def _power(decibels: float) -> float:
    return float(10 ** (decibels / 10))


def _settings(config: ModelConfig, num_points: int, rank: int | None) -> FitConfig:
    basis: Basis = SineBasis(config.width)
    if config.trunk == "spline":
        basis = SplineBasis.on_grid(num_points, config.width)
    rank = min(rank or basis.width, basis.width)
    return FitConfig(basis, rank, config.samples, config.collocation, config.rounds)


def _train_links(job: Job, store: Store | None, seed: int, tell: Callback) -> OperationModel:
    links = job.links
    parts: list[OperationModel] = []
    done = Event(job.operation.name, 0, links.num_links, "links")
    tell(done)
    for batch in torch.arange(links.num_links, device=links.device).split(job.together):
        span = range(done.done, done.done + len(batch))
        part = None if store is None else store.read(span, str(links.device))
        if part is None:
            part = train_batch(job, batch, partial(_tell_round, tell, done))
            if store is not None:
                store.write(span, part)
        parts.append(part)
        figures = {name: part.training[name] for name in CERTIFIED}
        done = replace(done, done=span.stop, metrics=figures)
        tell(done)
    whole = concatenated(parts, links)
    whole.training["untrained_error"] = untrained_error(job, seed)
    add_search(job, whole.training)
    return whole


def _tell_round(tell: Callback, done: Event, figures: dict[str, float]) -> None:
    tell(replace(done, metrics=figures))


def _channels(
    links: LinkSet, values: Tensor, chosen: Tensor, frequencies: Tensor, dtype: torch.dtype
) -> Tensor:
    """Aligned channels of chosen links at values [q] of the axis, [l, F, q, K, M]; where users
    stand still one, [l, F, 1, K, M], stands for all.
    """
    if links.doppler is None:
        return links.channel(frequencies, chosen, aligned=True, dtype=dtype)[:, :, None]
    moments = [
        links.channel(frequencies, chosen, aligned=True, dtype=dtype, time=float(value))
        for value in values
    ]
    return torch.stack(moments, dim=2)


def _certified(job: Job, mapping: CompactMapping, links: LinkSet) -> OperationModel:
    """Certify links over their whole grid, at the ends of the axis and between its nodes.

    Subcarriers that fail at any of these values are marked: corrected, by as many steps with the
    channel as mend all of them, else patched, exact results take their place.
    """
    operation, tolerance = job.operation, job.tolerance
    frequencies = links.grid_frequencies()
    values, stricter = mapping.axis.checks, _stricter(tolerance, mapping.axis)
    # Noise powers, unless the axis is the time.
    powers = mapping.axis.powers
    powers = values if len(powers) > 1 else powers
    folded = mapping.at(values.expand(links.num_links, -1))
    shape = (links.num_links, mapping.axis.num_stretches, len(frequencies))
    corrected = torch.zeros(shape, dtype=torch.int8, device=links.device)
    patches = torch.zeros(shape, dtype=torch.bool, device=links.device)
    points, _ = job.settings.points(len(frequencies))
    unseen = torch.ones(len(frequencies), dtype=torch.bool, device=links.device)
    unseen[points] = False
    errors, qualities = [], []
    chosen = torch.arange(links.num_links, device=links.device)
    # Channels at many times take much memory.
    step = min(512, max(_AT_ONCE // len(values), 1))
    for part in torch.arange(len(frequencies), device=links.device).split(step):
        a = _channels(links, values, chosen, frequencies[part], torch.complex64)
        table = mapping.trunk.table(mapping.coordinate(frequencies[part]))
        components = mapping.evaluate(table, slice(0, len(part)), folded)
        proof, steps = certified.steps_to_prove(operation, a, components, powers, stricter)
        qualities.append(proof.quality[:, unseen[part]].flatten())
        # Beyond any number of steps where none help.
        steps = steps.masked_fill(steps < 0, torch.iinfo(torch.int8).max)
        worst = mapping.axis.by_stretch(steps).mT
        patches[..., part] = worst == torch.iinfo(torch.int8).max
        corrected[..., part] = worst.masked_fill(patches[..., part], 0)
        few = unseen[part].nonzero()[::8, 0]
        exact = operation.exact(a[:, few, 0].to(torch.complex128), powers[0])
        answer = mapping(frequencies[part][few], values[:1].expand(links.num_links))
        exact = operation.align_to(
            exact, tuple(c.to(e) for c, e in zip(answer, exact, strict=True))
        )
        errors.append(_relative(answer[0], exact[0]))
    # At frequencies that were neither sampled nor collocation points, before any repair; not a
    # number where a grid is so small that there are none.
    quality = torch.cat(qualities)
    report = {
        "error_median": torch.cat(errors, dim=1).median().item(),
        "quality_5_percent_db": quality.quantile(0.05).item() if len(quality) else math.nan,
        "corrected_share": (corrected[..., unseen] > 0).double().mean().item(),
        "patched_share": patches[..., unseen].double().mean().item(),
    }
    return OperationModel(operation, mapping, links, corrected, patches, unseen, tolerance, report)


def _relative(answer: Tensor, exact: Tensor) -> Tensor:
    """Relative Frobenius error of each matrix, [num_links, F]."""
    difference = (answer.to(exact) - exact).flatten(2)
    return torch.linalg.norm(difference, dim=-1) / torch.linalg.norm(exact.flatten(2), dim=-1)


def untrained_error(job: Job, seed: int = 0) -> float:
    """Error on the first link of a random trunk of the same rank whose latent tensors alone are
    fitted: what training gains.

    Its delays are drawn with the spread that our prior gives the functions, its phases uniformly;
    the latent tensors are the ridge solution for the same number of exact samples, all components
    together at the first node, and the error is that of the first one in the gauge of the fit.
    """
    problem, config = job.problem, job.settings
    links = torch.zeros(1, dtype=torch.int64, device=job.links.device)
    lowest = problem.axis.powers[0]
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(2, config.rank, generator=generator, dtype=torch.float64)
    omega = -math.pi * SineBasis(config.rank).decay * torch.log1p(-draws[0])
    phase = 2 * math.pi * draws[1]
    frequencies = problem.frequencies
    index = torch.linspace(0, len(frequencies) - 1, config.samples).round().long()
    tests = (index[:-1] + index[1:]) // 2

    def hidden(chosen: Tensor) -> Tensor:
        x = 2 * (chosen - frequencies[0]) / (frequencies[-1] - frequencies[0]) - 1
        return torch.sin(x[:, None] * omega.to(x) + phase.to(x))

    operation = problem.operation
    samples, truth = (
        operation.exact(problem.matrices(links, frequencies[points])[:, :, 0], lowest)
        for points in (index, tests)
    )
    samples = operation.align(samples)
    layouts = [Layout(tuple(c.shape[2:]), "complex" if c.is_complex() else "real") for c in samples]
    stacked = torch.cat([lay.pack(c) for lay, c in zip(layouts, samples, strict=True)], dim=-1)
    weights = stacked.new_ones(stacked.shape[:2])
    design = Design.of(hidden(frequencies[index]))

    def error(ridge: float) -> float:
        penalty = ridge * torch.eye(config.rank, dtype=torch.float64)
        _, latent = project(design, stacked, weights, config.rank, penalty)
        values = hidden(frequencies[tests]) @ latent
        parts = values.split([layout.size for layout in layouts], -1)
        fitted = tuple(
            layout.unpack(part.contiguous()) for part, layout in zip(parts, layouts, strict=True)
        )
        return _relative(fitted[0], operation.align_to(truth, fitted)[0]).median().item()

    # The best of these on the test points themselves: the row is not to be beaten by its ridge.
    return min(error(ridge) for ridge in (1e-9, 1e-6, 1e-4, 1e-2))
