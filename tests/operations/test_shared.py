"""What every operation promises, over all registered ones: a new one is a row of ``CASES``."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.families import CosineFamily, Family, Gram
from neumatc_mimo.learning.algorithm1 import Algorithm1Config, train_algorithm1
from neumatc_mimo.metrics.measures import relative_error
from neumatc_mimo.operations import OPERATIONS as REGISTERED
from neumatc_mimo.operations import Components, Operation, Tolerance, make_operation
from tests.docs.common import ROOT, run

ITEMS, POINTS = 3, 5
B = [[1.0, 2.0], [0.0, 1.0], [-1.0, 1.0], [2.0, 0.0]]


# The fixed part of each kind of matrix: singular values, and eigenvalues, stay apart around it.
OFFSETS = {
    "wide": [[7.0, 0, 0, 0, 0], [0, 5.0, 0, 0, 0], [0, 0, 3.0, 0, 0]],
    # Two users of two antennas, who hear one another.
    "wide users": [
        [7.0, 0, 0, 1.0, 0, 0],
        [0, 4.0, 0, 0, 0, 0],
        [1.0, 0, 6.0, 0, 0, 0],
        [0, 0, 0, 3.0, 0, 0],
    ],
    "tall": [[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0], [0, 0, 0], [0, 0, 0]],
    "square": [[3.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 3.0]],
    # 4 ± 3j are a complex pair, of real matrices too.
    "apart": [[4.0, 3.0, 0, 0], [-3.0, 4.0, 0, 0], [0, 0, -3.0, 0], [0, 0, 0, 8.0]],
    "definite": [[7.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1.0]],
}


class Offset(CosineFamily):
    """Cosines of two frequencies around a fixed matrix: rank five along p."""

    def __init__(self, kind: str, complex_valued: bool) -> None:
        self._fixed = torch.tensor(OFFSETS[kind], dtype=torch.float64)
        m, n = self._fixed.shape
        super().__init__((m, n), generator(), num_frequencies=2, complex_valued=complex_valued)

    def __call__(self, p: Tensor) -> Tensor:
        return super().__call__(p) + self._fixed


def family(kind: str, complex_valued: bool) -> Family:
    offset = Offset(kind, complex_valued)
    return Gram(offset, 0.5) if kind == "definite" else offset


def numpy_svd(a: Any) -> Any:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return u[..., :2], s[..., :2], vh[..., :2, :].conj().swapaxes(-1, -2)


def numpy_eigh(a: Any, num: int) -> Any:
    values, v = np.linalg.eigh(a)  # of positive definite matrices: the strongest are the last
    return values[..., -num:], v[..., -num:]


def numpy_qr(a: Any) -> Any:
    q, r = np.linalg.qr(a)
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    turn = diagonal / abs(diagonal)
    return q * turn[..., None, :], r / turn[..., :, None]


def numpy_wmmse(a: Any, no: float, num_iterations: int) -> Any:
    """Shi et al. (2011) as published, n x n systems, the noise scaled with the power."""
    m, n = a.shape[-2:]
    v = adjoint(a) @ np.linalg.inv(a @ adjoint(a) + no * np.eye(m))
    v = v / np.linalg.norm(v, axis=-2, keepdims=True)
    for _ in range(num_iterations):
        image = a @ v
        noise = no * (abs(v) ** 2).sum((-2, -1)) / m
        own = np.diagonal(image, axis1=-2, axis2=-1)
        u = own / ((abs(image) ** 2).sum(-1) + noise[..., None])
        w = 1 / (1 - (u.conj() * own).real)
        d = w * abs(u) ** 2
        mu = no * d.sum(-1) / m
        system = adjoint(a) @ (d[..., None] * a) + mu[..., None, None] * np.eye(n)
        v = np.linalg.solve(system, adjoint(a) * (u * w)[..., None, :])
    power = (abs(v) ** 2).sum((-2, -1), keepdims=True)
    return (v * np.sqrt(m / power),)


def numpy_max_min(a: Any, no: float, num_iterations: int) -> Any:
    """Schubert and Boche (2004) with n x n systems, a user's own power left out of them."""
    m, n = a.shape[-2:]
    q = np.ones(a.shape[:-1])
    eye = np.eye(n)
    w = np.empty_like(adjoint(a))
    for _ in range(num_iterations):
        for k in range(m):
            others = q * (np.arange(m) != k)
            w[..., k] = np.linalg.solve(
                no * eye + adjoint(a) @ (others[..., None] * a), a[..., k, :, None].conj()
            )[..., 0]
        q = 1 / np.diagonal(a @ w, axis1=-2, axis2=-1).real
        level = m / q.sum(-1, keepdims=True)
        q = q * level
    w = w / np.linalg.norm(w, axis=-2, keepdims=True)
    gains = abs(a @ w) ** 2
    own = np.diagonal(gains, axis1=-2, axis2=-1)
    system = -level[..., None] * gains + (1 + level[..., None]) * (own[..., None] * np.eye(m))
    p = np.linalg.solve(system, level[..., None] * no * np.ones((m, 1)))[..., 0]
    return (w * np.sqrt(p)[..., None, :],)


