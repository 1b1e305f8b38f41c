"""What is trained of a scenario: an operation on the links of a kind, a job each."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.kernels.lanes.proofs import certificate
from neumatc_mimo.learning.adaptive import OnRound
from neumatc_mimo.learning.fit import FitConfig, Problem
from neumatc_mimo.learning.learning import Learning
from neumatc_mimo.learning.networks import NetworkConfig
from neumatc_mimo.mapping.axes import Axis, NoiseAxis, NoiseRange, TimeAxis
from neumatc_mimo.mapping.basis import Basis, SineBasis, SplineBasis
from neumatc_mimo.operations import Operation, OperationConfig
from neumatc_mimo.operations.base import Components
from neumatc_mimo.operations.config import power
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.schema import MLPConfig, ModelConfig, MultiUserConfig
from neumatc_mimo.scenario.trained import TrainedConfig
from neumatc_mimo.storage.manifest import FORMAT_VERSION
from neumatc_mimo.training.channels import channels_along
from neumatc_mimo.training.sizes import Sizes, sizes
from neumatc_mimo.training.time_nodes import NodeSearch, enough_nodes

# Links are trained together as long as their samples take so many bytes. On a CPU more of them
# leave the cache of the core that trains them, and make fewer batches to spread over the cores.
_BATCH_BYTES = {"cpu": 3 * 2**22, "cuda": 2**30}
# What a step holds, in units of these samples, where they are so large that nothing else counts,
# and the share of the memory that all batches may take which are trained at once.
_HELD, _SHARE = 5, 0.5


# Quality in dB up to which rounding to 16 bits, at -90 dB, leaves a certificate what it needs.
_MOST_OF_16_BITS = 50.0


# What is left out of a link's knots is proven at a third of the subcarriers, with so much to spare.
_MARGIN_DB = 2.0


@dataclass(frozen=True)
class Job:
    """What is trained of a scenario for one operation. All that depends on all of the links is
    decided here, so that any of them can be trained anywhere.

    :param operation: the operation
    :param links: the links
    :param axis: noise powers or times
    :param settings: how it is learned
    :param tolerance: what the certificate requires
    :param sizes: what the settings were made from
    :param search: what gave an axis of the time the number of its nodes; None if it was given
    """

    operation: Operation
    links: LinkSet
    axis: Axis
    settings: Learning
    tolerance: Tolerance
    sizes: Sizes
    search: NodeSearch | None = None

    @property
    def in_16_bits(self) -> bool:
        """Whether latent tensors are stored in 16 bits: rounding is to stay well below what is
        asked for, as far as filters of nearly dependent users amplify it.
        """
        return self.tolerance.quality_db <= _MOST_OF_16_BITS

    @property
    def key(self) -> str:
        """SHA-256 in hex: equal exactly if the same is trained in the same way."""
        parts = [
            FORMAT_VERSION,
            self.links.fingerprint(),
            self.operation.settings(),
            self.axis.settings(),
            self.settings.settings(),
            vars(self.tolerance),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def together(self) -> int:
        """Number of links that are trained together."""
        most = _BATCH_BYTES.get(self.links.device.type, 2**30)
        return max(most // self._sample_bytes, 1)

    def most_at_once(self, memory: float) -> int:
        """Number of batches that may be trained at the same time in so many bytes."""
        batch = _HELD * self.together * self._sample_bytes
        return max(int(min(_SHARE * memory / batch, self.links.num_links)), 1)

    @property
    def _sample_bytes(self) -> int:
        """Of exact results of a link at all points, in double precision."""
        stored = self.operation.stored
        shapes = stored.component_shapes(self.links.num_rows, self.links.num_cols)
        numbers = 0
        for name, shape in zip(stored.component_names, shapes, strict=True):
            numbers += math.prod(shape) * self.axis.nodes_of(name in stored.noise_free)
        points, _ = self.settings.points(self.links.fft_size)
        return 16 * numbers * len(points)

    @property
    def problem(self) -> Problem:
        """The same as a problem of :func:`~neumatc_mimo.learning.fit.fit`."""

        def matrices(chosen: Tensor, frequencies: Tensor) -> Tensor:
            return channels_along(
                self.links, self.axis.nodes, chosen, frequencies, torch.complex128
            )

        frequencies = self.links.grid_frequencies()
        stored, num_links = self.operation.stored, self.links.num_links
        return Problem(stored, matrices, num_links, frequencies, self.axis, self._proven)

    def _proven(self, a: Tensor, stored: Components) -> Tensor:
        """Where components will be proven, at the ends of the noise powers; with a margin for what
        lies beside the points.
        """
        powers = self.axis.checks[[0, -1]] if self.axis.takes_noise else self.axis.powers
        asked = stricter(self.tolerance, self.axis)
        asked = with_margin(asked, _MARGIN_DB)
        powers = powers.to(a.real.dtype)
        return certificate(self.operation, a, stored, powers, asked).ok.all(-1)

    def prepared(self, on_round: OnRound | None = None) -> Job:
        """The same with what all links have in common learned, such as a trunk that they share."""
        return replace(self, settings=self.settings.prepared(self.problem, on_round))


def jobs(scenario: Scenario, device: str = "cpu") -> Iterator[Job]:
    """All that is trained for a scenario, with links on a device.

    :raises ValueError: if an operation is not possible for the links
    """
    config, model = scenario.config, scenario.config.model
    tolerance = Tolerance(model.tolerance_db, model.tolerance_range)
    for section, links, rank in (
        (config.multi_user, scenario.multi_user, model.rank),
        (config.single_user, scenario.single_user, model.svd_rank),
    ):
        if section is None or links is None:
            continue
        links = links.to(device)
        for keys, operation in section.trained(links.num_cols):
            own = links if operation.follows_rows else links.unaligned()
            chosen = sizes(model, own, operation)
            settings = _TRUNKS[model.trunk](model, chosen, links.fft_size, rank)
            noise = _noise(section, keys, operation, model.noise_nodes)
            axis, search = _in_time(scenario, operation, own, noise, tolerance)
            yield Job(operation, own, axis, settings, tolerance, chosen, search)


def _noise(
    section: TrainedConfig, keys: OperationConfig, operation: Operation, num_nodes: int | None
) -> NoiseAxis | NoiseRange:
    """The noise powers that an operation is trained for: none, one, or the range of its links."""
    if not operation.depends_on_noise():
        return NoiseAxis.at(0.0)
    if keys.no is not None:
        return NoiseAxis.at(keys.no)
    assert isinstance(section, MultiUserConfig)
    low, high = (power(decibels) for decibels in section.noise_db)
    if not operation.stored.depends_on_noise():
        return NoiseRange(low, high)
    # Squared singular values of joint links lie amid the noise powers, where s / (s² + no) bends.
    return NoiseAxis(low, high, num_nodes or (22 if section.joint else 14))


def _in_time(
    scenario: Scenario,
    operation: Operation,
    links: LinkSet,
    noise: NoiseAxis | NoiseRange,
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
        return channels_along(links, values, chosen, frequencies, torch.complex128)

    every = torch.arange(links.num_links, device=links.device)
    asked = stricter(tolerance, start)
    return enough_nodes(operation, channels, every, links.grid_frequencies(), start, asked)


def stricter(tolerance: Tolerance, axis: Axis) -> Tolerance:
    """With the margin by which a certificate at an axis' checks vouches for what lies between."""
    return with_margin(tolerance, axis.margin_db)


