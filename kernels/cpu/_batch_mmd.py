"""MMD of one training batch with its gradient: a few hundred points, all pairs of which stay in the cache."""

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._network import layer_product, padded
from pyscore.kernels.cpu._simd import LANES, PAIR_SLOTS, TILE_ROWS, load, select, slot_sum, splat, store, widen

__all__ = ["batch_mmd", "pairs_size"]


@njit
def pairs_size(k, step):
    """Numbers of scratch that `batch_mmd` needs for 2·half = step points: two packings of them, and all pairs."""
    return k * step + TILE_ROWS, padded(k) * step, step * step


@njit
def _pack(points, k, step, panels, turned):
    """panels[i/8][q][8] and turned[q/8][i][8] of points [i/LANES][q][LANES]: the two sides of the two products."""
    for q in range(k):
        for i in range(step):
            value = points[i // LANES * k * LANES + q * LANES + i % LANES]
            panels[i // TILE_ROWS * k * TILE_ROWS + q * TILE_ROWS + i % TILE_ROWS] = value
            turned[q // TILE_ROWS * step * TILE_ROWS + i * TILE_ROWS + q % TILE_ROWS] = value


@njit
def _kernel(pairs, at, rows, width, factor, lane, mask, iota, sums, slots):
    """Replace dot products by factor·∂kernel/∂dot, add the kernels to sums[slots:]; `lane` − row is left out."""
    total = splat(0.0, sums)
    one, zero = splat(1.0, pairs), splat(0.0, pairs)
    for i in range(rows):
        distance = one - load(pairs, at + i * LANES)
        positive = distance > 0.0
        inverse = 1.0 / (select(positive, distance, zero) + width)
        kernel = width * inverse
        slope = select(positive, kernel * inverse * factor, zero)
        if 0 <= i - lane < LANES:
            other = _differs(iota, i - lane)
            kernel, slope = select(other, kernel, zero), select(other, slope, zero)
        total = total + widen(kernel)
        store(pairs, at + i * LANES, slope * mask)
    store(sums, slots, load(sums, slots) + total * widen(mask))


@njit
def _differs(iota, lane):
    """A mask: every lane but number `lane`."""
    difference = load(iota, 0) - iota.dtype.type(lane)
    return difference * difference > 0.25


@njit
def batch_mmd(points, gradient, k, n, half, width, removed, iota, keep, panels, turned, pairs, sums):
    """Value of the MMD of points 0 … n−1 and half … half+n−1, gradient ← ∂/∂points.

    Points are columns of Lanes, [i/LANES][q][LANES], gradient columns [i/LANES][padded q][LANES]; `half` is a
    multiple of LANES, at least n. keep[i] is 1 for a point and 0 for what pads. The dot products of all pairs
    and the sums of the gradient are products of the register tile; what lies between is one division a pair.
    `sums` is scratch, 2·PAIR_SLOTS numbers: the kernels within the two sets, and those across.
    """
    step = 2 * half
    columns = step // LANES
    within, across = 1.0 / (n * (n - 1.0)), -1.0 / (float(n) * n)
    width = points.dtype.type(width)
    _pack(points, k, step, panels, turned)
    layer_product(panels, 0, k, step, points, k * LANES, pairs, step * LANES, columns)
    sums[: 2 * PAIR_SLOTS] = 0.0
    for c in range(columns):
        mask = load(keep, c * LANES)
        for first in (0, half):
            same = (c * LANES < half) == (first < half)
            weight = within if same else across
            factor = points.dtype.type(2.0 * weight)
            lane = c * LANES - first if removed and same else step
            at = (c * step + first) * LANES
            slots = (c * LANES % half) % PAIR_SLOTS + (0 if same else PAIR_SLOTS)
            _kernel(pairs, at, n, width, factor, lane, mask, iota, sums, slots)
            for i in range(n, half):
                store(pairs, at + i * LANES, splat(0.0, pairs))
    layer_product(turned, 0, step, k, pairs, step * LANES, gradient, padded(k) * LANES, columns)
    return within * slot_sum(sums, 0) + across * slot_sum(sums, PAIR_SLOTS)
