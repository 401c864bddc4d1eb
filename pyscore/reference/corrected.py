"""Densities with a correction for the distance to the manifold, and Laplace's approximation."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array, Latent
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput, NumericalWarning
from pyscore.reference.likelihood import LOG_TWO_PI, log_likelihood_normal
from pyscore.reference.prior import log_prior
from pyscore.reference.sphere import tangent_frame
from pyscore.reference.volume import log_volume

__all__ = [
    "VOLUME_FLOOR",
    "log_density_corrected",
    "log_laplace",
    "normal_dimensions",
    "residual_variance",
    "warn_indefinite",
]

VOLUME_FLOOR = float(np.float32(1e-6))  # Julia's 1f-6, in every precision


def normal_dimensions(d: int, k: int, latent: Latent) -> int:
    """Directions normal to the manifold: d−k for Euclidean codes in R^k, d−k+1 for codes on the sphere in R^k.

    Examples
    --------
    >>> pyscore.reference.normal_dimensions(30, 4, "sphere")
    27
    """
    check.choice("latent", latent, ("sphere", "euclidean"))
    tangent = check.integer("k", k, at_least=1) - (latent == "sphere")
    check.integer("d", d, at_least=tangent, hint="A manifold has no more dimensions than its space.")
    return d - tangent


def residual_variance(x: ArrayLike, x_hat: ArrayLike, k: int, *, latent: Latent = "sphere") -> float:
    """σ² = Σ‖x − x̂‖² / (n·m), over the m = d−k+1 (sphere) or d−k (Euclidean) normal dimensions.

    Parameters
    ----------
    x, x_hat : (n, d) arrays, x̂ the projections of the n rows onto the manifold
    k : int, latent dimension
    latent : {"sphere", "euclidean"}

    Returns
    -------
    float, the maximum-likelihood estimate where the residuals are normal to the manifold.

    Raises
    ------
    InvalidInput
        If there is no normal dimension, or if every row lies on the manifold, since σ² = 0 has no density.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [0.0, -1.0]])
    >>> pyscore.reference.residual_variance(x, np.zeros((2, 2)), k=2)
    1.0
    """
    x = check.matrix("x", x)
    residual = x - check.array("x_hat", x_hat, x.shape)
    count = len(x) * normal_dimensions(x.shape[1], k, latent)
    variance = float(np.sum(residual**2)) / count if count else 0.0
    if not 0 < variance < np.inf:
        raise InvalidInput(
            f"σ² can't be estimated from {len(x)} row(s) with {x.shape[1]} features and k = {k}: the mean squared "
            f"residual over {count} normal coordinates is {variance!r}. Give `sigma2` as a number."
        )
    return variance


def log_density_corrected(
    x: ArrayLike,
    x_hat: ArrayLike,
    z: ArrayLike,
    jacobian: ArrayLike,
    *,
    sigma2: float = 1.0,
    latent: Latent = "euclidean",
    mu_u: ArrayLike | None = None,
    kappa_u: ArrayLike | None = None,
    convention: Convention = EXACT,
) -> Array:
    """Density of x split into manifold and normal directions at the projection z.

    Euclidean latents, z ~ N(0, I):
    log N(z; 0, I + σ²(JᵀJ)⁻¹) + log N(e; σ²) over d−k dimensions − log_volume(J). With s_i the singular values
    of J and c_i the coordinates of z along its right singular vectors, the first and the last term are
    Σ_i −½c_i²s_i²/(s_i² + σ²) − ½log(s_i² + σ²) − (k/2) log 2π: they stay finite where a singular value is zero.

    Spherical latents:
    log_prior(z) + log N(e; σ²) over d−k+1 dimensions − log_volume(J·T).

    Parameters
    ----------
    x, x_hat : (n, d) arrays, x̂ = decode(z)
    z : (n, k) array
    jacobian : (n, d, k) array, ambient Jacobian of the decoder at z
    sigma2 : float, variance of the noise
    latent : {"euclidean", "sphere"}
    mu_u, kappa_u : (p, k), (p,) arrays, the prior's components (spherical latents only)
    convention : Convention
        `corrected_volume`: ``"floored"`` subtracts 2·Σlog(s + 1f-6) and needs σ² = 1 and Euclidean
        latents; ``"exact"`` subtracts the log-volume.

    Returns
    -------
    (n,) array, nats; NaN where the Jacobian is not finite.

    Notes
    -----
    Section 3.2. Original: `correctedjacodeco` (jacodeco.jl).

    Examples
    --------
    >>> x, z = np.array([[1.0, 0.0]]), np.array([[1.0]])
    >>> jacobian = np.array([[[1.0], [0.0]]])  # of decode(z) = (z, 0)
    >>> pyscore.reference.log_density_corrected(x, x, z, jacobian, sigma2=0.5).round(3).tolist()
    [-2.027]
    """
    x = check.matrix("x", x)
    n, d = x.shape
    z = check.array("z", z, (n, "k"))
    k = z.shape[1]
    jacobian = check.array("jacobian", jacobian, (n, d, k))
    residual = np.sum((x - check.array("x_hat", x_hat, x.shape)) ** 2, axis=1)
    sigma2 = check.real("sigma2", sigma2, above=0.0)

    check.choice("latent", latent, ("sphere", "euclidean"))
    normal = normal_dimensions(d, k, latent) if d >= k else 0
    floored = convention.corrected_volume == "floored"
    if latent == "sphere":
        if floored or mu_u is None:
            raise InvalidInput(
                "the corrected density of a spherical latent space has no original form: it needs "
                "corrected_volume='exact' and the prior's components `mu_u`, `kappa_u`. Use EXACT."
            )
        volume = log_volume(jacobian @ tangent_frame(z))
        noise = log_likelihood_normal(residual, sigma2, normal)
        return log_prior(z, mu_u, kappa_u, convention=convention) + noise - volume
    if floored and sigma2 != 1.0:
        raise InvalidInput(f"`sigma2` must be 1 under corrected_volume='floored'; got {sigma2!r}.")
    good: Array = np.asarray(np.isfinite(jacobian).all(axis=(1, 2)))  # LAPACK raises an error on NaN or infinity
    _, s, vt = np.linalg.svd(np.where(good[:, None, None], jacobian, 0.0), full_matrices=False)
    coordinates = np.squeeze(vt @ z[:, :, None], axis=2)
    root = np.hypot(s, np.sqrt(sigma2))
    with np.errstate(over="ignore"):  # a code of 1e200 has the density 0
        log_pz = -np.sum(0.5 * (s / root * coordinates) ** 2 + np.log(root), axis=1) - 0.5 * k * LOG_TWO_PI
    if floored:  # the original's volume instead of the exact one, which is within log_pz
        with np.errstate(divide="ignore"):
            log_pz = log_pz + np.sum(np.log(s) - 2 * np.log(s + VOLUME_FLOOR), axis=1)
    # As in the original, there is no noise term where no normal dimension is left.
    noise = log_likelihood_normal(residual, sigma2, normal) if normal else np.zeros(n)
    return np.where(good, log_pz + noise, np.nan)


def log_laplace(log_joint: ArrayLike, hessian: ArrayLike) -> Array:
    """Laplace approximation log p(x) ≈ log p(x, z*) + (m/2) log 2π − ½ log det H.

    Parameters
    ----------
    log_joint : (n,) array, log p(x|z*) + log p(z*), nats
    hessian : (n, m, m) array
        Hessian of −log p(x, z) at its minimum z*: the Riemannian one in an orthonormal tangent basis for a
        spherical latent space (m = k−1), the plain one for a Euclidean one (m = k).

    Returns
    -------
    (n,) array, nats; −inf where H is not positive definite, so that z* is no minimum; NaN where an entry of H is
    not finite.

    Warns
    -----
    NumericalWarning
        Naming the rows whose Hessian is not positive definite.

    Examples
    --------
    >>> pyscore.reference.log_laplace([-3.0], [[[2.0]]]).round(3).tolist()
    [-2.428]
    """
    hessian = check.array("hessian", hessian, ("n", "m", "m"))
    log_joint = check.vector("log_joint", log_joint, hessian.shape[0])
    with np.errstate(over="ignore", invalid="ignore"):
        symmetric = 0.5 * (hessian + np.swapaxes(hessian, 1, 2))
    good: Array = np.asarray(np.isfinite(symmetric).all(axis=(1, 2)))  # LAPACK raises an error on NaN or infinity
    eigenvalues = np.linalg.eigvalsh(np.where(good[:, None, None], symmetric, np.eye(hessian.shape[1])))
    bad = np.logical_not((eigenvalues > 0).all(axis=1))
    warn_indefinite(bad)
    safe = np.where(bad[:, None], 1.0, eigenvalues)
    value = log_joint + 0.5 * hessian.shape[1] * LOG_TWO_PI - 0.5 * np.sum(np.log(safe), axis=1)
    return np.where(good, np.where(bad, -np.inf, value), np.nan)


def warn_indefinite(bad: Array) -> None:
    """Issue the NumericalWarning of `log_laplace` for the rows where `bad` (n,) is true.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     pyscore.reference.warn_indefinite(np.array([False, True]))
    >>> caught[0].category.__name__
    'NumericalWarning'
    """
    if bad.any():
        warnings.warn(
            f"the Hessian of {int(bad.sum())} row(s) is not positive definite "
            f"(first: row {np.flatnonzero(bad)[0]}): their Laplace density is set to −inf.",
            NumericalWarning,
            stacklevel=3,
        )
