"""The original's projection: a fixed number of ADAM steps on the codes, off the sphere."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore._core.constants import BETAS
from pyscore.errors import ShapeError
from pyscore.kernels.cpu._compile import compiled, njit
from pyscore.kernels.cpu._network import INPUTS, OUTPUTS, Layers, Packed, aligned, push
from pyscore.kernels.cpu._simd import LANES, fma, load, narrow_like, splat, sqrt, store, widen
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import GROUPS, load_rows, matrix, store_lanes, store_rows
from pyscore.kernels.cpu.encoder_log_volume import _pull, pack_encoder

__all__ = ["Descent", "adam_descent"]

EPSILON = 1e-8


class Descent(NamedTuple):
    """Where the steps of each row ended."""

    z: NDArray
    """(n, k) codes in the network's dtype."""
    gradient_norm: NDArray
    """(n,) float64, ‖Jᵀe‖ there, in R^k."""


@njit
def _adam_step(codes, first, second, gradient, g_at, at, k, n, powers, t, rate):
    """Take one step with the gradient −gradient/n; codes and moments are float64."""
    for i in range(k):
        g = widen(load(gradient, g_at + i * LANES)) / -n
        place = at + i * LANES
        m = BETAS[0] * load(first, place) + (1 - BETAS[0]) * g
        v = BETAS[1] * load(second, place) + (1 - BETAS[1]) * (g * g)
        store(first, place, m)
        store(second, place, v)
        step = m / (1 - powers[0, t]) / (sqrt(v / (1 - powers[1, t])) + EPSILON) * rate
        store(codes, place, load(codes, place) - step)


@compiled
def _run(first, last, forward, backward, code, widest, x, z, rate, powers, rows, groups, out, norm):
    """Do the tiles `first` … `last`, `groups` at a time; powers[i, t] is βᵢᵗ."""
    d, k, step = x.shape[1], z.shape[1], widest * LANES
    values, plan = forward
    steps = powers.shape[1] - 1
    a, b = aligned(groups * step, x), aligned(groups * step, x)
    inputs = aligned(groups * step, x)
    slopes = aligned(plan.shape[0] * groups * step, x)
    codes, m, v = (
        aligned(groups * k * LANES, norm),
        aligned(groups * k * LANES, norm),
        aligned(groups * k * LANES, norm),
    )
    lanes = aligned(LANES, norm)
    for start in range(first, last, groups):
        here = min(groups, last - start)
        m[:], v[:] = 0.0, 0.0
        for g in range(here):
            load_rows(x, (start + g) * LANES, inputs, g * step)
            load_rows(z, (start + g) * LANES, codes, g * k * LANES)
        for t in range(1, steps + 2):
            for g in range(here):
                for i in range(k):
                    store(a, g * step + i * LANES, narrow_like(load(codes, (g * k + i) * LANES), a))
            result = push(values, plan, code, a, b, step, here, 1, slopes, step)
            for g in range(here):
                for i in range(d):
                    at = g * step + i * LANES
                    store(result, at, load(inputs, at) - load(result, at))
            spare = b if plan.shape[0] % 2 == 0 else a
            gradient = _pull(backward[0], backward[1], result, spare, step, here, 1, slopes)
            for g in range(here):
                if t <= steps:
                    _adam_step(codes, m, v, gradient, g * step, g * k * LANES, k, rows, powers, t, rate)
                    continue
                square = splat(0.0, lanes)
                for i in range(k):
                    q = widen(load(gradient, g * step + i * LANES))
                    square = fma(q, q, square)
                    store(a, g * step + i * LANES, narrow_like(load(codes, (g * k + i) * LANES), a))
                store(lanes, 0, sqrt(square))
                store_lanes(lanes, 0, (start + g) * LANES, norm)
        for g in range(here):
            for i in range(k):
                store(a, g * step + i * LANES, narrow_like(load(codes, (g * k + i) * LANES), a))
            store_rows(a, g * step, (start + g) * LANES, out)


def adam_descent(
    decoder: Layers | tuple[Packed, Packed],
    activation: str,
    x: ArrayLike,
    z: ArrayLike,
    powers: ArrayLike,
    *,
    rate: float = 1e-3,
    groups: int = GROUPS,
) -> Descent:
    """Take ADAM steps from z on the mean over the rows of ½‖x − decode(z)‖².

    Parameters
    ----------
    decoder : sequence of (weight (out, in), bias (out,)), or what `pack_encoder` made of it
    activation : str
        One of `ACTIVATIONS`; ignored for packed layers, which know theirs.
    x, z : (n, d), (n, k) arrays of the layers' dtype
    powers : (2, steps + 1) array
        0.9ᵗ and 0.999ᵗ for t = 0 … steps, as `pyscore.reference.minimise.beta_power` has them.
    rate : float
    groups : int
        Tiles a block. Changes the time, never a bit of the result.

    Returns
    -------
    Descent

    Notes
    -----
    Original: `manifoldz`. The mean makes a row's gradient depend on how many rows there are, and so, by the
    1e-8 in ADAM's denominator, the result a little.
    """
    forward, backward = decoder if isinstance(decoder[0], Packed) else pack_encoder(decoder, activation)
    dtype = forward.values.dtype
    k, d = int(forward.plan[0, INPUTS]), int(forward.plan[-1, OUTPUTS])
    x, z = matrix("x", x, d, dtype), matrix("z", z, k, dtype)
    if len(x) != len(z):
        raise ShapeError(f"`z` must have one row for each of the {len(x)} rows of `x`; got {len(z)}.")
    n = len(x)
    result = Descent(np.empty((n, k), dtype), np.empty(n))
    share(
        _run, -(-n // LANES), 2, forward[:2], backward[:2], forward.activation,
        max(forward.widest, backward.widest), x, z, float(rate), np.array(powers, np.float64), float(n), groups,
        *result,
    )  # fmt: skip
    return result
