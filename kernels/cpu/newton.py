"""The nearest point of a decoder's manifold, and the mode of a posterior: damped Newton steps, one row a lane.

A row that is done leaves its lane, and the next one takes it; at the end the rows that are left move together.
So a row that needs a hundred steps doesn't hold the others. Lanes never meet: no bit depends on who shares a tile.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._compile import compiled, njit
from pyscore.kernels.cpu._eigen import symmetric_eigen
from pyscore.kernels.cpu._jacobian import tangent_columns
from pyscore.kernels.cpu._joint import GAUSSIAN, MIXTURE, NO_PRIOR, add_network, set_prior
from pyscore.kernels.cpu._math import log
from pyscore.kernels.cpu._network import INPUTS, OUTPUTS, Layers, Packed, aligned
from pyscore.kernels.cpu._simd import (
    LANES,
    fma,
    load,
    narrow_like,
    polynomial,
    select,
    splat,
    sqrt,
    store,
    vabs,
    widen,
)
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import GROUPS, copy_lanes, matrix
from pyscore.kernels.cpu.encoder_log_volume import pack_encoder
from pyscore.kernels.cpu.log_prior import prior_arrays

__all__ = ["Minimum", "damped_newton"]

_SERIAL_TILES = 4
_TINY = float(np.finfo(np.float64).tiny)
_QUARTER_TURN = 0.5 * math.pi
_COSINE = polynomial({types.float64: tuple((-1) ** i / math.factorial(2 * i) for i in range(13))})
"""cos √u for 0 ≤ u ≤ (π/2)²; what is cut off is below 1e-21."""
_SINC = polynomial({types.float64: tuple((-1) ** i / math.factorial(2 * i + 1) for i in range(13))})
"""sin √u / √u."""

VALUE, FIRST, DAMPING, COUNT, FRESH, LAST, NEGLIGIBLE, NORM, DONE, LOG_DET, DEFINITE, STATE = range(12)
"""Numbers of a lane that are kept from step to step; its gradient (m) and Hessian (m·m) stand behind them."""


class Minimum(NamedTuple):
    """Where the steps of each row ended."""

    z: NDArray
    """(n, k) codes in the network's dtype."""
    value: NDArray
    """(n,) float64, the objective there, nats."""
    gradient_norm: NDArray
    """(n,) float64, along the sphere if the latent space is one."""
    iterations: NDArray
    """(n,) int64, steps tried."""
    log_det: NDArray
    """(n,) float64, log det of the Hessian along the latent space; NaN if it is not positive definite."""


@njit
def _accept(state, at, new, n_at, m, eps, steps, z, trial, z_at, k):
    """Take the trial point of each lane or leave it, and say which lanes are done."""
    one, zero = splat(1.0, state), splat(0.0, state)
    square = zero
    for i in range(m):
        g = load(new, n_at + (1 + i) * LANES)
        square = fma(g, g, square)
    new_norm, new_f = sqrt(square), load(new, n_at)
    f, norm = load(state, at + VALUE * LANES), load(state, at + NORM * LANES)
    fresh = load(state, at + FRESH * LANES) > 0.5
    damping = load(state, at + DAMPING * LANES)
    rounding = 64.0 * eps * (1.0 + vabs(f))
    flatter = select(new_norm < norm, one, zero)
    better = select(new_f < f - rounding, one, select(new_f <= f + rounding, flatter, zero))
    better = select(fresh, one, better)
    taken = better > 0.5
    stuck = select(damping > 1e12, one, load(state, at + NEGLIGIBLE * LANES))
    count = load(state, at + COUNT * LANES) + select(fresh, zero, one)
    done = select(taken, zero, stuck)
    done = select(count >= steps, one, done)
    done = select(load(state, at + LAST * LANES) > 0.5, one, done)
    store(state, at + DONE * LANES, done)
    store(state, at + COUNT * LANES, count)
    smaller = damping * 0.1
    smaller = select(smaller < 1e-15, splat(1e-15, state), smaller)
    damping = select(fresh, damping, select(taken, smaller, 10.0 * damping))
    store(state, at + DAMPING * LANES, damping)
    store(state, at + FIRST * LANES, select(fresh, new_f, load(state, at + FIRST * LANES)))
    store(state, at + VALUE * LANES, select(taken, new_f, f))
    store(state, at + NORM * LANES, select(taken, new_norm, norm))
    store(state, at + FRESH * LANES, zero)
    for i in range(m + m * m):
        place = at + (STATE + i) * LANES
        store(state, place, select(taken, load(new, n_at + (1 + i) * LANES), load(state, place)))
    for i in range(k):
        place = z_at + i * LANES
        store(z, place, select(taken, load(trial, place), load(z, place)))


