"""Analysis of the terms of `proposed`: the spread of each term, and the AUC with and without it.

Where `proposed` has a lower AUC than the reconstruction error there are two possible reasons: the model that it
selects reconstructs worse, or a term with a large spread separates the anomalies worse. These numbers tell which.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyscore._core.checks import Array
from pyscore.convention import Convention, get_convention
from pyscore.data import datasets as data
from pyscore.data.datasets import Split
from pyscore.data.tables import records
from pyscore.errors import InvalidInput
from pyscore.experiment.measures import COSTLY, Rows
from pyscore.experiment.selection import GROUP, SELECTIONS, select
from pyscore.experiment.store import models_of
from pyscore.reference import roc_auc
from pyscore.reference.model import SVAE
from pyscore.scoring.scores import SCORES, residual_variance, score_terms, total

__all__ = ["COLUMNS", "RESIDUAL", "SAMPLED", "SCORE", "anatomy", "dissect"]

SCORE = "proposed"
RESIDUAL = "proposed, σ² of the residuals"
SAMPLED = "proposed, on the sample"
"""Name of `proposed` on the sample of rows on which `projected`, `corrected` and `laplace` were measured."""
COLUMNS = (
    *(name for name in GROUP if name != "score"),
    "criterion",
    "term",
    "spread",
    "gap",
    "auc",
    "auc_without",
)
"""Columns of the table, which has one row for each selected model and term."""
AGREE = 0.02
"""Largest difference between a model's AUC and the recorded one, which may come from another machine."""


def dissect(model: SVAE, split: Split, convention: Convention, sample: Rows | None = None) -> list[dict[str, Any]]:
    """Measure on the test rows each term of `proposed`, their sum, and the sum with an estimated σ².

    With a `sample` of the rows, measure also the sum on its test rows.

    Returns
    -------
    list of dict
        ``term``; ``spread``, its interquartile range over the normal rows, in nats; ``gap``, the median of the
        normal rows minus that of the anomalies, in nats; ``auc`` of the term alone; ``auc_without``, the AUC of
        the sum of the other terms.
    """
    x, y = split.x_test, split.y_test
    terms = score_terms(model, x, [SCORE], convention=convention, backend="numba")
    whole = total(terms, SCORE)
    names = SCORES[SCORE].terms
    lines = [
        _line(name, terms[name].to_numpy(), y, terms[[n for n in names if n != name]].sum(axis=1).to_numpy())
        for name in names
    ]
    lines.append(_line(SCORE, whole, y))
    sigma2 = residual_variance(model, split.x_train)
    other = score_terms(model, x, [SCORE], sigma2=sigma2, convention=convention, backend="numba")
    lines.append(_line(RESIDUAL, total(other, SCORE), y))
    if sample is not None:
        x, y = sample.x[sample.n_train :], sample.y[sample.n_train :]
        terms = score_terms(model, x, [SCORE], convention=convention, backend="numba")
        lines.append(_line(SAMPLED, total(terms, SCORE), y))
    return lines


def _line(name: str, values: Array, y: NDArray[np.int64], others: Array | None = None) -> dict[str, Any]:
    normal, anomalous = values[y == 0], values[y == 1]
    low, middle, high = np.quantile(normal, [0.25, 0.5, 0.75], method="nearest")  # "nearest" works with −inf, too
    with np.errstate(invalid="ignore"):
        spread, gap = high - low, middle - np.quantile(anomalous, 0.5, method="nearest")
    return {
        "term": name,
        "spread": float(spread),
        "gap": float(gap),
        "auc": roc_auc(-values, y),
        "auc_without": float("nan") if others is None else roc_auc(-others, y),
    }


def anatomy(
    folder: str | os.PathLike[str], rows: pd.DataFrame, progress: Callable[[str], None] | None = None
) -> pd.DataFrame:
    """`dissect` every model that is selected by `proposed`.

    Parameters
    ----------
    folder : output folder of an experiment, whose ``models/`` hold what was trained
    rows : DataFrame, the rows of the experiment from which models are selected
    progress : callable, optional
        Called with the name of each dataset.

    Returns
    -------
    DataFrame with the columns of `COLUMNS`

    Raises
    ------
    ModelFileError, DataUnavailable
        If models or datasets are missing.
    InvalidInput
        If the models are not those from which the rows were measured.
    """
    load = functools.cache(data.load_dataset)
    lines: list[dict[str, Any]] = []
    for criterion in SELECTIONS:
        for row in records(select(rows[rows["score"] == SCORE], criterion)):
            if progress is not None:
                progress(str(row["dataset"]))
            model = _model(folder, row)
            trained_by = get_convention(row["train_convention"])
            split = load(row["dataset"], row["difficulty"]).split(row["split"], convention=trained_by)
            sample = _sample(rows, row, split)
            found = dissect(model, split, get_convention(row["convention"]), sample)
            _same_model(row, next(line["auc"] for line in found if line["term"] == SCORE))
            lines += [{**row, **line, "criterion": criterion} for line in found]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _model(folder: str | os.PathLike[str], row: dict[str, Any]) -> SVAE:
    """Return the model of a row by its hash, since `rows` may lack other models of its stack."""
    model = models_of(folder, row["stack"]).get(row["config_hash"])
    if model is None:
        raise InvalidInput(
            f"the model {row['config_hash']} of stack {row['stack']} has results, but is not there."
        )
    return model


def _sample(rows: pd.DataFrame, row: dict[str, Any], split: Split) -> Rows | None:
    """Return the sample of rows on which `importance` and the `DEAR` scores of a row's model were measured."""
    same = (rows["config_hash"] == row["config_hash"]) & rows["score"].isin(COSTLY)
    if not same.any():
        return None
    most = int(rows.loc[same, ["rows_train", "rows_test"]].to_numpy().max())
    return Rows.of(split, row["split"]).sample(most, row["split"])


def _same_model(row: dict[str, Any], auc: float) -> None:
    if not abs(auc - row["auc_test"]) <= AGREE:
        raise InvalidInput(
            f"the models of {row['stack']} are not those of its results: the AUC of {row['config_hash']} is "
            f"{auc:.3f}, and {row['auc_test']:.3f} was recorded. Were datasets or models exchanged since?"
        )
