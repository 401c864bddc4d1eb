"""Areas under the ROC curve: of every score under a convention, and of the baselines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyscore import scores as scoring
from pyscore._validate import Array
from pyscore.backends import Backend
from pyscore.baselines import BASELINES, baseline
from pyscore.convention import Convention
from pyscore.data import Split
from pyscore.model import SVAE
from pyscore.reference import roc_auc

__all__ = ["auc_rows", "baseline_rows", "roc_curve"]


def auc_rows(
    model: SVAE,
    x: Array,
    labels: ArrayLike,
    names: Iterable[str] | None = None,
    *,
    sigma2: ArrayLike = 1.0,
    convention: Convention,
    backend: str | Backend = "numpy",
    seed: int = 0,
) -> pd.DataFrame:
    """One row a score: ``score``, ``convention``, ``auc``, ``mean_log_density`` (finite rows)."""
    table = scoring.score_table(model, x, names, sigma2=sigma2, convention=convention, backend=backend, seed=seed)
    rows: list[dict[str, Any]] = []
    for name in table.columns:
        values = table[name].to_numpy()
        finite = values[np.isfinite(values)]
        mean = float(finite.mean()) if finite.size else float("nan")
        auc = roc_auc(-values, labels)
        rows.append({"score": name, "convention": convention.name, "auc": auc, "mean_log_density": mean})
    return pd.DataFrame(rows)


def baseline_rows(split: Split, seed: int = 0, names: Iterable[str] | None = None) -> pd.DataFrame:
    """One row a baseline: ``score``, ``auc`` on the test rows; by default the fast ones, others by name."""
    rows = [
        {"score": name, "auc": roc_auc(baseline(name)(split.x_train, split.x_test, seed), split.y_test)}
        for name in (BASELINES if names is None else names)
    ]
    return pd.DataFrame(rows)


def roc_curve(scores: Array, labels: ArrayLike) -> tuple[Array, Array]:
    """False and true positive rates from (0, 0) to (1, 1), one point a group of ties; higher = more anomalous."""
    labels = np.asarray(labels)
    order = np.argsort(-scores, kind="stable")
    last_of_group = np.r_[np.diff(scores[order]) != 0, True]
    hits, misses = np.cumsum(labels[order] == 1), np.cumsum(labels[order] == 0)
    true = np.r_[0, hits[last_of_group]] / hits[-1]
    false = np.r_[0, misses[last_of_group]] / misses[-1]
    return false, true
