"""Safetensors files: those of the format's own library, and headers that lie."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from neumatc_mimo.storage.tensor_file import (
    digest_of,
    opened,
    parsed,
    read_regular,
    write_arrays,
)


def _arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "a": rng.standard_normal((3, 4)),
        "b": rng.standard_normal((2, 0)).astype(np.float32),
        "c": np.array(7, np.int8),
        "d": rng.integers(0, 2, 5).astype(bool),
        "e": np.arange(6).reshape(2, 3).T,
        "f": np.arange(3, dtype=">i2"),
    }


def test_files_are_those_of_the_library(tmp_path: Path) -> None:
    arrays = _arrays()
    digests = write_arrays(tmp_path / "ours", arrays, {"some": "text"})
    assert digests == {name: digest_of(array) for name, array in arrays.items()}
    theirs = load_file(tmp_path / "ours")
    assert theirs.keys() == arrays.keys()
    assert all(np.array_equal(theirs[name], array) for name, array in arrays.items())
    save_file({name: array.copy() for name, array in theirs.items()}, tmp_path / "theirs")
    for name in ("ours", "theirs"):
        with opened(tmp_path / name) as file:
            for key, array in arrays.items():
                read = file.read(key, digests[key])
                assert read.shape == array.shape and np.array_equal(read, array)
                assert read.flags.owndata or read.base.flags.owndata
                assert read.flags.writeable


def test_what_the_format_has_no_name_for_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="An array of complex128 cannot be written"):
        write_arrays(tmp_path / "file", {"a": np.zeros(2, complex)})
    assert not list(tmp_path.iterdir())


def test_nothing_stays_open_or_mapped(tmp_path: Path) -> None:
    file = tmp_path / "file"
    digests = write_arrays(file, {"a": np.arange(2.0**16)})
    with opened(file) as tensors:
        a = tensors.read("a", digests["a"])
    file.write_bytes(b"")
    assert np.array_equal(a, np.arange(2.0**16))
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(file) not in maps.read_text()


def test_another_tensor_is_refused(tmp_path: Path) -> None:
    digests = write_arrays(tmp_path / "file", {"a": np.arange(4.0), "b": np.arange(4)})
    with opened(tmp_path / "file") as file:
        with pytest.raises(ValueError, match="the SHA-256 of a is another"):
            file.read("a", digests["b"])
        with pytest.raises(ValueError, match="it lacks c"):
            file.read("c", digests["a"])
    # The same bytes in another shape, or of another type.
    assert digest_of(np.zeros(4)) != digest_of(np.zeros((2, 2)))
    assert digest_of(np.zeros(4)) != digest_of(np.zeros(4, np.int64))


def _entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


@pytest.mark.parametrize(
    "header",
    [
        [],
        3,
        {"a": 3},
        {"a": []},
        {"a": {}},
        {"a": _entry(dtype="F7")},
        {"a": _entry(dtype=["F32"])},
        {"a": _entry(shape=2)},
        {"a": _entry(shape=[-2])},
        {"a": _entry(shape=[2.0])},
        {"a": _entry(shape=[True, 2])},
        {"a": _entry(shape=[10**30])},
        {"a": _entry(shape=[1] * 1000)},
        {"a": _entry(shape=[3])},
        {"a": _entry(data_offsets=[0])},
        {"a": _entry(data_offsets=[8, 0])},
        {"a": _entry(data_offsets=[4, 12])},
        {"a": _entry(data_offsets=["0", "8"])},
        {"a": _entry(), "b": _entry()},
        {"a": _entry(shape=[0], data_offsets=[0, 0])},
        {"a": _entry(), "__metadata__": 3},
    ],
)
def test_headers_that_lie_are_refused(header: Any, tmp_path: Path) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "file").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ValueError), opened(tmp_path / "file"):
        pass


@pytest.mark.parametrize("entry", [3, {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}])
def test_names_are_quoted_and_not_at_length(entry: Any, tmp_path: Path) -> None:
    text = json.dumps({"a\n. b" * 10**4: entry}).encode()
    (tmp_path / "file").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ValueError, match=r"'a\\n\. b") as caught, opened(tmp_path / "file"):
        pass
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 8, b"\xff" * 7 + b"\x7f{}"])
def test_headers_longer_than_the_file_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="header"), opened(tmp_path / "file"):
        pass


@pytest.mark.parametrize("text", [b"[" * 10**5, b'{"a":' * 10**5, b"9" * 5000, b"\xff", b"{"])
def test_text_that_is_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        parsed(text)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "endless"):
        with pytest.raises(ValueError, match="it is no regular file"), opened(tmp_path / name):
            pass
        with pytest.raises(ValueError, match="it is no regular file"):
            read_regular(tmp_path / name, 10)
    (tmp_path / "long").write_bytes(bytes(11))
    with pytest.raises(ValueError, match="it has more than 10 bytes"):
        read_regular(tmp_path / "long", 10)
