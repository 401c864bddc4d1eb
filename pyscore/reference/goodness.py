"""Goodness of fit of the prior: kernel means, the MMD with its variance, width and null distribution."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput, ShapeError
from pyscore.reference.mmd import require_rows
from pyscore.reference.sphere import EPS

__all__ = [
    "WIDTH_GRID",
    "Distance",
    "Kernel",
    "KernelSums",
    "imq_width",
    "imq_width_criterion",
    "kernel_mean",
    "mmd",
    "mmd_null",
    "mmd_p_value",
    "mmd_variance",
    "mmd_variance_of_sums",
    "pairwise_distance",
]

WIDTH_GRID = 10.0 ** np.linspace(-10.0, 2.0, 241)
Distance = Literal["cosine", "squared_euclidean"]
Kernel = Literal["imq", "gaussian", "rq"]


def pairwise_distance(
    x: ArrayLike, y: ArrayLike, distance: Distance = "cosine", *, convention: Convention = EXACT
) -> Array:
    """All distances of rows: 1 − x·y/(|x||y|) or |x − y|².

    Parameters
    ----------
    x, y : (n, k), (m, k) arrays
    distance : {"cosine", "squared_euclidean"}
    convention : Convention
        `width_distance`: ``"frobenius"`` divides x·y by the Frobenius norms of the matrices x and y.

    Returns
    -------
    (n, m) array.

    Notes
    -----
    Original: IPMeasures `pairwisecos`, `pairwisel2`.

    Examples
    --------
    >>> pyscore.reference.pairwise_distance(np.eye(2), np.eye(2)).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    x = check.matrix("x", x, "k")
    y = check.matrix("y", y, x.shape[1])
    check.choice("distance", distance, ("cosine", "squared_euclidean"))
    if distance == "squared_euclidean":
        return -2 * x @ y.T + np.sum(x * x, axis=1)[:, None] + np.sum(y * y, axis=1)
    if convention.width_distance == "frobenius":
        return 1 - x @ y.T / np.linalg.norm(x) / np.linalg.norm(y)
    return 1 - (x @ y.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)


def _kernel(name: Kernel, distance: Any, width: float) -> Any:
    """Kernel of distance d and width c: imq c/(c+d), gaussian exp(−c·d), rq (1 + (d+eps)/2c)^−c.

    Original: IPMeasures `kernels.jl`.
    """
    check.choice("kernel", name, ("imq", "gaussian", "rq"))
    if name == "imq":
        return width / (width + distance)
    if name == "gaussian":
        return np.exp(-width * distance)
    return (1 + (distance + EPS) / (2 * width)) ** -width


def kernel_mean(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    width: float,
    kernel: Kernel = "imq",
    distance: Distance = "cosine",
    convention: Convention = EXACT,
) -> float:
    """Mean of a kernel over pairs of rows; within x as (Σ k − n·k(0)) / (n(n−1)).

    Notes
    -----
    Original: IPMeasures `kernelsum`, which subtracts n·k(0) rather than the diagonal. The two are the same for
    true distances, but not under ``width_distance="frobenius"``.

    Examples
    --------
    >>> pyscore.reference.kernel_mean(np.eye(2), width=1.0)
    0.5
    """
    x = check.matrix("x", x, "k")
    other = x if y is None else check.matrix("y", y, x.shape[1])
    width = check.real("width", width, above=0.0)
    require_rows("x", x.shape[0], 2 if y is None else 1)
    require_rows("y", other.shape[0], 1)
    total = np.sum(_kernel(kernel, pairwise_distance(x, other, distance, convention=convention), width))
    if y is not None:
        return float(total / (x.shape[0] * other.shape[0]))
    n = x.shape[0]
    return float((total - n * _kernel(kernel, 0.0, width)) / (n * n - n))


def mmd(
    x: ArrayLike,
    y: ArrayLike,
    *,
    width: float,
    kernel: Kernel = "imq",
    distance: Distance = "cosine",
    convention: Convention = EXACT,
) -> float:
    """Unbiased MMD² with any kernel and distance: the statistic of the goodness-of-fit test.

    Notes
    -----
    Original: IPMeasures `mmd`.

    Examples
    --------
    >>> round(pyscore.reference.mmd(np.eye(2), -np.eye(2), width=1.0), 3)
    0.167
    """
    options: dict[str, Any] = {
        "width": width,
        "kernel": kernel,
        "distance": distance,
        "convention": convention,
    }
    return kernel_mean(x, **options) + kernel_mean(y, **options) - 2 * kernel_mean(x, y, **options)


