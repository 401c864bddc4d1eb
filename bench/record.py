"""What a measurement leaves: one JSON schema for all suites, with machine, versions, commit, threads and date."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pyscore._core import files as storage
from pyscore._core.plain_files import read_json
from pyscore.bench import harness
from pyscore.bench.record_schema import check_record
from pyscore.errors import InvalidInput

__all__ = ["BACKEND_SUITES", "Record", "Row", "base_of", "describe", "groups", "merge", "of_json", "read", "write"]

FORMAT, VERSION = "pyscore.bench", 1
BACKEND_SUITES = ("scores", "datasets")
"""Suites whose contestants are all ours, and whose base, NumPy, is a yardstick; elsewhere the base is ours."""
PACKAGES = (
    "pyscore-anomaly", "numpy", "scipy", "numba", "llvmlite", "torch", "numba-cuda", "jax", "pykeops", "pyod",
    "pyarrow", "threadpoolctl",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """The times of one contestant at one piece of work."""

    suite: str
    """kernels, training, scores, datasets, stream, peers, scaling or limits."""
    work: str
    contestant: str
    seconds: list[float]
    """Of a call, in each repeat."""
    count: float = 1
    """Units of work done in each of them: rows, model-steps, bytes."""
    unit: str = "call"
    base: bool = False
    """What the others of this work are compared with."""
    target: float | None = None
    """Least ratio asked for: time of this contestant over time of the base."""
    error: float | None = None
    """Largest error against the float64 reference, eps·scale; None where nothing was compared."""
    facts: dict[str, Any] = field(default_factory=dict)
    """More about this contestant: warm-up seconds, memory_mb, auc, …"""
    notes: str = ""
    """About the work: its sizes."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes this row the same in another file."""
        return self.suite, self.work, self.contestant

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """Interquartile range over median."""
        return harness.spread(self.seconds)

    @property
    def noisy(self) -> bool:
        """Whether the spread is above `harness.NOISY`."""
        return harness.is_noisy(self.seconds)

    @property
    def rate(self) -> float:
        """Units of work a second."""
        return self.count / self.median


@dataclass(frozen=True, slots=True)
class Record:
    """A file of measurements."""

    rows: list[Row]
    machine: dict[str, Any]
    versions: dict[str, str]
    command: str
    date: str
    """ISO 8601, UTC."""
    commit: str
    """Empty if unknown; with "+" if files were changed; several, separated by ", ", of runs that were merged."""
    compile_seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    """Kernel → first call of a fresh process with an empty cache (compiled), and from the cache (cached)."""
    not_measured: list[str] = field(default_factory=list)
    """What would have been compared with, and why it was not."""


def describe(rows: Sequence[Row], command: str, threads: dict[str, int | str], **more: Any) -> Record:
    """Record the rows with what is known of this machine, now."""
    machine = {
        "platform": platform.platform(), "processor": processor(), "cpus": os.cpu_count(), "threads": threads,
        "load": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "memory_gb": memory_gb(), "gpu": gpu(),
    }  # fmt: skip
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Record(list(rows), machine, versions(), command, now, commit(), **more)


def merge(records: Sequence[Record], command: str | None = None) -> Record:
    """One record of several, made one after the other on one machine by `command`, or each by its own.

    Raises
    ------
    InvalidInput
        If they are of different processors or numbers of threads, or two have rows of the same work.
    """
    if len({each.machine["processor"] for each in records}) != 1:
        raise InvalidInput("`records` must be of one processor, since times of different ones are no table.")
    asked = {each.machine["threads"].get("asked") for each in records}
    if len(asked) != 1:
        raise InvalidInput(f"`records` must be of one number of threads; got {sorted(map(str, asked))}.")
    rows = [row for each in records for row in each.rows]
    if len({row.key for row in rows}) != len(rows):
        raise InvalidInput("`records` must be of different work; two of them have rows of the same.")
    last = records[-1]
    runs = [f"{each.command} ({each.date}, load at the end {_load(each)})" for each in records]
    threads = {name: count for each in records for name, count in each.machine["threads"].items()}
    return Record(
        rows=rows,
        machine=last.machine | {"threads": threads, "runs": runs},
        versions={name: version for each in records for name, version in each.versions.items()},
        command=command or "; ".join(each.command for each in records),
        date=last.date,
        commit=", ".join(dict.fromkeys(each.commit for each in records if each.commit)),
        compile_seconds={name: times for each in records for name, times in each.compile_seconds.items()},
        not_measured=list(dict.fromkeys(text for each in records for text in each.not_measured)),
    )


def _load(record: Record) -> str:
    load = record.machine.get("load")
    return f"{load[0]}" if load else "unknown"


def groups(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """(suite, work) → its rows, in order."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.suite, row.work), []).append(row)
    return found


def base_of(rows: Sequence[Row]) -> Row | None:
    """Return the row that the others of its work are compared with, if there is one."""
    return next((row for row in rows if row.base), None)


def versions() -> dict[str, str]:
    """Versions of Python, of Julia, and of what is installed of `PACKAGES`."""
    found = {"python": platform.python_version()}
    if (julia := shutil.which("julia")) is not None:
        said = subprocess.run([julia, "--version"], capture_output=True, text=True, check=False, timeout=60)
        found["julia"] = said.stdout.strip().removeprefix("julia version ") or "unknown"
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Commit of the checkout that this package is imported from, "+" if it was changed; empty if there is none."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    if not (root / ".git").exists():
        return ""
    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""  # no git, or a checkout of another user: unknown, and the file says so by an empty string


def memory_gb() -> float | None:
    """Memory of this machine, GB; None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def gpu() -> str | None:
    """Name of the GPU that torch would use, None if there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def processor() -> str:
    """Name of the processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def write(path: str | os.PathLike[str], record: Record) -> None:
    """Write a record as JSON, one row a line; medians and marks stand in it for readers that don't compute."""
    head = {"format": FORMAT, "version": VERSION, "noisy_above": harness.NOISY} | asdict(record) | {"rows": []}
    rows = [
        json.dumps(
            asdict(row) | {"median": row.median, "spread": row.spread, "noisy": row.noisy, "rate": row.rate}
        )
        for row in record.rows
    ]
    text = json.dumps(head, indent=2).replace('"rows": []', '"rows": [\n' + ",\n".join(rows) + "\n]", 1)
    with storage.atomic_write(path, "w") as file:
        file.write(text + "\n")


def read(path: str | os.PathLike[str]) -> Record:
    """Read a file of `write`.

    Raises
    ------
    InvalidInput
        If the file is missing, no JSON, or no record of measurements of this version.
    """
    name = str(path)
    try:
        content = read_json(path)
    except InvalidInput as error:
        raise InvalidInput(
            f"`{name}` must be a JSON file of `pyscore bench`; it cannot be read: {error}."
        ) from error
    return of_json(content, name)


def of_json(content: Any, name: str) -> Record:
    """Return the record that JSON holds; ``name`` is what messages call the file.

    Raises
    ------
    InvalidInput
        If it is no record of measurements of this version, or a field is not what it must be.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise InvalidInput(
            f"`{name}` must be a file of `pyscore bench --json`, version {VERSION}; it is not. Measure again."
        )
    check_record(content, name)
    rows = [Row(**{name: entry[name] for name in Row.__slots__ if name in entry}) for entry in content["rows"]]
    others = {name: content[name] for name in Record.__slots__ if name != "rows" and name in content}
    return Record(rows=rows, **others)
