"""Mean of a kernel over all pairs of rows on the GPU, for one width or many, without an n×m matrix."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._pairs import IMQ, diagonal_sum
from pyscore.kernels.cpu.kernel_mean import (
    CODES,
    RQ_EPS,
    TOLERANCE,
    Diagonal,
    Distance,
    Kernel,
    check_kernel,
    width_array,
)
from pyscore.kernels.cuda._launch import blocks_for, check_rows, dtype_of
from pyscore.kernels.cuda._pairs import CHUNK, ROWS, WIDTHS, make_pair_sums, make_row_sums, make_shift
from pyscore.kernels.cuda._target import SIMULATED, cuda, to_device

__all__ = ["TOLERANCE", "Diagonal", "Distance", "Kernel", "Points", "kernel_mean", "mean_within", "points", "sums"]

THREADS = 8 if SIMULATED else 128
"""Threads a block; few under the simulator, so that several blocks run."""
REDUCE_THREADS = 8 if SIMULATED else 64


class Points(NamedTuple):
    """Rows on the device and what their norms lack."""

    rows: Any
    shift: Any
    """(n,) 1 − |x|² in the rows' dtype; 0 for Euclidean distances."""
    n: int
    k: int
    dtype: np.dtype


def points(name: str, value: Any, distance: Distance, k: int | None = None, stream: Any = 0) -> Points:
    """Check the rows of `name`, bring them to the device and take their norms."""
    array = check_rows(name, value, k, None)
    n, columns = array.shape
    if not n:
        raise ShapeError(f"`{name}` must have at least one row: the mean of no pairs is not defined.")
    dtype = dtype_of(array)
    rows = to_device(array, stream)
    shift = to_device(np.zeros(n, dtype), stream)
    if distance == "cosine":
        make_shift()[blocks_for(n, THREADS), THREADS, stream](rows, shift)
    return Points(rows, shift, n, columns, dtype)


def require_same_dtype(x: Points, y: Points) -> None:
    """Raise InvalidInput unless both are float32 or both float64."""
    if x.dtype != y.dtype:
        raise InvalidInput(f"`y` must be {x.dtype} like `x`; got {y.dtype}. Cast one of the two.")


def sums(
    x: Points, y: Points, widths: NDArray, kernel: Kernel, distance: Distance, symmetric: bool, stream: Any = 0
) -> NDArray:
    """Σ k(x_i, y_j) over all pairs, or those with j > i, for each width: (widths,) float64 on the host."""
    code, half = CODES[kernel], 0.5 if distance == "cosine" else 1.0
    batch = 1 if widths.size == 1 else WIDTHS
    groups, chunks = -(-x.n // ROWS), -(-y.n // CHUNK)
    partial = cuda.device_array((batch, chunks, groups), np.float64, stream=stream)
    totals = cuda.device_array((batch, chunks), np.float64, stream=stream)
    compiled = make_pair_sums(code, x.k, batch, symmetric, THREADS, x.dtype.type)
    reduce_rows, grid = make_row_sums(REDUCE_THREADS), (blocks_for(groups, THREADS, 1024), min(chunks, 1024))
    results = []
    for start in range(0, widths.size, batch):
        some = np.resize(widths[start : start + batch], batch)
        constants = _constants(code, some, half)
        device = [to_device(values.astype(x.dtype), stream) for values in constants]
        compiled[grid, THREADS, stream](x.rows, x.shift, y.rows, y.shift, *device, partial)
        reduce_rows[min(batch * chunks, 1024), REDUCE_THREADS, stream](partial, totals)
        results.append(totals.copy_to_host(stream=stream).sum(axis=1))
    return np.concatenate(results)[: widths.size]


def _constants(code: int, widths: NDArray, half: float) -> tuple[NDArray, NDArray, NDArray]:
    """Width, scale and offset with which kernels take acc = distance/half."""
    if code == IMQ:
        return widths / half, widths, widths
    if code == CODES["gaussian"]:
        return widths, widths * half, widths
    return widths, half / (2.0 * widths), RQ_EPS / (2.0 * widths)


def mean_within(
    p: Points, widths: NDArray, kernel: Kernel, distance: Distance, diagonal: Diagonal, stream: Any = 0
) -> NDArray:
    """(2·Σ_{i<j} k [+ Σ_i k(x_i, x_i)]) / n(n−1)."""
    if p.n < 2:
        raise ShapeError("`x` and `y` must have at least 2 rows: one row has no pair.")
    total = 2.0 * sums(p, p, widths, kernel, distance, True, stream)
    if diagonal == "kept":
        shift, half = p.shift.copy_to_host(stream=stream), 0.5 if distance == "cosine" else 1.0
        total = total + np.array([diagonal_sum(CODES[kernel], shift, w, half, RQ_EPS) for w in widths])
    return total / (p.n * (p.n - 1.0))


def kernel_mean(
    x: Any,
    y: Any = None,
    c: ArrayLike = 1.0,
    *,
    kernel: Kernel = "imq",
    distance: Distance = "cosine",
    diagonal: Diagonal = "removed",
    stream: Any = 0,
) -> NDArray:
    """Mean of k_c over pairs of rows, within x or of x and y; see `pyscore.kernels.cpu`.

    Rows may be on the device (Numba, torch or CuPy, without a copy); the means come back to the host.
    """
    check_kernel(kernel, distance, diagonal)
    p = points("x", x, distance, None, stream)
    widths = width_array(c, p.dtype)
    if y is None:
        return mean_within(p, widths, kernel, distance, diagonal, stream).reshape(np.shape(c))
    q = points("y", y, distance, p.k, stream)
    require_same_dtype(p, q)
    cross = sums(p, q, widths, kernel, distance, False, stream)
    return (cross / (p.n * float(q.n))).reshape(np.shape(c))
