"""Priors: densities that integrate to one, samples that follow them, and what they refuse."""

import numpy as np
import pytest
from closeness import assert_close
from scipy import special, stats

from pyscore import reference
from pyscore.detectors.priors import GaussianMixture, Prior, StandardNormal, UniformSphere, VMFMixture
from pyscore.errors import InvalidInput, ShapeError
from pyscore.reference import sampling

UNIT = np.array([[0.6, 0.8], [-1.0, 0.0]])
UNIT3 = np.array([[0.6, 0.0, 0.8], [0.0, -1.0, 0.0]])
MEANS = np.array([[0.5, -1.0], [-1.0, 1.5]])
COVARIANCES = np.array([[[0.7, 0.3], [0.3, 0.5]], [[1.0, -0.4], [-0.4, 0.3]]])
PRIORS = {
    "normal-1": StandardNormal(1),
    "normal-2": StandardNormal(2),
    "mixture-1": GaussianMixture([[0.3], [-1.0]], [[[0.5]], [[0.2]]], [0.3, 0.7]),
    "mixture-2": GaussianMixture(MEANS, COVARIANCES, [1.0, 3.0]),
    "sphere-2": UniformSphere(2),
    "sphere-3": UniformSphere(3),
    "vmf-2": VMFMixture(UNIT, [3.0, 20.0], [0.2, 0.8]),
    "vmf-3": VMFMixture(UNIT3, [0.0, 8.0]),
}


def nodes(prior):
    """Nodes (n, k) and weights (n,) of a rule that integrates smooth densities to rounding."""
    k = prior.dim
    if not prior.spherical:  # the trapezoidal rule, which converges exponentially for Gaussians
        axis = np.linspace(-10, 10, 401)
        grid = np.stack(np.meshgrid(*[axis] * k, indexing="ij"), axis=-1).reshape(-1, k)
        return grid, np.full(len(grid), (axis[1] - axis[0]) ** k)
    angle = np.arange(400) * (2 * np.pi / 400)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    if k == 2:
        return circle, np.full(400, 2 * np.pi / 400)
    height, weight = special.roots_legendre(100)
    ring = np.sqrt(1 - height**2)
    sphere = [np.column_stack([r * circle, np.full(400, h)]) for r, h in zip(ring, height, strict=True)]
    return np.concatenate(sphere), np.repeat(weight, 400) * 2 * np.pi / 400


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_density_integrates_to_one(prior):
    z, weight = nodes(prior)
    assert_close(np.sum(weight * np.exp(prior.log_density(z))), 1.0, k=256)  # measured 40


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_samples_have_the_moments_of_the_density(prior):
    assert isinstance(prior, Prior)
    z, weight = nodes(prior)
    mass = weight * np.exp(prior.log_density(z))
    draws = prior.sample(20_000, sampling.generator(3, "projection"))
    assert draws.shape == (20_000, prior.dim)
    if prior.spherical:
        assert_close(np.linalg.norm(draws, axis=1), np.ones(20_000), k=4)
    # Means of z, zzᵀ and log p: within 5 standard errors each, which fails falsely once in 1.7 million.
    for moment in (lambda z: z, lambda z: z[:, :, None] * z[:, None, :], lambda z: prior.log_density(z)[:, None]):
        values = moment(draws).reshape(20_000, -1)
        want = mass @ moment(z).reshape(len(z), -1)
        error = values.std(axis=0) / np.sqrt(20_000)
        assert (np.abs(values.mean(axis=0) - want) <= 5 * error + 1e-12).all()


def test_gaussian_mixture_is_that_of_scipy(rng):
    z = rng.standard_normal((50, 2)) * 3
    parts = [
        w * stats.multivariate_normal(m, c).pdf(z)
        for w, m, c in zip([0.25, 0.75], MEANS, COVARIANCES, strict=True)
    ]
    want = np.log(np.sum(parts, axis=0))
    got = PRIORS["mixture-2"].log_density(z)
    condition = np.linalg.cond(COVARIANCES).max()
    assert_close(got, want, k=16, scale=condition * (1 + np.abs(want)))


def test_vmf_mixture_is_the_reference_prior(rng):
    z = reference.normalize(rng.standard_normal((40, 3)))
    got = VMFMixture(UNIT3, [5.0, 30.0]).log_density(z)
    assert_close(got, reference.log_prior(z, UNIT3, [5.0, 30.0]), k=8, scale=60.0)


def test_vmf_mixture_in_a_thousand_dimensions_is_finite(rng):
    mu = reference.normalize(rng.standard_normal((2, 1000)))
    prior = VMFMixture(mu, [0.5, 90.0])
    assert np.isfinite(prior.log_density(mu)).all()
    assert prior.log_density(mu)[1] > prior.log_density(mu)[0]


def test_fit_finds_the_mixture_and_is_reproducible():
    truth = PRIORS["mixture-2"]
    codes = truth.sample(4000, np.random.default_rng(0))
    fitted = GaussianMixture.fit(codes, 2, seed=1)
    gap = fitted.log_density(codes) - truth.log_density(codes)
    # Twice the log-likelihood ratio is χ² with 11 parameters: within (0, 40) but for once in 30,000.
    assert 0 < 2 * gap.sum() < 40
    again = GaussianMixture.fit(codes, 2, seed=1)
    assert np.array_equal(fitted.means, again.means)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: StandardNormal(0), InvalidInput, "`dim` must be an integer of at least 1"),
        (lambda: UniformSphere(1), InvalidInput, "at least 2"),
        (lambda: VMFMixture([[2.0, 0.0]], [1.0]), InvalidInput, "unit norm"),
        (lambda: VMFMixture([[1.0, 0.0]], [-1.0]), InvalidInput, "`kappa` must be at least 0"),
        (lambda: VMFMixture(np.ones((0, 2)), []), ShapeError, "at least 1 row"),
        (lambda: VMFMixture(UNIT, [1.0, 2.0], [0.0, 1.0]), InvalidInput, "`weights` must be positive"),
        (lambda: GaussianMixture([[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]), InvalidInput, "symmetric"),
        (lambda: GaussianMixture([[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]), InvalidInput, "positive definite"),
        (lambda: GaussianMixture([[0.0]], [[[1.0, 2.0], [2.0, 1.0]]]), ShapeError, "covariances"),
        (lambda: GaussianMixture.fit(np.zeros((3, 2)), 3), InvalidInput, "more rows than `n_components`"),
        (lambda: GaussianMixture.fit([[np.nan, 0.0]] * 9, 2), InvalidInput, "finite"),
        (lambda: StandardNormal(2).log_density(np.zeros((4, 3))), ShapeError, "must have shape"),
    ],
)
def test_bad_input(make, error, text):
    with pytest.raises(error, match=text):
        make()
