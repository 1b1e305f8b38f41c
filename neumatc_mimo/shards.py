"""Tensors in several safetensors files: each holds those of some links, an index joins them.

A single file is one shard. Beside several lies an index, as beside large models of Hugging Face:
``weight_map`` tells which file holds a tensor. One that is spread over files is there in pieces,
named after the links that they hold, such as ``mapping.latent.0[128:256]``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from neumatc_mimo.files import replaced, write_text
from neumatc_mimo.tensor_file import write_tensors

_PIECE = re.compile(r"(.+)\[(\d+):(\d+)\]")
_SHARD = re.compile(r"(.+)-(\d{8})-(\d{8})\.safetensors")


def read_tensors(folder: Path, name: str, device: str = "cpu") -> dict[str, Tensor]:
    """Read the tensors of ``name``: those of its one file, or of the shards in its index.

    Beside the result, at most one piece of a tensor is held at once.

    :raises ValueError: if a file is missing, truncated, damaged, or not what the index says
    """
    index = _index(folder, name)
    if not index.exists():
        with _damage_of(folder / f"{name}.safetensors") as file:
            return load_file(file, device=device)
    pieces: defaultdict[str, list[str]] = defaultdict(list)
    with _damage_of(index):
        for key, place in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items():
            # Its name alone: an index does not lead to other folders.
            pieces[Path(place).name].append(key)
        sizes = _sizes(key for keys in pieces.values() for key in keys)
    tensors: dict[str, Tensor] = {}
    for place, keys in pieces.items():
        with _damage_of(folder / place) as file, safe_open(file, "pt", device=device) as opened:
            for key in keys:
                piece = opened.get_tensor(key)
                of, links = _parsed(key)
                if links is None:
                    tensors[of] = piece
                    continue
                if of not in tensors:
                    tensors[of] = piece.new_empty(sizes[of], *piece.shape[1:])
                if piece.shape != (len(links), *tensors[of].shape[1:]):
                    raise ValueError(f"{key} has the shape {list(piece.shape)}")
                tensors[of][links.start : links.stop] = piece
    return tensors


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
        key if key in shared else f"{key}[{links.start}:{links.stop}]": t.cpu().contiguous()
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
    with _damage_of(shard_file(folder, name, links)) as file, safe_open(file, "pt") as opened:
        header = opened.metadata() or {}
        pieces = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        if _digest(pieces, header["values"]) != header["sha256"]:
            raise ValueError("its SHA-256 is another")
        values: dict[str, Any] = json.loads(header["values"])
    return {_parsed(key)[0]: t.to(device) for key, t in pieces.items()}, values


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
        with _damage_of(shard_file(folder, name, links)) as file:
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118
                    places.setdefault(key, file.name)
            with file.open("rb") as raw:
                size += file.stat().st_size - 8 - int.from_bytes(raw.read(8), "little")
    _sizes(places)
    card = {"metadata": {"total_size": size}, "weight_map": places}
    return write_text(_index(folder, name), json.dumps(card, indent=2))


def shard_file(folder: Path, name: str, links: range) -> Path:
    """File of a shard; named after its links alone, so that nobody need know how many there are."""
    return folder / f"{name}-{links.start:08}-{links.stop:08}.safetensors"


def _index(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors.index.json"


def _parsed(key: str) -> tuple[str, range | None]:
    """A tensor's name, and the links of which this is a piece; None for all of it."""
    match = _PIECE.fullmatch(key)
    return (key, None) if match is None else (match[1], range(int(match[2]), int(match[3])))


def _sizes(keys: Collection[str] | Iterator[str]) -> dict[str, int]:
    """Number of links of each tensor that is there in pieces, none of which may be missing."""
    found: defaultdict[str, list[range]] = defaultdict(list)
    for key in keys:
        name, links = _parsed(key)
        if links is not None:
            found[name].append(links)
    sizes = {}
    for name, pieces in found.items():
        stop = 0
        for links in sorted(pieces, key=lambda r: r.start):
            if links.start != stop:
                raise ValueError(f"{name} lacks links from {stop}")
            stop = links.stop
        sizes[name] = stop
    if len(set(sizes.values())) > 1:
        raise ValueError(f"its tensors have {sorted(set(sizes.values()))} links")
    return sizes


def _digest(pieces: Mapping[str, Tensor], values: str) -> str:
    """SHA-256 of names, types, shapes and bytes, and of the values beside them."""
    digest = hashlib.sha256(values.encode())
    for key in sorted(pieces):
        piece = pieces[key]
        digest.update(f"{key} {piece.dtype} {list(piece.shape)}".encode())
        digest.update(piece.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _damage_of(file: Path) -> Iterator[Path]:
    """Tell of a file that cannot be read in one sentence."""
    try:
        yield file
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"({error})"
        raise ValueError(f"{file} is missing, truncated or damaged {reason}.") from None


__all__ = [
    "found_shards",
    "read_shard",
    "read_tensors",
    "shard_file",
    "write_index",
    "write_shard",
]
