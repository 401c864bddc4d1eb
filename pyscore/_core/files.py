"""Writing of files (temporary name, fsync, rename), and safetensors files with a header and a checksum."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import secrets
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from pyscore._core.checks import Array
from pyscore._core.plain_files import open_plain, unique
from pyscore.errors import InvalidInput, ModelFileError, PyscoreError, WriteError

__all__ = [
    "atomic_write",
    "check_tensors",
    "create_file",
    "finish_file",
    "hidden_name",
    "is_kind",
    "pack_tensors",
    "read_tensors",
    "real_path",
    "sync_folder",
    "tensor_kind",
    "unpack_tensors",
    "write_error",
    "write_errors",
    "write_json",
    "write_tensors",
]

MAX_HEADER = 100_000_000  # bytes, as in safetensors; the header of a model is a few kilobytes
LONGEST_NAME = 255  # bytes, of one part of a path, on the file systems in use
_ADVICE = {
    errno.ENOSPC: " The disk is full: make room, or name another folder.",
    errno.EDQUOT: " Your quota of disk space is used up: make room, or name another folder.",
    errno.EROFS: " Name another folder.",
    errno.EACCES: " Change its permissions or those of its folder, or name another folder.",
    errno.EMFILE: " Too many files are open: raise the limit (`ulimit -n`).",
}
_BLANK = "0" * 64  # stands in the place of the checksum while the checksum is computed
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
_Broken = Callable[[str], ModelFileError]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb", *, follow: bool = True) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`. It is renamed to `path` if the block succeeds and deleted if it raises.

    A file that replaces another gets its permissions; a new file gets those that the umask allows.

    Parameters
    ----------
    path : path
    mode : {"wb", "w"}
        Text is written as UTF-8.
    follow : bool
        Whether the file that a symbolic link points to is replaced, and the link stays; otherwise the link itself
        is replaced.

    Raises
    ------
    InvalidInput
        If the folder does not exist, or `path` is a folder, a device or a link that leads nowhere.
    WriteError
        If the operating system refuses a step, for example because the disk is full.
    """
    path = real_path(path) if follow else Path(path)
    with write_errors(path):
        temporary = hidden_name(path, f".{secrets.token_hex(6)}.tmp")
        file = create_file(temporary, like=path if follow else None)
        try:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="\n") if "b" not in mode else None
            yield text or file
            if text is not None:
                text.detach()  # flushes it
            finish_file(file)
            file.close()
            os.replace(temporary, path)
        except BaseException:  # after every error, Ctrl-C included, the half-written file is removed
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


def create_file(path: Path, *, like: Path | None = None) -> IO[bytes]:
    """Create a new file for writing, with the permissions of `like` if that file exists.

    A symbolic link of that name is not followed. The umask is not changed: changing it, even for a moment, would
    give the files that other threads create at that time the wrong permissions.
    """
    try:
        old = os.stat(like) if like is not None else None
    except FileNotFoundError:
        old = None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o666 if old is None else 0o600)
    try:
        if old is not None:
            _copy_permissions(handle, old)
        return os.fdopen(handle, "wb")
    except BaseException:
        os.close(handle)
        os.unlink(path)
        raise


def _copy_permissions(handle: int, old: os.stat_result) -> None:
    """Give a file the owner and mode of another one. If its group cannot be set, the group gets no permissions."""
    mode = stat.S_IMODE(old.st_mode)
    new = os.fstat(handle)
    for uid, gid in ((old.st_uid, -1), (-1, old.st_gid)):
        if (uid, gid) in ((new.st_uid, -1), (-1, new.st_gid)):
            continue
        try:
            os.chown(handle, uid, gid)
        except OSError:  # only root may give files away, and some file systems have no owners
            mode &= ~0o2070 if uid == -1 else ~0o4000
    os.chmod(handle, mode)


