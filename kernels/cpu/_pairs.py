"""Kernels of pairs of rows, a tile of PAIR_ROWS × LANES pairs at a time; no n×m matrix.

Distances come as acc = |x−y|² + (1−|x|²) + (1−|y|²) = 2(1 − x·y), not from the dot product: for close rows
1 − x·y cancels to an absolute error of eps, which c = 0.001 turns into a relative one of 1000 eps. It costs a
second instruction a coordinate (×1.5 in time at k = 9). Squared Euclidean distances leave the two shifts out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyscore.kernels.cpu._compile import compiled, njit
from pyscore.kernels.cpu._math import exp_negative, log
from pyscore.kernels.cpu._simd import (
    LANES,
    PAIR_ROWS,
    PAIR_SLOTS,
    fma,
    load,
    select,
    slot_sum,
    splat,
    store,
    tile_squares,
    widen,
)

__all__ = ["GAUSSIAN", "IMQ", "RQ", "Points", "diagonal_sum", "pack_points", "pair_gradient", "pair_sum"]

IMQ, GAUSSIAN, RQ = range(3)


class Points(NamedTuple):
    """Rows in the two layouts that a tile of pairs reads, padded with their last row."""

    panels: NDArray
    """Flat: [n / PAIR_ROWS][k][PAIR_ROWS], scalars to copy to all lanes."""
    lanes: NDArray
    """Flat: [n / LANES][k][LANES]."""
    shift: NDArray
    """(n padded,) 1 − |x|², summed as if in twice float64; 0 for Euclidean distances."""
    n: int
    k: int


@njit
def _one_minus_square(row):
    """1 − Σ v² with the rounding errors of squares and sums carried along (Dekker's product, Knuth's sum).

    What is left of a unit vector is rounding error: in plain float64 it would be wrong in its first digit.
    """
    total, carry = 1.0, 0.0
    for value in row:
        v = np.float64(value)
        square = v * v
        split = 134217729.0 * v
        high = split - (split - v)
        low = v - high
        carry -= ((high * high - square) + 2.0 * high * low) + low * low
        following = total - square
        back = following - total
        carry += (total - (following - back)) - (square + back)
        total = following
    return total + carry


@compiled
def pack_points(x, cosine):
    """Pack the rows of x (n, k), n ≥ 1."""
    n, k = x.shape
    size = (n + LANES - 1) // LANES * LANES
    panels, lanes, shift = np.empty(size * k, x.dtype), np.empty(size * k, x.dtype), np.zeros(size, x.dtype)
    for s in range(size):
        row = min(s, n - 1)
        for i in range(k):
            value = x[row, i]
            panels[(s // PAIR_ROWS * k + i) * PAIR_ROWS + s % PAIR_ROWS] = value
            lanes[(s // LANES * k + i) * LANES + s % LANES] = value
        if cosine:
            shift[s] = _one_minus_square(x[row])
    return panels, lanes, shift


@njit
def _gaussian(acc, scale):
    """exp(−scale·acc)."""
    return exp_negative(acc * -scale)


@njit
def _rq(acc, power, scale, offset):
    """(1 + t)^−power with t = scale·acc + offset, by log1p: log w + (t − (w−1))/w with w = 1 + t rounded."""
    t = fma(acc, scale, splat(offset, acc))
    w = 1.0 + t
    return exp_negative((log(w) + (t - (w - 1.0)) / w) * -power)


@njit(error_model="numpy")
def _value(code, acc, width, half, eps):
    """The kernel at distance half·acc ≥ 0 of one Lanes of pairs."""
    acc = select(acc < 0.0, splat(0.0, acc), acc)
    if code == IMQ:
        return splat(width / half, acc) / (acc + width / half)
    if code == GAUSSIAN:
        return _gaussian(acc, width * half)
    return _rq(acc, width, half / (2.0 * width), eps / (2.0 * width))


@njit
def _slope(acc, width):
    """−dk/dd = c/(c+d)² of the IMQ kernel at d = acc/2; 0 where d < 0, since there max(0, d) is flat."""
    inverse = 1.0 / (acc * 0.5 + width)
    return select(acc < 0.0, splat(0.0, acc), width * (inverse * inverse))


@njit(error_model="numpy")
def _full_tile(code, tile, width, half, eps):
    """Sum over the PAIR_ROWS rows of a tile, as a balanced tree in the data's dtype.

    IMQ takes rows in pairs, 1/a + 1/b = (a+b)/(ab): one division, which is the slowest instruction here, for two.
    """
    zero = splat(0.0, tile)
    total = zero
    for r in range(0, PAIR_ROWS, 4):
        part = zero
        for q in range(r, r + 4, 2):
            if code == IMQ:
                a, b = load(tile, q * LANES), load(tile, (q + 1) * LANES)
                a = select(a < 0.0, zero, a) + width / half
                b = select(b < 0.0, zero, b) + width / half
                part = part + (a + b) / (a * b)
            else:
                part = part + (
                    _value(code, load(tile, q * LANES), width, half, eps)
                    + _value(code, load(tile, (q + 1) * LANES), width, half, eps)
                )
        total = total + part
    return total * (width / half) if code == IMQ else total


@njit
def _ragged_tile(code, tile, width, half, eps, iota, rows, below, above):
    """Sum over `rows` rows, of row r only the lanes in (below + r, above): the diagonal and the border."""
    zero = splat(0.0, tile)
    total = zero
    for r in range(rows):
        value = _value(code, load(tile, r * LANES), width, half, eps)
        lane = load(iota, 0)
        value = select(lane > below + r, value, zero)
        total = total + select(lane < above, value, zero)
    return total


@njit
def pair_sum(code, x, y, block, widths, half, eps, symmetric, sums, tile, iota, out):
    """out[w] = Σ k_w(x_i, y_j) over the rows i of one block of x and all j, or all j > i if symmetric.

    Float32 terms are added eight at a time in float32 and from there on in float64, always in this order; the
    tiles at the border and on the diagonal, which do so in another order, are those of PAIR_SLOTS rows of y.
    """
    x_panels, _, x_shift, n, k = x
    _, y_lanes, y_shift, m, _ = y
    first = block * PAIR_ROWS
    rows = min(PAIR_ROWS, n - first)
    start = first // PAIR_SLOTS * PAIR_SLOTS if symmetric else 0
    for at in range(0, widths.size * PAIR_SLOTS, LANES):
        store(sums, at, splat(0.0, sums))
    for j in range(start, m, LANES):
        slots = j % PAIR_SLOTS
        tile_squares(x_panels, block * PAIR_ROWS * k, x_shift, first, y_lanes, j * k, y_shift, j, k, tile)
        ragged = rows < PAIR_ROWS or m - (j - slots) < PAIR_SLOTS or (symmetric and j - slots == start)
        below = first - j if symmetric else -PAIR_ROWS - 1
        for w in range(widths.size):
            if ragged:
                part = _ragged_tile(code, tile, widths[w], half, eps, iota, rows, below, m - j)
            else:
                part = _full_tile(code, tile, widths[w], half, eps)
            at = w * PAIR_SLOTS + slots
            store(sums, at, load(sums, at) + widen(part))
    for w in range(widths.size):
        out[w] = slot_sum(sums, w * PAIR_SLOTS)


@compiled
def diagonal_sum(code, shift, width, half, eps):
    """Σ_i k(x_i, x_i), whose distances are not exactly 0 where rows are not exactly of unit norm."""
    total = 0.0
    for i in range(shift.size):
        distance = 2.0 * half * max(np.float64(shift[i]), 0.0)
        if code == IMQ:
            total += width / (width + distance)
        elif code == GAUSSIAN:
            total += np.exp(-width * distance)
        else:
            total += np.exp(-width * np.log1p((distance + eps) / (2.0 * width)))
    return total


@njit
def pair_gradient(x, y, tile_number, width, same, removed, sums, tile, iota, scale, out):
    """out[i] += scale·Σ_j c/(c+d_ij)²·y_j for the LANES rows i of one tile of x: ∂/∂x_i of Σ_j k(x_i, y_j).

    Eight rows j are summed in the data's dtype, and from there on in float64, always in this order.
    """
    _, x_lanes, x_shift, n, k = x
    y_panels, _, y_shift, m, _ = y
    i = tile_number * LANES
    for a in range(k):
        store(sums, a * LANES, splat(0.0, sums))
    lane = load(iota, 0)
    for block in range((m + PAIR_ROWS - 1) // PAIR_ROWS):
        j = block * PAIR_ROWS
        tile_squares(y_panels, j * k, y_shift, j, x_lanes, i * k, x_shift, i, k, tile)
        for r in range(PAIR_ROWS):
            weight = _slope(load(tile, r * LANES), width)
            if j + r >= m:
                weight = splat(0.0, tile)
            elif same and removed:
                weight = select(lane == splat(j + r - i, tile), splat(0.0, tile), weight)
            store(tile, r * LANES, weight)
        for a in range(k):
            part = splat(0.0, tile)
            for r in range(PAIR_ROWS):
                part = fma(load(tile, r * LANES), y_panels[(block * k + a) * PAIR_ROWS + r], part)
            store(sums, a * LANES, load(sums, a * LANES) + widen(part))
    for a in range(k):
        for s in range(min(LANES, n - i)):
            out[i + s, a] += scale * sums[a * LANES + s]
