"""Activations on Lanes: value and first derivative together, since both come from the same exponential."""

from pyscore.errors import InvalidInput
from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._math import exp_negative, expm1_negative, log1p_exp_negative, ndtr, sigmoid
from pyscore.kernels.cpu._simd import LANES, fma, load, narrow_like, select, splat, store, vabs

__all__ = ["ACTIVATIONS", "activate", "activate_values", "activation_code", "multiply_columns"]


@njit
def _identity(a):
    return a, splat(1.0, a)


@njit
def _swish(a):
    """a·s, s + a·s(1−s)."""
    s, complement = sigmoid(a)
    value = a * s
    return value, fma(value, complement, s)


@njit
def _relu(a):
    zero = splat(0.0, a)
    return select(a <= 0.0, zero, a), select(a > 0.0, splat(1.0, a), zero)


@njit
def _leaky_relu(a):
    positive = a > 0.0
    return select(positive, a, 0.01 * a), select(positive, splat(1.0, a), splat(0.01, a))


@njit
def _elu(a):
    """e^a − 1 and e^a below 0."""
    below = select(a > 0.0, splat(0.0, a), a)
    positive = a > 0.0
    return select(positive, a, expm1_negative(below)), select(positive, splat(1.0, a), exp_negative(below))


@njit
def _gelu(a):
    """a·Φ(a), Φ(a) + a·φ(a): the exact one, not the tanh approximation that is Flux's default."""
    cdf, density = ndtr(a)
    return a * narrow_like(cdf, a), fma(a, narrow_like(density, a), narrow_like(cdf, a))


@njit
def _tanh(a):
    """−m/(2+m) with m = e − 1, e = e^(−2|a|), and 1 − tanh² as 4e/(1+e)²."""
    twice = -2.0 * vabs(a)
    e, inverse = exp_negative(twice), 1.0 / (2.0 + expm1_negative(twice))
    size = -expm1_negative(twice) * inverse
    return select(a < 0.0, -size, size), 4.0 * e * (inverse * inverse)


@njit
def _sigmoid(a):
    s, complement = sigmoid(a)
    return s, s * complement


@njit
def _softplus(a):
    """max(a, 0) + log(1 + e^−|a|), sigmoid(a)."""
    return select(a < 0.0, splat(0.0, a), a) + log1p_exp_negative(-vabs(a)), sigmoid(a)[0]


ACTIVATIONS = ("identity", "swish", "relu", "leaky_relu", "elu", "gelu", "tanh", "sigmoid", "softplus")
"""Names, in the order of the codes that kernels branch on: once a layer, so the branch costs nothing."""


def activation_code(name: str) -> int:
    """Return the place of an activation in ACTIVATIONS."""
    try:
        return ACTIVATIONS.index(name)
    except ValueError:
        wanted = ", ".join(map(repr, ACTIVATIONS))
        raise InvalidInput(f"`activation` must be one of {wanted}; got {name!r}.") from None


@njit
def _apply(phi, rows, values, at, bias, bias_at, slopes, slopes_at):
    for r in range(rows):
        value, slope = phi(load(values, at + r * LANES) + bias[bias_at + r])
        store(values, at + r * LANES, value)
        store(slopes, slopes_at + r * LANES, slope)


@njit
def activate(code, rows, values, at, bias, bias_at, slopes, slopes_at):
    """values ← φ(values + bias), slopes ← φ'(values + bias) for one column of `rows` Lanes."""
    if code == 0:
        _apply(_identity, rows, values, at, bias, bias_at, slopes, slopes_at)
    elif code == 1:
        _apply(_swish, rows, values, at, bias, bias_at, slopes, slopes_at)
    elif code == 2:
        _apply(_relu, rows, values, at, bias, bias_at, slopes, slopes_at)
    elif code == 3:
        _apply(_leaky_relu, rows, values, at, bias, bias_at, slopes, slopes_at)
    elif code == 4:
        _apply(_elu, rows, values, at, bias, bias_at, slopes, slopes_at)
    elif code == 5:
        _apply(_gelu, rows, values, at, bias, bias_at, slopes, slopes_at)
    elif code == 6:
        _apply(_tanh, rows, values, at, bias, bias_at, slopes, slopes_at)
    elif code == 7:
        _apply(_sigmoid, rows, values, at, bias, bias_at, slopes, slopes_at)
    else:
        _apply(_softplus, rows, values, at, bias, bias_at, slopes, slopes_at)


@njit
def _apply_values(phi, rows, values, at, bias, bias_at):
    for r in range(rows):
        value, _ = phi(load(values, at + r * LANES) + bias[bias_at + r])
        store(values, at + r * LANES, value)


@njit
def activate_values(code, rows, values, at, bias, bias_at):
    """values ← φ(values + bias), as `activate` without the slopes, whose arithmetic the compiler leaves out."""
    if code == 0:
        _apply_values(_identity, rows, values, at, bias, bias_at)
    elif code == 1:
        _apply_values(_swish, rows, values, at, bias, bias_at)
    elif code == 2:
        _apply_values(_relu, rows, values, at, bias, bias_at)
    elif code == 3:
        _apply_values(_leaky_relu, rows, values, at, bias, bias_at)
    elif code == 4:
        _apply_values(_elu, rows, values, at, bias, bias_at)
    elif code == 5:
        _apply_values(_gelu, rows, values, at, bias, bias_at)
    elif code == 6:
        _apply_values(_tanh, rows, values, at, bias, bias_at)
    elif code == 7:
        _apply_values(_sigmoid, rows, values, at, bias, bias_at)
    else:
        _apply_values(_softplus, rows, values, at, bias, bias_at)


@njit
def multiply_columns(rows, columns, values, at, step, slopes, slopes_at):
    """values[c, r] ← values[c, r]·slopes[r] for `columns` columns: the chain rule of one activation."""
    for c in range(columns):
        for r in range(rows):
            place = at + c * step + r * LANES
            store(values, place, load(values, place) * load(slopes, slopes_at + r * LANES))
