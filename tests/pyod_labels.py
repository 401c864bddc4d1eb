"""scikit-learn's checks that PyOD's signs and labels fail, and the same detector with scikit-learn's, which passes them."""

import numpy as np

LABELS = (
    "labels are PyOD's 1 (anomaly) and 0 (normal), not -1 and +1, and decision_function is higher = more anomalous"
)
EXPECTED_FAILURES = {"check_outliers_train": LABELS, "check_outliers_fit_predict": LABELS}


def flipped(kind):
    """A class of detectors with scikit-learn's signs and labels: nothing else stands between it and those checks."""

    class Flipped(kind):
        @property
        def offset_(self):
            return -self.threshold_

        def decision_function(self, X):
            return self.score_samples(X) - self.offset_

        def predict(self, X):
            return np.where(self.decision_function(X) >= 0, 1, -1)

        def fit_predict(self, X, y=None):
            return self.fit(X).predict(X)

    return Flipped