def with_margin(tolerance: Tolerance, margin_db: float) -> Tolerance:
    """What is so many decibels better."""
    range_error = tolerance.range_error * 10 ** (-margin_db / 20)
    return Tolerance(tolerance.quality_db + margin_db, range_error)


def _of_basis(config: ModelConfig, chosen: Sizes, basis: Basis, rank: int | None) -> FitConfig:
    rank = min(rank or basis.width, basis.width)
    return FitConfig(basis, rank, chosen.samples, chosen.collocation, config.rounds)


def _splines(config: ModelConfig, chosen: Sizes, num_points: int, rank: int | None) -> FitConfig:
    return _of_basis(config, chosen, SplineBasis.on_grid(num_points, chosen.width), rank)


def _sines(config: ModelConfig, chosen: Sizes, num_points: int, rank: int | None) -> FitConfig:
    del num_points
    return _of_basis(config, chosen, SineBasis(chosen.width), rank)


def _networks(
    config: ModelConfig, chosen: Sizes, num_points: int, rank: int | None
) -> NetworkConfig:
    del chosen, num_points  # they have sizes of their own
    settings = {name: getattr(config.mlp, name) for name in MLPConfig.model_fields}
    return NetworkConfig(**settings | {"rank": rank or config.mlp.rank})


# From the values of `trunk` in [model] to how its models are learned.
_TRUNKS: dict[str, Callable[[ModelConfig, Sizes, int, int | None], Learning]] = {
    "spline": _splines,
    "sine": _sines,
    "mlp": _networks,
}
