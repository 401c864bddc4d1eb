"""`pyscore fit`: from tables to a model file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pyscore._core.output_guard import check_output
from pyscore.cli.options import (
    DEFAULT_MODEL,
    DEFAULT_READING,
    ConventionName,
    Json,
    ModelOptions,
    Output,
    TableOptions,
)
from pyscore.cli.output import emit
from pyscore.cli.progress import score_progress, training_progress
from pyscore.cli.terminal import goes_on
from pyscore.data.table_files import SUFFIXES, find_files
from pyscore.data.tables import read_rows
from pyscore.detectors.recommended import make_detector
from pyscore.errors import InvalidInput
from pyscore.scoring import fitted
from pyscore.scoring.plots import FIGURES

__all__ = ["fit"]


def fit(
    tables: list[str],
    /,
    *,
    output: Output = Path("model.safetensors"),
    label: str | None = None,
    detector: str = "recommended",
    contamination: float = 0.1,
    calibration: float = 0.2,
    convention: ConventionName = "exact",
    training: ModelOptions = DEFAULT_MODEL,
    seed: int = 0,
    checkpoint: Path | None = None,
    reading: TableOptions = DEFAULT_READING,
    json: Json = False,
) -> None:
    """Fit a detector to the rows of all tables and save it.

    Parameters
    ----------
    tables
        A .csv, .tsv, .parquet or .arrow file (texts also compressed), a folder of them, or a pattern; or several.
        Rows are samples, columns are features, all numbers.
    output
        Where the detector goes.
    label
        A column that is not a feature (0 normal, 1 anomaly); it is left out of training.
    detector
        recommended (`pyscore.Detector`); svae, svae-ensemble, svae-forest-neighbours,
        neighbours-covariance-clusters, isolation-forest, extended-forest, neighbours, covariance, clusters or
        mixture; or model, a spherical autoencoder without threshold and p-values, whose scores `pyscore score
        --scores` names. The options of the model below belong to those with an autoencoder in them.
    contamination
        Share of the rows that the threshold flags.
    calibration
        Share of the rows that nothing is fitted on; they give p-values. 0: no p-values.
    convention
        exact, what the mathematics asks for; or original, the code of the paper.
    seed
        Seed of everything drawn.
    checkpoint
        A file to resume from and to write to every 1,000 steps.
    """
    check_outputs(tables, output, checkpoint)
    impute = reading.impute
    keep = () if label is None else (label,)
    with score_progress("reading") as tell:
        rows = read_rows(tables, keep=keep, missing=impute is not None, options=reading, progress=tell)
    if detector != "model":
        if checkpoint is not None:
            raise InvalidInput("`--checkpoint` belongs to `--detector model`; the other detectors write none.")
        shared = {"contamination": contamination, "calibration_fraction": calibration, "random_state": seed}
        chosen = training.given() | ({} if convention == "exact" else {"convention": convention})
        fit_detector(detector, rows.frame, output, {**shared, "impute": impute, **chosen}, json=json)
        return
    config = training.config(convention, seed)
    hint = "" if checkpoint is None else "The same command goes on from the checkpoint, if one was written."
    with goes_on(hint), training_progress("training") as callback:
        model = fitted.fit(
            rows.frame, config, callback=callback, checkpoint=checkpoint, impute=impute, **training.sizes()
        )
    model.save(output)
    facts = {"model": str(output), "rows": len(rows.x), "columns": rows.x.shape[1], "steps": config.steps}
    emit(facts, json=json)


def fit_detector(name: str, frame: pd.DataFrame, output: Path, options: dict[str, Any], *, json: bool) -> None:
    """Fit a detector to the features of a frame, save it, and say what it set aside and where its threshold is."""
    one = make_detector(name, **options)
    with training_progress("fitting") as callback:
        one.set_params(callbacks=callback).fit(frame)
    one.save(output)
    held = 0 if one.calibration_scores_ is None else len(one.calibration_scores_)
    facts = {"model": str(output), "detector": name, "rows": len(frame), "columns": frame.shape[1]}
    facts |= {"set aside for p-values": held, "threshold": one.threshold_, "flagged": int(one.labels_.sum())}
    emit(facts, json=json)


def check_outputs(tables: Sequence[str], model: Path, checkpoint: Path | None) -> None:
    """Check where the model and the checkpoint go; raises as `check_output`."""
    inputs = find_files(tables)
    others = (*SUFFIXES, *(f".{kind}" for kind in FIGURES), ".json", ".html", ".md")
    for path in (model, checkpoint):
        if path is None:
            continue
        check_output(path, inputs)
        if path.suffix.lower() in others:
            raise InvalidInput(
                f"`path` must not end in {path.suffix}, which is another kind of file; got {str(path)!r}. Models "
                "and checkpoints end in .safetensors."
            )
    if checkpoint is not None and os.path.realpath(checkpoint) == os.path.realpath(model):
        raise InvalidInput(f"the model and the checkpoint must be two files; got {str(model)!r} for both.")
