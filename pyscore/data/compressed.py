"""Text files, compressed or not, opened as streams of bytes."""

from __future__ import annotations

import contextlib
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from pyscore.errors import InvalidInput

__all__ = ["COMPRESSED", "READ_ERRORS", "member_of", "open_bytes"]

CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
COMPRESSED = (*CODECS, ".xz", ".zip")
READ_ERRORS = (
    pa.ArrowException, OSError, EOFError, UnicodeError, lzma.LZMAError, zlib.error, zipfile.BadZipFile,
    NotImplementedError,
)  # fmt: skip
"""Exceptions that Arrow and the decompressors raise for a file that is damaged or of another kind."""


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[tuple[pa.NativeFile, Callable[[], int]]]:
    """Open a text file as a stream of bytes, with a function that returns how many bytes of the file were read.

    Raises
    ------
    InvalidInput
        If a zip archive does not hold exactly one file.
    """
    suffix = os.path.splitext(path.lower())[1]
    with contextlib.ExitStack() as stack:
        if suffix == ".xz":
            raw: Any = stack.enter_context(open(path, "rb"))
            stream = pa.PythonFile(stack.enter_context(lzma.open(raw)), mode="r")
        elif suffix == ".zip":
            raw = stack.enter_context(open(path, "rb"))
            archive = stack.enter_context(zipfile.ZipFile(raw))
            stream = pa.PythonFile(_open_member(stack, archive, path), mode="r")
        else:
            raw = stack.enter_context(pa.OSFile(path))
            codec = CODECS.get(suffix)
            stream = stack.enter_context(pa.CompressedInputStream(raw, codec)) if codec else raw
        yield stream, raw.tell


def _open_member(stack: contextlib.ExitStack, archive: zipfile.ZipFile, path: str) -> Any:
    name = _one(archive)
    if name is None:
        raise InvalidInput(
            f"{path!r} must hold one file; it holds {len(_members(archive))}. Unpack it, and name the folder."
        )
    try:
        return stack.enter_context(archive.open(name))
    except RuntimeError as error:  # the archive needs a password
        raise InvalidInput(f"cannot read {path!r}: {error}. Unpack it first.") from None


def member_of(path: str) -> str | None:
    """Name of the only file in a zip archive; None if there are several, or `path` is not an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _one(archive)
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return None


def _members(archive: zipfile.ZipFile) -> list[str]:
    names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    return [name for name in names if not name.startswith("__MACOSX/")]


def _one(archive: zipfile.ZipFile) -> str | None:
    names = _members(archive)
    return names[0] if len(names) == 1 else None
