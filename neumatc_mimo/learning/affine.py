"""Learning the solutions of sparse systems A(p) x(p) = b, from few of them and their residuals."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from neumatc_mimo.families.sparse import AffineSystem
from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.learning.adaptive import Evaluation, sample_adaptively
from neumatc_mimo.learning.projection import Design, project
from neumatc_mimo.mapping.axes import NoiseAxis
from neumatc_mimo.mapping.basis import Basis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.mapping.trunk import BasisTrunk

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AffineConfig:
    """How :func:`learn_solutions` learns.

    :param basis: the trunk's functions
    :param threshold: residual ‖A x̂ − b‖ / ‖b‖ above which a candidate has failed
    :param samples: exact solutions at first, spread evenly over the domain
    :param promoted: candidates that become exact samples a round, at most
    :param max_samples: exact solutions at most
    :param collocation: points, spread evenly, where only the residual is known
    :param candidates: fresh random points that are looked at each round
    :param seed: of the candidates

    :raises ValueError: if the numbers do not fit together
    """

    basis: Basis
    threshold: float = 1e-4
    samples: int = 16
    promoted: int = 8
    max_samples: int = 64
    collocation: int = 128
    candidates: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise ValueError(f"The threshold is {self.threshold}, it is positive.")
        if not 1 <= self.samples <= self.max_samples or self.promoted < 1 or self.candidates < 1:
            raise ValueError(
                f"{self.samples} of {self.max_samples} samples, {self.promoted} promoted of "
                f"{self.candidates} candidates: each is at least one, and no more samples at first "
                "than at last."
            )
        if self.collocation < self.basis.width:
            raise ValueError(
                f"{self.collocation} collocation points do not determine "
                f"{self.basis.width} functions."
            )


@dataclass(frozen=True)
class AffineReport:
    """What training did, as plain values.

    :param stopped: why: "tolerance", "samples" (all spent) or "basis" (too few functions)
    :param num_samples: exact solutions
    :param failed: share of the candidates that failed, one value a round
    :param residual: largest residual among the candidates, likewise
    :param seconds: wall-clock time, exact solutions included
    """

    stopped: str
    num_samples: int
    failed: list[float]
    residual: list[float]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)


def learn_solutions(
    system: AffineSystem, config: AffineConfig
) -> tuple[CompactMapping, AffineReport]:
    r"""Learn the compact mapping p → x(p) of a family of sparse systems (NeuMatC, Appendix H).

    Algorithm 1 in closed form. Latent tensors are combinations of exact solutions, as variable
    projection makes them, so that x̂ = V c(p) with V [n, S] an orthonormal basis of the S samples.
    A QR factorisation of :math:`[A_1 V, \dots, A_Q V, b]`, of Q S + 1 columns, then tells every
    residual without any vector of length n (as reduced bases do it; Quarteroni, Manzoni and Negri,
    2016, Section 3.4, but with no squares that would halve the digits):

    .. math:: \lVert A(p) V c - b \rVert
              = \Bigl\lVert \sum_q \vartheta_q(p) R_q c - \beta \Bigr\rVert.

    Each round (1) minimises that at every collocation point, which returns the exact solution at a
    sample; (2) fits trunk and latent tensor to all of these by variable projection, rank S; (3)
    looks at the mapping's own residual at fresh candidates, and promotes the worst of those that
    fail to exact samples (failure-informed sampling), until none fails.

    :param system: A(p) x = b
    :param config: how it is learned

    :return: the mapping, one link with p in the place of the frequency and the component x [n] in
        single precision, and a report
    """
    started = time.perf_counter()
    solutions = _Solutions(system, config)
    sampling = sample_adaptively(solutions)
    report = AffineReport(
        sampling.stopped,
        solutions.num_samples,
        [entry["failed"] for entry in sampling.history],
        [entry["residual"] for entry in sampling.history],
        time.perf_counter() - started,
    )
    return solutions.mapping(sampling.last), report


@dataclass(frozen=True)
class _Look(Evaluation):
    """A look at the mapping's residuals.

    :param readout: of the trunk, [1, width, S], or None
    :param latent: [1, S, S], coefficients of the solutions' basis
    :param candidates: p of the points looked at, ascending
    :param residual: [candidates]
    :param least: largest residual of the samples' best combinations at the collocation points
    """

    readout: Tensor | None
    latent: Tensor
    candidates: Array
    residual: Array
    least: float


class _Solutions:
    """The mapping of a system's solutions, a surrogate that exact ones extend."""

    def __init__(self, system: AffineSystem, config: AffineConfig) -> None:
        self._system, self._config = system, config
        self._random = np.random.default_rng(config.seed)
        self._collocation = _spread(system.domain, config.collocation)
        self._design = Design.of(config.basis.values(_coordinate(system, self._collocation)))
        self._basis: Array = np.empty((system.size, 0))
        self.num_samples = 0
        self._solve(_spread(system.domain, config.samples))

    def evaluate(self) -> _Look:
        """Fit the mapping, and look at its residual at fresh candidates."""
        config, system = self._config, self._system
        reduced = _Reduced(system, self._basis)
        coefficients = reduced.least(self._collocation)
        readout, latent = project(
            self._design,
            torch.from_numpy(coefficients)[None],
            torch.ones(1, len(self._collocation), dtype=torch.float64),
            self._basis.shape[1],
            config.basis.penalty(),
        )
        candidates = np.sort(self._random.uniform(*system.domain, config.candidates))
        fitted = config.basis.values(_coordinate(system, candidates))
        for factor in (latent,) if readout is None else (readout, latent):
            fitted = fitted @ factor[0]
        residual = reduced.residual(candidates, fitted.numpy())
        figures = {
            "failed": float((residual > config.threshold).mean()),
            "residual": float(residual.max()),
        }
        least = float(reduced.residual(self._collocation, coefficients).max())
        return _Look(figures, readout, latent, candidates, residual, least)

    def extend(self, found: _Look) -> str:
        """Solve where the residual has its largest peaks."""
        config = self._config
        if found.least < config.threshold / 2:
            return "basis"  # the samples span the solutions well enough
        room = min(config.promoted, config.max_samples - self.num_samples)
        if room < 1:
            return "samples"
        failed = found.residual > config.threshold
        self._solve(found.candidates[_peaks(found.residual, failed, room)])
        return ""

    def mapping(self, found: _Look) -> CompactMapping:
        """The mapping as it was looked at."""
        full = (found.latent[0] @ torch.from_numpy(self._basis).mT).float()
        readout = None if found.readout is None else found.readout.float()
        return CompactMapping(
            BasisTrunk(self._config.basis, readout),
            NoiseAxis.at(0.0),
            (Latent(full[None, :, None]),),
            (Layout((self._system.size,), "real"),),
            self._system.domain,
        )

    def _solve(self, p: Array) -> None:
        """Take in the exact solutions at p [B]."""
        self._basis = _extended(self._basis, self._system.exact(p))
        self.num_samples += len(p)


