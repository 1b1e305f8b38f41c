"""Operations, impostors of their own, and what each certificate states of what it accepts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

import neumatc_mimo as nm
from benchmarks.impostors.disguises import Named, picked, sizes, spread
from benchmarks.impostors.matrices import channels, definite, hermitian, squares
from neumatc_mimo.operations import Components, Operation, Tolerance, make_operation

TOLERANCE = Tolerance()
# 40 dB as a relative error, like the range error.
_ERROR = 10 ** (-TOLERANCE.quality_db / 20)
# What certificates forgive, relative to the norm of a matrix.
_ROUNDING = 16 * torch.finfo(torch.float32).eps
_ROWS, _COLS = 8, 32


class Subject(ABC):
    """An operation with its matrices.

    :param operation: whose certificate is tried
    """

    noisy = False

    def __init__(self, operation: Operation) -> None:
        self.operation = operation

    @property
    def title(self) -> str:
        kept = ("num_streams", "num_pairs", "antennas_per_user")
        settings = self.operation.settings()
        own = [f"{key} {settings[key]}" for key in kept if settings.get(key) is not None]
        return ", ".join([self.operation.name, *own])

    def matrices(self, num: int, generator: torch.Generator) -> Tensor:
        return channels(num, _ROWS, _COLS, generator)

    def noise(self, num: int, generator: torch.Generator) -> Tensor | float:
        """Powers [num] from -40 to 10 dB, where there are any."""
        return 10 ** (5 * torch.rand(num, generator=generator) - 4) if self.noisy else 0.0

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        """Impostors that look like this operation's results only."""
        del a, no, exact, generator
        yield from ()

    @abstractmethod
    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        """Errors [num] over the largest that the certificate states, all in double precision and
        computed in another way than the certificate does.
        """


class PseudoInverse(Subject):
    noisy = True

    def __init__(self) -> None:
        super().__init__(nm.PseudoInverse())

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        w, x = exact
        zero = torch.zeros_like(no) if isinstance(no, Tensor) else 0.0
        yield "zero forcing", self.operation.exact(a, zero)
        yield "MMSE itself", (nm.PseudoInverse().solve(a, no).dense, x)
        other = w.roll(1, 0)
        outside = other - w @ (a @ other)
        size = spread(sizes(len(a), generator), w) * _norm(w) / _norm(outside)
        yield "beside the range", (w + size * outside, x)

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        w, x = found
        eye = _eye(x)
        sigma = torch.as_tensor(no).sqrt()[..., None, None] * eye
        wide = torch.cat([a, sigma.expand_as(x)], dim=-1)
        tall = torch.cat([w @ (eye - sigma**2 @ x), sigma @ x], dim=-2)
        power = tall.abs().square().sum(-2)
        received = (wide @ tall).abs().square() / power[:, None]
        own = received.diagonal(dim1=-2, dim2=-1)
        yield (((received.sum(-1) - own) / own).sqrt() / _ERROR).amax(-1)
        beside = tall - torch.linalg.pinv(wide) @ (wide @ tall)
        # The certificate bounds the filter's part and the rest of a column, one by one.
        yield (_norms(beside) / power.sqrt() / (2**0.5 * TOLERANCE.range_error)).amax(-1)
        # What receivers divide by, and the noise behind them.
        gains = (1 - (wide @ tall).diagonal(dim1=-2, dim2=-1)).abs()
        yield gains.amax(-1) / (_ERROR * 1.01)
        inverse = x.diagonal(dim1=-2, dim2=-1).real
        yield ((inverse - power).abs() / power).amax(-1) / TOLERANCE.range_error
        passed = (a @ tall[:, : a.shape[-1]]).diagonal(dim1=-2, dim2=-1)
        lost = 1 - torch.as_tensor(no)[:, None] * inverse
        yield ((lost - passed).abs() / passed.abs()).amax(-1) / TOLERANCE.range_error


class Inverse(Subject):
    def __init__(self) -> None:
        super().__init__(nm.Inverse())

    def matrices(self, num: int, generator: torch.Generator) -> Tensor:
        return squares(num, 6, generator)

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        yield "of the transpose", (exact[0].mT,)
        yield "adjoint", (a.mH / torch.linalg.matrix_norm(a, 2)[:, None, None].square(),)

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        true = torch.linalg.inv(a)
        error = _two(found[0] - true) / _two(true)
        yield error / (a.shape[-1] ** 0.5 * _ERROR)
        yield _norm(a @ found[0] - _eye(a))[:, 0, 0] / a.shape[-1] ** 0.5 / _ERROR


