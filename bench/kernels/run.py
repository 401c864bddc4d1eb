"""Measure the kernels: `python bench/kernels/run.py [--quick] [--json FILE] [--threads N]`."""

import argparse
from pathlib import Path

from pyscore.bench_kernels import measure_all, render, write_json

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--json", type=Path)
parser.add_argument("--quick", action="store_true")
parser.add_argument("--threads", type=int, default=2)
arguments = parser.parse_args()
rows, compiled = measure_all(arguments.threads, quick=arguments.quick)
print(render(rows, compiled))
if arguments.json:
    write_json(arguments.json, rows, compiled)