class _Reduced:
    """The systems restricted to x = V c: R_q [w, S] and β [w] of the QR factorisation."""

    def __init__(self, system: AffineSystem, basis: Array) -> None:
        size = basis.shape[1]
        images = [part @ basis for part in system.parts]
        stacked = np.concatenate([*images, system.b[:, None]], axis=1)
        (factor,) = scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)
        factor = factor[: stacked.shape[1]]
        self._system = system
        self._parts = np.stack([factor[:, i * size : (i + 1) * size] for i in range(len(images))])
        self._right = factor[:, -1]

    def least(self, p: Array) -> Array:
        """c at p [B] with the smallest residual: [B, S]."""
        right = np.broadcast_to(self._right, (len(p), len(self._right)))
        return (
            torch.linalg.lstsq(torch.from_numpy(self._matrices(p)), torch.tensor(right)[..., None])
            .solution[..., 0]
            .numpy()
        )

    def residual(self, p: Array, c: Array) -> Array:
        """Relative residuals at p [B] of c [B, S]: [B]."""
        defect = np.einsum("bws,bs->bw", self._matrices(p), c) - self._right
        return np.linalg.norm(defect, axis=1) / np.linalg.norm(self._right)

    def _matrices(self, p: Array) -> Array:
        return np.tensordot(self._system.coefficients(p), self._parts, axes=1)


def _extended(basis: Array, solutions: Array) -> Array:
    """An orthonormal basis [n, S + B] of a basis [n, S] and solutions [B, n] together."""
    new = solutions.T
    for _ in range(2):
        new = new - basis @ (basis.T @ new)
        new, _ = np.linalg.qr(new)
    return np.concatenate([basis, new], axis=1)


def _peaks(residual: Array, failed: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Local maxima of the residual along p that have failed, the largest ones first.

    Not simply the worst points: those are neighbours, and one of them as a sample helps all.
    """
    padded = np.pad(residual, 1, constant_values=-np.inf)
    peak = failed & (residual >= padded[:-2]) & (residual > padded[2:])
    (where,) = peak.nonzero()
    return where[np.argsort(-residual[where])][:most]


def _spread(domain: tuple[float, float], num: int) -> Array:
    """Centres of ``num`` equal parts of a domain: as fit for periodic results as for others."""
    low, high = domain
    return low + (np.arange(num) + 0.5) / num * (high - low)


def _coordinate(system: AffineSystem, p: Array) -> Tensor:
    """p as x in [-1, 1]."""
    return torch.from_numpy(coordinate(p, system.domain))
