"""Multilayer perceptrons in float64 NumPy: values, Jacobians and contracted Hessians.

Every backend's fused passes are tested against these functions. Layers are `Dense` pairs of weight (out, in) and
bias (out,); the activation follows every layer but the last, or every layer with `last_active`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import Convention
from pyscore.reference.sphere import machine_eps, normalize

__all__ = [
    "ACTIVATIONS",
    "KAPPA_MAX",
    "Dense",
    "encoder_heads",
    "encoder_jacobian",
    "mlp",
    "mlp_hessian",
    "mlp_jacobian",
]

from pyscore._core.constants import KAPPA_MAX


class Dense(NamedTuple):
    """A layer a ↦ W a + b."""

    weight: Array
    """(out, in)."""
    bias: Array
    """(out,)."""


class Activation(NamedTuple):
    """An elementwise function with its first two derivatives."""

    value: Callable[[Array], Array]
    first: Callable[[Array], Array]
    second: Callable[[Array], Array]


def _sigmoid_powers(a: Array) -> tuple[Array, Array]:
    s = special.expit(a)
    return s, s * special.expit(-a)


def _swish_first(a: Array) -> Array:
    s, ds = _sigmoid_powers(a)
    return s + a * ds


def _swish_second(a: Array) -> Array:
    s, ds = _sigmoid_powers(a)
    return ds * (2 + a * (1 - 2 * s))


def _sigmoid_second(a: Array) -> Array:
    s, ds = _sigmoid_powers(a)
    return ds * (1 - 2 * s)


def _tanh_first(a: Array) -> Array:
    return 1 / np.cosh(np.clip(a, -350, 350)) ** 2


def _normal_density(a: Array) -> Array:
    return np.exp(-0.5 * a * a) / np.sqrt(2 * np.pi)


def _step(a: Array, below: float, above: float) -> Array:
    return np.where(a > 0, above, below)


def _zero(a: Array) -> Array:
    return np.zeros_like(a)


ACTIVATIONS: dict[str, Activation] = {
    "swish": Activation(lambda a: a * special.expit(a), _swish_first, _swish_second),
    "relu": Activation(lambda a: np.where(a > 0, a, 0.0), lambda a: _step(a, 0.0, 1.0), _zero),
    "leaky_relu": Activation(lambda a: np.where(a > 0, a, 0.01 * a), lambda a: _step(a, 0.01, 1.0), _zero),
    "elu": Activation(
        lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
        lambda a: np.where(a > 0, 1.0, np.exp(np.minimum(a, 0))),
        lambda a: np.where(a > 0, 0.0, np.exp(np.minimum(a, 0))),
    ),
    "gelu": Activation(
        lambda a: a * special.ndtr(a),
        lambda a: special.ndtr(a) + a * _normal_density(a),
        lambda a: (2 - a * a) * _normal_density(a),
    ),
    "tanh": Activation(np.tanh, _tanh_first, lambda a: -2 * np.tanh(a) * _tanh_first(a)),
    "sigmoid": Activation(special.expit, lambda a: _sigmoid_powers(a)[1], _sigmoid_second),
    "softplus": Activation(lambda a: np.logaddexp(0.0, a), special.expit, lambda a: _sigmoid_powers(a)[1]),
    "identity": Activation(lambda a: a, np.ones_like, _zero),
}
"""Value, first and second derivative of each activation; at a kink they are the derivatives from the left."""


def _float64(layers: Sequence[Dense]) -> list[Dense]:
    return [Dense(np.asarray(w, np.float64), np.asarray(b, np.float64)) for w, b in layers]


@np.errstate(invalid="ignore")  # a row that is infinite gives NaN
def mlp(a: Array, layers: Sequence[Dense], activation: str, *, last_active: bool = False) -> Array:
    """Output (n, out) of the network for rows `a` (n, in)."""
    act = ACTIVATIONS[check.choice("activation", activation, ACTIVATIONS)]
    for index, (weight, bias) in enumerate(_float64(layers)):
        a = a @ weight.T + bias
        if last_active or index < len(layers) - 1:
            a = act.value(a)
    return a


@np.errstate(invalid="ignore")  # a row that is infinite gives NaN
def mlp_jacobian(
    a: Array, layers: Sequence[Dense], activation: str, *, last_active: bool = False
) -> tuple[Array, Array]:
    """Output (n, out) and Jacobian (n, out, in), by forward mode: dφ(Wa+b) = φ'(Wa+b)·W da."""
    act = ACTIVATIONS[check.choice("activation", activation, ACTIVATIONS)]
    tangents = np.broadcast_to(np.eye(a.shape[1]), (a.shape[0], a.shape[1], a.shape[1]))
    for index, (weight, bias) in enumerate(_float64(layers)):
        a = a @ weight.T + bias
        tangents = weight @ tangents
        if last_active or index < len(layers) - 1:
            tangents = act.first(a)[:, :, None] * tangents
            a = act.value(a)
    return a, tangents


