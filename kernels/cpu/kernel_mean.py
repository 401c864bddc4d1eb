"""Mean of a kernel over all pairs of rows, for one width or many at once, without an n×m matrix."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._compile import compiled
from pyscore.kernels.cpu._network import aligned
from pyscore.kernels.cpu._pairs import GAUSSIAN, IMQ, RQ, Points, diagonal_sum, pack_points, pair_sum
from pyscore.kernels.cpu._simd import LANES, PAIR_ROWS, PAIR_SLOTS
from pyscore.kernels.cpu._threads import share

__all__ = ["TOLERANCE", "Diagonal", "Distance", "Kernel", "kernel_mean", "points", "sums_of_pairs", "width_array"]

TOLERANCE = 8
"""|error| ≤ TOLERANCE · eps(float32) · mean, for float32 rows; the same with eps(float64) for float64."""

Kernel = Literal["imq", "gaussian", "rq"]
Distance = Literal["cosine", "squared_euclidean"]
Diagonal = Literal["kept", "removed"]

CODES = {"imq": IMQ, "gaussian": GAUSSIAN, "rq": RQ}
RQ_EPS = float(np.finfo(np.float64).eps)
"""IPMeasures adds eps to the distance of its rational quadratic kernel."""
_PAIRS_PER_THREAD = 500_000
"""Pairs below which a thread of its own is not worth its 50 µs of waking up (1 ns a pair)."""
_BORDER = {"float32": 1e-18, "float64": 1e-150}
"""The IMQ kernel multiplies two values of c + distance; beyond this (or its inverse) they overflow."""


@compiled
def _run(first, last, code, x, y, xx, xy, widths, half, eps, partial, iota):
    """Do the blocks `first` … `last` of x within x (where number < xx), of x and y (< xx + xy), of y within y."""
    dtype = x[0]
    sums, tile = aligned(widths.size * PAIR_SLOTS, partial), aligned(PAIR_ROWS * LANES, dtype)
    for number in range(first, last):
        if number < xx:
            pair_sum(code, x, x, number, widths, half, eps, True, sums, tile, iota, partial[number])
        elif number < xx + xy:
            pair_sum(code, x, y, number - xx, widths, half, eps, False, sums, tile, iota, partial[number])
        else:
            pair_sum(code, y, y, number - xx - xy, widths, half, eps, True, sums, tile, iota, partial[number])


def points(name: str, value: ArrayLike, distance: Distance, k: int | None = None) -> Points:
    """Check the rows of `name` and pack them.

    Raises
    ------
    ShapeError, InvalidInput
        If `value` is not an (n, k) array, n ≥ 1, of float32 or float64.
    """
    array = np.asarray(value)
    if array.ndim != 2 or (k is not None and array.shape[1] != k):
        raise ShapeError(f"`{name}` must have shape (n, {'k' if k is None else k}); got {array.shape}.")
    if not array.shape[0]:
        raise ShapeError(f"`{name}` must have at least one row: the mean of no pairs is not defined.")
    if array.dtype.char not in "fd":
        raise InvalidInput(f"`{name}` must be float32 or float64; got {array.dtype}.")
    if not array.flags.carray:
        array = np.require(array, requirements=("C", "A", "W"))
    return Points(*pack_points(array, distance == "cosine"), *array.shape)


def width_array(c: ArrayLike, dtype: np.dtype) -> NDArray:
    """Return the kernel widths as a flat float64 array, or raise if one is out of the kernels' range."""
    widths = np.array(c, np.float64, ndmin=1).ravel()
    border = _BORDER[dtype.name]
    if not widths.size or not (border <= widths.min() and widths.max() <= 1 / border):
        raise InvalidInput(
            f"`c` must hold kernel widths between {border:g} and {1 / border:g} for {dtype}; got {c!r}."
            + (" Pass float64 rows for widths beyond." if dtype.name == "float32" else "")
        )
    return widths


