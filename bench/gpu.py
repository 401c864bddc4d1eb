"""Tests and benchmark on a GPU, for a machine that is at hand for minutes: `make gpu`, or `sh bench/gpu.sh` there.

    python -m pyscore.bench.gpu wheels FOLDER   # here: fetch what the bare machine lacks, in parts below 64 MiB
    python -m pyscore.bench.gpu run             # there: versions, CUDA tests, then row after row
    python -m pyscore.bench.gpu row NAME        # one row, as `run` calls it

Each step is a process of its own with a time limit. What is measured stands in $OUT/gpu.json at once.
``PYSCORE_GPU_DRY=1`` runs all of it under the simulator, with torch on the CPU, at toy sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyscore._core.files import write_json
from pyscore.bench.gpu_rows import ROWS, Sizes, Work, roofline
from pyscore.errors import InvalidInput

__all__ = ["dry", "main", "measure_row", "run"]

TOY = Sizes(volume=3, pairs=6, proposed=3, newton=1, draws=1, models=2, steps=2, d=4, h=5, k=3, chunk=2)
TEST_SECONDS, DRY_SECONDS = 175, 600
REPEATS = 5
TESTS = Path("tests", "kernels", "test_cuda.py")
"""From the root of the repository, where `run` is called."""


def dry() -> bool:
    """Whether this is a rehearsal without a GPU."""
    return os.environ.get("PYSCORE_GPU_DRY") == "1"


# ── one row ──


def measure_row(name: str) -> dict[str, Any]:
    """Time the kernel, torch and torch.compile in turns on the same device."""
    from pyscore.bench import fibers, harness

    fibers.install()
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    work = ROWS[name][0](TOY if dry() else Sizes())

    def waiting(function: Any) -> Any:
        def run() -> None:
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()

        return run

    contestants = {"kernel": work.kernel, "torch eager": work.torch}
    if work.compiled is not None:
        contestants["torch.compile"] = work.compiled
    warm_up: dict[str, float] = {}
    failures: dict[str, str] = {}
    for contestant, function in list(contestants.items()):  # what cannot run must not take the others with it
        try:
            start = time.perf_counter()
            waiting(function)()
            warm_up[contestant] = time.perf_counter() - start
        except Exception as error:
            failures[contestant] = f"{type(error).__name__}: {error}"[:400]
            del contestants[contestant]
    turns = {contestant: waiting(function) for contestant, function in contestants.items()}
    times = harness.measure(turns, 1 if dry() else REPEATS, 10.0, again=False)
    return _row(name, work, times, warm_up, failures)


def _row(
    name: str, work: Work, times: dict[str, list[float]], warm_up: dict[str, float], failures: dict[str, str]
) -> dict[str, Any]:
    import statistics

    medians = {contestant: statistics.median(seconds) for contestant, seconds in times.items()}
    ours, bound = medians.get("kernel"), roofline(work)
    row: dict[str, Any] = {
        "work": name, "count": work.count, "unit": work.unit, "notes": work.notes, "seconds": times,
        "median": medians, "first_call": warm_up, "failures": failures, "roofline": bound,
        "target_ms": work.target_ms,
    }  # fmt: skip
    if ours:
        row["of_roofline"] = bound["seconds"] / ours
        row["times_as_fast"] = {c: s / ours for c, s in medians.items() if c != "kernel"}
        if work.target_ms is not None:
            row["met"] = 1000 * ours <= work.target_ms
        if work.check is not None:
            try:
                row["difference_from_torch"] = work.check()
            except Exception as error:
                row["failures"]["check"] = f"{type(error).__name__}: {error}"[:400]
    return row


# ── all steps ──


def run(out: Path, only: Sequence[str] = ()) -> int:
    """Run every step; return how many failed."""
    if not TESTS.is_file():
        raise InvalidInput(f"`run` must be called in the root of the repository; there is no {TESTS} here.")
    out.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"format": "pyscore.gpu", "dry": dry(), "steps": {}, "rows": []}
    failed = 0
    for name, seconds, command in _steps(only):
        start = time.perf_counter()
        fault, text = _call(command, seconds)
        taken = round(time.perf_counter() - start, 2)
        step = record["steps"][name] = {"seconds": taken, "limit": seconds, "fault": fault}
        failed += fault is not None
        said = "" if fault is None else f", {fault}"
        if name in ROWS and fault is None:
            record["rows"].append(json.loads(text.splitlines()[-1]))
            said = _said(record["rows"][-1])
        else:
            step["output"] = text[-2000:]
        if name not in ROWS:
            (out / f"{name}.txt").write_text(text, encoding="utf-8")
        write_json(out / "gpu.json", record)
        print(f"{name}: {taken} s of {seconds} s{said}", flush=True)
    return failed


def _said(row: dict[str, Any]) -> str:
    parts = [f"{name} {1000 * seconds:.3f} ms" for name, seconds in row["median"].items()]
    least = row["roofline"]
    return f": {', '.join(parts)}; roofline {1000 * least['seconds']:.3f} ms ({least['bound']})"


def _steps(only: Sequence[str]) -> list[tuple[str, int, list[str]]]:
    """Name, seconds allowed and command of every step."""
    python = [sys.executable, "-m"]
    selection = ["-k", "log_volume or philox"] if dry() else ["-n", "8"]
    tests = [
        *python, "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "-W", "default", "--durations=5",
        *selection, str(TESTS),
    ]  # fmt: skip
    steps = [
        ("versions", 60, [*python, "pyscore.bench.gpu", "versions"]),
        ("tests", DRY_SECONDS if dry() else TEST_SECONDS, tests),
    ]
    for name, (_, seconds) in ROWS.items():
        steps.append((name, DRY_SECONDS if dry() else seconds, [*python, "pyscore.bench.gpu", "row", name]))
    return [step for step in steps if not only or step[0] in only]


def _call(command: list[str], seconds: int) -> tuple[str | None, str]:
    """Return what went wrong, or None, and the output."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        text = error.stdout or b""
        return "out of time", text.decode(errors="replace") if isinstance(text, bytes) else text
    return None if done.returncode == 0 else f"exit status {done.returncode}", done.stdout


