"""MMD of one training batch with its gradient: a few hundred points, which stay in the cache."""

from numba import njit

from pyscore.kernels.cpu._simd import LANES, fma, lane_sum, load, select, splat, store, widen

__all__ = ["batch_mmd"]


@njit
def _block(points, gradient, k, step, first, count, at, width, factor, removed, iota, accumulate):
    """Add rows first … first+count to the gradient of the LANES points at `at`; return their kernel sums."""
    total = splat(0.0, accumulate)
    one, zero = splat(1.0, points), splat(0.0, points)
    for i in range(first, first + count):
        dot = zero
        for q in range(k):
            dot = fma(points[q * step + i], load(points, q * step + at), dot)
        distance = one - dot
        positive = distance > 0.0
        inverse = 1.0 / (select(positive, distance, zero) + width)
        kernel = width * inverse
        slope = select(positive, kernel * inverse * factor, zero)
        if removed:
            other = iota_differs(iota, i - at)
            kernel = select(other, kernel, zero)
            slope = select(other, slope, zero)
        total = total + widen(kernel)
        for q in range(k):
            store(gradient, q * step + at, fma(points[q * step + i], slope, load(gradient, q * step + at)))
    return total


@njit
def iota_differs(iota, lane):
    """A mask: every lane but number `lane` (all, if there is no such lane)."""
    difference = load(iota, 0) - iota.dtype.type(lane)
    return difference * difference > 0.25


@njit
def batch_mmd(points, gradient, k, n, step, width, removed, iota, keep, accumulate):
    """Value of the MMD of points[:, :n] and points[:, step//2 : step//2+n], gradient ← ∂/∂points.

    points and gradient are [k][step], step//2 a multiple of LANES that is at least n; keep[at] is 1 for lanes
    that hold a point and 0 for those beyond the last, whose gradient is 0.
    """
    half = step // 2
    within, across = 1.0 / (n * (n - 1.0)), -1.0 / (float(n) * n)
    width = points.dtype.type(width)
    value = 0.0
    for at in range(0, step, LANES):
        for q in range(k):
            store(gradient, q * step + at, splat(0.0, points))
        mine = 0 if at < half else half
        mask = load(keep, at)
        for first in (0, half):
            weight = within if first == mine else across
            factor = points.dtype.type(2.0 * weight)
            drop = removed and first == mine
            total = _block(points, gradient, k, step, first, n, at, width, factor, drop, iota, accumulate)
            value += weight * lane_sum(total * widen(mask))
        for q in range(k):
            store(gradient, q * step + at, load(gradient, q * step + at) * mask)
    return value
