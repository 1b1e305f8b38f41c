"""Registries: what is found by its name, in this package or in another one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neumatc_mimo import operations, solvers
from neumatc_mimo.foundation.registry import Registry
from neumatc_mimo.mapping.axes import AXES, Axis
from neumatc_mimo.mapping.basis import BASES, Basis
from neumatc_mimo.operations import OPERATIONS, Operation
from neumatc_mimo.solvers import SOLVERS, Solver

Installer = Callable[..., None]


class Pitch:
    """Something to register."""

    name = "pitch"

    def __init__(self, hertz: float = 440.0) -> None:
        self.hertz = hertz


@pytest.fixture
def pitches() -> Registry[type[Pitch]]:
    return Registry("pitch", "neumatc_mimo.pitches", Pitch)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """A function that installs a package of one module with entry points, group → lines."""
    packages: list[str] = []

    def installed(package: str, text: str, **groups: str) -> None:
        packages.append(package)
        folder = tmp_path / package
        (folder / f"{package}-1.0.dist-info").mkdir(parents=True)
        (folder / f"{package}.py").write_text(text)
        (folder / f"{package}-1.0.dist-info/METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        lines = [f"[neumatc_mimo.{group}]\n{line}\n" for group, line in groups.items()]
        (folder / f"{package}-1.0.dist-info/entry_points.txt").write_text("".join(lines))
        monkeypatch.syspath_prepend(str(folder))

    yield installed
    for package in packages:
        sys.modules.pop(package, None)


def test_kinds_are_registered_above_their_class_and_by_a_call(
    pitches: Registry[type[Pitch]],
) -> None:
    @pitches.register
    class Low(Pitch):
        name = "low"

    @pitches.register(name="unnamed")
    class Unnamed(Pitch):
        name = "unnamed"

    assert pitches.register(Pitch) is Pitch
    assert dict(pitches) == {"low": Low, "unnamed": Unnamed, "pitch": Pitch}
    assert pitches.find("low") is Low and "high" not in pitches
    made = pitches.make({"name": "pitch", "hertz": 220.0})
    assert type(made) is Pitch and made.hertz == 220.0


def test_the_same_again_is_no_other_one(pitches: Registry[type[Pitch]]) -> None:
    def define() -> type[Pitch]:
        class Again(Pitch):
            name = "again"

        return Again

    first, second = define(), define()
    pitches.register(first)
    pitches.register(first)
    # As a cell of a notebook that runs twice.
    pitches.register(second)
    assert pitches.find("again") is second


def test_what_cannot_be_registered_is_refused_in_a_sentence(
    pitches: Registry[type[Pitch]],
) -> None:
    pitches.register(Pitch)

    class Other(Pitch):
        pass

    class Slash(Pitch):
        name = "../pitch"

    with pytest.raises(ValueError, match=r'Other is called "pitch", as .*Pitch is already; give'):
        pitches.register(Other)
    with pytest.raises(ValueError, match=r"Slash is registered as '../pitch', a name of letters"):
        pitches.register(Slash)
    with pytest.raises(ValueError, match='The pitch "pitch" cannot be registered as "other"'):
        pitches.register(Pitch, name="other")
    with pytest.raises(TypeError, match="is no pitch, a Pitch is needed"):
        pitches.register(str)
    assert list(pitches) == ["pitch"]


def test_unknown_names_list_the_known_ones(
    pitches: Registry[type[Pitch]], install: Installer
) -> None:
    pitches.register(Pitch)
    install("choir", "", pitches="alto = choir:Alto")
    with pytest.raises(
        ValueError,
        match='There is no pitch "bass", known are pitch, alto; another package names its own as '
        "an entry point of neumatc_mimo.pitches",
    ):
        pitches.find("bass")
    with pytest.raises(ValueError, match='There is no pitch "None"'):
        pitches.make({})
    with pytest.raises(KeyError):
        pitches["bass"]


def test_other_packages_are_imported_when_they_are_asked_for(
    pitches: Registry[type[Pitch]], install: Installer
) -> None:
    text = f"from {__name__} import Pitch\nclass Alto(Pitch):\n    name = 'alto'\n"
    install("choir", text, pitches="alto = choir:Alto")
    assert not len(pitches)
    assert pitches.find("alto")().name == "alto"
    assert list(pitches) == ["alto"]


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("", "alto = choir:Alto", 'The pitch "alto" cannot be imported from choir:Alto: '),
        ("import nowhere", "alto = choir:Alto", "No module named 'nowhere'"),
        ("Alto = str", "alto = choir:Alto", "is no pitch"),
    ],
)
def test_other_packages_that_will_not_do(
    pitches: Registry[type[Pitch]], install: Installer, text: str, line: str, sentence: str
) -> None:
    install("choir", text, pitches=line)
    with pytest.raises((ValueError, TypeError), match=sentence):
        pitches.find("alto")


def test_two_packages_with_one_name(pitches: Registry[type[Pitch]], install: Installer) -> None:
    for package in ("choir", "quire"):
        install(package, "", pitches=f"alto = {package}:Alto")
    with pytest.raises(ValueError, match='Several packages name the pitch "alto": .* remove all'):
        pitches.find("alto")


@pytest.mark.parametrize(
    ("registry", "base", "group"),
    [
        (OPERATIONS, Operation, "neumatc_mimo.operations"),
        (SOLVERS, Solver, "neumatc_mimo.solvers"),
        (AXES, Axis, ""),
        (BASES, Basis, ""),
    ],
)
def test_registries_of_the_package(registry: Registry[Any], base: type, group: str) -> None:
    for name, kind in registry.items():
        assert issubclass(kind, base) and registry.find(name) is kind
    with pytest.raises(ValueError, match=f'"nothing", known are .*{group}'):
        registry.find("nothing")


def test_a_solver_of_another_package(install: Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOLVERS, "_kinds", dict(SOLVERS))
    text = "import neumatc_mimo as nm\nclass Mine(nm.Exact):\n    pass\n"
    install("choir_solver", text, solvers="mine = choir_solver:Mine")
    assert isinstance(SOLVERS.find("mine")(), solvers.Exact)
    assert solvers.register == SOLVERS.register
    assert operations.register == OPERATIONS.register
