"""exp, log and the activations on Lanes, against extended precision and the reference.

The bounds of exp, log, sine and cosine are those of their polynomials, in units of the last place. They hold on every
processor, since each of their operations is written down (docs/portability.md).
"""

import numpy as np
import pytest
from closeness import assert_close
from numba import njit

from kernels import kernel_cases as cases
from pyscore.backends.stochastic import K, scale_of
from pyscore.kernels.cpu import _math as vector
from pyscore.kernels.cpu import _scalar_math as scalar
from pyscore.kernels.cpu._activations import ACTIVATIONS, activate
from pyscore.kernels.cpu._simd import LANES, load, store
from pyscore.reference import network


def apply(function, x):
    """`function` on every number of x, whose size is a multiple of LANES."""

    @njit
    def loop(x, out):
        for i in range(0, x.size, LANES):
            store(out, i, function(load(x, i)))

    out = np.empty_like(x)
    loop(x, out)
    return out


def ulps(computed, exact):
    exact = np.asarray(exact)
    return float(np.max(np.abs((computed.astype(np.longdouble) - exact) / exact)) / np.finfo(computed.dtype).eps)


def negatives(dtype):
    lowest = -86 if dtype == np.float32 else -700
    x = np.concatenate([np.linspace(lowest, 0, 1 << 14, endpoint=False), -np.logspace(-20, 0, 1 << 14)])
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_exponentials(dtype):
    x = negatives(dtype)
    exact = x.astype(np.longdouble)
    assert ulps(apply(vector.exp_negative, x), np.exp(exact)) <= 2
    assert ulps(apply(vector.expm1_negative, x), np.expm1(exact)) <= 2
    assert ulps(apply(vector.log1p_exp_negative, x), np.log1p(np.exp(exact))) <= 3


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_log(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.concatenate(
        [np.logspace(-37, 37, 1 << 14), 1 + np.linspace(-0.3, 0.4, 1 << 14), tiny * 7.0 ** np.arange(LANES)]
    )
    x = x.astype(dtype)
    x = x[x != 1][: x.size // LANES * LANES - LANES]
    assert ulps(apply(vector.log, x), np.log(x.astype(np.longdouble))) <= 2


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_special_values(dtype):
    x = np.zeros(LANES, dtype)
    x[:5] = np.nan, -np.inf, 0.0, -1e4, -0.0
    assert np.array_equal(apply(vector.exp_negative, x)[:5], [np.nan, 0, 1, 0, 1], equal_nan=True)
    x[:4] = np.nan, np.inf, 0.0, 1.0
    assert np.array_equal(apply(vector.log, x)[:4], [np.nan, np.inf, -np.inf, 0], equal_nan=True)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_and_slope(dtype, name):
    a = np.concatenate([np.linspace(-30, 30, 61 * LANES), np.linspace(-1e-3, 1e-3, LANES)]).astype(dtype)
    value, slope = activated(name, a)
    for got, function in ((value, network.ACTIVATIONS[name].value), (slope, network.ACTIVATIONS[name].first)):
        exact = function(a.astype(np.float64))
        # where it underflows to 0 in dtype, or below the kernel's smallest exponential
        scale = np.maximum(scale_of(function, (a,), dtype), 1e-30)
        assert_close(got, exact, K, scale, dtype, f"{name} {function.__name__}")


def activated(name, a):
    value, slope, bias = a.copy(), np.empty_like(a), np.zeros(a.size // LANES, a.dtype)
    activate(ACTIVATIONS.index(name), a.size // LANES, value, 0, bias, 0, slope, 0)
    return value, slope


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_of_nan_is_nan(name):
    a = np.zeros(LANES, np.float32)
    a[3] = np.nan
    value, _ = activated(name, a)
    assert np.flatnonzero(np.isnan(value)) == [3]


def one_by_one(function, x):
    """`function` on every float64 of x."""

    @njit
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    out = np.empty_like(x)
    loop(x, out)
    return out


def test_scalar_exponential_and_logarithm():
    x = negatives(np.float64)
    assert ulps(one_by_one(scalar.exp_negative, x), np.exp(x.astype(np.longdouble))) <= 2
    both = np.concatenate([x, -x])
    assert ulps(one_by_one(scalar.sigmoid, both), 1 / (1 + np.exp(-both.astype(np.longdouble)))) <= 3
    u = np.concatenate(
        [np.logspace(-307, 307, 1 << 14), 1 + np.linspace(-0.3, 0.4, 1 << 14), 2.0 ** -np.arange(1, 54)]
    )
    u = u[u != 1]
    assert ulps(one_by_one(scalar.log, u), np.log(u.astype(np.longdouble))) <= 2


def test_scalar_functions_at_the_ends():
    x = np.array([0.0, -0.0, -708.5, -np.inf, np.nan])
    np.testing.assert_array_equal(one_by_one(scalar.exp_negative, x), [1.0, 1.0, 0.0, 0.0, np.nan])
    x = np.array([0.0, np.inf, -np.inf, np.nan, 800.0, -800.0])
    np.testing.assert_array_equal(one_by_one(scalar.sigmoid, x), [0.5, 1.0, 0.0, np.nan, 1.0, 0.0])
    np.testing.assert_array_equal(one_by_one(scalar.log, np.array([1.0])), [0.0])


def test_cosine_and_sine():
    """Absolute errors, in eps: of a point of the unit circle, no coordinate is needed to more."""
    exact = np.pi * np.linspace(0, 2, (1 << 15) + 1)[1:-1]
    near = np.concatenate(
        [q * np.pi / 2 * (1 + np.array([-1e-9, -2e-16, 2e-16, 1e-9])) for q in (0.5, 1, 2, 3, 3.9)]
    )
    angle = np.concatenate([exact, near, [2.0**-54, 2 * np.pi * (1 - 2.0**-53)]])
    x = angle.astype(np.longdouble)
    for part, reference in ((0, np.cos), (1, np.sin)):
        got = one_by_one(njit(lambda a, part=part: scalar.cos_sin(a)[part]), angle)
        assert np.abs(got - reference(x)).max() <= np.finfo(float).eps
