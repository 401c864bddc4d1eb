"""Scores of the points found: densities of a Gaussian code against PPCA, and the shares missed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from pyscore import EXACT, ORIGINAL
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE
from pyscore.scoring import scores
from pyscore.studies.unreliable import bounded, cure, linear

EPS = np.finfo(float).eps


@pytest.fixture
def rows(rng):
    return rng.standard_normal((400, 4)) * [3.0, 2.0, 1.0, 1.0] + 1.0


@pytest.fixture
def pca(rows):
    """PCA as a network with a Gaussian prior: its marginal likelihood is a Gaussian that we can write down."""
    subspace = linear.principal_subspace(rows, 2)
    model = bounded.identity_autoencoder(subspace, "gelu")
    return subspace, model, cure.GaussianPrior.fit(model.encode(rows))


def test_laplace_is_the_exact_marginal_of_a_linear_decoder(rows, pca):
    """∫ N(x; f(z), I) N(z; m, S) dz = N(x; x̄ + Vm, I + VSVᵀ), which Laplace's method hits exactly."""
    subspace, model, prior = pca
    covariance = np.eye(4) + subspace.basis @ np.linalg.inv(prior.precision) @ subspace.basis.T
    mean = subspace.point(prior.mean[None])[0]
    centred = rows - mean
    exact = -0.5 * np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    exact -= 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    laplace = cure.density_scores(model, rows, prior)["laplace"].to_numpy()
    assert np.abs(laplace - exact).max() < 1024 * EPS * np.abs(exact).max()


def test_the_other_columns_are_their_formulas(rows, pca):
    subspace, model, prior = pca
    table = cure.density_scores(model, rows, prior)
    z = (rows - subspace.mean) @ subspace.basis
    likelihood = -0.5 * np.sum((rows - subspace.reconstruct(rows)) ** 2, axis=1) - 2 * np.log(2 * np.pi)
    scale = 256 * EPS * np.abs(likelihood).max()
    assert list(table) == list(cure.DENSITIES)
    assert np.abs(table["reconstruction"] - likelihood).max() < scale
    assert np.abs(table["joint"] - likelihood - prior.log_density(z)).max() < scale
    for name in ("proposed EXACT", "proposed ORIGINAL", "projected"):  # V is orthonormal: its volume is 1
        assert np.abs(table[name] - table["joint"]).max() < scale, name


def test_the_volume_is_weighted_once_or_twice(rng):
    x = rng.standard_normal((30, 3))
    stretched = linear.Subspace(np.zeros(3), 5.0 * np.eye(3)[:, :1])  # f(z) = 5z e1
    model = bounded.identity_autoencoder(stretched, "swish")
    table = cure.density_scores(model, x, cure.GaussianPrior.fit(model.encode(x)))
    np.testing.assert_allclose(table["joint"] - table["proposed EXACT"], np.log(5), rtol=0, atol=1e-10)
    np.testing.assert_allclose(table["joint"] - table["proposed ORIGINAL"], 2 * np.log(5), rtol=0, atol=1e-10)


def test_prior_density_against_scipy(rng):
    from scipy.stats import multivariate_normal

    codes = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 3)) + 2
    prior = cure.GaussianPrior.fit(codes)
    reference = multivariate_normal(codes.mean(axis=0), np.cov(codes, rowvar=False)).logpdf(codes)
    assert np.abs(prior.log_density(codes) - reference).max() < 1e-10
    with pytest.raises(InvalidInput, match="A unit of the bottleneck is dead"):
        cure.GaussianPrior.fit(np.column_stack([codes[:, 0], np.zeros(50)]))


def test_an_svae_is_scored_by_pyscore_scores(rng):
    model, x = SVAE.initialise(4, 3, 8, 2, seed=1), rng.standard_normal((5, 4))
    table = cure.density_scores(model, x)
    assert np.array_equal(
        table["proposed EXACT"], scores.score(model, x, "proposed", convention=EXACT, backend="numpy")
    )
    assert np.array_equal(
        table["proposed ORIGINAL"], scores.score(model, x, "proposed", convention=ORIGINAL, backend="numpy")
    )
    assert np.array_equal(table["laplace"], scores.score(model, x, "laplace", backend="numpy"))


def test_the_density_catches_what_reconstruction_of_pca_misses(rows, pca):
    subspace, model, prior = pca
    far = subspace.point([[1e3, 0.0], [0.0, -1e5]])
    of_normal, of_far = (cure.density_scores(model, part, prior) for part in (rows, far))
    shares = {name: cure.missed(-of_normal[name], -of_far[name]) for name in cure.DENSITIES}
    assert shares.pop("reconstruction") == 1
    assert set(shares.values()) == {0.0}


@given(
    normal=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40),
    adversarial=st.lists(
        st.one_of(st.floats(-1e6, 1e6), st.sampled_from([np.inf, -np.inf])), min_size=1, max_size=20
    ),
)
def test_missed_is_a_share_of_those_below_the_percentile(normal, adversarial):
    share = cure.missed(normal, adversarial)
    limit = sorted(normal)[int(np.floor(0.95 * (len(normal) - 1)))]
    assert share == np.mean([score < limit for score in adversarial])
    assert np.mean(np.asarray(normal) > limit) <= 0.05 + 1 / len(normal)


def test_missed_at_its_edges():
    assert np.isnan(cure.missed([1.0], []))
    assert cure.missed([0.0, 1.0], [np.nan]) == 1  # no alarm
    assert cure.missed([-np.inf, np.inf], [np.inf]) == 0
    with pytest.raises(InvalidInput, match="`normal` must hold at least one score"):
        cure.missed([], [1.0])


def test_rows_of_the_table(rows):
    others = cure.baseline_scorers(rows, ["kNN", "PPCA"])
    far = rows[:2] + 1e3
    densities = tuple(pd.DataFrame({"joint": values}) for values in (np.zeros(400), -np.ones(2)))
    table = cure.missed_rows(densities, others, rows, far)
    assert [(row["method"], row["missed"]) for row in table] == [("joint", 0.0), ("kNN", 0.0), ("PPCA", 0.0)]
    nothing = cure.missed_rows((densities[0], densities[1].iloc[:0]), others, rows, far[:0])
    assert [row["method"] for row in nothing] == ["joint"]
    assert np.isnan(nothing[0]["missed"])


def test_a_euclidean_code_needs_a_prior(rows, pca):
    with pytest.raises(InvalidInput, match="`prior` must be given"):
        cure.density_scores(pca[1], rows)


def test_pca_of_scikit_learn_agrees_on_the_subspace(rows, pca):
    theirs = PCA(2, svd_solver="full").fit(rows).components_
    assert linear.principal_angle(theirs.T, pca[0].basis) < 1e-10
