"""What a user would try instead: classical detectors, and the scores of the paper's related work.

A baseline is fitted to training rows and returns its score function; a row's score depends on no other row.
`BASELINES` holds the fast ones, which every table shows; `HEAVY` those that train a network, asked for by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.net import netted
from pyscore._core.optional import needs_torch
from pyscore.data.preprocessing import LARGEST
from pyscore.errors import BackendUnavailable, InvalidInput

__all__ = ["BASELINES", "HEAVY", "Baseline", "baseline"]

STEPS = 1000  # of the networks trained here
SEARCH_STEPS = 200  # of the search for a code

Scorer = Callable[[Array], Array]
"""Rows (n, d) → anomaly scores (n,), higher = more anomalous."""


@dataclass(frozen=True)
class Baseline:
    """A method: `fit` takes training rows (n, d), standardised, and a seed, and returns the score function."""

    fit: Callable[[Array, int], Scorer]

    @netted
    def __call__(self, train: ArrayLike, x: ArrayLike, seed: int = 0) -> Array:
        """Anomaly scores (n,) of the rows x, higher = more anomalous.

        Raises
        ------
        InvalidInput, ShapeError
            If the rows are no matrices of finite numbers of at most 1e100, or differ in width.
        """
        train = _rows("train", train)
        if not len(train):
            raise InvalidInput("`train` must have at least one row; got none.")
        x = _rows("x", x, train.shape[1])
        return self.fit(train, check.integer("seed", seed, at_least=0))(x)


def _rows(name: str, rows: ArrayLike, columns: int | str = "d") -> Array:
    x = check.matrix(name, rows, columns)
    check.finite(name, x, limit=LARGEST)
    if x.shape[1] == 0:
        raise InvalidInput(f"`{name}` must have at least one column; got none.")
    return x


# ── fast ──


def knn(train: Array, seed: int) -> Scorer:
    """Mean distance to the 5 nearest training rows."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=min(5, len(train))).fit(train)
    return lambda x: np.mean(neighbours.kneighbors(x)[0], axis=1)


def isolation_forest(train: Array, seed: int) -> Scorer:
    """Negative of scikit-learn's `score_samples`, 100 trees."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=seed).fit(train)
    return lambda x: -forest.score_samples(x)


def _components(train: Array) -> tuple[Any, int]:
    """Full PCA, and the number of components that hold 90 % of the variance (at least one dimension less)."""
    from sklearn.decomposition import PCA

    full = PCA(svd_solver="full").fit(train)
    k = int(np.searchsorted(np.cumsum(full.explained_variance_ratio_), 0.9)) + 1
    return full, max(1, min(k, train.shape[1] - 1))


def pca_reconstruction(train: Array, seed: int) -> Scorer:
    """Squared distance to the principal subspace that holds 90 % of the variance (at least one dimension less)."""
    full, k = _components(train)
    basis = full.components_[:k]

    def score(x: Array) -> Array:
        centred = x - full.mean_
        return np.sum((centred - centred @ basis.T @ basis) ** 2, axis=1)

    return score


def ppca(train: Array, seed: int) -> Scorer:
    """−log-likelihood of probabilistic PCA (Tipping, Bishop 1999) with the components of `pca_reconstruction`."""
    from sklearn.decomposition import PCA

    model = PCA(n_components=_components(train)[1], svd_solver="full").fit(train)
    return lambda x: -model.score_samples(x)


def ecod(train: Array, seed: int) -> Scorer:
    """Σ_j max(−log F̂_j(x_j), −log(1 − F̂_j)(x_j)), the smaller tail of each feature's empirical distribution.

    Notes
    -----
    Li 2022, aggregated as PyOD does (feature by feature the larger of both tails); the row itself counts in the
    distribution, so that no tail is empty. Equal to PyOD's `decision_function` of one row.
    """
    columns = np.sort(train, axis=0)
    n = len(columns)

    def score(x: Array) -> Array:
        total = np.zeros(len(x))
        for sorted_column, values in zip(columns.T, np.asarray(x).T, strict=True):
            left = np.searchsorted(sorted_column, values, side="right") + 1
            right = n - np.searchsorted(sorted_column, values, side="left") + 1
            total -= np.log(np.minimum(left, right) / (n + 1))
        return total

    return score


BASELINES: dict[str, Baseline] = {
    "kNN": Baseline(knn),
    "isolation forest": Baseline(isolation_forest),
    "PCA reconstruction": Baseline(pca_reconstruction),
    "PPCA": Baseline(ppca),
    "ECOD": Baseline(ecod),
}
"""The fast baselines by the name that tables print."""


# ── the related work of the paper ──


def autoencoder_mixture(train: Array, seed: int) -> Scorer:
    """−log density of a Gaussian mixture on [z, g(f(z))], z = g(x): the code and the code that comes back.

    Notes
    -----
    After DAGMM (Zong 2018) as section 4 of the paper describes it; fitted after the autoencoder, not jointly.
    """
    from sklearn.mixture import GaussianMixture

    with needs_torch("this baseline"):
        from pyscore.detectors.autoencoder import train_autoencoder
    d = train.shape[1]
    k = min(4, max(1, d - 1))
    model = train_autoencoder(train, (d, 32, 32, k, 32, 32, d), activation="swish", steps=STEPS, seed=seed).model

    def features(x: Array) -> Array:
        z = model.encode(x)
        return np.hstack([z, model.encode(model.decode(z))])

    mixture = GaussianMixture(n_components=4, reg_covar=1e-4, random_state=seed).fit(features(train))
    return lambda x: -mixture.score_samples(features(x))


def anogan(train: Array, seed: int) -> Scorer:
    """min_z (1−λ)·Σ|x − G(z)| + λ·Σ|φ(x) − φ(G(z))|, λ = 0.1, φ the discriminator's features (Schlegl 2017)."""
    with needs_torch("this baseline"):
        from pyscore.detectors import gan

    model = gan.train_gan(train, latent_dim=min(4, train.shape[1]), steps=STEPS, seed=seed)
    share = gan.DISCRIMINATION
    return lambda x: model.search(x, restarts=1, steps=SEARCH_STEPS, matching=share, seed=seed)[1][:, 0]


