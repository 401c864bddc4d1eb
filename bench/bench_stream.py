"""Speed and memory of `pyscore score` from Parquet, against the kernel alone on rows already in memory.

    python bench/bench_stream.py                                # a million rows of 30 columns
    python bench/bench_stream.py --memory 1000000 10000000 100000000

Speed: the contestants take turns in one process, so that a busy machine slows all of them. A turn gives the
ratio of the kernel's time to a contestant's; the median over the turns is what counts, by the wall clock. The
ratio of the least processor times is what would be left if reading, scoring and writing overlapped perfectly.
Memory: the peak of a process of its own for each size.

Files are what pyarrow writes by default (Snappy, row groups of a million), of normal random numbers, and in the
page cache. `float64*` holds numbers that were float32 once: Snappy finds the zero bytes at their ends, and takes
longer to put them back than the kernel to score the rows.
"""

import argparse
import os
import platform
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
FILES = {"float32": ("float32", "float32"), "float64": ("float64", "float64"), "float64*": ("float32", "float64")}
"""Type in which the numbers are drawn, and type of the columns."""
FLAT = 1.25
"""Memory is flat if the largest peak is within this factor of the least: buffers fill over two million rows."""
LARGEST_FILE = 10_000_000
"""Rows of a file; larger tables are folders of links to one such file."""


def model():
    """The default architecture: h = 32, k = 4, p = 4."""
    scaler = Standardiser(np.linspace(-1, 1, D), np.linspace(0.5, 2, D), tuple(f"x{i}" for i in range(D)))
    return FittedModel(SVAE.initialise(D, 4, 32, 4, seed=1), scaler, EXACT)


def write(path, rows, drawn, dtype):
    """Random rows, as pyarrow writes them by default."""
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(D)]
    schema = pa.schema([(name, pa.from_numpy_dtype(np.dtype(dtype))) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 1 << 20):
            n = min(1 << 20, rows - start)
            columns = {name: rng.standard_normal(n, np.dtype(drawn)).astype(dtype) for name in names}
            writer.write_table(pa.table(columns))


def write_linked(folder, rows):
    """A folder of `rows` float32 rows, on the disk of a file of `LARGEST_FILE`."""
    folder.mkdir()
    here = min(rows, LARGEST_FILE)
    if rows % here:
        sys.exit(f"rows must be a multiple of {LARGEST_FILE:,} beyond it; got {rows:,}.")
    write(folder / "0.parquet", here, *FILES["float32"])
    for i in range(1, rows // here):
        os.link(folder / "0.parquet", folder / f"{i}.parquet")


def machine():
    """Processor, cores and versions, for the line above the figures."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    versions = f"Python {platform.python_version()}, pyarrow {pa.__version__}, Numba {numba.__version__}"
    return f"{names[0]}, {len(names)} cores; {versions}"


def clocked(function):
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def taken(contestants, turns):
    """(wall, processor) seconds of every contestant in every turn, after a turn that compiles."""
    times = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name, function in contestants.items():
            seconds = clocked(function)
            if turn:
                times[name].append(seconds)
    return times


def speed(folder, rows, threads, turns):
    """Print the ratio to the kernel's speed for every kind of file."""
    numba.set_num_threads(threads)
    fitted, engine = model(), get_backend("numba")
    x = np.random.default_rng(0).standard_normal((rows, D), np.float32)
    contestants = {"kernel": lambda: engine.run_pass(fitted.model, x, TERMS)}
    for name, kinds in FILES.items():
        path = folder / f"{name}.parquet"
        write(path, rows, *kinds)
        contestants[name] = lambda path=path: score_files(fitted, path, folder / "scores.parquet", threads=threads)
    times = taken(contestants, turns)
    print(f"{machine()}\n{rows:,} rows, d = {D}, {threads} thread(s), {turns} turns; target {TARGET:.0%}")
    print(f"{'columns':10}{'rows/s':>12}{'of the kernel':>16}{'by processor time':>20}")
    for name, seconds in times.items():
        wall, cpu = zip(*seconds, strict=True)
        kernel_wall, kernel_cpu = zip(*times["kernel"], strict=True)
        share = statistics.median(k / w for k, w in zip(kernel_wall, wall, strict=True))
        verdict = "" if name == "kernel" else "   met" if share >= TARGET else "   missed"
        by_cpu = min(kernel_cpu) / min(cpu)
        print(f"{name:10}{rows / statistics.median(wall):>12,.0f}{share:>16.0%}{by_cpu:>20.0%}{verdict}")


def memory(folder, sizes, threads):
    """Print the peak memory of a fresh process for each size, and whether it is flat."""
    print(machine())
    peaks = []
    for rows in sizes:
        write_linked(folder / str(rows), rows)
        command = [sys.executable, __file__, "--one", folder / str(rows), "--threads", str(threads)]
        report = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(report, end="", flush=True)
        peaks.append(float(report.split(" MB")[0].split()[-1]))
        for path in (folder / str(rows)).iterdir():
            path.unlink()
    ratio = max(peaks) / min(peaks)
    print(f"largest / least peak: {ratio:.2f}; target {FLAT}: {'met' if ratio <= FLAT else 'missed'}")


def peak_kilobytes():
    """Largest resident set of this program; `ru_maxrss` would count that of the process which started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def one(source, threads):
    """Score a folder and print what it took; the process that `memory` starts."""
    target = source.with_name("scores.parquet")
    start = peak_kilobytes()
    begin = time.perf_counter()
    result = score_files(model(), source, target, threads=threads)
    seconds = time.perf_counter() - begin
    peak, size = peak_kilobytes(), pq.read_metadata(target)
    if size.num_rows != result.rows:
        sys.exit(f"{result.rows:,} rows were scored, but {target} has {size.num_rows:,}.")
    print(
        f"{result.rows:>12,} rows  peak {peak / 1024:6.0f} MB, {start / 1024:.0f} MB of it before the first row  "
        f"{seconds:8.1f} s  {result.rows / seconds:12,.0f} rows/s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=numba.get_num_threads())
    parser.add_argument("--turns", type=int, default=9)
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
            speed(Path(made), arguments.rows, arguments.threads, arguments.turns)