def finish_file(file: IO[bytes]) -> None:
    """Flush a file and wait until it is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def hidden_name(path: Path, ending: str) -> Path:
    """Return the path ``.NAME`` + `ending` beside `path`; a long name is shortened to what file systems allow."""
    room = LONGEST_NAME - 1 - len(os.fsencode(ending))
    name = os.fsencode(path.name)
    if len(name) > room:
        name = name[: room - 17] + b"-" + hashlib.sha256(name).hexdigest()[:16].encode()
    return path.with_name(f".{os.fsdecode(name)}{ending}")


@contextlib.contextmanager
def write_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError inside the block into a WriteError that names `path`."""
    try:
        yield
    except PyscoreError:
        raise
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: str | os.PathLike[str], error: OSError) -> WriteError:
    """The error for a file that could not be written."""
    why = error.strerror or str(error)
    new = WriteError(f"cannot write {os.fspath(path)!r}: {why}.{_ADVICE.get(error.errno or 0, '')}")
    new.errno, new.strerror, new.filename = error.errno, why, os.fspath(path)
    return new


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, without which a rename may be lost in a crash."""
    with contextlib.suppress(OSError):  # not every system lets a folder be synced
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file to be written with its links followed; raises as `atomic_write`."""
    try:
        real = Path(os.path.realpath(path))
        why = _unusable(real)
    except (OSError, ValueError) as error:  # a name too long or with a zero byte, a folder without permission
        why = f"{getattr(error, 'strerror', None) or error}"
    if why is not None:
        raise InvalidInput(f"`path` must name a file in an existing folder; got {os.fspath(path)!r}. {why}.")
    return real


def _unusable(real: Path) -> str | None:
    """Why a file cannot be written at a path, or None if only trying can tell."""
    if real.is_dir():
        return "It is a folder"
    if real.is_symlink():
        return "It is a symbolic link that leads back to itself"
    if real.exists() and not real.is_file():
        return "It is a device or a pipe, which a rename would replace"
    if not real.parent.is_dir():
        return f"There is no folder {str(real.parent)!r}"
    if len(os.fsencode(real.name)) > LONGEST_NAME:
        return "Its name is too long"
    return None


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
    """Write arrays as safetensors, with `header` as JSON in the metadata; atomically."""
    data = pack_tensors(kind, version, header, tensors)
    with atomic_write(path) as file:
        file.write(data)


