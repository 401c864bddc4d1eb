"""Philox 4×64-10 and von Mises-Fisher samples, a draw a thread: those of `reference.sampling.importance_draws`."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pyscore.kernels.cuda._target import U64, cuda

__all__ = ["make_draw", "make_sample"]

ROUNDS = 10_000
_EPS32 = 2.0**-23
_M0, _M1 = U64(0xD2E7470EE14C6C93), U64(0xCA5A826395121157)
_W0, _W1 = U64(0x9E3779B97F4A7C15), U64(0xBB67AE8584CAA73B)
_ALL, _LOW, _HALF = U64(0xFFFFFFFFFFFFFFFF), U64(0xFFFFFFFF), U64(32)
_ONE, _ELEVEN = U64(1), U64(11)
F64 = np.float64


@cuda.jit(device=True)
def _high_product(a, b):
    """Upper 64 bits of the 128-bit product, from 32-bit halves: none of the sums overflows."""
    low, high = a & _LOW, a >> _HALF
    other_low, other_high = b & _LOW, b >> _HALF
    first, second = low * other_high, high * other_low
    middle = ((low * other_low) >> _HALF) + (first & _LOW) + (second & _LOW)
    return high * other_high + (first >> _HALF) + (second >> _HALF) + (middle >> _HALF)


@cuda.jit(device=True)
def philox(seed, stream, step, purpose, block, words):
    """words[0:4] ← block number `block` of one (seed, stream, step, purpose); see the CPU's.

    The masks do nothing to 64-bit words; they are for the simulator, whose integers have no end.
    """
    c0, c1, c2, c3 = (U64(block) + _ONE) & _ALL, U64(purpose), U64(step), U64(0)
    k0, k1 = U64(seed), U64(stream)
    for _ in range(10):
        h0, l0 = _high_product(_M0, c0), (_M0 * c0) & _ALL
        h1, l1 = _high_product(_M1, c2), (_M1 * c2) & _ALL
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
        k0, k1 = (k0 + _W0) & _ALL, (k1 + _W1) & _ALL
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3


@cuda.jit(device=True)
def unit_interval(word):
    """A number of (0, 1), never an end: (⌊word/2¹¹⌋ + ½)/2⁵³."""
    return (F64(U64(word) >> _ELEVEN) + 0.5) * 2.0**-53


@cache
def make_draw(k: int) -> Callable:
    """Return draw(seed, key, stream, number, kappa, g, words): fill g with ε and v; say whether one was found.

    ε = (1 + g₀/‖g‖)/2 is Beta((k−1)/2, (k−1)/2) for a normal vector g, and v is the rest of g. Round r takes its
    words from purpose r.
    """
    m, pairs = k - 1, (k + 1) // 2
    blocks = (2 * pairs + 4) // 4

    @cuda.jit(device=True)
    def draw(seed, key, stream, number, kappa, g, words):
        root = math.sqrt(4.0 * kappa * kappa + 1.0 * m * m)
        b, a = m / (root + 2.0 * kappa), (m + 2.0 * kappa + root) / 4.0
        two_ab, bound = 2.0 * a * b, 4.0 * a * b / (1.0 + b) - m * math.log(1.0 * m)
        for attempt in range(ROUNDS):
            u, square = 0.0, 0.0
            for block in range(blocks):
                philox(seed, key, stream, attempt, number * blocks + block, words)
                for half in range(2):
                    pair = 2 * block + half
                    if pair < pairs:
                        radius = math.sqrt(-2.0 * math.log(unit_interval(words[2 * half])))
                        angle = 2.0 * math.pi * unit_interval(words[2 * half + 1])
                        g[2 * pair] = radius * math.cos(angle)
                        if 2 * pair + 1 < k:
                            g[2 * pair + 1] = radius * math.sin(angle)
                    elif pair == pairs:
                        u = unit_interval(words[2 * half])
            for i in range(k):
                square += g[i] * g[i]
            epsilon = 0.5 * (1.0 + g[0] / math.sqrt(square))
            t = two_ab / (1.0 - (1.0 - b) * epsilon)
            if m * math.log(t) - t + bound >= math.log(u):
                g[0] = epsilon
                return True
        g[0] = epsilon
        return False

    return draw


@cache
def make_sample(k: int, machine: bool, dtype: Any) -> Callable:
    """Return sample(mu, row, kappa, eps, g, r, z, at): z[at] ← the sample that ε and v in g stand for.

    The reflection of [w, √(1−w²) v/|v|] that takes e1 to mu[row]; see `reference.sample_vmf`. g, r: scratch.
    """
    m = k - 1

    @cuda.jit(device=True)
    def mirror(mu, row, eps, r):
        ring = 0.0
        for i in range(1, k):
            value = F64(mu[row, i])
            r[i] = -value
            ring += value * value
        first = F64(mu[row, 0])
        head = 1.0 - first
        if not machine and first > 0.0:
            head = ring / (1.0 + first)
        length = math.sqrt(head * head + ring + eps)
        r[0] = head
        for i in range(k):
            r[i] = 0.0 if length == 0.0 else r[i] / length

    @cuda.jit(device=True)
    def sample(mu, row, kappa, eps, g, r, z, at):
        mirror(mu, row, eps, r)
        root = math.sqrt(4.0 * kappa * kappa + 1.0 * m * m)
        b, epsilon = m / (root + 2.0 * kappa), g[0]
        rest, pull = 1.0 - epsilon, b * epsilon
        w = (rest - pull) / (rest + pull)
        square = eps
        for i in range(1, k):
            square += g[i] * g[i]
        radius = 2.0 * math.sqrt(pull * rest) / (rest + pull)
        if machine:
            radius = math.sqrt((1.0 - w) * (1.0 + w) + 10.0 * _EPS32)
        length, dot = math.sqrt(square), w * r[0]
        g[0] = w
        for i in range(1, k):
            pole = 1.0 if i == 1 else 0.0
            g[i] = radius * (pole if length == 0.0 else g[i] / length)
            dot += g[i] * r[i]
        for i in range(k):
            z[at, i] = dtype(g[i] - 2.0 * dot * r[i])

    return sample
