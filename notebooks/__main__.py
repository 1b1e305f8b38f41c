"""Execute the scripts of this folder and write each as a notebook with its results.

``python -m notebooks`` executes all of them, ``python -m notebooks getting_started`` those named. A
cell that fails ends the run with its traceback, and its notebook stays as it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from neumatc_mimo.storage.files import write_text

FOLDER = Path(__file__).parent
# Seconds that a cell may take before the run gives it up.
_TIMEOUT = 600
# Any machine's kernel of Python 3 will do.
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def scripts() -> list[Path]:
    """The scripts that are paired with notebooks."""
    return sorted(path for path in FOLDER.glob("*.py") if not path.stem.startswith("__"))


def execute(script: Path) -> Path:
    """Execute a script as a notebook, in a kernel of its own, and write it beside the script.

    :return: The notebook
    :raises CellExecutionError: If a cell fails
    """
    notebook = jupytext.read(script, fmt="py:percent")
    client = NotebookClient(
        notebook,
        timeout=_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(FOLDER)}},
        # It tells of the ports that it shares with this process, and that it is asked to stop.
        extra_arguments=["--log-level=CRITICAL"],
    )
    client.execute()
    return write_text(script.with_suffix(".ipynb"), _text(notebook))


def _text(notebook: Any) -> str:
    """The notebook as JSON, without what would differ at the next run of the same cells."""
    notebook.metadata = nbformat.from_dict(_METADATA)
    for number, cell in enumerate(notebook.cells):
        # Ids are random otherwise.
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_bar(output)]
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            # A picture says what it is by itself; the text beside it holds its size in pixels.
            if "image/png" in output.get("data", {}):
                output.data = nbformat.from_dict({"image/png": _smaller(output.data["image/png"])})
    nbformat.validate(notebook)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _is_bar(output: Any) -> bool:
    """Whether an output is a progress bar, or what rich shows of standard error meanwhile."""
    data = output.get("data", {})
    is_widget = "application/vnd.jupyter.widget-view+json" in data
    return is_widget or data.get("text/html", "").startswith('<pre style="white-space:pre')


def _smaller(png: str) -> str:
    """A picture in base64, in 128 colours: drawings need no more, and take a third of the bytes."""
    picture, smaller = Image.open(BytesIO(b64decode(png))).convert("RGB"), BytesIO()
    picture.quantize(128, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
    return b64encode(smaller.getvalue()).decode()


def _chosen(names: list[str]) -> list[Path]:
    known = {path.stem: path for path in scripts()}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"There is no notebook {unknown[0]}, known are {', '.join(known)}.")
    return [known[name] for name in names or known]


def main() -> None:
    """Execute the notebooks named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", help="notebooks without suffix; all by default")
    for script in _chosen(parser.parse_args().names):
        print(f"{script.stem} …", end=" ", flush=True)
        started = time.perf_counter()
        try:
            written = execute(script)
        except CellExecutionError as error:
            print(f"failed\n{error}", file=sys.stderr)
            raise SystemExit(1) from None
        seconds, size = time.perf_counter() - started, written.stat().st_size
        print(f"{seconds:.0f} s, {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
