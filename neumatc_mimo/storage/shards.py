"""Tensors in several safetensors files: each holds those of some links, an index joins them.

A single file is one shard. Beside several lies an index, as beside large models of Hugging Face:
``weight_map`` tells which file holds a tensor. One that is spread over files is there in pieces,
named after the links that they hold, such as ``mapping.latent.0[128:256]``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from neumatc_mimo.storage.files import replaced, write_text
from neumatc_mimo.storage.shard_index import (
    damage_of,
    index_file,
    num_links,
    parsed,
    piece_name,
    read_indexed,
)
from neumatc_mimo.storage.tensor_file import write_tensors

_SHARD = re.compile(r"(.+)-(\d{8})-(\d{8})\.safetensors")


def read_tensors(folder: Path, name: str, device: str = "cpu") -> dict[str, Tensor]:
    """Read the tensors of ``name``: those of its one file, or of the shards in its index.

    Beside the result, at most one piece of a tensor is held at once.

    :raises ValueError: if a file is missing, truncated, damaged, or not what the index says
    """
    return read_indexed(
        folder,
        name,
        lambda file: safe_open(file, "pt", device=device),
        lambda piece, shape: piece.new_empty(shape),
    )


def write_shard(
    folder: Path,
    name: str,
    links: range,
    tensors: Mapping[str, Tensor],
    shared: Collection[str],
    values: Mapping[str, Any],
) -> Path:
    """Write the tensors of some links to a file of their own, whole or not at all.

    :param links: which of all links these are
    :param tensors: of as many links each, in the first dimension
    :param shared: names of tensors that are the same for all links, which are in every shard
    :param values: that JSON can hold, written into the file's header

    :raises OSError: if the file cannot be written
    """
    pieces = {
        key if key in shared else piece_name(key, links): t.cpu().contiguous()
        for key, t in tensors.items()
    }
    header = {"values": json.dumps(values)}
    header["sha256"] = _digest(pieces, header["values"])

    file = shard_file(folder, name, links)
    return replaced(file, lambda part: write_tensors(part, pieces, header))


def read_shard(
    folder: Path, name: str, links: range, device: str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and values of one shard, as :func:`write_shard` was given them.

    :raises ValueError: if the file is missing or not bit by bit what was written
    """
    with damage_of(shard_file(folder, name, links)) as file, safe_open(file, "pt") as opened:
        header = opened.metadata() or {}
        pieces = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        if _digest(pieces, header["values"]) != header["sha256"]:
            raise ValueError("its SHA-256 is another")
        values: dict[str, Any] = json.loads(header["values"])
    return {parsed(key)[0]: t.to(device) for key, t in pieces.items()}, values


def found_shards(folder: Path, name: str) -> list[range]:
    """Links of the shards of ``name`` that lie in a folder, in their order, valid or not."""
    names = (_SHARD.fullmatch(file.name) for file in folder.glob(f"{name}-*.safetensors"))
    ranges = (range(int(m[2]), int(m[3])) for m in names if m is not None and m[1] == name)
    return sorted(ranges, key=lambda links: (links.start, links.stop))


def write_index(folder: Path, name: str, shards: Sequence[range]) -> Path:
    """Write the index of shards that hold all links, in their order.

    :raises OSError: if it cannot be written
    :raises ValueError: if a shard is damaged, or links are missing
    """
    places: dict[str, str] = {}
    size = 0
    for links in shards:
        with damage_of(shard_file(folder, name, links)) as file:
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118
                    places.setdefault(key, file.name)
            with file.open("rb") as raw:
                size += file.stat().st_size - 8 - int.from_bytes(raw.read(8), "little")
    num_links(places)
    index = {"metadata": {"total_size": size}, "weight_map": places}
    return write_text(index_file(folder, name), json.dumps(index, indent=2))


def shard_file(folder: Path, name: str, links: range) -> Path:
    """File of a shard; named after its links alone, so that nobody need know how many there are."""
    return folder / f"{name}-{links.start:08}-{links.stop:08}.safetensors"


def _digest(pieces: Mapping[str, Tensor], values: str) -> str:
    """SHA-256 of names, types, shapes and bytes, and of the values beside them."""
    digest = hashlib.sha256(values.encode())
    for key in sorted(pieces):
        piece = pieces[key]
        digest.update(f"{key} {piece.dtype} {list(piece.shape)}".encode())
        digest.update(piece.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


__all__ = [
    "found_shards",
    "read_shard",
    "read_tensors",
    "shard_file",
    "write_index",
    "write_shard",
]
