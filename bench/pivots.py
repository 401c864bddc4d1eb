"""Many rows of a record as small tables: datasets or scores down, contestants across; and the headlines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pyscore.bench.record import BACKEND_SUITES, Record, Row, base_of, groups

__all__ = [
    "agreement",
    "auc_losses",
    "headlines",
    "number",
    "of_suite",
    "peer_tables",
    "pivot",
    "score_tables",
    "suite_tables",
]

COSTLY = "`importance`, `projected`, `corrected` and `laplace` on at most 50 rows each"
Cell = Callable[[Row, Row], str]
"""A row and the base of its work → what the table shows."""


def number(value: float) -> str:
    """Three significant figures, thousands by commas."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    digits = 2 - int(np.floor(np.log10(abs(value))))
    return f"{round(value, digits):,.{min(max(0, digits), 6)}f}"


def of_suite(record: Record, suite: str) -> list[Row]:
    """Rows of one suite."""
    return [row for row in record.rows if row.suite == suite]


def split_work(row: Row) -> tuple[str, str]:
    """Dataset and piece of work of a row of the suites datasets and peers."""
    dataset, _, work = row.work.partition(": ")
    return dataset, work


def pivot(rows: Iterable[Row], index: Callable[[Row], str], cell: Cell, *, head: str) -> pd.DataFrame:
    """One line for each value of `index`, one column a contestant, in order of appearance.

    Where one line holds several pieces of work, the base of the second has a column of its own: its time there is
    what those beside it are compared with.
    """
    table: dict[str, dict[str, str]] = {}
    for group in groups(list(rows)).values():
        if (base := base_of(group)) is None:
            continue
        others = ", ".join(row.contestant for row in group if row is not base)
        for row in group:
            line = table.setdefault(index(row), {})
            again = row is base and row.contestant in line
            line[f"{row.contestant} beside {others}" if again else row.contestant] = cell(row, base)
    frame = pd.DataFrame([{head: name, **cells} for name, cells in table.items()]).fillna("")
    frame.attrs["right"] = tuple(column for column in frame.columns if column != head)
    return frame


def times_as_fast(row: Row, base: Row) -> str:
    """Of a row as its base's multiple; of the base, its rate."""
    noisy = "~" if row.noisy else ""
    if row is base:
        return f"{number(row.rate)} {row.unit}s/s{noisy}"
    return f"{number(row.rate / base.rate)}×{noisy}"


def base_is_faster(row: Row, base: Row) -> str:
    """Of a row, how many times as fast its base is; of the base, its rate."""
    return times_as_fast(row, base) if row is base else f"{number(base.rate / row.rate)}×{'~' * row.noisy}"


def suite_tables(suite: str, rows: Sequence[Row]) -> tuple[list[tuple[str, pd.DataFrame]], list[str]]:
    """Captions and small tables of a suite of many rows, and sentences about them; nothing of the other suites."""
    if suite in BACKEND_SUITES:
        return score_tables(rows), agreement(rows)
    if suite == "peers":
        return peer_tables(rows), []
    if suite == "scaling":
        table = pivot(rows, lambda row: row.work, base_is_faster, head="work")
        return [("How many times as fast numba is; of numba, its rate", table)], []
    return [], []


# ── scores and datasets ──


def score_tables(rows: Sequence[Row]) -> list[tuple[str, pd.DataFrame]]:
    """Captions and tables of the suites scores and datasets: speed, AUC, errors, memory."""
    if not rows:
        return []
    if rows[0].suite == "scores":
        found = [("Times as fast as NumPy", pivot(rows, _work, times_as_fast, head="score"))]
        found.append(("Largest error, eps·scale", pivot(rows, _work, _error, head="score")))
        memory = list(rows)
    else:
        memory = main = [row for row in rows if split_work(row)[1] == "proposed"]
        found = [
            (
                "`proposed` on each dataset, times as fast as NumPy",
                pivot(main, _dataset, times_as_fast, head="dataset"),
            )
        ]
        found.append(("AUC of `proposed`", pivot(main, _dataset, _auc, head="dataset")))
        worst = [max(group, key=lambda r: r.error or 0.0) for group in _by(rows, _score_and_contestant).values()]
        found.append(("Largest error over the datasets, eps·scale", _frame(worst, _error)))
        middle = {key: _median_ratio(rows, *key) for key in _by(rows, _score_and_contestant)}
        speeds = _cells({key: _times(value) for key, value in middle.items()})
        speeds["fastest"] = [_fastest(middle, score.strip("`")) for score in speeds["score"]]
        found.append((f"Times as fast as NumPy, median over the datasets ({COSTLY})", speeds))
    memory = [row for row in memory if "memory_mb" in row.facts]
    if memory:
        index, head = (_work, "score") if memory[0].suite == "scores" else (_dataset, "dataset")
        found.append(("Peak memory beyond that before the call, MB", pivot(memory, index, _memory, head=head)))
    return found


