"""Training of a scenario's models: the front door, with progress and checkpoints."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from neumatc_mimo import certified
from neumatc_mimo.axes import Axis, NoiseAxis, TimeAxis
from neumatc_mimo.mapping import CompactMapping, Layout
from neumatc_mimo.model import OperationModel, ScenarioModel, pack_model, unpack_model
from neumatc_mimo.operations import (
    SLNR,
    SVD,
    WMMSE,
    BlockDiagonalization,
    MaxMin,
    Operation,
    PseudoInverse,
    Tolerance,
)
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.schema import ModelConfig
from neumatc_mimo.training.fit import FitConfig, Problem, fit
from neumatc_mimo.training.projection import Design, project
from neumatc_mimo.training.time_nodes import NodeSearch, enough_nodes
from neumatc_mimo.units import SineUnits, SplineUnits, Units

# Links are trained together as long as their samples take so many bytes. On a CPU more of them
# leave its cache and ask for new pages at every step: 0.9 s a link of 8 x 64 become 2.5 s. A step
# holds some thirty times as much.
_BATCH_BYTES = {"cpu": 2**25, "cuda": 2**30}

# Subcarriers times values of the axis that are certified at once, for each link.
_CERTIFIED = 2**16

Callback = Callable[[dict[str, float]], None]
_log = logging.getLogger(__name__)


def train(
    scenario: Scenario,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callback | None = None,
) -> ScenarioModel:
    """Train, certify and patch the models of a scenario's link sets.

    :param scenario: from :func:`load_scenario`
    :param seed: recorded with the models; the closed-form steps draw nothing at random
    :param device: where to train; None is the CPU
    :param progress: show a progress bar on standard error, if that is a terminal
    :param checkpoint: folder that keeps finished links, so that an interrupted training resumes;
        it is removed at the end
    :param callback: called with the figures of every round

    :return: the models, on the device
    """
    config = scenario.config.model
    models = {}
    for job in _jobs(scenario, config, device or "cpu"):
        operation, links, axis, settings = job.operation, job.links, job.axis, job.settings
        together = _links_together(operation, links, axis, settings)
        store = _Checkpoint(checkpoint, operation, links, axis, config, together)
        models[operation.name] = _train_links(
            operation, links, axis, settings, config, store, together, progress, callback
        )
        if job.search is not None:
            training = models[operation.name].training
            training["time_nodes"] = job.search.as_dict()
            training["seconds_per_link"] += job.search.seconds / links.num_links
    if checkpoint is not None:
        shutil.rmtree(checkpoint, ignore_errors=True)
    origin = {
        "fingerprint": scenario.fingerprint,
        "seed": seed,
        "torch": torch.__version__,
        "config": json.loads(scenario.config.model_dump_json()),
    }
    return ScenarioModel(scenario.name, models, origin)


@dataclass(frozen=True)
class _Job:
    """An operation to train, with the search that gave its axis the number of its nodes."""

    operation: Operation
    links: LinkSet
    axis: Axis
    settings: FitConfig
    search: NodeSearch | None


def _jobs(scenario: Scenario, config: ModelConfig, device: str) -> Iterator[_Job]:
    many, one = scenario.multi_user, scenario.single_user
    if many is not None:
        many = many.to(device)
        settings = _settings(config, many.fft_size, config.rank)
        for operation, noise in _multi_user(scenario, many, config.noise_nodes):
            axis, search = _in_time(scenario, operation, many, noise)
            yield _Job(operation, many, axis, settings, search)
    if one is not None:
        one = one.to(device)
        assert one.num_streams is not None
        settings, svd = _settings(config, one.fft_size, config.svd_rank), SVD(one.num_streams)
        axis, search = _in_time(scenario, svd, one, NoiseAxis.at(0.0))
        yield _Job(svd, one, axis, settings, search)


def _in_time(
    scenario: Scenario, operation: Operation, links: LinkSet, noise: NoiseAxis
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
    tolerance = _stricter(_tolerance(scenario.config.model), start)
    return enough_nodes(operation, channels, every, links.grid_frequencies(), start, tolerance)


def _tolerance(config: ModelConfig) -> Tolerance:
    return Tolerance(config.tolerance_db, config.tolerance_range)


def _stricter(tolerance: Tolerance, axis: Axis) -> Tolerance:
    """With the margin by which a certificate at an axis' checks vouches for what lies between."""
    range_error = tolerance.range_error * 10 ** (-axis.margin_db / 20)
    return Tolerance(tolerance.quality_db + axis.margin_db, range_error)


