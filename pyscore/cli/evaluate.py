"""`pyscore evaluate`: AUCs of a saved model, or of models trained on a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pyscore.cli.options import (
    DEFAULT_MODEL,
    DEFAULT_READING,
    ConventionName,
    Json,
    ModelOptions,
    TableOptions,
    names_of,
)
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import score_progress, training_progress
from pyscore.convention import get_convention
from pyscore.data import datasets as data
from pyscore.data.tables import read_rows
from pyscore.detectors import evaluation
from pyscore.errors import InvalidInput, TrainingDiverged
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.scores import residual_variance
from pyscore.training.config import TrainConfig
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
    sigma2: float | Literal["residual"] = 1.0,
    convention: ConventionName | None = None,
    training: ModelOptions = DEFAULT_MODEL,
    backend: str = "torch",
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
    sigma2
        See `pyscore score`.
    convention
        exact or original; by default the saved model's, or exact.
    backend
        See `pyscore doctor`.
    """
    names = names_of(scores)
    if model is not None:
        saved_model(sources, model, label, names, convention, backend, reading, sigma2=sigma2, json=json)
        return
    if len(sources) > 1:
        raise InvalidInput(f"`evaluate` trains on one dataset at a time; got {', '.join(sources[:8])}.")
    config = training.config(convention or "exact")
    dataset(sources[0], split, seeds, names, config, training.sizes(), backend, sigma2=sigma2, json=json)


def saved_model(
    tables: Sequence[str],
    model: Path,
    label: str | None,
    names: list[str] | None,
    convention: str | None,
    backend: str,
    reading: TableOptions,
    *,
    sigma2: float | Literal["residual"] = 1.0,
    json: bool,
) -> None:
    """Print the AUCs of a saved model on a labelled table."""
    fitted = FittedModel.load(model)
    chosen = get_convention(convention) if convention else fitted.convention
    if label is None:
        raise InvalidInput("`--label` must name the column that is 0 for normal and 1 for anomalous rows.")
    imputer = fitted.require_imputer(reading.impute)
    columns = fitted.standardiser.columns
    with score_progress("reading") as tell:
        table = read_rows(
            tables, columns, keep=(label,), missing=imputer is not None, options=reading, progress=tell
        )
    labels = table.labels(label)
    x = fitted.standardiser.transform(table.x if imputer is None else imputer.transform(table.x))
    variance = fitted.noise_variance(sigma2)
    rows = evaluation.auc_rows(fitted.model, x, labels, names, sigma2=variance, convention=chosen, backend=backend)
    _show(rows, f"{', '.join(tables)}: {len(x)} rows, model {model.name}", json)


def dataset(
    name: str,
    split_seed: int,
    seeds: int,
    names: list[str] | None,
    config: TrainConfig,
    sizes: dict[str, Any],
    backend: str,
    *,
    sigma2: float | Literal["residual"] = 1.0,
    json: bool,
) -> None:
    """Train `seeds` models on one split of a dataset and print mean and deviation of their test AUCs."""
    if seeds < 1:
        raise InvalidInput(f"`seeds` must be at least 1; got {seeds}.")
    split = data.load_dataset(name).split(split_seed, convention=config.convention)
    d = split.x_train.shape[1]
    sizes = {**sizes, "latent_dim": sizes["latent_dim"] or min(4, d)}
    configs = [dataclasses.replace(config, seed=seed) for seed in range(seeds)]
    with training_progress(name) as advance:
        members = train_stack(split.x_train, configs, callback=advance, **sizes)
    parts = []
    for seed, member in enumerate(members):
        if member.model is None:
            raise TrainingDiverged(f"{member.failure} (seed {seed}). Lower `learning_rate` or `beta`.")
        rows = evaluation.auc_rows(
            member.model,
            split.x_test,
            split.y_test,
            names,
            sigma2=residual_variance(member.model, split.x_train) if sigma2 == "residual" else sigma2,
            convention=config.convention,
            backend=backend,
            seed=seed,
        )
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
