"""`pyscore explain`: one row of a table, as a table, a figure or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pyscore._core.output_guard import check_output
from pyscore.cli.output import emit, print_frame
from pyscore.cli.reading import TableOptions
from pyscore.convention import Convention
from pyscore.data.table_files import find_files
from pyscore.data.tables import WRITTEN, read_row, write_table
from pyscore.scoring.explain import FEATURE_COLUMNS, explain
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.plots import FIGURES, plot_explanation, save_figure

__all__ = ["explain_row"]

SHOWN = 15


def explain_row(
    model: Path,
    tables: Sequence[str],
    row: int,
    output: Path | None,
    score: str | None,
    convention: Convention | None,
    backend: str,
    reading: TableOptions,
    *,
    json: bool,
) -> None:
    """Explain row number `row`; print it, and write a figure or a table if asked to."""
    if output is not None:
        check_output(output, [model, *find_files(tables)], suffixes=(*(f".{kind}" for kind in FIGURES), *WRITTEN))
    fitted = FittedModel.load(model)
    fitted.require_imputer(reading.impute)
    columns = fitted.standardiser.columns
    frame = read_row(tables, columns, row, missing=reading.impute is not None, options=reading)
    own = fitted.detector.get("parameters", {}).get("score_name", "proposed")
    name = score or own
    lines = explain(fitted, frame, name, backend=backend, convention=convention, impute=reading.impute)
    # What is typical was measured with the detector's own score and convention.
    same = name == own and convention in (None, fitted.convention)
    typical = fitted.detector.get("typical_terms") if same else None
    if output is not None:
        if output.suffix.lower().lstrip(".") in FIGURES:
            save_figure(plot_explanation(lines, typical=typical), output)
        else:
            write_table(output, lines)
    terms = {str(term): float(lines[term].iloc[0]) for term in lines.columns if term not in FEATURE_COLUMNS}
    if json:
        features = lines[[c for c in FEATURE_COLUMNS if c != "row"]].to_dict("records")
        convention_name = (convention or fitted.convention).name
        facts = {"row": row, "score_name": name, "convention": convention_name, "terms": terms}
        emit({**facts, "typical_terms": typical, "features": features}, json=True)
        return
    _show(lines, row, name, terms, typical)
    if output is not None:
        emit({"written": str(output)}, json=False)


def _show(
    lines: pd.DataFrame, row: int, name: str, terms: dict[str, float], typical: dict[str, float] | None
) -> None:
    columns = [c for c in FEATURE_COLUMNS if c != "row"]
    ranked = lines.sort_values("contribution", ascending=False, kind="stable")[columns]
    rest = f"; {len(ranked) - SHOWN} features with less are not shown" if len(ranked) > SHOWN else ""
    print_frame(
        ranked.head(SHOWN),
        title=f"row {row}, score {name}: {terms['score']:.3f} nats",
        caption=f"contribution: nats that the feature takes off the log-likelihood{rest}",
    )
    table = pd.DataFrame({"term": list(terms), "nats": list(terms.values())})
    if typical:
        table["median of training rows"] = [typical.get(term, float("nan")) for term in terms]
    print_frame(table, title="terms, which sum to the score")