def _multi_user(
    scenario: Scenario, links: LinkSet, noise_nodes: int
) -> Iterator[tuple[Operation, NoiseAxis]]:
    """The operations on links of several users, each with its noise powers."""
    section = scenario.config.multi_user
    assert section is not None and links.noise_db is not None
    low, high = map(_power, links.noise_db)
    yield PseudoInverse(), NoiseAxis(low, high, noise_nodes)
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
    units: Units = SineUnits(config.width)
    if config.trunk == "spline":
        units = SplineUnits.on_grid(num_points, config.width)
    rank = min(rank or units.width, units.width)
    return FitConfig(units, rank, config.samples, config.collocation, config.rounds)


def _train_links(
    operation: Operation,
    links: LinkSet,
    axis: Axis,
    settings: FitConfig,
    config: ModelConfig,
    store: _Checkpoint,
    together: int,
    progress: bool,
    callback: Callback | None,
) -> OperationModel:
    def matrices(chosen: Tensor, frequencies: Tensor) -> Tensor:
        return _channels(links, axis.nodes, chosen, frequencies, torch.complex128)

    frequencies = links.grid_frequencies()
    problem = Problem(operation, matrices, links.num_links, frequencies, axis)
    tolerance = _tolerance(config)
    batches = torch.arange(links.num_links, device=links.device).split(together)
    parts: list[OperationModel] = []
    started = time.perf_counter()
    with _bar(f"{operation.name}", links.num_links, progress) as show:
        for number, batch in enumerate(batches):
            part = store.read(number)
            if part is None:

                def on_round(figures: dict[str, float], first: int = int(batch[0])) -> None:
                    show(0, figures)
                    if callback is not None:
                        callback({"link": first, **figures})

                mapping, report = fit(problem, settings, batch, on_round)
                part = _certified(operation, mapping, links.select(batch), tolerance, settings)
                part.training.update(report.as_dict())
                store.write(number, part)
            parts.append(part)
            show(len(batch), {})
    whole = _joined(parts, links, time.perf_counter() - started)
    # What training gains, told by the first link.
    whole.training["untrained_error"] = _untrained(problem, settings, batches[0][:1])
    return whole


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


