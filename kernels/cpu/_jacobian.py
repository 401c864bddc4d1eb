"""What decoder and encoder share: directions to push, and the QR of what comes out."""

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._qr import log_volume_tile
from pyscore.kernels.cpu._simd import LANES, fma, load, select, splat, sqrt, store, vabs, widen
from pyscore.kernels.cpu._tiles import store_lanes

__all__ = ["store_volume", "tangent_columns"]


@njit
def tangent_columns(source, at, target, t_at, step, k, tangent):
    """Directions to push: columns of the identity, or the k−1 tangent directions at the code.

    source[at:] is the code z, one Lanes a coordinate; the directions are columns of `target`.

    Tangent: T = last k−1 columns of I − vvᵀ/(1+|u₁|), v = u + sign(u₁)e₁, u = z/|z|. This is the reflection
    that takes e1 to −sign(u₁)u: the same tangent space as the design's (e1 to u), without its cancellation
    at u ≈ e1.
    """
    first = 1 if tangent else 0
    if tangent:
        square = splat(0.0, source)
        for i in range(k):
            z = load(source, at + i * LANES)
            square = fma(z, z, square)
        norm = sqrt(square)
        u0 = load(source, at) / norm
        inverse = 1.0 / (1.0 + vabs(u0))
        sign = select(u0 < 0.0, splat(-1.0, source), splat(1.0, source))
    for c in range(k - first):
        place = t_at + c * step
        for i in range(k):
            unit = splat(1.0 if i == c + first else 0.0, source)
            if tangent:
                v_i = load(source, at + i * LANES) / norm + (sign if i == 0 else splat(0.0, source))
                v_c = load(source, at + (c + 1) * LANES) / norm
                unit = fma(-v_i * inverse, v_c, unit)
            store(target, place + i * LANES, unit)


@njit
def store_volume(source, at, step, d, columns, work, lanes, first, volume, smallest, largest):
    """QR of the Jacobian whose `columns` columns of d Lanes start at `at`; write the rows of its group."""
    for c in range(columns):
        for i in range(d):
            store(work, (c * d + i) * LANES, widen(load(source, at + c * step + i * LANES)))
    tall = d >= columns
    total, least, most = log_volume_tile(
        work, max(d, columns), min(d, columns), LANES if tall else d * LANES, d * LANES if tall else LANES
    )
    store(lanes, 0, total)
    store(lanes, LANES, least)
    store(lanes, 2 * LANES, most)
    store_lanes(lanes, 0, first, volume)
    store_lanes(lanes, LANES, first, smallest)
    store_lanes(lanes, 2 * LANES, first, largest)
