"""Rows or columns of a table → standardised rows: (x − mean) / deviation, checked and transposed in one pass."""

from collections.abc import Sequence

import numpy as np
from numba import carray, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._compile import compiled
from pyscore.kernels.cpu._threads import share

__all__ = ["standardise", "standardise_rows"]

TILE = 128
"""Rows at a time: their 30 columns of float32 stay in L1."""
STRIP = 8
"""Rows that are transposed together: their 30 columns are 15 cache lines."""
SERIAL_TILES = 64
"""Fewer are not worth a thread."""


def _pointer_to(kind):
    """An intrinsic that takes an address for a pointer to numbers of a type."""

    @intrinsic
    def pointer(typing_context, address):
        def code(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(types.CPointer(kind)))

        return types.CPointer(kind)(types.intp), code

    return pointer


_float32_at, _float64_at = _pointer_to(types.float32), _pointer_to(types.float64)


@compiled
def _run(addresses, wide, n, mean, deviation, limit, largest, out):
    """Return whether every entry is finite, within `limit`, and within `largest` once standardised."""
    d = len(addresses)
    work = np.empty((d, TILE), out.dtype)
    bad = np.int64(0)
    for first in range(0, n, TILE):
        rows = min(TILE, n - first)
        for j in range(d):
            m, s = mean[j], deviation[j]
            here = np.int64(0)  # a bit-or of a local and an unsigned index: else LLVM does not vectorise the loop
            if wide[j]:
                source = carray(_float64_at(addresses[j]), n)
                for i in range(rows):
                    x = source[np.uint64(first + i)]
                    z = (x - m) / s
                    here |= np.int64(not (abs(x) <= limit)) | np.int64(not (abs(z) <= largest))  # NaN is neither
                    work[j, i] = z
            else:
                narrow = carray(_float32_at(addresses[j]), n)
                for i in range(rows):
                    x = np.float64(narrow[np.uint64(first + i)])
                    z = (x - m) / s
                    here |= np.int64(not (abs(x) <= limit)) | np.int64(not (abs(z) <= largest))
                    work[j, i] = z
            bad |= here
        whole = rows - rows % STRIP
        for start in range(0, whole, STRIP):
            for j in range(d):
                for i in range(STRIP):
                    out[first + start + i, j] = work[j, start + i]
        for i in range(whole, rows):
            for j in range(d):
                out[first + i, j] = work[j, i]
    return bad == 0


def standardise(
    columns: Sequence[NDArray],
    mean: NDArray,
    deviation: NDArray,
    out: NDArray,
    *,
    limit: float = np.inf,
    largest: float = np.inf,
) -> bool:
    """out[i, j] = (columns[j][i] − mean[j]) / deviation[j], in float64, rounded once to the type of `out`.

    Parameters
    ----------
    columns : d contiguous arrays of (n,), each float32 or float64; they may be read-only
    mean, deviation : (d,) float64 arrays
    out : (n, d) array, float32 or float64
    limit, largest : float
        Largest magnitude of an entry, and of an entry once standardised.

    Returns
    -------
    bool
        Whether no entry is NaN, infinite or beyond the limits; if one is, `out` is of no use.

    Notes
    -----
    The same bits as `Standardiser.transform`, followed by a cast.
    """
    n = len(columns[0])
    if out.shape != (n, len(columns)) or not mean.shape == deviation.shape == (len(columns),):
        raise ShapeError(f"`out` must have shape ({n}, {len(columns)}); got {out.shape}.")
    for column in columns:
        plain = column.dtype in (np.float32, np.float64) and column.flags.c_contiguous
        if not plain or column.shape != (n,):
            raise InvalidInput(
                f"`columns` must be contiguous float32 or float64 of length {n}; got {column.dtype}."
            )
    addresses = np.array([column.__array_interface__["data"][0] for column in columns], dtype=np.intp)
    wide = np.array([column.dtype == np.float64 for column in columns])
    return bool(_run(addresses, wide, n, mean, deviation, float(limit), float(largest), out))


@compiled
def _run_rows(first, last, x, mean, deviation, limit, largest, out, bad):
    """Tiles first … last of rows; bad[tile] says whether an entry is not finite or beyond the limits."""
    for tile in range(first, last):
        here = np.int64(0)
        for i in range(tile * TILE, min((tile + 1) * TILE, x.shape[0])):
            for j in range(x.shape[1]):
                value = np.float64(x[np.uint64(i), np.uint64(j)])
                z = (value - mean[np.uint64(j)]) / deviation[np.uint64(j)]
                here |= np.int64(not (abs(value) <= limit)) | np.int64(not (abs(z) <= largest))  # NaN is neither
                out[np.uint64(i), np.uint64(j)] = z
        bad[tile] = here


def standardise_rows(
    x: NDArray,
    mean: NDArray,
    deviation: NDArray,
    out: NDArray,
    *,
    limit: float = np.inf,
    largest: float = np.inf,
) -> bool:
    """`standardise` for rows x (n, d), C-contiguous float32 or float64, on `numba.get_num_threads()` threads."""
    n, d = x.shape
    if out.shape != x.shape or not mean.shape == deviation.shape == (d,):
        raise ShapeError(f"`out` must have shape {x.shape}; got {out.shape}.")
    if x.dtype not in (np.float32, np.float64) or not x.flags.c_contiguous:
        raise InvalidInput(f"`x` must be C-contiguous float32 or float64; got {x.dtype}.")
    bad = np.zeros(-(-n // TILE), np.int64)
    share(_run_rows, len(bad), SERIAL_TILES, x, mean, deviation, float(limit), float(largest), out, bad)
    return not bad.any()
