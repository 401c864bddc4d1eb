"""Likelihood of a row under the decoder, and the error of its code."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput, ShapeError

__all__ = ["LOG_TWO_PI", "LOG_TWO_PI_F32", "latent_error", "log_likelihood", "log_likelihood_normal"]

LOG_TWO_PI = float(np.log(2 * np.pi))
LOG_TWO_PI_F32 = np.float32(1.8378770351409912)  # Julia's log(2f0*π); NumPy's float32 log gives the next float


def log_likelihood(
    x: ArrayLike, x_hat: ArrayLike, sigma2: ArrayLike = 1.0, *, convention: Convention = EXACT
) -> Array:
    """log N(x; x̂, σ²I) = −½ Σ (x−x̂)²/σ² − (d/2) log 2πσ².

    Parameters
    ----------
    x, x_hat : (n, d) arrays
    sigma2 : float or (d,) array
        Variance of the noise: one number for all features, or one per feature.
    convention : Convention
        `log_two_pi`: ``"float32"`` rounds d·log 2π to Float32, whatever the type of the data.

    Returns
    -------
    (n,) array, nats.

    Raises
    ------
    InvalidInput
        If `sigma2` is not positive.

    Notes
    -----
    Equation (4). Original: `log_normal`, column `log_pxv_x`.

    Examples
    --------
    >>> pyscore.reference.log_likelihood([[1.0, 0.0]], [[0.0, 0.0]]).round(3).tolist()
    [-2.338]
    """
    x = check.matrix("x", x)
    x_hat = check.array("x_hat", x_hat, x.shape)
    variance = check.numbers("sigma2", sigma2)
    if variance.ndim and variance.shape != x.shape[1:]:
        raise ShapeError(f"`sigma2` must be a number or have shape {x.shape[1:]}; got {variance.shape}.")
    if not (np.isfinite(variance).all() and (variance > 0).all()):
        raise InvalidInput(f"`sigma2` must be positive and finite; got {sigma2!r}.")
    d = x.shape[1]
    log_determinant = np.sum(np.broadcast_to(np.log(variance), (d,)))
    constant = float(np.float32(d) * LOG_TWO_PI_F32) if convention.log_two_pi == "float32" else d * LOG_TWO_PI
    with np.errstate(over="ignore"):  # a density of 0 has the logarithm −inf
        return -0.5 * np.sum((x - x_hat) ** 2 / variance, axis=1) - 0.5 * (constant + log_determinant)


def log_likelihood_normal(squared_residual: ArrayLike, sigma2: float, dimensions: int) -> Array:
    """log N(e; 0, σ²I) of a residual e that lies in `dimensions` normal directions: −½‖e‖²/σ² − (dim/2) log 2πσ².

    Parameters
    ----------
    squared_residual : (n,) array, ‖x − f(z)‖²
    sigma2 : float, variance of the noise in each direction
    dimensions : int
        d − k for a manifold that is the image of R^k, d − k + 1 for that of a sphere in R^k.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    The paper (below equation (6)) evaluates it in all d directions, which differs by a constant.

    Examples
    --------
    >>> pyscore.reference.log_likelihood_normal([1.0], 1.0, dimensions=2).round(3).tolist()
    [-2.338]
    """
    squared_residual = check.vector("squared_residual", squared_residual)
    sigma2 = check.real("sigma2", sigma2, above=0.0)
    with np.errstate(over="ignore"):  # a density of 0 has the logarithm −inf
        return -0.5 * squared_residual / sigma2 - 0.5 * dimensions * np.log(2 * np.pi * sigma2)


def latent_error(z: ArrayLike, z_hat: ArrayLike) -> Array:
    """Σ (z − ẑ)², where ẑ = mu(decode(z)) is the code that comes back.

    Parameters
    ----------
    z, z_hat : (n, k) arrays

    Returns
    -------
    (n,) array, a squared distance (not a log-density).

    Notes
    -----
    Original: column `log_pxv_z`. The field `latent_error_sign` chooses its sign as a score.

    Examples
    --------
    >>> pyscore.reference.latent_error([[1.0, 0.0]], [[0.0, 1.0]]).tolist()
    [2.0]
    """
    z = check.matrix("z", z, "k")
    with np.errstate(over="ignore"):
        return np.sum((z - check.array("z_hat", z_hat, z.shape)) ** 2, axis=1)