def numpy_slnr(a: Any, no: float, antennas_per_user: int) -> Any:
    """Sadek et al. (2007) as published, generalised eigenvectors of n x n."""
    m, n = a.shape[-2:]
    v, s = np.empty_like(adjoint(a)), np.empty(a.shape[:-1])
    for at in np.ndindex(a.shape[:-2]):
        whole = adjoint(a[at]) @ a[at]
        for start in range(0, m, antennas_per_user):
            user = slice(start, start + antennas_per_user)
            own = adjoint(a[at][user]) @ a[at][user]
            ratio, vectors = scipy.linalg.eigh(own, whole - own + no * np.eye(n))
            vectors = vectors[:, -antennas_per_user:]
            v[at][:, user] = vectors / np.linalg.norm(vectors, axis=0)
            s[at][user] = np.sqrt(no * ratio[-antennas_per_user:])
    return v, s


def numpy_block_diagonalization(a: Any, antennas_per_user: int) -> Any:
    """Spencer et al. (2004) as published, the null space of the other users' rows by an SVD."""
    m = a.shape[-2]
    v, s = np.empty_like(adjoint(a)), np.empty(a.shape[:-1])
    for at in np.ndindex(a.shape[:-2]):
        for start in range(0, m, antennas_per_user):
            user = slice(start, start + antennas_per_user)
            others = np.delete(a[at], user, axis=0)
            null = adjoint(np.linalg.svd(others)[2])[:, len(others) :]
            _, s[at][user], vh = np.linalg.svd(a[at][user] @ null, full_matrices=False)
            v[at][:, user] = null @ adjoint(vh)
    return v, s


