"""Samples of von Mises-Fisher distributions, one row a lane: the draws of `reference.sampling.importance_draws`.

Words come from Philox, keyed by the seed and the row: what a row draws depends on nothing else.
"""

import math

import numpy as np
from numba import types

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._math import log
from pyscore.kernels.cpu._philox import philox, unit_interval
from pyscore.kernels.cpu._simd import (
    LANES,
    constant_of,
    fma,
    load,
    narrow_like,
    polynomial,
    select,
    splat,
    sqrt,
    store,
    vabs,
)

__all__ = ["accept_draws", "sample_lanes", "wood_constants"]

ROUNDS = 10_000
_EPS32 = 2.0**-23
_F64 = types.float64
_SHIFT = constant_of({_F64: 1.5 * 2.0**52})
_COSINE = polynomial({_F64: tuple((-1) ** i / math.factorial(2 * i) for i in range(10))})
_SINC = polynomial({_F64: tuple((-1) ** i / math.factorial(2 * i + 1) for i in range(10))})
"""Of √u for u ≤ (π/4)²: what is cut off is below 1e-20."""


@njit
def _cos_sin_turns(u):
    """cos 2πu and sin 2πu for 0 ≤ u ≤ 1: quarter turns, and the rest by its series."""
    turns = 4.0 * u
    whole = (turns + _SHIFT(turns)) - _SHIFT(turns)
    angle = (0.5 * math.pi) * (turns - whole)
    square = angle * angle
    c, s = _COSINE(square), angle * _SINC(square)
    one, two, three = whole == 1.0, whole == 2.0, whole == 3.0
    cosine = select(one, -s, select(two, -c, select(three, s, c)))
    sine = select(one, c, select(two, -s, select(three, -c, s)))
    return cosine, sine


@njit
def wood_constants(kappa, m, work, at):
    """b, (1−b), 2ab and the bound of Wood's rule for concentrations κ, m = k − 1, at work[at:]."""
    root = sqrt(fma(4.0 * kappa, kappa, splat(1.0 * m * m, kappa)))
    b = m / (root + 2.0 * kappa)
    a = (m + 2.0 * kappa + root) / 4.0
    store(work, at, b)
    store(work, at + LANES, 2.0 * a * b)
    store(work, at + 2 * LANES, 4.0 * a * b / (1.0 + b) - m * math.log(m))


@njit
def accept_draws(seed, keys, stream, wood, w_at, k, count, scratch, words, out):
    """Draw ε and v (k−1) for draws 0 … count of each lane, to out[draw·k·LANES:]; return how many found none.

    ε = (1 + g₀/‖g‖)/2 is Beta((k−1)/2, (k−1)/2) for a normal vector g, and v is the rest of g. Round r takes its
    words from purpose r. A lane that has accepted goes on to its next draw, whatever the others are at.
    """
    m, pairs, lost = k - 1, (k + 1) // 2, 0
    blocks = (2 * pairs + 4) // 4
    normals, u = scratch
    b, two_ab, bound = load(wood, w_at), load(wood, w_at + LANES), load(wood, w_at + 2 * LANES)
    draw, attempt = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    waiting = LANES if count > 0 else 0
    while waiting > 0:
        for s in range(LANES):
            if draw[s] == count:
                continue
            for block in range(blocks):
                philox(seed, keys[s], stream, attempt[s], draw[s] * blocks + block, words)
                for i in range(4):
                    u[(1 + 4 * block + i) * LANES + s] = unit_interval(words[i])
        square = splat(0.0, u)
        for pair in range(pairs):
            radius = sqrt(-2.0 * log(load(u, (1 + 2 * pair) * LANES)))
            cosine, sine = _cos_sin_turns(load(u, (2 + 2 * pair) * LANES))
            store(normals, 2 * pair * LANES, radius * cosine)
            store(normals, (2 * pair + 1) * LANES, radius * sine)
        for i in range(k):
            g = load(normals, i * LANES)
            square = square + g * g
        epsilon = 0.5 * (1.0 + load(normals, 0) / sqrt(square))
        t = two_ab / (1.0 - (1.0 - b) * epsilon)
        accepted = 1.0 * m * log(t) - t + bound >= log(load(u, (1 + 2 * pairs) * LANES))
        store(normals, 0, epsilon)
        store(u, 0, select(accepted, splat(1.0, u), splat(0.0, u)))
        for s in range(LANES):
            if draw[s] == count:
                continue
            attempt[s] += 1
            given_up = attempt[s] == ROUNDS
            if u[s] == 0.0 and not given_up:
                continue
            lost += 1 if u[s] == 0.0 else 0
            for i in range(k):
                out[(draw[s] * k + i) * LANES + s] = normals[i * LANES + s]
            draw[s], attempt[s] = draw[s] + 1, 0
            if draw[s] == count:
                waiting -= 1
    return lost


@njit
def sample_lanes(mirror, k, b, draws, at, machine, eps, z, z_at):
    """z ← the reflection of [w, √(1−w²) v/|v|] that takes e1 to mu; see `reference.sample_vmf`.

    `mirror` holds the unit normal of the reflection (see `mirror_of`). v is overwritten.
    """
    epsilon, one = load(draws, at), splat(1.0, draws)
    rest, pull = one - epsilon, b * epsilon
    w = (rest - pull) / (rest + pull)
    square = splat(eps, draws)
    for i in range(k - 1):
        v = load(draws, at + (1 + i) * LANES)
        square = square + v * v
    radius = 2.0 * sqrt(pull * rest) / (rest + pull)
    if machine:
        radius = sqrt((one - w) * (one + w) + 10.0 * _EPS32)
    length = sqrt(square)
    dot = w * load(mirror, 0)
    for i in range(1, k):
        pole = one if i == 1 else splat(0.0, draws)
        v = select(length == 0.0, pole, load(draws, at + i * LANES) / length)
        ring = radius * v
        store(draws, at + i * LANES, ring)
        dot = fma(ring, load(mirror, i * LANES), dot)
    for i in range(k):
        before = w if i == 0 else load(draws, at + i * LANES)
        store(z, z_at + i * LANES, narrow_like(fma(-2.0 * dot, load(mirror, i * LANES), before), z))


@njit
def mirror_of(mu, k, machine, eps, mirror):
    """mirror ← normalize(e1 − mu) (k Lanes), zero where mu is e1; see `reference.householder`."""
    ring = splat(0.0, mirror)
    for i in range(1, k):
        value = load(mu, i * LANES)
        store(mirror, i * LANES, -value)
        ring = ring + value * value
    first = load(mu, 0)
    head = 1.0 - first
    if not machine:
        head = select(first > 0.0, ring / (1.0 + vabs(first)), head)
    store(mirror, 0, head)
    length = sqrt(fma(head, head, ring) + eps)
    for i in range(k):
        value = load(mirror, i * LANES)
        store(mirror, i * LANES, select(length == 0.0, splat(0.0, mirror), value / length))
