"""Baselines on one protocol: fitted to rows, a row's score its own, anomalies above normals."""

import sys

import numpy as np
import pytest

from pyscore.data.datasets import load_breast_cancer
from pyscore.detectors import baselines, ensemble, evaluation
from pyscore.errors import BackendUnavailable, InvalidInput
from pyscore.reference import roc_auc

FAST = list(baselines.BASELINES)
ALL = [*FAST, *baselines.HEAVY]
PYOD = [name for name in ALL if name.startswith("PyOD")]


@pytest.fixture(scope="module")
def problem():
    """A line in 5 dimensions with noise, and anomalies around it."""
    rng = np.random.default_rng(5)
    t = rng.standard_normal((160, 1))
    normal = t @ np.array([[1.0, -1.0, 0.5, 1.0, 0.0]]) + 0.1 * rng.standard_normal((160, 5))
    anomalous = 4 * rng.standard_normal((40, 5))
    return normal[:120], np.concatenate([normal[120:], anomalous]), np.repeat([0, 1], [40, 40])


@pytest.mark.parametrize("name", ALL)
def test_anomalies_score_higher_rows_alone_score_the_same_and_seeds_repeat(name, problem, monkeypatch):
    monkeypatch.setattr(baselines, "STEPS", 150)
    monkeypatch.setattr(baselines, "SEARCH_STEPS", 60)
    monkeypatch.setattr(ensemble, "GRID", {"latent_dims": (2,), "betas": (0.1, 1.0), "cs": (0.1,)})
    if name in PYOD:
        pytest.importorskip("pyod", reason="PyOD is optional")
        pytest.importorskip("tqdm", reason="PyOD's networks need tqdm")
    train, x, labels = problem
    score = baselines.baseline(name).fit(train, 1)
    together = score(x)
    assert together.shape == (80,)
    assert roc_auc(together, labels) > 0.8
    assert np.array_equal(score(x), together)
    if name != "PyOD VAE":  # it draws when it scores
        alone = np.concatenate([score(row[None]) for row in x[38:42]])
        tolerance = 1e-4 if name in PYOD else 1e-9  # PyOD's networks are float32
        assert np.abs(alone - together[38:42]).max() <= tolerance * np.abs(together).max()
    again = baselines.baseline(name)(train, x, 1)
    repeats = 1e-5 if name in PYOD else 0.0  # DeepSVDD repeats to float32's rounding, the others here to the bit
    assert np.abs(again - together).max() <= repeats * np.abs(together).max()


def test_ecod_is_that_of_pyod(problem):
    ecod = pytest.importorskip("pyod.models.ecod", reason="PyOD is optional")
    train, x, _ = problem
    theirs = ecod.ECOD().fit(train)
    one_by_one = np.concatenate([theirs.decision_function(row[None]) for row in x[::8]])
    mine = baselines.ecod(train, 0)(x[::8])
    assert np.abs(mine - one_by_one).max() <= 64 * np.finfo(float).eps * np.abs(one_by_one).max()


def test_ppca_is_a_gaussian(problem):
    """Tipping and Bishop: x ~ N(mean, WWᵀ + σ²I), with the components of PCA."""
    train, x, _ = problem
    k = baselines._components(train)[1]
    centred = train - train.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / (len(train) - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    noise = values[k:].mean()
    covariance = vectors @ np.diag(np.r_[values[:k], np.full(5 - k, noise)]) @ vectors.T
    off = x - train.mean(axis=0)
    expected = 0.5 * np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
    expected += 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    assert np.abs(baselines.ppca(train, 0)(x) - expected).max() < 1e-9 * np.abs(expected).max()


def test_the_gan_search_descends(problem):
    from pyscore.detectors.gan import train_gan

    train, x, _ = problem
    gan = train_gan(train, latent_dim=2, hidden_dim=8, steps=30, seed=2)
    before = gan.search(x, restarts=3, steps=0, matching=0.0, seed=0)[1]
    z, after = gan.search(x, restarts=3, steps=60, matching=0.0, seed=0)
    assert z.shape == (80, 3, 2)
    assert after.shape == (80, 3)
    assert (after <= before).mean() > 0.95


def test_baseline_rows_are_the_fast_ones_or_those_named():
    split = load_breast_cancer().split(0)
    assert list(evaluation.baseline_rows(split)["score"]) == FAST
    rows = evaluation.baseline_rows(split, names=["ECOD"])
    assert list(rows["score"]) == ["ECOD"]
    assert rows["auc"][0] > 0.8


def test_a_missing_pyod_is_said_and_unknown_names_are_refused(problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyod.models.deep_svdd", None)
    with pytest.raises(BackendUnavailable, match=r"'DeepSVDD' needs PyOD.*pip install pyod"):
        baselines.baseline("PyOD DeepSVDD").fit(problem[0], 0)
    with pytest.raises(InvalidInput, match="`baseline` must be one of 'kNN'"):
        baselines.baseline("knn")
