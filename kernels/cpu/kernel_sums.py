"""Sums of the IMQ kernel over rows and columns of a matrix of distances, for many widths in one call."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._compile import compiled, njit
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
def _row(distance, c, e, columns_c, columns_e, squares_c, squares_e):
    """Add a row of kernel values of the widths c and e to the column sums, their squares too; return their sums.

    Division is the slowest instruction here: 1/a and 1/b come from the one of a·b.
    """
    total_c, total_e = 0.0, 0.0
    for j in range(distance.size):
        a, b = c + distance[j], e + distance[j]
        inverse = 1.0 / (a * b)
        k_c, k_e = c * (b * inverse), e * (a * inverse)
        total_c += k_c
        total_e += k_e
        columns_c[j] += k_c
        columns_e[j] += k_e
        squares_c[j] += k_c * k_c
        squares_e[j] += k_e * k_e
    return total_c, total_e


@compiled
def _run(first, last, distance, widths, symmetric, rows, columns, squares):
    """Do the pairs of widths `first` … `last`; of a symmetric matrix only the part above the diagonal."""
    n, m = distance.shape
    for pair in range(first, last):
        w = 2 * pair
        work_c, work_e = np.zeros(m), np.zeros(m)
        for i in range(n):
            at = i + 1 if symmetric else 0
            rows[w, i], rows[w + 1, i] = _row(
                distance[i, at:],
                widths[w],
                widths[w + 1],
                columns[w, at:],
                columns[w + 1, at:],
                work_c[at:],
                work_e[at:],
            )
        squares[w], squares[w + 1] = work_c.sum(), work_e.sum()
        if symmetric:
            for v in range(w, w + 2):
                columns[v] += rows[v]
                rows[v] = columns[v]
                squares[v] *= 2.0


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
    pairs = -(-c.size // 2)
    even = np.append(c, c[-1:])[: 2 * pairs]
    result = KernelSums(*(np.zeros((2 * pairs, size)) for size in d.shape), np.zeros(2 * pairs))
    share(_run, pairs, max(1, _PAIRS_PER_THREAD // (2 * d.size + 1)), d, even, symmetric, *result)
    return KernelSums(*(sums[: c.size] for sums in result))
