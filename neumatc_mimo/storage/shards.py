"""Tensors of some links in a file of their own, and the index that joins such files.

The header of a shard carries values beside the tensors, the SHA-256 of each tensor, and one of
these and the values.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.storage.files import replaced, write_text
from neumatc_mimo.storage.places import place
from neumatc_mimo.storage.shard_index import (
    SHARD,
    damage_of,
    digests_in,
    index_name,
    indexed_files,
    num_bytes,
    num_links,
    parsed_name,
    piece_name,
    shard_seal,
)
from neumatc_mimo.storage.tensor_file import digest_of, opened, parsed, write_arrays


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
    :param tensors: of as many links each, in the first dimension, or with any number of rows for
        each (:data:`~neumatc_mimo.storage.names.RAGGED`)
    :param shared: names of tensors that are the same for all links, which are in every shard
    :param values: that JSON can hold, written into the file's header

    :raises OSError: if the file cannot be written
    """
    pieces = {
        key if key in shared else piece_name(key, links): t.detach().cpu().numpy()
        for key, t in tensors.items()
    }
    digests = json.dumps({key: digest_of(piece) for key, piece in pieces.items()})
    header = {"values": json.dumps(values), "digests": digests}
    header["sha256"] = shard_seal(header)
    file = shard_file(folder, name, links)
    return replaced(file, lambda part: write_arrays(part, pieces, header))


def read_shard(
    folder: Path, name: str, links: range, device: str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and values of one shard, as :func:`write_shard` was given them.

    :raises ValueError: if the file is missing or not bit by bit what was written
    """
    file = shard_file(folder, name, links)
    with damage_of(file), opened(file) as shard:
        digests = digests_in(shard)
        pieces = {key: torch.from_numpy(shard.read(key, digests[key])) for key in digests}
        values: dict[str, Any] = parsed(shard.metadata["values"].encode())
    return {parsed_name(key)[0]: t.to(device) for key, t in pieces.items()}, values


def found_shards(folder: Path, name: str) -> list[range]:
    """Links of the shards of ``name`` that lie in a folder, in their order, valid or not."""
    names = (SHARD.fullmatch(file.name) for file in folder.glob(f"{name}-*.safetensors"))
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
        file = shard_file(folder, name, links)
        with damage_of(file), opened(file) as shard:
            for key in digests_in(shard):
                places.setdefault(key, file.name)
            size += num_bytes(shard)
    num_links(places)
    index = {"metadata": {"total_size": size}, "weight_map": places}
    return write_text(folder / index_name(name), json.dumps(index, indent=2))


def indexed_digests(folder: Path, name: str) -> dict[str, str]:
    """The SHA-256 of all tensors and pieces in the index of ``name``, as the shards tell it.

    :raises ValueError: if the index or a shard's header is damaged
    """
    with damage_of(folder / index_name(name)):
        files = indexed_files(place(folder), name)
    found = {}
    for file, keys in files.items():
        with damage_of(folder / file), opened(folder / file) as shard:
            digests = digests_in(shard)
            found.update({key: digests[key] for key in keys})
    return found


def shard_file(folder: Path, name: str, links: range) -> Path:
    """File of a shard; named after its links alone, so that nobody need know how many there are."""
    return folder / f"{name}-{links.start:08}-{links.stop:08}.safetensors"


__all__ = [
    "found_shards",
    "indexed_digests",
    "read_shard",
    "shard_file",
    "write_index",
    "write_shard",
]
