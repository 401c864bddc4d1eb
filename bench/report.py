"""`pyscore report`: everything measured, in one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pyscore._core.files import atomic_write
from pyscore._core.net import as_invalid
from pyscore._core.plain_files import read_json, read_plain
from pyscore._core.schema import check, fields, flag, listing, mapping, number, optional, scalar, text
from pyscore._core.text import one_line, printable
from pyscore.bench import pivots, record, tables
from pyscore.bench.record import Record, Row
from pyscore.bench.report_plots import check_svg, inline_svg, rates, scaling
from pyscore.errors import DataUnavailable, InvalidInput

__all__ = ["Findings", "build_report", "collect", "write_report"]


LONG = 60
"""Rows."""


class Cell(NamedTuple):
    """What a cell shows, and what it is sorted by."""

    text: str
    value: float | None = None

    @property
    def key(self) -> str:
        """The value as JavaScript's Number() reads it."""
        return repr(self.value).replace("inf", "Infinity")


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    caption: str
    columns: list[str]
    numeric: list[bool]
    right: list[bool]
    """Columns that are set to the right: numbers, and what stands for one."""
    rows: list[list[Cell]]

    @property
    def long(self) -> bool:
        """Whether the page shows it folded."""
        return len(self.rows) > LONG


@dataclass
class Findings:
    """Files of a folder by what they are."""

    records: dict[str, Record] = field(default_factory=dict)
    verify: dict[str, dict[str, Any]] = field(default_factory=dict)
    summaries: dict[str, Path] = field(default_factory=dict)
    """Folders of `pyscore results`, by their place in the folder."""
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
            place = path.parent.relative_to(folder).as_posix()
            found.summaries[folder.name if place == "." else place] = path.parent
            continue
        try:
            content = read_json(path, follow=False)
            if isinstance(content, dict) and content.get("format") == record.FORMAT:
                found.records[name] = record.of_json(content, name)
            elif isinstance(content, dict) and {"rows", "bit_equal"} <= set(content):
                check(content, VERIFY, name, "`pyscore verify`", "Verify again.")
                found.verify[name] = content
            else:
                found.unused.append(f"{name}: neither of `pyscore bench` nor of `pyscore verify`")
        except InvalidInput as error:
            found.unused.append(f"{name}: {error}")
    return found


CHECK = fields(
    {"function": text(200), "backend": text(200), "dtype": text(200), "ok": flag},
    dict.fromkeys(("error", "bound", "ulp", "golden"), optional(number(finite=False))),
    rest=scalar,
)
VERIFY = fields({"rows": listing(CHECK, least=1), "bit_equal": mapping(listing(text(200)))})
"""A file of `pyscore verify --json`."""


def build_report(folder: str | os.PathLike[str]) -> str:
    """Return the page for the results in a folder; a section without files says so."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = collect(folder)
    names = (f"figure-{number}" for number in itertools.count(1))
    environment = Environment(
        loader=PackageLoader("pyscore.bench"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=True, finalize=_shown,
    )  # fmt: skip
    environment.filters["code"] = _code
    page = environment.get_template("report.html.j2").render(
        measurements=[_measurement(name, each, names) for name, each in found.records.items()],
        experiments=[_experiment(name, path) for name, path in found.summaries.items()],
        agreement=[_agreement(name, each) for name, each in found.verify.items()],
        unused=found.unused,
        folder=Path(folder).name,
        policy=POLICY_PLACE,
    )
    return page.replace(POLICY_PLACE, _policy(page), 1)


POLICY_PLACE = "<!-- policy -->"


def _policy(page: str) -> str:
    """Return the policy by which a browser runs the page's own script and style, and asks nobody for anything."""

    def own(tag: str) -> str:
        return " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[:1]
        )

    # The plots carry their colours in style attributes, which a policy allows or forbids as a whole.
    rules = (
        "default-src 'none'", f"script-src {own('script')}", f"style-src-elem {own('style')}",
        "style-src-attr 'unsafe-inline'", "img-src data:", "base-uri 'none'", "form-action 'none'",
    )  # fmt: skip
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'


