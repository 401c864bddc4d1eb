"""Activations of one number: value and first derivative together."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from pyscore.kernels.cpu._activations import ACTIVATIONS, activation_code
from pyscore.kernels.cuda._target import cuda

__all__ = ["ACTIVATIONS", "activation"]


@cache
def activation(name: str, dtype: Any) -> Callable:
    """Return the device function a ↦ (φ(a), φ'(a)) in `dtype`, whose constants would else promote to float64."""
    activation_code(name)
    return cuda.jit(device=True)(_DEFINITIONS[name](dtype))


def _identity(t):
    one = t(1.0)

    def phi(a):
        return a, one

    return phi


def _swish(t):
    sigmoids = _sigmoids(t)

    def phi(a):
        s, complement = sigmoids(a)
        value = a * s
        return value, s + value * complement

    return phi


def _sigmoids(t):
    """1/(1+e^−a) and 1/(1+e^a), neither with cancellation."""
    zero, one = t(0.0), t(1.0)

    @cuda.jit(device=True)
    def sigmoids(a):
        e = t(math.exp(-abs(a)))
        large = one / (one + e)
        small = e * large
        return (small, large) if a < zero else (large, small)

    return sigmoids


def _relu(t):
    zero, one = t(0.0), t(1.0)

    def phi(a):
        return (zero, zero) if a <= zero else (a, one)

    return phi


def _leaky_relu(t):
    zero, one, leak = t(0.0), t(1.0), t(0.01)

    def phi(a):
        return (leak * a, leak) if a <= zero else (a, one)

    return phi


def _elu(t):
    zero, one = t(0.0), t(1.0)

    def phi(a):
        if a > zero:
            return a, one
        return t(math.expm1(a)), t(math.exp(a))

    return phi


def _gelu(t):
    half, root = t(0.5), t(math.sqrt(0.5))
    density = t(1.0 / math.sqrt(2.0 * math.pi))

    def phi(a):
        """a·Φ(a), Φ(a) + a·φ(a): the exact one, not the tanh approximation."""
        cdf = half * t(math.erfc(-a * root))
        return a * cdf, cdf + a * density * t(math.exp(-half * a * a))

    return phi


def _tanh(t):
    two, four, one = t(2.0), t(4.0), t(1.0)

    def phi(a):
        e = t(math.exp(-two * abs(a)))
        inverse = one / (one + e)
        return t(math.tanh(a)), four * e * inverse * inverse

    return phi


def _sigmoid(t):
    sigmoids = _sigmoids(t)

    def phi(a):
        s, complement = sigmoids(a)
        return s, s * complement

    return phi


def _softplus(t):
    zero = t(0.0)
    sigmoids = _sigmoids(t)

    def phi(a):
        high = zero if a < zero else a
        return high + t(math.log1p(math.exp(-abs(a)))), sigmoids(a)[0]

    return phi


_DEFINITIONS = {
    "identity": _identity,
    "swish": _swish,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
}
