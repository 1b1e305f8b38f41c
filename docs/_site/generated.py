"""Parts of the pages that are made from the code: commands, scenario files, the API."""

from __future__ import annotations

import functools
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import griffe
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

# Not for users of the package: the command line has a page of its own.
_HIDDEN = {"__main__", "cli"}
_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string"}
_LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def commands() -> str:
    """The ``--help`` of every command."""
    from neumatc_mimo.cli import app

    group: Any = typer.main.get_command(app)
    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"})
    parts = []
    for name in ("", *group.commands):
        arguments = [name, "--help"] if name else ["--help"]
        text = runner.invoke(app, arguments, prog_name="neumatc-mimo").output
        lines = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
        parts.append(f"## {f'neumatc-mimo {name}'.strip()}\n\n```text\n{lines}\n```")
    return "\n\n".join(parts)


def scenario_file() -> str:
    """A table of the keys of each section, and of each operation."""
    from neumatc_mimo.scenario.schema import ScenarioConfig

    return "\n\n".join([*_sections("the top of the file", ScenarioConfig), *_operations()])


@functools.cache
def api_pages() -> dict[str, str]:
    """The text of a page for each module and each package in the package, by name.

    Of a package with ``__all__`` that is what it exports, and those of its modules of which it
    exports nothing.
    """
    package = griffe.load("neumatc_mimo")
    return {
        name: "\n\n".join([f"# {module.path}", *_directives(module), ""])
        for name, module in sorted(package.modules.items())
        if name not in _HIDDEN and not name.startswith("_")
    }


PARTS: dict[str, Callable[[], str]] = {"commands": commands, "scenario_file": scenario_file}


def _directives(module: griffe.Module) -> Iterator[str]:
    for path in _documented(module):
        # The page's title stands for the module itself.
        heading = "" if path != module.path else "\n    options: {show_root_heading: false}"
        yield f"::: {path}{heading}"


def _documented(module: griffe.Module) -> Iterator[str]:
    members = list(module.members.values())
    exported = {member.canonical_path for member in members if member.is_exported}
    parts = [part for part in members if not part.is_alias and part.is_module]
    if exported or not parts:
        yield module.path
    for part in sorted(parts, key=lambda part: part.name):
        if not any(path.startswith(f"{part.path}.") for path in exported):
            yield from _documented(part)


def _sections(title: str, section: type[BaseModel], path: str = "") -> Iterator[str]:
    rows, inner = [], []
    for name, field in section.model_fields.items():
        key = field.alias or name
        kinds = [kind for kind in _alternatives(field.annotation) if isinstance(kind, type)]
        models = [kind for kind in kinds if issubclass(kind, BaseModel)]
        if models:
            inner.append((f"{path}{key}", models[0]))
        elif key == "operation":
            rows.append(f"| `{key}` | tables, [see below](#operations) | – | {field.description} |")
        else:
            rows.append(_row(key, field))
    yield _table(f"## {title[0].upper()}{title[1:]}", rows)
    for name, model in inner:
        yield from _sections(f"`[{name}]`", model, f"{name}.")


def _operations() -> Iterator[str]:
    """Keys of the operations that a file may ask for: those of all, then those of some alone."""
    from neumatc_mimo.operations import OPERATIONS, OperationConfig

    known = ", ".join(f"`{name}`" for name in sorted(OPERATIONS))
    common = OperationConfig.model_fields
    yield _table(
        "## Operations\n\nThe keys of each `[[multi_user.operation]]` and "
        f"`[[single_user.operation]]`. Known are {known}, and those of other packages.",
        [_row(key, field) for key, field in common.items()],
    )
    for name, kind in sorted(OPERATIONS.items()):
        own = {
            key: field
            for key, field in kind.config.model_fields.items()
            if key not in common or field.is_required() != common[key].is_required()
        }
        if own:
            rows = [_row(key, field) for key, field in own.items()]
            yield _table(f"### `{name}`", rows)


def _table(head: str, rows: Iterable[str]) -> str:
    return "\n".join([f"{head}\n\n| key | accepts | default | |\n|---|---|---|---|", *rows])


def _row(key: str, field: FieldInfo) -> str:
    cells = f"`{key}`", _accepted(field), _default(field), str(field.description).replace("\n", " ")
    return f"| {' | '.join(cells)} |"


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _accepted(field: FieldInfo) -> str:
    """The values of a key in words."""
    kinds = [kind for kind in _alternatives(field.annotation) if kind is not type(None)]
    return " or ".join(map(_kind, kinds)) + _limits(field.metadata)


def _kind(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _kind(arguments[0]) + _limits(kind.__metadata__)
    if origin is typing.Literal:
        return " or ".join(f'`"{value}"`' for value in arguments)
    if origin is tuple:
        inner = _kind(arguments[0]).split(",")[0]
        return f"list of {inner}s" if arguments[-1] is ... else f"{len(arguments)} {inner}s"
    return _KINDS[kind]


def _limits(rules: Iterable[Any]) -> str:
    # pydantic's own Field, inside Annotated, holds its limits as rules.
    rules = [inner for rule in rules for inner in getattr(rule, "metadata", [rule])]
    return "".join(
        f", {sign} {getattr(rule, name):g}"
        for rule in rules
        for name, sign in _LIMITS.items()
        if getattr(rule, name, None) is not None
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default is None:
        return "–"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(value)}`"
