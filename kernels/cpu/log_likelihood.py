"""Gaussian log-likelihood of reconstructions."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._compile import compiled
from pyscore.kernels.cpu._network import aligned
from pyscore.kernels.cpu._simd import LANES, store
from pyscore.kernels.cpu._terms import likelihood_tile
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import load_rows, matrix, store_lanes

__all__ = ["TOLERANCE", "likelihood_constants", "log_likelihood"]

TOLERANCE = 4
"""|error| ≤ TOLERANCE · eps · (½ Σ (|x|+|x̂|)²/σ² + |constant|): the difference is taken in the data's dtype."""

LOG_TWO_PI = float.fromhex("0x1.d67f1c864beb4p+0")
"""log 2π as the reference has it, written out: a logarithm may depend on the processor in its last bit."""

_SERIAL_TILES = 512


@compiled
def _run(first, last, x, x_hat, precision, constant, out):
    d = x.shape[1]
    a, b, lanes = aligned(d * LANES, x), aligned(d * LANES, x), aligned(LANES, out)
    for tile in range(first, last):
        load_rows(x, tile * LANES, a, 0)
        load_rows(x_hat, tile * LANES, b, 0)
        store(lanes, 0, likelihood_tile(a, 0, b, 0, precision, constant))
        store_lanes(lanes, 0, tile * LANES, out)


def likelihood_constants(d: int, sigma2: ArrayLike, log_two_pi: float | None) -> tuple[NDArray, float]:
    """Return 1/σ² (d,) and −½(d·log 2π + Σ log σ²)."""
    variance = np.asarray(sigma2, np.float64)
    if variance.shape not in ((), (d,)):
        raise ShapeError(f"`sigma2` must be a number or have shape ({d},); got {variance.shape}.")
    if not (np.isfinite(variance).all() and (variance > 0).all()):
        raise InvalidInput(f"`sigma2` must be positive and finite; got {sigma2!r}.")
    variance = np.broadcast_to(variance, (d,))
    constant = d * LOG_TWO_PI if log_two_pi is None else log_two_pi
    with np.errstate(over="ignore"):
        precision = np.minimum(1.0 / variance, np.finfo(np.float64).max)  # ∞·0 is NaN where x̂ is x
    return precision, float(-0.5 * (constant + np.sum(np.log(variance))))


def log_likelihood(
    x: ArrayLike, x_hat: ArrayLike, sigma2: ArrayLike = 1.0, *, log_two_pi: float | None = None
) -> NDArray:
    """−½ Σ (x−x̂)²/σ² − (d/2) log 2πσ².

    Parameters
    ----------
    x, x_hat : (n, d) arrays, both float32 or both float64
    sigma2 : float or (d,) array
    log_two_pi : float, optional
        d·log 2π, for a convention that rounds it.

    Returns
    -------
    (n,) float64 array, nats.

    Notes
    -----
    Equation (4). Original: `log_normal`.
    """
    x = np.asarray(x)
    if x.ndim != 2:
        raise ShapeError(f"`x` must have two axes, (n, d); got shape {x.shape}.")
    if x.dtype not in (np.float32, np.float64):
        raise InvalidInput(f"`x` must be float32 or float64; got {x.dtype}.")
    x, x_hat = matrix("x", x, x.shape[1], x.dtype), matrix("x_hat", x_hat, x.shape[1], x.dtype)
    if x.shape != x_hat.shape:
        raise ShapeError(f"`x_hat` must have shape {x.shape}, like `x`; got {x_hat.shape}.")
    out = np.empty(x.shape[0])
    constants = likelihood_constants(x.shape[1], sigma2, log_two_pi)
    share(_run, -(-x.shape[0] // LANES), _SERIAL_TILES, x, x_hat, *constants, out)
    return out
