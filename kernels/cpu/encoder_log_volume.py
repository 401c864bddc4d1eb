"""Log-volume of an encoder whose codes lie on the sphere, in reverse mode: k−1 cotangents, not d tangents."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.kernels.cpu._compile import compiled, njit
from pyscore.kernels.cpu._jacobian import store_volume, tangent_columns
from pyscore.kernels.cpu._network import (
    INPUTS,
    OUTPUTS,
    Layers,
    Packed,
    aligned,
    layer_product,
    multiply_columns,
    pack,
    push,
)
from pyscore.kernels.cpu._simd import LANES, fma, load, splat, store
from pyscore.kernels.cpu._terms import normalize_column
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import GROUPS, SERIAL_TILES, load_rows, matrix, store_rows

__all__ = ["TOLERANCE", "EncoderVolume", "encoder_log_volume", "pack_encoder"]

TOLERANCE = 16
"""|error| ≤ TOLERANCE · eps · cond(TᵀJ) · k, in nats, as for the decoder, times |a|/|v| ≥ 1 where the head
v cancels. The ambient volume is rounding noise, since mu has rank k−1."""


class EncoderVolume(NamedTuple):
    """What one pass over the rows gives."""

    volume: NDArray
    """(n,) float64, nats."""
    mu: NDArray
    """(n, k) in the network's dtype, codes on the sphere."""
    smallest: NDArray
    """(n,) float64, least |r_jj|."""
    largest: NDArray
    """(n,) float64, largest |r_jj|."""


@njit
def _cotangents(v, v_at, mu, root, target, at, step, k, tangent):
    """Rows of Tᵀ·∂(v/root)/∂v = Tᵀ/root, since T ⊥ mu; or of the whole (I − mu·muᵀ)/root."""
    tangent_columns(v, v_at, target, at, step, k, tangent)
    for c in range(k - 1 if tangent else k):
        mu_c = splat(0.0, v) if tangent else load(mu, c * LANES)
        for i in range(k):
            place = at + c * step + i * LANES
            store(target, place, fma(-mu_c, load(mu, i * LANES), load(target, place)) / root)


@njit
def _pull(values, plan, source, target, step, groups, columns, slopes):
    """Pull cotangents back through the transposed layers, last layer first; return the buffer that has them."""
    layers = plan.shape[0]
    for layer in range(layers):
        inputs, outputs, weights_at = plan[layer, 0], plan[layer, 1], plan[layer, 2]
        layer_product(values, weights_at, inputs, outputs, source, step, target, step, groups * columns)
        below = layers - 2 - layer
        for g in range(groups if below >= 0 else 0):
            multiply_columns(
                outputs, columns, target, g * columns * step, step, slopes, (below * groups + g) * step
            )
        source, target = target, source
    return source


@compiled
def _run(
    first, last, forward, backward, plans, code, widest, x, tangent, eps, groups, volume, mu, smallest, largest
):
    """Do the tiles `first` … `last`, `groups` at a time; plans[0] is that of `forward`, plans[1] of `backward`."""
    d, k = x.shape[1], mu.shape[1]
    columns, step = k - 1 if tangent else k, widest * LANES
    size = groups * max(columns, 1) * step
    a, b, code_column = aligned(size, x), aligned(size, x), aligned(k * LANES, x)
    slopes = aligned(plans.shape[1] * groups * step, x)
    work, lanes = aligned(d * columns * LANES, volume), aligned(3 * LANES, volume)
    values, cotangents = aligned(groups * step, x), aligned(size, x)
    for start in range(first, last, groups):
        here = min(groups, last - start)
        for g in range(here):
            load_rows(x, (start + g) * LANES, a, g * step)
        heads = push(forward, plans[0], code, a, values, step, here, 1, slopes, step)
        for g in range(here):
            root = normalize_column(heads, g * step, code_column, 0, k, eps)
            _cotangents(heads, g * step, code_column, root, cotangents, g * columns * step, step, k, tangent)
            store_rows(code_column, 0, (start + g) * LANES, mu)
        result = _pull(backward, plans[1], cotangents, b, step, here, columns, slopes)
        for g in range(here):
            row = (start + g) * LANES
            store_volume(result, g * columns * step, step, d, columns, work, lanes, row, volume, smallest, largest)


def pack_encoder(layers: Layers, activation: str) -> tuple[Packed, Packed]:
    """Pack an encoder for the forward and for the reverse pass."""
    return pack(layers, activation), pack(layers, activation, transposed=True)


def encoder_log_volume(
    layers: Layers | tuple[Packed, Packed],
    activation: str,
    x: ArrayLike,
    tangent: bool = True,
    *,
    norm_eps: float = 0.0,
    groups: int = GROUPS,
) -> EncoderVolume:
    """Σ_i log s_i(TᵀJ(x)) of mu(x) = normalize(network(x)), with mu(x), in one pass.

    Parameters
    ----------
    layers : sequence of (weight (out, in), bias (out,)), or what `pack_encoder` made of it
        The last layer is the head that is normalised.
    activation : str
        After every layer but the last; ignored for packed layers, which know theirs.
    x : (n, d) array of the layers' dtype
    tangent : bool
        TᵀJ on the tangent space at mu (EXACT), or J whose last singular value is rounding noise (ORIGINAL).
    norm_eps : float
        What `normalize` adds inside its root: 0 (EXACT) or the machine epsilon of the dtype (ORIGINAL).
    groups : int
        Tiles a block. Changes the time, never a bit of the result.

    Returns
    -------
    EncoderVolume : volume (n,) in nats, mu (n, k), smallest and largest |r_jj| (n,).

    Notes
    -----
    Equation (8). Original: `log_pz_jacobian_encoder`, which differentiates one sample at a time.
    """
    forward, backward = layers if isinstance(layers[0], Packed) else pack_encoder(layers, activation)
    x = matrix("x", x, int(forward.plan[0, INPUTS]), forward.values.dtype)
    n, k = x.shape[0], int(forward.plan[-1, OUTPUTS])
    mu = np.empty((n, k), x.dtype)
    volume, smallest, largest = np.empty(n), np.empty(n), np.empty(n)
    widest = max(forward.widest, backward.widest)
    network = (
        forward.values,
        backward.values,
        np.stack([forward.plan, backward.plan]),
        forward.activation,
        widest,
    )
    rest = (x, bool(tangent), float(norm_eps), groups, volume, mu, smallest, largest)
    share(_run, -(-n // LANES), SERIAL_TILES, *network, *rest)
    return EncoderVolume(volume, mu, smallest, largest)