@njit
def _decompose(state, at, m, work):
    """Eigenvalues and eigenvectors of the Hessian into `work`, and its log det into the state."""
    for i in range(m * m):
        store(work, i * LANES, load(state, at + (STATE + m + i) * LANES))
    symmetric_eigen(work, 0, m)
    one, zero = splat(1.0, work), splat(0.0, work)
    log_det, definite = zero, one
    for i in range(m):
        value = load(work, (i * m + i) * LANES)
        positive = value > 0.0
        definite = select(positive, definite, zero)
        log_det = log_det + log(select(positive, value, one))
    store(state, at + LOG_DET * LANES, log_det)
    store(state, at + DEFINITE * LANES, definite)


@njit
def _step(state, at, m, eps, work, z, trial, z_at, k, sphere, frame):
    """Next trial point of the lanes that have one: δ = −Q (|Λ| + λ max|Λ|)⁻¹ Qᵀg, at most a quarter turn."""
    zero = splat(0.0, work)
    vectors, along, delta = m * m * LANES, 2 * m * m * LANES, (2 * m * m + m) * LANES
    largest = splat(_TINY, work)
    for i in range(m):
        size = vabs(load(work, (i * m + i) * LANES))
        largest = select(size > largest, size, largest)
        total = zero
        for j in range(m):
            g = load(state, at + (STATE + j) * LANES)
            total = fma(load(work, vectors + (j * m + i) * LANES), g, total)
        store(work, along + i * LANES, total)
    shift = load(state, at + DAMPING * LANES) * largest
    square = zero
    for j in range(m):
        total = zero
        for i in range(m):
            size = vabs(load(work, (i * m + i) * LANES)) + shift
            total = total - load(work, vectors + (j * m + i) * LANES) * (load(work, along + i * LANES) / size)
        store(work, delta + j * LANES, total)
        square = fma(total, total, square)
    turn = splat(1.0, work)
    if sphere:
        turn = sqrt(square) / _QUARTER_TURN
        turn = select(turn > 1.0, turn, splat(1.0, work))
    slope = zero
    for j in range(m):
        moved = load(work, delta + j * LANES) / turn
        store(work, delta + j * LANES, moved)
        slope = fma(-load(state, at + (STATE + j) * LANES), moved, slope)
    rounding = 64.0 * eps * (1.0 + vabs(load(state, at + VALUE * LANES)))
    store(state, at + NEGLIGIBLE * LANES, select(slope <= rounding, splat(1.0, work), zero))
    tangent_columns(z, z_at, frame, 0, k * LANES, k, sphere)
    target = (2 * m * m + 2 * m) * LANES
    square = zero
    for i in range(k):
        total = zero
        for c in range(m):
            total = fma(widen(load(frame, (c * k + i) * LANES)), load(work, delta + c * LANES), total)
        store(work, target + i * LANES, total)
        square = fma(total, total, square)
    if sphere:
        cosine, sinc, square = _COSINE(square), _SINC(square), zero
        for i in range(k):
            place = target + i * LANES
            total = fma(sinc, load(work, place), cosine * widen(load(z, z_at + i * LANES)))
            store(work, place, total)
            square = fma(total, total, square)
        norm = sqrt(square)
    fresh = load(state, at + FRESH * LANES) > 0.5
    for i in range(k):
        place = z_at + i * LANES
        total = load(work, target + i * LANES)
        total = total / norm if sphere else total + widen(load(z, place))
        store(trial, place, select(fresh, load(trial, place), narrow_like(total, trial)))


@njit
def _enter(row, slot, state, width, x, rows_x, d, start, rows_z, trial, k):
    """Put a row into a lane: its first trial point is where it starts."""
    g, s = slot // LANES, slot % LANES
    for i in range(d):
        x[(g * d + i) * LANES + s] = rows_x[row, i]
    for i in range(k):
        start[(g * k + i) * LANES + s] = rows_z[row, i]
        trial[(g * k + i) * LANES + s] = rows_z[row, i]
    for item in range(width):
        state[g * width * LANES + item * LANES + s] = 0.0
    state[g * width * LANES + DAMPING * LANES + s] = 1e-4
    state[g * width * LANES + FRESH * LANES + s] = 1.0


