"""Records as tables: plain on the terminal, Markdown between markers of a page."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pyscore._core.markdown import markdown_table, replace_part
from pyscore._core.text import markdown_text
from pyscore.bench.harness import NOISY
from pyscore.bench.pivots import auc_losses, headlines, number, of_suite, suite_tables
from pyscore.bench.record import BACKEND_SUITES, Record, Row, base_of, groups

__all__ = [
    "about", "losses", "markdown_block", "measured_on", "ratio", "ratio_table", "render", "short_block", "slope",
    "slopes", "update_page",
]  # fmt: skip

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def ratio(row: Row, base: Row) -> float:
    """Times as fast as the row that its base is, at the same amount of work."""
    return base.rate / row.rate


def ratio_table(rows: Sequence[Row], *, missed: tuple[str, str] = ("", "!")) -> pd.DataFrame:
    """One row a contestant, as text: ratios to the base of its work, times, rates, spreads, errors.

    ``missed`` is put before and after a ratio that is below its target; a ``~`` follows a noisy time.
    """
    table = []
    for (suite, work), group in groups(rows).items():
        base = base_of(group)
        for row in group:
            cells = {"suite": suite, "work": work, "contestant": row.contestant, "base is faster by": ""}
            if base is not None and row is not base:
                value = ratio(row, base)
                before, after = missed if row.target is not None and value < row.target else ("", "")
                cells["base is faster by"] = f"{before}{number(value)}×{after}"
            cells["target"] = "" if row.target is None else f"{row.target:g}"
            cells["ms"] = number(1e3 * row.median) + ("~" if row.noisy else "")
            cells["spread"] = f"{100 * row.spread:.0f} %"
            cells["per second"] = f"{number(row.rate)} {row.unit}s"
            cells["error"] = "" if row.error is None else f"{row.error:.2g}"
            table.append(cells | {name: _fact(value) for name, value in row.facts.items()})
    frame = pd.DataFrame(table).fillna("")
    text = {"suite", "work", "contestant"}
    frame.attrs["right"] = tuple(c for c in frame.columns if c not in text)
    return frame


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else str(value)


def slope(rows: Sequence[Row], *, least: int = 3) -> float:
    """d log(seconds) / d log(size) over the `least` largest sizes of a sweep; NaN of fewer."""
    points = sorted((row.facts["size"], row.median) for row in rows)[-least:]
    if len(points) < least:
        return float("nan")
    size, seconds = np.log(points).T
    return float(np.polyfit(size, seconds, 1)[0])


def slopes(rows: Sequence[Row]) -> list[str]:
    """One line a sweep and contestant."""
    sweeps: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if "sweep" in row.facts:
            sweeps.setdefault((row.facts["sweep"], row.contestant), []).append(row)
    found = {key: slope(mine) for key, mine in sweeps.items()}
    return [
        f"time over {sweep}, {name}: slope {value:.2f} at the largest three sizes"
        for (sweep, name), value in found.items()
        if not math.isnan(value)
    ]


def losses(record: Record) -> list[str]:
    """Sentences: each missed target, each contestant that beats the base, each backend that beats ours."""
    found = _slow_backends(record) + _faster_than_numba(record)
    for (_, work), group in groups(record.rows).items():
        if (base := base_of(group)) is None or base.suite in BACKEND_SUITES:
            continue
        for row in group:
            if row is base or row.contestant.startswith("pyscore"):  # another score of ours
                continue
            value, target = ratio(row, base), row.target
            mark = ", a noisy measurement" if row.noisy or base.noisy else ""
            if value < 1:
                text = f"{row.contestant} is {number(1 / value)} times as fast as {base.contestant}"
                wanted = "" if target is None else f" (allowed: {number(1 / target)})" if 0 < target < 1 else ""
                found.append(f"{work}: {text}{wanted}{mark}.")
            elif target is not None and value < target:
                text = f"{number(value)} times as fast as {row.contestant}, where {target:g} was asked for"
                found.append(f"{work}: {text}{mark}.")
    return found + auc_losses(record.rows)


def _slow_backends(record: Record) -> list[str]:
    """One sentence a suite and backend: the scores at which NumPy, its base, is faster beyond the noise."""
    pairs = []
    for (suite, work), group in _of_backends(record):
        base = base_of(group)
        pairs += [(suite, work, row.contestant, ratio(row, base)) for row in group if base and _beyond(base, row)]
    return _sentences(record, pairs, "is slower than NumPy at")


def _faster_than_numba(record: Record) -> list[str]:
    """One sentence a suite and backend: the scores at which it beats numba's better type beyond the noise."""
    pairs = []
    for (suite, work), group in _of_backends(record):
        compiled = [row for row in group if row.contestant.startswith("numba")]
        if compiled:
            best = max(compiled, key=lambda row: row.rate)
            others = [row for row in group if row not in compiled and not row.base and _beyond(row, best)]
            pairs += [(suite, work, row.contestant, ratio(best, row)) for row in others]
    return _sentences(record, pairs, "is faster than numba at")


