"""The prior of the codes: a mixture of von Mises-Fisher distributions at the pseudo-inputs' codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput, ShapeError
from pyscore.reference.vmf import log_vmf_normaliser

__all__ = ["log_mean_exp", "log_prior", "log_prior_derivatives"]


def log_mean_exp(terms: Array) -> Array:
    """log mean exp along the last axis, computed after subtracting the maximum so that nothing overflows."""
    top = np.max(terms, axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.mean(np.exp(terms - top), axis=-1)) + top[..., 0]


def log_prior(
    z: ArrayLike, mu_u: ArrayLike, kappa_u: ArrayLike | None = None, *, convention: Convention = EXACT
) -> Array:
    """log p(z) = log (1/p) Σ_j vMF(z; mu_j, kappa_j), the mixture of the encoded pseudo-inputs.

    Parameters
    ----------
    z : (n, k) array, rows of unit norm
    mu_u : (p, k) array, mean directions of the encoded pseudo-inputs
    kappa_u : (p,) array, their concentrations; needed by ``prior_density="vmf_mixture"``
    convention : Convention
        `prior_density`: ``"unit_kappa"`` is log (1/p) Σ_j exp(z·mu_j), which is κ = 1 without a normaliser.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Original: `log_pz_from_z` (svae_vamp_means.jl), which is the unit_kappa form.

    Examples
    --------
    >>> z, mu_u, kappa_u = [[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]
    >>> pyscore.reference.log_prior(z, mu_u, kappa_u).round(3).tolist()  # −log 2π, uniform on the circle
    [-1.838]
    """
    mu_u = check.matrix("mu_u", mu_u, "k")
    z = check.matrix(
        "z", z, mu_u.shape[1], why=f"`mu_u` has {mu_u.shape[1]} columns. Did you pass x instead of its code?"
    )
    if mu_u.shape[0] == 0:
        raise ShapeError("`mu_u` must have at least one row (a prior component); got none.")
    cosines = z @ mu_u.T
    if convention.prior_density == "unit_kappa":
        return log_mean_exp(cosines)
    if kappa_u is None:
        raise InvalidInput(
            "`kappa_u` must be given for the mixture of vMF densities (prior_density='vmf_mixture'); got None. "
            "Pass the second output of encode(pseudo_inputs), or use the ORIGINAL convention."
        )
    kappa_u = check.vector("kappa_u", kappa_u, mu_u.shape[0])
    return log_mean_exp(kappa_u * cosines + log_vmf_normaliser(kappa_u, mu_u.shape[1]))


def log_prior_derivatives(
    z: Array, mu_u: Array, kappa_u: Array, *, convention: Convention = EXACT
) -> tuple[Array, Array, Array]:
    """`log_prior` (n,) with its gradient (n, k) and Hessian (n, k, k) in R^k.

    With weights w_j ∝ vMF(z; mu_j, κ_j): gradient Σ w_j κ_j mu_j = m, Hessian Σ w_j κ_j² mu_j mu_jᵀ − m mᵀ.

    Examples
    --------
    >>> z, mu_u, kappa_u = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]), np.array([2.0])
    >>> pyscore.reference.log_prior_derivatives(z, mu_u, kappa_u)[1].tolist()  # κ mu
    [[2.0, 0.0]]
    """
    log_pz = log_prior(z, mu_u, kappa_u, convention=convention)
    if convention.prior_density == "unit_kappa":
        kappa_u = np.ones_like(kappa_u)
    exponent = kappa_u * (z @ mu_u.T) + log_vmf_normaliser(kappa_u, z.shape[1])
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    pull = kappa_u[:, None] * mu_u
    gradient = weight @ pull
    hessian = np.einsum("np,pi,pj->nij", weight, pull, pull) - gradient[:, :, None] * gradient[:, None, :]
    return log_pz, gradient, hessian
