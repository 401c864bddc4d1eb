"""Log-volume of given Jacobians: QR of LANES of them at a time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._compile import compiled, njit
from pyscore.kernels.cpu._network import aligned
from pyscore.kernels.cpu._qr import log_volume_tile
from pyscore.kernels.cpu._simd import LANES, store
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import store_lanes

__all__ = ["TOLERANCE", "Volume", "log_volume"]

TOLERANCE = 4
"""|error| ≤ TOLERANCE · eps · cond(J) · min(d, k), in nats."""

_SERIAL_TILES = 64


class Volume(NamedTuple):
    """Log-volumes and the pivots that say how far to trust them."""

    volume: NDArray
    """(n,) float64, nats; −inf for a singular Jacobian."""
    smallest: NDArray
    """(n,) float64, least |r_jj|."""
    largest: NDArray
    """(n,) float64, largest |r_jj|."""


@njit
def _load_matrices(jacobian, first, work):
    """work[r, c, lane] = jacobian[first + lane], transposed if it is wide; spare lanes repeat the last one."""
    n, d, k = jacobian.shape
    row_step, column_step = (1, d) if d >= k else (d, 1)
    for s in range(LANES):
        sample = min(first + s, n - 1)
        for i in range(d):
            for j in range(k):
                work[(i + d * j) * LANES + s] = jacobian[sample, i, j]
    return row_step * LANES, column_step * LANES


@compiled
def _run(first, last, jacobian, volume, smallest, largest):
    d, k = jacobian.shape[1:]
    work, lanes = aligned(d * k * LANES, volume), aligned(LANES, volume)
    for tile in range(first, last):
        row_step, column_step = _load_matrices(jacobian, tile * LANES, work)
        results = log_volume_tile(work, max(d, k), min(d, k), row_step, column_step)
        store(lanes, 0, results[0])
        store_lanes(lanes, 0, tile * LANES, volume)
        store(lanes, 0, results[1])
        store_lanes(lanes, 0, tile * LANES, smallest)
        store(lanes, 0, results[2])
        store_lanes(lanes, 0, tile * LANES, largest)


def log_volume(jacobian: ArrayLike) -> Volume:
    """Σ_i log s_i(J) = Σ_j log|r_jj| of the QR of each Jacobian.

    Parameters
    ----------
    jacobian : (n, d, k) array, float32 or float64
        The volume is that of the smaller side, so d×k and k×d give the same.

    Returns
    -------
    Volume : volume (n,) in nats, smallest and largest |r_jj| (n,).

    Notes
    -----
    Section 3.4. Original: half of `reduce(+, log.(abs.(s.S)))*2`, an SVD a sample.
    """
    array = np.asarray(jacobian)
    if array.ndim != 3:
        raise ShapeError(f"`jacobian` must have three axes, (n, d, k); got shape {array.shape}.")
    if array.dtype not in (np.float32, np.float64):
        raise InvalidInput(f"`jacobian` must be float32 or float64; got {array.dtype}.")
    array = np.require(array, requirements=("C", "A", "W"))
    n = array.shape[0]
    result = Volume(np.empty(n), np.empty(n), np.empty(n))
    share(_run, -(-n // LANES), _SERIAL_TILES, array, *result)
    return result
