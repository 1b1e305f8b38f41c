"""Where kernels cannot be built the package is one of PyTorch alone, and says why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import build_kernels
from neumatc_mimo.kernels.lanes import library

ROOT = Path(build_kernels.__file__).parent


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (build_kernels.VARIABLE, library.VARIABLE, "CXX"):
        monkeypatch.delenv(name, raising=False)
    library.forget()
    yield
    library.forget()


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Leaves nothing on the path but programs of these names, each a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(*names: str, script: str = "exit 0") -> None:
        for name in names:
            file = folder / name
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o755)

    return install


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in the place of the checkout, with an outdated library."""
    monkeypatch.setattr(build_kernels, "ROOT", tmp_path)
    file = tmp_path / build_kernels.LIBRARY
    file.parent.mkdir(parents=True)
    file.write_text("old")
    monkeypatch.setattr(library, "_FILE", file)
    return tmp_path


def test_without_a_compiler_there_is_none_and_the_reason_is_told(
    tools: Any, checkout: Path
) -> None:
    line = build_kernels.build_in_place()
    assert line.startswith("C++ kernels: none, there was no C++ compiler; ")
    assert "\n" not in line
    assert not (checkout / build_kernels.LIBRARY).exists()
    told = str(library.why_not())
    assert told.startswith("not built: there was no C++ compiler; with CMake and GCC 12 or Clang")


def test_without_cmake_likewise(tools: Any, checkout: Path) -> None:
    tools("g++", "make")
    assert "there was no CMake" in build_kernels.build_in_place()


def test_a_failure_is_told_in_one_line(
    tools: Any, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tools("g++", "make")
    tools("cmake", script="echo trying; echo 'cc1plus: error: bad value for -march'; exit 1")
    assert (
        "cc1plus: error: bad value for -march (cmake -S failed)" in build_kernels.build_in_place()
    )
    assert "trying" in capsys.readouterr().err
    tools("cmake", script="echo 'CMake Error at a:1 (project):'; echo; echo '  No C++.'; exit 1")
    assert "none, No C++. (cmake -S failed)" in build_kernels.build_in_place()


def test_the_library_takes_the_place_of_what_was_there(tools: Any, checkout: Path) -> None:
    (checkout / build_kernels.NOTE).write_text("there was no C++ compiler")
    tools("g++", "make")
    # cmake -S . -B FOLDER, then cmake --build FOLDER
    tools("cmake", script='[ "$1" = -S ] && echo new > "$4/_lanes.so"; exit 0')
    assert build_kernels.build_in_place().startswith("C++ kernels: built")
    folder = (checkout / build_kernels.LIBRARY).parent
    assert [file.name for file in folder.iterdir()] == ["_lanes.so"]
    assert (folder / "_lanes.so").read_text() == "new\n"


def test_required_kernels_are_an_error(
    tools: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(build_kernels.VARIABLE, "require")
    with pytest.raises(SystemExit, match="The C\\+\\+ kernels are not built: there was no C"):
        build_kernels.build_in_place()


def test_kernels_that_are_turned_off_need_nothing(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools("g++")
    monkeypatch.setenv(build_kernels.VARIABLE, "off")
    assert build_kernels.requirements() == []
    with pytest.raises(build_kernels.NotBuiltError, match="turned off by NEUMATC_KERNELS=off"):
        build_kernels.build(tmp_path / "_lanes.so")


def test_other_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build_kernels.VARIABLE, "yes")
    with pytest.raises(SystemExit, match="NEUMATC_KERNELS=yes means nothing"):
        build_kernels.choice()


def test_cmake_is_asked_for_where_a_compiler_is(
    tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build_kernels.requirements() == []
    tools("clang++")
    assert build_kernels.requirements() == ["cmake>=3.18", "ninja"]
    tools("cmake", "make")
    assert build_kernels.requirements() == []
    monkeypatch.setenv("CXX", "/opt/compiler")
    assert build_kernels.requirements() == []


def test_a_wheel_without_kernels_holds_the_reason(tools: Any, tmp_path: Path) -> None:
    hook = _hook(tmp_path)
    data: dict[str, Any] = {"force_include": {}, "pure_python": True}
    hook.initialize("standard", data)
    ((file, place),) = data["force_include"].items()
    assert place == build_kernels.NOTE.as_posix() and data["pure_python"] and "tag" not in data
    assert Path(file).read_text() == "there was no C++ compiler\n"
    hook.finalize("standard", data, "")
    assert not Path(file).exists()


def test_a_wheel_with_kernels_is_of_this_platform_and_every_python(
    tools: Any, tmp_path: Path
) -> None:
    tools("g++", "make")
    tools("cmake", script='[ "$1" = -S ] && echo new > "$4/_lanes.so"; exit 0')
    hook = _hook(tmp_path)
    data: dict[str, Any] = {"force_include": {}, "pure_python": True}
    hook.initialize("standard", data)
    assert list(data["force_include"].values()) == [build_kernels.LIBRARY.as_posix()]
    assert data["tag"].startswith("py3-none-") and not data["pure_python"]
    assert not data["tag"].endswith("-any")
    hook.finalize("standard", data, "")


def test_an_editable_installation_keeps_to_the_checkout(
    tools: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: dict[str, Any] = {"force_include": {}}
    monkeypatch.setenv(build_kernels.VARIABLE, "off")
    _hook(checkout).initialize("editable", data)
    assert (checkout / build_kernels.LIBRARY).read_text() == "old"
    monkeypatch.delenv(build_kernels.VARIABLE)
    _hook(checkout).initialize("editable", data)
    assert not (checkout / build_kernels.LIBRARY).exists()
    assert data == {"force_include": {}}


@pytest.mark.skipif(shutil.which("make") is None, reason="There is no make.")
def test_make_builds_again_what_is_older_than_its_sources() -> None:
    """Asked without doing it: what ``make test`` would run, were a source newer than all else."""
    # This may itself run under make, whose settings are not this one's.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    for source in ("CMakeLists.txt", *_native()):
        command = ["make", "-n", "-W", source, "test", f"PYTHON={sys.executable}"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        build, test = done.stdout.splitlines()
        assert build.endswith("build_kernels.py") and "pytest" in test


def _native() -> list[str]:
    return [str(f.relative_to(ROOT)) for f in (ROOT / build_kernels.FOLDER / "native").iterdir()]


def _hook(folder: Path) -> Any:
    pytest.importorskip("hatchling")
    from hatchling.bridge.app import Application

    import hatch_build

    return hatch_build.Kernels(str(folder), {}, None, None, "", "wheel", Application())
