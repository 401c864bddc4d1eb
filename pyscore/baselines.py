"""What a user would try instead: kNN, isolation forest, PCA reconstruction and PPCA, from scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pyscore._validate import Array

__all__ = ["BASELINES"]

Baseline = Callable[[Array, Array, int], Array]
"""(training rows, rows to score, seed) → anomaly scores, higher = more anomalous."""


def knn(train: Array, x: Array, seed: int) -> Array:
    """Mean distance to the 5 nearest training rows."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(5, len(train))
    distances, _ = NearestNeighbors(n_neighbors=neighbours).fit(train).kneighbors(x)
    return np.mean(distances, axis=1)


def isolation_forest(train: Array, x: Array, seed: int) -> Array:
    """Negative of scikit-learn's `score_samples`, 100 trees."""
    from sklearn.ensemble import IsolationForest

    return -IsolationForest(random_state=seed).fit(train).score_samples(x)


def pca_reconstruction(train: Array, x: Array, seed: int) -> Array:
    """Squared distance to the principal subspace that holds 90 % of the variance (at least one dimension less)."""
    from sklearn.decomposition import PCA

    full = PCA(svd_solver="full").fit(train)
    k = int(np.searchsorted(np.cumsum(full.explained_variance_ratio_), 0.9)) + 1
    basis = full.components_[: max(1, min(k, train.shape[1] - 1))]
    centred = x - full.mean_
    return np.sum((centred - centred @ basis.T @ basis) ** 2, axis=1)


def ppca(train: Array, x: Array, seed: int) -> Array:
    """−log-likelihood of probabilistic PCA (Tipping, Bishop 1999), with 90 % of the variance as above."""
    from sklearn.decomposition import PCA

    full = PCA(svd_solver="full").fit(train)
    k = int(np.searchsorted(np.cumsum(full.explained_variance_ratio_), 0.9)) + 1
    k = max(1, min(k, train.shape[1] - 1))
    return -PCA(n_components=k, svd_solver="full").fit(train).score_samples(x)


BASELINES: dict[str, Baseline] = {
    "kNN": knn,
    "isolation forest": isolation_forest,
    "PCA reconstruction": pca_reconstruction,
    "PPCA": ppca,
}
"""Every baseline by the name that tables print."""