class SVD(Subject):
    def __init__(self, num_streams: int) -> None:
        super().__init__(nm.SVD(num_streams))
        self.num_streams = num_streams

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        every = nm.SVD(_ROWS).exact(a)
        for name, order in _choices(len(a), _ROWS, self.num_streams, generator):
            yield name, tuple(picked(c, order) for c in every)
        u, s, v = exact
        last = torch.arange(self.num_streams) == self.num_streams - 1
        yield "a negative value", (torch.where(last, -u, u), torch.where(last, -s, s), v)
        # The weakest taken turned towards the strongest left out, with the value that it has.
        angle = spread(torch.pi / 2 * sizes(len(a), generator), u)
        turned = angle.cos() * every[0] + angle.sin() * every[0].roll(-1, -1)
        u = torch.where(last, turned[..., : self.num_streams], u)
        image = a.mH @ u
        yield "turned to the next", (u, _norms(image), image / _norms(image)[:, None])

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        u, s, v = found
        gain = _norms(a.mH @ u)
        outside = _beside(a, u)
        rounding = _ROUNDING * _norm(a)[:, 0, 0]
        yield ((outside - rounding) / gain.amin(-1) - 1) / TOLERANCE.range_error
        yield (((s - gain).abs() - rounding[:, None]) / gain).amax(-1) / TOLERANCE.range_error
        strongest = s.amax(-1)
        yield _norm(a @ v - u * s[:, None])[:, 0, 0] / strongest / _ERROR
        yield _norm(v.mH @ v - _eye(v))[:, 0, 0] / _ERROR
        # So the weakest is no weaker than the strongest that it displaces.
        true = torch.linalg.svdvals(a)[:, : self.num_streams]
        worst = (true / s.sort(-1, descending=True).values - 1).amax(-1)
        yield worst / (2 * TOLERANCE.range_error + strongest / s.amin(-1) * _ERROR)


class HermitianEigen(Subject):
    def __init__(self, num_pairs: int | None) -> None:
        super().__init__(nm.HermitianEigen(num_pairs))
        self.num_pairs = num_pairs or 6

    def matrices(self, num: int, generator: torch.Generator) -> Tensor:
        return hermitian(num, 6, generator)

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        every = nm.HermitianEigen().exact(a)
        for name, order in _choices(len(a), 6, self.num_pairs, generator):
            yield name, tuple(picked(c, order) for c in every)

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        values, v = found
        whole = _norm(a)[:, 0, 0]
        yield _norm(a @ v - v * values[:, None])[:, 0, 0] / whole / _ERROR
        yield _norm(v.mH @ v - _eye(v))[:, 0, 0] / _ERROR
        if self.num_pairs < a.shape[-1]:
            weakest = _norms(a @ v).amin(-1)
            outside = _beside(a, v) - _ROUNDING * whole
            yield (outside / weakest - 1) / TOLERANCE.range_error


class Eigen(Subject):
    def __init__(self) -> None:
        super().__init__(nm.Eigen())

    def matrices(self, num: int, generator: torch.Generator) -> Tensor:
        return squares(num, 5, generator)

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        for name, order in _choices(len(a), 5, 5, generator, again=True):
            yield name, tuple(picked(c, order) for c in exact)

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        values, v = found
        made = torch.linalg.solve(v.mT, (v * values[:, None]).mT).mT
        yield _norm(made - a)[:, 0, 0] / _norm(a)[:, 0, 0] / TOLERANCE.range_error
        yield (_norms(v).square() - 1).abs().amax(-1) / _ERROR


class QR(Subject):
    def __init__(self) -> None:
        super().__init__(nm.QR())

    def matrices(self, num: int, generator: torch.Generator) -> Tensor:
        return channels(num, 8, 5, generator)

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        q, r = exact
        for name, turn in _turns(len(a), 5, generator):
            yield name, (q @ turn, turn.mH @ r)

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        q, r = found
        whole = _norm(a)[:, 0, 0]
        yield _norm(a - q @ r)[:, 0, 0] / whole / _ERROR
        yield _norm(q.mH @ q - _eye(q))[:, 0, 0] / _ERROR
        yield _norm(r.tril(-1))[:, 0, 0] / whole / _ERROR
        yield _phases(r)


