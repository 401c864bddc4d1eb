"""Training of one model, a whole run of steps in compiled code: forward, backward and ADAM inside the L2 cache.

A step of pyscore's models is 10 million multiply-adds on 100 kB of parameters: too little for a tensor library,
whose calls cost more than their work, and just right for one core and its cache. Models are independent, so
the cores are kept busy by training as many models at once.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyscore._core.constants import BETAS, KAPPA_MAX
from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._adam import adam
from pyscore.kernels.cpu._backprop import backward, forward, transpose_weights, weight_gradient
from pyscore.kernels.cpu._batch_mmd import batch_mmd, pairs_size
from pyscore.kernels.cpu._compile import compiled, njit
from pyscore.kernels.cpu._network import INPUTS, OUTPUTS, aligned, pack, padded
from pyscore.kernels.cpu._philox import indices
from pyscore.kernels.cpu._scalar_math import sigmoid
from pyscore.kernels.cpu._simd import LANES, PAIR_SLOTS, TILE_ROWS
from pyscore.kernels.cpu._vmf import accepted_draw, sample, sample_gradient

__all__ = ["HEAD", "Optimised", "StepOptions", "initial_state", "parameters", "train_steps"]

ENCODER, HEAD, DECODER = 3, 3, 4
"""Layers 0–2 are the encoder's, layer 3 holds both heads (mu's k rows and kappa's one), 4–7 are the decoder's."""
FINITE, BAD_KAPPA, BAD_LOSS = 0, 1, 2


class Optimised(NamedTuple):
    """A model in training; the arrays are changed in place."""

    values: NDArray
    """Flat: layers as `pack` makes them, then the pseudo-inputs, padded to whole registers."""
    m: NDArray
    v: NDArray
    plan: NDArray
    """(8, 4) int64, as in `Packed`."""
    sizes: tuple[int, int, int, int]
    """d, k, p, where the pseudo-inputs start."""


class StepOptions(NamedTuple):
    """What a step depends on beside the model and the data."""

    beta: float
    c: float
    learning_rate: float
    batch_size: int
    seed: int
    stream: int
    """Word of the key of Philox that names the purpose "training"."""
    activation: int
    machine: bool
    """``norm_eps="machine"``."""
    removed: bool
    """``mmd_diagonal="removed"``."""
    summed: bool
    """``pseudo_input_gradient="sum"``."""


def initial_state(named: dict[str, NDArray], activation: str) -> Optimised:
    """Pack parameters as `SVAE.parameters` names them; moments are zero."""
    layers = [(named[f"encoder.{i}.weight"], named[f"encoder.{i}.bias"]) for i in range(ENCODER)]
    heads = [np.concatenate([named[f"mu.{part}"], named[f"kappa.{part}"]]) for part in ("weight", "bias")]
    encoder = pack([*layers, (heads[0], heads[1])], activation)
    decoder = pack([(named[f"decoder.{i}.weight"], named[f"decoder.{i}.bias"]) for i in range(4)], activation)
    pseudo = named["pseudo_inputs"]
    pieces = [encoder.values, decoder.values, pseudo.ravel()]
    size = sum(piece.size for piece in pieces)
    values = np.concatenate([*pieces, np.zeros(-size % LANES, pseudo.dtype)])
    moved = decoder.plan + np.array([0, 0, encoder.values.size, encoder.values.size])
    pseudo_at = encoder.values.size + decoder.values.size
    sizes = (pseudo.shape[1], int(decoder.plan[0, INPUTS]), pseudo.shape[0], pseudo_at)
    plan = np.concatenate([encoder.plan, moved])
    return Optimised(values, np.zeros_like(values), np.zeros_like(values), plan, sizes)


def parameters(state: Optimised, flat: NDArray | None = None) -> dict[str, NDArray]:
    """Unpack the parameters (or another array of their layout) under the names that they came with."""
    flat = state.values if flat is None else flat
    d, k, p, pseudo_at = state.sizes
    named = {}
    names = [f"encoder.{i}" for i in range(ENCODER)] + ["heads"] + [f"decoder.{i}" for i in range(4)]
    for name, (inputs, outputs, weights_at, bias_at) in zip(names, state.plan.tolist(), strict=True):
        panels = flat[weights_at:bias_at].reshape(-1, inputs, TILE_ROWS)
        named[f"{name}.weight"] = panels.transpose(0, 2, 1).reshape(-1, inputs)[:outputs].copy()
        named[f"{name}.bias"] = flat[bias_at : bias_at + outputs].copy()
    weight, bias = named.pop("heads.weight"), named.pop("heads.bias")
    named |= {"mu.weight": weight[:k], "mu.bias": bias[:k], "kappa.weight": weight[k:], "kappa.bias": bias[k:]}
    named["pseudo_inputs"] = flat[pseudo_at : pseudo_at + p * d].reshape(p, d).copy()
    return named


# ------------------------------------------------------------------------------------------------ one step
@njit
def _gather(x, chosen, values, pseudo_at, p, target, step):
    """Fill columns with the rows of the batch, then the pseudo-inputs; lanes beyond them are zero."""
    n, d = chosen.size, x.shape[1]
    for s in range(n):
        at = s // LANES * step + s % LANES
        for f in range(d):
            target[at + f * LANES] = x[chosen[s], f]
    for j in range(p):
        at = (n + j) // LANES * step + (n + j) % LANES
        for f in range(d):
            target[at + f * LANES] = values[pseudo_at + j * d + f]


@njit
def _heads(raw, step, rows, k, machine, eps, codes, lengths):
    """codes (rows, k) ← raw/√(Σ raw² + eps), e1 where raw = 0; lengths ← the roots."""
    for s in range(rows):
        at = s // LANES * step + s % LANES
        square = 0.0
        for q in range(k):
            v = np.float64(raw[at + q * LANES])
            square += v * v
        length = np.sqrt(square + eps) if machine else np.sqrt(square)
        lengths[s] = length
        for q in range(k):
            codes[s, q] = raw[at + q * LANES] / length if length > 0 else (1.0 if q == 0 else 0.0)


@njit
def _head_delta(codes, lengths, first, rows, gradient, g_kappa, kappa, k, delta, step):
    """delta ← gradient of the heads before normalisation and sigmoid, of rows first … first+rows."""
    for row in range(rows):
        s = first + row
        at = s // LANES * step + s % LANES
        along = 0.0
        for q in range(k):
            along += codes[s, q] * gradient[row, q]
        for q in range(k):
            part = (gradient[row, q] - codes[s, q] * along) / lengths[s] if lengths[s] > 0 else 0.0
            delta[at + q * LANES] = part
        delta[at + k * LANES] = g_kappa[row] * kappa[row] * (1 - kappa[row] / KAPPA_MAX)


@njit
def _clear(array, features, step, columns):
    """Set the padded rows of every column to zero."""
    for c in range(columns):
        for i in range(padded(features) * LANES):
            array[c * step + i] = 0.0


@njit
def _normalised(g, machine, eps, direction):
    """direction ← what `normalize` makes of g[1:]."""
    square = 0.0
    for i in range(1, g.size):
        square += g[i] * g[i]
    length = np.sqrt(square + eps) if machine else np.sqrt(square)
    for i in range(1, g.size):
        direction[i - 1] = g[i] / length if length > 0 else (1.0 if i == 1 else 0.0)


@njit
def _reconstruction(x, chosen, decoded, step, delta):
    """Mean squared error, and its gradient in `delta` (whose other lanes are zero)."""
    n, d = chosen.size, x.shape[1]
    total, scale = 0.0, 2.0 / (n * d)
    for s in range(n):
        at = s // LANES * step + s % LANES
        for f in range(d):
            difference = np.float64(decoded[at + f * LANES]) - np.float64(x[chosen[s], f])
            total += difference * difference
            delta[at + f * LANES] = scale * difference
    return total / (n * d)


@compiled
def _run(x, values, m, v, plan, sizes, options, powers, start, stop, history, gradient):
    """Steps start … stop; return (steps done, what went wrong). `gradient` holds the last step's at the end."""
    beta, c, rate, n, seed, stream, code, machine, removed, summed = options
    d, k, p, pseudo_at = sizes
    eps = np.float64(np.finfo(values.dtype).eps) if machine else 0.0
    rows, widest, heaviest = n + p, 0, LANES
    for layer in range(8):
        widest = max(widest, max(plan[layer, INPUTS], plan[layer, OUTPUTS]))
        columns = (plan[layer, OUTPUTS] + LANES - 1) // LANES * LANES
        heaviest = max(heaviest, padded(plan[layer, INPUTS]) * columns)
    step = (widest + LANES - 1) // LANES * LANES * LANES
    C, B = (rows + LANES - 1) // LANES, (n + LANES - 1) // LANES
    first = n // LANES  # the first column that holds a pseudo-input

    size = C * step
    act, slopes = aligned(9 * size, values), aligned(8 * size, values)
    one_delta, other_delta = aligned(size, values), aligned(size, values)
    left, right, product = (
        aligned(size, values),
        aligned(size, values),
        aligned(heaviest, values),
    )
    act[:], slopes[:], one_delta[:], other_delta[:], left[:], right[:] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    turned_at = np.zeros(9, np.int64)
    for layer in range(8):
        turned_at[layer + 1] = turned_at[layer] + padded(plan[layer, INPUTS]) * plan[layer, OUTPUTS]
    turned, ones = aligned(turned_at[8], values), aligned(size, values)
    turned[:], ones[:] = 0.0, 1.0
    half = B * LANES
    tall = padded(k) * LANES
    points, pulls = aligned(2 * half * k, values), aligned(2 * half * padded(k), values)
    panels_size, turned_size, all_pairs = pairs_size(k, 2 * half)
    panels, sides = aligned(panels_size, values), aligned(turned_size, values)
    pairs = aligned(all_pairs, values)
    points[:], panels[:], sides[:], pairs[:] = 0.0, 0.0, 0.0, 0.0
    keep, iota = aligned(2 * half, values), aligned(LANES, values)
    keep[:] = 0.0
    keep[:n], keep[half : half + n] = 1.0, 1.0
    for s in range(LANES):
        iota[s] = s
    sums = np.zeros(2 * PAIR_SLOTS)
    one = np.zeros(1, values.dtype)
    chosen, components = np.empty(n, np.int64), np.empty(n, np.int64)
    words = np.empty(4, np.uint64)
    codes, lengths, kappa = np.empty((rows, k)), np.empty(rows), np.empty(p)
    g, r, z = np.empty(k), np.empty(k), np.empty(k)
    epsilons, directions = np.empty(n), np.empty((n, max(1, k - 1)))
    g_codes, none, g_mu = np.empty((n, k)), np.zeros(n), np.empty(k)
    totals, lasts = np.empty((p, k)), np.empty((p, k))
    total_kappa, last_kappa = np.empty(p), np.empty(p)

    for t in range(start, stop):
        indices(seed, stream, t, 0, x.shape[0], chosen, words)
        indices(seed, stream, t, 1, p, components, words)
        # ── encoder, on the batch and the pseudo-inputs together ──
        _gather(x, chosen, values, pseudo_at, p, act, step)
        for layer in range(ENCODER):
            source, target = act[layer * size : (layer + 1) * size], act[(layer + 1) * size : (layer + 2) * size]
            forward(values, plan[layer], code, source, target, slopes[layer * size :], step, C)
        raw = act[4 * size : 5 * size]
        forward(values, plan[HEAD], 0, act[3 * size : 4 * size], raw, slopes[HEAD * size :], step, C)
        _heads(raw, step, rows, k, machine, eps, codes, lengths)
        for j in range(p):
            at = (n + j) // LANES * step + (n + j) % LANES + k * LANES
            one[0] = KAPPA_MAX * sigmoid(np.float64(raw[at]))
            kappa[j] = one[0]
            if not np.isfinite(kappa[j]):
                return t, BAD_KAPPA
        # ── prior samples and the MMD ──
        for s in range(n):
            j = components[s]
            one[0] = accepted_draw(seed, stream, t, 2, s, kappa[j], g, words)
            epsilons[s] = one[0]
            _normalised(g, machine, eps, directions[s])
            sample(codes[n + j], kappa[j], epsilons[s], directions[s], machine, eps, r, one, z)
            at = s // LANES * k * LANES + s % LANES
            for q in range(k):
                points[at + q * LANES] = codes[s, q]
                points[half * k + at + q * LANES] = z[q]
        mmd = batch_mmd(points, pulls, k, n, half, c, removed, iota, keep, panels, sides, pairs, sums)
        # ── decoder, on the codes ──
        latent = act[4 * size : 5 * size]  # the heads' raw outputs are not needed again
        for s in range(n):
            at = s // LANES * step + s % LANES
            for q in range(k):
                latent[at + q * LANES] = codes[s, q]
        for layer in range(DECODER, 8):
            source, target = act[layer * size : (layer + 1) * size], act[(layer + 1) * size : (layer + 2) * size]
            last = layer == 7
            forward(values, plan[layer], 0 if last else code, source, target, slopes[layer * size :], step, B)
        _clear(one_delta, d, step, B)
        mse = _reconstruction(x, chosen, act[8 * size :], step, one_delta)
        loss = mse + beta * mmd
        if not np.isfinite(loss):
            return t, BAD_LOSS
        history[t - start, 0], history[t - start, 1], history[t - start, 2] = loss, mse, mmd
        # ── back through the decoder ──
        for layer in range(8):
            transpose_weights(values, plan[layer], turned[turned_at[layer] :])
        delta, other = one_delta, other_delta
        for layer in range(7, DECODER - 1, -1):
            below = ones if layer == DECODER else slopes[(layer - 1) * size :]
            source = act[layer * size :]
            weight_gradient(plan[layer], source, delta, step, B, left, right, product, gradient)
            backward(turned[turned_at[layer] :], plan[layer], delta, other, below, step, B)
            delta, other = other, delta
        # ── the heads: codes from decoder and MMD, pseudo-inputs from the prior samples ──
        for s in range(n):
            at, pull_at = s // LANES * step + s % LANES, s // LANES * tall + s % LANES
            for q in range(k):
                g_codes[s, q] = delta[at + q * LANES] + beta * pulls[pull_at + q * LANES]
        totals[:], lasts[:], total_kappa[:], last_kappa[:] = 0.0, 0.0, 0.0, 0.0
        for s in range(n):
            j = components[s]
            at = (half + s) // LANES * tall + s % LANES
            for q in range(k):
                z[q] = beta * pulls[at + q * LANES]
            pull = sample_gradient(
                codes[n + j], kappa[j], epsilons[s], directions[s], machine, eps, z, r, one, g_mu
            )
            for q in range(k):
                totals[j, q] += g_mu[q]
                lasts[j, q] = g_mu[q]
            total_kappa[j] += pull
            last_kappa[j] = pull
        _clear(delta, k + 1, step, C)
        _head_delta(codes, lengths, 0, n, g_codes, none, none, k, delta, step)
        _head_delta(codes, lengths, n, p, totals, total_kappa, kappa, k, delta, step)
        # ── back through the encoder ──
        for layer in range(HEAD, -1, -1):
            weight_gradient(plan[layer], act[layer * size :], delta, step, C, left, right, product, gradient)
            if layer > 0:
                backward(
                    turned[turned_at[layer] :], plan[layer], delta, other, slopes[(layer - 1) * size :], step, C
                )
                delta, other = other, delta
        if not summed:  # of copies of a pseudo-input only the last has a gradient: pushed down on its own
            _clear(delta, k + 1, step, C)
            _head_delta(codes, lengths, n, p, lasts, last_kappa, kappa, k, delta, step)
            for layer in range(HEAD, 0, -1):
                below = slopes[(layer - 1) * size + first * step :]
                turn = turned[turned_at[layer] :]
                backward(turn, plan[layer], delta[first * step :], other[first * step :], below, step, C - first)
                delta, other = other, delta
        backward(turned, plan[0], delta[first * step :], other[first * step :], ones, step, C - first)
        for j in range(p):
            at = (n + j) // LANES * step + (n + j) % LANES
            for f in range(d):
                gradient[pseudo_at + j * d + f] = other[at + f * LANES]
        powers[0], powers[1] = powers[0] * BETAS[0], powers[1] * BETAS[1]
        adam(values, gradient, m, v, powers[0], powers[1], rate)
    return stop, FINITE


