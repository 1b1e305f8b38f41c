"""Algorithm 1: what it learns, how it samples, what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neumatc_mimo.families import CosineFamily, Family, FourierFamily, Gram
from neumatc_mimo.learning.algorithm1 import (
    PLAIN_ADAM,
    Algorithm1Config,
    Algorithm1Report,
    train_algorithm1,
)
from neumatc_mimo.learning.alignment import align_along_tree, spanning_tree
from neumatc_mimo.learning.collocation import Refinement
from neumatc_mimo.learning.network import MLPTrunk, NeuMatC
from neumatc_mimo.learning.projection import project_latents
from neumatc_mimo.metrics.measures import relative_error
from neumatc_mimo.operations import SVD, Components, Inverse, Operation, PseudoInverse

PLAIN: dict[str, Any] = {"projection": False, "learning_rate": 1e-2}
HELD: dict[str, Any] = {"projection": True, "held": True}
THROUGH: dict[str, Any] = {"projection": True, "held": False}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**changes: Any) -> CosineFamily:
    """8 x 8, condition number below 3; (A + 3 I)^{-1} has rank 12 along p up to 2e-5."""
    return CosineFamily((8, 8), generator(), num_frequencies=3, shift=3.0, **changes)


def wide() -> CosineFamily:
    """6 x 8, complex; columns decay, which keeps the strongest singular values apart."""
    return CosineFamily((6, 8), generator(3), num_frequencies=2, complex_valued=True, decay=0.1)


def config(**changes: Any) -> Algorithm1Config:
    defaults: dict[str, Any] = {
        "rank": 12,
        "steps": 300,
        "refine_every": 100,
        "num_collocation": 60,
        "learning_rate": 3e-3,
        "candidates": 200,
    }
    return Algorithm1Config(**(defaults | changes))


def errors(operation: Operation, family: Family, model: NeuMatC) -> list[float]:
    """Mean relative error of every component at unseen points, in the model's gauge."""
    p = family.uniform(200, generator(99))
    found = tuple(c.to(torch.complex128 if c.is_complex() else torch.float64) for c in model(p))
    exact = operation.align_to(operation.exact(family(p)), found)
    return [
        relative_error(f, e, tuple(range(1, e.ndim))).mean().item()
        for f, e in zip(found, exact, strict=True)
    ]


def learned(
    operation: Operation, family: Family, samples: Tensor, **changes: Any
) -> tuple[list[float], NeuMatC, Algorithm1Report]:
    model, report = train_algorithm1(operation, family, samples, config(**changes))
    return errors(operation, family, model), model, report


# What is learned.


def test_inverse_by_plain_adam_and_better_by_projection() -> None:
    family = small()
    samples = family.grid(20)
    (plain,), _, report = learned(Inverse(), family, samples, **PLAIN)
    assert plain < 1.5e-2
    assert report.loss[-1] < 1e-3 * report.loss[0]
    # At the rate of the projected runs, too.
    (slower,), _, _ = learned(Inverse(), family, samples, projection=False)
    for method in (HELD, THROUGH):
        (projected,), _, _ = learned(Inverse(), family, samples, **method)
        assert projected < 2e-3
        assert projected < 0.5 * min(plain, slower)


def test_plain_adam_learns_with_its_own_settings() -> None:
    family = small()
    samples = family.grid(20)
    (found,), _, _ = learned(Inverse(), family, samples, **PLAIN_ADAM | {"steps": 600})
    alike: dict[str, Any] = {"projection": False, "learning_rate": 3e-3, "steps": 600}
    (at_one_rate,), _, _ = learned(Inverse(), family, samples, **alike)
    assert found < 4e-3 and found < 0.7 * at_one_rate


