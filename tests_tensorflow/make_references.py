"""Train a small model and write it, with inputs and outputs of the PyTorch blocks, to a folder.

    python -m tests_tensorflow.make_references FOLDER

Run in the package's own environment; the tests beside this file read the folder in one of Sionna
1.2.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

import neumatc_mimo as nm
from benchmarks.small import small_model
from neumatc_mimo.blocks import MMSEDetector, MMSEEqualizer, SVDBeamformer, SVDCombiner, ZFPrecoder
from neumatc_mimo.model import OperationModel
from neumatc_mimo.model.packing import pack_model, shared_tensors, write_manifest
from neumatc_mimo.storage.shards import write_index, write_shard
from tests_tensorflow.grids import FFT_SIZE, SYMBOLS, grid_settings

# Links of the batch: two apart, and one that was not trained.
LINKS = [2, 0, -1]
NO = 0.01
# Of each operation, as a training on a cluster may have left them.
SHARDS = [range(0, 1), range(1, 4)]
# Single precision leaves the differences of two programs in the phase of weak singular vectors.
DOUBLE = "double"


def main(folder: Path) -> None:
    """Write ``model/``, the same in ``sharded/``, and ``references.npz``."""
    folder.mkdir(parents=True, exist_ok=True)
    model = small_model()
    model.save(folder / "model")
    _write_sharded(model, folder / "sharded")
    arrays: dict[str, Any] = {}
    _multi_user(model, arrays)
    _single_user(model, arrays)
    np.savez(folder / "references.npz", **arrays)


def _write_sharded(model: nm.ScenarioModel, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    operations = {}
    for name, one in model.models.items():
        _, operations[name] = pack_model(one)
        for links in SHARDS:
            tensors, _ = pack_model(_part(one, links))
            write_shard(folder, name, links, tensors, shared_tensors(one), {})
        write_index(folder, name, SHARDS)
    write_manifest(folder, model.name, model.scenario, operations)


def _part(model: OperationModel, links: range) -> OperationModel:
    """The model of some of its links."""
    chosen = torch.tensor(links)
    return replace(
        model,
        mapping=model.mapping.select(chosen),
        links=model.links.select(chosen),
        marks=model.marks[chosen],
    )


def _multi_user(model: nm.ScenarioModel, arrays: dict[str, Any]) -> None:
    h = _channels(model, "pseudo_inverse", "h_users", arrays)  # [batch_size, F, K, M]
    num_items, _, num_users, _ = h.shape
    rg = ResourceGrid(**grid_settings(num_users))
    x = _samples(num_items, 1, num_users, SYMBOLS, FFT_SIZE, seed=1)
    y = _samples(num_items, 1, 16, SYMBOLS, FFT_SIZE, seed=2)
    # [batch_size, num_rx, 1, 1, num_tx_ant, symbols, F]
    down = h.permute(0, 2, 3, 1)[:, :, None, None, :, None].expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
    precoder = ZFPrecoder(
        rg, StreamManagement(np.ones([num_users, 1]), num_users), model, True, DOUBLE
    )
    arrays["zf"], arrays["zf_effective"] = precoder(x, down)
    arrays["rzf"], _ = precoder(x, down, NO)
    # The transmitters of the uplink share the pilots of the streams of the downlink.
    rg = ResourceGrid(**grid_settings(1, num_users))
    up = h.permute(0, 3, 2, 1)[:, None, :, :, None, None].expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
    up = up[..., torch.as_tensor(rg.effective_subcarrier_ind, dtype=torch.int64)]
    sm = StreamManagement(np.ones([1, num_users]), 1)
    arrays["mmse"], arrays["mmse_no_eff"] = MMSEEqualizer(rg, sm, model, precision=DOUBLE)(
        y, up, 0.0, NO
    )
    detector = MMSEDetector("bit", "app", rg, sm, model, "qam", 4, precision=DOUBLE)
    arrays["llr"] = detector(y, up, 0.0, NO)
    arrays |= {"x_users": x, "y_users": y}


def _single_user(model: nm.ScenarioModel, arrays: dict[str, Any]) -> None:
    h = _channels(model, "svd", "h_user", arrays)  # [batch_size, F, m, M]
    num_items = len(h)
    rg, sm = ResourceGrid(**grid_settings(2)), StreamManagement(np.ones([1, 1]), 2)
    x, y = (
        _samples(num_items, 1, 2, SYMBOLS, FFT_SIZE, seed=3),
        _samples(num_items, 1, 4, SYMBOLS, FFT_SIZE, seed=4),
    )
    down = h.permute(0, 2, 3, 1)[:, None, :, None, :, None].expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
    for power in ("uniform", "waterfilling"):
        beamformer = SVDBeamformer(rg, sm, model, True, power, DOUBLE)
        arrays[f"svd_{power}"], arrays[f"svd_{power}_effective"] = beamformer(x, down, no=NO)
        combiner = SVDCombiner(rg, sm, model, DOUBLE, power=power)
        arrays[f"combined_{power}"], arrays[f"combined_{power}_no_eff"] = combiner(y, down, NO)
    arrays |= {"x_user": x, "y_user": y}


def _channels(
    model: nm.ScenarioModel, operation: str, name: str, arrays: dict[str, Any]
) -> torch.Tensor:
    """Channels [batch_size, F, K, M] of some links, and of a stranger.

    The rows of a link share their gain, but neither phase nor order.
    """
    links = model.models[operation].links
    known = [link for link in LINKS if link >= 0]
    h = links.channel(links.grid_frequencies(), known, dtype=torch.complex128)
    h[0] *= 1.5j
    if operation == "pseudo_inverse":
        h[1] = h[1][:, [2, 0, 1]] * torch.tensor([1, 1j, -1])[:, None]
    stranger = _samples(*h[:1].shape, seed=5)
    arrays[name] = h = torch.cat([h, stranger])
    return h


def _samples(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
