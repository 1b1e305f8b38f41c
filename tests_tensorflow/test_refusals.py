"""Bad input is refused with one sentence; PyTorch is not needed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy.mimo import StreamManagement

from neumatc_mimo.storage.manifest import sealed
from neumatc_mimo.tensorflow import (
    Exact,
    MMSEDetector,
    MMSEEqualizer,
    ScenarioModel,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecoder,
)
from tests_tensorflow.conftest import DOWNLINK, SINGLE, UPLINK, grid, over_symbols, samples
from tests_tensorflow.grids import FFT_SIZE, SYMBOLS


def test_no_pytorch(folder: Path, sharded: Path) -> None:
    """Neither the package nor a trained model imports it."""
    code = (
        "import sys; from neumatc_mimo.tensorflow import ScenarioModel; "
        f"ScenarioModel.load({str(folder)!r}); ScenarioModel.load({str(sharded)!r}); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "torch" not in sys.modules


def test_pytorch_blocks_are_refused() -> None:
    code = "import neumatc_mimo.blocks"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 1
    assert "has blocks of Sionna 2.x, 1." in answer.stderr.splitlines()[-1]


def test_settings(model: ScenarioModel) -> None:
    rg = grid(3)
    make_any: Any = ZFPrecoder
    beam: Any = SVDBeamformer
    detector: Any = MMSEDetector
    refused: list[tuple[Any, type[Exception], str]] = [
        (lambda: make_any(rg, DOWNLINK, "models/munich"), TypeError, "solver is a str"),
        (lambda: make_any(rg, DOWNLINK, model, certify="no"), ValueError, "certify is 'no'"),
        (lambda: make_any(rg, DOWNLINK, model, time_varying=2), ValueError, "time_varying is 2"),
        (lambda: make_any(rg, DOWNLINK, model, tolerance=40), TypeError, "tolerance is a int"),
        (lambda: beam(grid(3), DOWNLINK, Exact()), ValueError, "one receiver for each"),
        (lambda: beam(grid(3), DOWNLINK, model), ValueError, "has 2 triplets for each link, but 3"),
        (lambda: beam(grid(2), SINGLE, model, power="most"), ValueError, "power is 'most'"),
        (lambda: detector("byte", "app", rg, UPLINK, model), ValueError, "output is 'byte'"),
    ]
    for make, kind, sentence in refused:
        with pytest.raises(kind, match=sentence):
            make()


def test_inputs(model: ScenarioModel) -> None:
    x = samples(2, 1, 3, SYMBOLS, FFT_SIZE, seed=1)
    h = over_symbols(samples(2, 3, 1, 1, 16, FFT_SIZE, seed=2))
    block = ZFPrecoder(grid(3), DOWNLINK, model)
    with pytest.raises(TypeError, match="h is bool, numbers are needed"):
        block(x, h.real > 0)
    with pytest.raises(ValueError, match="There are subcarriers: 100 of x, 192 of h"):
        block(x[..., :100], h)
    with pytest.raises(ValueError, match="The model knows pseudo_inverse of 3 x 16; 3 x 8 is"):
        block(x, h[:, :, :, :, :8])
    with pytest.raises(TypeError, match="links is float32, integer link indices are needed"):
        block(x, h, links=np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"links has the shape \(2, 3\)"):
        block(x, h, links=np.zeros([2, 3], np.int64))
    with pytest.raises(ValueError, match="alpha has the shape"):
        block(x, h, np.zeros([2, 1, 1, 1, 1]))
    few = ZFPrecoder(grid(6), StreamManagement(np.ones([3, 1]), 6), model)
    with pytest.raises(ValueError, match="make 3 rows of a transmitter's channel, but it has 6"):
        few(np.concatenate([x, x], axis=2), h)
    unknown = [tf.TensorSpec(z.shape, tf.complex64) for z in (x, h)]
    unknown[1] = tf.TensorSpec([2, 3, 1, 1, None, SYMBOLS, FFT_SIZE], tf.complex64)
    with pytest.raises(ValueError, match="must be known when it is built"):
        tf.function(block.__call__, input_signature=unknown).get_concrete_function()


def test_noise() -> None:
    y, h = samples(1, 1, 8, SYMBOLS, FFT_SIZE, seed=1), samples(1, 1, 8, 3, 1, SYMBOLS, 180, seed=2)
    block = MMSEEqualizer(grid(1, 3), UPLINK, Exact())
    with pytest.raises(ValueError, match="no has the shape"):
        block(y, h, 0.0, np.zeros([1, 1, 8, 1]))
    with pytest.raises(ValueError, match="err_var has the shape"):
        block(y, h, np.zeros([1] * 8), 0.1)
    beamformer = SVDBeamformer(grid(2), SINGLE, Exact(), power="waterfilling")
    x, down = samples(1, 1, 2, SYMBOLS, FFT_SIZE, seed=3), samples(1, 1, 4, 1, 8, 4, 192, seed=4)
    with pytest.raises(ValueError, match="no is missing"):
        beamformer(x, down)
    with pytest.raises(ValueError, match="2 streams are more than the antennas of a link of 1 x 8"):
        beamformer(x, down[:, :, :1], no=0.1)
    with pytest.raises(ValueError, match="2 streams are more than the antennas of a link of 1 x 8"):
        SVDCombiner(grid(2), SINGLE, Exact())(x[:, :, :1], down[:, :, :1], 0.1)


def test_models(folder: Path, sharded: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no model: model\.json is missing"):
        ScenarioModel.load(tmp_path)
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    manifest = json.loads((copy / "model.json").read_text())
    svd = manifest["operations"]["svd"]
    svd["mapping"]["axis"] = {"kind": "time", "duration": 0.02, "num_nodes": 9, "power": 0.0}
    (copy / "model.json").write_text(
        sealed(manifest["name"], manifest["scenario"], manifest["operations"])
    )
    with pytest.raises(ValueError, match='The TensorFlow blocks have no axis "time"'):
        ScenarioModel.load(copy)
    (copy / "model.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ValueError, match="has the model format 99"):
        ScenarioModel.load(copy)
    (copy / "model.json").write_text((folder / "model.json").read_text())
    (copy / svd["file"]).write_bytes(b"half a file")
    with pytest.raises(ValueError, match="is missing, truncated or damaged"):
        ScenarioModel.load(copy)
    shards = Path(shutil.copytree(sharded, tmp_path / "sharded"))
    index = shards / "svd.safetensors.index.json"
    manifest = json.loads(index.read_text())
    first, *others = manifest["weight_map"]
    index.write_text(
        json.dumps({"weight_map": {key: manifest["weight_map"][key] for key in others}})
    )
    with pytest.raises(ValueError, match=r"index\.json .* damaged \(.* lacks links from 0\)"):
        ScenarioModel.load(shards)
    index.write_text(json.dumps(manifest))
    (shards / manifest["weight_map"][first]).unlink()
    with pytest.raises(ValueError, match=r"svd-00000000-00000001\.safetensors is missing"):
        ScenarioModel.load(shards)
    one = ScenarioModel.load(folder)
    del one.models["svd"]
    with pytest.raises(ValueError, match="The model knows pseudo_inverse; svd is needed"):
        SVDBeamformer(grid(2), SINGLE, one)
    assert "pseudo_inverse: 4 links of 3 x 16" in repr(one)
