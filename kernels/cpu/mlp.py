"""Values of a multilayer perceptron: decode(z), and the hidden layers and heads of the encoder."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.kernels.cpu._compile import compiled
from pyscore.kernels.cpu._network import INPUTS, OUTPUTS, Layers, Packed, aligned, pack, push
from pyscore.kernels.cpu._simd import LANES
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import GROUPS, SERIAL_TILES, load_rows, matrix, store_rows

__all__ = ["TOLERANCE", "mlp"]

TOLERANCE = 32
"""|error| ≤ TOLERANCE · eps · (largest |W|·|a| + |b| of any layer): sums of 64 terms, four layers deep."""


@compiled
def _run(first, last, values, plan, code, widest, x, groups, out):
    step = widest * LANES
    a, b, slopes = aligned(groups * step, x), aligned(groups * step, x), aligned(step, x)
    for start in range(first, last, groups):
        here = min(groups, last - start)
        for g in range(here):
            load_rows(x, (start + g) * LANES, a, g * step)
        result = push(values, plan, code, a, b, step, here, 1, slopes, 0)
        for g in range(here):
            store_rows(result, g * step, (start + g) * LANES, out)


def mlp(layers: Layers | Packed, activation: str, x: ArrayLike, *, groups: int = GROUPS) -> NDArray:
    """Outputs W_L φ(… φ(W_1 x + b_1) …) + b_L of the network.

    Parameters
    ----------
    layers : sequence of (weight (out, in), bias (out,)), or what `pack` made of it
    activation : str
        φ, after every layer but the last; ignored for packed layers, which know theirs.
    x : (n, in) array of the layers' dtype
    groups : int
        Tiles a block. Changes the time, never a bit of the result.

    Returns
    -------
    (n, out) array of the layers' dtype.

    Notes
    -----
    Original: `m.g`, `m.q`.
    """
    packed = layers if isinstance(layers, Packed) else pack(layers, activation)
    x = matrix("x", x, int(packed.plan[0, INPUTS]), packed.values.dtype)
    out = np.empty((x.shape[0], int(packed.plan[-1, OUTPUTS])), x.dtype)
    network = (packed.values, packed.plan, packed.activation, packed.widest)
    share(_run, -(-x.shape[0] // LANES), 4 * SERIAL_TILES, *network, x, groups, out)
    return out
