"""The marginal likelihood by importance sampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.reference.prior import log_mean_exp
from pyscore.reference.vmf import log_vmf_normaliser

__all__ = ["log_importance"]


def log_importance(
    log_px_given_z: ArrayLike,
    log_pz: ArrayLike,
    cosine: ArrayLike,
    kappa: ArrayLike,
    k: int,
    *,
    convention: Convention = EXACT,
) -> Array:
    """log p(x) ≈ log (1/s) Σ_i exp(log p(x|z_i) + log p(z_i) − log q(z_i|x)) over draws z_i ~ vMF(mu(x), κ(x)).

    Parameters
    ----------
    log_px_given_z, log_pz : (n, s) arrays, nats, at the s draws of each row
    cosine : (n, s) array, z_i·mu(x)
    kappa : (n,) array, κ(x)
    k : int, latent dimension
    convention : Convention
        `importance`: ``"outer_sum"`` is the original's log Σ_i exp(log p(x|z_i) − κ z_i·mu) · Σ_j p(z_j). It sums
        all pairs of draws, does not divide by their number, and leaves out the normaliser of q. The sum is not
        shifted by its largest term, so rows far from the manifold underflow to −inf.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Equation (3). Original: `log_px`, 100 draws.

    Examples
    --------
    >>> value = pyscore.reference.log_importance([[-1.0]], [[-2.0]], cosine=[[0.5]], kappa=[0.0], k=2)
    >>> value.round(3).tolist()  # −1 − 2 + log 2π: q is uniform on the circle
    [-1.162]
    """
    likelihood = check.matrix("log_px_given_z", log_px_given_z, "s")
    prior = check.array("log_pz", log_pz, likelihood.shape)
    kappa = check.vector("kappa", kappa, likelihood.shape[0])
    log_q = kappa[:, None] * check.array("cosine", cosine, likelihood.shape)
    if convention.importance == "outer_sum":
        with np.errstate(divide="ignore", over="ignore"):
            return np.log(np.sum(np.exp(likelihood - log_q), axis=1) * np.sum(np.exp(prior), axis=1))
    log_q = log_q + log_vmf_normaliser(kappa, k)[:, None]
    return log_mean_exp(likelihood + prior - log_q)
