"""Priors of the codes: log-densities in nats that integrate to one, over R^k or over the unit sphere in R^k."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, special

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.errors import InvalidInput, ShapeError
from pyscore.reference import sampling

__all__ = ["GaussianMixture", "Prior", "StandardNormal", "UniformSphere", "VMFMixture"]


@runtime_checkable
class Prior(Protocol):
    """What a scorer asks of a prior; any object with these members will do."""

    dim: int
    """Dimension k of the space of codes."""
    spherical: bool
    """Whether codes lie on the unit sphere in R^k, and the density is one over its area."""

    def log_density(self, z: ArrayLike) -> Array:
        """log p(z) (n,), nats, of codes (n, k)."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n codes (n, k)."""
        ...


class StandardNormal:
    """N(0, I) on R^k: log p(z) = −½|z|² − (k/2) log 2π.

    Examples
    --------
    >>> pyscore.priors.StandardNormal(2).log_density([[0.0, 0.0]]).round(3).tolist()  # −log 2π
    [-1.838]
    """

    spherical = False

    def __init__(self, dim: int) -> None:
        self.dim = check.integer("dim", dim, at_least=1)

    def log_density(self, z: ArrayLike) -> Array:
        """log p(z) (n,), nats, of codes (n, k)."""
        z = check.matrix("z", z, self.dim)
        return reference.log_likelihood(z, np.zeros_like(z))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n codes (n, k)."""
        return rng.standard_normal((n, self.dim))


class UniformSphere:
    """Uniform on the unit sphere in R^k: log p(z) = −log area.

    Examples
    --------
    >>> pyscore.priors.UniformSphere(2).log_density([[1.0, 0.0]]).round(3).tolist()  # −log 2π
    [-1.838]
    """

    spherical = True

    def __init__(self, dim: int) -> None:
        self.dim = check.integer("dim", dim, at_least=2)

    def log_density(self, z: ArrayLike) -> Array:
        """log p(z) (n,), nats per area of the sphere, of unit codes (n, k)."""
        z = check.matrix("z", z, self.dim)
        return np.full(len(z), -reference.uniform_sphere_entropy(self.dim))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n codes (n, k)."""
        return reference.normalize(rng.standard_normal((n, self.dim)))


