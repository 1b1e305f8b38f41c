"""Files that are written whole or not at all, on this machine and behind URLs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from neumatc_mimo.storage.files import (
    check_file,
    check_writable,
    child,
    is_folder,
    local_path,
    replaced,
    write_text,
)
from tests.storage.common import names_in


def _content(location: Any) -> bytes:
    filesystem, path = fsspec.core.url_to_fs(os.fspath(location))
    return bytes(filesystem.cat_file(path))


def test_a_file_is_replaced(location: str) -> None:
    file = child(location, "README.md")
    assert not is_folder(location)
    check_writable(location)
    assert write_text(write_text(file, "old"), "new") == file
    assert _content(file) == b"new" and is_folder(location)

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="cannot be written"):
        replaced(file, fail)
    assert _content(file) == b"new"
    assert names_in(location) == {"README.md"}


def test_nothing_is_left_beside_whatever_ends_the_writing(location: str) -> None:
    def stop(part: Path) -> None:
        part.write_text("half")
        raise KeyboardInterrupt

    check_writable(location)
    file = child(location, "README.md")
    write_text(file, "old")
    with pytest.raises(KeyboardInterrupt):
        replaced(file, stop)
    assert _content(file) == b"old"
    assert names_in(location) == {"README.md"}


def test_probes_touch_nothing_that_is_there(location: str) -> None:
    check_writable(location)
    file = child(location, ".writable")
    write_text(file, "mine")
    check_writable(location)
    check_file(child(location, "another"))
    check_file(file)
    assert _content(file) == b"mine" and names_in(location) == {".writable"}


def test_files_that_cannot_be_written_are_found_before_the_work(location: str) -> None:
    check_writable(location)
    write_text(child(location, "file"), "")
    with pytest.raises(OSError, match=r"model cannot be written \(Is a directory\)"):
        check_file(location)
    if local_path(location) is not None:
        with pytest.raises(OSError, match=r"deep/file cannot be written \(No such file"):
            check_file(child(location, "deep/file"))
        with pytest.raises(OSError, match=r"file/inner cannot be written \(Not a directory\)"):
            check_file(child(location, "file/inner"))


@pytest.mark.skipif(os.name != "posix", reason="files of other systems have no such permissions")
def test_permissions_are_those_of_the_umask(tmp_path: Path) -> None:
    for mask, expected in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            file = write_text(tmp_path / f"{mask}", "some")
        finally:
            os.umask(before)
        assert file.stat().st_mode & 0o777 == expected


def test_which_locations_are_of_this_machine(tmp_path: Path) -> None:
    assert local_path("models/munich") == Path("models/munich")
    assert local_path(tmp_path) == tmp_path
    assert local_path(f"file://{tmp_path}") == tmp_path
    assert local_path("memory://models/munich") is None
    assert child("memory://models/munich/", "a") == "memory://models/munich/a"
    with pytest.raises(ValueError, match="nowhere"):
        local_path("nowhere://models")
    with pytest.raises(ValueError, match="zero byte"):
        local_path("models/\0")
