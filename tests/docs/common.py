"""Code blocks of the documentation's pages: found, run, and checked.

A page is Markdown with fenced blocks, which are taken one after the other in an empty folder:

========================  ======================================================================
``python``                runs, in one namespace for the page
``toml``                  is checked by the schema of scenario files, whole or some sections of it
``sh``, ``bash``, plain   commands: each must exist and take the arguments that it is given
``text``                  output, not looked at
``title="…"``             the block is also written to a file of that name
========================  ======================================================================

Comments above a block change that, ``<!-- executed -->`` runs commands,
``<!-- not executed: reason -->`` leaves a block out. ``<!-- given: … -->`` holds Python that what
follows takes for granted.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import typer
from packaging.requirements import Requirement
from pydantic import BaseModel
from typer.testing import CliRunner

from neumatc_mimo.cli import app
from neumatc_mimo.operations import OperationConfig
from neumatc_mimo.scenario.schema import ScenarioConfig

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for d in ("docs", "scenarios") for page in (ROOT / d).rglob("*.md")),
    ]
)

_BLOCK = re.compile(
    r"""(?:^<!--\ (?P<comment>executed|not\ executed:[^>]*?)\ ?-->\n+)?
        ^```(?P<language>\w*)(?:\ title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$
        |^<!--\ given:\n(?P<given>.*?)^-->$""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


class Block(NamedTuple):
    """A fenced block, or a comment that stands for one.

    :param line: line of the page above its first one
    :param comment: ``executed``, ``not executed: reason`` or nothing
    """

    line: int
    language: str
    text: str
    title: str | None
    comment: str


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    found = list(_BLOCK.finditer(text))
    fences = len(re.findall(r"^[ >]*```", text, re.MULTILINE))
    assert fences == 2 * sum(match["given"] is None for match in found), (
        f"{page} has fences that are no block as tests/docs/common.py reads them"
    )
    for match in found:
        part = "text" if match["given"] is None else "given"
        language = "python" if part == "given" else match["language"]
        line = text.count("\n", 0, match.start(part))
        yield Block(line, language, match[part], match["title"], match["comment"] or "")


def run(page: Path, until: str | None = None) -> dict[str, Any]:
    """Run the Python of a page in one namespace, at most to the first block that defines a name."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        if block.language == "python" and not reason(block):
            execute(block, page, namespace)
        if until in namespace:
            break
    return namespace


def check(page: Path, namespace: dict[str, Any]) -> None:
    """Take the blocks of a page in the current folder as the module's description says."""
    for block in blocks(page):
        if reason(block):
            continue
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        try:
            assert block.language in _CHECKS, f"tests know no language {block.language}"
            _CHECKS[block.language](block, page, namespace)
        except Exception as error:
            error.add_note(f"In the block at line {block.line} of {page.name}.")
            raise


def reason(block: Block) -> str:
    """Why a block is left out, or nothing."""
    return block.comment.removeprefix("not executed:").strip() if ":" in block.comment else ""


