"""`reference.mmd`, `mmd_null` and `imq_width` with compiled sums, for the goodness of fit of thousands of models.

Distances are computed by the reference. The sums of kernel values are compiled, because the 241 widths of the
criterion need 120 million of them. TOLERANCE · eps(float64) · (k̄xx + k̄yy + 2k̄xy) bounds the error of a
statistic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.kernels import cpu as kernels

__all__ = ["TOLERANCE", "imq_width", "imq_width_criterion", "mmd", "mmd_null"]

TOLERANCE = 16


def mmd(x: ArrayLike, y: ArrayLike, *, width: float, convention: Convention = EXACT) -> float:
    """As `reference.mmd`, for the IMQ kernel of cosine distances.

    Rows are scaled first, so a distance is one minus a product and no matrix of distances is stored.
    """
    x = check.matrix("x", x, "k")
    y = check.matrix("y", y, x.shape[1])
    a, b = _scaled(x, convention), _scaled(y, convention)
    value = float(kernels.mmd(a, b, width, diagonal="removed"))
    if convention.width_distance == "frobenius":  # a row's distance to itself is not 0 here
        value += _diagonal(a, width) + _diagonal(b, width)
    return value


def _scaled(x: Array, convention: Convention) -> Array:
    axis = None if convention.width_distance == "frobenius" else 1
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


def _diagonal(x: Array, width: float) -> float:
    """(Σ_i k(d_ii) − n·k(0)) / (n(n−1)) with d_ii = 1 − |x_i|², after scaling."""
    n = len(x)
    own = width / (width + (1 - np.sum(x * x, axis=1)))
    return float((np.sum(own) - n) / (n * n - n))


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
    pairs = ((x, x), (x, y), (y, y))
    xx, xy, yy = (reference.pairwise_distance(p, q, convention=convention) for p, q in pairs)
    a, b = (kernels.kernel_sums(d, widths, symmetric=True) for d in (xx, yy))
    c = kernels.kernel_sums(xy, widths)
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
