"""Reading DeepMIMO folders by ``deepmimo`` itself, which is kept from running what lies in them.

DeepMIMO reads arrays with ``allow_pickle=True``, and a pickle runs code when it is loaded. Here it
cannot: as long as it reads, NumPy loads no pickle for it, whatever path leads to the file.
"""

from __future__ import annotations

import io
import itertools
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from neumatc_mimo.scenario.deepmimo_motion import scenes_of
from neumatc_mimo.scenario.deepmimo_users import check_rx_sets
from neumatc_mimo.storage.names import shown
from neumatc_mimo.storage.tensor_file import open_regular, parsed, read_regular

# A name that deepmimo keeps as it is: it lower-cases names and refuses some characters.
_PLAIN_NAME = "scenario"

# DeepMIMO cuts columns, whatever is in them: it is given more than there are.
_ALL_COLUMNS = 10**9

# Users that DeepMIMO counts before it looks at the arrays, and bytes that no parameters take.
_MOST_USERS = 10**8
_MOST_BYTES = 2**28

# What DeepMIMO reads with is global to the process.
_reading = threading.RLock()


def load_folder(
    folder: Path,
    max_paths: int,
    matrices: Sequence[str],
    rx_sets: Sequence[int] | None = None,
) -> Any:
    """DeepMIMO's data set of a folder, with the strongest paths of every user.

    :param max_paths: how many they are at most
    :param matrices: names of the arrays to read, "power" among them
    :param rx_sets: receiver sets to read; None means those that only receive

    :raises Exception: whatever it is that DeepMIMO and NumPy find wrong in the folder
    """
    parameters = _check_files(folder)
    if rx_sets is not None:
        _check_rx_sets(parameters, rx_sets)
    with _reading, quiet(), _scenarios_in(folder) as (deepmimo, name), _no_pickles():
        dataset = deepmimo.load(
            name,
            max_paths=_ALL_COLUMNS,
            matrices=list(matrices),
            rx_sets="rx_only" if rx_sets is None else list(rx_sets),
        )
        for pair in itertools.chain.from_iterable(scenes_of(dataset)):
            _check_paths(pair)
            _keep_strongest(pair, max_paths, matrices)
    return dataset


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Catch what deepmimo prints, progress bars included; standard output is not its own."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        yield printed


def _check_files(folder: Path) -> Any:
    """Refuse what would make the reader wait for ever, or ask for more memory than there is; the
    folder's parameters.
    """
    folders = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    for path in (path for each in folders for path in each.iterdir()):
        if not path.is_file() and not path.is_dir():
            raise ValueError(f"{path.relative_to(folder)} is no file")
    parameters = parsed(read_regular(folder / "params.json", _MOST_BYTES))
    for name, users in parameters["txrx_sets"].items():
        count = users.get("num_points", 0) if isinstance(users, dict) else 0
        if not isinstance(count, int) or not 0 <= count <= _MOST_USERS:
            raise ValueError(f"num_points of {name} is {shown(count)}")
    return parameters


def _check_rx_sets(parameters: Any, rx_sets: Sequence[int]) -> None:
    """:raises NotInDataError: If there are no such receiver sets"""
    sets = parameters["txrx_sets"].values()
    known = sorted(int(one["id"]) for one in sets if isinstance(one, dict) and one.get("is_rx"))
    check_rx_sets(rx_sets, known)


@contextmanager
def _no_pickles() -> Iterator[None]:
    """Have ``numpy.load`` refuse pickles, in this thread alone."""
    load, reader = np.load, threading.get_ident()

    def safe(file: Any, *args: Any, **options: Any) -> Any:
        if threading.get_ident() != reader:
            return load(file, *args, **options)
        # Read and closed here: DeepMIMO leaves files open.
        with open_regular(Path(file)) as raw:
            loaded = load(raw, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else _Arrays(loaded)

    np.load = safe
    try:
        yield
    finally:
        np.load = load


class _Arrays(dict[str, Any]):
    """The arrays of a file, as ``numpy.load`` gives them, but of one that is closed."""

    @property
    def files(self) -> list[str]:
        """Their names."""
        return list(self)

    def __enter__(self) -> _Arrays:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@contextmanager
def _scenarios_in(folder: Path) -> Iterator[tuple[Any, str]]:
    """Point deepmimo to a folder for a while; yield deepmimo and the name to load."""
    import deepmimo

    before = deepmimo.config.get("scenarios_folder")
    with tempfile.TemporaryDirectory() as temporary:
        if re.fullmatch(r"[a-z0-9_.-]+", folder.name) and folder.name.strip("."):
            root, name = folder.parent, folder.name
        else:
            # Through a link the name does not matter.
            root, name = Path(temporary), _PLAIN_NAME
            (root / name).symlink_to(folder.resolve(), target_is_directory=True)
        deepmimo.config.set("scenarios_folder", str(root.resolve()))
        try:
            yield deepmimo, name
        finally:
            deepmimo.config.set("scenarios_folder", before)


def _check_paths(dataset: Any) -> None:
    """Refuse paths that would be left out without a word: files have both numbers or neither."""
    power, delay = np.asarray(dataset["power"]), np.asarray(dataset["delay"])
    missing = np.isnan(power)
    if not missing.all() and delay.shape == power.shape and not np.isnan(delay[missing]).all():
        raise ValueError("a path with a delay lacks its power")


def _keep_strongest(dataset: Any, max_paths: int, matrices: Sequence[str]) -> None:
    """Leave of each user the paths with most power, in the order in which they were."""
    power = np.asarray(dataset["power"])
    if power.ndim != 2 or power.shape[1] <= max_paths:
        return
    order = np.argsort(np.where(np.isnan(power), np.inf, -power), axis=1, kind="stable")
    order = np.sort(order[:, :max_paths], axis=1)
    for name in matrices:
        values = np.asarray(dataset[name])
        # What does not fit is refused by who looks at it.
        if values.shape[:2] == power.shape and name not in ("rx_pos", "tx_pos"):
            index = order.reshape(*order.shape, *(1,) * (values.ndim - 2))
            dataset[name] = np.take_along_axis(values, index, axis=1)


__all__ = ["load_folder", "quiet"]
