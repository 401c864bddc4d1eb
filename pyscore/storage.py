"""Files: written under a temporary name, fsynced, renamed; models as safetensors with a JSON header."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from pyscore._validate import Array
from pyscore.errors import InvalidInput, ModelFileError

__all__ = ["atomic_write", "read_tensors", "write_json", "write_tensors"]

MAX_HEADER = 100_000_000  # bytes, as in safetensors; the header of a model is a few kilobytes
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its name when the block ends well, and vanishes otherwise.

    Raises
    ------
    InvalidInput
        If the folder does not exist or `path` is a folder.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(
            f"`path` must name a file in an existing folder; got {str(path)!r}. "
            f"{'It is a folder' if path.is_dir() else f'There is no folder {str(path.parent)!r}'}."
        )
    encoding = None if "b" in mode else "utf-8"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:  # a full disk or Ctrl-C, too: nothing half-written stays
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # the rename itself survives a crash only once the folder is synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, default=_plain)
        file.write("\n")


def _plain(value: Any) -> Any:
    """Return NumPy scalars and arrays as plain numbers and lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def write_tensors(
    path: str | os.PathLike[str], kind: str, version: int, header: dict[str, Any], tensors: dict[str, Array]
) -> None:
    """Write arrays as safetensors, with `header` as JSON in the metadata."""
    from safetensors.numpy import save

    text = json.dumps({"format": f"pyscore.{kind}", "version": version, **header}, default=_plain)
    data = save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata={"pyscore": text})
    with atomic_write(path) as file:
        file.write(data)


def read_tensors(path: str | os.PathLike[str], kind: str, version: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read what `write_tensors` wrote.

    Our own reader of the safetensors layout (8 bytes of length, JSON, data), since every field of a file that
    may come from anywhere is checked before a byte of data is touched.

    Raises
    ------
    ModelFileError
        If the file is missing, truncated, corrupt, foreign, or of another kind or version.
    """
    path = Path(path)

    def broken(why: str) -> ModelFileError:
        return ModelFileError(f"{str(path)!r} is not a pyscore {kind} file: {why}.")

    try:
        with path.open("rb") as file:
            index = _index(file, broken)
            header = _header(index.pop("__metadata__", None), kind, version, broken)
            data = file.read()
    except OSError as error:
        raise ModelFileError(f"cannot read {str(path)!r}: {error.strerror or error}.") from None
    return header, _tensors(index, memoryview(data), broken)


def _index(file: IO[bytes], broken: Any) -> dict[str, Any]:
    """Read the table of contents; a foreign file is recognised by its first bytes, however large it is."""
    start, size = file.read(8), os.fstat(file.fileno()).st_size
    if len(start) < 8:
        raise broken(f"it is truncated ({len(start)} bytes)")
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER:
        raise broken("it does not begin with a safetensors header")
    if 8 + length > size:
        raise broken("it is truncated within its header, or of another kind")
    try:
        index: dict[str, Any] = json.loads(file.read(length).decode("utf-8"))
        if not isinstance(index, dict):
            raise ValueError
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise broken("its header is not JSON") from None
    return index


def _header(metadata: Any, kind: str, version: int, broken: Any) -> dict[str, Any]:
    text = metadata.get("pyscore") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise broken("it was not written by pyscore (a safetensors file of another program?)")
    try:
        header = json.loads(text)
        if not isinstance(header, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise broken("its pyscore metadata is not JSON") from None
    found = header.pop("format", None)
    if found != f"pyscore.{kind}":
        raise broken(f"it is a {str(found)[:80]!r} file")
    got = header.pop("version", None)
    if type(got) is not int or got != version:
        raise broken(f"it has format version {str(got)[:80]}, not {version}; use the pyscore that wrote it")
    return header


def _tensors(index: dict[str, Any], data: memoryview, broken: Any) -> dict[str, Array]:
    """Check the table of contents against the bytes that are there, then copy each array out."""
    tensors: dict[str, Array] = {}
    spans = []
    for name, entry in index.items():
        try:
            dtype = _DTYPES[entry["dtype"]]
            shape = tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            plain = all(type(n) is int and 0 <= n < 1 << 62 for n in (*shape, begin, end)) and len(shape) <= 8
        except (KeyError, TypeError, ValueError):
            plain = False
        if not plain:
            raise broken(f"the entry of tensor {name[:80]!r} is malformed")
        if end > len(data) or begin > end or end - begin != math.prod(shape) * dtype.itemsize:
            raise broken(f"tensor {name[:80]!r} does not fit the file; it is truncated or corrupt")
        spans.append((begin, end))
        try:
            tensors[name] = np.frombuffer(data[begin:end], dtype=dtype).reshape(shape).copy()
        except ValueError:  # an empty array with axes beyond measure
            raise broken(f"tensor {name[:80]!r} has an impossible shape") from None
    spans.sort()
    edges = [0, *[end for _, end in spans]]
    if any(begin != edge for (begin, _), edge in zip(spans, edges, strict=False)) or edges[-1] != len(data):
        raise broken("its tensors overlap or leave gaps; it is truncated or corrupt")
    return tensors