def versions() -> None:
    """Print the device and the versions of what is used."""
    import importlib.metadata as metadata

    for name in ("pyscore-anomaly", "numpy", "numba", "llvmlite", "numba-cuda", "cuda-bindings", "torch"):
        try:
            print(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            print(name, "is not installed")
    from pyscore.kernels import cuda
    from pyscore.kernels.cuda._target import shared_limit

    fault = cuda.device_fault()
    print("device:", fault or ("the simulator" if cuda.SIMULATED else "found"))
    if fault is not None:
        raise SystemExit(1)
    print("shared memory a block on request:", shared_limit())
    if not cuda.SIMULATED:
        subprocess.run(["nvidia-smi"], check=False, timeout=20)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m pyscore.bench.gpu", description=(__doc__ or "").splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    every = commands.add_parser("run", help="all steps")
    every.add_argument("only", nargs="*", choices=[[], "versions", "tests", *ROWS], help="these alone")
    one = commands.add_parser("row", help="one row, as JSON on the last line")
    one.add_argument("name", choices=list(ROWS))
    commands.add_parser("versions", help="the device and what is installed")
    fetch = commands.add_parser("wheels", help="fetch what a bare machine lacks")
    fetch.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if dry():
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    if options.command == "run":
        return min(1, run(Path(os.environ.get("OUT") or "gpu-out"), options.only))
    if options.command == "row":
        row = measure_row(options.name)
        print(json.dumps(row))
        return 1 if "kernel" in row["failures"] else 0
    if options.command == "wheels":
        from pyscore.bench.gpu_wheels import fetch_wheels

        fetch_wheels(options.folder)
        return 0
    versions()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
