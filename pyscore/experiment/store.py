"""The output folder of an experiment: what is done lies in files that are there or not, never half.

    OUT/manifest.json                what was asked for: one entry a run, by hash
    OUT/results/<stack>.parquet      one a finished stack; its being there is what "finished" means
    OUT/models/<stack>.safetensors   all models of the stack
    OUT/ablation/*.parquet           rows with a field of the convention switched; see `ablation`
    OUT/baselines/*.parquet          one a dataset and split; see `beside`
    OUT/claims/<stack>               held by the process that works on the stack
    OUT/log.jsonl                    what went wrong, a line each

A claim is a `flock` on an open file: the kernel releases it when the process dies, however it dies, so that no
dead claim is left. Every file is written under the claim of its name, so that a temporary file whose claim is free
belongs to a process that was killed: `Store.sweep`. On a file system without locks (some network mounts) there is
a warning and no claim: two processes may then do the same work twice, but files stay whole, since they are renamed
into place.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pyscore._core.checks import Array
from pyscore._core.files import atomic_write, read_tensors, write_json, write_tensors
from pyscore.errors import DataUnavailable, InvalidInput, ModelFileError
from pyscore.experiment.grid import StackTask
from pyscore.experiment.schema import SCHEMA
from pyscore.reference.model import SVAE

__all__ = ["Store", "models_of", "out_of_disk", "read_results"]

MODELS_VERSION = 1
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def out_of_disk(error: BaseException) -> bool:
    """Whether an error says that the disk, or the quota on it, is full."""
    return isinstance(error, OSError) and error.errno in _DISK_FULL


class Store:
    """One output folder.

    Raises
    ------
    OSError
        If the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        for part in ("results", "models", "claims", "ablation", "baselines"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self._warned = False

    # ── stacks ──

    def result_path(self, task: StackTask) -> Path:
        """Where the rows of a stack lie once it is finished."""
        return self.folder / "results" / f"{task.name}.parquet"

    def models_path(self, task: StackTask) -> Path:
        """Where its models lie."""
        return self.folder / "models" / f"{task.name}.safetensors"

    def part(self, name: str) -> Path:
        """Return a folder in the output folder."""
        return self.folder / name

    def models(self, task: StackTask) -> list[SVAE | None]:
        """Models of a finished stack in the order of `task.configs()`; None for those that failed."""
        return load_models(self.models_path(task))

    # ── claims ──

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Hold the claim of a stack; yields whether it is ours, or another process works on it right now."""
        held = self.try_claim(name)
        try:
            yield held is not None
        finally:
            if held is not None:
                self.release(name, held)

    def try_claim(self, name: str) -> int | None:
        """Take a claim; returns what `release` wants, or None if another process holds it.

        Raises
        ------
        OSError
            If the file of the claim cannot be made: on a full disk, say (`out_of_disk`).
        """
        path = self.folder / "claims" / name
        while True:
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
                    raise
                self._warn_no_locks(error)
                return handle
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
            os.close(handle)  # its last holder removed the file between our opening and locking it

    def release(self, name: str, held: int) -> None:
        """Give a claim back, and remove its file while it is still ours."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder / "claims" / name)
        os.close(held)

    def sweep(self) -> list[str]:
        """Remove what killed processes were writing, temporary files whose claim is free; returns their names.

        Without locks nobody can tell who is alive, and nothing is removed.
        """
        swept = []
        for path in sorted([*self.folder.glob(".*.tmp"), *self.folder.glob("*/.*.tmp")]):
            name = Path(path.name[1:].rsplit(".", 2)[0]).stem  # .<claim>.<suffix>.<random>.tmp
            try:
                with self.claim(name) as ours:
                    if ours and not self._warned and path.exists():
                        path.unlink()
                        swept.append(path.name)
            except OSError as error:  # no claim to be had, or a folder of somebody else: then it stays
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
        """Add one run to the manifest, unless it is there."""
        while (held := self.try_claim("manifest")) is None:
            time.sleep(0.05)
        try:
            runs = self.runs()
            if key not in runs:
                write_json(self.folder / "manifest.json", {"runs": {**runs, key: entry}})
        finally:
            os.close(held)

    def runs(self) -> dict[str, dict[str, Any]]:
        """Return what was asked for so far, by hash."""
        path = self.folder / "manifest.json"
        if not path.exists():
            return {}
        try:
            runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        except (ValueError, KeyError, TypeError):
            raise InvalidInput(
                f"{str(path)!r} is not a manifest of pyscore reproduce. Name another folder."
            ) from None
        return dict(runs)

    def log(self, entry: dict[str, Any]) -> None:
        """Append a line to the log; one that a full disk refuses is lost (the caller's report still has it)."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry}) + "\n"
        with contextlib.suppress(OSError), (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)


# ── files ──


def write_rows(path: Path, rows: pd.DataFrame, schema: pa.Schema = SCHEMA) -> None:
    """Write rows as Parquet, atomically, with exactly the columns of the schema."""
    table = pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False)
    with atomic_write(path) as file:
        pq.write_table(table, file)


def read_results(folder: str | os.PathLike[str], part: str = "results") -> pd.DataFrame:
    """All rows of all finished stacks of an output folder.

    Raises
    ------
    InvalidInput
        If there are none.
    """
    files = sorted((Path(folder) / part).glob("*.parquet"))
    if not files:
        raise InvalidInput(f"there are no results in {str(Path(folder) / part)!r}. Run `pyscore reproduce` first.")
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def models_of(folder: str | os.PathLike[str], stack: str) -> dict[str, SVAE | None]:
    """Models of a finished stack by their `config_hash`; None for those that failed.

    A stack's own result file names its models in the order of its file of models. Rows that went through
    anything else may lack some: grids share models.

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
    hashes = pd.read_parquet(path, columns=["config_hash"])["config_hash"].unique().tolist()
    models = load_models(Path(folder) / "models" / f"{stack}.safetensors")
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
    tensors["empty"] = np.zeros(0, np.float32)  # a stack may have no model that is left
    write_tensors(path, "stack", MODELS_VERSION, header, tensors)


def load_models(path: Path) -> list[SVAE | None]:
    """Read a file of `save_models`.

    Raises
    ------
    ModelFileError
        If the file is missing, corrupt or foreign.
    """
    header, tensors = read_tensors(path, "stack", MODELS_VERSION, unsigned=(MODELS_VERSION,))
    try:
        models: list[SVAE | None] = [None] * int(header["models"])
        for index, activation in header["activation"].items():
            prefix = f"{index}/"
            own = {name.removeprefix(prefix): a for name, a in tensors.items() if name.startswith(prefix)}
            models[int(index)] = SVAE.from_parameters(own, activation)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelFileError(f"{str(path)!r} is not a valid stack of models: {error}") from None
    return models
