"""`pyscore explain`: one row of a table, as a table, a figure or JSON."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pyscore._core.files import is_kind
from pyscore._core.output_guard import check_output
from pyscore.cli.options import DEFAULT_READING, DEFAULT_SCORING, Json, Output, ScoringOptions, TableOptions
from pyscore.cli.output import emit, print_frame
from pyscore.data.table_files import find_files
from pyscore.data.tables import WRITTEN, read_row, write_table
from pyscore.detectors.detector_file import read_detector
from pyscore.detectors.standardised import StandardisedDetector
from pyscore.errors import InvalidInput
from pyscore.scoring.explain import FEATURE_COLUMNS
from pyscore.scoring.explain import explain as explain_rows
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.plots import FIGURES, plot_explanation, save_figure

__all__ = ["explain"]

SHOWN = 15


def explain(
    model: Path,
    tables: list[str],
    /,
    *,
    row: int,
    output: Output | None = None,
    score: str | None = None,
    scoring: ScoringOptions = DEFAULT_SCORING,
    reading: TableOptions = DEFAULT_READING,
    json: Json = False,
) -> None:
    """Explain row number `row`; print it, and write a figure or a table if asked to.

    Parameters
    ----------
    model
        A file of `pyscore fit`, or of the `save` of a detector.
    tables
        As for `pyscore score`.
    row
        Number of the row, counted from 0 over all tables.
    output
        A .svg, .png or .pdf file for a figure, or a .csv or .parquet file for the table.
    score
        A score out of `pyscore.SCORES`; by default the detector's own, or proposed.
    """
    if output is not None:
        check_output(output, [model, *find_files(tables)], suffixes=(*(f".{kind}" for kind in FIGURES), *WRITTEN))
    if is_kind(model, "detector"):
        if score is not None or scoring.convention is not None:
            raise InvalidInput("`--score` and `--convention` belong to a single model; this is a detector.")
        detector = read_detector(model, StandardisedDetector)  # type: ignore[type-abstract]
        _explain_detector(detector, tables, row, output, reading, json=json)
        return
    fitted = FittedModel.load(model)
    given = scoring.by(fitted.convention)
    fitted.require_imputer(reading.impute)
    columns = fitted.standardiser.columns
    frame = read_row(tables, columns, row, missing=reading.impute is not None, options=reading)
    own = fitted.detector.get("parameters", {}).get("score_name", "proposed")
    name = score or own
    lines = explain_rows(fitted, frame, name, impute=reading.impute, **given.keywords())
    # What is typical was measured with the detector's own score and convention, and with σ² = 1.
    same = name == own and given.chosen == fitted.convention and given.sigma2 == 1.0
    typical = fitted.detector.get("typical_terms") if same else None
    _write(output, lines, typical)
    terms = {str(term): float(lines[term].iloc[0]) for term in lines.columns if term not in FEATURE_COLUMNS}
    if json:
        features = lines[[c for c in FEATURE_COLUMNS if c != "row"]].to_dict("records")
        facts = {"row": row, "score_name": name, "convention": given.chosen.name, "terms": terms}
        emit({**facts, "typical_terms": typical, "features": features}, json=True)
        return
    _show(lines, row, name, terms, typical)
    if output is not None:
        emit({"written": str(output)}, json=False)


def _write(
    output: Path | None, lines: pd.DataFrame, typical: dict[str, float] | None, threshold: float | None = None
) -> None:
    if output is None:
        return
    if output.suffix.lower().lstrip(".") in FIGURES:
        save_figure(plot_explanation(lines, typical=typical, threshold=threshold), output)
    else:
        write_table(output, lines)


def _explain_detector(
    detector: StandardisedDetector,
    tables: list[str],
    row: int,
    output: Path | None,
    reading: TableOptions,
    *,
    json: bool,
) -> None:
    """Print by how much each feature raises the anomaly score of a row, and what each member says of it."""
    columns = detector.standardiser_.columns
    frame = read_row(tables, columns, row, missing=detector.impute is not None, options=reading)
    named = hasattr(detector, "feature_names_in_")
    lines = detector.explain(frame[list(columns)] if named else frame[list(columns)].to_numpy())
    _write(output, lines, None, detector.threshold_)
    members = {str(m): float(lines[m].iloc[0]) for m in lines.columns if m not in (*FEATURE_COLUMNS, "score")}
    anomaly, kind = -float(lines["score"].iloc[0]), type(detector).__name__
    if json:
        features = lines[[c for c in FEATURE_COLUMNS if c != "row"]].to_dict("records")
        facts = {"row": row, "detector": kind, "anomaly_score": anomaly, "threshold": detector.threshold_}
        emit({**facts, "members": members, "features": features}, json=True)
        return
    _show_features(
        lines,
        f"row {row}: anomaly score {anomaly:.3f}, threshold {detector.threshold_:.3f}",
        "by how much the score falls if the feature is as expected",
    )
    print_frame(
        pd.DataFrame({"member": list(members), "surprise": list(members.values())}),
        title="members, whose mean is the anomaly score",
    )
    if output is not None:
        emit({"written": str(output)}, json=False)


def _show_features(lines: pd.DataFrame, title: str, meaning: str) -> None:
    """Print the features that weigh most in a row's score; `meaning` says what a contribution is."""
    ranked = lines.sort_values("contribution", ascending=False, kind="stable")
    rest = f"; {len(ranked) - SHOWN} features with less are not shown" if len(ranked) > SHOWN else ""
    columns = [c for c in FEATURE_COLUMNS if c != "row"]
    print_frame(ranked.head(SHOWN)[columns], title=title, caption=f"contribution: {meaning}{rest}")


def _show(
    lines: pd.DataFrame, row: int, name: str, terms: dict[str, float], typical: dict[str, float] | None
) -> None:
    title = f"row {row}, score {name}: {terms['score']:.3f} nats"
    _show_features(lines, title, "nats that the feature takes off the log-likelihood")
    table = pd.DataFrame({"term": list(terms), "nats": list(terms.values())})
    if typical:
        table["median of training rows"] = [typical.get(term, float("nan")) for term in terms]
    print_frame(table, title="terms, which sum to the score")