def _work(row: Row) -> str:
    return f"`{row.work}`"


def _dataset(row: Row) -> str:
    return split_work(row)[0]


def _score_and_contestant(row: Row) -> tuple[str, str]:
    return split_work(row)[1], row.contestant


def _error(row: Row, _: Row | None = None) -> str:
    return "" if row.error is None else f"{row.error:.2g}"


def _auc(row: Row, base: Row) -> str:
    if "auc" not in row.facts:
        return ""
    return f"{row.facts['auc']:.4f}" if row is base or not row.facts.get("auc equal") else "equal"


def _memory(row: Row, _: Row) -> str:
    if "memory_mb" not in row.facts:
        return ""
    megabytes: float = row.facts["memory_mb"]
    return number(megabytes) if megabytes >= 1 else "< 1"  # pages of 4 kB, of which a process has its own ideas


def _by(rows: Iterable[Row], key: Callable[[Row], tuple[str, str]]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _cells(cells: dict[tuple[str, str], str]) -> pd.DataFrame:
    """(score, contestant) → text, as a table."""
    scores = dict.fromkeys(score for score, _ in cells)
    names = dict.fromkeys(name for _, name in cells)
    frame = pd.DataFrame([{"score": f"`{s}`", **{n: cells.get((s, n), "") for n in names}} for s in scores])
    frame.attrs["right"] = tuple(names)
    return frame


def _frame(rows: Iterable[Row], cell: Callable[[Row], str]) -> pd.DataFrame:
    return _cells({_score_and_contestant(row): cell(row) for row in rows})


class Ratio(NamedTuple):
    """How many times as fast one row is as another."""

    value: float
    noisy: bool
    """Whether one of the two was a noisy measurement."""

    @classmethod
    def of(cls, ours: Row, other: Row) -> Ratio:
        return cls(ours.rate / other.rate, ours.noisy or other.noisy)

    def __str__(self) -> str:
        return number(self.value) + "~" * self.noisy


def _median_ratio(rows: Sequence[Row], score: str, contestant: str) -> Ratio | None:
    """How many times as fast as the base a contestant is: the median over all work of a score."""
    ratios = _ratios(rows, contestant, lambda row: split_work(row)[1] == score)
    if not ratios:
        return None
    middle = median(ratios)
    return Ratio(1 / middle.value, middle.noisy)


def median(ratios: Sequence[Ratio]) -> Ratio:
    """Median, noisy if half of them are."""
    return Ratio(float(np.median([r.value for r in ratios])), 2 * sum(r.noisy for r in ratios) >= len(ratios))


def _times(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{number(ratio.value)}×{'~' * ratio.noisy}"


def _fastest(medians: dict[tuple[str, str], Ratio | None], score: str) -> str:
    """Contestants with the highest median at a score, or within 5 % of it."""
    of_score = {
        name: ratio.value for (each, name), ratio in medians.items() if each == score and ratio is not None
    }
    best = [name for name, value in of_score.items() if value >= 0.95 * max(of_score.values())]
    return ", ".join(best) if len(best) <= len(of_score) / 2 else "all alike"


def _ratios(rows: Sequence[Row], contestant: str, chosen: Callable[[Row], bool]) -> list[Ratio]:
    """How many times as fast the base is, one figure for each piece of work."""
    found = []
    for group in groups([row for row in rows if chosen(row)]).values():
        base = base_of(group)
        found += [Ratio.of(base, row) for row in group if base is not None and row.contestant == contestant]
    return found


def agreement(rows: Sequence[Row]) -> list[str]:
    """Sentences: in how many rows ranks and AUC are the reference's, and where the AUC is not."""
    judged = [row for row in rows if "auc equal" in row.facts and not row.base]
    if not judged:
        return []
    ranked = [row for row in judged if row.facts["ranks equal"]]
    other = [row for row in judged if not row.facts["auc equal"]]
    broken = [row for row in ranked if not row.facts["auc equal"]]
    found = [
        f"{len(judged)} rows compared with NumPy in float64: all ranks are equal in {len(ranked)}, the AUC in "
        f"{len(judged) - len(other)}; equal ranks with another AUC: {len(broken)}."
    ]
    bases = {row.work: row.facts["auc"] for row in rows if row.base}
    if other:
        change = max(abs(row.facts["auc"] - bases[row.work]) for row in other)
        names = ", ".join(f"{row.work} on {row.contestant}" for row in other)
        found.append(f"Where rounding swaps two rows, the AUC moves by at most {change:.1e}: {names}.")
    return found


# ── peers ──


def peer_tables(rows: Sequence[Row]) -> list[tuple[str, pd.DataFrame]]:
    """Captions and tables of the suite of peers: how many times as fast ours is, and the AUCs."""
    if not rows:
        return []
    kinds = (
        ("log-volumes", "Log-volumes of 10,000 codes (those of the test rows, repeated)"),
        ("MMD", "MMD of codes and prior"),
        ("rows", "Rows to scores"),
    )
    found = []
    for start, caption in kinds:
        mine = [row for row in rows if split_work(row)[1].startswith(start)]
        if mine:
            table = pivot(mine, _dataset, base_is_faster, head="dataset")
            found.append((f"{caption}: how many times as fast ours is", table))
    scored = [row for row in rows if "auc" in row.facts and "batches" not in row.contestant]
    if scored:
        table = pivot(scored, _dataset, lambda row, _: f"{row.facts['auc']:.3f}", head="dataset")
        found.append(("AUC on the test rows", table))
    return found


def auc_losses(rows: Sequence[Row]) -> list[str]:
    """One sentence for each peer that ranks better than both scores of ours on some dataset."""
    by_dataset: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.suite == "peers" and "auc" in row.facts and "batches" not in row.contestant:
            by_dataset.setdefault(_dataset(row), {})[row.contestant] = row.facts["auc"]
    better: dict[str, list[str]] = {}
    for dataset, auc in by_dataset.items():
        ours = max((value for name, value in auc.items() if name.startswith("pyscore")), default=np.inf)
        for name, value in auc.items():
            if value > ours:
                better.setdefault(name, []).append(f"{dataset} ({value:.3f} beside {ours:.3f})")
    return [
        f"{name} has a higher AUC than both scores of ours on {len(found)} of "
        f"{len(by_dataset)} datasets: {', '.join(found)}."
        for name, found in better.items()
    ]


# ── headlines ──


def headlines(record: Record) -> pd.DataFrame:
    """The few figures for the README: what, against what, how many times as fast (median and range)."""
    lines: list[tuple[str, str, list[Ratio]]] = []
    kernels = of_suite(record, "kernels")
    for name in ("torch vmap(jacfwd) + svdvals", "torch tangents + qr(mode='r')"):
        lines.append(("log-volumes, k = 2, 4, 9", name, _ratios(kernels, name, lambda _: True)))
    peers, data, stream = (of_suite(record, suite) for suite in ("peers", "datasets", "stream"))
    works = (
        ("log-volumes", "log-volumes of the decoder"),
        ("MMD", "MMD of codes and prior"),
        ("rows", "scores of rows"),
    )
    for start, what in works:
        mine = [row for row in peers if split_work(row)[1].startswith(start)]
        for name in dict.fromkeys(row.contestant for row in mine if not row.base):
            if not name.startswith("pyscore"):
                lines.append((what, name, _ratios(mine, name, lambda _: True)))
    main = [row for row in data if split_work(row)[1] == "proposed"]
    for name in dict.fromkeys(row.contestant for row in main):
        if not name.startswith("numba"):
            lines.append(("`proposed`, numba float32", name, _between(main, "numba float32", name)))
    for name in dict.fromkeys(row.contestant for row in stream if not row.base):
        lines.append(("`proposed` from Parquet", name, _ratios(stream, name, lambda _: True)))
    training = of_suite(record, "training")
    for name in ("sequential Trainer", "torch stack"):
        lines.append(("training a stack of models", name, _ratios(training, name, lambda _: True)))
    rows = [
        {"ours": what, "beside": name, "times as fast": _times(median(r)), "from … to": _range(r)}
        for what, name, r in lines
        if r
    ]
    frame = pd.DataFrame(rows)
    frame.attrs["right"] = ("times as fast", "from … to")
    return frame


def _range(ratios: Sequence[Ratio]) -> str:
    return f"{min(ratios)} … {max(ratios)}" if len(ratios) > 1 else ""


def _between(rows: Sequence[Row], ours: str, other: str) -> list[Ratio]:
    """How many times as fast one contestant is as another, for each piece of work that has both."""
    found = []
    for group in groups(rows).values():
        named = {row.contestant: row for row in group}
        if {ours, other} <= set(named):
            found.append(Ratio.of(named[ours], named[other]))
    return found
