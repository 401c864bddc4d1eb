"""PCA and linear autoencoders: a = x̄ + c Vᵀ is reconstructed perfectly at any distance.

Theorem. Let V (d, k) have orthonormal columns and r(x) = x̄ + (x − x̄)VVᵀ. For every c in R^k the point
a = x̄ + cVᵀ has r(a) = a, and for every row x_i

    ‖a − x_i‖² ≥ ‖(a − x_i)V‖² = ‖c − (x_i − x̄)V‖² ≥ max(0, ‖c‖ − ‖(x_i − x̄)V‖)²,

The first inequality holds because VVᵀ is a projection, the last by the triangle inequality. So there are points
with reconstruction error zero at any distance from all data. A linear autoencoder trained to its minimum spans the
same subspace (Baldi, Hornik 1989).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.errors import InvalidInput
from pyscore.reference import sampling

__all__ = [
    "LinearAutoencoder",
    "Subspace",
    "distance_bound",
    "principal_angle",
    "principal_subspace",
    "rounding_bound",
    "train_linear_autoencoder",
]

EPS = float(np.finfo(np.float64).eps)
K_ROUNDING = 8.0
"""K in ‖r(a) − a‖ ≤ K·(d + k)·eps·(‖x̄‖ + ‖c‖), the rounding of two products and of V's columns."""


class Subspace(NamedTuple):
    """An affine subspace x̄ + span V."""

    mean: Array
    """(d,) x̄; zero where the data are not centred."""
    basis: Array
    """(d, k) V, orthonormal columns."""

    def reconstruct(self, x: ArrayLike) -> Array:
        """Projection x̄ + (x − x̄)VVᵀ of the rows x (n, d)."""
        centred = check.matrix("x", x, len(self.mean)) - self.mean
        return self.mean + centred @ self.basis @ self.basis.T

    def point(self, c: ArrayLike) -> Array:
        """Points x̄ + cVᵀ (m, d) for coordinates c (m, k), which are reconstructed perfectly for every c."""
        return self.mean + check.matrix("c", c, self.basis.shape[1]) @ self.basis.T


def principal_subspace(x: ArrayLike, k: int, *, centre: bool = True) -> Subspace:
    """Principal subspace of the rows x (n, d), 1 ≤ k ≤ d; through the origin if `centre` is false.

    Raises
    ------
    InvalidInput
        If k exceeds d or there are fewer rows than k.
    """
    x = check.matrix("x", x)
    check.finite("x", x)
    check.integer("k", k, at_least=1)
    if k > min(x.shape):
        raise InvalidInput(f"`k` must be at most the smaller of rows and columns, {min(x.shape)}; got {k}.")
    mean = x.mean(axis=0) if centre else np.zeros(x.shape[1])
    _, _, vt = np.linalg.svd(x - mean, full_matrices=False)
    return Subspace(mean, vt[:k].T)


def distance_bound(x: ArrayLike, subspace: Subspace, c: ArrayLike) -> Array:
    """max(0, ‖c‖ − max_i ‖(x_i − x̄)V‖)² (m,): no row of x is nearer to `subspace.point(c)` than that, squared."""
    inside = (check.matrix("x", x, len(subspace.mean)) - subspace.mean) @ subspace.basis
    reach = np.linalg.norm(inside, axis=1).max(initial=0.0)
    length = np.linalg.norm(check.matrix("c", c, subspace.basis.shape[1]), axis=1)
    return np.maximum(0.0, length - reach) ** 2


def rounding_bound(subspace: Subspace, c: ArrayLike) -> Array:
    """Bound (m,) on the rounding error ‖reconstruct(a) − a‖ at a = point(c)."""
    scale = np.linalg.norm(subspace.mean) + np.linalg.norm(check.matrix("c", c), axis=1)
    return K_ROUNDING * sum(subspace.basis.shape) * EPS * scale


class LinearAutoencoder(NamedTuple):
    """x ↦ (xE + b)D + c."""

    encoder: Array
    """(d, k) E."""
    decoder: Array
    """(k, d) D."""
    encoder_bias: Array
    """(k,), zero without bias."""
    decoder_bias: Array
    """(d,), zero without bias."""
    gradient_norm: float
    """Norm of the gradient of the mean squared error at the end of training."""

    def reconstruct(self, x: ArrayLike) -> Array:
        """Output (n, d) for rows x (n, d)."""
        return (check.matrix("x", x) @ self.encoder + self.encoder_bias) @ self.decoder + self.decoder_bias


def train_linear_autoencoder(
    x: ArrayLike, k: int, *, bias: bool = True, seed: int = 0, steps: int = 2000
) -> LinearAutoencoder:
    """Minimise (1/n) Σ ‖x − r(x)‖² over E, D and the biases by L-BFGS, from a random start.

    Every local minimum is global (Baldi, Hornik 1989). There the range of r is the principal subspace, of the
    centred data with a bias, and of the raw data (through the origin) without one.
    """
    x = check.matrix("x", x)
    check.finite("x", x)
    n, d = x.shape
    check.integer("k", k, at_least=1)
    rng = sampling.generator(seed, "unreliable", 1)
    start = np.concatenate(
        [sampling.glorot_uniform(rng, d, k).ravel(), sampling.glorot_uniform(rng, k, d).ravel(), np.zeros(k + d)]
    )

    def unpack(theta: Array) -> tuple[Array, Array, Array, Array]:
        e, de, b, c = np.split(theta, np.cumsum([d * k, k * d, k]))
        return e.reshape(d, k), de.reshape(k, d), b, c

    def loss(theta: Array) -> tuple[float, Array]:
        e, de, b, c = unpack(theta)
        z = x @ e + b
        residual = z @ de + c - x
        back = residual @ de.T
        biases = [back.sum(axis=0), residual.sum(axis=0)] if bias else [np.zeros(k), np.zeros(d)]
        gradient = np.concatenate([(x.T @ back).ravel(), (z.T @ residual).ravel(), *biases])
        return float(np.sum(residual**2) / n), 2 / n * gradient

    options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 0.0, "gtol": 1e-11, "maxcor": 30}
    found: Any = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]  # its stubs want 1-d types that nobody has
    return LinearAutoencoder(*unpack(found.x), gradient_norm=float(np.linalg.norm(found.jac)))


def principal_angle(first: ArrayLike, second: ArrayLike) -> float:
    """Largest principal angle (radians) between the column spaces of two (d, k) matrices."""
    angles: Array = linalg.subspace_angles(check.matrix("first", first), check.matrix("second", second))
    return float(angles.max())
