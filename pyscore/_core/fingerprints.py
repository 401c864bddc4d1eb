"""Fingerprints of files, which tell whether a file is the same as before.

A fingerprint holds what the operating system says of a file, and a hash of samples of its bytes. A file that was
replaced by another of the same size and modification time has another inode or another ctime, which no program can
set. The samples find a change that came too soon after another for the clock of the file system.
"""

from __future__ import annotations

import hashlib
import os
from typing import IO, Any

from pyscore._core.plain_files import open_plain

__all__ = ["fingerprint", "state"]

ENDS = 1 << 16
"""Bytes read at the beginning and at the end. Of a Parquet file the whole footer is read."""
SAMPLE, SAMPLES = 1 << 12, 64
"""Bytes of each sample between beginning and end, and the number of samples, at even distances."""
PARQUET = b"PAR1"


def state(path: str | os.PathLike[str]) -> list[int]:
    """Return size, inode, and the times of the last change of contents and of the file itself, in nanoseconds."""
    found = os.stat(path)
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def fingerprint(path: str | os.PathLike[str]) -> list[Any]:
    """Return `state`, and a SHA-256 of the file's beginning, its end and some blocks between."""
    digest = hashlib.sha256()
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        _add(digest, file, 0, min(size, ENDS))
        for i in range(1, SAMPLES + 1):
            _add(digest, file, i * size // (SAMPLES + 1), SAMPLE)
        end = max(0, size - _footer(file, size))
        _add(digest, file, end, size - end)
    return [*state(path), digest.hexdigest()]


def _footer(file: IO[bytes], size: int) -> int:
    """Number of bytes at the end that are hashed without a gap."""
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little") + 8 if tail[4:] == PARQUET else 0
    return max(ENDS, length)


def _add(digest: Any, file: IO[bytes], start: int, count: int) -> None:
    file.seek(start)
    while count > 0 and (data := file.read(min(count, 1 << 20))):
        digest.update(data)
        count -= len(data)
