"""What becomes of a saved model of which one bit has flipped.

``python -m benchmarks.bit_flips`` trains a small model, stores it in both ways, as ``save`` does
and in shards as a training on several machines does, and flips ten thousand bits, one at a time: as
many in each region of the files, in small regions all of them. Every time the folder is loaded
anew, which has to end in one of two ways. It is refused in one sentence, or every tensor, every
plain value and every answer is that of the model before, bit by bit.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import neumatc_mimo as nm
from benchmarks.command import say
from benchmarks.saved_models import (
    FOLDER,
    digest,
    digest_of_answers,
    is_sentence,
    train_in_shards,
)
from benchmarks.small import small_model, small_scenario
from neumatc_mimo.bench.sheet import Row, Sheet, origin, origin_line

# What a folder that was loaded, or was not, is counted as.
REFUSED = "refused"
HARMLESS = "loaded, the same"
OTHER = "loaded, another"
UNCLEAR = "refused unclearly"

_TOKEN = re.compile(
    rb'(?P<text>"(?:[^"\\]|\\.)*")|(?P<space>\s+)|(?P<mark>[][{}:,])|(?P<number>[^\s":,\[\]{}]+)'
)
_DIGEST = re.compile(rb'"[0-9a-f]{64}"')
_METADATA = b'"__metadata__":'
_CAPTION = (
    "A model of two operations, trained on four links each, stored as one file an operation "
    "(saved) and as two (shards). {flips} bits were flipped one at a time, drawn with the seed "
    "{seed}, and the folder was loaded after each. A model that loads is compared bit by bit: "
    "tensors, plain values and the answers at every link and subcarrier."
)


@dataclass
class Region:
    """Bytes of a kind, in one or more files.

    :param stored: "saved" or "shards"
    :param file: what the files are
    :param part: what the bytes are
    :param places: (file, number of a byte in it)
    """

    stored: str
    file: str
    part: str
    places: list[tuple[Path, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Whole:
    """What the folder says while it is sound.

    :param contents: digest of tensors and plain values
    :param answers: digest of all answers
    """

    contents: str
    answers: str

    @classmethod
    def of(cls, folder: Path) -> Whole:
        """That of a folder, loaded anew."""
        model = nm.ScenarioModel.load(folder)
        return cls(digest(model), digest_of_answers(model))


def regions_of(folder: Path, stored: str) -> list[Region]:
    """Every byte of every file of a model, by what it is."""
    found: dict[tuple[str, str], Region] = {}
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        kind, parts = _parts(file)
        for part, start, stop in parts:
            region = found.setdefault((kind, part), Region(stored, kind, part))
            region.places += [(file, byte) for byte in range(start, stop)]
    return list(found.values())


def shares(sizes: Sequence[int], total: int) -> list[int]:
    """As many for each, but no more than it has; what small ones leave goes to the others."""
    given = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for done, i in enumerate(order):
        given[i] = min(sizes[i], (total - sum(given)) // (len(sizes) - done))
    return given


def flipped(file: Path, byte: int, bit: int) -> None:
    """Flip one bit of a file on the disk."""
    with file.open("r+b") as raw:
        raw.seek(byte)
        value = raw.read(1)[0]
        raw.seek(byte)
        raw.write(bytes([value ^ 1 << bit]))


def outcome(folder: Path, whole: Whole) -> str:
    """What loading a folder comes to.

    :param whole: of the folder while it was sound
    """
    try:
        found = Whole.of(folder)
    except ValueError as error:
        # Of its own accord, not as a part of Python stumbled over it.
        return REFUSED if type(error) is ValueError and is_sentence(error) else UNCLEAR
    except Exception:
        return UNCLEAR
    return HARMLESS if found == whole else OTHER


def sheet(folders: dict[str, Path], flips: int, seed: int) -> Sheet:
    """Flip bits in all files of some folders.

    :param folders: how a model is stored → the folder
    :param flips: bits in all
    """
    wholes = {stored: Whole.of(folder) for stored, folder in folders.items()}
    regions = [
        region for stored, folder in folders.items() for region in regions_of(folder, stored)
    ]
    rng, started, rows = np.random.default_rng(seed), time.perf_counter(), list[Row]()
    counts = shares([8 * len(region.places) for region in regions], flips)
    for region, count in zip(regions, counts, strict=True):
        folder, whole = folders[region.stored], wholes[region.stored]
        rows.append(_row(region, folder, whole, count, rng))
        say(f"{region.stored}, {region.file}, {region.part}: {count} flips")
    for stored, folder in folders.items():
        assert Whole.of(folder) == wholes[stored], "the flips were not all put back"
    result = Sheet(
        "bit_flips",
        "Bit flips in saved models",
        _CAPTION.format(flips=f"{sum(counts):,}", seed=seed),
        [*rows, _sum(rows)],
    )
    result.seconds = time.perf_counter() - started
    return result


def _row(region: Region, folder: Path, whole: Whole, count: int, rng: np.random.Generator) -> Row:
    """Flip some bits of a region."""
    found, reasons = Counter[str](), set[str]()
    for place in rng.choice(8 * len(region.places), count, replace=False).tolist():
        file, byte = region.places[place // 8]
        before = file.read_bytes() if file.suffix == ".json" else b""
        flipped(file, byte, place % 8)
        try:
            what = outcome(folder, whole)
            if what == HARMLESS:
                reasons.add(_reason(file, before))
            if what in (OTHER, UNCLEAR):
                say(f"{what}: {file.name}, byte {byte}, bit {place % 8}")
        finally:
            flipped(file, byte, place % 8)
        found[what] += 1
    return {
        "stored": region.stored,
        "file": region.file,
        "part": region.part,
        "bytes": len(region.places),
        "flips": count,
        **{what: found[what] for what in (REFUSED, HARMLESS, OTHER, UNCLEAR)},
        "why it may load": "; ".join(sorted(reasons)) or None,
    }


def _sum(rows: Sequence[Row]) -> Row:
    added = {key: sum(row[key] for row in rows) for key in rows[0] if type(rows[0][key]) is int}
    return {key: added.get(key) for key in rows[0]} | {"stored": "all"}


def _reason(file: Path, before: bytes) -> str:
    """Why a flip in a file does no harm, as far as it can be told."""
    if file.name == "run.json":
        return "only a training that goes on reads it"
    if file.suffix == ".json" and json.loads(before) == json.loads(file.read_bytes()):
        return "the same number, written otherwise"
    return "it cannot be told"


def _parts(file: Path) -> tuple[str, Iterator[tuple[str, int, int]]]:
    """What a file is; its parts, each with the places of its first byte and behind its last."""
    if file.name == "run.json":
        return "run.json", iter([("all", 0, file.stat().st_size)])
    if file.suffix == ".json":
        kind = "index of the shards" if ".index." in file.name else file.name
        return kind, _parts_of_json(file.read_bytes())
    return "file of tensors", _parts_of_tensors(file.read_bytes())


def _parts_of_json(text: bytes) -> Iterator[tuple[str, int, int]]:
    names = {"space": "white space", "mark": "punctuation", "number": "numbers"}
    for token in _TOKEN.finditer(text):
        part = names.get(str(token.lastgroup))
        if part is None:
            is_name = text[token.end() : token.end() + 1] == b":"
            is_digest = _DIGEST.fullmatch(token[0]) is not None
            part = "names" if is_name else "SHA-256" if is_digest else "texts"
        yield part, token.start(), token.end()


def _parts_of_tensors(content: bytes) -> Iterator[tuple[str, int, int]]:
    """Those of a safetensors file."""
    begin = 8 + int.from_bytes(content[:8], "little")
    stop = len(content[:begin].rstrip(b" "))
    yield "length of the header", 0, 8
    middle = 8
    if content[9:].startswith(_METADATA):
        text = content[9 + len(_METADATA) : stop].decode()
        middle = 9 + len(_METADATA) + json.JSONDecoder().raw_decode(text)[1]
        yield "header, values and SHA-256", 8, middle
    yield "header, tensors", middle, stop
    yield "padding of the header", stop, begin
    yield "tensors", begin, len(content)


def main() -> None:
    """Train, flip, load and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bit_flips", description=__doc__)
    parser.add_argument("--flips", type=int, default=10_000, help="bits in all")
    parser.add_argument("--seed", type=int, default=0, help="of the bits")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = origin("benchmarks/bit_flips.py", "benchmarks/saved_models.py", "benchmarks/small.py")
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"saved": Path(temporary) / "saved", "shards": Path(temporary) / "shards"}
        scenario = small_scenario()
        small_model(scenario).save(folders["saved"])
        train_in_shards(scenario, folders["shards"])
        result = sheet(folders, arguments.flips, arguments.seed)
    arguments.output.mkdir(parents=True, exist_ok=True)
    result.write(arguments.output, source)
    print(f"{result.markdown()}\n{origin_line(source)}")
    if result.rows[-1][OTHER] or result.rows[-1][UNCLEAR]:
        sys.exit("Some flips were neither refused in one sentence nor harmless.")


if __name__ == "__main__":
    main()
