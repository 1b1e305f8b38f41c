"""Files and folders written whole or not at all, on this machine and behind URLs."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

import neumatc_mimo as nm
from neumatc_mimo.storage.files import (
    check_replaceable,
    check_writable,
    child,
    fetched,
    is_folder,
    local_path,
    replaced,
    replaced_folder,
    write_text,
)
from neumatc_mimo.storage.model_folder import FORMAT_VERSION


class _BucketFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """As an object store: folders are no more than prefixes of names, and the log tells the order
    in which files came. It can be full, lose its network half-way, and be written by others.
    """

    protocol = "bucket"
    store: dict[str, Any] = {}  # noqa: RUF012, as its base has it
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    log: list[str] = []  # noqa: RUF012
    full_at: str | None = None
    lost_at: str | None = None
    read: list[str] = []  # noqa: RUF012
    meanwhile: list[Callable[[], None]] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("bucket://", "memory://")))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        del path, exist_ok

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        if self.full_at is not None and rpath.endswith(self.full_at):
            raise RuntimeError("QuotaExceeded")  # stores have errors of their own
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        type(self).read.append(rpath)
        super().get_file(rpath, lpath, **kwargs)
        if self.meanwhile:
            self.meanwhile.pop()()

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        if self.lost_at is not None and path2.endswith(self.lost_at):
            raise RuntimeError("EndpointConnectionError")
        type(self).log.append(path2)
        self.pipe_file(path2, self.cat_file(path1))


@pytest.fixture
def bucket() -> Iterator[type[_BucketFileSystem]]:
    """An empty object store behind bucket://."""
    fsspec.register_implementation("bucket", _BucketFileSystem, clobber=True)
    _BucketFileSystem.store.clear()
    _BucketFileSystem.log.clear()
    _BucketFileSystem.read.clear()
    yield _BucketFileSystem
    _BucketFileSystem.full_at = _BucketFileSystem.lost_at = None
    _BucketFileSystem.meanwhile.clear()


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


def _content(location: str, last: str = "card") -> dict[str, str]:
    """Files of a folder and what is in them."""
    with fetched(location, last) as folder:
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


def test_nothing_is_left_beside_whatever_ends_the_writing(location: str) -> None:
    def stop(folder: Path) -> None:
        (folder / "card").write_text("2")
        raise KeyboardInterrupt

    replaced_folder(location, _writer(card="1"), last="card")
    with pytest.raises(KeyboardInterrupt):
        replaced_folder(location, stop, last="card")
    assert _content(location) == {"card": "1"}
    assert _beside(location) == {"model"}


def test_files_of_others_are_not_replaced(location: str) -> None:
    check_writable(location)
    check_replaceable(location, "card")
    write_text(child(location, "thesis.txt"), "years of work")
    for refused in (
        lambda: check_replaceable(location, "card"),
        lambda: replaced_folder(location, _writer(card="1"), last="card"),
    ):
        with pytest.raises(ValueError, match=r"model holds files but no card"):
            refused()
    assert _content(location, "thesis.txt") == {"thesis.txt": "years of work"}
    with pytest.raises(ValueError, match=r"thesis\.txt is a file, a folder is needed"):
        check_replaceable(child(location, "thesis.txt"), "card")


@pytest.mark.parametrize("where", [".", "..", "/", "file:///", "memory://", "bucket://store"])
def test_no_whole_file_system_is_replaced(
    where: str, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "_strip_protocol", lambda path: path.removeprefix("bucket://"))
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    (tmp_path / "card").touch()
    (tmp_path / "inner/card").touch()
    with pytest.raises(ValueError, match="which is not replaced; give a folder in it"):
        replaced_folder(where, _writer(card="1"), last="card")


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    replaced_folder(folder, _writer(card="1"), last="card")
    rename = Path.rename

    def fail_for_the_new_one(self: Path, target: Path) -> Path:
        if self.suffix == ".saving":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(OSError, match=r"model cannot be written \(Permission denied\)"):
        replaced_folder(folder, _writer(card="2"), last="card")
    assert _content(str(folder)) == {"card": "1"}
    assert _beside(str(folder)) == {"model"}


def test_an_object_store_gets_the_last_file_last(bucket: Any) -> None:
    replaced_folder("bucket://order/model", _writer(a="1", card="1", z="1"), last="card")
    assert [name.rsplit("/", 1)[-1] for name in bucket.log] == ["a", "z", "card"]


