"""Docstrings in Sionna's form, as Markdown: a griffe extension for the API pages."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_TITLES = {
    "param": "Parameters",
    "input": "Inputs",
    "output": "Outputs",
    "return": "Returns",
    "raises": "Raises",
}
_FIELD = re.compile(rf":({'|'.join(_TITLES)})\b ?([^:]*):(?!:) *(.*)")
_DIRECTIVE = re.compile(r"\.\. (math|rubric|code-block):: *(.*)")
_ROLE = re.compile(r":(\w+):`([^`]+)`")


class SionnaDocstrings(griffe.Extension):
    """Rewrites every docstring before the pages are rendered."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = _markdown(obj.docstring.value, obj)


def _markdown(text: str, scope: griffe.Object) -> str:
    """Fields become lists under a title each, directives and roles what Markdown has for them."""
    lines, done, kind = text.splitlines(), [], None
    while lines:
        line = lines.pop(0)
        if field := _FIELD.match(line):
            if field[1] != kind:
                kind = field[1]
                done += ["", f"**{_TITLES[kind]}**", ""]
            body = [field[3], *(part.strip() for part in _indented(lines))]
            name = f"`{field[2]}` – " if field[2] else ""
            done.append(f"- {name}{' '.join(filter(None, body))}")
        elif directive := _DIRECTIVE.match(line):
            kind = None
            body = textwrap.dedent("\n".join(_indented(lines))).strip("\n")
            done += ["", *_block(directive[1], directive[2], body), ""]
        elif line.strip():
            kind = None
            done.append(line)
        else:
            done.append(line)
    return _roles("\n".join(done), scope)


def _indented(lines: list[str]) -> list[str]:
    """Take off the lines that belong to what stands above them."""
    taken: list[str] = []
    while lines and (not lines[0].strip() or lines[0].startswith(" ")):
        taken.append(lines.pop(0))
    while taken and not taken[-1].strip():
        lines.insert(0, taken.pop())
    return taken


def _found(module: griffe.Module, name: str) -> str | None:
    """The path of what a module, or one below it, defines by a name."""
    first, _, rest = name.partition(".")
    member = module.members.get(first)
    if member is not None and not member.is_alias:
        return ".".join(filter(None, (member.path, rest)))
    parts = [part for part in module.members.values() if not part.is_alias and part.is_module]
    return next((path for part in parts if (path := _found(part, name))), None)


def _block(kind: str, argument: str, body: str) -> list[str]:
    if kind == "math":
        formula = "\n".join(line for line in (argument, body) if line)
        return ["$$", formula, "$$"]
    if kind == "rubric":
        return [f"**{argument}**"]
    return [f"```{argument}", body, "```"]


def _roles(text: str, scope: griffe.Object) -> str:
    """Formulas between dollars, names as code, linked where a page has them."""

    def replaced(role: re.Match[str]) -> str:
        content = " ".join(role[2].split())
        if role[1] == "math":
            return f"${content}$"
        path = content.removeprefix("~")
        name = path.rsplit(".", 1)[-1] if content.startswith("~") else path
        try:
            path = scope.resolve(path)
        except griffe.NameResolutionError:
            path = _found(scope.package, path) or path
        return f'<autoref identifier="{path}" optional><code>{name}</code></autoref>'

    return _ROLE.sub(replaced, text)