@dataclass(frozen=True)
class Case:
    """An operation, the matrices it is for and NumPy's result, up to the gauge.

    :param name: as registered
    :param kind: of matrices, see ``OFFSETS``
    :param reference: a [..., m, n] to components
    :param arguments: of the constructor, plain values
    :param quadratic: whether a correction squares the error
    """

    name: str
    kind: str
    reference: Callable[[Any], Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    quadratic: bool = True


def linear(name: str, kind: str, reference: Callable[[Any], Any], **arguments: Any) -> Case:
    """A case whose correction, if there is one, lets the error shrink by a factor."""
    return Case(name, kind, reference, arguments, quadratic=False)


# Noise that lets the iteration converge to the last digit.
NOISY = {"no": 3.0, "num_iterations": 1000}
PAIRS = {"no": 3.0, "antennas_per_user": 2}

CASES = [
    Case("pseudo_inverse", "wide", lambda a: (np.linalg.pinv(a), np.linalg.inv(a @ adjoint(a)))),
    Case("inverse", "square", lambda a: (np.linalg.inv(a),)),
    linear("svd", "wide", numpy_svd, num_streams=2),
    Case("hermitian_eigen", "definite", lambda a: numpy_eigh(a, 4)),
    linear("hermitian_eigen", "definite", lambda a: numpy_eigh(a, 2), num_pairs=2),
    Case("eigen", "apart", np.linalg.eig),
    Case("qr", "tall", numpy_qr),
    Case("cholesky", "definite", lambda a: (np.linalg.cholesky(a),)),
    linear("matrix_exponential", "square", lambda a: (scipy.linalg.expm(a),)),
    linear("linear_solve", "square", lambda a: (np.linalg.solve(a, np.array(B)),), b=B),
    linear("wmmse", "wide", lambda a: numpy_wmmse(a, **NOISY), **NOISY),
    linear("max_min", "wide", lambda a: numpy_max_min(a, **NOISY), **NOISY),
    linear("slnr", "wide", lambda a: numpy_slnr(a, 3.0, 1), no=3.0),
    linear("slnr", "wide users", lambda a: numpy_slnr(a, **PAIRS), **PAIRS),
    linear("block_diagonalization", "wide", lambda a: numpy_block_diagonalization(a, 1)),
    linear(
        "block_diagonalization",
        "wide users",
        lambda a: numpy_block_diagonalization(a, 2),
        antennas_per_user=2,
    ),
    Case("scattering", "square", lambda a: (2 * a @ np.linalg.inv(a + EYE) - EYE,)),
]
EYE = np.eye(4)

# A user's own operation, as the documentation shows it: not registered, all else is the same.
OWN: dict[str, type[Operation]] = {
    "scattering": run(ROOT / "docs/operations.md", until="Scattering")["Scattering"]
}


def made(settings: dict[str, Any]) -> Operation:
    """The operation of settings, built-in or not."""
    own = OWN.get(settings["name"])
    return make_operation(settings) if own is None else own()


@dataclass(frozen=True)
class Subject:
    """A case over real or complex matrices."""

    case: Case
    complex_valued: bool

    @functools.cached_property
    def operation(self) -> Operation:
        return made({"name": self.case.name, **self.case.arguments})

    @functools.cached_property
    def family(self) -> Family:
        return family(self.case.kind, self.complex_valued)

    @property
    def matrices(self) -> Tensor:
        """[ITEMS, POINTS, m, n]."""
        p = self.family.uniform(ITEMS * POINTS, generator(5))
        return self.family(p).unflatten(0, (ITEMS, POINTS))

    @property
    def exact(self) -> Components:
        return self.operation.exact(self.matrices)

    def factors(self, num: int, seed: int) -> Tensor:
        """[ITEMS, POINTS, num] of unit modulus."""
        return torch.sgn(normal((ITEMS, POINTS, num), self.matrices.dtype, seed))


SUBJECTS = [
    pytest.param(
        Subject(case, complex_valued),
        id="-".join([case.name, case.kind, "complex" if complex_valued else "real"]),
    )
    for case in CASES
    for complex_valued in (False, True)
]
every_operation = pytest.mark.parametrize("subject", SUBJECTS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=generator(seed))


def adjoint(a: Any) -> Any:
    return a.conj().swapaxes(-1, -2)


def disturbed(
    operation: Operation, components: Components, size: float, only: int | None = None
) -> Components:
    """Components, or one of them, with random errors of a relative size."""
    changed = list(components)
    for i in range(len(components)) if only is None else (only,):
        c = components[i]
        error = normal(tuple(c.shape), c.dtype, 100 + i)
        if operation.component_names[i] in operation.hermitian:
            error = (error + error.mH) / 2
        dims = tuple(range(2, c.ndim))
        scale = torch.linalg.vector_norm(c, dim=dims, keepdim=True)
        scale = scale / torch.linalg.vector_norm(error, dim=dims, keepdim=True)
        changed[i] = c + size * scale * error
    return tuple(changed)


def errors(found: Components, exact: Components) -> list[Tensor]:
    """Relative error [ITEMS, POINTS] of every component."""
    return [
        relative_error(f, e, tuple(range(2, e.ndim))) for f, e in zip(found, exact, strict=True)
    ]


def assert_close(found: Components, expected: Components, tolerance: float = 1e-10) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


# The table.


def test_every_operation_is_here_and_exported() -> None:
    assert {case.name for case in CASES} == {*REGISTERED, *OWN}
    for kind in REGISTERED.values():
        assert getattr(nm, kind.__name__) is kind


@every_operation
def test_settings_and_shapes(subject: Subject) -> None:
    operation = subject.operation
    settings = json.loads(json.dumps(operation.settings()))
    again = made(settings)
    assert type(again) is type(operation) and again.settings() == operation.settings() == settings
    components = subject.exact
    assert_close(again.exact(subject.matrices), components, 0.0)
    shapes = operation.component_shapes(*subject.matrices.shape[-2:])
    assert shapes == tuple(tuple(c.shape[2:]) for c in components)
    assert len(shapes) == len(operation.component_names)
    assert {*operation.hermitian, *operation.noise_free} <= set(operation.component_names)
    assert tuple(operation.answer(components)._fields)


# The exact result.


@every_operation
def test_exact_equals_numpy(subject: Subject) -> None:
    found = subject.exact
    expected = tuple(map(torch.as_tensor, subject.case.reference(subject.matrices.numpy())))
    assert [c.dtype for c in found] == [c.dtype for c in expected]
    assert_close(subject.operation.align_to(found, expected), expected)
    single = subject.matrices.to(torch.complex64 if subject.complex_valued else torch.float32)
    rounded = subject.operation.exact(single)
    aligned = subject.operation.align_to(
        rounded, tuple(c.to(r) for c, r in zip(found, rounded, strict=True))
    )
    for one, other in zip(aligned, found, strict=True):
        assert one.dtype in (torch.float32, torch.complex64)
        assert relative_error(one, other).max() < 1e-4


@every_operation
def test_noise_counts_only_where_it_is_said_to(subject: Subject) -> None:
    operation = subject.operation
    noisy = operation.exact(subject.matrices, 0.3)
    for name, one, other in zip(operation.component_names, noisy, subject.exact, strict=True):
        assert torch.equal(one, other) == (name in operation.noise_free)


@every_operation
def test_aligned_samples_are_continuous(subject: Subject) -> None:
    operation = subject.operation
    steps = []
    for num in (101, 201, 401):
        a = subject.family(subject.family.grid(num))
        exact = operation.exact(a)
        aligned = operation.align(exact)
        assert operation.residual(a, aligned).max() < 1e-12
        assert_close(operation.align(aligned), aligned)
        assert_close(operation.align_to(exact, aligned), aligned)
        steps.append([c.diff(dim=0).abs().max() for c in aligned])
    # Continuous, and smooth: half the distance, half the step.
    for first, second, third in zip(*steps, strict=True):
        assert 0.4 < second / first < 0.6 and 0.4 < third / second < 0.6


@every_operation
def test_matrices_with_too_few_rows_are_refused(subject: Subject) -> None:
    if subject.case.kind.startswith("wide") or subject.case.name in OWN:
        return  # it has few rows, or leaves it to PyTorch to refuse them
    n = subject.matrices.shape[-1]
    with pytest.raises(ValueError, match=f"{n - 1} x {n}"):
        subject.operation.component_shapes(n - 1, n)
    with pytest.raises(ValueError, match=f"{n - 1} x {n}"):
        subject.operation.exact(subject.matrices[..., : n - 1, :])


# The residual.


@every_operation
def test_residual_grows_with_the_error(subject: Subject) -> None:
    operation, a, exact = subject.operation, subject.matrices, subject.exact
    assert operation.residual(a, exact).max() < 1e-13
    for only in (None, *range(len(exact))):
        residuals = [
            operation.residual(a, disturbed(operation, exact, size, only))
            for size in (1e-5, 1e-4, 1e-3, 1e-2)
        ]
        assert residuals[0].shape == (ITEMS, POINTS)
        # No component is left out, and none is forgiven much of its error.
        assert residuals[0].min() > 1e-6 / 2
        for smaller, larger in itertools.pairwise(residuals):
            ratio = larger / smaller
            assert ratio.min() > 8 and ratio.max() < 12.5


@every_operation
def test_residual_can_be_differentiated(subject: Subject) -> None:
    operation, a = subject.operation, subject.matrices[0, :2]
    near = disturbed(operation, tuple(c[:1, :2] for c in subject.exact), 1e-2)
    inputs = tuple(c[0].clone().requires_grad_() for c in near)
    assert torch.autograd.gradcheck(lambda *c: operation.residual(a, c), inputs)
    # Where it is zero, to the last bit or nearly, too.
    a = 2 * torch.eye(*a.shape[-2:], dtype=a.dtype)[None]
    inputs = tuple(c.clone().requires_grad_() for c in operation.exact(a))
    operation.residual(a, inputs).sum().backward()
    for c in inputs:
        assert c.grad is not None and bool(torch.isfinite(c.grad).all())


# The certificate.


@every_operation
def test_certificate_accepts_the_exact_result(subject: Subject) -> None:
    operation = subject.operation
    for single, quality in ((False, 200.0), (True, 80.0)):
        a = subject.matrices
        if single:
            a = a.to(torch.complex64 if subject.complex_valued else torch.float32)
        certificate = operation.certificate(a, operation.exact(a), 0.0, Tolerance())
        assert certificate.ok.shape == (ITEMS, POINTS) and certificate.ok.dtype == torch.bool
        assert certificate.ok.all() and certificate.quality.min() > quality
        assert certificate.range_error.max() < 1e-4


@every_operation
def test_certificate_refuses_what_is_not_the_result(subject: Subject) -> None:
    operation, a, exact = subject.operation, subject.matrices, subject.exact
    impostors = [
        tuple(torch.zeros_like(c) for c in exact),
        tuple(-c for c in exact),
        tuple(c.roll(1, 0) for c in exact),  # of other matrices
        *(disturbed(operation, exact, 0.3, only) for only in (None, *range(len(exact)))),
    ]
    for impostor in impostors:
        assert not operation.certificate(a, impostor, 0.0, Tolerance()).ok.any()
    for value in (torch.nan, torch.inf):
        for i in range(len(exact)):
            broken = tuple(c.clone() for c in exact)
            broken[i][1, 2, ..., 1] = value
            ok = operation.certificate(a, broken, 0.0, Tolerance()).ok
            assert not ok[1, 2] and ok.sum() == ok.numel() - 1


@every_operation
def test_certificate_bounds_the_error(subject: Subject) -> None:
    """Errors of any size: accepted are small ones only, and not none."""
    operation, a, exact = subject.operation, subject.matrices, subject.exact
    shares = []
    for size in torch.logspace(-6, 0, 13).tolist():
        near = disturbed(operation, exact, size)
        ok = operation.certificate(a, near, 0.0, Tolerance()).ok
        shares.append(ok.double().mean().item())
        for error in errors(near, exact):
            assert (error[ok] < 0.1).all()
    assert shares[0] == 1 and shares[-1] == 0


# The correction.


@every_operation
def test_correction_converges(subject: Subject) -> None:
    operation, a, exact = subject.operation, subject.matrices, subject.exact
    near = disturbed(operation, exact, 1e-2)
    corrected = operation.correct(a, near)
    assert [c.dtype for c in corrected] == [c.dtype for c in near]
    if corrected is near:
        assert "returns its input" in (type(operation).__doc__ or "")
        return
    before, after = operation.residual(a, near), operation.residual(a, corrected)
    assert (after < 0.5 * before).all()
    # The gauge is that of the input.
    assert max(float(e.max()) for e in errors(corrected, exact)) < 1e-2
    if subject.case.quadratic:
        nearer = operation.correct(a, disturbed(operation, exact, 1e-3))
        assert (operation.residual(a, nearer) < 0.03 * after).all()
    for _ in range(5 if subject.case.quadratic else 60):
        corrected = operation.correct(a, corrected)
    assert operation.residual(a, corrected).max() < 1e-12
    assert_close(operation.align_to(exact, corrected), corrected)


# Changed matrices.


@every_operation
def test_scale_follows_the_matrix_or_is_refused(subject: Subject) -> None:
    operation, a, exact = subject.operation, subject.matrices, subject.exact
    m, n = a.shape[-2:]
    left, right = subject.factors(m, 1), subject.factors(n, 2)
    known = 0
    for one, other in (
        (left, right),
        (left[..., :1].expand_as(left), right),
        *([(left, left.conj())] if m == n else []),
    ):
        changed = one[..., :, None] * a * other[..., None, :]
        try:
            scaled = operation.scale(exact, one, other)
        except ValueError as error:
            assert "D_L A D_R does not follow from that of A" in str(error)
            continue
        known += 1
        assert_close(operation.align_to(operation.exact(changed), scaled), scaled)
    assert known or type(operation).scale is Operation.scale


@every_operation
def test_permute_follows_the_matrix_or_is_refused(subject: Subject) -> None:
    operation, a, exact = subject.operation, subject.matrices, subject.exact
    order = torch.stack(
        [torch.randperm(a.shape[-2], generator=generator(seed)) for seed in range(ITEMS)]
    )
    changed = torch.stack([one[:, rows] for one, rows in zip(a, order, strict=True)])
    try:
        permuted = operation.permute(exact, order)
    except ValueError as error:
        assert "its rows in another order does not follow from that of A" in str(error)
        return
    assert_close(operation.align_to(operation.exact(changed), permuted), permuted)


@every_operation
def test_answer_knows_factors_of_the_rows_or_is_refused(subject: Subject) -> None:
    operation, a, exact = subject.operation, subject.matrices, subject.exact
    plain = operation.results(operation.answer(exact))
    solved = operation.results(operation.solve(a))
    assert_close(operation.align_to(solved, plain), plain)
    rows = 0.7 * subject.factors(a.shape[-2], 3)
    if operation.free_gains(None):
        rows = rows * torch.linspace(0.5, 2, a.shape[-2], dtype=torch.float64)
    try:
        found = operation.results(operation.answer(exact, rows=rows))
    except ValueError as error:
        assert "of diag(rows) A does not follow from that of A." in str(error)
        return
    expected = operation.results(operation.solve(rows[..., :, None] * a))
    assert_close(operation.align_to(expected, found), found)


# The trained mapping.

# Mean relative error of the worst component at unseen parameters.
TRAINED = 1e-3


@every_operation
def test_operation_is_learned(subject: Subject) -> None:
    operation, family = subject.operation, subject.family
    config = Algorithm1Config(
        rank=16,
        width=48,
        steps=200,
        learning_rate=3e-3,
        num_collocation=50,
        refine_every=100,
        candidates=100,
    )
    model, report = train_algorithm1(operation, family, family.grid(30), config)
    assert math.isfinite(report.loss[-1])
    p = family.uniform(200, generator(99))
    found = tuple(c.to(torch.complex128 if c.is_complex() else torch.float64) for c in model(p))
    exact = operation.align_to(operation.exact(family(p)), found)
    worst = max(
        relative_error(f, e, tuple(range(1, e.ndim))).mean().item()
        for f, e in zip(found, exact, strict=True)
    )
    assert worst < TRAINED
    assert operation.certificate(family(p), found, 0.0, Tolerance()).ok.double().mean() > 0.9


# What one operation alone promises.


def test_strongest_eigenpairs_are_the_largest_in_magnitude() -> None:
    values = torch.tensor([-5.0, 3.0, -1.0, 0.5], dtype=torch.float64)
    q, _ = torch.linalg.qr(normal((7, 4, 4), torch.complex128, 0))
    a = q * values @ q.mH
    operation = nm.HermitianEigen(2)
    exact = operation.exact(a)
    torch.testing.assert_close(exact[0], values[:2].expand(7, 2))
    weaker = (values[[0, 2]].expand(7, 2), q[..., [0, 2]])
    twice = (values[[0, 0]].expand(7, 2), q[..., [0, 0]])
    for wrong in (weaker, twice):
        assert not operation.certificate(a, wrong, 0.0, Tolerance()).ok.any()
    # In another gauge and order they still are the result; the answer is in order.
    flipped = (exact[0].flip(-1), -1j * exact[1].flip(-1))
    assert operation.certificate(a, flipped, 0.0, Tolerance()).ok.all()
    torch.testing.assert_close(operation.answer(flipped).values, exact[0])
    with pytest.raises(ValueError, match="4 rows has no 5 eigenpairs"):
        nm.HermitianEigen(5).exact(a)
    with pytest.raises(ValueError, match="at least one"):
        nm.HermitianEigen(0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_eigenpairs_are_tracked_through_a_crossing(dtype: torch.dtype) -> None:
    p = torch.linspace(-1, 1, 301, dtype=torch.float64)
    q, _ = torch.linalg.qr(normal((3, 3), dtype, 0))
    values = torch.stack([3 - p, 2.7 + p, 0.5 + 0 * p], dim=-1)
    a = q * values[:, None] @ q.mH
    for operation in (nm.HermitianEigen(), nm.HermitianEigen(2), nm.Eigen()):
        found, vectors = operation.align(operation.exact(a))
        torch.testing.assert_close(found.real, values[:, : found.shape[-1]])
        overlap = (vectors[1:].conj() * vectors[:-1]).sum(-2)
        torch.testing.assert_close(overlap, torch.ones_like(overlap))
        centre = vectors[150].gather(0, vectors[150].abs().argmax(0, keepdim=True))
        assert bool((centre.real > 0).all()) and vectors.dtype == found.to(vectors.dtype).dtype


@pytest.mark.parametrize("gap", [0.0, 1e-6, 1e-3])
def test_correction_bears_eigenvalues_close_together(gap: float) -> None:
    """Closer than the error, or equal: then any basis of their space is as good."""
    for dtype, rounding in ((torch.complex128, 1e-14), (torch.complex64, 1e-5)):
        q, _ = torch.linalg.qr(normal((20, 4, 4), dtype, 0))
        a = q * torch.tensor([3.0, 3.0 + gap, 2.0, 1.0], dtype=torch.float64).to(dtype) @ q.mH
        for operation in (nm.HermitianEigen(), nm.Eigen()):
            values, v = operation.exact(a)
            components = (values, v + 1e-3 * normal((20, 4, 4), dtype, 1))
            for _ in range(6):
                components = operation.correct(a, components)
            assert operation.residual(a, components).max() < rounding


def test_an_eigenpair_given_twice_is_refused() -> None:
    operation = nm.Eigen()
    a = family("apart", False)(torch.linspace(-1, 1, 50)[:, None])
    values, v = operation.exact(a)
    for pair in ((0, 1), (2, 3)):
        order = [0, 1, 2, 3]
        order[pair[1]] = pair[0]
        twice = (values[..., order], v[..., order])
        assert operation.residual(a, twice).max() < 1e-12
        assert not operation.certificate(a, twice, 0.0, Tolerance()).ok.any()
    # And without any rounding.
    a = torch.diag(torch.tensor([1.0, 2.0]))[None]
    twice = (torch.ones(1, 2) + 0j, torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]) + 0j)
    assert not operation.certificate(a, twice, 0.0, Tolerance()).ok.any()


