"""Sharing a range of tiles among threads that run compiled code without the GIL.

Python's own threads rather than Numba's `parallel=True`: half the compile time, no choice of threading layer
(its `workqueue` aborts when two Python threads call it at once, its OpenMP one after a fork), and chunks that
an idle thread can take over from a busy one. Waking a thread costs about 50 µs, so small jobs stay serial.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from numba import get_num_threads

__all__ = ["share"]

_CHUNKS_PER_THREAD = 4
"""Chunks are what an idle thread can take: four leave at most an eighth of the work to wait for."""

_pools: dict[int, ThreadPoolExecutor] = {}


def share(run: Callable[..., None], tiles: int, least: int, *args: Any) -> None:
    """Call run(first, last, *args) over ranges that cover 0 … tiles, on `numba.get_num_threads()` threads.

    `least` is the smallest range worth a thread of its own. Each tile writes its own results, so how the
    range is cut cannot change them.
    """
    threads = min(get_num_threads(), tiles // least)
    if threads <= 1:
        run(0, tiles, *args)
        return
    chunks = min(threads * _CHUNKS_PER_THREAD, tiles // least)
    edges = [tiles * i // chunks for i in range(chunks + 1)]
    jobs = [_pool(threads).submit(run, a, b, *args) for a, b in pairwise(edges)]
    for job in jobs:
        job.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="pyscore")
    return _pools[threads]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # a forked child has no threads but this dict
