"""Kinds of one thing by their names: built-in ones, and those that other packages name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast, overload

K = TypeVar("K", bound=Callable[..., Any])
Given = TypeVar("Given", bound=Callable[..., Any])


class Registry(Mapping[str, K], Generic[K]):
    """Makers of one kind of thing, classes or functions, by name.

    It starts empty: each kind registers itself where it is defined. A name that is not known is
    looked for among the entry points of the installed packages, so that a process that reads the
    name from a file needs no import of the package that has it.

    :param what: what errors call one, "operation"
    :param group: entry points of other packages; none where it is empty
    :param base: class that all kinds derive from; any will do where it is None
    :param key: attribute of a kind that is its name, and entry of :meth:`make` that names it
    :param none: how the error begins where a name is not known
    """

    def __init__(
        self,
        what: str,
        group: str = "",
        base: type | None = None,
        *,
        key: str = "name",
        none: str = "There is no",
    ) -> None:
        self._what, self._group, self._base = what, group, base
        self._key, self._none = key, none
        self._kinds: dict[str, K] = {}

    @overload
    def register(self, kind: Given, /, *, name: str | None = None) -> Given: ...

    @overload
    def register(self, /, *, name: str | None = None) -> Callable[[Given], Given]: ...

    def register(self, kind: Any = None, /, *, name: str | None = None) -> Any:
        """Make a kind known by its name; above a class as ``@register`` or
        ``@register(name="…")``.

        A class with the same module and the same name in it replaces the earlier one, for example
        if a cell of a notebook runs again.

        :param name: what it is called; its own attribute where it has one

        :return: the kind, or what takes it

        :raises ValueError: if another one has the name, or it has none that can be one
        :raises TypeError: if it is not of the kind that is registered here
        """
        if kind is None:
            return lambda given: self.register(given, name=name)
        if self._base is not None and not (isinstance(kind, type) and issubclass(kind, self._base)):
            raise TypeError(f"{kind!r} is no {self._what}, a {self._base.__name__} is needed.")
        own = getattr(kind, self._key, None)
        if name is not None and own not in (None, name):
            raise ValueError(f'The {self._what} "{own}" cannot be registered as "{name}".')
        name = own if name is None else name
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(
                f"{_place(kind)} is registered as {name!r}, a name of letters, digits and "
                "underscores is needed."
            )
        known = self._kinds.get(name)
        if known is not None and _place(known) != _place(kind):
            raise ValueError(
                f'{_place(kind)} is called "{name}", as {_place(known)} is already; give it '
                "another name."
            )
        self._kinds[name] = kind
        return kind

    def find(self, name: Any) -> K:
        """The kind of a name, from another package where none is registered.

        :raises ValueError: if there is none, or it cannot be imported
        """
        if isinstance(name, str) and name in self:
            return self._kinds[name]
        others = sorted({entry.name for entry in self._entries()} - set(self))
        known = f'{self._none} {self._what} "{name}", known are {", ".join([*self, *others])}'
        if self._group:
            known += f"; another package names its own as an entry point of {self._group}"
        raise ValueError(f"{known}.")

    def make(self, settings: Mapping[str, Any]) -> Any:
        """What plain values describe: one entry names the kind, the others are its arguments.

        :raises ValueError: if the kind is not known
        """
        arguments = dict(settings)
        return self.find(arguments.pop(self._key, None))(**arguments)

    def __getitem__(self, name: str) -> K:
        if name not in self._kinds:
            self._load(name)
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def _load(self, name: str) -> None:
        """Register the kind of another package, if one has the name."""
        found = {entry.value: entry for entry in self._entries() if entry.name == name}
        if len(found) > 1:
            raise ValueError(
                f'Several packages name the {self._what} "{name}": {" and ".join(found)}; remove '
                "all but one."
            )
        for value, entry in found.items():
            try:
                kind = entry.load()
            except (ImportError, AttributeError) as error:
                raise ValueError(
                    f'The {self._what} "{name}" cannot be imported from {value}: {error}.'
                ) from error
            self.register(cast("K", kind), name=name)

    def _entries(self) -> list[EntryPoint]:
        return list(entry_points(group=self._group)) if self._group else []


def _place(kind: Any) -> str:
    """Where a kind is defined."""
    return f"{kind.__module__}.{kind.__qualname__}"
