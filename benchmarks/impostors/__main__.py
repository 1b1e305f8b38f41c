"""Whether a certificate can be fooled.

``python -m benchmarks.impostors --num 1000000`` offers so many wrong results to the certificate of
every operation, random ones and ones that were built to pass, in single precision, and measures
what was accepted in double precision by other means: nothing may be worse than what the
certificate states. It counts exact results with small errors that are refused, too.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.command import say
from benchmarks.impostors.disguises import disguises, normal, rms
from benchmarks.impostors.subjects import TOLERANCE, Subject, subjects
from neumatc_mimo.bench.sheet import Row, Sheet, origin, origin_line
from neumatc_mimo.operations import Components

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/impostors"

_BATCH = 500
# Rounding, relative to what is stated: certificates see single precision.
_SLACK = 1e-2
# Errors of what is to be accepted, over the size of each component: -80 dB.
_HONEST = 1e-4


@dataclass
class Tally:
    """Counts of one operation.

    :param offered: impostors
    :param accepted: of these
    :param largest: error of an accepted one, over what the certificate states
    :param worse: accepted ones above it, by name
    :param honest: exact results, and with small errors, that are within half of what is stated
    :param refused: of these
    """

    offered: int = 0
    accepted: int = 0
    largest: float = 0.0
    worse: dict[str, int] = field(default_factory=dict)
    honest: int = 0
    refused: int = 0

    def row(self, title: str) -> Row:
        return {
            "certificate of": title,
            "impostors": self.offered,
            "accepted, within what is stated": self.accepted - sum(self.worse.values()),
            "accepted, worse": sum(self.worse.values()),
            "largest error accepted, over the stated": self.largest,
            "honest": self.honest,
            "of these refused": self.refused,
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.impostors", description=__doc__)
    parser.add_argument("--num", type=int, default=20_000, help="impostors for each certificate")
    parser.add_argument("--only", nargs="+", default=[], help="names of operations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder of the results")
    arguments = parser.parse_args()
    source = origin("benchmarks/impostors")
    sheet = Sheet(
        "impostors",
        "Impostors: wrong results that certificates are offered",
        f"{TOLERANCE.quality_db:g} dB, range error {TOLERANCE.range_error:g}; single precision, "
        "what was accepted measured in double precision. Honest are exact results, as they are and "
        "with errors of -80 dB, that are within half of what is stated.",
    )
    started = time.perf_counter()
    for subject in subjects():
        if arguments.only and subject.operation.name not in arguments.only:
            continue
        tally = tried(subject, arguments.num, arguments.seed)
        sheet.rows.append(tally.row(subject.title))
        say(f"{subject.title}: {time.perf_counter() - started:.0f} s {tally}")
    sheet.seconds = time.perf_counter() - started
    folder = arguments.output or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    sheet.write(folder, source)
    print(sheet.markdown())
    print(origin_line(source))
    if any(row["accepted, worse"] for row in sheet.rows):
        raise SystemExit("Certificates were fooled.")


@torch.no_grad()
def tried(subject: Subject, num: int, seed: int, batch: int = _BATCH) -> Tally:
    """The certificate of a subject, offered at least ``num`` impostors."""
    generator = torch.Generator().manual_seed(seed)
    tally = Tally()
    while tally.offered < num:
        _offer(subject, batch, generator, tally)
    return tally


def _offer(subject: Subject, num: int, generator: torch.Generator, tally: Tally) -> None:
    """All impostors of ``num`` matrices, and what is honest."""
    operation = subject.operation
    a, no = subject.matrices(num, generator), subject.noise(num, generator)
    exact = operation.exact(a, no)
    for name, components in itertools.chain(
        disguises(operation, a, no, exact, generator), subject.own(a, no, exact, generator)
    ):
        ok = operation.certificate(a, components, no, TOLERANCE).ok
        tally.offered += num
        tally.accepted += int(ok.sum())
        if not bool(ok.any()):
            continue
        error = _error(subject, a[ok], _at(components, ok), _at(exact, ok), _noise(no, ok))
        tally.largest = max(tally.largest, float(error.nan_to_num(torch.inf).max()))
        worse = int((~(error <= 1 + _SLACK)).sum())
        if worse:
            tally.worse[name] = tally.worse.get(name, 0) + worse
    near = tuple(c + _HONEST * rms(c) * normal(c, generator) for c in exact)
    for honest in (exact, near):
        good = _error(subject, a, honest, exact, no) < 0.5
        refused = ~operation.certificate(a, honest, no, TOLERANCE).ok
        tally.honest += int(good.sum())
        tally.refused += int((good & refused).sum())


def _error(
    subject: Subject, a: Tensor, found: Components, exact: Components, no: Tensor | float
) -> Tensor:
    """The largest of a subject's errors [num], in double precision."""
    found, exact = (tuple(map(_double, c)) for c in (found, exact))
    no = no.double() if isinstance(no, Tensor) else no
    return torch.stack(list(subject.errors(_double(a), found, exact, no))).amax(0)


def _at(components: Components, where: Tensor) -> Components:
    return tuple(c[where] for c in components)


def _noise(no: Tensor | float, where: Tensor) -> Tensor | float:
    return no[where] if isinstance(no, Tensor) else no


def _double(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float64))


if __name__ == "__main__":
    main()