def _shown(value: Any) -> Any:
    """Return what the template prints: a character that a browser obeys (one reverses text) is its escape."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else printable(value)


def write_report(folder: str | os.PathLike[str], output: str | os.PathLike[str]) -> str:
    """Write the page, and return it."""
    page = build_report(folder)
    with atomic_write(output, "w") as file:
        file.write(page)
    return page


# ── measurements ──


def _measurement(name: str, found: Record, names: Iterator[str]) -> dict[str, Any]:
    headlines = pivots.headlines(found)
    return {
        "name": name,
        "headlines": None if headlines.empty else frame_table(_headline_caption(found), headlines),
        "suites": [_suite(suite, pivots.of_suite(found, suite), names) for suite in _suites(found)],
        "compile_seconds": _compile_seconds(found),
        "losses": tables.losses(found),
        "about": tables.about(found),
        "not_measured": found.not_measured,
    }


def _suites(found: Record) -> list[str]:
    return list(dict.fromkeys(row.suite for row in found.rows))


def _headline_caption(found: Record) -> str:
    return (
        "Medians, and ranges over datasets or sizes; below 1× we lose; ~: a noisy measurement. "
        f"{tables.measured_on(found)}"
    )


def _suite(suite: str, rows: list[Row], names: Iterator[str]) -> dict[str, Any]:
    captioned, said = pivots.suite_tables(suite, rows)  # the plots of a sweep say its slopes
    flat = tables.ratio_table(rows).drop(columns="suite")
    return {
        "name": suite,
        "plots": _plots(rows, names),
        "pivots": [frame_table(caption, frame) for caption, frame in captioned],
        "said": said,
        "table": frame_table("Ratios to the base of each work, medians, errors", flat),
        "notes": list(dict.fromkeys(f"{row.work}: {row.notes}" for row in rows if row.notes)),
    }


def _compile_seconds(found: Record) -> Table | None:
    if not found.compile_seconds:
        return None
    frame = pd.DataFrame([{"kernel": kernel, **each} for kernel, each in found.compile_seconds.items()])
    return frame_table("Seconds of the first call of a fresh process, compiled and from the cache", frame)


def _plots(rows: list[Row], names: Iterator[str]) -> list[str]:
    """One plot of rates for each unit of work, or one of times for each sweep; of the datasets, of `proposed`."""
    if rows[0].suite == "datasets":
        rows = [row for row in rows if row.work.endswith(": proposed")] or rows
    plots = []
    sweeps = dict.fromkeys(row.facts["sweep"] for row in rows if "sweep" in row.facts)
    for sweep in sweeps:
        mine = [row for row in rows if row.facts.get("sweep") == sweep]
        plots.append(inline_svg(scaling(mine, sweep), next(names), f"Time over {sweep}, log-log"))
    rest = [row for row in rows if "sweep" not in row.facts]
    for unit in dict.fromkeys(row.unit for row in rest):
        mine = [row for row in rest if row.unit == unit]
        title = f"{unit}s a second"
        plots.append(inline_svg(rates(mine, title), next(names), f"{title}, by contestant"))
    return plots


# ── the experiment ──

MOST_SVG = 20_000_000
"""Bytes."""
EXPERIMENT_TABLES = {
    "verdicts": "The paper's claims, and what came out",
    "auc": "Test AUC by setting, selection, dataset and score",
}


def _experiment(name: str, folder: Path) -> dict[str, Any]:
    found, figures, missing = [], [], []
    for stem, caption in EXPERIMENT_TABLES.items():
        path = folder / f"{stem}.csv"
        if not os.path.lexists(path):
            missing.append(path.name)
            continue
        try:
            found.append(frame_table(caption, _read_csv(path)))
        except InvalidInput as error:
            missing.append(f"{path.name} ({error})")
    paths = sorted(folder.glob("*.svg"))
    for path in paths:
        try:
            figures.append(_figure(path))
        except InvalidInput as error:
            missing.append(f"{path.name} ({error})")
    if not paths:
        missing.append("figures (*.svg)")
    return {"name": name, "tables": found, "figures": figures, "missing": missing}


def _read_csv(path: Path) -> pd.DataFrame:
    data = read_plain(path, follow=False)
    with as_invalid("it is not a table", ValueError, OverflowError):
        return pd.read_csv(io.BytesIO(data))


def _figure(path: Path) -> dict[str, str]:
    """Return a figure of a file with its title, as an image: it cannot run, call out or leave its frame."""
    data = read_plain(path, follow=False, most=MOST_SVG)
    check_svg(data)
    uri = "data:image/svg+xml;base64," + base64.b64encode(data).decode("ascii")
    return {"title": path.stem.replace("-", " ").replace("_", " "), "uri": uri}


# ── agreement ──


def _agreement(name: str, content: dict[str, Any]) -> dict[str, Any]:
    frame = pd.DataFrame(content["rows"])
    failed = [f"{r['function']} on {r['backend']} {r['dtype']}" for r in content["rows"] if not r["ok"]]
    return {
        "name": name,
        "table": frame_table(
            "Largest error of each function, in eps(dtype)·scale from float64 NumPy, and its bound",
            frame.rename(columns={"golden": "from the original"}), short=True,
        ),
        "failed": failed,
        "bit_equal": content["bit_equal"],
    }  # fmt: skip


# ── tables ──


MISSING = "–"
NUMBER = re.compile(r"-?(?:inf|\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?=$|[×~ !%])")


def frame_table(caption: str, frame: pd.DataFrame, *, short: bool = False) -> Table:
    """Turn a DataFrame into a table of cells; columns of numbers, or of text that is numbers, sort as numbers."""
    columns = [one_line(column) for column in frame.columns]
    cells = [[_cell(value, short=short) for value in frame.iloc[:, place]] for place in range(frame.shape[1])]
    numeric = [_is_numeric(column) for column in cells]
    rows = [list(row) for row in zip(*cells, strict=True)]
    right = [
        is_number or name in frame.attrs.get("right", ()) for is_number, name in zip(numeric, columns, strict=True)
    ]
    return Table(caption, columns, numeric, right, rows)


def _cell(value: Any, *, short: bool) -> Cell:
    if hasattr(value, "dtype"):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return Cell(MISSING)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int | float):
        return Cell(_number(value, short=short), float(value))
    text = str(value)
    if text.lower() in ("nan", MISSING):
        return Cell(MISSING)
    number = NUMBER.match(text)
    return Cell(text, float(number[0].replace(",", "")) if number else None)


def _number(value: float, *, short: bool) -> str:
    """Thousands by commas if whole, else three decimals, or two figures if `short` or if nothing would be left."""
    if math.isinf(value) or abs(value) >= 1e15:
        return f"{value:.3g}"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.2g}" if short or abs(value) < 0.0005 else f"{value:.3f}"


def _is_numeric(cells: Iterable[Cell]) -> bool:
    shown = [cell for cell in cells if cell.text not in ("", MISSING)]
    return bool(shown) and all(cell.value is not None for cell in shown)


def _code(text: str) -> str:
    """Return text for the page, what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(printable(text)))))
