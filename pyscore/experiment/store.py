"""The output folder of an experiment. Each result is a file that is either complete or absent.

    OUT/manifest.json                the runs that were asked for, by hash
    OUT/results/<stack>.parquet      one file per finished stack; a stack is finished when it exists
    OUT/models/<stack>.safetensors   all models of the stack
    OUT/ablation/*.parquet           rows with a field of the convention switched; see `ablation`
    OUT/baselines/*.parquet          one file per dataset and split; see `baseline_runs`
    OUT/claims/<stack>               held by the process that works on the stack
    OUT/log.jsonl                    one line for each thing that went wrong

A claim is a `flock` on an open file that names its holder. The kernel releases it when the process ends, even if
it is killed, so no claim outlives its holder (filelock would fall back to a lock that does). Every file is written
under the claim of its name, so a temporary file whose claim is free belongs to a process that was killed;
`Store.sweep` removes it. A file system without locks (some network mounts) gives a warning and no claims. Two
processes may then do the same work twice, but no file is ever incomplete, since files are renamed into place.

A damaged file does not count as finished: it is renamed, and its stack is computed again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pyscore._core.checks import Array
from pyscore._core.files import (
    atomic_write,
    check_tensors,
    write_error,
    write_errors,
    write_json,
    write_tensors,
)
from pyscore._core.plain_files import read_json
from pyscore.errors import DataUnavailable, InvalidInput, ModelFileError, WriteError
from pyscore.experiment.grid import StackTask
from pyscore.experiment.result_checks import check_runs
from pyscore.experiment.schema import SCHEMA
from pyscore.reference.model import SVAE
from pyscore.training.saved_models import STACK_VERSION, load_stack

__all__ = ["Store", "damage_of_models", "damage_of_rows", "models_of", "out_of_disk", "read_results", "read_rows"]

FOLDERS = ("results", "models", "claims", "ablation", "baselines")
SAY_AFTER, GIVE_UP_AFTER = 2.0, 60.0
"""Seconds after which a process that waits for the manifest says so, and after which it gives up."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def out_of_disk(error: BaseException) -> bool:
    """Whether an error means that the disk is full or its quota used up."""
    return isinstance(error, OSError) and error.errno in _DISK_FULL


