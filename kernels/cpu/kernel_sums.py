"""Sums of the IMQ kernel over rows and columns of a matrix of distances, for many widths in one call."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._compile import compiled
from pyscore.kernels.cpu._threads import share

__all__ = ["TOLERANCE", "KernelSums", "kernel_sums"]

TOLERANCE = 8
"""|error| ≤ TOLERANCE · eps(float64) · sum: all terms are positive where the distances are."""

_PAIRS_PER_THREAD = 250_000


class KernelSums(NamedTuple):
    """Sums of k_c(d_ij) = c / (c + d_ij) for each width c."""

    rows: NDArray
    """(widths, n), Σ_j."""
    columns: NDArray
    """(widths, m), Σ_i."""
    squares: NDArray
    """(widths,), Σ_ij of k²."""


@njit(fastmath={"reassoc", "nsz", "contract"})
def _row(distance, c, columns, squares):
    """Add a row of kernel values to the column sums, and their squares to `squares`; return their sum."""
    total = 0.0
    for j in range(distance.size):
        value = c / (c + distance[j])
        total += value
        columns[j] += value
        squares[j] += value * value
    return total


@compiled
def _run(first, last, distance, widths, symmetric, rows, columns, squares):
    """Do the widths `first` … `last`; of a symmetric matrix only what is above the diagonal is looked at."""
    n, m = distance.shape
    work = np.empty(m)
    for w in range(first, last):
        work[:] = 0.0
        for i in range(n):
            start = i + 1 if symmetric else 0
            rows[w, i] = _row(distance[i, start:], widths[w], columns[w, start:], work[start:])
        squares[w] = work.sum()
        if symmetric:
            columns[w] += rows[w]
            rows[w] = columns[w]
            squares[w] *= 2.0


def kernel_sums(distance: ArrayLike, widths: ArrayLike, *, symmetric: bool = False) -> KernelSums:
    """Σ_j k(d_ij), Σ_i k(d_ij) and Σ_ij k(d_ij)² with k(d) = c / (c + d).

    Parameters
    ----------
    distance : (n, m) array
    widths : array of c > 0
    symmetric : bool
        The distances are those of a set of rows to itself: the diagonal is left out of all sums.

    Returns
    -------
    KernelSums, float64

    Notes
    -----
    What Sutherland's estimate of the variance of the MMD needs, 2017, equation (5).
    """
    d = np.ascontiguousarray(distance, dtype=np.float64)
    if d.ndim != 2 or (symmetric and d.shape[0] != d.shape[1]):
        raise ShapeError(f"`distance` must be a {'square ' if symmetric else ''}matrix; got shape {d.shape}.")
    c = np.array(widths, np.float64, ndmin=1).ravel()
    if not (np.isfinite(c).all() and (c > 0).all()):
        raise InvalidInput(f"`widths` must be positive and finite; got {widths!r}.")
    result = KernelSums(np.zeros((c.size, d.shape[0])), np.zeros((c.size, d.shape[1])), np.zeros(c.size))
    share(_run, c.size, max(1, _PAIRS_PER_THREAD // (d.size + 1)), d, c, symmetric, *result)
    return result
