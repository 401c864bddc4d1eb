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
from pyscore.bench.harness import resident_kilobytes
from pyscore.bench.record import processor
from pyscore.bench.stream import FEATURES, SHARE, TERMS, untrained, write_parquet
from pyscore.scoring.stream import score_files

FILES = {"float32": ("float32", "float32"), "float64": ("float64", "float64"), "float64*": ("float32", "float64")}
"""Type in which the numbers are drawn, and type of the columns."""
FLAT = 1.25
"""Memory is flat if the largest peak is within this factor of the least: buffers fill over two million rows."""
LARGEST_FILE = 10_000_000
"""Rows of a file; larger tables are folders of links to one such file."""


def write_linked(folder, rows):
    """A folder of `rows` float32 rows, on the disk of a file of `LARGEST_FILE`."""
    folder.mkdir()
    here = min(rows, LARGEST_FILE)
    if rows % here:
        sys.exit(f"rows must be a multiple of {LARGEST_FILE:,} beyond it; got {rows:,}.")
    write_parquet(folder / "0.parquet", here, "float32")
    for i in range(1, rows // here):
        os.link(folder / "0.parquet", folder / f"{i}.parquet")


def machine():
    """Processor, cores and versions, for the line above the figures."""
    versions = f"Python {platform.python_version()}, pyarrow {pa.__version__}, Numba {numba.__version__}"
    return f"{processor()}, {os.cpu_count()} cores; {versions}"


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
    fitted, engine = untrained(), get_backend("numba")
    x = np.random.default_rng(0).standard_normal((rows, FEATURES), np.float32)
    contestants = {"kernel": lambda: engine.run_pass(fitted.model, x, TERMS)}
    for name, (drawn, dtype) in FILES.items():
        path = folder / f"{name}.parquet"
        write_parquet(path, rows, dtype, drawn)
        contestants[name] = lambda path=path: score_files(fitted, path, folder / "scores.parquet", threads=threads)
    times = taken(contestants, turns)
    print(f"{machine()}\n{rows:,} rows, d = {FEATURES}, {threads} thread(s), {turns} turns; target {SHARE:.0%}")
    print(f"{'columns':10}{'rows/s':>12}{'of the kernel':>16}{'by processor time':>20}")
    for name, seconds in times.items():
        wall, cpu = zip(*seconds, strict=True)
        kernel_wall, kernel_cpu = zip(*times["kernel"], strict=True)
        share = statistics.median(k / w for k, w in zip(kernel_wall, wall, strict=True))
        verdict = "" if name == "kernel" else "   met" if share >= SHARE else "   missed"
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


def one(source, threads):
    """Score a folder and print what it took; the process that `memory` starts."""
    target = source.with_name("scores.parquet")
    start = resident_kilobytes("VmHWM")
    begin = time.perf_counter()
    result = score_files(untrained(), source, target, threads=threads)
    seconds = time.perf_counter() - begin
    peak, size = resident_kilobytes("VmHWM"), pq.read_metadata(target)
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
