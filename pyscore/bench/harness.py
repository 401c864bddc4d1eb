"""Timing in turns: all contestants of a piece of work in one process, one call each, round after round.

What we report are ratios, and a ratio is only worth something if both its times saw the same machine. pyperf
gives each benchmark its own processes, one benchmark after the other, and pytest-benchmark runs each test's rounds
together: neither takes turns, so a neighbour who wakes up between two benchmarks ends in their ratio. Hence our
own loop, which is ten lines; the statistics are robust ones (median, quartiles), as in both.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "NOISY", "WARM_UP", "Contestants", "Elsewhere", "has_peak_memory", "is_noisy", "measure", "pin_threads",
    "reset_peak", "resident_kilobytes", "spread",
]  # fmt: skip

Contestants = Mapping[str, Callable[[], Any]]
NOISY = 0.2
"""Interquartile range over median above which a row is noisy: it is measured once more, then marked."""
LEAST = 3
"""Calls that a contestant makes whatever its budget."""
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
    """Interquartile range over median; 0 of a single time, of which nothing is known."""
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    return float((high - low) / middle)


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
    """Time each function `repeats` times, in turns, after one call that is not counted.

    Parameters
    ----------
    contestants : dict of name → function without arguments
    repeats : int
    budget : float, seconds after which a contestant that has three times sits out
    again : bool
        Measure all of them once more if one is noisy; of the two attempts the one with the smaller spread stays,
        for all contestants, so that their times still belong together.
    warm_up : dict, optional
        Receives the seconds of the first call of each.

    Returns
    -------
    dict of name → seconds of each repeat
    """
    for name, run in contestants.items():
        first = _seconds(run)
        if warm_up is not None:
            warm_up[name] = first
    times = _turns(contestants, repeats, budget)
    if again and any(map(is_noisy, times.values())):
        times = min(times, _turns(contestants, repeats, budget), key=lambda t: max(map(spread, t.values())))
    return times


def _turns(contestants: Contestants, repeats: int, budget: float) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            if len(times[name]) < LEAST or sum(times[name]) <= budget:
                times[name].append(_seconds(run))
    return times


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    found = run()
    taken = time.perf_counter() - start
    return round(found.seconds if isinstance(found, Elsewhere) else taken, 9)  # the clock counts nanoseconds


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