def _links_together(operation: Operation, links: LinkSet, axis: Axis, settings: FitConfig) -> int:
    """Number of links that are trained together."""
    shapes = operation.component_shapes(links.num_rows, links.num_cols)
    numbers = 0
    for name, shape in zip(operation.component_names, shapes, strict=True):
        numbers += math.prod(shape) * axis.nodes_of(name in operation.noise_free)
    points, _ = settings.points(links.fft_size)
    most = _BATCH_BYTES.get(links.device.type, 2**30)
    return max(most // (16 * numbers * len(points)), 1)


def _certified(
    operation: Operation,
    mapping: CompactMapping,
    links: LinkSet,
    tolerance: Tolerance,
    settings: FitConfig,
) -> OperationModel:
    """Certify links over their whole grid, at the ends of the axis and between its nodes.

    Subcarriers that fail at any of these values are marked: corrected, by as many steps with the
    channel as mend all of them, else patched, exact results take their place.
    """
    frequencies = links.grid_frequencies()
    values, stricter = mapping.axis.checks, _stricter(tolerance, mapping.axis)
    # Noise powers, unless the axis is the time.
    powers = mapping.axis.powers
    powers = values if len(powers) > 1 else powers
    folded = mapping.at(values.expand(links.num_links, -1))
    shape = (links.num_links, mapping.axis.num_stretches, len(frequencies))
    corrected = torch.zeros(shape, dtype=torch.int8, device=links.device)
    patches = torch.zeros(shape, dtype=torch.bool, device=links.device)
    points, _ = settings.points(len(frequencies))
    unseen = torch.ones(len(frequencies), dtype=torch.bool, device=links.device)
    unseen[points] = False
    errors, qualities = [], []
    chosen = torch.arange(links.num_links, device=links.device)
    # Channels at many times take much memory.
    step = min(512, max(_CERTIFIED // len(values), 1))
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


def _untrained(problem: Problem, config: FitConfig, links: Tensor) -> float:
    """Error of a random trunk of the same rank whose latent tensors alone are fitted.

    Its delays are drawn with the spread that our prior gives the units, its phases uniformly; the
    latent tensors are the ridge solution for the same number of exact samples, all components
    together at the first node, and the error is that of the first one in the gauge of the fit.
    """
    lowest = problem.axis.powers[0]
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(2, config.rank, generator=generator, dtype=torch.float64)
    omega = -math.pi * SineUnits(config.rank).decay * torch.log1p(-draws[0])
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


def _joined(parts: list[OperationModel], links: LinkSet, seconds: float) -> OperationModel:
    reports = [part.training for part in parts]
    weights = [part.links.num_links / links.num_links for part in parts]
    report: dict[str, Any] = {
        name: sum(w * r[name] for w, r in zip(weights, reports, strict=True))
        for name in reports[0]
        if isinstance(reports[0][name], float)
    }
    report["seconds_per_link"] = seconds / links.num_links
    report["batches"] = [r["history"] for r in reports]
    return OperationModel(
        parts[0].operation,
        CompactMapping.concatenate([part.mapping for part in parts]),
        links,
        torch.cat([part.corrected for part in parts]),
        torch.cat([part.patches for part in parts]),
        parts[0].unseen,
        parts[0].tolerance,
        report,
    )


class _Checkpoint:
    """Finished batches of links in a folder; what does not fit the job is ignored."""

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        operation: Operation,
        links: LinkSet,
        axis: Axis,
        config: ModelConfig,
        together: int,
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self._operation = operation.name
        self._key = f"{links.fingerprint()} {axis.settings()} {config.model_dump_json()} {together}"
        self._device = links.device

    def read(self, number: int) -> OperationModel | None:
        file = self._file(number)
        if file is None or not file.exists():
            return None
        try:
            values = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            if values.pop("key") != self._key:
                return None
            return unpack_model(load_file(file, device=str(self._device)), values)
        except (OSError, ValueError, KeyError, SafetensorError):
            _log.warning("The checkpoint %s is damaged, its links are trained again.", file)
            return None

    def write(self, number: int, part: OperationModel) -> None:
        file = self._file(number)
        if file is None:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        tensors, values = pack_model(part)
        card = file.with_suffix(".json")
        card.with_suffix(".tmp").write_text(json.dumps({"key": self._key, **values}))
        card.with_suffix(".tmp").rename(card)
        save_file(tensors, file.with_suffix(".partial"))
        file.with_suffix(".partial").rename(file)

    def _file(self, number: int) -> Path | None:
        return self._folder and self._folder / f"{self._operation}-{number:04}.safetensors"


@contextmanager
def _bar(name: str, total: int, shown: bool) -> Iterator[Callable[[int, dict[str, float]], None]]:
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("links  {task.fields[figures]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not shown or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(name, total=total, figures="")

        def show(done: int, figures: dict[str, float]) -> None:
            if figures:
                text = f"loss {figures['loss']:.1e}  residual {figures['residual']:.1e}"
                bar.update(task, figures=text)
            bar.advance(task, done)

        yield show
