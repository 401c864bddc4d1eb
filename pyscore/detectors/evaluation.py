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

__all__ = ["auc_interval", "auc_rows", "baseline_rows", "detection_measures"]


def auc_rows(
    model: SVAE,
    x: Array,
    labels: ArrayLike,
    names: Iterable[str] | None = None,
    **options: Unpack[ScoreKeywords],
) -> pd.DataFrame:
    """One row a score: ``score``, ``convention``, `detection_measures`, ``mean_log_density`` (finite rows)."""
    convention = ScoreOptions(**options).by(EXACT).chosen
    table = scoring.score_table(model, x, names, **options)
    rows: list[dict[str, Any]] = []
    for name in table.columns:
        values = table[name].to_numpy()
        finite = values[np.isfinite(values)]
        mean = float(finite.mean()) if finite.size else float("nan")
        measured = detection_measures(-values, labels)
        rows.append({"score": name, "convention": convention.name, **measured, "mean_log_density": mean})
    return pd.DataFrame(rows)


def detection_measures(anomaly: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """How well anomaly scores (n,), higher = more anomalous, find the rows labelled 1.

    Returns
    -------
    dict
        ``auc`` and its 95 % interval, ``low`` and ``high``; ``average_precision``; and ``precision``, the share of
        anomalies among the a highest scores, a the number of anomalies (with ties at the last place counted in
        proportion).
    """
    from scipy.stats import rankdata
    from sklearn.metrics import average_precision_score

    auc = float(roc_auc(anomaly, labels))
    positive = np.asarray(labels, dtype=np.int64).ravel() == 1
    a, n = int(positive.sum()), len(positive)
    order = rankdata(np.asarray(anomaly, np.float64))  # which all of these depend on alone; +inf has a rank, too
    low, high = auc_interval(auc, a, n - a)
    last = np.sort(order)[n - a]
    above, tied = order > last, order == last
    among = float(positive[above].sum() + positive[tied].mean() * (a - above.sum()))
    return {
        "auc": auc,
        "low": low,
        "high": high,
        "average_precision": float(average_precision_score(positive, order)),
        "precision": among / a,
    }


def auc_interval(auc: float, anomalies: int, normal: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of an AUC: the θ with |auc − θ| ≤ z·√(V(θ)), V the variance of an AUC of θ.

    Parameters
    ----------
    auc : float in [0, 1]
    anomalies, normal : int, numbers of rows, m and n
    confidence : float in (0, 1)

    Notes
    -----
    Newcombe 2006, method 5: V(θ) = θ(1−θ)·(1 + (N−1)·((1−θ)/(2−θ) + θ/(1+θ)))/(mn), N = (m+n)/2, which is Hanley
    and McNeil's with both numbers made equal. It does not shrink to a point for an AUC of 0 or 1.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    z, half = float(norm.ppf(0.5 + confidence / 2)), 0.5 * (anomalies + normal) - 1.0

    def excess(theta: float) -> float:
        spread = theta * (1 - theta) * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return float((auc - theta) ** 2 - z * z * spread / (anomalies * normal))

    inside = min(max(auc, 1e-12), 1.0 - 1e-12)  # 0 and 1 are roots of their own, beside the one that is wanted
    low = 0.0 if auc == 0.0 else float(brentq(excess, 0.0, inside))
    high = 1.0 if auc == 1.0 else float(brentq(excess, inside, 1.0))
    return low, high


def baseline_rows(split: Split, seed: int = 0, names: Iterable[str] | None = None) -> pd.DataFrame:
    """One row a baseline: ``score``, ``auc`` on the test rows; by default the fast ones, others by name."""
    rows = [
        {"score": name, "auc": roc_auc(baseline(name)(split.x_train, split.x_test, seed), split.y_test)}
        for name in (BASELINES if names is None else names)
    ]
    return pd.DataFrame(rows)