@njit
def _leave(row, slot, state, width, z, start, trial, k, out):
    """Write the result of a lane that is done; if its start was better, send it back there and return False."""
    g, s = slot // LANES, slot % LANES
    at = g * width * LANES + s
    if not (state[at + VALUE * LANES] <= state[at + FIRST * LANES] or state[at + LAST * LANES] > 0.5):
        for i in range(k):
            trial[(g * k + i) * LANES + s] = start[(g * k + i) * LANES + s]
        state[at + FRESH * LANES] = 1.0
        state[at + LAST * LANES] = 1.0
        return False
    codes, value, norm, count, log_det = out
    for i in range(k):
        codes[row, i] = z[(g * k + i) * LANES + s]
    value[row] = state[at + VALUE * LANES]
    norm[row] = state[at + NORM * LANES]
    count[row] = np.int64(state[at + COUNT * LANES])
    log_det[row] = state[at + LOG_DET * LANES] if state[at + DEFINITE * LANES] > 0.5 else np.nan
    return True


@njit
def _move_lane(array, items, source, target):
    """Copy the numbers of one lane, `items` a group, to another."""
    a = source // LANES * items * LANES + source % LANES
    b = target // LANES * items * LANES + target % LANES
    for i in range(items):
        array[b + i * LANES] = array[a + i * LANES]


@njit
def _close_ranks(slots, groups, state, width, x, d, z, start, trial, k):
    """Move the last rows into free lanes of the groups before; return how many groups are still in use."""
    free, used = 0, groups * LANES - 1
    while True:
        while free < groups * LANES and slots[free] >= 0:
            free += 1
        while used >= 0 and slots[used] < 0:
            used -= 1
        if used < free:
            return (used + LANES) // LANES
        _move_lane(state, width, used, free)
        _move_lane(x, d, used, free)
        _move_lane(z, k, used, free)
        _move_lane(start, k, used, free)
        _move_lane(trial, k, used, free)
        slots[free], slots[used] = slots[used], -1


@compiled
def _run(
    first, last, forward, backward, code, widest, rows_x, rows_z, sphere, kind, prior, precision, offset, eps,
    steps, groups, out,
):  # fmt: skip
    """Do the rows of the tiles `first` … `last`, as many at a time as `groups` have lanes."""
    d, k = rows_x.shape[1], rows_z.shape[1]
    m = k - 1 if sphere else k
    columns, step, layers = m + 1, widest * LANES, forward[1].shape[0]
    width, n_items = STATE + m + m * m, 1 + m + m * m
    like = out[1]
    state, new = aligned(groups * width * LANES, like), aligned(groups * n_items * LANES, like)
    work = aligned((2 * m * m + 2 * m + k) * LANES, like)
    weights, radial = aligned((prior[1].size + m) * LANES, like), aligned(groups * LANES, like)
    x = aligned(groups * d * LANES, rows_x)
    z, start = aligned(groups * k * LANES, rows_x), aligned(groups * k * LANES, rows_x)
    trial = aligned(groups * k * LANES, rows_x)
    frame = aligned(k * max(m, 1) * LANES, rows_x)
    buffers = (
        aligned(groups * columns * step, rows_x), aligned(layers * groups * columns * step, rows_x),
        aligned(layers * groups * step, rows_x), aligned(layers * groups * step, rows_x),
        aligned(groups * step, rows_x), aligned(groups * step, rows_x),
    )  # fmt: skip
    active = buffers[0]
    x[:], z[:], start[:], trial[:], state[:], new[:] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    slots = np.full(groups * LANES, -1, np.int64)
    row, end, here = first * LANES, min(last * LANES, rows_x.shape[0]), groups
    items = (n_items * LANES, (0, LANES, (1 + m) * LANES))
    for slot in range(groups * LANES):
        if row < end:
            _enter(row, slot, state, width, x, rows_x, d, start, rows_z, trial, k)
            slots[slot] = row
            row += 1
    here = _close_ranks(slots, here, state, width, x, d, z, start, trial, k)
    while here > 0:
        for g in range(here):
            at, z_at = g * columns * step, g * k * LANES
            copy_lanes(trial, z_at, active, at, k)
            tangent_columns(active, at, active, at + step, step, k, sphere)
            n_at = g * n_items * LANES
            along = set_prior(
                kind, prior, active, at, active, at + step, step, k, m,
                n_at, n_at + LANES, n_at + (1 + m) * LANES, new, weights,
            )  # fmt: skip
            store(radial, g * LANES, along)
        add_network(
            forward, backward, code, x, d * LANES, trial, precision, offset, sphere, step, here, k, m, buffers,
            radial, items, new,
        )  # fmt: skip
        for g in range(here):
            at, z_at = g * width * LANES, g * k * LANES
            _accept(state, at, new, g * n_items * LANES, m, eps, steps, z, trial, z_at, k)
            _decompose(state, at, m, work)
            for s in range(LANES):
                slot = g * LANES + s
                if slots[slot] < 0 or state[at + DONE * LANES + s] < 0.5:
                    continue
                if _leave(slots[slot], slot, state, width, z, start, trial, k, out):
                    slots[slot] = -1
                    if row < end:
                        _enter(row, slot, state, width, x, rows_x, d, start, rows_z, trial, k)
                        slots[slot] = row
                        row += 1
            _step(state, at, m, eps, work, z, trial, z_at, k, sphere, frame)
        if row == end:
            here = _close_ranks(slots, here, state, width, x, d, z, start, trial, k)


