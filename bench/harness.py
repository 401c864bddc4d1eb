"""Timing in turns: all contestants of a piece of work in one process, one call each, round after round.

What we report are ratios, and a ratio is only worth something if both its times saw the same machine. pyperf
gives each benchmark its own processes, one benchmark after the other, and pytest-benchmark runs each test's rounds
together: neither takes turns, so a neighbour who wakes up between two benchmarks ends in their ratio. Hence our
own loop, which is ten lines; the statistics are robust ones (median, quartiles), and a short call is made again
and again until it fills a repeat, as in both.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "NOISY", "WARM_UP", "Contestants", "Elsewhere", "few_processors", "has_peak_memory", "is_noisy", "measure",
    "pin_threads", "reset_peak", "resident_kilobytes", "spread",
]  # fmt: skip

Contestants = Mapping[str, Callable[[], Any]]
NOISY = 0.2
"""Interquartile range over median above which a row is noisy: it is measured again, then marked."""
ATTEMPTS = 3
"""Measurements in all of what stays noisy."""
LEAST = 3
"""Repeats of a contestant whatever its budget."""
SHORT, MOST = 0.02, 1000
"""Seconds that a repeat should last: a shorter call is made as often as that takes, at most so many times."""
WAIT_POLICY = "OMP_WAIT_POLICY"
"""What OpenMP's threads do while there is nothing to do: spin (by default, for some milliseconds), or sleep."""
WARM_UP = "warm-up"
"""Fact of a row: seconds of the first call, compile time included; it is no part of the repeats."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a contestant returns that works in another process: its own seconds, without the way there and back."""

    seconds: float
    value: Any


def spread(seconds: Sequence[float]) -> float:
    """Interquartile range over median; 0 of a single time, of which nothing is known; ∞ below the clock's tick."""
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    return float((high - low) / middle) if middle > 0 else math.inf


def is_noisy(seconds: Sequence[float]) -> bool:
    """Whether the spread is above `NOISY`, or there are too few times to tell."""
    return len(seconds) < LEAST or spread(seconds) > NOISY


def measure(
    contestants: Contestants,
    repeats: int,
    budget: float = 20.0,
    *,
    again: bool = True,
    warm_up: dict[str, float] | None = None,
) -> dict[str, list[float]]:
    """Time each function `repeats` times, in turns, after two calls that are not counted.

    The first warms up (it may compile), the second tells how many calls fill a repeat of `SHORT` seconds.

    Parameters
    ----------
    contestants : dict of name → function without arguments
    repeats : int
    budget : float, seconds after which a contestant that has three times sits out
    again : bool
        Measure all of them again while one is noisy, up to `ATTEMPTS` times; the attempt with the smallest spread
        stays, for all contestants, so that their times still belong together.
    warm_up : dict, optional
        Receives the seconds of the first call of each.

    Returns
    -------
    dict of name → seconds of a call in each repeat
    """
    calls = {}
    for name, run in contestants.items():
        first = _seconds(run)
        if warm_up is not None:
            warm_up[name] = first
        calls[name] = min(MOST, math.ceil(SHORT / max(_seconds(run), SHORT / MOST)))
    times = _turns(contestants, calls, repeats, budget)
    for _ in range(ATTEMPTS - 1 if again else 0):
        if not any(map(is_noisy, times.values())):
            break
        others = _turns(contestants, calls, repeats, budget)
        times = min(times, others, key=lambda t: max(map(spread, t.values())))
    return times


def _turns(
    contestants: Contestants, calls: Mapping[str, int], repeats: int, budget: float
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            if len(times[name]) < LEAST or calls[name] * sum(times[name]) <= budget:
                times[name].append(_seconds(run, calls[name]))
    return times


def _seconds(run: Callable[[], Any], calls: int = 1) -> float:
    """Seconds of one call, the mean of so many."""
    elsewhere = 0.0
    start = time.perf_counter()
    for _ in range(calls):
        if isinstance(found := run(), Elsewhere):
            elsewhere += found.seconds
    taken = time.perf_counter() - start
    return round((elsewhere or taken) / calls, 9)  # the clock counts nanoseconds


@contextmanager
def few_processors(threads: int) -> Iterator[None]:
    """Allow this process, and those that it starts, as many processors as threads.

    JAX, KeOps and Julia's BLAS have no common switch for their threads; none of them can use more than this.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def pin_threads(threads: int) -> dict[str, int | str]:
    """Give Numba, torch, BLAS and OpenMP the same number of threads; return what each of them then has.

    Numba cannot have more than it started with, so that its number may be smaller: it is recorded, not assumed.
    OpenMP's threads are told to sleep while they wait: on two virtual processors those that spin slow torch's
    small calls down four times, which is not what ours should be compared with. They listen until torch is loaded.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault(WAIT_POLICY, "PASSIVE")
    import numba
    import torch
    from threadpoolctl import threadpool_info, threadpool_limits

    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    found: dict[str, int | str] = {"asked": threads}
    found |= {"numba": numba.get_num_threads(), "torch": torch.get_num_threads()}
    found |= {pool["prefix"]: pool["num_threads"] for pool in threadpool_info()}
    if hasattr(os, "sched_getaffinity"):
        found["processors allowed"] = len(os.sched_getaffinity(0))
    return found | {WAIT_POLICY: os.environ.get(WAIT_POLICY, "unset")}


def resident_kilobytes(entry: str, pid: int | str = "self") -> int:
    """Resident memory of a process on Linux: now (VmRSS) or at its peak (VmHWM).

    Raises
    ------
    LookupError
        Where there is no such entry: the system is not Linux, or the process has ended.
    """
    status = Path(f"/proc/{pid}/status")
    for line in status.read_text().splitlines() if status.is_file() else ():
        if line.startswith(entry):
            return int(line.split()[1])
    raise LookupError(f"{entry} is not in {status}")


def reset_peak(pid: int | str = "self") -> None:
    """Let the peak of `resident_kilobytes` start again from now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def has_peak_memory() -> bool:
    """Whether this system tells the peak memory of a process, and lets it start again."""
    return sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK)