def test_complex_pairs_of_real_matrices_stay_pairs() -> None:
    f = family("apart", False)
    values, v = nm.Eigen().align(nm.Eigen().exact(f(f.grid(101))))
    (above,) = (values[50].imag > 1).nonzero()[0].tolist()
    (below,) = (values[50].imag < -1).nonzero()[0].tolist()
    torch.testing.assert_close(values[:, above], values[:, below].conj())
    torch.testing.assert_close(v[..., above], v[..., below].conj())


@pytest.mark.parametrize("name", ["qr", "cholesky"])
def test_columns_of_another_phase_are_refused(name: str) -> None:
    (subject,) = (Subject(case, True) for case in CASES if case.name == name)
    operation, a, exact = subject.operation, subject.matrices, subject.exact
    for phase in (-1, torch.exp(torch.tensor(0.1j))):
        turn = torch.ones(exact[0].shape[-1], dtype=torch.complex128)
        turn[-1] = phase
        # All products are as they were.
        turned = (exact[0] * turn, *(turn.conj()[:, None] * r for r in exact[1:]))
        assert not operation.certificate(a, turned, 0.0, Tolerance()).ok.any()
        # From here the correction finds the way back.
        assert_close(operation.correct(a, turned), exact)


@pytest.mark.parametrize("name", ["cholesky", "linear_solve"])
def test_matrices_without_a_result_fail_alone(name: str) -> None:
    (subject,) = (Subject(case, True) for case in CASES if case.name == name)
    a = subject.matrices
    a[1, 2, 0] = 0
    a[1, 2, :, 0] = 0
    components = subject.operation.exact(a)
    ok = subject.operation.certificate(a, components, 0.0, Tolerance()).ok
    assert not ok[1, 2] and ok.sum() == ok.numel() - 1
    assert bool(torch.isnan(components[0][1, 2]).all())


