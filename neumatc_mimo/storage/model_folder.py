"""Model folders: a manifest, and the tensors of each operation in files that it names.

Reading executes nothing. Every tensor is compared with its SHA-256 in the manifest while it is
read, so that what is loaded is one whole model, bit by bit what was saved, whoever writes to the
folder meanwhile.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from neumatc_mimo.storage.files import Location, child, is_folder
from neumatc_mimo.storage.manifest import (
    MANIFEST,
    MOST_BYTES,
    is_left,
    named_files,
    sealed,
    unsealed,
)
from neumatc_mimo.storage.names import check_operation, check_plain
from neumatc_mimo.storage.packed import check_packed
from neumatc_mimo.storage.places import Place, place
from neumatc_mimo.storage.shard_index import damage_of, indexed_files, is_shard, read_indexed
from neumatc_mimo.storage.tensor_file import Array, TensorFile, opened, write_arrays

M = TypeVar("M")

# How often a model is read that others replace meanwhile; files that are open stay what they are,
# so that once is nearly always enough.
_TRIES = 20

# What a writer that was killed left is removed by one that comes a day later: nobody takes as long
# from a file to the manifest that names it.
_ABANDONED_SECONDS = 24 * 3600.0

# An operation's name, its tensors and its values for the manifest.
Packed = tuple[str, Mapping[str, Array], Mapping[str, Any]]


def read_model(
    folder: Location, unpack: Callable[[dict[str, Array], dict[str, Any]], M]
) -> tuple[dict[str, Any], dict[str, M]]:
    """Read a model folder; nothing in it is executed, and nothing of it stays open.

    :param folder: a path, or a URL; its files are copied to this machine while they are read
    :param unpack: makes the model of one operation from its tensors, which are its own, and its
        part of the manifest

    :return: the manifest, and the models by the names of their operations
    :raises FileNotFoundError: if there is no model in the folder
    :raises ValueError: if it is damaged or of another format
    :raises OSError: if it cannot be read, or was replaced again and again while it was
    """
    name, source = os.fspath(folder), place(folder)
    for _ in range(_TRIES):
        content = _manifest(source, name)
        try:
            return _read(source, name, content, unpack)
        except (ValueError, OSError):
            # Files of a model that was replaced are gone; the new one is read in its place.
            if _manifest(source, name) == content:
                raise
    raise OSError(f"{name} was replaced while it was read; read it again.")


def write_model(
    folder: Location, name: str, scenario: Mapping[str, Any], models: Iterable[Packed]
) -> None:
    """Write a model folder in the place of an older one, if any: whole or not at all.

    Others may write and read there at the same time: one of those who write comes last. Files that
    are of no model stay.

    :param name: of the scenario
    :param scenario: what the models were trained on, plain values
    :param models: operations with their tensors and values

    :raises ValueError: if a name could lead out of the folder, or if the folder holds files but no
        model, see :func:`check_folder`
    :raises OSError: if it cannot be written; what was there before stays
    """
    # Before anything is written, all that can be refused is.
    sealed(name, scenario, {})
    check_folder(folder)
    target, written = place(folder), list[str]()
    made = target.make()
    try:
        operations = {}
        for operation, tensors, values in models:
            file = f"{check_operation(operation)}-{secrets.token_hex(8)}.safetensors"
            written.append(file)
            digests = target.add(file, partial(write_arrays, arrays=tensors))
            operations[operation] = {**values, "file": file, "tensors": digests}
        text = sealed(name, scenario, operations)
        with target.alone():
            old = _files(target)
            target.replace(MANIFEST, text)
    except BaseException:
        target.remove(written)
        if made:
            target.unmake()
        raise
    # The model is there: what cannot be removed does no harm.
    abandoned = filter(is_left, target.older(MANIFEST, _ABANDONED_SECONDS))
    target.remove({*old, *abandoned} - set(written))


def check_folder(folder: Location) -> None:
    """Find out, before minutes of work, whether a model may be written to a folder.

    :raises ValueError: if files but no model are there, if it is a file, a whole file system or
        bucket, or the current folder or one above it
    :raises OSError: if the file system does not answer
    """
    place(folder).check(MANIFEST, is_left)


def holds_model(folder: Location) -> bool:
    """Whether a model is in a folder.

    :raises OSError: if the file system does not answer
    """
    return is_folder(folder) and place(folder).read(MANIFEST, MOST_BYTES) is not None


def _manifest(source: Place, name: str) -> bytes:
    """The manifest of a folder as it is."""
    try:
        content = source.read(MANIFEST, MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"{name}/{MANIFEST} is damaged: {error}.") from None
    if content is None:
        raise FileNotFoundError(f"{name} holds no model: {MANIFEST} is missing.")
    return content


def _read(
    source: Place,
    name: str,
    content: bytes,
    unpack: Callable[[dict[str, Array], dict[str, Any]], M],
) -> tuple[dict[str, Any], dict[str, M]]:
    """The model that a manifest names."""
    manifest = unsealed(content, name)
    models = {}
    with ExitStack() as stack:
        # All files are opened before one is read: who replaces the model may remove them then.
        readers = {
            operation: _reader(source, operation, values, stack)
            for operation, values in manifest["operations"].items()
        }
        for operation, values in manifest["operations"].items():
            tensors = readers[operation]()
            with _lies_of(operation, name):
                check_packed(tensors, values)
                models[operation] = unpack(tensors, values)
    return manifest, models


def _reader(
    source: Place, operation: str, values: Mapping[str, Any], stack: ExitStack
) -> Callable[[], dict[str, Array]]:
    """What reads the tensors of an operation; their file is open, unless they lie in shards."""
    name, digests = values["file"], values["tensors"]
    if name is None:
        return partial(read_indexed, source, operation, digests)
    label = child(source.folder, check_plain("The file of a model", name))
    with damage_of(label):
        opener = opened(stack.enter_context(source.file(name)))
        return partial(_read_all, label, stack.enter_context(opener), digests)


def _read_all(label: Location, file: TensorFile, digests: Mapping[str, str]) -> dict[str, Array]:
    with damage_of(label):
        return {name: file.read(name, digest) for name, digest in digests.items()}


@contextmanager
def _lies_of(operation: str, name: str) -> Iterator[None]:
    """Tell in one sentence of a manifest and tensors that make no model."""
    try:
        yield
    except _LIES as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(
            f"The model of {operation} in {name} is refused: {said.rstrip('.')}."
        ) from error


# What making a model raises of values that are no model's.
_LIES = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    MemoryError,
)


def _files(target: Place) -> set[str]:
    """The files that the manifest of a folder names, as far as it can be read."""
    found: set[str] = set()
    with suppress(OSError, ValueError):
        content = target.read(MANIFEST, MOST_BYTES)
        found = set() if content is None else named_files(content)
    for index in [name for name in found if name.endswith(".index.json")]:
        operation = index.partition(".")[0]
        with suppress(ValueError), damage_of(index):
            found |= {file for file in indexed_files(target, operation) if is_shard(file)}
    return found


__all__ = ["check_folder", "read_model", "write_model"]
