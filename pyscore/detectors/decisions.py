"""What every detector does with anomaly scores: labels, probabilities, thresholds, p-values, selection."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.net import netted
from pyscore.detectors import calibration
from pyscore.detectors.calibration import FalsePositiveThreshold
from pyscore.errors import InvalidInput

__all__ = ["Decisions", "check_contamination"]


class Decisions(OutlierMixin):  # type: ignore[misc]
    """Scores → decisions. The detector itself brings `fit`, which ends in `_decide`, and `score_samples`.

    **Signs.** `decision_function` and `decision_scores_`: higher = more anomalous; `score_samples` is minus it.
    **Labels.** 1 = anomaly, 0 = normal, as in PyOD; scikit-learn's outlier detectors say −1 and +1.
    """

    contamination: float
    decision_scores_: Array
    calibration_scores_: Array | None
    threshold_: float
    contamination_: float
    labels_: NDArray[np.int64]

    def score_samples(self, X: Any) -> Array:
        """Values (n,) of rows X (n, d), higher = more normal."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from rows X (n, d); `y` is ignored."""
        raise NotImplementedError

    def _decide(self, anomaly: Array, calibration_rows: NDArray[np.int64]) -> None:
        """Keep the scores of the rows given to `fit`, and set the threshold that they imply."""
        self.decision_scores_ = anomaly
        self.calibration_scores_ = anomaly[calibration_rows] if len(calibration_rows) else None
        self.set_threshold(contamination=self.contamination)

    @netted
    def fit_predict(self, X: Any, y: Any = None, **kwargs: Any) -> NDArray[np.int64]:
        """Labels (n,) of the rows trained on: 1 = anomaly, 0 = normal."""
        return self.fit(X, **kwargs).labels_

    # ── scores ──

    @netted
    def decision_function(self, X: Any) -> Array:
        """Anomaly scores (n,) of rows X (n, d): −`score_samples`, **higher = more anomalous**."""
        return -self.score_samples(X)

    @netted
    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples` over rows X (n, d), higher = better; `y` is ignored.

        What `GridSearchCV` maximises without a `scoring`. With labels (1 = anomaly) use ``scoring="roc_auc"``.
        """
        density = self.score_samples(X)
        return float(np.mean(density)) if len(density) else float("nan")

    # ── labels and probabilities ──

    @netted
    def predict(self, X: Any, return_confidence: bool = False) -> Any:
        """Labels (n,) of rows X (n, d): 1 = anomaly (score above `threshold_`), 0 = normal.

        With `return_confidence` a pair: the labels, and `predict_confidence`.
        """
        anomaly = self.decision_function(X)
        labels = (anomaly > self.threshold_).astype(np.int64)
        return (labels, self._confidence(anomaly)) if return_confidence else labels

    @netted
    def predict_proba(self, X: Any, method: str = "linear", return_confidence: bool = False) -> Any:
        """Probabilities (n, 2) of being normal and of being an anomaly, as PyOD defines them.

        Parameters
        ----------
        X : (n, d) rows
        method : "linear", the score's place in the range of the training scores; or "unify", by the error function
            of the score, standardised by the training scores (Kriegel et al., 2011)
        return_confidence : bool
            Return a pair: the probabilities, and `predict_confidence`.
        """
        check.choice("method", method, ("linear", "unify"))
        convert = calibration.linear_probability if method == "linear" else calibration.unify_probability
        anomaly = self.decision_function(X)
        outlier = convert(self.decision_scores_, anomaly)
        probability = np.column_stack([1 - outlier, outlier])
        return (probability, self._confidence(anomaly)) if return_confidence else probability

    @netted
    def predict_confidence(self, X: Any) -> Array:
        """Probability (n,) that a row X would keep its label under another training set (Perini et al., 2020)."""
        return self._confidence(self.decision_function(X))

    def _confidence(self, anomaly: Array) -> Array:
        flagged = self.contamination_
        return calibration.prediction_confidence(self.decision_scores_, anomaly, self.threshold_, flagged)

    # ── calibration ──

    @netted
    def calibrate(self, X: Any) -> Self:
        """Take rows X (m, d) that were not trained on, and are normal, for p-values and false-positive rates."""
        self.calibration_scores_ = self.decision_function(X)
        return self

    @netted
    def set_threshold(
        self,
        *,
        contamination: float | None = None,
        quantile: float | None = None,
        false_positive_rate: float | None = None,
        confidence: float | None = 0.95,
    ) -> FalsePositiveThreshold | None:
        """Choose `threshold_` anew, in one of three ways; `labels_` follow.

        Parameters
        ----------
        contamination : fraction of the training rows to flag, as in `fit`
        quantile : of the training scores; ``contamination=q`` is ``quantile=1 - q``
        false_positive_rate : required rate among normal rows, by the calibration rows
        confidence : probability with which that rate is kept; None: it is kept on average

        Returns
        -------
        FalsePositiveThreshold or None
            For a false-positive rate: what n rows guarantee, and whether they suffice; print it.

        Warns
        -----
        UserWarning
            If the calibration rows do not suffice for the rate, with the number that would.
        """
        check_is_fitted(self)
        ways = {"contamination": contamination, "quantile": quantile, "false_positive_rate": false_positive_rate}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            raise InvalidInput(f"pass one of `{'`, `'.join(ways)}`; got {' and '.join(given) or 'none'}.")
        statement = None
        if false_positive_rate is not None:
            normal = self._calibration("a false-positive rate")
            statement = calibration.false_positive_threshold(normal, false_positive_rate, confidence=confidence)
            if not statement.sufficient:
                warnings.warn(str(statement), UserWarning, stacklevel=2)
            threshold = statement.threshold
        else:
            q = 1 - check_contamination(contamination) if contamination is not None else quantile
            threshold = calibration.quantile_threshold(self.decision_scores_, float(q or 0.0))
        self.threshold_ = threshold
        self.labels_ = (self.decision_scores_ > threshold).astype(np.int64)
        self.contamination_ = float(self.labels_.mean()) if contamination is None else float(contamination)
        return statement

    @netted
    def p_values(self, X: Any) -> Array:
        """Conformal p-values (n,) of rows X (n, d): (1 + #{calibration scores ≥ s}) / (m + 1).

        For a normal row P(p ≤ t) ≤ t for every t. Needs `calibrate`, or ``calibration_fraction`` in `fit`.
        """
        check_is_fitted(self)
        normal = self._calibration("a p-value")
        return calibration.conformal_p_values(normal, self.decision_function(X))

    @netted
    def select(self, X: Any, fdr: float = 0.1) -> NDArray[np.bool_]:
        """Rows of X (n, d) to report, such that on average at most a fraction `fdr` of them is normal.

        Benjamini and Hochberg's procedure on `p_values`: the rows are tested together, so that the answer for
        one depends on the others. Returns a boolean array (n,).
        """
        return calibration.benjamini_hochberg(self.p_values(X), fdr)

    def _calibration(self, what: str) -> Array:
        if self.calibration_scores_ is None:
            raise InvalidInput(
                f"{what} needs rows that were not trained on: call `calibrate` with normal rows, or fit with "
                "`calibration_fraction` above 0."
            )
        return self.calibration_scores_


def check_contamination(value: Any) -> float:
    """Return a share of the rows in (0, 0.5], or raise."""
    if not 0.0 < check.real("contamination", value, above=0.0) <= 0.5:
        raise InvalidInput(f"`contamination` must be above 0 and at most 0.5; got {value!r}.")
    return float(value)
