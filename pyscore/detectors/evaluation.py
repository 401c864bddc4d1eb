"""Areas under the ROC curve: of every score under a convention, and of the baselines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyscore._core.checks import Array
from pyscore.convention import EXACT
from pyscore.data.datasets import Split
from pyscore.detectors.baselines import BASELINES, baseline
from pyscore.reference import roc_auc
from pyscore.reference.model import SVAE
from pyscore.scoring import scores as scoring
from pyscore.scoring.options import ScoreKeywords, ScoreOptions

__all__ = ["auc_rows", "baseline_rows"]


def auc_rows(
    model: SVAE,
    x: Array,
    labels: ArrayLike,
    names: Iterable[str] | None = None,
    **options: Unpack[ScoreKeywords],
) -> pd.DataFrame:
    """One row a score: ``score``, ``convention``, ``auc``, ``mean_log_density`` (finite rows)."""
    convention = ScoreOptions(**options).by(EXACT).chosen
    table = scoring.score_table(model, x, names, **options)
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