@np.errstate(invalid="ignore")  # a row that is infinite gives NaN
def mlp_hessian(a: Array, layers: Sequence[Dense], activation: str, weights: Array) -> Array:
    """Hessian (n, in, in) of Σ_m weights_m · output_m: Σ over layers of Aᵀ diag(g φ'') A.

    A is the Jacobian of a layer's pre-activation and g the gradient with respect to its activation. In this form
    no array of third derivatives is built.
    """
    act = ACTIVATIONS[check.choice("activation", activation, ACTIVATIONS)]
    layers = _float64(layers)
    inputs, n = a.shape[1], a.shape[0]
    tangents = np.broadcast_to(np.eye(inputs), (n, inputs, inputs))
    pre, pre_tangents = [], []
    for weight, bias in layers[:-1]:
        a = a @ weight.T + bias
        tangents = weight @ tangents
        pre.append(a)
        pre_tangents.append(tangents)
        tangents = act.first(a)[:, :, None] * tangents
        a = act.value(a)
    hessian = np.zeros((n, inputs, inputs))
    gradient = weights @ layers[-1].weight
    for index in range(len(layers) - 2, -1, -1):
        bend = gradient * act.second(pre[index])
        hessian += np.swapaxes(pre_tangents[index], 1, 2) @ (bend[:, :, None] * pre_tangents[index])
        gradient = (gradient * act.first(pre[index])) @ layers[index].weight
    return hessian


@np.errstate(invalid="ignore")  # a row that is infinite gives NaN
def encoder_heads(
    x: Array, layers: Sequence[Dense], mu: Dense, kappa: Dense, activation: str, *, convention: Convention
) -> tuple[Array, Array]:
    """mu(x) = normalize(Dense(hidden)) (n, k) and kappa(x) = 100·sigmoid(Dense(hidden)) (n,)."""
    hidden = mlp(x, layers, activation, last_active=True)
    mu, kappa = _float64([mu, kappa])
    concentration = KAPPA_MAX * special.expit(hidden @ kappa.weight.T + kappa.bias)[:, 0]
    return normalize(hidden @ mu.weight.T + mu.bias, convention=convention), concentration


@np.errstate(invalid="ignore")  # a row that is infinite gives NaN
def encoder_jacobian(
    x: Array, layers: Sequence[Dense], mu: Dense, activation: str, *, convention: Convention
) -> tuple[Array, Array]:
    """mu(x) (n, k) and its Jacobian (n, k, d): d(v/r) = (dv − mu (mu·dv)) / r with r = √(|v|² [+ eps])."""
    hidden, tangents = mlp_jacobian(x, layers, activation, last_active=True)
    (head,) = _float64([mu])
    v = hidden @ head.weight.T + head.bias
    dv = head.weight @ tangents
    direction = normalize(v, convention=convention)
    r = np.sqrt(np.sum(v * v, axis=1) + (machine_eps() if convention.norm_eps == "machine" else 0.0))
    radial = np.einsum("nk,nkd->nd", direction, dv)
    with np.errstate(divide="ignore", invalid="ignore"):
        return direction, (dv - direction[:, :, None] * radial[:, None, :]) / r[:, None, None]
