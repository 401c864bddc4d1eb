"""The importance-sampling estimate of log p(x): draws, decoder passes and their log-sum-exp, one row a lane."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import ShapeError
from pyscore.kernels.cpu._compile import compiled, njit
from pyscore.kernels.cpu._draws import accept_draws, mirror_of, sample_lanes, wood_constants
from pyscore.kernels.cpu._math import exp_negative, log
from pyscore.kernels.cpu._network import INPUTS, OUTPUTS, Layers, Packed, aligned, pack, push_values
from pyscore.kernels.cpu._simd import LANES, fma, load, select, splat, store, widen
from pyscore.kernels.cpu._terms import likelihood_tile, prior_tile
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import GROUPS, copy_lanes, load_rows, matrix, store_lanes
from pyscore.kernels.cpu.log_likelihood import likelihood_constants
from pyscore.kernels.cpu.log_prior import prior_arrays

__all__ = ["Estimate", "importance"]


class Estimate(NamedTuple):
    """Sums over the draws of each row, in logarithms."""

    weight: NDArray
    """(n,) float64: log Σ_i exp(log p(x|z_i) + log p(z_i) − κ z_i·mu), or that without log p(z_i) if `outer`."""
    prior: NDArray
    """(n,) float64: log Σ_i p(z_i) if `outer`, else 0."""
    unaccepted: int
    """Draws that the sampler gave up on."""


@njit
def _add(sums, at, term):
    """Add exp(term) to a sum that is held as its largest exponent and the rest."""
    top = load(sums, at)
    larger = select(term > top, term, top)
    shift = select(larger > -np.inf, larger, splat(0.0, sums))
    rest = fma(load(sums, at + LANES), exp_negative(top - shift), exp_negative(term - shift))
    store(sums, at, larger)
    store(sums, at + LANES, rest)


@njit
def _total(sums, at):
    top = load(sums, at)
    return log(load(sums, at + LANES)) + select(top > -np.inf, top, splat(0.0, sums))


@njit
def _inject(epsilon, v, row, rows, count, draws):
    """Copy given draws to the lanes of a tile."""
    width = 1 + v.shape[1]
    for s in range(LANES):
        first = min(row + s, rows - 1) * count
        for i in range(count):
            draws[i * width * LANES + s] = epsilon[first + i]
            for j in range(width - 1):
                draws[(i * width + 1 + j) * LANES + s] = v[first + i, j]


@compiled
def _run(
    first, last, decoder, code, widest, x, mu, kappa, drawn, keys, seed, stream, given, machine, eps, precision,
    constant, prior, outer, groups, out,
):  # fmt: skip
    """Do the tiles `first` … `last`, `groups` draws at a time; `given` holds injected draws, or nothing."""
    k, step = mu.shape[1], widest * LANES
    epsilon, v, count = given
    injected = epsilon.shape[0] > 0
    weights, priors, lost = out
    like = weights
    mu_u, kappa_u, log_weight = prior
    a, b = aligned(groups * step, x), aligned(groups * step, x)
    codes, inputs = aligned(groups * k * LANES, x), aligned(step, x)
    centre, mirror = aligned(k * LANES, like), aligned(k * LANES, like)
    scratch = aligned((k + 1) * LANES, like), aligned((k + 6) * LANES, like)
    draws, wood = aligned(count * k * LANES, like), aligned(6 * LANES, like)
    lanes, sums = aligned(2 * LANES, like), aligned(4 * LANES, like)
    work = aligned(mu_u.shape[0] * LANES, like)
    words, own = np.empty(4, np.uint64), np.empty(LANES, np.uint64)
    rows = x.shape[0]
    for tile in range(first, last):
        row = tile * LANES
        load_rows(x, row, inputs, 0)
        load_rows(mu, row, centre, 0)
        for s in range(LANES):
            at = min(row + s, rows - 1)
            lanes[s], lanes[LANES + s], own[s] = kappa[at], drawn[at], keys[at]
        concentration = load(lanes, 0)
        wood_constants(concentration, k - 1, wood, 0)
        wood_constants(load(lanes, LANES), k - 1, wood, 3 * LANES)
        mirror_of(centre, k, machine, eps, mirror)
        for i in range(2):
            store(sums, 2 * i * LANES, splat(-np.inf, sums))
            store(sums, (2 * i + 1) * LANES, splat(0.0, sums))
        if injected:
            _inject(epsilon, v, row, rows, count, draws)
        else:
            lost[tile] = accept_draws(seed, own, stream, wood, 3 * LANES, k, count, scratch, words, draws)
        for start in range(0, count, groups):
            here = min(groups, count - start)
            for g in range(here):
                at = (start + g) * k * LANES
                sample_lanes(mirror, k, load(wood, 0), draws, at, machine, eps, codes, g * k * LANES)
                copy_lanes(codes, g * k * LANES, a, g * step, k)
            decoded = push_values(decoder[0], decoder[1], code, a, b, step, here)
            for g in range(here):
                z_at, cosine = g * k * LANES, splat(0.0, like)
                for i in range(k):
                    cosine = fma(widen(load(codes, z_at + i * LANES)), load(centre, i * LANES), cosine)
                likelihood = likelihood_tile(inputs, 0, decoded, g * step, precision, constant)
                weight = fma(-concentration, cosine, likelihood)
                density = prior_tile(codes, z_at, mu_u, kappa_u, log_weight, work)
                if outer:
                    _add(sums, 2 * LANES, density)
                else:
                    weight = weight + density
                _add(sums, 0, weight)
        store(lanes, 0, _total(sums, 0))
        store_lanes(lanes, 0, row, weights)
        if outer:
            store(lanes, 0, _total(sums, 2 * LANES))
            store_lanes(lanes, 0, row, priors)


def importance(
    decoder: Layers | Packed,
    activation: str,
    x: ArrayLike,
    mu: ArrayLike,
    kappa: ArrayLike,
    prior: tuple[ArrayLike, ArrayLike, ArrayLike],
    draws: tuple[NDArray, int, int, int] | tuple[NDArray, NDArray],
    drawn: ArrayLike | None = None,
    *,
    sigma2: ArrayLike = 1.0,
    log_two_pi: float | None = None,
    norm_eps: float = 0.0,
    outer: bool = False,
    groups: int = GROUPS,
) -> Estimate:
    """log Σ_i exp(log p(x|z_i) + log p(z_i) − κ z_i·mu) over draws z_i ~ vMF(mu, κ) of each row.

    Parameters
    ----------
    decoder : sequence of (weight (out, in), bias (out,)), or what `pack` made of it
    activation : str
        One of `ACTIVATIONS`; ignored for packed layers, which know theirs.
    x, mu : (n, d), (n, k) arrays of the layers' dtype
    kappa : (n,) array, concentrations
    prior : (mu_u (p, k), kappa_u (p,), log_normaliser (p,))
        See `log_prior`.
    draws : (keys (n,) uint64, seed, stream, s), or (epsilon (n·s,), v (n·s, k−1))
        Where the draws of each row come from, s of them: see `reference.sampling.importance_draws`; or the draws.
    drawn : (n,) array, optional
        Concentrations that decide which draws are accepted, if not `kappa`: in every precision the same.
    sigma2 : float or (d,) array
        Variance of the noise.
    log_two_pi : float, optional
        d·log 2π, for a convention that rounds it.
    norm_eps : float
        What `normalize` adds inside its root; above zero the sampler is the original's, too.
    outer : bool
        Sum likelihoods and priors apart, as the original does.
    groups : int
        Draws a block. Changes the time, never a bit of the result.

    Returns
    -------
    Estimate

    Notes
    -----
    Equation (3), without −log s and the normaliser of q. Original: `log_px`.
    """
    packed = decoder if isinstance(decoder, Packed) else pack(decoder, activation)
    dtype = packed.values.dtype
    k, d = int(packed.plan[0, INPUTS]), int(packed.plan[-1, OUTPUTS])
    x, mu = matrix("x", x, d, dtype), matrix("mu", mu, k, dtype)
    n, kappa = len(x), np.array(kappa, np.float64)
    drawn = kappa if drawn is None else np.array(drawn, np.float64)
    for name, value in (("mu", mu), ("kappa", kappa), ("drawn", drawn)):
        if len(value) != n:
            raise ShapeError(f"`{name}` must have one row for each of the {n} rows of `x`; got {len(value)}.")
    nothing = np.empty(0), np.empty((0, k - 1))
    if len(draws) == 2:
        given = np.array(draws[0], np.float64), np.array(draws[1], np.float64, order="C")
        count = given[0].size // max(n, 1)
        if given[0].shape != (n * count,) or given[1].shape != (n * count, k - 1):
            raise ShapeError(
                f"`draws` must hold epsilon (n·s,) and v (n·s, {k - 1}) for {n} rows; "
                f"got {given[0].shape} and {given[1].shape}."
            )
        keys, seed, stream = np.zeros(n, np.uint64), 0, 0
    else:
        keys, seed, stream, count = draws
        given, keys = nothing, np.array(keys, np.uint64)
    tiles = -(-n // LANES)
    out = np.empty(n), np.zeros(n), np.zeros(tiles)
    share(
        _run, tiles, 1, packed[:2], packed.activation, packed.widest, x, mu, kappa, drawn, keys, np.uint64(seed),
        np.uint64(stream), (*given, count), norm_eps > 0, float(norm_eps),
        *likelihood_constants(d, sigma2, log_two_pi), prior_arrays(k, *prior), bool(outer), groups, out,
    )  # fmt: skip
    return Estimate(*out[:2], int(out[2].sum()))
