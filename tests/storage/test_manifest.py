"""Manifests that lie: one sentence, whatever they say, and nothing made of it."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.model.packing import pack_model
from neumatc_mimo.storage.manifest import MANIFEST, sealed
from neumatc_mimo.storage.model_folder import write_model

_ABSENT = object()
_HOSTILE = [
    None,
    True,
    -1,
    0,
    3000,
    10**9,
    2**64,
    10**30,
    -1.5,
    1e300,
    5e-324,
    float("nan"),
    float("inf"),
    "",
    "../x",
    [],
    [[1]],
    {},
    _ABSENT,
]


@pytest.fixture(scope="module")
def folder(small_model: nm.ScenarioModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(small_model.save(tmp_path_factory.mktemp("manifest") / "model"))


@pytest.fixture
def manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """What the manifest of the folder says; the folder has it again afterwards."""
    text = (folder / MANIFEST).read_text()
    yield json.loads(text)
    (folder / MANIFEST).write_text(text)


def _say(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest that is as it was written, whatever it says."""
    text = sealed("small", manifest["scenario"], manifest["operations"])
    (folder / MANIFEST).write_text(text)


def _at(manifest: dict[str, Any], place: str) -> tuple[Any, str]:
    *path, last = place.split(".")
    for key in path:
        manifest = manifest[key]
    return manifest, last


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("mapping.basis.degree", 3000, "degree is 3000, it must be less than or equal to 31"),
        ("mapping.basis.num_intervals", 10**9, "its knots do not rise from 0 to 1000000000"),
        ("mapping.basis.kind", "wavelet", 'There is no basis "wavelet"'),
        ("mapping.basis.colour", "red", "colour"),
        ("mapping.axis.kind", "place", 'There is no axis "place"'),
        ("mapping.axis.num_nodes", 10**9, "num_nodes is 1000000000"),
        ("mapping.axis.lowest", 0.0, "noise powers from 0.0 to 1.0 do not rise"),
        ("mapping.band", [1.0, 1.0], "the first must be the lower one"),
        ("mapping.band", [0.0, 1.0], r"subcarriers reach from -1.*"),
        ("mapping.layouts", [], "layouts is "),
        ("links.fft_size", 10**9, r"marks.corrected is int8 of the shape \[4, 1, 192\], int8 of"),
        ("links.fft_size", -3, "fft_size is -3"),
        ("links.noise_db", [-4000.0, 0.0], "noise_db.0 is -4000.0"),
        ("links.carrier_frequency", 0.0, "carrier_frequency is 0.0"),
        ("links.num_streams", 10**6, "num_streams is 1000000 in links of 3 x 16"),
        ("links.colour", "red", "has the unknown .'colour'."),
        ("operation.name", "../evil", "The name of an operation is '../evil'"),
        ("operation.name", "svd", "the model of pseudo_inverse is one of svd"),
        ("operation.colour", "red", "is refused: PseudoInverse.* takes no arguments"),
        ("tolerance.quality_db", "high", "quality_db is 'high', it must be a valid number"),
        ("training.error_median", "small", "error_median is 'small'"),
        ("training", 3, "training is 3"),
        ("file", "../model.json", "The file of a model is '../model.json'"),
        ("file", "svd.safetensors", "missing, truncated or damaged"),
        ("complex", ["marks.corrected"], "corrected is no tensor of complex numbers"),
        ("complex", ["nothing"], "it lacks nothing"),
        ("complex", [], "refused"),
        ("tensors", {}, "it lacks links.coefficients"),
        ("tensors.extra", "0" * 64, "it lacks extra"),
        ("tensors.unseen", "0" * 63, "tensors.unseen is"),
    ],
)
def test_lies_are_refused_in_one_sentence(
    folder: Path, manifest: dict[str, Any], place: str, value: Any, message: str
) -> None:
    values, key = _at(manifest["operations"]["pseudo_inverse"], place)
    values[key] = value
    _say(folder, manifest)
    with pytest.raises(ValueError, match=message) as caught:
        nm.ScenarioModel.load(folder)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("seed", [2**64, -1, 0.5, True, "0"])
