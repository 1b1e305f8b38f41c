"""Descriptions of objects: in a line, in a few lines, and as a table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What a person wants to know of an object.

    :param name: The object's own name; empty where it has none
    :param values: Labels and values in the order of their weight; a value that is a mapping holds
        the facts of a part, and parts with the same labels make a table
    """

    name: str
    values: Mapping[str, Any]


class Displayed:
    """Base of objects that tell what they are, from the same facts wherever they are shown."""

    def facts(self) -> Facts:
        """What is shown; found without long work."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """In a line: ``Type(name; label: value; part: label value, label value)``."""
        facts = self.facts()
        parts = [f"{label}: {_inline(value)}" for label, value in facts.values.items()]
        return f"{type(self).__name__}({'; '.join([facts.name] * bool(facts.name) + parts)})"

    def __str__(self) -> str:
        """A line for each fact; parts with the same labels stand in columns."""
        facts = self.facts()
        width = max(map(len, facts.values), default=0)
        lines = [f"{type(self).__name__} {facts.name}".rstrip()]
        for labels, group in _grouped(facts):
            rows = [["", *labels]] * bool(labels) + group
            columns = list(zip(*rows, strict=True))[1:]
            widths = [width, *(max(map(len, column)) for column in columns)]
            for row in rows:
                cells = [f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True)]
                lines.append(f"  {'  '.join(cells)}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The tables that a notebook shows."""
        facts = self.facts()
        title = f"<b>{html.escape(type(self).__name__)}</b> {html.escape(facts.name)}".rstrip()
        tables = []
        for labels, group in _grouped(facts):
            head = f"<tr><th></th>{_cells('th', labels)}</tr>" if labels else ""
            rows = (f"<tr>{_cells('th', row[:1])}{_cells('td', row[1:])}</tr>" for row in group)
            tables.append(f"<table>{head}{''.join(rows)}</table>")
        return f"<div>{title}{''.join(tables)}</div>"


def brief(value: object) -> str:
    """Type and name of an object that tells much more of itself, the ``repr`` of any other."""
    if isinstance(value, Displayed):
        return f"{type(value).__name__}({value.facts().name})"
    return repr(value)


def _inline(value: str | Mapping[str, str]) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(f"{label} {part}" for label, part in value.items())


def _grouped(facts: Facts) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Neighbouring facts of the same labels: these labels, and a row for each fact."""
    for labels, group in groupby(facts.values.items(), key=lambda fact: _labels(fact[1])):
        yield (
            list(labels),
            [[name, *(value.values() if labels else [value])] for name, value in group],
        )


def _labels(value: str | Mapping[str, str]) -> tuple[str, ...]:
    return () if isinstance(value, str) else tuple(value)


def _cells(tag: str, cells: Sequence[str]) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