def _beyond(faster: Row, slower: Row) -> bool:
    """Whether one row is faster than another beyond the noise of both."""
    return faster is not slower and ratio(slower, faster) > 1 + faster.spread + slower.spread


def _of_backends(record: Record) -> list[tuple[tuple[str, str], list[Row]]]:
    return [(key, group) for key, group in groups(record.rows).items() if key[0] in BACKEND_SUITES]


def _sentences(record: Record, pairs: Sequence[tuple[str, str, str, float]], verb: str) -> list[str]:
    """One sentence a suite and contestant, out of (suite, work, contestant, times as fast)."""
    datasets: dict[tuple[str, str], int] = {}
    for (suite, work), _ in _of_backends(record):
        key = suite, work.rpartition(": ")[2]
        datasets[key] = datasets.get(key, 0) + 1
    scores: dict[tuple[str, str], dict[str, list[float]]] = {}
    for suite, work, name, value in pairs:
        scores.setdefault((suite, name), {}).setdefault(work.rpartition(": ")[2], []).append(value)
    found = []
    for (suite, name), of_score in scores.items():
        said = [
            f"{score} ({number(values[0])}×)" if datasets[suite, score] == 1
            else f"{score} ({len(values)} of {datasets[suite, score]} datasets, up to {number(max(values))}×)"
            for score, values in of_score.items()
        ]  # fmt: skip
        found.append(f"{name} {verb} {', '.join(said)}.")
    return found


def about(record: Record) -> list[str]:
    """Machine, threads, versions, commit and command, one line each."""
    machine = record.machine
    threads = ", ".join(f"{name} {count}" for name, count in machine["threads"].items())
    load = machine.get("load")
    runs = machine.get("runs", [])
    return [
        f"machine: {machine['processor']}, {machine['cpus']} CPUs, "
        + (f"{machine['memory_gb']} GB, " if machine.get("memory_gb") else "")
        + f"GPU: {machine.get('gpu') or 'none'}, {machine['platform']}"
        + (f", load {load[0]}" if load and not runs else ""),
        f"threads: {threads}",
        "versions: " + ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        f"commit {record.commit or 'unknown'}, {record.date}",
        f"command: {record.command}",
        *(f"of it: {run}" for run in runs),
    ]


def render(record: Record) -> str:
    """Return a record as plain text; a `!` marks a missed target, a `~` a noisy time."""
    lines = [ratio_table(record.rows).drop(columns="suite").to_string(index=False), ""] if record.rows else []
    lines.append(f"error: largest, in eps·scale; ~: interquartile range above {100 * NOISY:.0f} % of the median")
    lines += dict.fromkeys(f"{row.work}: {row.notes}" for row in record.rows if row.notes)
    if record.compile_seconds:
        lines.append(f"{'first call, seconds':<24}{'compiled':>10}{'cached':>10}")
        lines += [
            f"{name:<24}{s['compiled']:>10.2f}{s['cached']:>10.2f}" for name, s in record.compile_seconds.items()
        ]
    lines += slopes(record.rows)
    lines += [f"not measured: {text}" for text in record.not_measured]
    return "\n".join([*lines, *about(record)])