def pack_tensors(kind: str, version: int, header: dict[str, Any], tensors: dict[str, Array]) -> bytes:
    """Bytes of a file of `write_tensors`.

    The header holds the SHA-256 of the whole file, computed with 64 zeros in the place of the checksum itself, so
    every changed byte is noticed. The checksum protects against damage. Against a file made to do harm, the reader
    checks every field.
    """
    from safetensors.numpy import save

    fields = {"format": f"pyscore.{kind}", "version": version, "sha256": _BLANK, **header}
    text = json.dumps(fields, default=_plain, allow_nan=False)
    data = bytearray(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata={"pyscore": text}))
    place = data.index(_BLANK.encode())
    data[place : place + 64] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def read_tensors(
    path: str | os.PathLike[str], kind: str, version: int, *, unsigned: Collection[int] = ()
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read what `write_tensors` wrote; see `unpack_tensors`."""
    path = Path(path)
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            return _read(file, size, str(path), kind, version, unsigned)
    except (OSError, ValueError) as error:
        if isinstance(error, PyscoreError):
            raise
        why = getattr(error, "strerror", None) or error
        raise ModelFileError(f"cannot read {str(path)!r}: {why}.") from None


def is_kind(path: str | os.PathLike[str], kind: str) -> bool:
    """Whether a file says that it is of a kind, "detector" say; False for a file that cannot be read."""
    try:
        return tensor_kind(path) == kind
    except ModelFileError:
        return False


def check_tensors(
    path: str | os.PathLike[str], kind: str, version: int, *, unsigned: Collection[int] = ()
) -> None:
    """Check the header and the table of contents of a file, but not its data; raises as `unpack_tensors`."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            _contents(file, size, str(path), kind, version, unsigned)
    except OSError as error:
        raise ModelFileError(f"cannot read {str(path)!r}: {error.strerror or error}.") from None


def tensor_kind(path: str | os.PathLike[str]) -> str:
    """What a file of `write_tensors` says that it holds: "model", "checkpoint", …; raises as `unpack_tensors`."""

    def broken(why: str) -> ModelFileError:
        return ModelFileError(f"{str(path)!r} is not a pyscore file: {why}.")

    try:
        with open_plain(path) as file:
            metadata = _index(file, os.fstat(file.fileno()).st_size, broken)[2].get("__metadata__")
    except OSError as error:
        raise ModelFileError(f"cannot read {str(path)!r}: {error.strerror or error}.") from None
    text = metadata.get("pyscore") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise broken("it was not written by pyscore (a safetensors file of another program?)")
    kind = _json(text, broken, "pyscore metadata").get("format")
    return kind.removeprefix("pyscore.") if isinstance(kind, str) else _shown(kind)


def unpack_tensors(
    data: bytes, kind: str, version: int, *, unsigned: Collection[int] = (), name: str = "<bytes>"
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the header and the arrays of a file, given its bytes.

    This is pyscore's own reader of the safetensors layout (8 bytes of length, JSON, data). A file may come from
    anywhere, so every field is checked before any data is read. Nothing in a file is executed. The memory used is
    at most twice the data and some 40 bytes per byte of header.

    Parameters
    ----------
    data : bytes
    kind : str
        ``"model"``, ``"checkpoint"``, …
    version : int
        Newest version of the format that the caller knows.
    unsigned : versions
        Old versions of the format, which have no checksum; all others up to `version` need one.
    name : str
        Name of the file in messages.

    Raises
    ------
    ModelFileError
        If the file is missing, truncated, damaged in any bit, foreign, or of another kind or version.
    """
    return _read(io.BytesIO(data), len(data), name, kind, version, unsigned)


def _read(
    file: IO[bytes], size: int, name: str, kind: str, version: int, unsigned: Collection[int]
) -> tuple[dict[str, Any], dict[str, Array]]:
    head, header, entries, broken = _contents(file, size, name, kind, version, unsigned)
    checksum = header.pop("sha256", None)
    data = file.read(size - len(head))
    if checksum is not None:
        _verify(checksum, head, data, broken)
    view = memoryview(data)
    return header, {
        name: np.frombuffer(view[begin:end], dtype).reshape(shape).copy()
        for name, dtype, shape, begin, end in entries
    }


def _contents(
    file: IO[bytes], size: int, name: str, kind: str, version: int, unsigned: Collection[int]
) -> tuple[bytes, dict[str, Any], list[_Entry], _Broken]:
    """Read all that precedes the data.

    Returns its bytes, the header, the place of each tensor, and the error maker.
    """

    def broken(why: str) -> ModelFileError:
        return ModelFileError(f"{name!r} is not a pyscore {kind} file: {why}.")

    start, text, index = _index(file, size, broken)
    header = _header(index.pop("__metadata__", None), kind, version, unsigned, broken)
    return start + text, header, _entries(index, size - len(start) - len(text), broken), broken


def _index(file: IO[bytes], size: int, broken: _Broken) -> tuple[bytes, bytes, dict[str, Any]]:
    """Read the table of contents. A foreign file is recognised by its first bytes and not read further."""
    start = file.read(8)
    if len(start) < 8:
        raise broken(f"it is truncated ({len(start)} bytes)")
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER:
        raise broken("it does not begin with a safetensors header")
    if 8 + length > size:
        raise broken("it is truncated within its header, or of another kind")
    text = file.read(length)
    return start, text, _json(text, broken, "header")


def _header(metadata: Any, kind: str, version: int, unsigned: Collection[int], broken: _Broken) -> dict[str, Any]:
    """Return the fields that pyscore wrote, after checking the file's format and version."""
    text = metadata.get("pyscore") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise broken("it was not written by pyscore (a safetensors file of another program?)")
    if len(metadata) > 1:
        raise broken("its metadata hold more than pyscore writes")
    header = _json(text, broken, "pyscore metadata")
    found = header.pop("format", None)
    if found != f"pyscore.{kind}":
        raise broken(f"it is a {_shown(found)} file")
    got = header.pop("version", None)
    if type(got) is not int or got < 1:
        raise broken(f"its format version is {_shown(got)}, not a positive integer")
    if got > version:
        raise broken(
            f"it has format version {_shown(got)}, newer than {version}, the last one known; upgrade pyscore"
        )
    if got not in unsigned and "sha256" not in header:
        raise broken("it lacks its checksum")
    return header


def _shown(value: Any) -> str:
    """Return a short form of a value; of a nested value only its type, since printing it may recurse."""
    return repr(value)[:80] if isinstance(value, str | int | float | None) else f"{type(value).__name__!r}"


def _json(text: bytes | str, broken: _Broken, what: str) -> dict[str, Any]:
    """Parse a JSON object, more strictly than `json`: no name twice, no NaN, no integer of over 64 bits."""

    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise ValueError("a number is not finite")
        return value

    def whole(number: str) -> int:
        if len(number) > 20 or not -(2**63) <= (value := int(number)) < 2**64:
            raise ValueError("an integer has more than 64 bits")
        return value

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite, parse_int=whole
        )
        if not isinstance(value, dict):
            raise ValueError("it is not an object")
    except (ValueError, RecursionError) as error:
        why = str(error)[:80] if type(error) is ValueError else "it cannot be parsed"
        raise broken(f"its {what} is not JSON ({why})") from None
    return value


def _verify(checksum: Any, head: bytes, data: bytes, broken: _Broken) -> None:
    """Compare the checksum in a file with that of its bytes."""
    plain = isinstance(checksum, str) and len(checksum) == 64 and set(checksum) <= set("0123456789abcdef")
    if not plain or head.count(checksum.encode()) != 1:
        raise broken("its checksum is malformed")
    digest = hashlib.sha256(head.replace(checksum.encode(), _BLANK.encode()))
    digest.update(data)
    if digest.hexdigest() != checksum:
        raise broken("its checksum does not match: it was damaged, or edited by hand")


class _Entry(NamedTuple):
    """The place of a tensor in the data, after all checks."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def _entries(index: dict[str, Any], room: int, broken: _Broken) -> list[_Entry]:
    """Check that the entries of the table of contents agree with each other and with the file's size."""
    entries = []
    for name, fields in index.items():
        try:
            dtype = _DTYPES[fields["dtype"]]
            shape = tuple(fields["shape"])
            begin, end = fields["data_offsets"]
            plain = all(type(n) is int and 0 <= n < 1 << 62 for n in (*shape, begin, end)) and len(shape) <= 8
        except (KeyError, TypeError, ValueError):
            plain = False
        if not plain or len(fields) != 3:
            raise broken(f"the entry of tensor {name[:80]!r} is malformed")
        if end > room or begin > end or end - begin != math.prod(shape) * dtype.itemsize:
            raise broken(f"tensor {name[:80]!r} does not fit the file; it is truncated or corrupt")
        if math.prod(n for n in shape if n) >= 1 << 59:  # an empty array with axes beyond what NumPy has
            raise broken(f"tensor {name[:80]!r} has an impossible shape")
        entries.append(_Entry(name, dtype, shape, begin, end))
    spans = sorted((entry.begin, entry.end) for entry in entries)
    edges = [0, *[end for _, end in spans]]
    if any(begin != edge for (begin, _), edge in zip(spans, edges, strict=False)) or edges[-1] != room:
        raise broken("its tensors overlap or leave gaps; it is truncated or corrupt")
    return entries