def execute(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    """Run Python; an error names its line of the page."""
    exec(compile("\n" * block.line + block.text, str(page), "exec"), namespace)


def _check_toml(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    """A whole scenario file, or sections of one; also keys that are commented out."""
    del page, namespace
    sections: dict[str, type[BaseModel]] = {"": ScenarioConfig}
    for key, field in ScenarioConfig.model_fields.items():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                sections[key] = kind
    sections["operation"] = OperationConfig
    data = tomllib.loads(block.text)
    if "name" in data:
        ScenarioConfig.model_validate(data)
    else:
        for key, values in data.items():
            sections[key].model_validate(values)
    current = ""
    for line in block.text.splitlines():
        if header := re.match(r"(?:# )?\[(?:\[\w+\.)?(\w+)\]", line):
            current = header[1]
        elif key := re.match(r"# (\w+) = ", line):
            assert key[1] in sections[current].model_fields, f"unknown key {key[1]} in [{current}]"


def _check_commands(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    del page, namespace
    for line in block.text.replace("\\\n", " ").splitlines():
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                _check_command(words, really=block.comment == "executed")


def _check_command(words: Sequence[str], really: bool = False) -> None:
    assert words[0] in _COMMANDS, (
        f"tests know no command {words[0]}: add it to them, or put "
        "<!-- not executed: reason --> above the block"
    )
    _COMMANDS[words[0]](list(words[1:]), really)


def _neumatc_mimo(arguments: list[str], really: bool) -> None:
    if really:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{arguments}: {result.output}\n{result.exception}"
    elif arguments != ["--help"]:
        group: Any = typer.main.get_command(app)
        command, *rest = arguments
        group.commands[command].make_context(command, [word for word in rest if word != "--help"])


def _python(arguments: list[str], really: bool) -> None:
    if arguments[0] != "-m":
        script = Path(arguments[0])
        assert script.exists(), f"no block of the page is titled {script}"
        return
    module, *rest = arguments[1:]
    if module == "pip":
        _pip(rest, really)
    elif module == "neumatc_mimo":
        _neumatc_mimo(rest, really)
    elif module.startswith("benchmarks."):
        _parse(module, rest)
    else:
        assert importlib.util.find_spec(module), f"there is no module {module}"


def _parse(module: str, arguments: list[str]) -> None:
    """Run a benchmark as far as its command line is read."""

    class ParsedError(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
        parse(self, *args, **kwargs)
        raise ParsedError

    with (
        patch.object(argparse.ArgumentParser, "parse_args", stop),
        patch.object(sys, "argv", [module, *arguments]),
        warnings.catch_warnings(),
    ):
        # Another test may have imported it.
        warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning)
        try:
            runpy.run_module(module, run_name="__main__")
        except ParsedError:
            return
        except SystemExit as error:
            raise ValueError(f"{module} refuses {arguments}") from error
    raise AssertionError(f"{module} reads no command line")


def _pip(arguments: list[str], really: bool) -> None:
    """Extras exist, requirements can be read, constraints are there."""
    del really
    assert arguments.pop(0) == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    while arguments:
        word = arguments.pop(0)
        if word in ("-c", "-r"):
            assert (ROOT / arguments.pop(0)).exists()
        elif word.startswith("-"):
            continue
        else:
            needed = Requirement(re.sub(r"^\.", project["name"], word))
            if needed.name == project["name"]:
                assert needed.extras <= set(project["optional-dependencies"]), f"extras of {word}"


def _make(arguments: list[str], really: bool) -> None:
    """The target exists, and runs commands that exist."""
    del really
    # Not with what the make was given that may run these tests, such as its ARGS.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    environment.pop("ARGS", None)
    made = subprocess.run(
        ["make", "-n", "-C", str(ROOT), "PYTHON=python", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert made.returncode == 0, made.stderr
    for line in made.stdout.splitlines():
        if line.startswith("python "):
            _check_command(shlex.split(line))


def _export(arguments: list[str], really: bool) -> None:
    """Taken over, for what follows on the page."""
    del really
    for word in arguments:
        name, _, value = word.partition("=")
        os.environ[name] = os.path.expandvars(value)


def _nothing(*_: Any) -> None:
    """Not looked at."""


_CHECKS: dict[str, Callable[[Block, Path, dict[str, Any]], None]] = {
    "python": execute,
    "toml": _check_toml,
    "": _check_commands,
    "sh": _check_commands,
    "bash": _check_commands,
    "text": _nothing,
}
_COMMANDS: dict[str, Callable[[list[str], bool], None]] = {
    "neumatc-mimo": _neumatc_mimo,
    "python": _python,
    "python3": _python,
    "pip": _pip,
    "make": _make,
    "export": _export,
    "cd": _nothing,
    "source": _nothing,
}
