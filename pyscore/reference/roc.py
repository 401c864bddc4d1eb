"""Quality of a ranking: the area under the ROC curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.arrays import plain_numbers
from pyscore._core.checks import Array
from pyscore.errors import InvalidInput, ShapeError

__all__ = ["roc_auc", "roc_curve"]


def roc_auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: P(score of an anomaly > score of a normal) + ½ P(equal).

    Parameters
    ----------
    scores : (n,) array, higher = more anomalous; ±inf is fine, NaN is not
    labels : (n,) array of 0 (normal) and 1 (anomaly), both present

    Returns
    -------
    float in [0, 1].

    Notes
    -----
    Original: EvalCurves `auc(roccurve(...))`: ties are grouped likewise, but its curve is rounded to 10
    digits, which moves the area by up to 2.4e-11.

    Examples
    --------
    >>> pyscore.reference.roc_auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """
    scores = check.vector("scores", scores)
    texts = isinstance(labels, list | tuple) and all(isinstance(label, str) for label in labels)
    labels = np.asarray(labels) if texts else plain_numbers("labels", labels)
    if labels.shape != scores.shape:
        raise ShapeError(f"`labels` must have shape {scores.shape}; got {labels.shape}.")
    wrong = labels[~np.isin(labels, (0, 1))]
    if wrong.size:
        raise InvalidInput(f"`labels` must be 0 (normal) or 1 (anomaly); got {wrong[0]!r} ({wrong.size} such).")
    if np.isnan(scores).any():
        raise InvalidInput(f"`scores` must not hold NaN; got {int(np.isnan(scores).sum())}.")
    anomalies = np.equal(labels, 1)
    p, n = int(anomalies.sum()), int((~anomalies).sum())
    if p == 0 or n == 0:
        raise InvalidInput(
            f"`labels` must hold both classes; got {n} normal and {p} anomalous rows. "
            "An area under the curve needs at least one of each."
        )
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    twice_rank = 2 * np.cumsum(counts) - counts + 1  # twice the mean rank of each group of ties, an integer
    twice_u = int(twice_rank[inverse][anomalies].sum()) - p * (p + 1)
    return twice_u / (2 * p * n)


def roc_curve(scores: Array, labels: ArrayLike) -> tuple[Array, Array]:
    """False and true positive rates from (0, 0) to (1, 1), with one point per group of tied scores.

    Parameters
    ----------
    scores : (n,) array, higher = more anomalous
    labels : (n,) array of 0 (normal) and 1 (anomaly)

    Returns
    -------
    (false_positive_rate, true_positive_rate) : arrays of equal length

    Examples
    --------
    >>> false, true = pyscore.reference.roc.roc_curve(np.array([0.1, 0.4, 0.35, 0.8]), [0, 0, 1, 1])
    >>> false.tolist(), true.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    labels = np.asarray(labels)
    order = np.argsort(-scores, kind="stable")
    last_of_group = np.r_[np.diff(scores[order]) != 0, True]
    hits, misses = np.cumsum(labels[order] == 1), np.cumsum(labels[order] == 0)
    true = np.r_[0, hits[last_of_group]] / hits[-1]
    false = np.r_[0, misses[last_of_group]] / misses[-1]
    return false, true
