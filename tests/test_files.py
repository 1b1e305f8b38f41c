"""Files and folders written whole or not at all, on this machine and behind URLs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

import neumatc_mimo as nm
from neumatc_mimo.files import (
    check_writable,
    fetched,
    is_folder,
    joined,
    local_path,
    replaced,
    replaced_folder,
    write_text,
)


class _BucketFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """As an object store: folders are no more than prefixes of names, and the log tells the order
    in which files came. It can be full.
    """

    protocol = "bucket"
    store: dict[str, Any] = {}  # noqa: RUF012, as its base has it
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    log: list[str] = []  # noqa: RUF012
    full_at: str | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("bucket://", "memory://")))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        del path, exist_ok

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        if self.full_at is not None and rpath.endswith(self.full_at):
            raise RuntimeError("QuotaExceeded")  # stores have errors of their own
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        type(self).log.append(path2)
        self.pipe_file(path2, self.cat_file(path1))


@pytest.fixture(params=["path", "file", "memory", "bucket"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder that is not there yet: a path, or a URL of each kind of file system."""
    name = f"of-a-test-{uuid.uuid4().hex}"
    if request.param in ("path", "file"):
        prefix = "" if request.param == "path" else "file://"
        yield f"{prefix}{tmp_path}/{name}/model"
        return
    fsspec.register_implementation("bucket", _BucketFileSystem, clobber=True)
    yield f"{request.param}://{name}/model"
    filesystem = fsspec.filesystem(request.param)
    filesystem.rm(f"/{name}", recursive=True) if filesystem.exists(f"/{name}") else None
    _BucketFileSystem.full_at = None


def _content(location: str) -> dict[str, str]:
    """Files of a folder and what is in them."""
    with fetched(location) as folder:
        return {
            file.relative_to(folder).as_posix(): file.read_text()
            for file in folder.rglob("*")
            if file.is_file()
        }


def _beside(location: str) -> set[str]:
    """Names in the folder above."""
    filesystem, path = fsspec.core.url_to_fs(location)
    return {name.rsplit("/", 1)[-1] for name in filesystem.ls(filesystem._parent(path), False)}


def _writer(**files: str) -> Any:
    def write(folder: Path) -> None:
        for name, text in files.items():
            file = folder / name.replace("__", "/")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)

    return write


def test_a_folder_is_replaced_as_a_whole(location: str) -> None:
    assert not is_folder(location) and _content(location) == {}
    replaced_folder(location, _writer(card="1", shards__a="1", stale="1"), last="card")
    replaced_folder(location, _writer(card="2", shards__a="2"), last="card")
    assert is_folder(location)
    assert _content(location) == {"card": "2", "shards/a": "2"}
    assert _beside(location) == {"model"}


def test_what_was_there_stays_if_writing_fails(location: str) -> None:
    replaced_folder(location, _writer(card="1"), last="card")

    def fail(folder: Path) -> None:
        (folder / "card").write_text("2")
        raise OSError("disk full")

    with pytest.raises(OSError, match=r"model cannot be written \(disk full\)"):
        replaced_folder(location, fail, last="card")
    assert _content(location) == {"card": "1"}
    assert _beside(location) == {"model"}


def test_an_object_store_gets_the_last_file_last() -> None:
    fsspec.register_implementation("bucket", _BucketFileSystem, clobber=True)
    _BucketFileSystem.log.clear()
    replaced_folder("bucket://order/model", _writer(a="1", card="1", z="1"), last="card")
    assert [name.rsplit("/", 1)[-1] for name in _BucketFileSystem.log] == ["a", "z", "card"]


def test_an_error_of_a_store_is_one_of_writing_and_leaves_what_was_there() -> None:
    fsspec.register_implementation("bucket", _BucketFileSystem, clobber=True)
    location = "bucket://full/model"
    replaced_folder(location, _writer(card="1", a="1"), last="card")
    _BucketFileSystem.full_at = "card"
    with pytest.raises(OSError, match=r"full/model cannot be written \(QuotaExceeded\)"):
        replaced_folder(location, _writer(card="2", a="2"), last="card")
    _BucketFileSystem.full_at = None
    assert _content(location) == {"card": "1", "a": "1"}
    assert _beside(location) == {"model"}


def test_a_file_is_replaced(location: str) -> None:
    file = joined(location, "README.md")
    check_writable(location)
    assert write_text(write_text(file, "old"), "new") == file
    assert _content(location) == {"README.md": "new"}

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="cannot be written"):
        replaced(file, fail)
    assert _content(location) == {"README.md": "new"}


def test_which_locations_are_of_this_machine(tmp_path: Path) -> None:
    assert local_path("models/munich") == Path("models/munich")
    assert local_path(tmp_path) == tmp_path
    assert local_path(f"file://{tmp_path}") == tmp_path
    assert local_path("memory://models/munich") is None
    assert joined("memory://models/munich/", "a") == "memory://models/munich/a"
    with pytest.raises(ValueError, match="nowhere"):
        local_path("nowhere://models")


def test_a_model_goes_to_any_url_and_comes_back(
    small_model: nm.ScenarioModel, location: str
) -> None:
    saved = small_model.save(location)
    assert saved == (local_path(location) or location)
    loaded = nm.ScenarioModel.load(saved)
    frequencies = small_model.models["svd"].links.grid_frequencies()[::7]
    for name in small_model.models:
        answers = zip(
            small_model.query(name, frequencies), loaded.query(name, frequencies), strict=True
        )
        assert all(torch.equal(mine, theirs) for mine, theirs in answers)


def test_a_damaged_model_behind_a_url_is_named(small_model: nm.ScenarioModel) -> None:
    url = "memory://damaged/model"
    with pytest.raises(FileNotFoundError, match=r"memory://damaged/model holds no model"):
        nm.ScenarioModel.load(url)
    small_model.save(url)
    with fsspec.open(f"{url}/svd.safetensors", "r+b") as file:
        content = file.read()[:-100]
    fsspec.filesystem("memory").pipe_file("/damaged/model/svd.safetensors", content)
    with pytest.raises(ValueError, match=r"memory://damaged/model/svd.* truncated or damaged"):
        nm.ScenarioModel.load(url)
    fsspec.filesystem("memory").pipe_file("/damaged/model/model.json", b"{")
    with pytest.raises(ValueError, match=r"memory://damaged/model/model.json is damaged"):
        nm.ScenarioModel.load(url)