def test_the_identity_is_no_exponential() -> None:
    operation, a = nm.MatrixExponential(), family("square", True)(torch.linspace(-1, 1, 9)[:, None])
    eye = torch.eye(4, dtype=a.dtype).expand_as(a)
    # Nor any other polynomial of A, although all of them commute with it.
    for wrong in (eye, torch.linalg.matrix_exp(1.1 * a), eye + a + a @ a / 2):
        assert not operation.certificate(a, (wrong,), 0.0, Tolerance()).ok.any()


def test_right_hand_sides() -> None:
    a = family("square", False)(torch.linspace(-1, 1, 9)[:, None])
    b = normal((4, 2), torch.complex128, 0)
    operation = nm.LinearSolve(b)
    (x,) = operation.exact(a)
    torch.testing.assert_close(a.to(b.dtype) @ x, b.expand(9, 4, 2))
    assert operation.residual(a, (x,)).max() < 1e-14
    assert_close(operation.correct(a, (x,)), (x,))
    again = make_operation(json.loads(json.dumps(operation.settings())))
    assert_close(again.exact(a), (x,), 0.0)
    single = nm.LinearSolve(b).exact(a.float())[0]
    assert single.dtype == torch.complex64 and relative_error(single, x).max() < 1e-5
    # One right-hand side may come as a vector; a small one counts as much as a large one.
    (column,) = nm.LinearSolve([1.0, 0.0, -1.0, 2.0]).exact(a)
    assert column.shape == (9, 4, 1)
    uneven = nm.LinearSolve(b * torch.tensor([1.0, 1e-6]))
    (x,) = uneven.exact(a)
    wrong = torch.cat([x[..., :1], 2 * x[..., 1:]], dim=-1)
    assert not uneven.certificate(a, (wrong,), 0.0, Tolerance()).ok.any()
    for refused, sentence in (
        ((torch.zeros(4),), "zero or not finite"),
        (([1.0, math.nan],), "zero or not finite"),
        ((torch.ones(2, 2, 2),), r"Right-hand sides are \[n, k\], not \[2, 2, 2\]."),
        (([1.0, 2.0], [[1.0, 2.0]]), "differ in shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            nm.LinearSolve(*refused)
    with pytest.raises(ValueError, match="of 3 rows do not suit matrices of 4"):
        nm.LinearSolve([1.0, 2.0, 3.0]).exact(a)


def test_all_triplets_leave_none_out() -> None:
    a = family("wide", True)(torch.linspace(-1, 1, 9)[:, None])
    operation = nm.SVD(3)
    assert operation.certificate(a, operation.exact(a), 0.0, Tolerance()).ok.all()
