"""`proposed` end to end, from Parquet to Parquet: `pyscore bench stream`.

The base is `pyscore.scoring.stream.score_files`, the way of `pyscore score`. Beside it: pandas, which reads the
file whole before it scores, and the bare kernel on rows that are in memory already, which no reader can beat.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyscore._core.checks import Array
from pyscore.backends import get_backend
from pyscore.backends.tolerance import error_in_eps
from pyscore.bench.harness import WARM_UP, has_peak_memory, measure
from pyscore.bench.record import Row
from pyscore.convention import EXACT
from pyscore.data.preprocessing import Standardiser
from pyscore.errors import PyscoreError
from pyscore.reference.model import SVAE
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.scores import score_terms
from pyscore.scoring.stream import score_files

__all__ = ["FEATURES", "SHARE", "TERMS", "stream_rows", "untrained", "write_parquet"]

FEATURES, CHECKED, CHUNK = 30, 2_000, 1 << 20
SHARE = 0.6
"""Of the kernel's speed that the whole way has to keep."""
ROUTES = ("score_files", "pandas")
BARE = "bare kernel, rows in memory"
TERMS = frozenset({"log_likelihood", "log_prior", "decoder_log_volume"})
Progress = Callable[[str], None]


def untrained() -> FittedModel:
    """The default architecture: h = 32, k = 4, p = 4; its weights don't matter for the time."""
    names = tuple(f"x{i}" for i in range(FEATURES))
    scaler = Standardiser(np.linspace(-1, 1, FEATURES), np.linspace(0.5, 2, FEATURES), names)
    return FittedModel(SVAE.initialise(FEATURES, 4, 32, 4, seed=1), scaler, EXACT)


def stream_rows(
    threads: int, *, quick: bool = False, progress: Progress = lambda _: None
) -> tuple[list[Row], list[str]]:
    """One piece of work for each type of the file's columns; `quick` takes 500,000 rows instead of two million."""
    rows, repeats = (500_000, 3) if quick else (2_000_000, 5)
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "float64"):
            progress(f"Parquet of {dtype}")
            path = Path(folder) / f"{dtype}.parquet"
            write_parquet(path, rows, dtype)
            found += _file_rows(path, dtype, rows, repeats, threads)
    return found, [] if has_peak_memory() else ["peak memory: this system has no /proc/self/clear_refs"]


def write_parquet(path: Path, rows: int, dtype: str, drawn: str = "float32") -> None:
    """Rows of N(0, 1), as pyarrow writes them; `drawn` is the type in which the numbers are drawn."""
    import pyarrow as pa
    from pyarrow import parquet

    names, rng = [f"x{i}" for i in range(FEATURES)], np.random.default_rng(0)
    with parquet.ParquetWriter(path, pa.schema([(name, pa.from_numpy_dtype(dtype)) for name in names])) as writer:
        for start in range(0, rows, CHUNK):
            x = rng.standard_normal((FEATURES, min(CHUNK, rows - start)), np.dtype(drawn)).astype(dtype)
            writer.write_table(pa.table(dict(zip(names, x, strict=True))))


def _file_rows(path: Path, dtype: str, rows: int, repeats: int, threads: int) -> list[Row]:
    fitted, engine = untrained(), get_backend("numba", dtype="float32")
    target = path.with_name("scores.parquet")
    x = np.random.default_rng(0).standard_normal((rows, FEATURES), np.float32)
    contestants: dict[str, Callable[[], Any]] = {
        **{name: partial(route, name, path, target, threads) for name in ROUTES},
        BARE: lambda: engine.run_pass(fitted.model, x, TERMS),
    }
    first: dict[str, float] = {}
    times = measure(contestants, repeats, budget=30.0, warm_up=first)
    facts: dict[str, dict[str, Any]] = {name: {WARM_UP: first[name]} for name in contestants}
    errors = {}
    for name in ROUTES:
        route(name, path, target, threads)
        errors[name] = _error(fitted, path, target)
        if has_peak_memory():
            facts[name]["memory_mb"] = _peak_memory(name, path, threads)
    size = path.stat().st_size / 2**20
    return [
        Row(
            "stream", f"proposed from Parquet, {dtype}", name, times[name], count=rows, unit="row",
            base=name == ROUTES[0], target=SHARE if name == BARE else None, error=errors.get(name),
            facts=facts[name], notes=f"{rows:,} rows of {FEATURES} columns, {size:.0f} MB; k=4, h=32",
        )
        for name in contestants
    ]  # fmt: skip


def route(name: str, source: Path, target: Path, threads: int) -> None:
    """Go the whole way: read, standardise, score, write."""
    if name == "score_files":
        score_files(untrained(), source, target, threads=threads)
    else:
        untrained().scores(pd.read_parquet(source), ["proposed"], backend="numba").to_parquet(target)


def _error(fitted: FittedModel, source: Path, target: Path) -> float:
    """Largest error of the first rows of the written file against NumPy, in eps(float32)·(1 + Σ|terms|)."""
    x: Array = fitted.standardiser.transform(pd.read_parquet(source).to_numpy()[:CHECKED])
    terms = score_terms(fitted.model.astype(np.float64), x, ["proposed"], backend="numpy")
    got = pd.read_parquet(target)["proposed"].to_numpy()[:CHECKED]
    scale = 1 + np.abs(terms).sum(axis=1).to_numpy()
    return float(error_in_eps(got, terms.sum(axis=1).to_numpy(), scale, np.float32).max())


_MEMORY_SCRIPT = """
import sys
from pathlib import Path
import numba
from pyscore.bench.harness import reset_peak, resident_kilobytes
from pyscore.bench.stream import route, write_parquet
name, source, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
small, target = source.with_name("small.parquet"), source.with_name("other.parquet")
write_parquet(small, 1000, "float32")
route(name, small, target, threads)  # compiled, loaded, started
reset_peak()
before = resident_kilobytes("VmRSS")
route(name, source, target, threads)
print(resident_kilobytes("VmHWM") - before)
"""


def _peak_memory(name: str, path: Path, threads: int) -> float:
    """Growth of the peak resident memory of a fresh process that goes that way; MB."""
    command = [sys.executable, "-c", _MEMORY_SCRIPT, name, str(path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PyscoreError(f"the process that measures the memory of {name} failed: {done.stderr}")
    return int(done.stdout) / 1024