def mmd_variance(
    k_xx: ArrayLike, k_xy: ArrayLike, k_yy: ArrayLike, *, biased: bool = False, convention: Convention = EXACT
) -> tuple[float, float]:
    """MMD² and an unbiased estimate of its variance, from the three kernel matrices of equal size.

    Parameters
    ----------
    k_xx, k_xy, k_yy : (m, m) arrays, m ≥ 4
    biased : bool, whether MMD² (not its variance) keeps the diagonals
    convention : Convention
        `mmd_variance`: ``"swapped"`` exchanges the row and column sums of k_xy in the last line.

    Returns
    -------
    (mmd2, variance) : floats

    Notes
    -----
    Sutherland 2017, equation (5). Original: IPMeasures `mmd2_and_variance`.

    Examples
    --------
    >>> alike, apart = np.ones((4, 4)), np.zeros((4, 4))
    >>> statistic, variance = pyscore.reference.mmd_variance(alike, apart, alike)
    >>> round(statistic, 3)
    2.0
    """
    k_xy = check.array("k_xy", k_xy, ("m", "m"))
    m = k_xy.shape[0]
    if k_xy.shape != (m, m) or m < 4:
        raise ShapeError(f"`k_xy` must be square with at least 4 rows; got shape {k_xy.shape}.")
    xx, yy = check.array("k_xx", k_xx, (m, m)), check.array("k_yy", k_yy, (m, m))
    off = 1 - np.eye(m)
    sums = KernelSums(
        (xx * off).sum(axis=0), (yy * off).sum(axis=0), k_xy.sum(axis=1), k_xy.sum(axis=0),
        (xx**2 * off).sum(), (yy**2 * off).sum(), (k_xy**2).sum(),
    )  # fmt: skip
    statistic, variance = mmd_variance_of_sums(sums, convention=convention)
    if biased:
        statistic = float((xx.sum() + yy.sum()) / m**2 - 2 * k_xy.sum() / m**2)
    return statistic, variance


class KernelSums(NamedTuple):
    """Sums of three kernel matrices, as `mmd_variance` needs them; within x or y without the diagonal.

    Examples
    --------
    >>> rows, none = np.full(4, 3.0), np.zeros(4)
    >>> sums = pyscore.reference.KernelSums(rows, rows, none, none, 12.0, 12.0, 0.0)
    >>> sums.squares_xy
    0.0
    """

    rows_xx: Array
    """(m,)."""
    rows_yy: Array
    """(m,)."""
    rows_xy: Array
    """(m,), over y."""
    columns_xy: Array
    """(m,), over x."""
    squares_xx: float
    squares_yy: float
    squares_xy: float


def mmd_variance_of_sums(sums: KernelSums, *, convention: Convention = EXACT) -> tuple[float, float]:
    """Unbiased MMD² and its variance, as `mmd_variance`, from sums of kernel values.

    Examples
    --------
    >>> rows, none = np.full(4, 3.0), np.zeros(4)
    >>> sums = pyscore.reference.KernelSums(rows, rows, none, none, 12.0, 12.0, 0.0)
    >>> round(pyscore.reference.mmd_variance_of_sums(sums)[0], 3)
    2.0
    """
    rows_xx, rows_yy, per_x, per_y, squares_xx, squares_yy, squares_xy = sums
    m = len(per_x)
    sum_xx, sum_yy, sum_xy = rows_xx.sum(), rows_yy.sum(), per_x.sum()
    cross_x, cross_y = (per_y, per_x) if convention.mmd_variance == "swapped" else (per_x, per_y)
    variance = (
        2 / (m**2 * (m - 1) ** 2)
        * (2 * rows_xx @ rows_xx - squares_xx + 2 * rows_yy @ rows_yy - squares_yy)
        - (4 * m - 6) / (m**3 * (m - 1) ** 3) * (sum_xx**2 + sum_yy**2)
        + 4 * (m - 2) / (m**3 * (m - 1) ** 2) * (per_y @ per_y + per_x @ per_x)
        - 4 * (m - 3) / (m**3 * (m - 1) ** 2) * squares_xy
        - (8 * m - 12) / (m**5 * (m - 1)) * sum_xy**2
        + 8 / (m**3 * (m - 1)) * ((sum_xx + sum_yy) * sum_xy / m - rows_xx @ cross_x - rows_yy @ cross_y)
    )  # fmt: skip
    return float((sum_xx + sum_yy) / (m * (m - 1)) - 2 * sum_xy / m**2), float(variance)


