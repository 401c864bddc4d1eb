"""Compiled scoring of forests of hyperplanes, nearest neighbours and Gaussians: one row at a time, on all threads.

A row's value is a sum in an order that neither the other rows nor the number of threads can change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyscore._core.checks import Array
from pyscore.kernels.cpu._threads import share

__all__ = ["mean_depth", "mean_distance", "squared_length"]

LEAST_ROWS = 64
"""Rows that are worth a thread of their own."""
TILE = 4
"""Rows that are compared with a reference while it is in the cache."""
_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


def _depths(
    first: int,
    last: int,
    x: Any,
    feature: Any,
    weight: Any,
    threshold: Any,
    child: Any,
    length: Any,
    roots: Any,
    out: Any,
) -> None:
    for i in range(first, last):
        total = 0.0
        for t in range(roots.size):
            node = roots[t]
            while child[node, 0] >= 0:
                value = 0.0
                for j in range(feature.shape[1]):
                    value += weight[node, j] * x[i, feature[node, j]]
                node = child[node, 0] if value <= threshold[node] else child[node, 1]
            total += length[node]
        out[i] = total / roots.size


_run_depths = _compiled(_depths)


def mean_depth(
    x: Array,
    feature: NDArray[np.int32],
    weight: Array,
    threshold: Array,
    child: NDArray[np.int32],
    length: Array,
    roots: NDArray[np.int32],
) -> Array:
    """Mean over the trees of the path length of the leaf that each row x (n, d) falls into; (n,).

    A row goes to ``child[node, 0]`` where Σ_j weight[node, j]·x[feature[node, j]] ≤ threshold[node], else to
    ``child[node, 1]``; a leaf has the children −1, and `length` is its path length.
    """
    out = np.empty(len(x))
    share(_run_depths, len(x), LEAST_ROWS, x, feature, weight, threshold, child, length, roots, out)
    return out


def _distances(first: int, last: int, x: Any, columns: Any, neighbours: int, skip_own: bool, out: Any) -> None:
    d, m = columns.shape
    squares = np.empty((TILE, m))
    nearest = np.empty(neighbours)
    for tile in range(first, last):
        start = tile * TILE
        rows = min(TILE, x.shape[0] - start)
        squares[:rows] = 0.0
        for j in range(d):
            column = columns[j]
            for i in range(rows):
                value, line = x[start + i, j], squares[i]
                for r in range(m):
                    gap = value - column[r]
                    line[r] += gap * gap
        for i in range(rows):
            nearest[:] = np.inf
            own = skip_own
            for r in range(m):
                square = squares[i, r]
                if own and square == 0.0:
                    own = False
                elif square < nearest[-1]:
                    place = neighbours - 1
                    while place > 0 and nearest[place - 1] > square:
                        nearest[place] = nearest[place - 1]
                        place -= 1
                    nearest[place] = square
            total = 0.0
            for r in range(neighbours):
                total += np.sqrt(nearest[r])
            out[start + i] = total / neighbours


_run_distances = _compiled(_distances)


def mean_distance(x: Array, columns: Array, neighbours: int, *, skip_own: bool = True) -> Array:
    """Mean distance (n,) of rows x (n, d) to their nearest references, the columns of a (d, m) array.

    With `skip_own` one reference that equals a row is left out: it is the row itself, so that rows trained on are
    measured as new ones are.

    Parameters
    ----------
    x, columns : contiguous float64 arrays
    neighbours : int, less than m (or m, if none is left out)
    skip_own : bool
    """
    out = np.empty(len(x))
    share(_run_distances, -(-len(x) // TILE), LEAST_ROWS // TILE, x, columns, neighbours, skip_own, out)
    return out


def _squares(first: int, last: int, x: Any, centre: Any, factor: Any, out: Any) -> None:
    d = centre.size
    gap, line = np.empty(d), np.empty(factor.shape[1])
    for i in range(first, last):
        line[:] = 0.0
        for j in range(d):
            gap[j] = x[i, j] - centre[j]
            for r in range(line.size):
                line[r] += gap[j] * factor[j, r]
        total = 0.0
        for r in range(line.size):
            total += line[r] * line[r]
        out[i] = total


_run_squares = _compiled(_squares)


def squared_length(x: Array, centre: Array, factor: Array) -> Array:
    """‖(x − centre)·factor‖² (n,) of rows x (n, d), contiguous float64; the factor is (d, r)."""
    out = np.empty(len(x))
    share(_run_squares, len(x), LEAST_ROWS, x, centre, factor, out)
    return out
