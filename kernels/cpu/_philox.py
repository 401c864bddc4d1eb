"""Philox 4×64-10 and what training draws from it; the twin of `reference.sampling.TrainingDraws`, to rounding.

Counter-based: the words of one (seed, step, purpose) are a function of these three numbers, whatever was
drawn before and wherever it is computed. Salmon, Moraes, Dror, Shaw (2011).
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._scalar_math import cos_sin, log

__all__ = ["indices", "philox", "propose", "unit_interval"]

_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_ONE, _ELEVEN = np.uint64(1), np.uint64(11)


@intrinsic
def _high_product(typingctx, a, b):
    """Upper 64 bits of the 128-bit product of two uint64."""

    def build(context, builder, sig, args):
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(value, wide) for value in args))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), build


@njit
def philox(seed, stream, step, purpose, block, words):
    """words[0:4] ← block number `block` = 0, 1, … of one (seed, stream, step, purpose).

    NumPy calls the generator ``Philox(key=[seed, stream], counter=[0, purpose, step, 0])``; it counts up before
    its first block.
    """
    c0, c1, c2, c3 = np.uint64(block) + _ONE, np.uint64(purpose), np.uint64(step), np.uint64(0)
    k0, k1 = np.uint64(seed), np.uint64(stream)
    for _ in range(10):
        h0, l0 = _high_product(_M0, c0), _M0 * c0
        h1, l1 = _high_product(_M1, c2), _M1 * c2
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
        k0, k1 = k0 + _W0, k1 + _W1
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3


@njit
def unit_interval(word):
    """A number of (0, 1), never an end: (⌊word/2¹¹⌋ + ½)/2⁵³."""
    return (np.float64(word >> _ELEVEN) + 0.5) * 2.0**-53


@njit
def indices(seed, stream, step, purpose, bound, out, words):
    """out[i] ← ⌊word_i·bound/2⁶⁴⌋, uniform in 0 … bound−1 up to bound/2⁶⁴."""
    for i in range(out.size):
        if i % 4 == 0:
            philox(seed, stream, step, purpose, i // 4, words)
        out[i] = np.int64(_high_product(words[i % 4], np.uint64(bound)))


@njit
def propose(seed, stream, step, purpose, row, g, words):
    """g ← N(0, I) for one row, and a uniform number for its acceptance: words row·w … row·w + w−1 of the purpose.

    w is k rounded up to even, plus one, rounded up to whole blocks. Normals are Box and Muller's.
    """
    k = g.size
    pairs = (k + 1) // 2
    blocks = (2 * pairs + 1 + 3) // 4
    for block in range(blocks):
        philox(seed, stream, step, purpose, row * blocks + block, words)
        for half in range(2):
            pair = 2 * block + half
            if pair < pairs:
                radius = math.sqrt(-2.0 * log(unit_interval(words[2 * half])))
                cosine, sine = cos_sin(2.0 * math.pi * unit_interval(words[2 * half + 1]))
                g[2 * pair] = radius * cosine
                if 2 * pair + 1 < k:
                    g[2 * pair + 1] = radius * sine
    return unit_interval(words[2 * pairs % 4])
