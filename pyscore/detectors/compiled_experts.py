"""Compiled scoring of a forest of hyperplane trees and of nearest neighbours: one row at a time, on all threads.

A row's value is a sum in an order that neither the other rows nor the number of threads can change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyscore._core.checks import Array
from pyscore.kernels.cpu._threads import share

__all__ = ["mean_depth", "mean_distance"]

LEAST_ROWS = 64
"""Rows that are worth a thread of their own."""
TILE = 4
"""Rows that are compared with a reference while it is in the cache."""


@njit(cache=True, nogil=True, error_model="numpy")
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
    share(_depths, len(x), LEAST_ROWS, x, feature, weight, threshold, child, length, roots, out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _distances(first: int, last: int, x: Any, columns: Any, neighbours: int, skip: Any, out: Any) -> None:
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
            if skip[start + i] >= 0:
                squares[i, skip[start + i]] = np.inf
            for r in range(m):
                square = squares[i, r]
                if square < nearest[-1]:
                    place = neighbours - 1
                    while place > 0 and nearest[place - 1] > square:
                        nearest[place] = nearest[place - 1]
                        place -= 1
                    nearest[place] = square
            total = 0.0
            for r in range(neighbours):
                total += np.sqrt(nearest[r])
            out[start + i] = total / neighbours


def mean_distance(x: Array, columns: Array, neighbours: int, skip: NDArray[np.int64] | None = None) -> Array:
    """Mean distance (n,) of rows x (n, d) to their nearest references, the columns of a (d, m) array.

    Parameters
    ----------
    x, columns : contiguous float64 arrays
    neighbours : int, at most m (less one where a row is skipped)
    skip : (n,) integers, optional
        The reference that is the row itself and does not count; −1 for none.
    """
    out = np.empty(len(x))
    skip = np.full(len(x), -1, np.int64) if skip is None else skip
    share(_distances, -(-len(x) // TILE), LEAST_ROWS // TILE, x, columns, neighbours, skip, out)
    return out