class Cholesky(Subject):
    def __init__(self) -> None:
        super().__init__(nm.Cholesky())

    def matrices(self, num: int, generator: torch.Generator) -> Tensor:
        return definite(num, 5, generator)

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        for name, turn in _turns(len(a), 5, generator):
            yield name, (exact[0] @ turn,)

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        (lower,) = found
        yield _norm(a - lower @ lower.mH)[:, 0, 0] / _norm(a)[:, 0, 0] / _ERROR
        yield _norm(lower.triu(1))[:, 0, 0] / _norm(exact[0])[:, 0, 0] / _ERROR
        yield _phases(lower)


class MatrixExponential(Subject):
    def __init__(self) -> None:
        super().__init__(nm.MatrixExponential())

    def matrices(self, num: int, generator: torch.Generator) -> Tensor:
        return squares(num, 5, generator)

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        power = total = _eye(a).expand_as(a)
        for degree in range(1, 16):
            power = power @ a / degree
            total = total + power
            yield f"its Taylor polynomial of degree {degree}", (total,)

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        # By squaring a Taylor polynomial.
        small = a / 2**12
        made = _eye(a) + small + small @ small / 2 + small @ small @ small / 6
        for _ in range(12):
            made = made @ made
        yield _norm(found[0] - made)[:, 0, 0] / _norm(made)[:, 0, 0] / _ERROR


class LinearSolve(Subject):
    def __init__(self) -> None:
        super().__init__(nm.LinearSolve([[1.0, 2.0], [0.0, 1.0], [-1.0, 1.0], [2.0, 0.0]]))

    def matrices(self, num: int, generator: torch.Generator) -> Tensor:
        return squares(num, 4, generator)

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        yield "of the adjoint", self.operation.exact(a.mH)
        yield "of the transpose", self.operation.exact(a.mT)

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        assert isinstance(self.operation, nm.LinearSolve)
        b = self.operation.b.to(a.dtype)
        error = _norms(a @ found[0] - b) / torch.linalg.vector_norm(b, dim=0)
        yield error.square().mean(-1).sqrt() / _ERROR


class SumPower(Subject):
    """Precoders of a sum power: what else would do, some users switched off."""

    noisy = True

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        assert isinstance(no, Tensor)
        for name, operation in {
            "zero forcing": nm.SLNR(),
            "WMMSE": nm.WMMSE(),
            "max-min": nm.MaxMin(),
        }.items():
            if type(operation) is not type(self.operation):
                power = 1e-6 * torch.ones_like(no) if name == "zero forcing" else no
                yield name, (_powered(a, operation.exact(a, power)[0]),)
        regularised, _ = nm.SLNR().exact(a, no)
        yield "regularised zero forcing", (_powered(a, regularised),)
        yield "matched filters", (_powered(a, a.mH.resolve_conj()),)
        image = (a @ regularised).diagonal(dim1=-2, dim2=-1).abs()
        yield "equal amplitudes", (_powered(a, regularised / image[:, None]),)
        for turn, start in enumerate((regularised, exact[0], regularised, exact[0], regularised)):
            kept = torch.rand(len(a), 1, generator=generator)
            on = torch.rand(len(a), a.shape[-2], generator=generator) < kept + 0.1
            on[:, 0] |= ~on.any(-1)
            some = _powered(a, start * on[:, None])
            yield f"users off, {turn}", (some,)
            yield f"users off, converged, {turn}", self._converged(a, some, no)
        for iterations in (1, 3, 7, 15, 30):
            settings = self.operation.settings() | {"num_iterations": iterations}
            few = make_operation(settings).exact(a, no)
            yield f"after {iterations} iterations", few
        for turn in range(3):
            gains = 10 ** (2 * torch.rand(len(a), 1, a.shape[-2], generator=generator) - 2)
            other = _powered(a, regularised * gains)
            yield f"from other powers, {turn}", self._converged(a, other, no)

    def _converged(self, a: Tensor, v: Tensor, no: Tensor) -> Components:
        components: Components = (v,)
        for _ in range(25):
            components = self.operation.correct(a, components, no)
        return components

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        assert isinstance(no, Tensor)
        ours, true = (_sinr(a @ c[0], no) for c in (found, exact))
        yield (1 - self.rate(ours) / self.rate(true)) / TOLERANCE.range_error
        power = found[0].abs().square().sum((-2, -1)) / a.shape[-2]
        yield (power - 1).abs() / _ERROR

    @abstractmethod
    def rate(self, ratio: Tensor) -> Tensor:
        """What is maximised, [num], for the SINRs [num, m]."""


