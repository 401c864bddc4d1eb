"""The von Mises-Fisher distribution: density, entropy and distance from the uniform one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.errors import InvalidInput
from pyscore.reference.special import bessel_ratio, log_0f1

__all__ = ["log_vmf", "log_vmf_normaliser", "uniform_sphere_entropy", "vmf_entropy", "vmf_kl"]


def log_vmf_normaliser(kappa: ArrayLike, k: int) -> Array:
    """log C_k(κ) = (k/2−1) log κ − (k/2) log 2π − log I_{k/2−1}(κ), the normaliser of vMF on the sphere in R^k.

    Parameters
    ----------
    kappa : array of concentrations, κ ≥ 0
    k : int, dimension of the ambient space, k ≥ 2

    Returns
    -------
    Array of the shape of `kappa`, nats; at κ = 0 it is minus the log-area of the sphere.

    Notes
    -----
    Davidson 2018, appendix. Original: `log(c(p, κ))`, which overflows for κ > 700.

    Examples
    --------
    >>> pyscore.reference.log_vmf_normaliser([0.0, 1.0], k=2).round(3).tolist()
    [-1.838, -2.074]
    """
    kappa = check.numbers("kappa", kappa)
    if not (kappa >= 0).all():
        raise InvalidInput(f"`kappa` must be at least 0; got a smallest value of {np.min(kappa)!r}.")
    return -uniform_sphere_entropy(k) - log_0f1(kappa, k)


def log_vmf(z: ArrayLike, mu: ArrayLike, kappa: ArrayLike) -> Array:
    """log vMF(z; mu, κ) = κ z·mu + log C_k(κ), row by row.

    Parameters
    ----------
    z, mu : (n, k) arrays, rows of unit norm
    kappa : (n,) array, κ ≥ 0

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Davidson 2018. Original: `log_vmf_c`, whose matrix methods return the last column only.

    Examples
    --------
    >>> pyscore.reference.log_vmf([[1.0, 0.0]], [[1.0, 0.0]], [1.0]).round(3).tolist()
    [-1.074]
    """
    mu = check.matrix("mu", mu, "k")
    z = check.array("z", z, mu.shape)
    kappa = check.vector("kappa", kappa, mu.shape[0])
    return kappa * np.sum(z * mu, axis=1) + log_vmf_normaliser(kappa, mu.shape[1])


def uniform_sphere_entropy(k: int) -> float:
    """Log-area of the unit sphere in R^k: log 2 + (k/2) log π − log Γ(k/2).

    Notes
    -----
    Davidson 2018. Original: `huentropy`.

    Examples
    --------
    >>> round(pyscore.reference.uniform_sphere_entropy(2), 3)  # log 2π
    1.838
    """
    check.integer("k", k, at_least=2)
    return float(np.log(2) + 0.5 * k * np.log(np.pi) - special.gammaln(0.5 * k))


def vmf_entropy(kappa: ArrayLike, k: int) -> Array:
    """Entropy of vMF(·, κ): −κ A_k(κ) − log C_k(κ), with A_k = I_{k/2} / I_{k/2−1}.

    Parameters
    ----------
    kappa : array of concentrations, κ ≥ 0
    k : int, dimension of the ambient space

    Returns
    -------
    Array of the shape of `kappa`, nats.

    Notes
    -----
    Davidson 2018, equation (15). Original: `vmfentropy`.

    Examples
    --------
    >>> pyscore.reference.vmf_entropy([0.0, 1.0], k=2).round(3).tolist()
    [1.838, 1.627]
    """
    kappa = check.numbers("kappa", kappa)
    return -kappa * bessel_ratio(kappa, k) - log_vmf_normaliser(kappa, k)


def vmf_kl(kappa: ArrayLike, k: int) -> Array:
    """KL(vMF(·, κ) ‖ uniform on the sphere) = κ A_k(κ) + log C_k(κ) − log C_k(0) ≥ 0.

    Parameters
    ----------
    kappa : array of concentrations, κ ≥ 0
    k : int, dimension of the ambient space

    Returns
    -------
    Array of the shape of `kappa`, nats.

    Notes
    -----
    Davidson 2018, equation (14). Original: `kldiv`, which subtracts two entropies.

    Examples
    --------
    >>> pyscore.reference.vmf_kl([1.0, 10.0], k=2).round(3).tolist()
    [0.21, 1.543]
    """
    kappa = check.numbers("kappa", kappa)
    return kappa * bessel_ratio(kappa, k) - log_0f1(kappa, k)
