"""A result that is written part by part and becomes a file, or a folder, in one rename.

Beside the target ``scores.parquet`` a folder ``.scores.parquet.parts`` grows: a manifest that says of which run
it is, and finished parts, each with the identity of the run and its range of rows. A killed run leaves them
behind; the same run goes on from there, another one starts anew. The file itself grows there, too, while the run
goes on, so that its end costs no second pass; it is worth nothing before it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout
from pyarrow import parquet

from pyscore.errors import InvalidInput
from pyscore.joined import WRITERS, Joined, parquet_options
from pyscore.storage import atomic_write, real_path, sync_folder, write_json

__all__ = ["Part", "Parts", "open_parts"]

MANIFEST, LOCK, OWNER = ".manifest.json", ".lock", ".owner.json"
KEY = b"pyscore.part"
JOINED = "joined.tmp"


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
        why = self._differs()
        if why is None:
            self.done = self._valid()
        for path in (*self._paths()[len(self.done) :], self.folder / JOINED):
            path.unlink(missing_ok=True)
        write_json(self.folder / MANIFEST, self._identity)
        return why

    def _differs(self) -> str | None:
        """Which entries of the manifest are those of another run; None if there are none, or no parts."""
        if not self._paths():
            return None
        try:
            found = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            names = [name for name in self._identity if found.get(name) != self._identity[name]]
        except (OSError, ValueError, AttributeError):
            return "its manifest is damaged"
        return f"its {', '.join(names)} differ" if names else None

    def _valid(self) -> list[Part]:
        """The parts from the first row on, as far as they are whole and follow each other."""
        parts: list[Part] = []
        for path in self._paths():
            try:
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

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    # ── write ──

    def write(self, table: pa.Table, *, file: int, row: int, singular: int, last: bool = False) -> None:
        """Add a part, after which the run stands at a row of a file of the input.

        It is on its way to the disk when this returns; what fails there is raised by the next call. The `last` one
        becomes no file of its own where `finish` is about to make one of all.
        """
        self._wait()
        part = Part(self.rows, table.num_rows, file, row, singular)
        self._under_way = self._disk.submit(self._store, table, part, len(self.done), last)
        self.done.append(part)

    def _store(self, table: pa.Table, part: Part, number: int, last: bool) -> None:
        joined = self._joining(table.schema)
        if joined is None or not last:
            note = json.dumps({"run": self._digest, **asdict(part)})
            noted = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: note})
            with atomic_write(self.folder / f"part-{number:06d}.parquet") as out:
                parquet.write_table(noted, out, **parquet_options(table.schema))
        if joined is not None:
            joined.add(table)

    def _wait(self) -> None:
        """Until what was written last is on the disk; raises what was raised there."""
        if self._under_way is not None:
            self._under_way.result()

    def _joining(self, schema: pa.Schema | None = None) -> Joined | None:
        """The file that grows, which begins with the parts that were there; None for a folder."""
        if self._joined is None and not self._as_folder:
            paths = self._paths()
            schema = _plain_schema(schema or parquet.read_schema(paths[0]))
            self._joined = Joined(self.folder / JOINED, self.target.suffix.lower(), schema, paths)
        return self._joined

    @property
    def rows(self) -> int:
        """Rows that are done."""
        return self.done[-1].first + self.done[-1].rows if self.done else 0

    # ── finish ──

    def finish(self) -> None:
        """Make the parts the result: the folder by a rename, a file by joining them into one that is renamed."""
        self._wait()
        joined = self._joining()
        if joined is None:
            os.replace(self.folder, self.target)  # an empty folder may be there already
            for name in (MANIFEST, OWNER, LOCK):
                (self.target / name).unlink(missing_ok=True)
            return
        joined.finish()
        os.replace(self.folder / JOINED, self.target)
        sync_folder(self.target.parent)
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Leave what is done for another run to go on from."""
        self._disk.shutdown(wait=True)
        if self._joined is not None:
            self._joined.close()

    @property
    def kept(self) -> bool:
        """Whether another run could go on from what is on the disk."""
        return bool(self._paths())


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema without what a part says of its run, and what Parquet adds to fields that were read back."""
    fields = [field.remove_metadata() for field in schema]
    return pa.schema(fields, {k: v for k, v in (schema.metadata or {}).items() if k != KEY} or None)


@contextlib.contextmanager
def open_parts(target: str | os.PathLike[str], identity: dict[str, Any]) -> Iterator[Parts]:
    """Lock a target and hold it.

    A target that ends in a slash, or is a folder, becomes a folder of parts; else its suffix says which kind of
    file: .parquet, .csv, .arrow or .feather.

    Raises
    ------
    InvalidInput
        If the target cannot be written, or another run is at it.
    """
    text = os.fspath(target)
    as_folder = text.endswith(("/", os.sep)) or os.path.isdir(text)
    path = Path(os.path.realpath(text)) if as_folder else real_path(text)
    if as_folder:
        _check_folder(path, text)
    elif path.suffix.lower() not in WRITERS:
        raise InvalidInput(
            f"`path` must end in {', '.join(WRITERS)}, or in '/' for a folder of parts; got {text!r}."
        )
    folder = path.with_name(f".{path.name}.parts")
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InvalidInput(
            f"another run is writing {text!r}{_owner(folder)}. Wait for it, stop it, or name another file."
        ) from None
    try:
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        write_json(folder / OWNER, {"process": os.getpid(), "host": socket.gethostname(), "since": now})
        parts = Parts(path, folder, as_folder, identity)
        try:
            with contextlib.closing(parts):
                yield parts
        except BaseException as error:
            if isinstance(error, InvalidInput) or not parts.kept:  # nothing that the same run could go on from
                shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        lock.release()


def _check_folder(path: Path, text: str) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "is not empty" if path.is_dir() else "is a file"
        raise InvalidInput(f"`path` must name a new or empty folder; {text!r} {what}. Delete it, or name another.")
    if not path.parent.is_dir():
        raise InvalidInput(f"`path` must lie in an existing folder; there is no {str(path.parent)!r}.")


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f" (process {owner['process']} on {owner['host']}, since {owner['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
