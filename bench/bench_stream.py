"""Speed and memory of `pyscore score` from Parquet, against the kernel alone on rows already in memory.

    python bench/bench_stream.py                       # 10^6 rows of 30 columns, float32 and float64
    python bench/bench_stream.py --memory 1000000 10000000 30000000

The contestants take turns in one process, so that a busy machine slows all of them; the ratio is that of their
medians (wall clock) and of their least processor times. Peak memory is that of a process of its own a size.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pyscore.backends import get_backend
from pyscore.convention import EXACT
from pyscore.fitted import FittedModel
from pyscore.model import SVAE
from pyscore.preprocessing import Standardiser
from pyscore.streaming import score_files

D = 30
TARGET = 0.6
TERMS = frozenset({"log_likelihood", "log_prior", "decoder_log_volume"})


def model():
    """The default architecture: h = 32, k = 4, p = 4."""
    scaler = Standardiser(np.linspace(-1, 1, D), np.linspace(0.5, 2, D), tuple(f"x{i}" for i in range(D)))
    return FittedModel(SVAE.initialise(D, 4, 32, 4, seed=1), scaler, EXACT)


def write(path, rows, dtype):
    """Random rows, as pyarrow writes them by default (row groups of a million)."""
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(D)]
    with pq.ParquetWriter(path, pa.schema([(name, pa.from_numpy_dtype(dtype)) for name in names])) as writer:
        for start in range(0, rows, 1 << 20):
            n = min(1 << 20, rows - start)
            writer.write_table(
                pa.table({name: rng.standard_normal(n, np.float32).astype(dtype) for name in names})
            )


def clocked(function):
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def speed(folder, rows, threads, repeats):
    """Print the ratios of one run."""
    numba.set_num_threads(threads)
    fitted, engine = model(), get_backend("numba")
    files = {dtype: folder / f"{dtype}.parquet" for dtype in ("float32", "float64")}
    for dtype, path in files.items():
        write(path, rows, np.dtype(dtype))
    x = np.random.default_rng(0).standard_normal((rows, D), np.float32)
    contestants = {"kernel": lambda: engine.run_pass(fitted.model, x, TERMS)}
    for dtype, path in files.items():
        contestants[dtype] = lambda path=path: score_files(
            fitted, path, folder / "scores.parquet", threads=threads
        )
    times = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, function in contestants.items():
            taken = clocked(function)
            if turn:  # the first turn compiles
                times[name].append(taken)
    median = {name: statistics.median(wall for wall, _ in taken) for name, taken in times.items()}
    least = {name: min(cpu for _, cpu in taken) for name, taken in times.items()}
    print(f"{rows:,} rows, d = {D}, {threads} thread(s), {repeats} turns")
    print(f"{'':10}{'rows/s':>12}{'of the kernel':>16}{'by processor time':>20}")
    for name in contestants:
        share, by_cpu = median["kernel"] / median[name], least["kernel"] / least[name]
        miss = "" if name == "kernel" or share >= TARGET else f"   below {TARGET:.0%}"
        print(f"{name:10}{rows / median[name]:>12,.0f}{share:>16.0%}{by_cpu:>20.0%}{miss}")


def memory(folder, sizes, threads):
    """Print the peak memory of a fresh process for each size."""
    for rows in sizes:
        path = folder / "large.parquet"
        write(path, rows, np.dtype("float64"))
        subprocess.run([sys.executable, __file__, "--one", path, "--threads", str(threads)], check=True)
        path.unlink()


def peak_kilobytes():
    """Largest resident set of this program; `ru_maxrss` would count that of the process which started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def one(path, threads):
    """Score one file and print what it took; the process that `memory` starts."""
    start = peak_kilobytes()
    begin = time.perf_counter()
    result = score_files(model(), path, path.with_name("scores.parquet"), threads=threads)
    seconds = time.perf_counter() - begin
    peak = peak_kilobytes()
    print(
        f"{result.rows:>12,} rows  peak {peak / 1024:6.0f} MB, {start / 1024:.0f} MB of it before the first row  "
        f"{result.rows / seconds:12,.0f} rows/s",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=numba.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the data go; by default a temporary folder")
    parser.add_argument(
        "--memory", type=int, nargs="+", metavar="ROWS", help="measure memory at these sizes instead"
    )
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one, arguments.threads)
        sys.exit()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as made:
        if arguments.memory:
            memory(Path(made), arguments.memory, arguments.threads)
        else:
            speed(Path(made), arguments.rows, arguments.threads, arguments.repeats)
