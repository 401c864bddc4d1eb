"""Activations of one number with their first two derivatives: what the Hessian of a network needs of a layer."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from pyscore.kernels.cuda._activations import _sigmoids, activation
from pyscore.kernels.cuda._target import cuda

__all__ = ["activation_twice"]


@cache
def activation_twice(name: str, dtype: Any) -> Callable:
    """Return the device function a ↦ (φ(a), φ'(a), φ''(a)) in `dtype`."""
    phi, bend = activation(name, dtype), cuda.jit(device=True)(_BENDS.get(name, _straight)(dtype))

    @cuda.jit(device=True)
    def twice(a):
        value, slope = phi(a)
        return value, slope, bend(a, value, slope)

    return twice


def _straight(t):
    zero = t(0.0)

    def bend(a, value, slope):
        return zero

    return bend


def _swish(t):
    two, sigmoids = t(2.0), _sigmoids(t)

    def bend(a, value, slope):
        """s(1−s)(2 + a(1−2s))."""
        s, complement = sigmoids(a)
        return s * complement * (two + a * (complement - s))

    return bend


def _elu(t):
    zero = t(0.0)

    def bend(a, value, slope):
        return zero if a > zero else slope

    return bend


def _gelu(t):
    half, two, density = t(0.5), t(2.0), t(1.0 / math.sqrt(2.0 * math.pi))

    def bend(a, value, slope):
        """(2 − a²)·φ(a)."""
        return (two - a * a) * density * t(math.exp(-half * a * a))

    return bend


def _tanh(t):
    two = t(2.0)

    def bend(a, value, slope):
        return -two * value * slope

    return bend


def _sigmoid(t):
    sigmoids = _sigmoids(t)

    def bend(a, value, slope):
        s, complement = sigmoids(a)
        return slope * (complement - s)

    return bend


def _softplus(t):
    sigmoids = _sigmoids(t)

    def bend(a, value, slope):
        s, complement = sigmoids(a)
        return s * complement

    return bend


_BENDS = {
    "swish": _swish,
    "elu": _elu,
    "gelu": _gelu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
}
