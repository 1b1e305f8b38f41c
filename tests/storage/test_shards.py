"""Models in shards: links in any groups, files in pieces, and what is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.model import OperationModel
from neumatc_mimo.model.packing import pack_model, shared_tensors, write_manifest
from neumatc_mimo.storage.places import place
from neumatc_mimo.storage.shard_index import read_indexed
from neumatc_mimo.storage.shards import (
    found_shards,
    read_shard,
    shard_file,
    write_index,
    write_shard,
)
from neumatc_mimo.training.batch import train_batch
from neumatc_mimo.training.jobs import jobs
from neumatc_mimo.training.reports import concatenated
from neumatc_mimo.training.store import Store
from tests.storage.common import same

SHARDS = [range(0, 1), range(1, 4)]


def _part(model: OperationModel, links: range) -> OperationModel:
    """The model of some of its links."""
    chosen = torch.tensor(links)
    return OperationModel(
        model.operation,
        model.mapping.select(chosen),
        model.links.select(chosen),
        model.marks[chosen],
        model.unseen,
        model.tolerance,
        model.training,
    )


@pytest.fixture
def folder(small_model: nm.ScenarioModel, tmp_path: Path) -> Path:
    """The small model in a folder, each operation in two shards."""
    values = {}
    for name, model in small_model.models.items():
        for links in SHARDS:
            tensors, _ = pack_model(_part(model, links))
            write_shard(
                tmp_path, name, links, tensors, shared_tensors(model), {"links": str(links)}
            )
        write_index(tmp_path, name, SHARDS)
        values[name] = pack_model(model)[1]
    write_manifest(tmp_path, small_model.name, small_model.scenario, values)
    return tmp_path


def test_a_sharded_model_is_the_single_one(small_model: nm.ScenarioModel, folder: Path) -> None:
    loaded = nm.ScenarioModel.load(folder)
    for name, model in small_model.models.items():
        mine, values = pack_model(model)
        again, others = pack_model(loaded.models[name])
        assert values == others and mine.keys() == again.keys()
        assert all(torch.equal(tensor, again[key]) for key, tensor in mine.items())
    loaded.check(small_model.scenario["fingerprint"])


def test_the_index_maps_every_tensor_to_its_file(
    small_model: nm.ScenarioModel, folder: Path
) -> None:
    index = json.loads((folder / "svd.safetensors.index.json").read_text())
    tensors, _ = pack_model(small_model.models["svd"])
    again = sum(
        tensors[key].nbytes for key in shared_tensors(small_model.models["svd"])
    )  # both shards hold these
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors.values()) + again
    names = {key.partition("[")[0] for key in index["weight_map"]}
    assert names == tensors.keys()
    pieces = [key for key in index["weight_map"] if key.startswith("mapping.ragged.latent.0")]
    assert pieces == ["mapping.ragged.latent.0[0:1]", "mapping.ragged.latent.0[1:4]"]
    assert {folder / file for file in index["weight_map"].values()} == {
        shard_file(folder, "svd", links) for links in SHARDS
    }


def test_links_that_are_missing_are_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="lacks links from 0"):
        write_index(folder, "svd", SHARDS[1:])
    index = folder / "svd.safetensors.index.json"
    manifest = json.loads(index.read_text())
    manifest["weight_map"] = {k: v for k, v in manifest["weight_map"].items() if "[1:4]" not in k}
    manifest["weight_map"]["corrected[2:4]"] = next(iter(manifest["weight_map"].values()))
    index.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"index\.json is missing, truncated or damaged"):
        nm.ScenarioModel.load(folder)


@pytest.mark.parametrize("damage", ["truncated", "missing", "no index", "elsewhere"])
def test_a_damaged_model_is_refused(folder: Path, damage: str) -> None:
    file, index = shard_file(folder, "svd", SHARDS[1]), folder / "svd.safetensors.index.json"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "missing":
        file.unlink()
    elif damage == "no index":
        index.write_text("{}")
    else:
        # An index does not lead out of its folder.
        (folder / "other").mkdir()
        file.rename(folder / "other" / file.name)
        index.write_text(index.read_text().replace(file.name, f"other/{file.name}"))
    with pytest.raises(ValueError, match="is missing, truncated or damaged"):
        nm.ScenarioModel.load(folder)


def test_every_flipped_bit_of_a_shard_is_noticed(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True, False])}
    links = range(3, 5)
    file = write_shard(tmp_path, "some", links, tensors, (), {"key": 1})
    read, values = read_shard(tmp_path, "some", links)
    assert values == {"key": 1} and all(torch.equal(t, read[k]) for k, t in tensors.items())
    whole = file.read_bytes()
    for byte in range(len(whole)):
        changed = bytearray(whole)
        changed[byte] ^= 0b100
        file.write_bytes(changed)
        with pytest.raises(ValueError, match="damaged"):
            read_shard(tmp_path, "some", links)


def test_a_single_file_needs_no_index(small_model: nm.ScenarioModel, tmp_path: Path) -> None:
    small_model.save(tmp_path)
    (file,) = tmp_path.glob("svd-*.safetensors")
    file.unlink()
    with pytest.raises(ValueError, match=rf"{file.name} is missing"):
        nm.ScenarioModel.load(tmp_path)


@pytest.mark.parametrize("where", ["tensors", "header", "another model's"])
def test_a_shard_that_is_not_bit_by_bit_what_was_written_is_not_loaded(
    small_model: nm.ScenarioModel, folder: Path, where: str
) -> None:
    file = shard_file(folder, "svd", SHARDS[1])
    content = bytearray(file.read_bytes())
    if where == "another model's":
        # Whole and sound, but not of this model.
        model = small_model.models["svd"]
        tensors, _ = pack_model(_part(model, SHARDS[1]))
        tensors["mapping.ragged.latent.0"] = 2 * tensors["mapping.ragged.latent.0"]
        write_shard(folder, "svd", SHARDS[1], tensors, shared_tensors(model), {})
    else:
        content[-9 if where == "tensors" else content.index(b'"dtype":"F32"') + 10] ^= 1
        file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file.name} is missing, truncated or damaged"):
        nm.ScenarioModel.load(folder)


@pytest.mark.parametrize("where", ["values", "digests", "size"])
def test_what_no_model_is_made_of_is_proven_too(folder: Path, where: str) -> None:
    """A flipped bit is found, whether or not loading asks for what it says."""
    if where == "size":
        file = folder / "svd.safetensors.index.json"
        place = file.read_bytes().index(b'"total_size": ') + len('"total_size": ')
    else:
        file = shard_file(folder, "svd", SHARDS[0])
        place = file.read_bytes().index(f'"{where}":'.encode()) + len(where) + 9
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file.name} is missing, truncated or damaged"):
        nm.ScenarioModel.load(folder)


def test_saving_over_shards_leaves_none_of_them(
    small_model: nm.ScenarioModel, folder: Path
) -> None:
    (folder / "README.md").touch()
    small_model.save(folder)
    assert len(list(folder.iterdir())) == 4 and (folder / "README.md").exists()
    assert same(small_model, nm.ScenarioModel.load(folder))


def test_pieces_that_lie_ask_for_no_memory(folder: Path) -> None:
    index = folder / "svd.safetensors.index.json"
    manifest = json.loads(index.read_text())
    places = manifest["weight_map"]
    for key in [key for key in places if "[1:4]" in key]:
        places[key.replace("[1:4]", "[1:400000000000]")] = places.pop(key)
    index.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="damaged"):
        read_indexed(place(folder), "svd", dict.fromkeys(places, "0" * 64))


def test_names_in_an_index_are_quoted(folder: Path) -> None:
    """A flipped bit makes a space of the digit."""
    index = folder / "svd.safetensors.index.json"
    flipped = index.read_text().replace("ragged.latent.0[0:1]", "ragged.latent. [0:1]")
    index.write_text(flipped)
    with pytest.raises(ValueError, match=r"\('mapping\.ragged\.latent\.[0 ]' lacks links"):
        nm.ScenarioModel.load(folder)


def test_a_store_gives_back_what_is_valid_and_of_its_key(
    small_model: nm.ScenarioModel, tmp_path: Path
) -> None:
    model = small_model.models["pseudo_inverse"]
    store = Store(tmp_path / "runs", "pseudo_inverse", "key")
    assert store.finished() == {}
    for links in (range(0, 2), range(1, 2), range(3, 4), range(2, 3)):
        store.write(links, _part(model, links))
    other = Store(store.folder, store.name, "another")
    other.write(range(2, 3), _part(model, range(2, 3)))
    file = shard_file(store.folder, store.name, range(3, 4))
    assert list(store.finished()) == [range(0, 2), range(3, 4)]
    assert list(other.finished()) == [range(2, 3)]
    part = store.read(range(3, 4))
    assert part is not None and torch.equal(part.marks.corrected, model.marks.corrected[3:])
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert store.read(range(3, 4)) is None
    (store.folder / ".pseudo_inverse-00000003-00000004.safetensors.77").touch()
    store.discard([range(0, 2)])
    assert found_shards(store.folder, store.name) == [range(0, 2)]
    assert len(list(store.folder.iterdir())) == 1


def test_a_link_is_learned_alike_whatever_it_is_learned_with(write_scenario: Any) -> None:
    """Some of these links are done after two rounds, others take more."""
    file = write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": 256, "subcarrier_spacing": 240e3},
        multi_user={"num_links": 6},
        single_user={"num_links": 6},
        model={"width": 96, "samples": 96, "collocation": 160},
    )
    for job in jobs(nm.load_scenario(file)):
        whole = train_batch(job, torch.arange(6))
        singles = [train_batch(job, torch.tensor([link])) for link in range(6)]
        assert len({len(one.training["batches"][0]) for one in singles}) > 1
        parts = concatenated(singles, job.links)
        for name, marks in whole.marks.tensors().items():
            assert torch.equal(parts.marks.tensors()[name], marks)
        for mine, theirs in zip(whole.mapping.latents, parts.mapping.latents, strict=True):
            assert (mine.values - theirs.values).abs().max() < 1e-5 * mine.values.abs().max()
        exact = "exact_samples_per_link"
        assert parts.training[exact] == pytest.approx(whole.training[exact])
