"""Activations with their first two derivatives, on Lanes: what the Hessian of a network needs of a layer."""

from pyscore.kernels.cpu._activations import (
    _elu,
    _gelu,
    _identity,
    _leaky_relu,
    _relu,
    _sigmoid,
    _softplus,
    _tanh,
)
from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._math import ndtr, sigmoid
from pyscore.kernels.cpu._simd import LANES, fma, load, narrow_like, select, splat, store

__all__ = ["activate_twice"]


@njit
def _identity_twice(a):
    value, slope = _identity(a)
    return value, slope, splat(0.0, a)


@njit
def _swish_twice(a):
    """a·s, s + a·s(1−s), s(1−s)(2 + a(1−2s))."""
    s, complement = sigmoid(a)
    value = a * s
    return value, fma(value, complement, s), s * complement * fma(a, complement - s, splat(2.0, a))


@njit
def _relu_twice(a):
    value, slope = _relu(a)
    return value, slope, splat(0.0, a)


@njit
def _leaky_relu_twice(a):
    value, slope = _leaky_relu(a)
    return value, slope, splat(0.0, a)


@njit
def _elu_twice(a):
    value, slope = _elu(a)
    return value, slope, select(a > 0.0, splat(0.0, a), slope)


@njit
def _gelu_twice(a):
    """(2 − a²)·φ(a)."""
    value, slope = _gelu(a)
    return value, slope, fma(-a, a, splat(2.0, a)) * narrow_like(ndtr(a)[1], a)


@njit
def _tanh_twice(a):
    value, slope = _tanh(a)
    return value, slope, -2.0 * value * slope


@njit
def _sigmoid_twice(a):
    value, slope = _sigmoid(a)
    s, complement = sigmoid(a)
    return value, slope, slope * (complement - s)


@njit
def _softplus_twice(a):
    value, slope = _softplus(a)
    s, complement = sigmoid(a)
    return value, slope, s * complement


@njit
def _apply(phi, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at):
    for r in range(rows):
        value, slope, bend = phi(load(source, at + r * LANES) + bias[bias_at + r])
        store(values, v_at + r * LANES, value)
        store(slopes, d_at + r * LANES, slope)
        store(bends, d_at + r * LANES, bend)


@njit
def activate_twice(code, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at):
    """values, slopes, bends ← φ, φ', φ'' of source + bias, for one column of `rows` Lanes."""
    if code == 0:
        _apply(_identity_twice, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at)
    elif code == 1:
        _apply(_swish_twice, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at)
    elif code == 2:
        _apply(_relu_twice, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at)
    elif code == 3:
        _apply(_leaky_relu_twice, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at)
    elif code == 4:
        _apply(_elu_twice, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at)
    elif code == 5:
        _apply(_gelu_twice, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at)
    elif code == 6:
        _apply(_tanh_twice, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at)
    elif code == 7:
        _apply(_sigmoid_twice, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at)
    else:
        _apply(_softplus_twice, rows, source, at, bias, bias_at, values, v_at, slopes, bends, d_at)