class VMFMixture:
    """Mixture of von Mises-Fisher densities on the sphere in R^k: p(z) = Σ_j w_j vMF(z; mu_j, κ_j).

    Parameters
    ----------
    mu : (p, k) array, mean directions, rows of unit norm (they are normalised again, exactly)
    kappa : (p,) array, concentrations, κ ≥ 0
    weights : (p,) array, optional
        Positive; normalised to sum to one. Equal by default, as in a VampPrior.

    Examples
    --------
    >>> prior = pyscore.priors.VMFMixture([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    >>> prior.log_density([[1.0, 0.0]]).round(3).tolist()
    [-1.838]
    """

    spherical = True

    def __init__(self, mu: ArrayLike, kappa: ArrayLike, weights: ArrayLike | None = None) -> None:
        mu = check.matrix("mu", mu, "k")
        p, self.dim = mu.shape
        check.finite("mu", mu)
        if p == 0 or self.dim < 2:
            raise ShapeError(f"`mu` must have at least 1 row and 2 columns; got shape {mu.shape}.")
        self.mu = _unit("mu", mu)
        self.kappa = check.vector("kappa", kappa, p)
        check.finite("kappa", self.kappa)
        self.weights = _weights(weights, p)
        self._log_scale = np.log(self.weights) + reference.log_vmf_normaliser(self.kappa, self.dim)

    def log_density(self, z: ArrayLike) -> Array:
        """log p(z) (n,), nats per area of the sphere, of unit codes (n, k)."""
        z = check.matrix("z", z, self.dim)
        value: Array = special.logsumexp(self.kappa * (z @ self.mu.T) + self._log_scale, axis=1)
        return value

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n codes (n, k)."""
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        kappa = self.kappa[component]
        return reference.sample_vmf(self.mu[component], kappa, *sampling.draw_vmf(kappa, self.dim, rng))


class GaussianMixture:
    """Mixture of Gaussians on R^k: p(z) = Σ_j w_j N(z; m_j, C_j).

    Parameters
    ----------
    means : (p, k) array
    covariances : (p, k, k) array, symmetric and positive definite
    weights : (p,) array, optional
        Positive; normalised to sum to one. Equal by default.

    Examples
    --------
    >>> prior = pyscore.priors.GaussianMixture([[0.0], [1.0]], [[[1.0]], [[1.0]]])
    >>> prior.log_density([[0.5]]).round(3).tolist()
    [-1.044]
    """

    spherical = False

    def __init__(self, means: ArrayLike, covariances: ArrayLike, weights: ArrayLike | None = None) -> None:
        self.means = check.matrix("means", means, "k")
        p, self.dim = self.means.shape
        if p == 0 or self.dim == 0:
            raise ShapeError(f"`means` must have at least 1 row and 1 column; got shape {self.means.shape}.")
        self.covariances = check.array("covariances", covariances, (p, self.dim, self.dim))
        check.finite("means", self.means)
        check.finite("covariances", self.covariances)
        self.weights = _weights(weights, p)
        if not np.allclose(self.covariances, np.swapaxes(self.covariances, 1, 2), rtol=0, atol=self._rounding()):
            raise InvalidInput("`covariances` must be symmetric.")
        try:
            self._factors = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError:
            raise InvalidInput(
                "`covariances` must be positive definite. Use fewer components, or a smaller latent space."
            ) from None

    @classmethod
    def fit(cls, codes: ArrayLike, n_components: int = 4, *, seed: int = 0) -> GaussianMixture:
        """Fit by expectation maximisation (scikit-learn's, full covariances) to codes (n, k)."""
        from sklearn.mixture import GaussianMixture as Estimator

        codes = check.matrix("codes", codes, "k")
        check.finite("codes", codes)
        check.integer("n_components", n_components, at_least=1)
        if len(codes) <= n_components:
            raise InvalidInput(
                f"`codes` must have more rows than `n_components`, {n_components}; got {len(codes)}. "
                "Fit to more rows, or use fewer components."
            )
        fitted = Estimator(n_components, random_state=check.integer("seed", seed, at_least=0)).fit(codes)
        symmetric = 0.5 * (fitted.covariances_ + np.swapaxes(fitted.covariances_, 1, 2))
        return cls(fitted.means_, symmetric, fitted.weights_)

    def log_density(self, z: ArrayLike) -> Array:
        """log p(z) (n,), nats, of codes (n, k); NaN for a code that holds NaN, −inf for an infinite one."""
        z = check.matrix("z", z, self.dim)
        good: Array = np.asarray(np.isfinite(z).all(axis=1))  # SciPy refuses all rows for one that is not
        far = np.where(np.isnan(z).any(axis=1), np.nan, -np.inf)  # an infinite code has the density 0
        z = np.where(good[:, None], z, 0.0)
        terms = np.empty((len(z), len(self.weights)))
        for j, (mean, factor) in enumerate(zip(self.means, self._factors, strict=True)):
            white = linalg.solve_triangular(factor, (z - mean).T, lower=True).T
            log_det = np.sum(np.log(np.diag(factor)))
            terms[:, j] = reference.log_likelihood(white, np.zeros_like(white)) - log_det
        value: Array = np.where(good, special.logsumexp(terms + np.log(self.weights), axis=1), far)
        return value

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n codes (n, k)."""
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        white = rng.standard_normal((n, self.dim))
        shift: Array = np.einsum("nij,nj->ni", self._factors[component], white)
        return self.means[component] + shift

    def _rounding(self) -> float:
        """64 eps of the largest entry: what symmetry may lack when a covariance was computed as A·Aᵀ."""
        return 64 * reference.EPS * float(np.abs(self.covariances).max())


def farthest_off_sphere(rows: Array) -> int | None:
    """Return the row whose norm is farthest from 1, or None where all are 1 to single precision."""
    off = np.abs(np.linalg.norm(rows, axis=1) - 1)
    return int(np.argmax(off)) if (off > np.sqrt(reference.EPS32)).any() else None


def _unit(name: str, rows: Array) -> Array:
    """Rows normalised exactly, or an error where they are not of unit norm to single precision."""
    if (worst := farthest_off_sphere(rows)) is not None:
        raise InvalidInput(
            f"`{name}` must have rows of unit norm, since they lie on the sphere; row {worst} has norm "
            f"{np.linalg.norm(rows[worst]):g}. Normalise them, or use a prior on R^k."
        )
    return reference.normalize(rows)


def _weights(weights: ArrayLike | None, p: int) -> Array:
    if weights is None:
        return np.full(p, 1 / p)
    weights = check.vector("weights", weights, p)
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise InvalidInput("`weights` must be positive and finite. Leave components of weight 0 out.")
    return weights / weights.sum()
