"""The manifest of a model folder: JSON that tells what the other files are.

It carries a SHA-256 of itself and one of each tensor, so that a bit that flips anywhere, and a file
of another model, are found while a model is read. What it says is checked before anything is made
of it: a value that nobody could have trained is refused in one sentence.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from neumatc_mimo.storage.manifest_schema import check_values
from neumatc_mimo.storage.names import check_operation, check_plain, is_plain, shown
from neumatc_mimo.storage.tensor_file import parsed

FORMAT_VERSION = 7

# The file that tells what the others of a model folder are.
MANIFEST = "model.json"

# Bytes that no manifest takes; that of a hundred thousand links has a tenth of them.
MOST_BYTES = 2**28

_SEAL = "sha256"
_KEYS = ("name", "scenario", "operations", _SEAL)

# What a model may name, and what a writer that was interrupted may leave.
_OWN = re.compile(r"[^\W\d]\w*-[0-9a-f]{16}\.safetensors|\.model\.json\.[0-9a-f]{16}")


def sealed(
    name: str, scenario: Mapping[str, Any], operations: Mapping[str, Mapping[str, Any]]
) -> str:
    """The text of a manifest.

    :param name: of the scenario
    :param scenario: what the models were trained on, plain values
    :param operations: values of each operation's model

    :raises ValueError: if a name could lead out of the folder
    """
    check_plain("The name of a model", name)
    for operation in operations:
        check_operation(operation)
    manifest = {
        "format": FORMAT_VERSION,
        "name": name,
        "scenario": scenario,
        "operations": operations,
    }
    # As a reader finds it: tuples have become lists.
    manifest = json.loads(json.dumps(manifest))
    return json.dumps(manifest | {_SEAL: _digest(manifest)}, indent=2)


def unsealed(content: bytes, name: str) -> dict[str, Any]:
    """What a manifest says.

    :param name: what errors call its folder

    :raises ValueError: if it is damaged, of another format, or says what cannot be
    """
    try:
        manifest = parsed(content)
    except ValueError as error:
        raise ValueError(f"{name}/{MANIFEST} is damaged: {error}.") from None
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{name} has the model format {shown(version)}, this version of the package reads "
            f"{FORMAT_VERSION}; update the package or train again."
        )
    lacking = [key for key in _KEYS if key not in manifest]
    if lacking:
        raise ValueError(f"{name}/{MANIFEST} is damaged: it lacks {', '.join(lacking)}.")
    seal = manifest.pop(_SEAL)
    if seal != _digest(manifest):
        raise ValueError(f"{name}/{MANIFEST} is damaged: its SHA-256 is another.")
    try:
        check_values(manifest)
    except ValueError as error:
        raise ValueError(f"{name}/{MANIFEST} is damaged: {error}.") from None
    return dict(manifest)


def named_files(content: bytes) -> set[str]:
    """The files beside it that a manifest names, of this format or one before; none if it is
    damaged. Whatever it says, these are files that a model may have.
    """
    found: set[str] = set()
    try:
        manifest = parsed(content)
        for operation, values in manifest["operations"].items():
            file, index = values.get("file"), f"{operation}.safetensors.index.json"
            if manifest["format"] < 6:  # which had these names without telling them
                found |= {f"{operation}.safetensors", index}
            else:
                found |= {index} if file is None else {file} if is_left(file) else set()
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()
    return set(filter(is_plain, found))


def is_left(name: str) -> bool:
    """Whether a name is that of a file which a writer that was interrupted may have left."""
    return _OWN.fullmatch(name) is not None


def _digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of plain values, however they are laid out in a file."""
    try:
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
    return hashlib.sha256(text.encode()).hexdigest()


__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "MOST_BYTES",
    "is_left",
    "named_files",
    "sealed",
    "unsealed",
]