def damped_newton(
    decoder: Layers | tuple[Packed, Packed],
    activation: str,
    x: ArrayLike,
    z: ArrayLike,
    *,
    sphere: bool = True,
    precision: float = 1.0,
    offset: float = 0.0,
    prior: tuple[ArrayLike, ArrayLike, ArrayLike] | str | None = None,
    steps: int = 100,
    groups: int = GROUPS,
) -> Minimum:
    """argmin_z ½·precision·‖x − decode(z)‖² + offset − log p(z), from a start z, row by row.

    Parameters
    ----------
    decoder : sequence of (weight (out, in), bias (out,)), or what `pack_encoder` made of it
    activation : str
        One of `ACTIVATIONS`; ignored for packed layers, which know theirs.
    x : (n, d) array of the layers' dtype
    z : (n, k) array of the layers' dtype
        Where the steps begin; of unit norm if `sphere`.
    sphere : bool
        Move along the unit sphere, or in R^k.
    precision : float
        1/σ² of the noise; 1 for the nearest point.
    offset : float
        A constant of the objective. It counts, since what is a negligible change depends on the objective's size.
    prior : (mu_u (p, k), kappa_u (p,), log_normaliser (p,)), or "gaussian", or None
        log p(z) of a mixture of von Mises-Fisher densities (see `log_prior`), of N(0, I), or 0: the projection.
    steps : int
        At most so many.
    groups : int
        Tiles a block. Changes the time, never a bit of the result.

    Returns
    -------
    Minimum

    Notes
    -----
    The steps and the rule that ends them are those of `reference.minimise.damped_newton`; eps is the layers'.
    """
    forward, backward = decoder if isinstance(decoder[0], Packed) else pack_encoder(decoder, activation)
    dtype = forward.values.dtype
    k, d = int(forward.plan[0, INPUTS]), int(forward.plan[-1, OUTPUTS])
    x, z = matrix("x", x, d, dtype), matrix("z", z, k, dtype)
    if len(x) != len(z):
        raise ShapeError(f"`z` must have one row for each of the {len(x)} rows of `x`; got {len(z)}.")
    if k - sphere < 1:
        raise InvalidInput(f"`z` must have at least {1 + sphere} columns, so that it can move; got {k}.")
    if isinstance(prior, str) and (prior != "gaussian" or sphere):
        raise InvalidInput(f"`prior` must be 'gaussian' off the sphere, or a mixture, or None; got {prior!r}.")
    kind = NO_PRIOR if prior is None else GAUSSIAN if isinstance(prior, str) else MIXTURE
    components = prior if kind == MIXTURE else (np.zeros((1, k)), np.zeros(1), np.zeros(1))
    n = len(x)
    out = (np.empty((n, k), dtype), np.empty(n), np.empty(n), np.empty(n, np.int64), np.empty(n))
    share(
        _run, -(-n // LANES), _SERIAL_TILES,
        forward[:2], backward[:2], forward.activation, max(forward.widest, backward.widest), x, z, bool(sphere),
        kind, prior_arrays(k, *components), float(precision), float(offset), float(np.finfo(dtype).eps), steps,
        groups, out,
    )  # fmt: skip
    return Minimum(*out)
