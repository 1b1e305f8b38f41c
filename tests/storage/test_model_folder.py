"""Model folders: whole or not at all, bit by bit what was saved, nobody else's files touched."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.storage import model_folder
from neumatc_mimo.storage.files import child, local_path, write_text
from neumatc_mimo.storage.manifest import FORMAT_VERSION, MANIFEST
from neumatc_mimo.storage.model_folder import check_folder
from tests.storage.common import names_beside, names_in, same


@pytest.fixture(scope="module")
def other_model(small_model: nm.ScenarioModel) -> nm.ScenarioModel:
    """Another model of the same operations."""
    models = {}
    for name, model in small_model.models.items():
        latents = tuple(Latent(2 * latent.values) for latent in model.mapping.latents)
        models[name] = replace(model, mapping=replace(model.mapping, latents=latents))
    return nm.ScenarioModel("other", models, {"fingerprint": "of the other"})


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_a_model_goes_to_any_url_and_comes_back(
    small_model: nm.ScenarioModel, location: str
) -> None:
    saved = small_model.save(location)
    assert saved == (local_path(location) or location)
    assert same(small_model, nm.ScenarioModel.load(saved))
    frequencies = small_model.models["svd"].links.grid_frequencies()[::7]
    for name in small_model.models:
        answers = zip(
            small_model.query(name, frequencies),
            nm.ScenarioModel.load(location).query(name, frequencies),
            strict=True,
        )
        assert all(torch.equal(mine, theirs) for mine, theirs in answers)


def test_saving_again_replaces_the_model_and_nothing_else(
    small_model: nm.ScenarioModel, other_model: nm.ScenarioModel, location: str
) -> None:
    small_model.save(location)
    before = names_in(location)
    assert len(before) == 3
    for name in ("README.md", "svd.safetensors", "svd-mine.safetensors"):
        write_text(child(location, name), "of the user")
    other_model.save(location)
    assert same(other_model, nm.ScenarioModel.load(location))
    after = names_in(location)
    assert before & after == {MANIFEST} and len(after) == 6
    assert {"README.md", "svd.safetensors", "svd-mine.safetensors"} < after
    assert names_beside(location) == {"model"}


@pytest.mark.parametrize("old", [5, 4])
def test_a_model_of_an_older_format_is_named_and_replaced(
    small_model: nm.ScenarioModel, tmp_path: Path, old: int
) -> None:
    for name in ("svd.safetensors", "thesis.safetensors", "svd.safetensors.index.json"):
        (tmp_path / name).write_text("{}")
    manifest = {"format": old, "name": "a", "scenario": {}, "operations": {"svd": {}}}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=f"has the model format {old}, this version .* reads 7"):
        nm.ScenarioModel.load(tmp_path)
    small_model.save(tmp_path)
    names = names_in(str(tmp_path))
    assert "thesis.safetensors" in names and len(names) == 4


def test_neighbours_are_left_alone(small_model: nm.ScenarioModel, tmp_path: Path) -> None:
    neighbours = ["mine.saving", ".mine.old", ".mine", "mine-training", f".mine.{os.getpid()}"]
    for name in neighbours:
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    for _ in range(2):
        small_model.save(tmp_path / "mine")
    assert names_in(str(tmp_path)) == {"mine", *neighbours}
    assert all((tmp_path / name / "thesis.txt").read_text() for name in neighbours)


@pytest.mark.skipif(os.name != "posix", reason="files of other systems have no such permissions")
def test_permissions_are_those_of_the_umask(small_model: nm.ScenarioModel, tmp_path: Path) -> None:
    for mask in (0o022, 0o027, 0o002):
        before = os.umask(mask)
        try:
            folder = Path(small_model.save(tmp_path / f"{mask}"))
        finally:
            os.umask(before)
        assert folder.stat().st_mode & 0o777 == 0o777 & ~mask
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o666 & ~mask}


def test_files_of_others_are_not_replaced(small_model: nm.ScenarioModel, location: str) -> None:
    check_folder(location)
    path = local_path(location)
    if path is not None:
        path.mkdir(parents=True)
    write_text(child(location, "thesis.txt"), "years of work")
    for refused in (lambda: check_folder(location), lambda: small_model.save(location)):
        with pytest.raises(ValueError, match=r"model contains files but no model\.json"):
            refused()
    assert names_in(location) == {"thesis.txt"}
    with pytest.raises(ValueError, match=r"thesis\.txt is a file, a folder is needed"):
        check_folder(child(location, "thesis.txt"))


@pytest.mark.parametrize("where", [".", "..", "/", "file:///", "memory://", "bucket://store"])
def test_no_whole_file_system_is_replaced(
    where: str,
    bucket: Any,
    small_model: nm.ScenarioModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bucket, "_strip_protocol", lambda path: path.removeprefix("bucket://"))
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    (tmp_path / MANIFEST).touch()
    (tmp_path / "inner" / MANIFEST).touch()
    with pytest.raises(ValueError, match="which is never replaced; give a folder in it"):
        small_model.save(where)


def test_what_was_there_stays_if_writing_fails(
    small_model: nm.ScenarioModel,
    other_model: nm.ScenarioModel,
    location: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = model_folder.write_arrays
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with monkeypatch.context() as patch:

            def fail(file: Path, arrays: Any, error: BaseException = error) -> Any:
                if file.name.startswith("svd"):
                    raise error
                return write(file, arrays)

            patch.setattr(model_folder, "write_arrays", fail)
            with pytest.raises(type(error)):
                small_model.save(location)
            assert not names_in(location)
            patch.undo()
            small_model.save(location)
            before = names_in(location)
            patch.setattr(model_folder, "write_arrays", fail)
            with pytest.raises(type(error)):
                other_model.save(location)
        assert names_in(location) == before and names_beside(location) == {"model"}
        assert same(small_model, nm.ScenarioModel.load(location))
        filesystem, path = fsspec.core.url_to_fs(location)
        filesystem.rm(path, recursive=True)


@pytest.mark.parametrize("trouble", ["full_at", "lost_at"])
def test_an_error_of_a_store_is_one_of_writing_and_leaves_what_was_there(
    small_model: nm.ScenarioModel, other_model: nm.ScenarioModel, bucket: Any, trouble: str
) -> None:
    location = "bucket://full/model"
    small_model.save(location)
    before = names_in(location)
    setattr(bucket, trouble, MANIFEST)
    reason = {"full_at": "QuotaExceeded", "lost_at": "EndpointConnectionError"}[trouble]
    with pytest.raises(OSError, match=rf"full/model cannot be written \({reason}\)"):
        other_model.save(location)
    setattr(bucket, trouble, None)
    assert names_in(location) == before and names_beside(location) == {"model"}
    assert same(small_model, nm.ScenarioModel.load(location))


def test_an_object_store_gets_the_manifest_last(small_model: nm.ScenarioModel, bucket: Any) -> None:
    small_model.save("bucket://order/model")
    names = [name.rsplit("/", 1)[-1] for name in bucket.log]
    assert [name.split("-")[0] for name in names[:2]] == ["pseudo_inverse", "svd"]
    assert names[2].startswith(".model.json.") and names[3] == MANIFEST and len(names) == 4


def test_nothing_but_the_model_is_copied(small_model: nm.ScenarioModel, bucket: Any) -> None:
    small_model.save("bucket://many/models/munich")
    bucket.read.clear()
    with pytest.raises(FileNotFoundError, match="bucket://many/models holds no model"):
        nm.ScenarioModel.load("bucket://many/models")
    assert bucket.read == []
    for name in ("huge", "../../evil", "shards/../../evil"):
        fsspec.filesystem("bucket").pipe_file(f"/many/models/munich/{name}", b"1")
    nm.ScenarioModel.load("bucket://many/models/munich")
    assert {name.rsplit("/", 1)[-1].split("-")[0] for name in bucket.read} == {
        "pseudo_inverse",
        "svd",
    }


@pytest.mark.parametrize("url", [False, True])
def test_a_model_that_is_replaced_while_it_is_read_is_read_again(
    small_model: nm.ScenarioModel,
    other_model: nm.ScenarioModel,
    bucket: Any,
    tmp_path: Path,
    url: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    location = "bucket://while/model" if url else str(tmp_path / "model")
    small_model.save(location)
    meanwhile: list[Callable[[], Any]] = [lambda: other_model.save(location)]
    unsealed = model_folder.unsealed

    def read(content: bytes, name: str) -> Any:
        if meanwhile:
            meanwhile.pop()()
        return unsealed(content, name)

    monkeypatch.setattr(model_folder, "unsealed", read)
    assert same(other_model, nm.ScenarioModel.load(location))

    meanwhile.extend([lambda: small_model.save(location)] * 50)
    with pytest.raises(OSError, match="model was replaced while it was read; read it again"):
        nm.ScenarioModel.load(location)
    filesystem, path = fsspec.core.url_to_fs(location)
    meanwhile[:] = [lambda: filesystem.rm(path, recursive=True)]
    with pytest.raises(FileNotFoundError, match="holds no model"):
        nm.ScenarioModel.load(location)


def test_files_that_change_after_loading_change_nothing(
    small_model: nm.ScenarioModel, tmp_path: Path
) -> None:
    folder = Path(small_model.save(tmp_path / "model"))
    loaded = nm.ScenarioModel.load(folder)
    for file in folder.glob("*.safetensors"):
        with file.open("r+b") as raw:
            raw.write(os.urandom(1000))
            raw.truncate(2000)
    assert same(small_model, loaded)
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(folder) not in maps.read_text()


@pytest.mark.skipif(os.name != "posix", reason="other systems make no folders durable")
def test_what_a_manifest_names_is_on_the_disk_before_it(
    small_model: nm.ScenarioModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that loses its power at any moment has the old model or the new one."""
    done: list[tuple[str, str]] = []

    def synced(descriptor: int, fsync: Callable[[int], None] = os.fsync) -> None:
        file = Path(f"/dev/fd/{descriptor}").resolve()
        # A manifest is written whole before it is renamed.
        done.append(("sync", file.name.split("-")[0].rsplit(".", 1)[0] or file.name))
        fsync(descriptor)

    def replaced(old: Path, new: Path, replace: Callable[..., None] = os.replace) -> None:
        assert Path(old).parent == Path(new).parent
        done.append(("rename", Path(new).name))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    small_model.save(tmp_path / "model")
    assert done == [
        ("sync", tmp_path.name.split("-")[0]),  # the name of the folder
        ("sync", "pseudo_inverse"),
        ("sync", "model"),
        ("sync", "svd"),
        ("sync", "model"),
        ("sync", ".model.json"),
        ("rename", MANIFEST),
        ("sync", "model"),
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("what", [MANIFEST, "tensors"])
def test_what_never_ends_is_refused_at_once(
    small_model: nm.ScenarioModel, tmp_path: Path, what: str
) -> None:
    folder = Path(small_model.save(tmp_path / "model"))
    file = folder / MANIFEST if what == MANIFEST else next(folder.glob("svd-*.safetensors"))
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir):
        file.rmdir() if file.is_dir() else file.unlink()
        make(file)
        with pytest.raises(ValueError, match=rf"{file.name} is .*it is no regular file") as caught:
            nm.ScenarioModel.load(folder)
        assert "\n" not in str(caught.value)


