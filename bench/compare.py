"""Two files of measurements: what became slower than the noise?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from pyscore.bench.record import BACKEND_SUITES, Record, Row, base_of, groups

__all__ = ["FLOOR", "compare", "same_machine"]

FLOOR = 0.05
"""Changes below this share are never reported, however small the spreads."""
Key = tuple[str, str, str]


def same_machine(old: Record, new: Record) -> bool:
    """Whether times of the two can be compared as they are: same processor, same number of threads."""
    first, second = ((each.machine["processor"], each.machine["threads"].get("asked")) for each in (old, new))
    return first == second


def compare(old: Record, new: Record) -> pd.DataFrame:
    """Compare the rows of two files.

    On the same machine and threads times are compared: ratio = new/old. On different ones our time over the
    other's of the same work is, which grows where we lose ground: the base's over each contestant's, but in the
    suites of backends, where NumPy is the base, each backend's over the base's. Rows without a base drop out.

    Returns
    -------
    DataFrame
        ``suite``, ``work``, ``contestant``, ``old``, ``new`` (seconds, or shares), ``ratio``, ``noise``, and
        ``verdict``: *slower* or *faster* if the ratio is beyond 1 + noise, else *same*; *gone* or *added* if only
        one file has the row, *other size* if its work had another size there. The noise is the sum of the relative
        interquartile ranges of all times in the ratio, at least `FLOOR`.
    """
    absolute = same_machine(old, new)
    before, after = (_values(record.rows, absolute=absolute) for record in (old, new))
    rows = [(*key, *_judged(before.get(key), after.get(key))) for key in {**after, **before}]
    columns = ["suite", "work", "contestant", "old", "new", "ratio", "noise", "verdict"]
    return pd.DataFrame(rows, columns=columns).sort_values("ratio", ascending=False, ignore_index=True)


Value = tuple[float, float, float]
"""Seconds or share, its relative spread, and the amount of work."""


def _judged(old: Value | None, new: Value | None) -> tuple[float, float, float, float, str]:
    """``old``, ``new``, ``ratio``, ``noise`` and ``verdict`` of one row."""
    if old is None or new is None:
        before, after = (math.nan if each is None else each[0] for each in (old, new))
        return before, after, math.nan, math.nan, "added" if old is None else "gone"
    if old[2] != new[2]:
        return old[0], new[0], math.nan, math.nan, "other size"
    ratio, noise = new[0] / old[0], max(FLOOR, old[1] + new[1])
    verdict = "slower" if ratio > 1 + noise else "faster" if 1 / ratio > 1 + noise else "same"
    return old[0], new[0], ratio, noise, verdict


def _values(rows: Sequence[Row], *, absolute: bool) -> dict[Key, Value]:
    """Key → seconds of a row, or our share of its work's time."""
    if absolute:
        return {row.key: (row.median, row.spread, row.count) for row in rows}
    found = {}
    for group in groups(rows).values():
        if (base := base_of(group)) is None:
            continue
        for row in group:
            if row is base:
                continue
            ours, other = (row, base) if row.suite in BACKEND_SUITES else (base, row)
            key = (row.suite, row.work, f"{ours.contestant} / {other.contestant}")
            found[key] = (other.rate / ours.rate, row.spread + base.spread, row.count)
    return found
