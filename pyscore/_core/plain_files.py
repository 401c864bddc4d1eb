"""Reading of files from outside: only plain files, of bounded size, and JSON of bounded depth."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import IO, Any

from pyscore.errors import InvalidInput

__all__ = ["open_plain", "read_json", "read_plain", "read_text", "unique"]

MOST_BYTES = 256_000_000
MOST_DEPTH = 32
"""Levels of lists and objects in JSON; our own files have five."""


def open_plain(path: str | os.PathLike[str], *, follow: bool = True) -> IO[bytes]:
    """Open a plain file for reading. Pipes and devices are refused, since reading them may never end.

    Parameters
    ----------
    path : path
    follow : bool
        Whether a symbolic link is followed: yes for a path that a user named, no for one found in a folder.

    Raises
    ------
    OSError
        If it cannot be opened, or is a folder, a pipe, a socket, a device or (unless `follow`) a link.
    """
    if not follow and os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a symbolic link; only plain files inside the folder are read")
    # Without O_NONBLOCK, opening a pipe waits for its writer, perhaps without end.
    flags = ("O_NONBLOCK", "O_BINARY") if follow else ("O_NONBLOCK", "O_BINARY", "O_NOFOLLOW")
    handle = os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in flags))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a plain file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_plain(path: str | os.PathLike[str], *, follow: bool = True, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a file of `open_plain`.

    Raises
    ------
    InvalidInput
        If it cannot be opened or read, or has more than `most` bytes.
    """
    try:
        with open_plain(path, follow=follow) as file:
            if (size := os.fstat(file.fileno()).st_size) > most:
                raise InvalidInput(f"it has {size:,} bytes; at most {most:,} are read")
            return file.read()
    except OSError as error:
        why = error.strerror or str(error)
        raise InvalidInput(why if why.startswith("it is ") else f"the system says: {why}") from error
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"its name is not one of a file: {error}") from error  # a zero byte


def read_text(path: str | os.PathLike[str], *, follow: bool = True, most: int = MOST_BYTES) -> str:
    """Return the text of a plain file in UTF-8; raises as `read_plain`."""
    data = read_plain(path, follow=follow, most=most)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"it is not text in UTF-8 (the first bad byte is number {error.start})") from error


def read_json(path: str | os.PathLike[str], *, follow: bool = True, most: int = MOST_BYTES) -> Any:
    """Return the value in a JSON file.

    Raises
    ------
    InvalidInput
        As `read_plain`; also if it is not JSON, has a field twice, or nests more than `MOST_DEPTH` levels.
    """
    text = read_text(path, follow=follow, most=most)
    try:
        value = json.loads(text, object_pairs_hook=unique)
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


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of an object of JSON; raises a ValueError if one comes twice."""
    if len(fields := dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
    return fields


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