class WMMSE(SumPower):
    def __init__(self) -> None:
        super().__init__(nm.WMMSE())

    def rate(self, ratio: Tensor) -> Tensor:
        return ratio.log1p().sum(-1)


class MaxMin(SumPower):
    def __init__(self) -> None:
        super().__init__(nm.MaxMin())

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        assert isinstance(no, Tensor)
        yield from super().errors(a, found, exact, no)
        ratio = _sinr(a @ found[0], no)
        yield torch.linalg.vector_norm(ratio / ratio.mean(-1, keepdim=True) - 1, dim=-1) / _ERROR

    def rate(self, ratio: Tensor) -> Tensor:
        return ratio.log1p().amin(-1)


class SLNR(Subject):
    noisy = True

    def __init__(self, operation: nm.SLNR) -> None:
        super().__init__(operation)
        self.num = operation.antennas_per_user

    def own(
        self, a: Tensor, no: Tensor | float, exact: Components, generator: torch.Generator
    ) -> Iterator[Named]:
        v, s = exact
        filters, _ = nm.SLNR().exact(a, 1e-6 * torch.ones(len(a)))
        yield "zero forcing", (filters, s)
        yield "matched filters", (a.mH / _norms(a.mH)[:, None], s)
        blind = nm.BlockDiagonalization(self.num).exact(a)
        yield "block diagonalisation", blind
        yield "its columns", (blind[0], s)
        yield "SLNR", nm.SLNR(0.1, self.num).exact(a, 0.1 * torch.ones(len(a)))
        yield "users permuted", (v.roll(self.num, -1), s.roll(self.num, -1))
        yield "streams swapped", (v.roll(1, -1), s.roll(1, -1))
        other = v.roll(1, 0)
        silent = other - torch.linalg.pinv(a) @ (a @ other)
        size = spread(sizes(len(a), generator), v)
        v = v + size * silent / _norms(silent)[:, None]
        yield "beside the range", (v / _norms(v)[:, None], s)
        if self.num > 1:
            for name, turn in _turns(len(a), self.num, generator):
                whole = torch.block_diag(*[torch.ones(self.num, self.num)] * (_ROWS // self.num))
                turn = turn.repeat(1, _ROWS // self.num, _ROWS // self.num) * whole
                yield f"within users: {name}", (exact[0] @ turn, s)

    def errors(
        self, a: Tensor, found: Components, exact: Components, no: Tensor | float
    ) -> Iterator[Tensor]:
        v, s = found
        yield (_norms(v).square() - 1).abs().amax(-1) / _ERROR
        yield from self._ratios(a @ v, exact, v, no)
        error = (s - exact[1]).unflatten(-1, (-1, self.num))
        largest = exact[1].unflatten(-1, (-1, self.num)).amax(-1, keepdim=True)
        # Of s itself, and what v of a relative error moves.
        yield (error / largest).abs().amax((-2, -1)) / (3 * _ERROR)

    def _ratios(
        self, image: Tensor, exact: Components, v: Tensor, no: Tensor | float
    ) -> Iterator[Tensor]:
        """Sum of log(1 + SLNR) of each user's streams."""
        heard = image.abs().square().unflatten(-2, (-1, self.num)).sum(-2)
        user = torch.arange(image.shape[-1]) // self.num
        own = heard.gather(-2, user.expand(len(heard), 1, -1))[:, 0]
        noise = torch.as_tensor(no)[:, None]
        ours = (own / (heard.sum(-2) - own + noise * _norms(v).square())).log1p()
        true = (exact[1].square() / noise).log1p()
        ours, true = (r.unflatten(-1, (-1, self.num)).sum(-1) for r in (ours, true))
        yield (1 - ours / true).amax(-1) / TOLERANCE.range_error


class BlockDiagonalization(SLNR):
    noisy = False

    def __init__(self, antennas_per_user: int) -> None:
        super().__init__(nm.BlockDiagonalization(antennas_per_user))

    def _ratios(
        self, image: Tensor, exact: Components, v: Tensor, no: Tensor | float
    ) -> Iterator[Tensor]:
        """What a user hears of the others' streams, relative to its own."""
        del exact, v, no
        power = image.abs().square()
        same = torch.block_diag(*[torch.ones(self.num, self.num)] * (_ROWS // self.num))
        own, all_of = (
            p.sum(-1).unflatten(-1, (-1, self.num)).sum(-1) for p in (power * same, power)
        )
        yield ((all_of - own) / own).sqrt().amax(-1) / _ERROR


def subjects() -> list[Subject]:
    """All operations, some in two sizes."""
    return [
        PseudoInverse(),
        SVD(2),
        SVD(4),
        SVD(_ROWS),
        WMMSE(),
        MaxMin(),
        SLNR(nm.SLNR()),
        SLNR(nm.SLNR(antennas_per_user=2)),
        BlockDiagonalization(1),
        BlockDiagonalization(2),
        Inverse(),
        LinearSolve(),
        HermitianEigen(2),
        HermitianEigen(None),
        Eigen(),
        QR(),
        Cholesky(),
        MatrixExponential(),
    ]


def _choices(
    num: int, total: int, taken: int, generator: torch.Generator, again: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Which of all columns are taken, [num, taken]: any, and the first ones but for the last."""
    for turn in range(6):
        order = torch.rand(num, total, generator=generator).argsort(-1)[:, :taken]
        yield f"any of all, {turn}", order.sort(-1).values if turn % 2 else order
    for turn in range(1, min(total - taken, 3) + 1):
        order = torch.arange(taken).expand(num, -1).clone()
        order[:, -1] += turn
        yield f"the first and one {turn} further", order
    if again:
        for turn in range(3):
            yield f"some twice, {turn}", torch.randint(total, (num, taken), generator=generator)


def _turns(num: int, n: int, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Unitary matrices [num, n, n] near the identity and far from it."""
    angle = sizes(num, generator) * torch.pi
    eye = torch.eye(n, dtype=torch.complex64).repeat(num, 1, 1)
    phase, plane = eye.clone(), eye.clone()
    phase[:, -1, -1] = torch.polar(torch.ones(num), angle)
    yield "a column turned", phase
    plane[:, 0, 0] = plane[:, 1, 1] = angle.cos().to(eye)
    plane[:, 0, 1], plane[:, 1, 0] = angle.sin().to(eye), -angle.sin().to(eye)
    yield "two columns rotated", plane
    normal = torch.randn(eye.shape, dtype=eye.dtype, generator=generator)
    yield "all columns mixed", torch.linalg.qr(normal).Q


def _powered(a: Tensor, v: Tensor) -> Tensor:
    """V with a_k v_k real and positive, of the power m."""
    own = (a @ v).diagonal(dim1=-2, dim2=-1)
    v = v * own.sgn().conj()[:, None]
    return v * (a.shape[-2] ** 0.5 / _norm(v))


def _sinr(image: Tensor, no: Tensor) -> Tensor:
    power = image.abs().square()
    own = power.diagonal(dim1=-2, dim2=-1)
    return own / (power.sum(-1) - own + no[:, None])


def _beside(a: Tensor, u: Tensor) -> Tensor:
    """Largest singular value of A^H on the vectors orthogonal to U, [num]."""
    basis = torch.linalg.qr(u, mode="complete").Q[..., u.shape[-1] :]
    if not basis.shape[-1]:
        return torch.zeros(len(a), dtype=torch.float64)
    return torch.linalg.svdvals(a.mH @ basis)[:, 0]


def _phases(r: Tensor) -> Tensor:
    """Largest distance [num] of a phase on the diagonal from one."""
    return (r.diagonal(dim1=-2, dim2=-1).sgn() - 1).abs().amax(-1) / TOLERANCE.range_error


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(x, keepdim=True)


def _norms(x: Tensor) -> Tensor:
    """Norms [num, l] of columns."""
    return torch.linalg.vector_norm(x, dim=-2)


def _two(x: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(x, 2)


def _eye(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype)
