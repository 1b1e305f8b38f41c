"""How results came about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """How results were obtained. Subcarriers are counted once per link and call.

    :param links_recalled: trained links that were recognised
    :param links_adapted: new links that were adapted to, from few exact results
    :param links_trusted: links that the caller named, with ``trust="model"``
    :param links_unknown: all other links, computed exactly
    :param links_beyond: those of the unknown links whose operation, sizes, noise power or time the
        model was not trained for
    :param queried: subcarriers whose result is from a mapping, an interpolation or the like
    :param corrected: subcarriers that needed correction steps
    :param patched: exact results kept from the training
    :param exact: subcarriers computed exactly
    :param refined: those of the exact ones that were computed again in double precision
    """

    links_recalled: int = 0
    links_adapted: int = 0
    links_trusted: int = 0
    links_unknown: int = 0
    links_beyond: int = 0
    queried: int = 0
    corrected: int = 0
    patched: int = 0
    exact: int = 0
    refined: int = 0

    def add(self, other: Counts) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def words(self) -> dict[str, dict[str, str]]:
        """The counts in words, those of links and those of subcarriers."""
        words = {name: f"{value:,}" for name, value in vars(self).items()}
        links = {name: text for name, text in words.items() if name.startswith("links_")}
        return {
            "links": {name.removeprefix("links_"): text for name, text in links.items()},
            "subcarriers": {name: text for name, text in words.items() if name not in links},
        }