def adgan(train: Array, seed: int) -> Scorer:
    """−log (1/s) Σ_j p(z_j), z_j the code with the smallest ‖x − G(z)‖² found from the j-th of s = 4 starts.

    Notes
    -----
    As section 4 of the paper describes its reference [10] (Deecke 2018, ADGAN): it "uses the density p(z)", and
    "the search for z is repeated several times and corresponding densities are averaged". Deecke's own score
    averages the errors, and adapts the generator in the search; that is not done here.
    """
    with needs_torch("this baseline"):
        from pyscore.detectors import gan

    model = gan.train_gan(train, latent_dim=min(4, train.shape[1]), steps=STEPS, seed=seed)

    def score(x: Array) -> Array:
        z, _ = model.search(x, restarts=4, steps=SEARCH_STEPS, matching=0.0, seed=seed)
        log_density = -0.5 * np.sum(z**2, axis=2)
        return (
            -np.logaddexp.reduce(log_density, axis=1) + np.log(z.shape[1]) + 0.5 * z.shape[2] * np.log(2 * np.pi)
        )

    return score


# ── PyOD ──


@contextlib.contextmanager
def _seeded_torch(seed: int) -> Iterator[None]:
    """Seed torch's global generator for a while, on one thread: PyOD draws from it, also when it scores."""
    with needs_torch("this baseline"):
        import torch

        from pyscore.backends.torch_functions import one_thread

    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        yield


def _pyod(module: str, name: str, train: Array, seed: int, **options: Any) -> Scorer:
    import importlib
    import os

    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        detector = getattr(importlib.import_module(f"pyod.models.{module}"), name)
    except ImportError as error:
        raise BackendUnavailable(
            f"the baseline {name!r} needs PyOD and tqdm ({error}). Install both with `pip install pyod tqdm`, "
            "or leave it out."
        ) from error
    with _seeded_torch(seed):
        fitted = detector(random_state=seed, verbose=0, **options)
        fitted.fit(train)  # its networks return nothing in PyOD 2.0

    def score(x: Array) -> Array:
        with _seeded_torch(seed):
            return np.asarray(fitted.decision_function(x), np.float64)

    return score


def pyod_autoencoder(train: Array, seed: int) -> Scorer:
    """PyOD's AutoEncoder with its defaults: the distance of a row to its reconstruction."""
    return _pyod("auto_encoder", "AutoEncoder", train, seed)


def pyod_vae(train: Array, seed: int) -> Scorer:
    """PyOD's VAE with its defaults: the distance of a row to its reconstruction.

    It draws its codes when it scores, so that a row's score depends on the rows before it, unlike all others here.
    """
    return _pyod("vae", "VAE", train, seed)


def pyod_deep_svdd(train: Array, seed: int) -> Scorer:
    """PyOD's DeepSVDD with 20 epochs: the squared distance to the centre of the hypersphere."""
    return _pyod("deep_svdd", "DeepSVDD", train, seed, n_features=train.shape[1], epochs=20)


# ── ours ──


def stack_ensemble(train: Array, seed: int, *, trim: float = 0.1) -> Scorer:
    """36 models of three latent dimensions that vote, without a tenth of the rows; see `detectors.ensemble`."""
    from pyscore.detectors.ensemble import fit_members, mean_surprise
    from pyscore.training.config import TrainConfig

    members = fit_members(train, TrainConfig(seed=seed), trim=trim).members
    return lambda x: mean_surprise(members, x)


HEAVY: dict[str, Baseline] = {
    "SVAE ensemble": Baseline(stack_ensemble),
    "DAGMM-style mixture": Baseline(autoencoder_mixture),
    "AnoGAN": Baseline(anogan),
    "ADGAN": Baseline(adgan),
    "PyOD AutoEncoder": Baseline(pyod_autoencoder),
    "PyOD VAE": Baseline(pyod_vae),
    "PyOD DeepSVDD": Baseline(pyod_deep_svdd),
}
"""Baselines that train a network, opt-in by name."""


def baseline(name: str) -> Baseline:
    """Return a baseline by name, fast or heavy."""
    everything = {**BASELINES, **HEAVY}
    return everything[check.choice("baseline", name, everything)]
