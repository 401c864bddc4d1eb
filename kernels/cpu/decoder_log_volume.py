"""Log-volume of a decoder, fused: tangents through the layers block by block, then QR; no (n, d, k) array."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray

from pyscore.kernels.cpu._network import INPUTS, OUTPUTS, Layers, Packed, aligned, pack, padded, push
from pyscore.kernels.cpu._qr import log_volume_tile
from pyscore.kernels.cpu._simd import LANES, fma, load, select, splat, sqrt, store, vabs, widen
from pyscore.kernels.cpu._tiles import GROUPS, load_rows, matrix, store_lanes, store_rows, workers_for

__all__ = ["TOLERANCE", "DecoderVolume", "decoder_log_volume", "store_volume", "tangent_columns"]

TOLERANCE = 4
"""|error| ≤ TOLERANCE · eps · cond(J) · k, in nats."""


class DecoderVolume(NamedTuple):
    """What one pass over the codes gives."""

    volume: NDArray
    """(n,) float64, nats."""
    decoded: NDArray
    """(n, d) in the network's dtype."""
    smallest: NDArray
    """(n,) float64, least |r_jj|; 0 where the Jacobian is singular."""
    largest: NDArray
    """(n,) float64, largest |r_jj|."""


@njit
def tangent_columns(source, at, step, k, tangent):  # noqa: ANN001, ANN201
    """Directions to push: columns of the identity, or the k−1 tangent directions at the code in column 0.

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
        place = at + (c + 1) * step
        for i in range(k):
            unit = splat(1.0 if i == c + first else 0.0, source)
            if tangent:
                v_i = load(source, at + i * LANES) / norm + (sign if i == 0 else splat(0.0, source))
                v_c = load(source, at + (c + 1) * LANES) / norm
                unit = fma(-v_i * inverse, v_c, unit)
            store(source, place + i * LANES, unit)


@njit
def store_volume(source, at, step, d, columns, work, lanes, first, volume, smallest, largest):  # noqa: ANN001, ANN201
    """QR of the Jacobian whose `columns` columns of d Lanes start at `at`; write the rows of its group."""
    for c in range(columns):
        for i in range(d):
            store(work, (c * d + i) * LANES, widen(load(source, at + c * step + i * LANES)))
    if d >= columns:
        total, least, most = log_volume_tile(work, d, columns, LANES, d * LANES)
    else:
        total, least, most = log_volume_tile(work, columns, d, d * LANES, LANES)
    store(lanes, 0, total)
    store(lanes, LANES, least)
    store(lanes, 2 * LANES, most)
    store_lanes(lanes, 0, first, volume)
    store_lanes(lanes, LANES, first, smallest)
    store_lanes(lanes, 2 * LANES, first, largest)


@njit
def _run(worker, workers, values, plan, code, widest, z, tangent, groups, volume, decoded, smallest, largest):  # noqa: ANN001, ANN202
    """Do every `workers`-th block of `groups` tiles, starting with number `worker`."""
    n, k = z.shape
    d = decoded.shape[1]
    columns = k if tangent else k + 1
    step = widest * LANES
    a, b = aligned(groups * columns * step, z), aligned(groups * columns * step, z)
    slopes, work = aligned(step, z), aligned(d * columns * LANES, volume)
    lanes = aligned(3 * LANES, volume)
    tiles = (n + LANES - 1) // LANES
    for start in range(worker * groups, tiles, workers * groups):
        here = min(groups, tiles - start)
        for g in range(here):
            load_rows(z, (start + g) * LANES, a, g * columns * step)
            tangent_columns(a, g * columns * step, step, k, tangent)
        result = push(values, plan, code, a, b, step, here, columns, slopes, 0)
        for g in range(here):
            at, first = g * columns * step, (start + g) * LANES
            store_rows(result, at, first, decoded)
            store_volume(result, at + step, step, d, columns - 1, work, lanes, first, volume, smallest, largest)


@njit(cache=True, parallel=True, nogil=True)
def _drive(workers, values, plan, code, widest, z, tangent, groups, volume, decoded, smallest, largest):  # noqa: ANN001, ANN202
    if workers == 1:
        _run(0, 1, values, plan, code, widest, z, tangent, groups, volume, decoded, smallest, largest)
    else:
        for worker in prange(workers):
            _run(worker, workers, values, plan, code, widest, z, tangent, groups, volume, decoded, smallest, largest)


def decoder_log_volume(
    layers: Layers | Packed, activation: str, z: ArrayLike, tangent: bool = True, *, groups: int = GROUPS
) -> DecoderVolume:
    """Σ_i log s_i(J(z)) of a decoder, with decode(z), in one pass.

    Parameters
    ----------
    layers : sequence of (weight (out, in), bias (out,)), or what `pack` made of it
        All float32 or all float64; the activation follows every layer but the last.
    activation : str
        One of `ACTIVATIONS`; ignored for packed layers, which know theirs.
    z : (n, k) array of the layers' dtype
        Codes; of unit norm if `tangent`.
    tangent : bool
        Restrict J to the k−1 tangent directions of the sphere at z (EXACT), or not (ORIGINAL).
    groups : int
        Tiles a block. Changes the time, never a bit of the result.

    Returns
    -------
    DecoderVolume : volume (n,) in nats, decoded (n, d), smallest and largest |r_jj| (n,).

    Notes
    -----
    Section 3.4. Original: `log_pz_jacobian_decoder`, which differentiates one sample at a time.
    """
    packed = layers if isinstance(layers, Packed) else pack(layers, activation)
    z = matrix("z", z, int(packed.plan[0, INPUTS]), packed.values.dtype)
    n, d = z.shape[0], int(packed.plan[-1, OUTPUTS])
    decoded = np.empty((n, d), z.dtype)
    volume, smallest, largest = np.empty(n), np.empty(n), np.empty(n)
    workers = workers_for(-(-n // LANES))
    _drive(workers, *packed[:2], packed.activation, packed.widest, z, tangent, groups, volume, decoded, smallest, largest)
    return DecoderVolume(volume, decoded, smallest, largest)