def train_steps(
    state: Optimised, x: NDArray, options: StepOptions, powers: NDArray, start: int, stop: int
) -> tuple[int, str | None, NDArray, NDArray]:
    """Take steps `start` … `stop` of one model in place, without the GIL.

    Parameters
    ----------
    state : Optimised
        Changed in place.
    x : (n, d) array of the state's dtype
    options : StepOptions
    powers : (2,) float64 array
        The powers of ADAM's betas so far, changed in place; ones at the start.
    start, stop : int
        The draws are those of steps start … stop−1.

    Returns
    -------
    done : int
        `stop`, or the step at which the loss or a kappa was not finite; parameters are those before it.
    failure : str or None
        What was not finite.
    history : (done − start, 3) array of loss, mean squared error and MMD before each update
    gradient : array of the layout of `state.values`, of the last step
    """
    if x.ndim != 2 or x.shape[1] != state.sizes[0]:
        raise ShapeError(f"`x` must have shape (n, {state.sizes[0]}); got {x.shape}.")
    if x.dtype != state.values.dtype:
        raise InvalidInput(f"`x` must be {state.values.dtype} like the model; got {x.dtype}. Cast one of the two.")
    x = np.require(x, requirements=("C", "A", "W"))
    history = np.zeros((max(0, stop - start), 3))
    gradient = np.zeros_like(state.values)
    done, problem = _run(
        x, state.values, state.m, state.v, state.plan, state.sizes, tuple(options), powers, start, stop, history,
        gradient,
    )  # fmt: skip
    failure = (None, "a concentration kappa became NaN", "the loss became NaN or infinite")[problem]
    return done, failure, history[: done - start], gradient
