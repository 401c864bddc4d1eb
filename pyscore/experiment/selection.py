"""Choosing one model of a grid by the labels of the training rows, by a few of the labels, or by none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pyscore._core import checks as check
from pyscore.experiment.run_reader import CONFIG

__all__ = ["CRITERIA", "GROUP", "SELECTIONS", "references", "select"]

CRITERIA: dict[str, str] = {
    "supervised": "auc_train",
    "five known": "auc_known5",
    "one known": "auc_known1",
    "unsupervised": "mean_log_density",
}
"""Criterion → the column that is maximised. The mean log-density of `reconstruction` is a constant minus half the
mean squared error of a row, so its maximum is the lowest reconstruction error, the paper's criterion."""

SELECTIONS = ("supervised", "unsupervised")
"""The two criteria of the paper."""

GROUP = ("dataset", "split", "train_convention", "steps", "learning_rate", "convention", "score")
"""One model is selected for each combination of these columns."""

TIE_BREAKERS = (*CONFIG, "seed", "config_hash")


def usable(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of models that may be selected: trained without failure, with a finite mean train log-density."""
    return rows[rows["failure"].isna() & np.isfinite(rows["mean_log_density"].to_numpy(np.float64))]


def select(rows: pd.DataFrame, criterion: str, group: Sequence[str] = GROUP) -> pd.DataFrame:
    """Return the selected model of each group: argmax of ``CRITERIA[criterion]`` over the usable models.

    Of tied models the one with the smaller hidden dimension is taken, then the smaller latent dimension, number of
    components, β, c, seed and configuration hash.

    Parameters
    ----------
    rows : DataFrame in the schema of the results, one row for each model, convention and score
    criterion : name out of `CRITERIA`
    group : columns; one row is returned for each of their combinations, in sorted order

    Returns
    -------
    DataFrame
        The rows of the selected models, with the columns ``criterion``, ``candidates`` (number of models to choose
        from) and ``tied`` (number of models with the best value). A group without a finite value has no row.

    Notes
    -----
    A model whose mean log-density is not finite is never selected, by any criterion, since some of its training
    rows have no density.
    """
    value = CRITERIA[check.choice("criterion", criterion, CRITERIA)]
    fit = usable(rows)
    fit = fit[np.isfinite(fit[value].to_numpy(np.float64))]
    group = list(group)
    grouped = fit.groupby(group, dropna=False)[value]
    fit = fit.assign(
        criterion=criterion,
        candidates=grouped.transform("size"),
        tied=(fit[value] == grouped.transform("max"))
        .groupby([fit[g] for g in group], dropna=False)
        .transform("sum"),
    )
    ascending = [True] * len(group) + [False] + [True] * len(TIE_BREAKERS)
    ordered = fit.sort_values([*group, value, *TIE_BREAKERS], ascending=ascending, kind="stable")
    return ordered.groupby(group, dropna=False, sort=False).head(1).reset_index(drop=True)


def references(rows: pd.DataFrame, group: Sequence[str] = GROUP) -> pd.DataFrame:
    """Return median and highest test AUC of the usable models of each group, to compare a selection with.

    The highest ("oracle") needs the labels of the test rows, so it cannot be used to select.
    """
    grouped = usable(rows).groupby(list(group), dropna=False)["auc_test"]
    parts = [
        grouped.agg(how)
        .rename("auc_test")
        .reset_index()
        .assign(criterion=name, candidates=grouped.size().to_numpy())
        for name, how in (("median", "median"), ("oracle", "max"))
    ]
    return pd.concat(parts, ignore_index=True)