def sums_of_pairs(
    x: Points, y: Points | None, widths: NDArray, kernel: Kernel, distance: Distance, within: bool
) -> tuple[NDArray, NDArray, NDArray]:
    """Σ_{i<j} k(x_i, x_j) and Σ_{i<j} k(y_i, y_j) if `within`, and Σ_ij k(x_i, y_j), for each width."""
    x_blocks = -(-x.n // PAIR_ROWS)
    xx = x_blocks if within else 0
    xy = x_blocks if y is not None else 0
    yy = -(-y.n // PAIR_ROWS) if within and y is not None else 0
    pairs = (x.n * x.n // 2 if within else 0) + (0 if y is None else x.n * y.n + (y.n * y.n // 2 if within else 0))
    partial = np.empty((xx + xy + yy, widths.size))
    iota = np.arange(LANES, dtype=x.panels.dtype)
    half = 0.5 if distance == "cosine" else 1.0
    blocks = xx + xy + yy
    least = max(1, int(blocks * _PAIRS_PER_THREAD / (pairs * widths.size + 1)))
    share(
        _run, blocks, least, CODES[kernel], x, x if y is None else y, xx, xy, widths, half, RQ_EPS, partial, iota
    )
    return partial[:xx].sum(axis=0), partial[xx + xy :].sum(axis=0), partial[xx : xx + xy].sum(axis=0)


def check_kernel(kernel: str, distance: str, diagonal: str) -> None:
    """Raise InvalidInput for a name that is not one of the three."""
    for name, value, allowed in (
        ("kernel", kernel, tuple(CODES)),
        ("distance", distance, ("cosine", "squared_euclidean")),
        ("diagonal", diagonal, ("kept", "removed")),
    ):
        if value not in allowed:
            raise InvalidInput(f"`{name}` must be one of {', '.join(map(repr, allowed))}; got {value!r}.")


def mean_within(
    p: Points, upper: NDArray, widths: NDArray, kernel: Kernel, distance: Distance, diagonal: Diagonal
) -> NDArray:
    """(2·Σ_{i<j} k [+ Σ_i k(x_i, x_i)]) / n(n−1)."""
    if p.n < 2:
        raise ShapeError("`x` and `y` must have at least 2 rows: one row has no pair.")
    total = 2.0 * upper
    if diagonal == "kept":
        half = 0.5 if distance == "cosine" else 1.0
        total = total + np.array([diagonal_sum(CODES[kernel], p.shift[: p.n], w, half, RQ_EPS) for w in widths])
    return total / (p.n * (p.n - 1.0))


def kernel_mean(
    x: ArrayLike,
    y: ArrayLike | None = None,
    c: ArrayLike = 1.0,
    *,
    kernel: Kernel = "imq",
    distance: Distance = "cosine",
    diagonal: Diagonal = "removed",
) -> NDArray:
    """Mean of k_c over pairs of rows, within x or of x and y.

    Parameters
    ----------
    x, y : (n, k), (m, k) arrays, both float32 or both float64
    c : float or array of widths
        All of them in one pass over the distances.
    kernel : {"imq", "gaussian", "rq"}
        c/(c+d), exp(−c·d), (1 + (d+eps)/2c)^−c.
    distance : {"cosine", "squared_euclidean"}
        d = max(0, 1 − x·y), which asks for rows of unit norm, or |x−y|².
    diagonal : {"removed", "kept"}
        Within x: the mean over n(n−1) pairs of different rows, or all n² pairs divided by n(n−1) (ORIGINAL).

    Returns
    -------
    float64 array of the shape of `c`.

    Notes
    -----
    Equation (1). Original: `k_imq`; IPMeasures `kernelsum`.
    """
    check_kernel(kernel, distance, diagonal)
    p = points("x", x, distance)
    widths = width_array(c, p.panels.dtype)
    if y is None:
        upper, _, _ = sums_of_pairs(p, None, widths, kernel, distance, True)
        return mean_within(p, upper, widths, kernel, distance, diagonal).reshape(np.shape(c))
    q = points("y", y, distance, p.k)
    require_same_dtype(p, q)
    _, _, cross = sums_of_pairs(p, q, widths, kernel, distance, False)
    return (cross / (p.n * float(q.n))).reshape(np.shape(c))


def require_same_dtype(x: Points, y: Points) -> None:
    """Raise InvalidInput unless both are float32 or both float64."""
    if x.panels.dtype != y.panels.dtype:
        raise InvalidInput(f"`y` must be {x.panels.dtype} like `x`; got {y.panels.dtype}. Cast one of the two.")