def test_latent_tensors_have_a_rate_of_their_own() -> None:
    family = small()
    held: dict[str, Any] = {"projection": False, "steps": 1, "lam": 0.0, "learning_rate": 1e-3}
    moved = {}
    for rate in (1e-6, 10.0):
        models = [
            learned(Inverse(), family, family.grid(8), **held | {"latent_rate": r})[1]
            for r in (1e-12, rate)
        ]
        start, end = (model.latents[0] for model in models)
        moved[rate] = float((end - start).abs().max())
        # The trunk's rate is as it was.
        for one, other in zip(*(m.trunk.parameters() for m in models), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert moved[1e-6] < 1e-8 and moved[10.0] == pytest.approx(1e-2, rel=1e-3)


def test_gradient_through_the_projection_bears_a_large_residual_weight() -> None:
    family = small()
    hard: dict[str, Any] = {"lam": 1.0, "rank": 16, "omega0": 10.0}
    (held,), _, _ = learned(Inverse(), family, family.grid(20), **hard, **HELD)
    (through,), _, _ = learned(Inverse(), family, family.grid(20), **hard, **THROUGH)
    assert through < 5e-3 and through < 0.1 * held


@pytest.mark.parametrize("method", [PLAIN, HELD])
def test_complex_inverse(method: dict[str, Any]) -> None:
    family = small(complex_valued=True)
    (error,), model, _ = learned(Inverse(), family, family.grid(20), **method)
    (w,) = model(family.uniform(3, generator()))
    assert w.dtype == torch.complex64 and w.shape == (3, 8, 8)
    assert error < (2e-2 if method is PLAIN else 2e-3)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_pseudo_inverse_of_a_gram_matrix(complex_valued: bool) -> None:
    family = Gram(small(complex_valued=complex_valued), 0.5)
    found, model, _ = learned(PseudoInverse(), family, family.grid(20), rank=16, **THROUGH)
    assert max(found) < 5e-3
    _, x = model(family.uniform(5, generator()))
    if complex_valued:  # by the way it is stored
        assert (x == x.mH).all()


def test_domain_of_two_dimensions_in_its_own_units() -> None:
    family = FourierFamily(
        (8, 8), 2, generator(2), shift=3.0, domain=[(3.4e9, 3.6e9), (-40.0, 0.0)]
    )
    settings: dict[str, Any] = {"rank": 24, "omega0": 3.0}
    (held,), model, _ = learned(Inverse(), family, family.grid(9), **settings, **HELD)
    (through,), _, _ = learned(Inverse(), family, family.grid(9), **settings, **THROUGH)
    assert held < 3e-2 and through < 2e-2
    with pytest.raises(ValueError, match=r"Parameters are \[batch, 2\] here, not \[5, 1\]."):
        model(torch.zeros(5, 1))


class Unaligned(SVD):
    """An SVD whose phases are left as they were found."""

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        return turned(super().exact(a, no))

    def align(self, components: Components) -> Components:
        return components


class Turned(SVD):
    """An SVD that is found in random phases, as a library may."""

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        return turned(super().exact(a, no))


def turned(components: Components) -> Components:
    u, s, v = components
    angle = 2 * math.pi * torch.rand(s.shape, dtype=s.dtype, generator=generator(7))
    turn = torch.polar(torch.ones_like(angle), angle)[..., None, :]
    return u * turn, s, v * turn


def test_svd_is_learned_through_alignment() -> None:
    family = wide()
    # Samples need not come in order: they are sorted before their gauge is carried along.
    samples = family.grid(40)[torch.randperm(40, generator=generator(5))]
    settings: dict[str, Any] = {"rank": 16, "lam": 0.01}
    found, _, _ = learned(Turned(2), family, samples, **settings, **HELD)
    assert max(found) < 1e-3
    found, _, _ = learned(Unaligned(2), family, samples, **settings, **HELD)
    assert min(found[0], found[2]) > 0.3


# The gauge in more than one dimension.


def test_spanning_tree() -> None:
    x = 2 * torch.rand(40, 3, dtype=torch.float64, generator=generator(1)) - 1
    root, levels = spanning_tree(x)
    assert x[root].norm() == x.norm(dim=-1).min()
    reached = {root}
    edges = set()
    for children, parents in levels:
        assert set(parents.tolist()) <= reached  # the reference is aligned before it is used
        reached |= set(children.tolist())
        edges |= {frozenset(pair) for pair in zip(children.tolist(), parents.tolist(), strict=True)}
    assert reached == set(range(40)) and len(edges) == 39
    # A tree is minimal if no pair outside it is closer than the longest edge between the two.
    distance = torch.linalg.vector_norm(x[:, None] - x, dim=-1)
    bottleneck = torch.full_like(distance, math.inf).fill_diagonal_(0)
    for i, j in (sorted(edge) for edge in edges):
        bottleneck[i, j] = bottleneck[j, i] = distance[i, j]
    for k in range(40):
        through = torch.maximum(bottleneck[:, k, None], bottleneck[k])
        bottleneck = torch.minimum(bottleneck, through)
    assert (bottleneck <= distance + 1e-12).all()


def test_alignment_along_the_tree() -> None:
    family = FourierFamily((4, 6), 2, generator(2), complex_valued=True)
    p = family.uniform(60, generator(4))
    operation = SVD(2)
    u, s, v = align_along_tree(operation, Turned(2).exact(family(p)), family.coordinate(p))
    torch.testing.assert_close(family(p) @ v, u * s[:, None])
    _, levels = spanning_tree(family.coordinate(p))
    for children, parents in levels:
        overlap = (v[parents].conj() * v[children]).sum(-2)
        assert overlap.imag.abs().max() < 1e-12 and overlap.real.min() > 0
    # One dimension is the chain of neighbours; only the sample it starts from differs.
    chain = wide()
    p = chain.grid(41)
    exact = operation.exact(chain(p))
    for one, other in zip(
        align_along_tree(operation, exact, chain.coordinate(p)), operation.align(exact), strict=True
    ):
        torch.testing.assert_close(one, other)


# Adaptive sampling.


def refinements(
    family: Family, samples: Tensor, **changes: Any
) -> tuple[list[Refinement], Algorithm1Report]:
    seen: list[Refinement] = []
    _, report = train_algorithm1(
        Inverse(), family, samples, config(**changes), callback=seen.append
    )
    return seen, report


def test_the_worst_candidates_are_added() -> None:
    family = small()
    seen, report = refinements(family, family.grid(8), threshold=1e-4, added=7, **HELD)
    assert [r.step for r in seen] == [100, 200, 300]
    size = 60
    for refinement in seen[:-1]:
        assert refinement.failure_probability > 0.5 and len(refinement.added) == 7
        worst = refinement.residual[refinement.added].min()
        assert worst > 1e-4
        assert (refinement.residual > worst).sum() == 6
        size += 7
        assert refinement.num_collocation == size
    # Nothing is added after the last step.
    assert not len(seen[-1].added) and report.num_collocation == size
    assert report.collocation == [67, 74, 74] and report.num_samples == 8
    assert report.failure_probability == [r.failure_probability for r in seen]
    assert len(report.loss) == len(report.supervised) == 300 and report.seconds > 0


def test_points_are_added_where_there_are_no_samples() -> None:
    family = small()
    half = family.grid(41)[:21]
    seen, _ = refinements(family, half, lam=0.0, steps=101, num_collocation=1, added=20)
    assert (seen[0].candidates[seen[0].added] > 0).double().mean() > 0.9


def test_as_many_random_points_in_the_ablation() -> None:
    family = small()
    changes: dict[str, Any] = {"threshold": 1e-4, "steps": 101, "added": 20}
    (worst, *_), adaptive = refinements(family, family.grid(8), **changes)
    (random, *_), ablation = refinements(family, family.grid(8), **changes, adaptive=False)
    # All is the same up to the choice of points.
    torch.testing.assert_close(random.candidates, worst.candidates, rtol=0, atol=0)
    assert adaptive.collocation == ablation.collocation == [80, 80]
    assert random.residual[random.added].mean() < 0.8 * worst.residual[worst.added].mean()


def test_only_the_first_rounds_add_points() -> None:
    family = small()
    changes: dict[str, Any] = {"threshold": 1e-4, "steps": 120, "refine_every": 20, "added": 5}
    for adaptive in (True, False):
        seen, report = refinements(family, family.grid(8), **changes, rounds=2, adaptive=adaptive)
        assert [len(r.added) for r in seen] == [5, 5, 0, 0, 0, 0]
        assert report.collocation == [65, 70, 70, 70, 70, 70]
        # The failures are looked at on, to the end.
        assert all(0 < p <= 1 for p in report.failure_probability)
    _, report = refinements(family, family.grid(8), **changes, rounds=0)
    assert report.num_collocation == 60
    _, report = refinements(family, family.grid(8), **changes)
    assert report.num_collocation == 85


@pytest.mark.parametrize("operation", [Inverse(), SVD(2)])
def test_corrected_points_count_as_samples(operation: Operation) -> None:
    family = small() if isinstance(operation, Inverse) else wide()
    settings: dict[str, Any] = {"steps": 150, "refine_every": 25, "rounds": 0, "lam": 0.0}
    samples = family.grid(10)
    published, _, _ = learned(operation, family, samples, **settings)
    corrected, _, report = learned(operation, family, samples, **settings, corrections=3)
    # Ten exact results are too few for rank 12, sixty more that cost none are not.
    assert max(corrected) < 0.3 * max(published)
    assert report.num_samples == 10 and report.num_collocation == 60


def test_points_that_stay_wrong_are_no_samples() -> None:
    family = small()
    settings: dict[str, Any] = {"steps": 60, "refine_every": 20}
    runs = [
        learned(Inverse(), family, family.grid(10), **settings, **changes)[2].loss
        for changes in ({}, {"corrections": 1, "corrected": 1e-30}, {"corrections": 1})
    ]
    assert runs[0] == runs[1] != runs[2]


def test_nothing_is_added_within_the_tolerance() -> None:
    family = small()
    (first, *_), report = refinements(family, family.grid(20), threshold=0.1, steps=101)
    assert first.failure_probability <= 0.05 and not len(first.added)
    assert report.collocation == [60, 60]
    # At the tolerance itself nothing is added either; fewer than asked for where fewer failed.
    (first, *_), _ = refinements(family, family.grid(20), threshold=1e-9, steps=101, tolerance=1)
    assert first.failure_probability == 1 and not len(first.added)
    middle = first.residual.sort(descending=True).values[3].item()
    (first, *_), _ = refinements(
        family, family.grid(20), threshold=middle, steps=101, tolerance=0.0, added=10
    )
    assert len(first.added) == 3


# Its parts.


@pytest.mark.parametrize("activation", ["sine", "tanh", "relu", "gelu", "sigmoid"])
def test_trunk(activation: str) -> None:
    trunk = MLPTrunk(2, 3, 32, 5, 7.0, activation, generator())
    x = 2 * torch.rand(50, 2, generator=generator(1)) - 1
    phi = trunk(x)
    assert phi.shape == (50, 5) and phi.dtype == torch.float32 and trunk.rank == 5
    functions = {
        "sine": lambda z: np.sin(7 * z),
        "tanh": np.tanh,
        "relu": lambda z: np.maximum(z, 0),
        "gelu": lambda z: z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    }
    h = x.double().numpy()
    parameters = [p.detach().double().numpy() for p in trunk.parameters()]
    assert len(parameters) == 8
    for weight, bias in zip(parameters[0:6:2], parameters[1:6:2], strict=True):
        h = functions[activation](h @ weight.T + bias)
    np.testing.assert_allclose(
        phi.detach().numpy(), h @ parameters[6].T + parameters[7], rtol=1e-3, atol=1e-4
    )


def test_trunk_starts_as_siren() -> None:
    trunk = MLPTrunk(3, 2, 400, 50, 20.0, "sine", generator())
    first, second = (layer.weight.abs().max().item() for layer in trunk.hidden)
    assert first == pytest.approx(1 / 3, rel=1e-2)
    assert second == pytest.approx(math.sqrt(6 / 400) / 20, rel=1e-2)
    x = 2 * torch.rand(1000, 3, generator=generator(1)) - 1
    assert trunk(x).std().item() == pytest.approx(1, rel=0.2)


def test_projection_is_the_ridge_solution() -> None:
    phi = torch.randn(10, 14, generator=generator())
    targets = [torch.randn(10, n, generator=generator(n)) for n in (3, 4)]
    ridge = 1e-3
    stacked = np.concatenate([phi.double().numpy(), math.sqrt(10 * ridge) * np.eye(14)])
    for latent, target in zip(project_latents(phi, targets, ridge), targets, strict=True):
        padded = np.concatenate([target.double().numpy(), np.zeros((14, target.shape[1]))])
        expected = np.linalg.lstsq(stacked, padded, rcond=None)[0]
        np.testing.assert_allclose(latent.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_held_latents_give_the_gradient_of_the_supervised_term() -> None:
    """At its minimum over the latent tensor their own derivative adds nothing."""
    target = [torch.randn(30, 4, generator=generator(1))]
    ridge, gradients = 1e-2, []
    for held in (True, False):
        phi = torch.randn(30, 6, generator=generator()).requires_grad_()
        (latent,) = project_latents(phi.detach() if held else phi, target, ridge)
        loss = (phi @ latent - target[0]).square().sum() / 30 + ridge * latent.square().sum()
        gradients.append(torch.autograd.grad(loss, phi)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_training_is_reproducible() -> None:
    family = small()
    before = torch.get_rng_state()
    runs = [
        train_algorithm1(Inverse(), family, family.grid(10), config(steps=30, seed=seed, **method))
        for seed in (0, 0, 1)
        for method in (PLAIN, HELD)
    ]
    assert (torch.get_rng_state() == before).all()
    for (first, one), (again, two), (other, three) in (runs[::2], runs[1::2]):
        assert one.loss == two.loss and one.loss != three.loss
        for name, tensor in first.state_dict().items():
            assert (tensor == again.state_dict()[name]).all()
        (w,), (different,) = first(family.grid(4)), other(family.grid(4))
        assert not w.requires_grad and (w != different).any()


# What is refused.


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"depth": 0}, "depth is 0, it has to be positive."),
        ({"width": 0}, "width is 0"),
        ({"rank": 0}, "rank is 0"),
        ({"omega0": -1.0}, "omega0 is -1.0"),
        ({"omega0": math.nan}, "omega0 is nan"),
        ({"activation": "softplus"}, 'There is no activation "softplus", known are sine, tanh'),
        ({"lam": -0.1}, "lam is -0.1, the weight of the residual is not negative."),
        ({"ridge": 0.0}, "ridge is 0.0"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"latent_rate": 0.0}, "latent_rate is 0.0"),
        ({"beta2": 1.0}, "beta2 is 1.0, it lies from 0 to below 1."),
        ({"num_collocation": 0}, "num_collocation is 0"),
        ({"refine_every": 0}, "refine_every is 0"),
        ({"threshold": 0.0}, "threshold is 0.0"),
        ({"tolerance": 1.5}, "tolerance is 1.5, a share lies between 0 and 1."),
        ({"candidates": 0}, "candidates is 0"),
        ({"added": -1}, "added is -1"),
        ({"corrections": -1}, "corrections is -1, a number of steps, 0 for none."),
        ({"corrected": 0.0}, "corrected is 0.0"),
        ({"rounds": -1}, "rounds is -1, a number of refinements is not negative."),
        ({"added": 201}, "added is 201, points are taken from the 200 candidates."),
    ],
)
def test_bad_config_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        config(**changes)


def test_bad_samples_are_refused() -> None:
    family = small()
    for samples, sentence in (
        (torch.zeros(5, 2), r"Parameters are \[batch, 1\] here, not \[5, 2\]."),
        (torch.zeros(0, 1), "no samples"),
        (torch.tensor([[0.0], [1.1]]), "outside the family's domain"),
        (torch.tensor([[0.0], [math.nan]]), "outside the family's domain"),
    ):
        with pytest.raises(ValueError, match=sentence):
            train_algorithm1(Inverse(), family, samples, config())

    class Zero(Family):
        shape = (2, 2)

        def __call__(self, p: Tensor) -> Tensor:
            return torch.zeros(len(p), 2, 2, dtype=torch.float64)

    zero = Zero([(0.0, 1.0)])
    with pytest.raises(ValueError, match="not finite"):
        train_algorithm1(Inverse(), zero, zero.grid(3), config())
    with pytest.raises(ValueError, match="Only square matrices"):
        train_algorithm1(Inverse(), wide(), wide().grid(3), config())


def test_divergence_is_told() -> None:
    family = small()
    with pytest.raises(RuntimeError, match="lower the learning rate"):
        train_algorithm1(
            Inverse(), family, family.grid(8), config(projection=False, learning_rate=1e30)
        )