def test_an_error_of_a_store_is_one_of_writing_and_leaves_what_was_there(bucket: Any) -> None:
    location = "bucket://full/model"
    replaced_folder(location, _writer(card="1", a="1"), last="card")
    bucket.full_at = "card"
    with pytest.raises(OSError, match=r"full/model cannot be written \(QuotaExceeded\)"):
        replaced_folder(location, _writer(card="2", a="2"), last="card")
    assert _content(location) == {"card": "1", "a": "1"}
    assert _beside(location) == {"model"}


@pytest.mark.parametrize("lost_at", ["model/a", "model/card"])
def test_what_was_sent_is_kept_if_moving_it_fails(bucket: Any, lost_at: str) -> None:
    location = "bucket://lost/model"
    replaced_folder(location, _writer(card="1", a="1"), last="card")
    bucket.lost_at = lost_at
    with pytest.raises(OSError, match=r"EndpointConnectionError; .* lies in .*/lost/model.saving"):
        replaced_folder(location, _writer(card="2", a="2"), last="card")
    filesystem = fsspec.filesystem("bucket")
    texts = {
        name.rsplit("/", 1)[-1]: filesystem.cat_file(name)
        for folder in ("/lost/model", "/lost/model.saving")
        for name in filesystem.find(folder)
    }
    assert texts == {"card": b"2", "a": b"2"}
    assert _content(location) == {}  # what has no card counts for nothing
    bucket.lost_at = None
    replaced_folder(location, _writer(card="3"), last="card")
    assert _content(location) == {"card": "3"}
    assert _beside(location) == {"model"}


def test_names_in_a_store_lead_nowhere_else(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("card", "../../evil", "shards/../../evil"):
        bucket.store.clear()
        filesystem = fsspec.filesystem("bucket")
        filesystem.pipe_file("/from/model/card", b"1")
        filesystem.pipe_file(f"/from/model/{name}", b"1")
        with (
            contextlib.nullcontext()
            if name == "card"
            else pytest.raises(OSError, match="evil leads out of it")
        ):
            assert _content("bucket://from/model") == {"card": "1"}
        assert not list(tmp_path.rglob("evil"))


def test_nothing_is_copied_from_where_no_card_is(bucket: Any) -> None:
    replaced_folder("bucket://many/models/munich", _writer(card="1", a="1"), last="card")
    assert _content("bucket://many/models") == {} and bucket.read == []
    with pytest.raises(FileNotFoundError, match="bucket://many/models holds no model"):
        nm.ScenarioModel.load("bucket://many/models")


@pytest.mark.parametrize("url", [False, True])
@pytest.mark.parametrize("become", ["another", "nothing"])
def test_a_folder_that_is_replaced_while_it_is_read_is_refused(
    bucket: Any, tmp_path: Path, url: bool, become: str
) -> None:
    location = "bucket://while/model" if url else str(tmp_path / "model")

    def replace() -> None:
        if become == "another":
            replaced_folder(location, _writer(card="2", a="2"), last="card")
        else:
            filesystem, path = fsspec.core.url_to_fs(location)
            filesystem.rm(path, recursive=True)

    replaced_folder(location, _writer(card="1", a="1"), last="card")
    with pytest.raises(OSError, match="model .*was replaced while it was read; read it again"):
        if url:
            bucket.meanwhile.append(replace)
        with fetched(location, "card"):
            assert not url
            replace()
            raise ValueError("a is missing")  # what a reader finds then


def test_a_file_is_replaced(location: str) -> None:
    file = child(location, "README.md")
    check_writable(location)
    assert write_text(write_text(file, "old"), "new") == file
    assert _content(location, "README.md") == {"README.md": "new"}

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="cannot be written"):
        replaced(file, fail)
    assert _content(location, "README.md") == {"README.md": "new"}


def test_which_locations_are_of_this_machine(tmp_path: Path) -> None:
    assert local_path("models/munich") == Path("models/munich")
    assert local_path(tmp_path) == tmp_path
    assert local_path(f"file://{tmp_path}") == tmp_path
    assert local_path("memory://models/munich") is None
    assert child("memory://models/munich/", "a") == "memory://models/munich/a"
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
    card = b'{"format": %d, "name": "munich", "scenario": {}}' % FORMAT_VERSION
    fsspec.filesystem("memory").pipe_file("/damaged/model/model.json", card)
    with pytest.raises(ValueError, match=r"model.json is damaged: it lacks operations"):
        nm.ScenarioModel.load(url)


def test_what_is_wrong_with_a_model_here_is_told_in_its_own_words(
    small_model: nm.ScenarioModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_model.save(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    Path("svd.safetensors").write_bytes(b"{")
    with pytest.raises(ValueError, match=r"^svd\.safetensors is missing, truncated or damaged"):
        nm.ScenarioModel.load("./")
