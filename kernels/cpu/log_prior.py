"""Log-density of codes under the mixture of encoded pseudo-inputs."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._compile import compiled
from pyscore.kernels.cpu._network import aligned
from pyscore.kernels.cpu._simd import LANES, store
from pyscore.kernels.cpu._terms import prior_tile
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import load_rows, matrix, store_lanes

__all__ = ["TOLERANCE", "log_prior", "prior_arrays"]

TOLERANCE = 4
"""|error| ≤ TOLERANCE · eps(float64) · max(κ_j + |log_normaliser_j|), for either dtype of z."""

_SERIAL_TILES = 128


@compiled
def _run(first, last, z, mu, kappa, log_weight, out):
    k = z.shape[1]
    codes, work, lanes = aligned(k * LANES, z), aligned(mu.shape[0] * LANES, out), aligned(LANES, out)
    for tile in range(first, last):
        load_rows(z, tile * LANES, codes, 0)
        store(lanes, 0, prior_tile(codes, 0, mu, kappa, log_weight, work))
        store_lanes(lanes, 0, tile * LANES, out)


def prior_arrays(
    k: int, mu_u: ArrayLike, kappa_u: ArrayLike, log_normaliser: ArrayLike
) -> tuple[NDArray, NDArray, NDArray]:
    """Return mu (p, k), kappa (p,) and log_normaliser − log p (p,) in float64."""
    mu = np.array(mu_u, np.float64, order="C")
    if mu.ndim != 2 or mu.shape[1] != k or not mu.shape[0]:
        raise ShapeError(f"`mu_u` must have shape (p, {k}), p ≥ 1, to match the codes; got {mu.shape}.")
    p = mu.shape[0]
    kappa, log_weight = np.array(kappa_u, np.float64), np.array(log_normaliser, np.float64)
    for name, value in (("kappa_u", kappa), ("log_normaliser", log_weight)):
        if value.shape != (p,):
            raise ShapeError(f"`{name}` must have shape ({p},), one for each row of `mu_u`; got {value.shape}.")
    return mu, kappa, log_weight - np.log(p)


def log_prior(z: ArrayLike, mu_u: ArrayLike, kappa_u: ArrayLike, log_normaliser: ArrayLike) -> NDArray:
    """log (1/p) Σ_j exp(κ_j z·μ_j + log C_j).

    Parameters
    ----------
    z : (n, k) array, float32 or float64, rows of unit norm
    mu_u, kappa_u : (p, k), (p,) arrays
        Components; κ = 1 for the prior of the original code.
    log_normaliser : (p,) array
        log C_k(κ_j) of the von Mises-Fisher density; 0 for the prior of the original code.

    Returns
    -------
    (n,) float64 array, nats.

    Notes
    -----
    Original: `log_pz_from_z`.
    """
    z = np.asarray(z)
    if z.ndim != 2:
        raise ShapeError(f"`z` must have two axes, (n, k); got shape {z.shape}.")
    if z.dtype not in (np.float32, np.float64):
        raise InvalidInput(f"`z` must be float32 or float64; got {z.dtype}.")
    z = matrix("z", z, z.shape[1], z.dtype)
    out = np.empty(z.shape[0])
    share(
        _run,
        -(-z.shape[0] // LANES),
        _SERIAL_TILES,
        z,
        *prior_arrays(z.shape[1], mu_u, kappa_u, log_normaliser),
        out,
    )
    return out