def test_seeds_that_no_generator_takes_are_refused(
    folder: Path, manifest: dict[str, Any], seed: Any
) -> None:
    manifest["scenario"]["seed"] = seed
    _say(folder, manifest)
    with pytest.raises(ValueError, match=rf"damaged: scenario.seed is {seed!r}, it must be"):
        nm.ScenarioModel.load(folder)


@pytest.mark.parametrize("name", ["../evil", "/evil", "", "a/b"])
def test_a_manifest_names_no_other_folder(
    folder: Path, manifest: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neumatc_mimo.storage.manifest.check_plain", lambda what, name: name)
    text = sealed(name, manifest["scenario"], manifest["operations"])
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"The name of a model is '.*without slashes is needed\.$"):
        nm.ScenarioModel.load(folder)


def _places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(values, dict) and path[-1:] not in (("config",), ("tensors",)):
        for key, value in values.items():
            yield from _places(value, (*path, key))
    elif isinstance(values, list):
        for i, value in enumerate(values[:2]):
            yield from _places(value, (*path, i))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_manifest_says_it_is_a_model_or_a_value_error(
    folder: Path, manifest: dict[str, Any], seed: int
) -> None:
    """Values drawn from all places and all hostile ones; what is loaded can be looked at."""
    places = list(_places(manifest["operations"], ()))
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(60):
        said = copy.deepcopy(manifest)
        *path, last = places[rng.integers(len(places))]
        values: Any = said["operations"]
        for key in path:
            values = values[key]
        if (value := _HOSTILE[rng.integers(len(_HOSTILE))]) is _ABSENT:
            del values[last]
        else:
            values[last] = value
        _say(folder, said)
        try:
            model = nm.ScenarioModel.load(folder)
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and str(error).endswith(".")
        else:
            repr(model)
    assert refused > 30


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("marks.corrected", lambda t: torch.full_like(t, 100)),
        ("marks.corrected", lambda t: torch.full_like(t, -1)),
        ("marks.corrected", lambda t: torch.full(t.shape, 10**12)),
        ("marks.corrected", lambda t: t[:, :, :-1]),
        ("marks.patched", lambda t: t.to(torch.int8)),
        ("unseen", lambda t: t[:-1]),
        ("mapping.ragged.latent.0", lambda t: t[:-1]),
        ("mapping.ragged.latent.0", lambda t: t.to(torch.int64)),
        ("mapping.ragged.scale.0", lambda t: t[..., :-1]),
        ("mapping.ragged.scale.0", lambda t: t.double()),
        ("mapping.ragged.knots", lambda t: t[:-1]),
        ("mapping.functions", lambda t: t - t),
        ("mapping.functions", lambda t: t.long()),
        ("links.coefficients", lambda t: t[0, 0]),
        ("links.delays", lambda t: t[:, :, :, :-1]),
        ("links.row_delays", lambda t: t[:, :-1]),
        ("links.users", lambda t: t[:, :-1]),
    ],
)
def test_tensors_that_are_no_models_are_refused(
    small_model: nm.ScenarioModel, tmp_path: Path, name: str, change: Any
) -> None:
    """Whole and sound files, of tensors that no training left."""
    tensors, values = pack_model(small_model.models["pseudo_inverse"])
    tensors[name] = change(tensors[name])
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    write_model(tmp_path, "small", {}, [("pseudo_inverse", arrays, values)])
    key = name.removeprefix("links.")
    with pytest.raises(ValueError, match=f"of pseudo_inverse in .* is refused: .*{key}") as caught:
        nm.ScenarioModel.load(tmp_path)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 10**5,
        b'{"a":' * 10**5,
        b'{"format": ' + b"9" * 5000 + b"}",
        b'{"format": 7, "name": "a", "scenario": {}, "operations": {}, "sha256": 3}',
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.json is damaged|has the model format") as caught:
        nm.ScenarioModel.load(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_manifest_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")):
        make(tmp_path / MANIFEST)
        with pytest.raises(ValueError, match="it is no regular file"):
            nm.ScenarioModel.load(tmp_path)
        path = tmp_path / MANIFEST
        path.rmdir() if path.is_dir() else path.unlink()
    for place in ("/dev/zero", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="holds no model"):
            nm.ScenarioModel.load(place)
