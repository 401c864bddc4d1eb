"""exp, log, sine and cosine of one float64, in plain arithmetic: the same bits on every processor.

The C library chooses its own by the processor that it runs on (with or without fused multiply-adds), and they
differ in the last place now and then; one such place, and a model trained elsewhere is another model.
"""

import math

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pyscore.kernels.cpu._compile import njit

__all__ = ["cos_sin", "exp_negative", "log", "sigmoid"]

_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), 1.90821492927058770002e-10
_SHIFT = 1.5 * 2.0**52
_LOWEST = -708.0
_ROOT_2 = float.fromhex("0x1.6a09e667f3bcdp+0")
_TWO_OVER_PI = float.fromhex("0x1.45f306dc9c883p-1")
_HALF_PI_HIGH, _HALF_PI_LOW = float.fromhex("0x1.921fb54442d18p+0"), float.fromhex("0x1.1a62633145c07p-54")
_EXPM1_SERIES = tuple(1 / math.factorial(i) for i in range(1, 14))
"""(eʳ−1)/r; what is cut off at |r| ≤ ½ log 2 is 4e-18."""
_ATANH_SERIES = tuple(2 / (2 * i + 3) for i in range(11))
"""(2·atanh(s) − 2s)/s³ in s², |s| ≤ 0.172."""
_SIN_SERIES = tuple((-1) ** i / math.factorial(2 * i + 1) for i in range(1, 9))
"""(sin r − r)/r³ in r²; what is cut off at |r| ≤ π/4 is 1e-19."""
_COS_SERIES = tuple((-1) ** i / math.factorial(2 * i) for i in range(2, 9))
"""(cos r − 1 + ½r²)/r⁴ in r²; what is cut off is 2e-18."""


@intrinsic
def _fma(typingctx, a, b, c):
    """a·b + c of float64 with one rounding."""

    def build(context, builder, sig, args):
        name, f64 = "llvm.fma.f64", ir.DoubleType()
        found = builder.module.globals.get(name)
        return builder.call(found or ir.Function(builder.module, ir.FunctionType(f64, [f64] * 3), name), args)

    return types.float64(types.float64, types.float64, types.float64), build


@intrinsic
def _bits(typingctx, v):
    """The bits of a float64 as an int64."""

    def build(context, builder, sig, args):
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), build


@intrinsic
def _from_bits(typingctx, bits):
    """The float64 that has these bits."""

    def build(context, builder, sig, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), build


@njit
def _polynomial(terms, v):
    total = terms[-1]
    for i in range(len(terms) - 2, -1, -1):
        total = _fma(total, v, terms[i])
    return total


@njit
def exp_negative(v):
    """e^v for v ≤ 0 (2 ulp); 0 below −708."""
    if v < _LOWEST:
        return 0.0
    shifted = _fma(v, _LOG2_E, _SHIFT)
    n = shifted - _SHIFT
    r = _fma(n, -_LN2_LOW, _fma(n, -_LN2_HIGH, v))
    scale = _from_bits((_bits(shifted) + 1023) << 52)
    return _fma(r * _polynomial(_EXPM1_SERIES, r), scale, scale)


@njit
def sigmoid(v):
    """1/(1+e^−v) (3 ulp)."""
    e = exp_negative(-abs(v))
    return e / (1.0 + e) if v < 0.0 else 1.0 / (1.0 + e)


@njit
def log(v):
    """Natural logarithm of a normal number v > 0 (2 ulp)."""
    bits = _bits(v)
    e = float((bits >> 52) - 1023)
    m = _from_bits((bits & ((1 << 52) - 1)) | (1023 << 52))
    if m > _ROOT_2:
        m, e = 0.5 * m, e + 1.0
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    tail = _fma(s2 * s, _polynomial(_ATANH_SERIES, s2), e * _LN2_LOW)
    return _fma(e, _LN2_HIGH, _fma(s, 2.0, tail))


@njit
def cos_sin(angle):
    """cos and sin of an angle of (0, 2π) (2 ulp of 1)."""
    n = float(int(_fma(angle, _TWO_OVER_PI, 0.5)))
    r = _fma(n, -_HALF_PI_LOW, _fma(n, -_HALF_PI_HIGH, angle))
    r2 = r * r
    sine = _fma(r * r2, _polynomial(_SIN_SERIES, r2), r)
    cosine = 1.0 + _fma(r2 * r2, _polynomial(_COS_SERIES, r2), -0.5 * r2)
    quarter = int(n) % 4
    if quarter == 1:
        return -sine, cosine
    if quarter == 2:
        return -cosine, -sine
    if quarter == 3:
        return sine, -cosine
    return cosine, sine
