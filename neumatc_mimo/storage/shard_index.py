"""Which file holds which tensor: the index of a model's shards.

Beside shards lies an index, as beside large models of Hugging Face: ``weight_map`` tells which file
holds a tensor. One that is spread over files is there in pieces, named after the links that they
hold, such as ``mapping.latent.0[128:256]``. What each has to be, the manifest says.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from neumatc_mimo.storage.files import Location, child
from neumatc_mimo.storage.names import is_plain, is_ragged, shown
from neumatc_mimo.storage.places import Place
from neumatc_mimo.storage.tensor_file import Array, TensorFile, opened, parsed

_PIECE = re.compile(r"(.+)\[(\d{1,12}):(\d{1,12})\]")

# Of a shard: the name of what it holds, and its links.
SHARD = re.compile(r"(.+)-(\d{8})-(\d{8})\.safetensors")

# Bytes that no index takes.
_MOST_BYTES = 2**28


def read_indexed(source: Place, name: str, digests: Mapping[str, str]) -> dict[str, Array]:
    """Read the tensors of ``name`` from the shards in its index.

    Nothing is held twice: pieces are read to where they belong, but those of which links have any
    number of rows.

    :param digests: of all tensors and pieces by name, as the manifest has them

    :raises ValueError: if a file is missing, truncated, damaged, or not what the manifest says
    """
    with damage_of(child(source.folder, index_name(name))):
        index = _index(source, name)
        files = _files_of(index)
        keys = [key for keys in files.values() for key in keys]
        sizes = num_links(keys)
        if sorted(keys) != sorted(digests):
            raise ValueError("its tensors are not those of the model")
    tensors: dict[str, Array] = {}
    ragged: defaultdict[str, dict[int, Array]] = defaultdict(dict)
    size = 0
    for file, keys in files.items():
        label = child(source.folder, file)
        with damage_of(label), source.file(file) as path, opened(path) as shard:
            # Its values are for a training that goes on, and prove here that no bit of it flipped.
            digests_in(shard)
            size += num_bytes(shard)
            for key in keys:
                name, links = parsed_name(key)
                if links is not None and is_ragged(name):
                    ragged[name][links.start] = shard.read(key, digests[key])
                else:
                    _read(shard, key, digests[key], sizes, tensors)
            # What is the same for all links is in every shard, and has to be.
            for key in shard.entries.keys() - set(keys):
                shard.read(key, digests[key])
    with damage_of(child(source.folder, index_name(name))):
        if index["metadata"]["total_size"] != size:
            raise ValueError(f"its tensors take {size} bytes")
        for key, pieces in ragged.items():
            if len({piece.dtype for piece in pieces.values()}) > 1:
                raise ValueError(f"pieces of {shown(key)} have several types")
            tensors[key] = np.concatenate([pieces[start] for start in sorted(pieces)])
    return tensors


def indexed_files(source: Place, name: str) -> dict[str, list[str]]:
    """Names of the tensors and pieces in each file of the index of ``name``; none without one.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is no index
    """
    return _files_of(_index(source, name))


def digests_in(shard: TensorFile) -> dict[str, str]:
    """The SHA-256 of the tensors of a shard, as its header tells it.

    :raises ValueError: if the header is not bit by bit what was written
    """
    if shard_seal(shard.metadata) != shard.metadata["sha256"]:
        raise ValueError("its SHA-256 is another")
    digests = dict(parsed(shard.metadata["digests"].encode()))
    if digests.keys() != shard.entries.keys():
        raise ValueError("its tensors are not those that were written")
    return digests


def shard_seal(header: Mapping[str, str]) -> str:
    """SHA-256 of the values and digests in the header of a shard."""
    return hashlib.sha256(f"{header['values']}\n{header['digests']}".encode()).hexdigest()


def num_bytes(shard: TensorFile) -> int:
    """Bytes of the tensors of a shard."""
    return sum(entry.stop - entry.start for entry in shard.entries.values())


def index_name(name: str) -> str:
    """Name of the file that is the index of ``name``."""
    return f"{name}.safetensors.index.json"


def is_shard(file: str) -> bool:
    """Whether a file's name is that of a shard."""
    return SHARD.fullmatch(file) is not None


def piece_name(name: str, links: range) -> str:
    """Name of the piece of a tensor that some links have."""
    return f"{name}[{links.start}:{links.stop}]"


def parsed_name(key: str) -> tuple[str, range | None]:
    """A tensor's name, and the links of which this is a piece; None for all of it."""
    match = _PIECE.fullmatch(key)
    return (key, None) if match is None else (match[1], range(int(match[2]), int(match[3])))


def num_links(keys: Iterable[str]) -> dict[str, int]:
    """Number of links of each tensor that is there in pieces, none of which may be missing.

    :raises ValueError: if one is missing, or tensors have different numbers
    """
    found: defaultdict[str, list[range]] = defaultdict(list)
    for key in keys:
        name, links = parsed_name(key)
        if links is not None:
            found[name].append(links)
    sizes = {}
    for name, pieces in found.items():
        stop = 0
        for links in sorted(pieces, key=lambda r: r.start):
            if links.start != stop:
                raise ValueError(f"{shown(name)} lacks links from {stop}")
            stop = links.stop
        sizes[name] = stop
    if len(set(sizes.values())) > 1:
        raise ValueError(f"its tensors have {sorted(set(sizes.values()))} links")
    return sizes


@contextmanager
def damage_of(file: Location) -> Iterator[None]:
    """Tell of a file that cannot be read in one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(
            f"{file} is missing, truncated or damaged (there is no such file)."
        ) from None
    except _DAMAGE as error:
        said = " ".join(str(error).split())
        reason = f"lacks {said}" if isinstance(error, KeyError) else f"({said})"
        raise ValueError(f"{file} is missing, truncated or damaged {reason}.") from None


# What reading a file raises that is not what it should be.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError)


def _index(source: Place, name: str) -> dict[str, Any]:
    """What the index of ``name`` says."""
    content = source.read(index_name(name), _MOST_BYTES)
    if content is None:
        raise FileNotFoundError("there is no such file")
    return dict(parsed(content))


def _files_of(index: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the tensors and pieces in each file of an index."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for key, file in dict(index["weight_map"]).items():
        # An index does not lead to other folders.
        if not is_plain(file):
            raise ValueError(f"it names the file {shown(file)}")
        files[file].append(key)
    return files


def _read(
    shard: TensorFile,
    key: str,
    digest: str,
    sizes: Mapping[str, int],
    tensors: dict[str, Array],
) -> None:
    """Read a tensor, or a piece of one to its place."""
    name, links = parsed_name(key)
    if links is None:
        tensors[name] = shard.read(key, digest)
        return
    dtype, (count, *rest) = shard.dtype(key), shard.shape(key) or (0,)
    if name not in tensors:
        tensors[name] = np.empty([sizes[name], *rest], dtype)
    whole = tensors[name]
    if count != len(links) or whole.dtype != dtype or whole.shape[1:] != tuple(rest):
        raise ValueError(f"{key} is {dtype} of the shape {list(shard.shape(key))}")
    shard.read(key, digest, into=whole[links.start : links.stop])


__all__ = [
    "SHARD",
    "damage_of",
    "digests_in",
    "index_name",
    "indexed_files",
    "is_shard",
    "num_bytes",
    "num_links",
    "parsed_name",
    "piece_name",
    "read_indexed",
    "shard_seal",
]
