"""Names that become part of a path, and lead nowhere else."""

from __future__ import annotations

# Begins, behind what they belong to, the names of tensors of which links have any number of rows.
RAGGED = "ragged."

# File systems take 255 bytes, and temporary names are longer than those of what they become.
_MOST_BYTES = 200


def is_plain(name: object) -> bool:
    """Whether a name is that of one file or folder, whatever folder it is asked for in."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not any(c in "/\\" or not c.isprintable() for c in name)
        and len(name.encode(errors="replace")) <= _MOST_BYTES
    )


def is_ragged(name: str) -> bool:
    """Whether a tensor is one of which links have any number of rows each."""
    return f".{RAGGED}" in name


def check_plain(what: str, name: object) -> str:
    """Refuse a name that may lead to other folders.

    :param what: what errors call it

    :return: the name
    :raises ValueError: if it is empty, a path, longer than file systems take or not printable
    """
    if not is_plain(name):
        raise ValueError(
            f"{what} is {shown(name)}, a name of at most {_MOST_BYTES} bytes without slashes is "
            "needed."
        )
    assert isinstance(name, str)
    return name


def check_operation(name: object) -> str:
    """Refuse what cannot be an operation's name, which its files begin with.

    :return: the name
    :raises ValueError: if it is no identifier
    """
    check_plain("The name of an operation", name)
    assert isinstance(name, str)
    if not name.isidentifier():
        raise ValueError(
            f"The name of an operation is {shown(name)}, letters, digits and underscores are "
            "needed."
        )
    return name


def shown(value: object, most: int = 80) -> str:
    """A value that others wrote, in one line and not too long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits, lists in lists
        return f"a {type(value).__name__} that is too long to be shown"
    return text if len(text) <= most else f"{text[:most]}…"


__all__ = ["RAGGED", "check_operation", "check_plain", "is_plain", "is_ragged", "shown"]