class Store:
    """One output folder.

    Parameters
    ----------
    folder : path
        It is created if it is missing.
    tell : callable (text), optional
        Called with a message when something takes long; by default the message is a warning.

    Raises
    ------
    WriteError
        If the folder cannot be created; parent folders that were created are removed again.
    """

    def __init__(self, folder: str | os.PathLike[str], *, tell: Callable[[str], None] | None = None) -> None:
        self.folder = Path(folder)
        self._tell = tell or (lambda text: warnings.warn(text, UserWarning, stacklevel=3))
        self._made: list[Path] = []
        self._warned = False
        try:
            with write_errors(folder):
                for part in FOLDERS:
                    self._make(self.folder / part)
        except BaseException:
            self.discard()
            raise

    def _make(self, folder: Path) -> None:
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            self._made.append(each)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def discard(self) -> None:
        """Remove the folders that this object created, if they are empty; called when a run could not begin."""
        for each in reversed(self._made):
            with contextlib.suppress(OSError):
                each.rmdir()

    # ── stacks ──

    def result_path(self, task: StackTask) -> Path:
        """Path of the rows of a stack once it is finished."""
        return self.folder / "results" / f"{task.name}.parquet"

    def models_path(self, task: StackTask) -> Path:
        """Path of the models of a stack."""
        return self.folder / "models" / f"{task.name}.safetensors"

    def part(self, name: str) -> Path:
        """Return a folder in the output folder."""
        return self.folder / name

    def models(self, task: StackTask) -> list[SVAE | None]:
        """Models of a finished stack in the order of `task.configs()`; None for those that failed."""
        return load_stack(self.models_path(task))

    # ── claims ──

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Hold the claim of a stack; yield False if another process holds it."""
        held = self.try_claim(name)
        try:
            yield held is not None
        finally:
            if held is not None:
                self.release(name, held)

    def try_claim(self, name: str) -> int | None:
        """Take a claim; return the handle for `release`, or None if another process holds the claim.

        Raises
        ------
        OSError
            If the file of the claim cannot be created, for example on a full disk (`out_of_disk`).
        """
        path = self.folder / "claims" / name
        while True:
            with write_errors(path):
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return None
            except (ImportError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                    os.close(handle)
                    raise write_error(path, error) from error
                self._warn_no_locks(error)
                _held.add(handle)
                return handle
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    _write_owner(handle)
                    _held.add(handle)
                    return handle
            os.close(handle)  # the last holder removed the file after it was opened here and before it was locked

    def release(self, name: str, held: int) -> None:
        """Remove the file of a claim, then release the claim."""
        with contextlib.suppress(OSError):  # a claim file that stays there blocks nobody
            os.unlink(self.folder / "claims" / name)
        _held.discard(held)
        with contextlib.suppress(OSError):
            os.close(held)

    def owner(self, name: str) -> str:
        """Say who holds a claim, if its file can be read."""
        try:
            owner = read_json(self.folder / "claims" / name, most=10_000)
            return f"process {owner['process']} on {owner['host']}, since {owner['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "a process that did not leave its number"

    def sweep(self) -> list[str]:
        """Remove temporary files of killed processes, whose claims are free; return the files' names.

        Without locks a killed process cannot be told from a running one, so nothing is removed.
        """
        swept = []
        for path in sorted([*self.folder.glob(".*.tmp"), *self.folder.glob("*/.*.tmp")]):
            name = Path(path.name[1:].rsplit(".", 2)[0]).stem  # .<claim>.<suffix>.<random>.tmp
            try:
                with self.claim(name) as ours:
                    if ours and not self._warned and path.exists():
                        path.unlink()
                        swept.append(path.name)
            except OSError as error:  # no claim can be taken here, so the file stays
                self.log({"event": "not swept", "file": path.name, "reason": str(error)})
        if swept:
            self.log({"event": "swept", "files": swept})
        return swept

    def _warn_no_locks(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"the file system of {str(self.folder)!r} has no locks ({error}): another process on this folder "
                "may do the same work again.",
                UserWarning,
                stacklevel=4,
            )

    # ── manifest and log ──

    def add_run(self, key: str, entry: dict[str, Any]) -> None:
        """Add one run to the manifest, unless it is there already.

        Raises
        ------
        WriteError
            If the manifest cannot be written, or another process (perhaps a stopped one) holds it for a minute.
        """
        with self._manifest():
            runs = self.runs()
            if key not in runs:
                write_json(self.folder / "manifest.json", {"runs": {**runs, key: entry}})

    @contextlib.contextmanager
    def _manifest(self) -> Iterator[None]:
        """Hold the claim of the manifest, after waiting for other processes that hold it."""
        began, said = time.monotonic(), False
        with write_errors(self.folder / "manifest.json"):
            while (held := self.try_claim("manifest")) is None:
                waited = time.monotonic() - began
                if waited > GIVE_UP_AFTER:
                    raise WriteError(
                        f"the manifest of {str(self.folder)!r} has been held for {waited:.0f} seconds by "
                        f"{self.owner('manifest')}. If that process is stopped, let it go on (kill -CONT) or end "
                        "it; then call again."
                    )
                if waited > SAY_AFTER and not said:
                    said = True
                    self._tell(
                        f"waiting for the manifest of {str(self.folder)!r}, held by {self.owner('manifest')}"
                    )
                time.sleep(0.05)
            try:
                yield
            finally:
                self.release("manifest", held)

    def runs(self) -> dict[str, dict[str, Any]]:
        """Return the runs that were asked for so far, by hash.

        Raises
        ------
        InvalidInput
            If the manifest is damaged, or of another program.
        """
        path = self.folder / "manifest.json"
        if not path.exists():
            return {}
        try:
            return check_runs(read_json(path), str(path))
        except InvalidInput as error:
            raise InvalidInput(
                f"{str(path)!r} is not a manifest of pyscore reproduce, or it is damaged ({error}). Name another "
                "folder, or move the manifest away: what is finished in the folder is found without it."
            ) from None

    def log(self, entry: dict[str, Any]) -> None:
        """Append a line to the log. A line that a full disk refuses is lost; the caller's report still has it."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry}) + "\n"
        with contextlib.suppress(OSError), (self.folder / "log.jsonl").open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":  # the last line was cut off by a full disk
                line = "\n" + line
            file.write(line.encode())

    def set_aside(self, path: Path, why: str) -> str:
        """Rename a damaged file, so that it no longer counts as finished; return what was done, and why."""
        aside = path.with_name(f"{path.name}.damaged")
        with write_errors(aside):
            os.replace(path, aside)
        self.log({"event": "set aside", "file": path.name, "reason": why})
        return f"{path.name} was damaged ({why}); it is {aside.name} now"


