"""MMD with the IMQ kernel and its gradients with respect to both sets of rows, for training."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput
from pyscore.kernels.cpu._compile import compiled
from pyscore.kernels.cpu._network import aligned
from pyscore.kernels.cpu._pairs import pair_gradient
from pyscore.kernels.cpu._simd import LANES, PAIR_ROWS
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu.kernel_mean import (
    Diagonal,
    check_kernel,
    mean_within,
    points,
    require_same_dtype,
    sums_of_pairs,
    width_array,
)

__all__ = ["TOLERANCE", "MMDGradient", "mmd_gradient"]

TOLERANCE = 16
"""|error| ≤ TOLERANCE · eps · Σ_j c/(c+d_ij)²·|y_j| over the terms of a row's gradient."""

_PAIRS_PER_THREAD = 250_000


class MMDGradient(NamedTuple):
    """The discrepancy and how it moves with each row."""

    value: float
    x: NDArray
    """(n, k) float64, ∂value/∂x."""
    y: NDArray
    """(m, k) float64, ∂value/∂y."""


@compiled
def _run(first, last, x, y, width, removed, x_tiles, scales, out_x, out_y, iota):
    """Do the tiles `first` … `last`, those of x first."""
    sums, tile = aligned(x[4] * LANES, out_x), aligned(PAIR_ROWS * LANES, x[0])
    for number in range(first, last):
        if number < x_tiles:
            pair_gradient(x, x, number, width, True, removed, sums, tile, iota, scales[0], out_x)
            pair_gradient(x, y, number, width, False, removed, sums, tile, iota, -scales[1], out_x)
        else:
            pair_gradient(y, y, number - x_tiles, width, True, removed, sums, tile, iota, scales[2], out_y)
            pair_gradient(y, x, number - x_tiles, width, False, removed, sums, tile, iota, -scales[1], out_y)


def mmd_gradient(x: ArrayLike, y: ArrayLike, c: float = 1.0, *, diagonal: Diagonal = "removed") -> MMDGradient:
    """Value of `mmd_imq`, and ∂/∂x_i = 2/(n(n−1)) Σ_j w_ij x_j − 2/(nm) Σ_j w'_ij y_j with w = c/(c+d)².

    Parameters
    ----------
    x, y : (n, k), (m, k) arrays, both float32 or both float64, rows of unit norm
    c : float, the width
    diagonal : {"removed", "kept"}
        Whether j = i takes part.

    Returns
    -------
    MMDGradient : value, x (n, k), y (m, k).

    Notes
    -----
    Gradient of 1 − x·y in the ambient space, as automatic differentiation gives it: not projected to the
    sphere. Where 1 − x·y < 0 the kernel is constant. Original: Tracker on `mmd_imq`.
    """
    check_kernel("imq", "cosine", diagonal)
    p = points("x", x, "cosine")
    q = points("y", y, "cosine", p.k)
    require_same_dtype(p, q)
    if np.ndim(c):
        raise InvalidInput(f"`c` must be one width for a gradient; got an array of shape {np.shape(c)}.")
    widths = width_array(c, p.panels.dtype)
    upper_x, upper_y, cross = sums_of_pairs(p, q, widths, "imq", "cosine", True)
    within = mean_within(p, upper_x, widths, "imq", "cosine", diagonal)
    within += mean_within(q, upper_y, widths, "imq", "cosine", diagonal)
    value = float(within[0] - 2.0 * cross[0] / (p.n * float(q.n)))

    gradient_x, gradient_y = np.zeros((p.n, p.k)), np.zeros((q.n, q.k))
    scales = np.array([2.0 / (p.n * (p.n - 1.0)), 2.0 / (p.n * float(q.n)), 2.0 / (q.n * (q.n - 1.0))])
    tiles = -(-p.n // LANES) - (-q.n // LANES)
    least = max(1, int(tiles * _PAIRS_PER_THREAD / (p.n + q.n) ** 2))
    iota = np.arange(LANES, dtype=p.panels.dtype)
    rest = (float(widths[0]), diagonal == "removed", -(-p.n // LANES), scales, gradient_x, gradient_y, iota)
    share(_run, tiles, least, p, q, *rest)
    return MMDGradient(value, gradient_x, gradient_y)