def test_a_link_to_a_model_is_the_model(
    small_model: nm.ScenarioModel, other_model: nm.ScenarioModel, tmp_path: Path
) -> None:
    small_model.save(tmp_path / "model")
    (link := tmp_path / "link").symlink_to(tmp_path / "model", target_is_directory=True)
    assert same(small_model, nm.ScenarioModel.load(link))
    other_model.save(link)
    assert link.is_symlink() and same(other_model, nm.ScenarioModel.load(tmp_path / "model"))


@pytest.mark.parametrize("part", ["tensors", "header", "manifest", "other model"])
def test_a_flipped_bit_and_a_file_of_another_model_are_refused(
    small_model: nm.ScenarioModel, other_model: nm.ScenarioModel, tmp_path: Path, part: str
) -> None:
    folder = Path(small_model.save(tmp_path / "model"))
    (file,) = folder.glob("svd-*.safetensors")
    if part == "tensors":
        _flip(file, file.stat().st_size // 2)
    elif part == "header":
        _flip(file, 50)
    elif part == "manifest":
        text = (folder / MANIFEST).read_bytes()
        _flip(folder / MANIFEST, text.index(b'"band"') + 20)
    else:
        (theirs,) = Path(other_model.save(tmp_path / "other")).glob("svd-*.safetensors")
        file.write_bytes(theirs.read_bytes())
    with pytest.raises(ValueError, match="damaged") as caught:
        nm.ScenarioModel.load(folder)
    assert "\n" not in str(caught.value)


def test_a_damaged_model_behind_a_url_is_named(small_model: nm.ScenarioModel) -> None:
    url, filesystem = "memory://damaged/model", fsspec.filesystem("memory")
    with pytest.raises(FileNotFoundError, match=r"memory://damaged/model holds no model"):
        nm.ScenarioModel.load(url)
    small_model.save(url)
    (file,) = (name for name in filesystem.ls("/damaged/model", False) if "svd-" in name)
    filesystem.pipe_file(file, filesystem.cat_file(file)[:-100])
    with pytest.raises(ValueError, match=r"memory://damaged/model/svd.* truncated or damaged"):
        nm.ScenarioModel.load(url)
    filesystem.rm(file)
    with pytest.raises(ValueError, match=r"memory://damaged/model/svd.* no such file"):
        nm.ScenarioModel.load(url)
    filesystem.pipe_file("/damaged/model/model.json", b"{")
    with pytest.raises(ValueError, match=r"memory://damaged/model/model.json is damaged"):
        nm.ScenarioModel.load(url)
    card = b'{"format": %d, "name": "munich", "scenario": {}}' % FORMAT_VERSION
    filesystem.pipe_file("/damaged/model/model.json", card)
    with pytest.raises(ValueError, match=r"model.json is damaged: it lacks operations"):
        nm.ScenarioModel.load(url)


def test_what_is_wrong_with_a_model_here_is_told_in_its_own_words(
    small_model: nm.ScenarioModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_model.save(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    (file,) = Path().glob("svd-*.safetensors")
    file.write_bytes(b"{")
    with pytest.raises(ValueError, match=r"^svd-\w+\.safetensors is missing, truncated or damaged"):
        nm.ScenarioModel.load("./")


def test_what_killed_writers_left_is_removed_a_day_later(
    small_model: nm.ScenarioModel, tmp_path: Path
) -> None:
    left = ["svd-0123456789abcdef.safetensors", f".{MANIFEST}.0123456789abcdef"]
    for name in left:
        (tmp_path / name).touch()
    # They are no reason to refuse the folder, and may be those of somebody who is writing now.
    small_model.save(tmp_path)
    assert set(left) < names_in(str(tmp_path))
    (tmp_path / "mine.safetensors").touch()
    yesterday = time.time() - 2 * 24 * 3600
    for name in (*left, "mine.safetensors"):
        os.utime(tmp_path / name, (yesterday, yesterday))
    small_model.save(tmp_path)
    names = names_in(str(tmp_path))
    assert not set(left) & names and "mine.safetensors" in names and len(names) == 4


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../evil", "/evil", "a/b", "a\\b", "a\0b", "a\nb", "a" * 300]
)
def test_names_that_lead_elsewhere_are_refused(
    small_model: nm.ScenarioModel, tmp_path: Path, name: str
) -> None:
    (folder := tmp_path / "a" / "b").mkdir(parents=True)
    models = small_model.models
    renamed = nm.ScenarioModel("small", {name: models["svd"]}, small_model.scenario)
    with pytest.raises(ValueError, match="The name of an operation is"):
        renamed.save(folder / "model")
    with pytest.raises(ValueError, match="The name of a model is"):
        nm.ScenarioModel(name, models, small_model.scenario).save(folder / "model")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_nan_is_not_loaded(small_model: nm.ScenarioModel, tmp_path: Path) -> None:
    for name, value in (
        ("latent", np.nan),
        ("latent", np.inf),
        ("coefficients", np.nan),
        ("delays", np.nan),
        ("row_delays", -np.inf),
    ):
        model = small_model.models["svd"]
        tensor = (
            model.mapping.latents[1].numbers if name == "latent" else getattr(model.links, name)
        )
        before = tensor.flatten()[3].item()
        tensor.view(-1)[3] = value
        small_model.save(tmp_path / "model")
        tensor.view(-1)[3] = before
        with pytest.raises(ValueError, match=rf"of svd in .*{name}.* has NaN or infinite entries"):
            nm.ScenarioModel.load(tmp_path / "model")