def imq_width_criterion(
    x: ArrayLike,
    y: ArrayLike,
    widths: ArrayLike = WIDTH_GRID,
    *,
    distance: Distance = "cosine",
    convention: Convention = EXACT,
) -> Array:
    """MMD² / √max(var, eps) for each width: the power criterion of the IMQ kernel.

    Parameters
    ----------
    x, y : (m, k) arrays of the same number of rows
    widths : array of widths, 10^(−10:0.05:2) by default
    convention : Convention
        `width_distance` and `mmd_variance`.

    Returns
    -------
    Array of the shape of `widths`.

    Notes
    -----
    Sutherland 2017, section 2.1. Original: IPMeasures `crit_mmd2_var`.

    Examples
    --------
    >>> x, y = np.random.default_rng(0).standard_normal((2, 10, 3))
    >>> pyscore.reference.imq_width_criterion(x, y, [0.1, 1.0]).shape
    (2,)
    """
    widths = np.asarray(widths, dtype=np.float64)
    d_xx = pairwise_distance(x, x, distance, convention=convention)
    d_xy = pairwise_distance(x, y, distance, convention=convention)
    d_yy = pairwise_distance(y, y, distance, convention=convention)
    values = []
    for c in widths.ravel():
        kernels = (_kernel("imq", d, float(c)) for d in (d_xx, d_xy, d_yy))
        statistic, variance = mmd_variance(*kernels, convention=convention)
        values.append(statistic / np.sqrt(max(variance, EPS)))
    return np.reshape(values, widths.shape)


def imq_width(x: ArrayLike, y: ArrayLike, *, convention: Convention = EXACT) -> float:
    """Width of the grid 10^(−10:0.05:2) with the largest criterion. Original: `get_γ` of the scripts.

    Examples
    --------
    >>> x, y = np.random.default_rng(0).standard_normal((2, 10, 3))
    >>> pyscore.reference.imq_width(x, y) in pyscore.reference.WIDTH_GRID
    True
    """
    return float(WIDTH_GRID[np.argmax(imq_width_criterion(x, y, convention=convention))])


def mmd_null(x: ArrayLike, y: ArrayLike, width: float, *, convention: Convention = EXACT) -> Array:
    """Sorted MMD² of r pairs of samples of one distribution: the null distribution of the statistic.

    Parameters
    ----------
    x, y : (r, n, k) arrays, r pairs of prior samples
    width : float, width of the IMQ kernel
    convention : Convention
        `width_distance`.

    Returns
    -------
    (r,) array, ascending.

    Notes
    -----
    Original: `null_distr_distances` of the scripts, 100 pairs.

    Examples
    --------
    >>> x, y = np.random.default_rng(0).standard_normal((2, 5, 10, 3))
    >>> null = pyscore.reference.mmd_null(x, y, width=0.1)
    >>> null.shape, bool((np.diff(null) >= 0).all())
    ((5,), True)
    """
    x = check.array("x", x, ("r", "n", "k"))
    y = check.array("y", y, (x.shape[0], "m", x.shape[2]))
    return np.sort([mmd(a, b, width=width, convention=convention) for a, b in zip(x, y, strict=True)])


def mmd_p_value(null: ArrayLike, statistic: float, *, convention: Convention = EXACT) -> float:
    """P(null ≥ statistic) = (1 + #{null ≥ statistic}) / (1 + r).

    Parameters
    ----------
    null : (r,) array, ascending, r ≥ 1
    statistic : float
    convention : Convention
        `p_value`: ``"rank"`` is the 1-based place of the statistic in the null sample over r: it lies between
        1/r and 1 + 1/r and is large where the fit is bad.

    Notes
    -----
    Original: `mmdpval` of the scripts.

    Examples
    --------
    >>> pyscore.reference.mmd_p_value([0.1, 0.2, 0.3], 0.25)
    0.5
    """
    null = check.vector("null", null, "r")
    if null.size == 0 or np.isnan(null).any() or np.any(np.diff(null) < 0):
        raise InvalidInput("`null` must be ascending with at least one value. Use mmd_null, or sort it.")
    if np.isnan(statistic):
        raise InvalidInput("`statistic` must be a number; got NaN.")
    below = int(np.searchsorted(null, statistic, side="left"))
    if convention.p_value == "rank":
        return (below + 1) / null.size
    return (1 + null.size - below) / (1 + null.size)
