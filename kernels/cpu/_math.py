"""exp, log and their kin on Lanes: branch-free, a few units in the last place, NaN in, NaN out.

Numba can vectorise `math.exp` only through Intel's SVML, which is not always installed; this is plain
arithmetic. The coefficients are those of the Taylor series: minimax ones would save one multiply-add each
and need a table that nobody can check by eye.
"""

import math

import numpy as np
from numba import types

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._simd import (
    constant_of,
    exponent_of,
    fma,
    mantissa_of,
    polynomial,
    power_of_two,
    select,
    splat,
    vabs,
    widen,
)

__all__ = ["exp_negative", "expm1_negative", "log", "log1p_exp_negative", "ndtr", "sigmoid"]

_F32, _F64 = types.float32, types.float64
_LOG2_E = 1.0 / math.log(2.0)
_LN2_HIGH = constant_of({_F32: 0.693359375, _F64: float.fromhex("0x1.62e42fee00000p-1")})
_LN2_LOW = constant_of({_F32: -2.1219444005469057e-04, _F64: 1.90821492927058770002e-10})
"""log 2 = high + low, high with so few bits that n·high is exact for every exponent n."""
_SHIFT = constant_of({_F32: 1.5 * 2.0**23, _F64: 1.5 * 2.0**52})
"""Adding it rounds to an integer and leaves that integer in the low bits."""
_LOWEST = constant_of({_F32: -87.0, _F64: -708.0})
"""Below it 2ⁿ would no longer be a normal number, and the result is 0."""
_EXPM1_SERIES = polynomial(
    {t: tuple(1 / math.factorial(i) for i in range(1, n)) for t, n in ((_F32, 8), (_F64, 14))}
)
"""(eʳ−1)/r; what is cut off at |r| ≤ ½ log 2 is below half an ulp: r⁸/8! = 5e-9, r¹⁴/14! = 4e-18."""
_ATANH_SERIES = polynomial({t: tuple(2 / (2 * i + 3) for i in range(n)) for t, n in ((_F32, 5), (_F64, 11))})
"""(2·atanh(s) − 2s)/s³ in s², |s| ≤ 0.172."""
_TINY = constant_of({_F32: 2.0**-126, _F64: 2.0**-1022})
_LIFT = constant_of({_F32: 2.0**24, _F64: 2.0**53})
_LIFT_BITS = constant_of({_F32: 24.0, _F64: 53.0})

_ERFCX = (
    0.5770337386164697, 0.3554369212704985, 0.06509515882878653, 0.003671142395836639, -0.0011128447433526325,
    -0.0001607582991537808, 3.278031574173137e-05, 5.442441645505016e-06, -1.5154665553171482e-06,
    -1.4297608181169865e-07, 8.234608827419493e-08, -1.2962846852306555e-09, -4.154721631015199e-09,
    6.347058278362812e-10, 1.4320822712256248e-10, -6.160390105204645e-11, 2.061213855473021e-12,
    3.571493148846691e-12, -8.586422843241297e-13, -6.145600213886302e-14, 7.418725748671136e-14,
    -1.2895042755473904e-14, -2.358726385627219e-15, 1.5729349384536163e-15, -2.2782966301365456e-16,
)  # fmt: skip
"""Chebyshev coefficients of erfcx(z)/t in 2t−1, t = 2/(2+z), z ≥ 0 (from mpmath, 40 digits)."""


@njit
def _reduce(v):
    """v = n·log 2 + r, |r| ≤ ½ log 2: return e^r − 1 and 2ⁿ, for v ≤ 0."""
    low = _LOWEST(v)
    v = select(v < low, low, v)
    shifted = fma(v, _LOG2_E, _SHIFT(v))
    n = shifted - _SHIFT(v)
    r = fma(n, -_LN2_LOW(v), fma(n, -_LN2_HIGH(v), v))
    return r * _EXPM1_SERIES(r), power_of_two(shifted)


@njit
def exp_negative(v):
    """e^v for v ≤ 0 (2 ulp); 0 below −87 (float32) or −708."""
    em1, scale = _reduce(v)
    return select(v < _LOWEST(v), splat(0.0, v), fma(em1, scale, scale))


@njit
def expm1_negative(v):
    """e^v − 1 for v ≤ 0 (2 ulp)."""
    em1, scale = _reduce(v)
    return fma(em1, scale, scale - 1.0)


@njit
def sigmoid(v):
    """1/(1+e^−v) and 1/(1+e^v), neither with cancellation (3 ulp)."""
    e = exp_negative(-vabs(v))
    large = 1.0 / (1.0 + e)
    small = e * large
    negative = v < 0.0
    return select(negative, small, large), select(negative, large, small)


@njit
def _log_of(m, e):
    """log(m·2^e) for m near 1."""
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    tail = fma(s2 * s, _ATANH_SERIES(s2), e * _LN2_LOW(m))
    return fma(e, _LN2_HIGH(m), fma(s, splat(2.0, s), tail))


@njit
def log(v):
    """Natural logarithm of v ≥ 0 (2 ulp); log 0 = −inf."""
    subnormal = v < _TINY(v)
    lifted = select(subnormal, v * _LIFT(v), v)
    m, e = mantissa_of(lifted), exponent_of(lifted)
    e = select(subnormal, e - _LIFT_BITS(v), e)
    high = m > math.sqrt(2.0)
    result = _log_of(select(high, 0.5 * m, m), select(high, e + 1.0, e))
    result = select(v < np.inf, result, v)
    return select(v == 0.0, splat(-np.inf, v), result)


@njit
def log1p_exp_negative(v):
    """log(1 + e^v) for v ≤ 0 (3 ulp): log w + (u − (w − 1))/w with u = e^v and w = 1 + u rounded."""
    u = exp_negative(v)
    w = 1.0 + u
    return log(w) + (u - (w - 1.0)) / w


@njit
def ndtr(v):
    """Φ(v), the normal distribution function, and its density, in float64 (20 ulp).

    Φ(−z√2) = ½ erfc(z) with erfc(z) = e^(−z²) erfcx(z), erfcx by Clenshaw's rule. The rounding error of z²
    is put back, since the exponential would multiply it by z².
    """
    a = widen(v)
    half_square = 0.5 * (a * a)
    rest = 0.5 * fma(a, a, -(a * a))
    gauss = exp_negative(-half_square) * (1.0 - rest)
    t = 2.0 / (2.0 + vabs(a) * math.sqrt(0.5))
    y = 2.0 * t - 1.0
    b1, b2 = splat(0.0, a), splat(0.0, a)
    for i in range(len(_ERFCX) - 1, 0, -1):
        b1, b2 = fma(2.0 * y, b1, _ERFCX[i] - b2), b1
    lower = 0.5 * gauss * t * (fma(y, b1, _ERFCX[0] - b2))
    return select(a < 0.0, lower, 1.0 - lower), gauss * (1.0 / math.sqrt(2.0 * math.pi))
