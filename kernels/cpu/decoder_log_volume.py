"""Log-volume of a decoder, fused: tangents through the layers block by block, then QR; no (n, d, k) array."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.kernels.cpu._compile import compiled
from pyscore.kernels.cpu._jacobian import store_volume, tangent_columns
from pyscore.kernels.cpu._network import INPUTS, OUTPUTS, Layers, Packed, aligned, pack, push
from pyscore.kernels.cpu._simd import LANES
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import GROUPS, SERIAL_TILES, load_rows, matrix, store_rows

__all__ = ["TOLERANCE", "DecoderVolume", "decoder_log_volume"]

TOLERANCE = 16
"""|error| ≤ TOLERANCE · eps · cond(J) · k, in nats: 4 of them for the QR, the rest for the rounding of J itself,
whose entries went through sums of 64 terms four times (largest seen: 4.0 in all)."""


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


@compiled
def _run(first, last, values, plan, code, widest, z, tangent, groups, volume, decoded, smallest, largest):
    """Do the tiles `first` … `last`, `groups` at a time."""
    k, d = z.shape[1], decoded.shape[1]
    columns = k if tangent else k + 1
    step = widest * LANES
    a, b = aligned(groups * columns * step, z), aligned(groups * columns * step, z)
    slopes, work = aligned(step, z), aligned(d * columns * LANES, volume)
    lanes = aligned(3 * LANES, volume)
    for start in range(first, last, groups):
        here = min(groups, last - start)
        for g in range(here):
            load_rows(z, (start + g) * LANES, a, g * columns * step)
            tangent_columns(a, g * columns * step, a, (g * columns + 1) * step, step, k, tangent)
        result = push(values, plan, code, a, b, step, here, columns, slopes, 0)
        for g in range(here):
            at, row = g * columns * step, (start + g) * LANES
            store_rows(result, at, row, decoded)
            store_volume(result, at + step, step, d, columns - 1, work, lanes, row, volume, smallest, largest)


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
    network = (packed.values, packed.plan, packed.activation, packed.widest)
    share(_run, -(-n // LANES), SERIAL_TILES, *network, z, tangent, groups, volume, decoded, smallest, largest)
    return DecoderVolume(volume, decoded, smallest, largest)
