"""A result that is written part by part and becomes a file, or a folder, in one rename.

Beside the target ``scores.parquet`` a folder ``.scores.parquet.parts`` grows. It holds a mark that says that it is
ours, a manifest that says of which run it is, and the finished parts; the name of a part ends in the CRC-32 of its
bytes. A killed run leaves the folder behind: the same run goes on from there, another one starts anew. The file
itself grows in the folder, too, while the run goes on, so that its end costs no second pass; it has no use before
it is whole.

A folder or a link of that name that does not carry the mark belongs to somebody else: it is neither followed nor
written to nor deleted, and the run is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import stat
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from filelock import FileLock, Timeout
from pyarrow import parquet

from pyscore._core.files import (
    atomic_write,
    create_file,
    finish_file,
    hidden_name,
    sync_folder,
    write_errors,
)
from pyscore._core.output_guard import check_output
from pyscore._core.plain_files import open_plain, read_json
from pyscore._core.waiting import result_of, start
from pyscore.data.own_results import PART as KEY
from pyscore.data.own_results import RESULT
from pyscore.errors import InvalidInput
from pyscore.scoring.growing_file import WRITERS, Joined, parquet_options

__all__ = ["Part", "Parts", "check_target", "open_parts"]

MARK = ".pyscore-parts"
MANIFEST, LOCK, OWNER, CHECKSUMS = ".manifest.json", ".lock", ".owner.json", ".checksums.json"
JOINED, UNFINISHED = "joined.tmp", "part.tmp"
_PART = re.compile(r"part-(\d{6})(?:-([0-9a-f]{8}))?\.parquet")
_EXPLANATION = b"The unfinished result of a run of pyscore. The same command goes on from here.\n"


@dataclass(frozen=True)
class Part:
    """A finished part: rows `first` … `first + rows` of the result."""

    first: int
    rows: int
    file: int
    row: int
    """Where the next part begins: a file of the input and a row in it."""
    singular: int
    """Rows whose Jacobian is singular to working precision."""


class Parts:
    """The parts of one run that are there, and what becomes of them."""

    def __init__(self, target: Path, folder: Path, as_folder: bool, identity: dict[str, Any]) -> None:
        self.target, self.folder = target, folder
        self.done: list[Part] = []
        self._as_folder = as_folder
        self._identity = identity
        self._joined: Joined | None = None
        self._disk = ThreadPoolExecutor(1, "pyscore-parts")
        self._under_way: Future[None] | None = None
        self._digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    # ── begin, or go on ──

    def resume(self) -> str | None:
        """Find the parts of an earlier run; return why they can't be used, if so, having deleted them."""
        with write_errors(self.target):
            why = self._differs()
            if why is None:
                self.done = self._valid()
            for path in (*self._paths()[len(self.done) :], self.folder / JOINED, self.folder / UNFINISHED):
                path.unlink(missing_ok=True)
            _write_json(self.folder / MANIFEST, self._identity)
        return why

    def _differs(self) -> str | None:
        """Which entries of the manifest are those of another run; None if there are none, or no parts."""
        if not self._paths():
            return None
        try:
            found = read_json(self.folder / MANIFEST)
            names = [name for name in self._identity if found.get(name) != self._identity[name]]
        except (OSError, ValueError, AttributeError):
            return "its manifest is damaged"
        return f"its {', '.join(names)} differ" if names else None

    def _valid(self) -> list[Part]:
        """The parts from the first row on, as far as no bit of them has changed and they follow each other."""
        parts: list[Part] = []
        for path in self._paths():
            try:
                if _checksum_of(path) != self._recorded(path):
                    break
                found = json.loads(parquet.read_schema(path).metadata[KEY])
                digest, part = found.pop("run"), Part(**found)
                rows = parquet.read_metadata(path).num_rows
            except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
                break
            expected = parts[-1].first + parts[-1].rows if parts else 0
            if digest != self._digest or part.first != expected or part.rows != rows:
                break
            parts.append(part)
        return parts

    def _recorded(self, path: Path) -> str | None:
        """The checksum of a part, which its name holds, or a file where names are those of the result already."""
        found = _PART.fullmatch(path.name)
        if found is not None and found[2]:
            return str(found[2])
        return read_json(self.folder / CHECKSUMS).get(path.name)

    def _paths(self) -> list[Path]:
        with os.scandir(self.folder) as entries:
            return sorted(Path(entry.path) for entry in entries if _PART.fullmatch(entry.name))

    # ── write ──

    def write(self, table: pa.Table, *, file: int, row: int, singular: int, last: bool = False) -> None:
        """Add a part, after which the run stands at a row of a file of the input.

        It is on its way to the disk when this returns; what fails there is raised by the next call. The `last` one
        becomes no file of its own where `finish` is about to make one of all.
        """
        self._wait()
        part = Part(self.rows, table.num_rows, file, row, singular)
        self._under_way = start(self._disk, self._store, table, part, len(self.done), last)
        self.done.append(part)

    def _store(self, table: pa.Table, part: Part, number: int, last: bool) -> None:
        with write_errors(self.target):
            joined = self._joining(table.schema)
            if joined is None or not last:
                self._store_part(table, part, number)
            if joined is not None:
                joined.add(table)

    def _store_part(self, table: pa.Table, part: Part, number: int) -> None:
        """Write a file under a temporary name; the checksum of its bytes becomes part of the name it is given."""
        note = json.dumps({"run": self._digest, **asdict(part)})
        noted = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: note})
        options = parquet_options(table.schema, checksums=self._as_folder)
        temporary = self.folder / UNFINISHED
        with create_file(temporary) as file:
            out = _Summed(file)
            parquet.write_table(noted, out, **options)
            finish_file(file)
        os.replace(temporary, self.folder / f"part-{number:06d}-{out.checksum:08x}.parquet")
        sync_folder(self.folder)

    def _wait(self) -> None:
        """Until what was written last is on the disk; raises what was raised there."""
        if self._under_way is not None:
            result_of(self._under_way, self._disk)

    def _joining(self, schema: pa.Schema | None = None) -> Joined | None:
        """The file that grows, which begins with the parts that were there; None for a folder."""
        if self._joined is None and not self._as_folder:
            paths = self._paths()
            schema = _plain_schema(schema or parquet.read_schema(paths[0]))
            path, suffix = self.folder / JOINED, self.target.suffix.lower()
            self._joined = Joined(path, suffix, schema, paths, permissions_of=self.target)
        return self._joined

    @property
    def rows(self) -> int:
        """Rows that are done."""
        return self.done[-1].first + self.done[-1].rows if self.done else 0

    # ── finish ──

    def finish(self) -> None:
        """Make the parts the result: the folder by a rename, a file by joining them into one that is renamed."""
        self._wait()
        with write_errors(self.target):
            joined = self._joining()
            if joined is None:
                self._finish_folder()
                return
            joined.finish()
            os.replace(self.folder / JOINED, self.target)
            sync_folder(self.target.parent)
            _remove(self.folder)

    def _finish_folder(self) -> None:
        """Give the parts their plain names, and the folder its own.

        After a kill at any step the next run finds the checksums, here or in the target; there the mark, which
        says that the folder is unfinished, is deleted first.
        """
        names = {path: "-".join(path.stem.split("-")[:2]) + ".parquet" for path in self._paths()}
        _write_json(self.folder / CHECKSUMS, {name: self._recorded(path) for path, name in names.items()})
        for path, name in names.items():
            os.replace(path, self.folder / name)
        if self.target.is_dir():  # an empty one, which hands its permissions on
            os.chmod(self.folder, stat.S_IMODE(self.target.stat().st_mode))
        os.replace(self.folder, self.target)
        sync_folder(self.target.parent)
        for name in (MARK, MANIFEST, CHECKSUMS, OWNER, LOCK):
            (self.target / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Leave what is done for another run to go on from."""
        self._disk.shutdown(wait=True)
        if self._joined is not None:
            self._joined.close()

    @property
    def kept(self) -> bool:
        """Whether another run could go on from what is on the disk."""
        try:
            return bool(self._paths())
        except FileNotFoundError:
            return False
        except OSError:  # no memory, no handle: then nothing is deleted
            return True


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema marked as that of a result, without what Parquet adds to fields that were read back."""
    return pa.schema([field.remove_metadata() for field in schema], {RESULT: b"1"})


class _Summed:
    """A file that knows the CRC-32 of what was written to it."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.checksum = file, 0

    def write(self, data: Any) -> int:
        self.checksum = zlib.crc32(data, self.checksum)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Leave the file to its owner."""


def _checksum_of(path: Path) -> str:
    checksum = 0
    with open_plain(path) as file:
        while data := file.read(1 << 20):
            checksum = zlib.crc32(data, checksum)
    return f"{checksum:08x}"


def _write_json(path: Path, value: Any) -> None:
    """Write JSON in a folder of parts: a link that lies there is replaced, not followed."""
    with atomic_write(path, "w", follow=False) as file:
        json.dump(value, file)


# ── the folder ──


def check_target(target: str | os.PathLike[str], inputs: Any = ()) -> tuple[Path, bool]:
    """Return where a result really lies, and whether it is a folder; raises as `open_parts` and `check_output`."""
    text = os.fspath(target)
    if text.endswith(("/", os.sep)) or os.path.isdir(text):
        path = Path(os.path.realpath(text))
        with write_errors(text):
            if not _marked(path):  # else a run was killed at its last step, and `open_parts` knows what to do
                _check_folder(path, text)
        return path, True
    if Path(os.path.realpath(text)).suffix.lower() not in WRITERS:
        raise InvalidInput(
            f"`path` must end in {', '.join(WRITERS)}, or in '/' for a folder of parts; got {text!r}."
        )
    return check_output(target, inputs), False


@contextlib.contextmanager
def open_parts(target: str | os.PathLike[str], identity: dict[str, Any]) -> Iterator[Parts]:
    """Lock a target and hold it.

    A target that ends in a slash, or is a folder, becomes a folder of parts; else its suffix says which kind of
    file: .parquet, .csv, .arrow or .feather.

    Raises
    ------
    InvalidInput
        If the target is of another kind, if another run is at it, or if the folder that parts would be written to
        is not one of ours.
    WriteError
        If the target cannot be written.
    """
    text = os.fspath(target)
    identity = json.loads(json.dumps(identity))
    with write_errors(text):
        _take_back(Path(os.path.realpath(text)), identity)
        path, as_folder = check_target(target)
        if as_folder:
            _check_folder(path, text)
        folder = hidden_name(path, ".parts")
        lock = _lock(folder, text, private=not as_folder)
    parts: Parts | None = None
    try:
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        with write_errors(text):
            _write_json(folder / OWNER, {"process": os.getpid(), "host": socket.gethostname(), "since": now})
        parts = Parts(path, folder, as_folder, identity)
        with contextlib.closing(parts):
            yield parts
    except BaseException as error:
        if (
            isinstance(error, InvalidInput) or parts is None or not parts.kept
        ):  # nothing that a run could go on from
            _remove(folder)
        else:
            error.add_note("What is done is kept: the same command goes on from there.")
        raise
    finally:
        lock.release()


def _lock(folder: Path, text: str, *, private: bool) -> FileLock:
    """Make the folder of parts, or take one of ours, and lock it."""
    for _ in range(100):
        made = _make(folder, text, private=private)
        lock = FileLock(folder / LOCK, timeout=0)
        try:
            with contextlib.suppress(FileExistsError), create_file(folder / MARK) as file:
                file.write(_EXPLANATION)
            lock.acquire()
        except Timeout:
            raise InvalidInput(
                f"another run is writing {text!r}{_owner(folder)}. Wait for it, stop it, or name another file."
            ) from None
        except FileNotFoundError:  # another run has just finished and removed the folder
            continue
        except BaseException:
            if made:
                _remove(folder)
            raise
        return lock
    raise InvalidInput(f"other runs are writing {text!r} again and again. Name another file.")


def _make(folder: Path, text: str, *, private: bool) -> bool:
    """Make a folder unless one of ours is there; returns whether it was made."""
    try:
        folder.mkdir(mode=0o700 if private else 0o777)
    except FileExistsError:
        why = _foreign(folder)
        if why is not None:
            raise InvalidInput(
                f"the parts of {text!r} would be written to {str(folder)!r}, but {why}. Move it away, or name "
                "another output."
            ) from None
        return False
    return True


def _foreign(folder: Path) -> str | None:
    """Why something of the name of a folder of parts is none of ours; an empty folder may be."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return "that is a link or a file"
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return "that belongs to another user"
    if not _marked(folder) and any(folder.iterdir()):
        return "that is not a folder of pyscore's (it lacks the mark of one)"
    return None


def _marked(folder: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(folder / MARK).st_mode)
    except OSError:
        return False


def _take_back(path: Path, identity: dict[str, Any]) -> None:
    """Make a result folder one of parts again if the run was killed after its rename and before its last step."""
    folder = hidden_name(path, ".parts")
    if path.is_dir() and _marked(path) and not os.path.lexists(folder):
        with contextlib.suppress(OSError, ValueError):
            if read_json(path / MANIFEST) == identity:
                os.replace(path, folder)


def _remove(folder: Path) -> None:
    """Delete what a run has written into its folder, and the folder if nothing else is in it."""
    ours = (MARK, MANIFEST, CHECKSUMS, OWNER, LOCK, JOINED, UNFINISHED)
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        names.sort(key=(LOCK, MARK).__contains__)  # what says that the folder is ours goes last
        for name in names:
            if name in ours or _PART.fullmatch(name) or (name.startswith(".") and name.endswith(".tmp")):
                os.unlink(folder / name)
        os.rmdir(folder)


def _check_folder(path: Path, text: str) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "is not empty" if path.is_dir() else "is a file"
        raise InvalidInput(f"`path` must name a new or empty folder; {text!r} {what}. Delete it, or name another.")
    if not path.parent.is_dir():
        raise InvalidInput(f"`path` must lie in an existing folder; there is no {str(path.parent)!r}.")
    if os.path.ismount(path):
        raise InvalidInput(
            f"`path` must name a folder that can be renamed; {text!r} is a mount point. Name one in it."
        )


def _owner(folder: Path) -> str:
    try:
        owner = read_json(folder / OWNER)
        return f" (process {owner['process']} on {owner['host']}, since {owner['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