def markdown_block(record: Record) -> str:
    """Return what stands between the markers of a page: tables by suite, where we lose, machine and command."""
    blocks = ["### In short", short_block(record)]
    for suite in dict.fromkeys(row.suite for row in record.rows):
        rows = of_suite(record, suite)
        blocks += [f"### {markdown_text(suite.capitalize())}", *_suite_blocks(suite, rows)]
    lost = [f"- {markdown_text(text)}" for text in losses(record)] or ["- Nowhere in this file."]
    blocks += [
        f"Ratios in bold miss their target; `~` marks a noisy time (interquartile range above {100 * NOISY:.0f} % "
        "of the median); errors are the largest against float64 NumPy, in eps·scale.",
        *_compile_blocks(record),
        "### Where we lose", "\n".join(lost),
        "### How this was measured", "\n".join(f"- {markdown_text(line)}" for line in about(record)),
    ]  # fmt: skip
    if record.not_measured:
        blocks.append("\n".join(f"- not measured: {markdown_text(text)}" for text in record.not_measured))
    return "\n\n".join(blocks)


def _compile_blocks(record: Record) -> list[str]:
    """A table of what the first call of each kernel takes, if that was measured."""
    if not record.compile_seconds:
        return []
    rows = [
        {"kernel": f"`{name}`", "compiled": number(s["compiled"]), "from the cache": number(s["cached"])}
        for name, s in record.compile_seconds.items()
    ]
    table = pd.DataFrame(rows)
    table.attrs["right"] = ("compiled", "from the cache")
    return ["### First calls", "Seconds of the first call in a fresh process, with an empty cache and from disk:",
            markdown_table(table)]  # fmt: skip


def _suite_blocks(suite: str, rows: Sequence[Row]) -> list[str]:
    """The tables of one suite: small ones where there are many rows, else all of them."""
    captioned, said = suite_tables(suite, rows)
    if not captioned:
        return [markdown_table(ratio_table(rows, missed=("**", "**")).drop(columns="suite"))]
    said = [*map(markdown_text, said), *(f"- {markdown_text(line)}" for line in slopes(rows))]
    return [
        *(
            block
            for caption, table in captioned
            for block in (f"{markdown_text(caption)}:", markdown_table(table))
        ),
        "\n".join(said),
    ]


def measured_on(record: Record) -> str:
    """Machine, threads, day and commit, in a line."""
    machine = record.machine
    commit = ", ".join(each[:10] + "+" * each.endswith("+") for each in record.commit.split(", ")) or "unknown"
    return (
        f"{machine['processor']}, {machine['cpus']} CPUs, {machine['threads'].get('asked', '?')} thread(s), "
        f"{record.date[:10]}, commit {commit}"
    )


def short_block(record: Record) -> str:
    """Return what stands between the markers of the README: the headlines, and how they were measured."""
    measured = (
        "Medians, and ranges over datasets or sizes; below 1 we lose; `~`: a noisy measurement. "
        f"{measured_on(record)}: `{record.command}`."
    )
    return f"{markdown_table(headlines(record))}\n\n{markdown_text(measured)}"


def update_page(page: str | os.PathLike[str], record: Record, *, check: bool = False, short: bool = False) -> bool:
    """Put the tables, or the `short` one, between the markers of a page; return whether it was what it should be.

    Raises
    ------
    InvalidInput
        If there is no such page, or it has not exactly one pair of markers.
    """
    block = short_block(record) if short else markdown_block(record)
    return replace_part(page, BEGIN, END, block, check=check)
