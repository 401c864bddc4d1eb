"""`reference.mmd`, `mmd_null` and `imq_width` on compiled sums: the goodness of fit of thousands of models.

The distances are the reference's own; what is compiled are the sums of kernel values, 120 million of them for the
241 widths of the criterion. TOLERANCE · eps(float64) · (k̄xx + k̄yy + 2k̄xy) bounds the error of a statistic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyscore import _validate as check
from pyscore import reference
from pyscore._validate import Array
from pyscore.convention import EXACT, Convention
from pyscore.kernels.cpu import kernel_sums

__all__ = ["TOLERANCE", "imq_width", "imq_width_criterion", "mmd", "mmd_null"]

TOLERANCE = 16


def _distances(x: Array, y: Array, convention: Convention) -> tuple[Array, Array, Array]:
    pairs = ((x, x), (x, y), (y, y))
    xx, xy, yy = (reference.pairwise_distance(a, b, convention=convention) for a, b in pairs)
    return xx, xy, yy


def mmd(x: ArrayLike, y: ArrayLike, *, width: float, convention: Convention = EXACT) -> float:
    """See `reference.mmd`, with the IMQ kernel of cosine distances."""
    x = check.matrix("x", x, "k")
    y = check.matrix("y", y, x.shape[1])
    xx, xy, yy = _distances(x, y, convention)

    def within(distance: Array) -> float:
        """(Σ k − n·k(0)) / (n(n−1)); the diagonal is not 0 under ``width_distance="frobenius"``."""
        n = len(distance)
        diagonal = np.sum(width / (width + np.diagonal(distance)))
        return float((kernel_sums(distance, width, symmetric=True).rows.sum() + diagonal - n) / (n * n - n))

    return within(xx) + within(yy) - 2 * float(kernel_sums(xy, width).rows.sum() / xy.size)


def mmd_null(x: ArrayLike, y: ArrayLike, width: float, *, convention: Convention = EXACT) -> Array:
    """See `reference.mmd_null`."""
    x = check.array("x", x, ("r", "n", "k"))
    y = check.array("y", y, (x.shape[0], "m", x.shape[2]))
    return np.sort([mmd(a, b, width=width, convention=convention) for a, b in zip(x, y, strict=True)])


def imq_width_criterion(
    x: ArrayLike, y: ArrayLike, widths: ArrayLike = reference.WIDTH_GRID, *, convention: Convention = EXACT
) -> Array:
    """See `reference.imq_width_criterion`."""
    x = check.matrix("x", x, "k")
    y = check.array("y", y, x.shape)
    widths = np.asarray(widths, dtype=np.float64)
    xx, xy, yy = _distances(x, y, convention)
    a, b, c = kernel_sums(xx, widths, symmetric=True), kernel_sums(yy, widths, symmetric=True), kernel_sums(xy, widths)
    values = []
    for i in range(widths.size):
        sums = reference.KernelSums(
            a.rows[i], b.rows[i], c.rows[i], c.columns[i], a.squares[i], b.squares[i], c.squares[i]
        )
        statistic, variance = reference.mmd_variance_of_sums(sums, convention=convention)
        values.append(statistic / np.sqrt(max(variance, reference.EPS)))
    return np.reshape(values, widths.shape)


def imq_width(x: ArrayLike, y: ArrayLike, *, convention: Convention = EXACT) -> float:
    """See `reference.imq_width`."""
    return float(reference.WIDTH_GRID[np.argmax(imq_width_criterion(x, y, convention=convention))])
