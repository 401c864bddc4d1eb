"""The maximum mean discrepancy with the inverse multiquadratic kernel: the penalty of the training."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput, ShapeError

__all__ = ["imq_kernel_mean", "mmd_imq", "require_rows"]


def require_rows(name: str, rows: int, least: int) -> None:
    """Raise `ShapeError` if a sample has too few rows for a kernel mean."""
    if rows < least:
        raise ShapeError(f"`{name}` must have at least {least} row(s) for a kernel mean; got {rows}.")


def imq_kernel_mean(
    x: ArrayLike, y: ArrayLike | None = None, c: ArrayLike = 1.0, *, convention: Convention = EXACT
) -> Array:
    """Mean of k(x, y) = c / (c + max(0, 1 − x·y)) over all pairs, or within x when y is None.

    Parameters
    ----------
    x : (n, k) array, rows of unit norm; n ≥ 2 when `y` is None
    y : (m, k) array, optional
    c : float or array of widths, c > 0
    convention : Convention
        `mmd_diagonal`: within x, ``"kept"`` sums all n² pairs and divides by n(n−1), which is biased by
        1/(n−1); ``"removed"`` sums the n(n−1) pairs of different rows.

    Returns
    -------
    Array of the shape of `c`.

    Notes
    -----
    Equation (1), Tolstikhin 2018. Original: `k_imq`; 1 − x·y is half the squared distance on the sphere.

    Examples
    --------
    >>> float(pyscore.reference.imq_kernel_mean(np.eye(2)))
    0.5
    """
    x = check.matrix("x", x, "k")
    width = check.numbers("c", c)
    if not (np.isfinite(width).all() and (width > 0).all()):
        raise InvalidInput(f"`c` must be positive and finite; got {c!r}.")
    other = x if y is None else check.matrix("y", y, x.shape[1])
    require_rows("x", x.shape[0], 2 if y is None else 1)
    require_rows("y", other.shape[0], 1)
    distance = np.maximum(0.0, 1 - x @ other.T)
    pairs = x.shape[0] * other.shape[0]
    if y is None:
        pairs -= x.shape[0]
        if convention.mmd_diagonal == "removed":
            distance = distance[~np.eye(x.shape[0], dtype=bool)]
    sums = [np.sum(w / (w + distance)) / pairs for w in width.ravel()]
    return np.reshape(sums, width.shape)


def mmd_imq(x: ArrayLike, y: ArrayLike, c: ArrayLike = 1.0, *, convention: Convention = EXACT) -> Array:
    """MMD² = k̄xx + k̄yy − 2 k̄xy with the inverse multiquadric kernel.

    Parameters
    ----------
    x, y : (n, k), (m, k) arrays, rows of unit norm; n, m ≥ 2
    c : float or array of widths, c > 0
    convention : Convention
        `mmd_diagonal`, see `imq_kernel_mean`; ``"kept"`` is biased by 1/(n−1) + 1/(m−1).

    Returns
    -------
    Array of the shape of `c`.

    Notes
    -----
    Equation (1), Tolstikhin 2018. Original: `mmd_imq`.

    Examples
    --------
    >>> round(float(pyscore.reference.mmd_imq(np.eye(2), -np.eye(2))), 3)
    0.167
    """
    x = check.matrix("x", x, "k")
    y = check.matrix("y", y, x.shape[1])
    require_rows("y", y.shape[0], 2)
    within = imq_kernel_mean(x, None, c, convention=convention) + imq_kernel_mean(
        y, None, c, convention=convention
    )
    return within - 2 * imq_kernel_mean(x, y, c)
