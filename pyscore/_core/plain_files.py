"""Reading of files from outside: only plain files, of bounded size, and JSON of bounded depth."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from pyscore.errors import InvalidInput

__all__ = ["read_json", "read_plain", "read_text"]

MOST_BYTES = 256_000_000
MOST_DEPTH = 32
"""Levels of lists and objects in JSON; our own files have five."""


def read_plain(path: str | os.PathLike[str], *, follow: bool = True, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a plain file.

    Parameters
    ----------
    path : path
    follow : bool
        Whether a symbolic link is followed: yes for a path that a user named, no for one found in a folder.
    most : int
        Largest size, in bytes.

    Raises
    ------
    InvalidInput
        If it is missing, a folder, a pipe, a device, too large, or (unless `follow`) a link.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer, perhaps without end.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    if not follow and os.path.islink(path):
        raise InvalidInput("it is a symbolic link; only plain files inside the folder are read")
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise InvalidInput(f"the system says: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in the name
        raise InvalidInput(f"its name is not one of a file: {error}") from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInput("it must be a plain file; it is a folder, a pipe or a device")
        if found.st_size > most:
            raise InvalidInput(f"it has {found.st_size:,} bytes; at most {most:,} are read")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise InvalidInput(f"the system says: {error.strerror or error}") from error
    finally:
        os.close(handle)


def read_text(path: str | os.PathLike[str], *, follow: bool = True, most: int = MOST_BYTES) -> str:
    """Return the text of a plain file in UTF-8; raises as `read_plain`."""
    data = read_plain(path, follow=follow, most=most)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"it is no text in UTF-8: byte {error.start}") from error


def read_json(path: str | os.PathLike[str], *, follow: bool = True) -> Any:
    """Return the value in a JSON file.

    Raises
    ------
    InvalidInput
        As `read_plain`; also if it is not JSON, has a field twice, or nests more than `MOST_DEPTH` levels.
    """
    text = read_text(path, follow=follow)
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidInput(f"it nests more than {MOST_DEPTH} levels") from error
    except ValueError as error:  # a field twice; an integer of more digits than Python converts
        raise InvalidInput(f"it is not JSON that can be used: {str(error)[:200]}") from error
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return value
    raise InvalidInput(f"it nests more than {MOST_DEPTH} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(fields := dict(pairs)) < len(pairs):
        raise ValueError("a field comes twice")
    return fields


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
