"""Between rows of samples (C order) and columns of Lanes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._simd import LANES, load, store

__all__ = ["GROUPS", "SERIAL_TILES", "copy_lanes", "load_rows", "matrix", "store_lanes", "store_rows"]

GROUPS = 3
"""Groups of LANES samples a block. Three groups of k+1 columns are always whole 3-column register tiles; two
buffers of 3·10·64 Lanes of float32 take 246 KB of the 1 MB L2."""

SERIAL_TILES = 12
"""Fewer tiles than this are not worth a thread: at 20 µs a tile they take as long as two wake-ups."""


def matrix(name: str, value: ArrayLike, columns: int, dtype: np.dtype) -> NDArray:
    """Return rows that kernels can read: `dtype`, C order, writeable as far as Numba's types know.

    A read-only or strided array is copied: one more compiled version of each kernel would cost seconds.
    """
    array = np.asarray(value)
    if array.ndim != 2 or array.shape[1] != columns:
        raise ShapeError(f"`{name}` must have shape (n, {columns}); got {array.shape}.")
    if array.dtype != dtype:
        raise InvalidInput(f"`{name}` must be {dtype} like the network; got {array.dtype}. Cast one of the two.")
    return np.require(array, requirements=("C", "A", "W"))


@njit
def copy_lanes(source, at, target, t_at, rows):
    """target[t_at:] ← source[at:], `rows` Lanes.

    An assignment to a slice would do the same, but Numba then compiles the text of its error, too, for 4 s.
    """
    for r in range(0, rows * LANES, LANES):
        store(target, t_at + r, load(source, at + r))


@njit
def load_rows(rows, first, target, at):
    """target[at + j·LANES + s] = rows[first + s, j]; lanes beyond the last row repeat it."""
    last = rows.shape[0] - 1
    for s in range(LANES):
        row = min(first + s, last)
        for j in range(rows.shape[1]):
            target[at + j * LANES + s] = rows[row, j]


@njit
def store_rows(source, at, first, rows):
    """rows[first + s, j] = source[at + j·LANES + s], for the lanes that have a row."""
    for s in range(min(LANES, rows.shape[0] - first)):
        for j in range(rows.shape[1]):
            rows[first + s, j] = source[at + j * LANES + s]


@njit
def store_lanes(source, at, first, values):
    """values[first + s] = source[at + s], for the lanes that have a row."""
    for s in range(min(LANES, values.shape[0] - first)):
        values[first + s] = source[at + s]
