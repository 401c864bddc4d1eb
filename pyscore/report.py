"""`pyscore report`: everything measured, in one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pyscore.bench import record, tables
from pyscore.bench.record import Record, Row
from pyscore.errors import DataUnavailable, InvalidInput
from pyscore.report_plots import inline_svg, rates, scaling
from pyscore.storage import atomic_write

__all__ = ["Findings", "build_report", "collect", "write_report"]


class Cell(NamedTuple):
    """What a cell shows, and what it is sorted by."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    name: str
    caption: str
    columns: list[str]
    numeric: list[bool]
    rows: list[list[Cell]]


@dataclass
class Findings:
    """Files of a folder by what they are."""

    records: dict[str, Record] = field(default_factory=dict)
    verify: dict[str, dict[str, Any]] = field(default_factory=dict)
    summaries: list[Path] = field(default_factory=list)
    """Folders of `pyscore results`."""
    unused: list[str] = field(default_factory=list)
    """JSON files that are none of these, and why."""


def collect(folder: str | os.PathLike[str]) -> Findings:
    """Find the results in a folder and those below it.

    Raises
    ------
    DataUnavailable
        If there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataUnavailable(f"`results` must be a folder; there is none at {str(folder)!r}. Check the path.")
    found = Findings()
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        if path.name == "summary.json":
            found.summaries.append(path.parent)
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict) and content.get("format") == record.FORMAT:
                found.records[name] = record.read(path)
            elif isinstance(content, dict) and {"rows", "bit_equal"} <= set(content):
                found.verify[name] = content
            else:
                found.unused.append(f"{name}: neither of `pyscore bench` nor of `pyscore verify`")
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, InvalidInput) as error:
            found.unused.append(f"{name}: {error}")
    return found


def build_report(folder: str | os.PathLike[str]) -> str:
    """Return the page for the results in a folder; a section without files says so."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = collect(folder)
    environment = Environment(
        loader=PackageLoader("pyscore"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        measurements=[_measurement(name, each) for name, each in found.records.items()],
        experiments=[_experiment(path) for path in found.summaries],
        agreement=[_agreement(name, each) for name, each in found.verify.items()],
        unused=found.unused,
        folder=Path(folder).name,
    )


def write_report(folder: str | os.PathLike[str], output: str | os.PathLike[str]) -> str:
    """Write the page, and return it."""
    page = build_report(folder)
    with atomic_write(output, "w") as file:
        file.write(page)
    return page


# ── measurements ──


def _measurement(name: str, found: Record) -> dict[str, Any]:
    suites = list(dict.fromkeys(row.suite for row in found.rows))
    by_suite = {suite: [row for row in found.rows if row.suite == suite] for suite in suites}
    return {
        "name": name,
        "suites": [
            {
                "name": suite,
                "plots": _plots(f"{name}-{suite}", rows),
                "table": frame_table(
                    f"{name}-{suite}", f"{suite.capitalize()}: ratios to the base of each work, medians, errors",
                    tables.ratio_table(rows).drop(columns="suite"),
                ),
                "notes": list(dict.fromkeys(f"{row.work}: {row.notes}" for row in rows if row.notes)),
            }
            for suite, rows in by_suite.items()
        ],
        "losses": tables.losses(found),
        "about": tables.about(found),
        "not_measured": found.not_measured,
    }  # fmt: skip


def _plots(name: str, rows: list[Row]) -> list[str]:
    """One plot of rates for each unit of work, or one of times for each sweep; of the datasets, of `proposed`."""
    if rows[0].suite == "datasets":
        rows = [row for row in rows if row.work.endswith(": proposed")] or rows
    plots = []
    sweeps = dict.fromkeys(row.facts["sweep"] for row in rows if "sweep" in row.facts)
    for sweep in sweeps:
        mine = [row for row in rows if row.facts.get("sweep") == sweep]
        plots.append(
            inline_svg(scaling(mine, sweep), f"{name}-{sweep}", f"Time over {html.escape(sweep)}, log-log")
        )
    rest = [row for row in rows if "sweep" not in row.facts]
    for unit in dict.fromkeys(row.unit for row in rest):
        mine = [row for row in rest if row.unit == unit]
        title = f"{unit}s a second"
        plots.append(inline_svg(rates(mine, title), f"{name}-{unit}", f"{html.escape(title)}, by contestant"))
    return plots


# ── the experiment ──

EXPERIMENT_TABLES = {
    "verdicts": "The paper's claims, and what came out",
    "auc": "Test AUC by setting, selection, dataset and score",
}


def _experiment(folder: Path) -> dict[str, Any]:
    found = [
        frame_table(name, caption, pd.read_csv(folder / f"{name}.csv"))
        for name, caption in EXPERIMENT_TABLES.items()
        if (folder / f"{name}.csv").is_file()
    ]
    figures = [
        (path.stem.replace("-", " ").replace("_", " "), _data_uri(path)) for path in sorted(folder.glob("*.svg"))
    ]
    missing = [f"{name}.csv" for name in EXPERIMENT_TABLES if not (folder / f"{name}.csv").is_file()]
    if not figures:
        missing.append("figures (*.svg)")
    return {"name": folder.name, "tables": found, "figures": figures, "missing": missing}


def _data_uri(path: Path) -> str:
    """Return a figure as a data URI: inside an image its identifiers cannot meet those of another."""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


# ── agreement ──


def _agreement(name: str, content: dict[str, Any]) -> dict[str, Any]:
    frame = pd.DataFrame(content["rows"])
    failed = [f"{r['function']} on {r['backend']} {r['dtype']}" for r in content["rows"] if not r["ok"]]
    return {
        "name": name,
        "table": frame_table(
            name, "Largest error of each function, in eps(dtype)·scale from float64 NumPy, and its bound",
            frame.rename(columns={"golden": "from the original"}), short=True,
        ),
        "failed": failed,
        "bit_equal": content["bit_equal"],
    }  # fmt: skip


# ── tables ──


def frame_table(name: str, caption: str, frame: pd.DataFrame, *, short: bool = False) -> Table:
    """Turn a DataFrame into a table of cells; columns of numbers, or of text that is numbers, sort as numbers."""
    columns = [str(column) for column in frame.columns]
    cells = [[_cell(value, short=short) for value in frame[column]] for column in frame.columns]
    numeric = [_is_numeric(column) for column in cells]
    rows = [list(row) for row in zip(*cells, strict=True)]
    return Table(re.sub(r"\W+", "-", name).strip("-"), caption, columns, numeric, rows)


def _cell(value: Any, *, short: bool) -> Cell:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell("–")
    if hasattr(value, "dtype"):
        value = value.item()
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int | float):
        whole = float(value).is_integer()
        text = f"{int(value):,}" if whole else f"{value:.2g}" if short else f"{value:.3f}"
        return Cell(text, float(value))
    text = str(value)
    number = re.match(r"-?[\d,]+(\.\d+)?(e[+-]?\d+)?(?=$|[×~ !%])", text)
    return Cell(text, float(number[0].replace(",", "")) if number else None)


def _is_numeric(cells: Iterable[Cell]) -> bool:
    shown = [cell for cell in cells if cell.text not in ("", "–")]
    return bool(shown) and all(cell.value is not None for cell in shown)