_held: set[int] = set()
"""Handles of the claims of this process."""


def _give_up_in_child() -> None:
    """Close the parent's claims in a forked child, which would otherwise hold them after the parent has ended."""
    for handle in _held:
        with contextlib.suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_up_in_child)


def _write_owner(handle: int) -> None:
    """Write the holder into a claim's file. On a full disk this fails, and the claim is valid without it."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    owner = json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, owner.encode(), 0)


# ── files ──


def write_rows(
    path: Path, rows: pd.DataFrame, schema: pa.Schema = SCHEMA, metadata: dict[bytes, bytes] | None = None
) -> None:
    """Write rows as Parquet, atomically, with exactly the columns of the schema."""
    table = pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **(metadata or {})})
    with atomic_write(path) as file:
        pq.write_table(table, file, write_page_checksum=True)


def read_rows(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a file of `write_rows`.

    Raises
    ------
    InvalidInput
        If it is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(columns).to_pandas()
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the system, not of the file
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InvalidInput(
            f"{str(path)!r} is damaged: {why.rstrip('.')}. `pyscore reproduce` on that folder makes it again."
        ) from error


def damage_of_rows(path: Path, columns: list[str]) -> str | None:
    """Say what is wrong with an existing file of rows; None if it is complete and has the columns."""
    try:
        lacking = set(columns) - set(read_rows(path).columns)
    except InvalidInput as error:
        return str(error.__cause__).splitlines()[0][:200]
    return f"it lacks the columns {', '.join(sorted(lacking))}" if lacking else None


def damage_of_models(path: Path) -> str | None:
    """Say what is wrong with a file of models, judged by its table of contents; None if it is missing or good."""
    try:
        if path.exists():
            check_tensors(path, "stack", STACK_VERSION, unsigned=(1,))
    except ModelFileError as error:
        return str(error)
    return None


def read_results(
    folder: str | os.PathLike[str], part: str = "results", *, skip_damaged: bool = False
) -> pd.DataFrame:
    """Read all rows of all finished stacks of an output folder.

    Raises
    ------
    InvalidInput
        If there are no results, or a file is damaged (unless `skip_damaged`).
    """
    files = sorted((Path(folder) / part).glob("*.parquet"))
    if not files:
        raise InvalidInput(f"there are no results in {str(Path(folder) / part)!r}. Run `pyscore reproduce` first.")
    frames = []
    for file in files:
        try:
            frames.append(read_rows(file))
        except InvalidInput:
            if not skip_damaged:
                raise
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=SCHEMA.names)


def models_of(folder: str | os.PathLike[str], stack: str) -> dict[str, SVAE | None]:
    """Models of a finished stack by their `config_hash`; None for those that failed.

    The hashes are read from the stack's own result file, which lists its models in the order of the file of
    models. Other tables may lack some of them, because grids share models.

    Raises
    ------
    DataUnavailable
        If the stack has no result file.
    InvalidInput
        If the two files do not hold equally many models.
    ModelFileError
        If the models are missing, corrupt or foreign.
    """
    path = Path(folder) / "results" / f"{stack}.parquet"
    if not path.is_file():
        raise DataUnavailable(f"there is no file {str(path)!r}, which names the models of the stack {stack}.")
    hashes = read_rows(path, ["config_hash"])["config_hash"].unique().tolist()
    models = load_stack(Path(folder) / "models" / f"{stack}.safetensors")
    if len(models) != len(hashes):
        raise InvalidInput(
            f"the stack {stack} has results of {len(hashes)} models, but {len(models)} models are there. Were "
            "files exchanged since?"
        )
    return dict(zip(hashes, models, strict=True))


def save_models(path: Path, task: StackTask, models: list[SVAE | None]) -> None:
    """Write all models of a stack; tensor names are ``<index>/<parameter>``."""
    tensors: dict[str, Array] = {}
    for index, model in enumerate(models):
        if model is not None:
            tensors |= {f"{index}/{name}": value for name, value in model.parameters().items()}
    alive = {str(i): m.activation for i, m in enumerate(models) if m is not None}
    header = {"stack": task.name, "hash": task.hash, "models": len(models), "activation": alive}
    tensors["empty"] = np.zeros(0, np.float32)  # a stack may have no model that trained without failure
    write_tensors(path, "stack", STACK_VERSION, header, tensors)
