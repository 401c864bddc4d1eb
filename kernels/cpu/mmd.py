"""Maximum mean discrepancy of two sets of rows: one pass over the distances for all widths."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.kernels.cpu.kernel_mean import (
    Diagonal,
    Distance,
    Kernel,
    check_kernel,
    mean_within,
    points,
    require_same_dtype,
    sums_of_pairs,
    width_array,
)

__all__ = ["TOLERANCE", "mmd", "mmd_imq"]

TOLERANCE = 8
"""|error| ≤ TOLERANCE · eps(float32) · (k̄xx + k̄yy + 2k̄xy); the same with eps(float64) for float64 rows."""


def mmd(
    x: ArrayLike,
    y: ArrayLike,
    c: ArrayLike = 1.0,
    *,
    kernel: Kernel = "imq",
    distance: Distance = "cosine",
    diagonal: Diagonal = "removed",
) -> NDArray:
    """k̄xx + k̄yy − 2k̄xy; see `kernel_mean` for the arguments.

    Returns
    -------
    float64 array of the shape of `c`.

    Notes
    -----
    Equation (1), Tolstikhin 2018. Original: `mmd_imq` (kept diagonal); IPMeasures `mmd`.
    """
    check_kernel(kernel, distance, diagonal)
    p = points("x", x, distance)
    q = points("y", y, distance, p.k)
    require_same_dtype(p, q)
    widths = width_array(c, p.panels.dtype)
    upper_x, upper_y, cross = sums_of_pairs(p, q, widths, kernel, distance, True)
    within_x = mean_within(p, upper_x, widths, kernel, distance, diagonal)
    within_y = mean_within(q, upper_y, widths, kernel, distance, diagonal)
    return (within_x + within_y - 2.0 * cross / (p.n * float(q.n))).reshape(np.shape(c))


def mmd_imq(x: ArrayLike, y: ArrayLike, c: ArrayLike = 1.0, *, diagonal: Diagonal = "removed") -> NDArray:
    """`mmd` with the kernel c / (c + max(0, 1 − x·y)) of the training loss."""
    return mmd(x, y, c, diagonal=diagonal)
