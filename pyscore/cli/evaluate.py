"""`pyscore evaluate`: AUCs of a saved model, or of models trained on a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pyscore.cli.detect import open_model
from pyscore.cli.options import (
    DEFAULT_MODEL,
    DEFAULT_READING,
    DEFAULT_SCORING,
    Json,
    ModelOptions,
    ScoringOptions,
    TableOptions,
    names_of,
)
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import score_progress, training_progress
from pyscore.convention import EXACT
from pyscore.data import datasets as data
from pyscore.data.tables import read_rows
from pyscore.detectors import evaluation
from pyscore.detectors.standardised import StandardisedDetector
from pyscore.detectors.streamed import DetectorScorer
from pyscore.detectors.svae import SVAEDetector
from pyscore.errors import InvalidInput, TrainingDiverged
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.scores import residual_variance
from pyscore.training.stack import train_stack

__all__ = ["evaluate"]


def evaluate(
    sources: list[str],
    /,
    *,
    model: Path | None = None,
    label: str | None = None,
    split: int = 0,
    seeds: int = 1,
    scores: str = "all",
    scoring: ScoringOptions = DEFAULT_SCORING,
    training: ModelOptions = DEFAULT_MODEL,
    reading: TableOptions = DEFAULT_READING,
    json: Json = False,
) -> None:
    """Print the AUCs of `model`, or without it those of models trained here.

    Parameters
    ----------
    sources
        Labelled tables, as for `pyscore score` (with --model and --label), or the name of a dataset (see
        `pyscore data list`).
    model
        A file of `pyscore fit`.
    label
        The column of a table that is 0 for normal and 1 for anomalous rows.
    split
        Seed of the train/test split of a dataset.
    seeds
        Number of models trained on that split, seeds 0, 1, …; the table gives mean and deviation.
    scores
        Names separated by commas, or "all".
    """
    names = names_of(scores)
    if model is not None:
        saved_model(sources, model, label, names, scoring, reading, json=json)
        return
    if len(sources) > 1:
        raise InvalidInput(f"`evaluate` trains on one dataset at a time; got {', '.join(sources[:8])}.")
    dataset(sources[0], split, seeds, names, scoring.by(EXACT), training, json=json)


def saved_model(
    tables: Sequence[str],
    model: Path,
    label: str | None,
    names: list[str] | None,
    scoring: ScoringOptions,
    reading: TableOptions,
    *,
    json: bool,
) -> None:
    """Print the AUCs of a saved model on a labelled table."""
    loaded = open_model(model)
    if label is None:
        raise InvalidInput("`--label` must name the column that is 0 for normal and 1 for anomalous rows.")
    if not isinstance(loaded, FittedModel):
        rows = _of_detector(loaded, tables, label, reading)
        if isinstance(loaded, SVAEDetector):
            more = _of_model(loaded.model_, tables, label, names, scoring, reading)
            rows = pd.concat([rows, more], ignore_index=True)
    else:
        rows = _of_model(loaded, tables, label, names, scoring, reading)
    _show(rows, f"{', '.join(tables)}: model {model.name}; low, high: 95 % interval of the AUC", json)


def _of_detector(
    detector: StandardisedDetector | SVAEDetector, tables: Sequence[str], label: str, reading: TableOptions
) -> pd.DataFrame:
    """One line: how well the detector's own score finds the anomalies of labelled tables."""
    columns = DetectorScorer(detector).features
    gaps = detector.impute is not None
    with score_progress("reading") as tell:
        table = read_rows(tables, columns, keep=(label,), missing=gaps, options=reading, progress=tell)
    rows = table.frame[list(columns)] if hasattr(detector, "feature_names_in_") else table.x
    measured = evaluation.detection_measures(detector.decision_function(rows), table.labels(label))
    return pd.DataFrame([{"score": "detector", **measured}])


def _of_model(
    fitted: FittedModel,
    tables: Sequence[str],
    label: str,
    names: list[str] | None,
    scoring: ScoringOptions,
    reading: TableOptions,
) -> pd.DataFrame:
    """One line a score of a model: how well it finds the anomalies of labelled tables."""
    given = scoring.by(fitted.convention).keywords() | {"sigma2": fitted.noise_variance(scoring.sigma2)}
    imputer = fitted.require_imputer(reading.impute)
    columns = fitted.standardiser.columns
    with score_progress("reading") as tell:
        table = read_rows(
            tables, columns, keep=(label,), missing=imputer is not None, options=reading, progress=tell
        )
    labels = table.labels(label)
    x = fitted.standardiser.transform(table.x if imputer is None else imputer.transform(table.x))
    return evaluation.auc_rows(fitted.model, x, labels, names, **given)


def dataset(
    name: str,
    split_seed: int,
    seeds: int,
    names: list[str] | None,
    scoring: ScoringOptions,
    training: ModelOptions,
    *,
    json: bool,
) -> None:
    """Train `seeds` models on one split of a dataset and print mean and deviation of their test AUCs."""
    if seeds < 1:
        raise InvalidInput(f"`seeds` must be at least 1; got {seeds}.")
    split = data.load_dataset(name).split(split_seed, convention=scoring.chosen)
    sizes = training.sizes()
    sizes["latent_dim"] = sizes["latent_dim"] or min(4, split.x_train.shape[1])
    configs = [training.config(scoring.chosen, seed) for seed in range(seeds)]
    with training_progress(name) as advance:
        members = train_stack(split.x_train, configs, callback=advance, **sizes)
    parts = []
    for seed, member in enumerate(members):
        if member.model is None:
            raise TrainingDiverged(f"{member.failure} (seed {seed}). Lower `learning_rate` or `beta`.")
        variance = scoring.sigma2
        if variance == "residual":
            variance = residual_variance(member.model, split.x_train)
        given = scoring.keywords() | {"sigma2": variance, "seed": scoring.seed + seed}
        rows = evaluation.auc_rows(member.model, split.x_test, split.y_test, names, **given)
        parts.append(rows.assign(seed=seed))
    everything = pd.concat(parts)
    grouped = everything.groupby(["score", "convention"], sort=False)["auc"]
    table = grouped.agg(auc="mean", deviation="std", lowest="min", highest="max").reset_index()
    table = pd.concat([table, evaluation.baseline_rows(split)], ignore_index=True)
    note = f"; {data.NOTES[name]}" if name in data.NOTES else ""
    title = f"{name}, split {split_seed}, {seeds} seed(s): test AUC of {len(split.x_test)} rows{note}"
    _show(table, title, json)


def _show(table: pd.DataFrame, title: str, json: bool) -> None:
    if json:
        emit({"title": title, "rows": table.to_dict("records")}, json=True)
    else:
        print_frame(table.fillna({"convention": ""}) if "convention" in table else table, title=title)
