"""Two files of measurements: what became slower than the noise?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pyscore.bench.record import Record, Row, base_of, groups

__all__ = ["FLOOR", "compare", "same_machine"]

FLOOR = 0.05
"""Changes below this share are never reported, however small the spreads."""


def same_machine(old: Record, new: Record) -> bool:
    """Whether times of the two can be compared as they are: same processor, same threads."""
    return all(old.machine.get(name) == new.machine.get(name) for name in ("processor", "threads"))


def compare(old: Record, new: Record) -> pd.DataFrame:
    """Compare the rows that both files have.

    On the same machine and threads times are compared: ratio = new/old. On different ones the base's time over
    each contestant's is: it grows where we lose ground; rows without a base drop out.

    Returns
    -------
    DataFrame
        ``suite``, ``work``, ``contestant``, ``old``, ``new`` (seconds, or shares of the base), ``ratio``,
        ``noise``, and ``verdict``: *slower* or *faster* if the ratio is beyond 1 + noise, else *same*. The noise
        is the sum of the relative interquartile ranges of all times in the ratio, at least `FLOOR`.
    """
    absolute = same_machine(old, new)
    before, after = (_values(record.rows, absolute=absolute) for record in (old, new))
    rows = []
    for key in after:
        if key not in before:
            continue
        (old_value, old_spread), (new_value, new_spread) = before[key], after[key]
        ratio, noise = new_value / old_value, max(FLOOR, old_spread + new_spread)
        verdict = "slower" if ratio > 1 + noise else "faster" if 1 / ratio > 1 + noise else "same"
        rows.append((*key, old_value, new_value, ratio, noise, verdict))
    columns = ["suite", "work", "contestant", "old", "new", "ratio", "noise", "verdict"]
    return pd.DataFrame(rows, columns=columns).sort_values("ratio", ascending=False, ignore_index=True)


def _values(rows: Sequence[Row], *, absolute: bool) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Key → value and its relative spread; a unit of work's, so that files of other sizes can be compared."""
    if absolute:
        return {row.key: (1 / row.rate, row.spread) for row in rows}
    found = {}
    for group in groups(rows).values():
        if (base := base_of(group)) is None:
            continue
        for row in group:
            if row is not base:  # the base's time over the other's: it grows where we lose ground
                key = (row.suite, row.work, f"{base.contestant} / {row.contestant}")
                found[key] = (row.rate / base.rate, row.spread + base.spread)
    return found
