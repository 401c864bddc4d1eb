"""How fast is the Julia worker, and the bridge to it?

    python bench/bench_julia.py [--transport executable] [--json FILE]

Prints: the overhead of a call (100x9 array there and back), the throughput of large arrays, and the time of
log_pz_jacobian_decoder for 1,000 samples (h 64, d 30) by both routes beside the original's own time, with one BLAS
thread. Minimum and median of repeated calls after a warm-up call; data is converted outside the timer.
"""

import argparse
import json
import os
import platform
import statistics
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from pyscore.backends.julia_ import julia_backend
from pyscore.convention import ORIGINAL
from pyscore.reference.model import SVAE

ORIGINAL_SECONDS = {2: 2.296, 4: 3.118, 9: 2.928}
"""Medians of the original's log_pz_jacobian_decoder, same sizes, one thread (golden files, timings.json)."""


def timed(function, repeats):
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return {"min": min(seconds), "median": statistics.median(seconds), "repeats": repeats}


def bridge(julia, rng):
    """Overhead and throughput."""
    small = rng.normal(size=(100, 9))
    yield "echo 100x9", timed(lambda: julia.call("echo", small), 2000)
    yield "normalize 100x9", timed(lambda: julia.normalize(small), 2000)
    for megabytes in (16, 128):
        large = rng.normal(size=(megabytes * 2**20 // 512, 64))
        row = timed(lambda large=large: julia.call("echo", large), 7)
        # Each byte goes there and comes back; either way counts once.
        row["MB/s"] = 2 * large.nbytes / row["median"] / 1e6
        yield f"echo {megabytes} MiB", row


def scores(julia, rng):
    """Both routes of the decoder's Jacobian score against the original's time."""
    for k, original in ORIGINAL_SECONDS.items():
        model = SVAE.initialise(30, k, 64, 16, dtype=np.float64)
        z = model.encode(rng.normal(size=(1000, 30)))[0]
        for route, repeats in (("loop", 5), ("batched", 15)):

            def score(model=model, z=z, route=route):
                return julia.call("model_log_prior_jacobian_decoder", model, z, route=route, convention=ORIGINAL)

            row = timed(score, repeats)
            row["times faster than the original"] = original / row["median"]
            yield f"log_pz_jacobian_decoder k={k} :{route}", row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transport", default="auto", choices=["auto", "juliacall", "executable"])
    parser.add_argument("--json", help="write the figures to this file, too")
    arguments = parser.parse_args()
    julia, rng = julia_backend(arguments.transport), np.random.default_rng(0)
    start = time.perf_counter()
    version = julia.call("versions")[0]
    results = {"start of the worker": {"min": time.perf_counter() - start}}
    results |= dict(bridge(julia, rng)) | dict(scores(julia, rng))
    julia.close()

    machine = f"{platform.machine()}, {os.cpu_count()} cores, Julia {version} by {julia.transport}"
    print(machine)
    for name, row in results.items():
        extra = "".join(f"   {v:.0f} {key}" for key, v in row.items() if key not in {"min", "median", "repeats"})
        median = row.get("median", row["min"]) * 1e3
        print(f"{name:40s} min {row['min'] * 1e3:9.3f} ms   median {median:9.3f} ms{extra}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"machine": machine, "numpy": np.__version__, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
