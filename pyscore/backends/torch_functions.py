"""The equations on torch tensors, differentiable: used by the torch backend and by training.

Same names and shapes as `pyscore.reference`, on tensors of one dtype and device; no checks, no NumPy.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pyscore.convention import Convention
from pyscore.reference.network import KAPPA_MAX
from pyscore.reference.sphere import machine_eps

__all__ = [
    "ACTIVATIONS",
    "Layer",
    "encoder_cotangents",
    "encoder_heads",
    "householder",
    "log_volume",
    "mlp",
    "mlp_tangents",
    "mmd_imq",
    "normalize",
    "one_thread",
    "sample_vmf",
    "tangent_frame",
]

EPS32 = torch.finfo(torch.float32).eps
Layer = tuple[Tensor, Tensor]
"""Weight (out, in) and bias (out,)."""


class Activation(NamedTuple):
    """An elementwise function with its first two derivatives."""

    value: Callable[[Tensor], Tensor]
    first: Callable[[Tensor], Tensor]
    second: Callable[[Tensor], Tensor]


def _swish_first(a: Tensor) -> Tensor:
    s = torch.sigmoid(a)
    return s + a * s * torch.sigmoid(-a)


def _swish_second(a: Tensor) -> Tensor:
    s, complement = torch.sigmoid(a), torch.sigmoid(-a)
    return s * complement * (2 + a * (complement - s))


def _normal_density(a: Tensor) -> Tensor:
    return torch.exp(-0.5 * a * a) * 0.3989422804014327


def _gelu_first(a: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-a * 0.7071067811865476) + a * _normal_density(a)


def _sigmoid_first(a: Tensor) -> Tensor:
    return torch.sigmoid(a) * torch.sigmoid(-a)


def _elu_slope(a: Tensor, above: float) -> Tensor:
    return torch.where(a > 0, above, torch.exp(a.clamp(max=0)))


def _tanh_first(a: Tensor) -> Tensor:
    return 1 / torch.cosh(a) ** 2


ACTIVATIONS: dict[str, Activation] = {
    "swish": Activation(F.silu, _swish_first, _swish_second),
    "relu": Activation(torch.relu, lambda a: (a > 0).to(a.dtype), torch.zeros_like),
    "leaky_relu": Activation(
        lambda a: F.leaky_relu(a, 0.01),
        lambda a: torch.where(a > 0, torch.ones_like(a), 0.01),
        torch.zeros_like,
    ),
    "elu": Activation(F.elu, lambda a: _elu_slope(a, 1.0), lambda a: _elu_slope(a, 0.0)),
    "gelu": Activation(
        lambda a: 0.5 * a * torch.erfc(-a * 0.7071067811865476),
        _gelu_first,
        lambda a: (2 - a * a) * _normal_density(a),
    ),
    "tanh": Activation(torch.tanh, _tanh_first, lambda a: -2 * torch.tanh(a) * _tanh_first(a)),
    "sigmoid": Activation(
        torch.sigmoid, _sigmoid_first, lambda a: _sigmoid_first(a) * (torch.sigmoid(-a) - torch.sigmoid(a))
    ),
    "softplus": Activation(lambda a: torch.logaddexp(a, torch.zeros_like(a)), torch.sigmoid, _sigmoid_first),
    "identity": Activation(lambda a: a, torch.ones_like, torch.zeros_like),
}


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread: the products are too small for two, and the bits do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def normalize(v: Tensor, convention: Convention) -> Tensor:
    """Rows of unit norm; see `reference.normalize`."""
    squares = (v * v).sum(dim=-1, keepdim=True)
    if convention.norm_eps == "machine":
        return v / torch.sqrt(squares + machine_eps(torch.finfo(v.dtype).eps))
    empty = squares == 0
    e1 = torch.zeros_like(v)
    e1[..., 0] = 1
    return torch.where(empty, e1, v / torch.sqrt(torch.where(empty, torch.ones_like(squares), squares)))


def householder(z: Tensor, mu: Tensor, convention: Convention) -> Tensor:
    """Reflection that takes e1 to mu, applied to z; see `reference.householder`."""
    first, rest = mu[..., :1], mu[..., 1:]
    head = 1 - first
    if convention.norm_eps == "none":
        head = torch.where(first > 0, (rest * rest).sum(dim=-1, keepdim=True) / (1 + first.clamp(min=0)), head)
    u = torch.cat([head, -rest], dim=-1)
    r = normalize(u, convention)
    r = torch.where((u * u).sum(dim=-1, keepdim=True) != 0, r, torch.zeros_like(r))
    return z - 2 * (z * r).sum(dim=-1, keepdim=True) * r


def tangent_frame(z: Tensor, convention: Convention) -> Tensor:
    """(n, k, k−1) tangent basis at z; see `reference.tangent_frame`."""
    k = z.shape[-1]
    basis = torch.eye(k, dtype=z.dtype, device=z.device)[1:].expand(z.shape[0], k - 1, k)
    return householder(basis, normalize(z, convention)[:, None, :], convention).transpose(1, 2)


def sample_vmf(mu: Tensor, kappa: Tensor, epsilon: Tensor, v: Tensor, convention: Convention) -> Tensor:
    """Sample from accepted draws; see `reference.sample_vmf`.

    Under ``norm_eps="machine"`` b is evaluated in the original's order, (c − 2κ)/(k−1), whose cancellation
    is part of the Float32 numbers that a replay has to meet.
    """
    k = mu.shape[-1]
    c = torch.sqrt(4 * kappa**2 + (k - 1) ** 2)
    if convention.norm_eps == "machine":
        b = (-2 * kappa + c) / (k - 1)
        w = (1 - (1 + b) * epsilon) / (1 - (1 - b) * epsilon)
        radius = torch.sqrt(1 - w**2 + 10 * EPS32)
    else:
        b = (k - 1) / (c + 2 * kappa)
        rest, pull = 1 - epsilon, b * epsilon
        w = (rest - pull) / (rest + pull)
        # The root of b alone: ε is a constant of the draw, and may be 0 or 1, where √(bε(1−ε)) has no slope.
        radius = 2 * torch.sqrt(b) * torch.sqrt(epsilon * rest) / (rest + pull)
    ring = radius[:, None] * normalize(v, convention)
    return householder(torch.cat([w[:, None], ring], dim=1), mu, convention)


def mlp(a: Tensor, layers: Sequence[Layer], activation: str, *, last_active: bool = False) -> Tensor:
    """Output (n, out) of the network."""
    act = ACTIVATIONS[activation].value
    for index, (weight, bias) in enumerate(layers):
        a = torch.addmm(bias, a, weight.T)
        if last_active or index < len(layers) - 1:
            a = act(a)
    return a


def encoder_heads(
    x: Tensor, layers: Sequence[Layer], mu: Layer, kappa: Layer, activation: str, convention: Convention
) -> tuple[Tensor, Tensor]:
    """mu(x) (n, k) and kappa(x) (n,)."""
    hidden = mlp(x, layers, activation, last_active=True)
    concentration = KAPPA_MAX * torch.sigmoid(torch.addmm(kappa[1], hidden, kappa[0].T))
    return normalize(torch.addmm(mu[1], hidden, mu[0].T), convention), concentration[:, 0]


def mlp_tangents(a: Tensor, tangents: Tensor, layers: Sequence[Layer], activation: str) -> tuple[Tensor, Tensor]:
    """Output (n, out) and the images (n, m, out) of the tangents (n, m, in), by forward mode."""
    act = ACTIVATIONS[activation]
    for index, (weight, bias) in enumerate(layers):
        a = torch.addmm(bias, a, weight.T)
        tangents = tangents @ weight.T
        if index < len(layers) - 1:
            tangents = tangents * act.first(a)[:, None, :]
            a = act.value(a)
    return a, tangents


def encoder_cotangents(
    x: Tensor, layers: Sequence[Layer], mu: Layer, activation: str, convention: Convention, *, tangent: bool
) -> Tensor:
    """Rows (n, m, d) of TᵀJ (m = k−1) or of J (m = k), J the Jacobian of mu, by reverse mode."""
    act = ACTIVATIONS[activation]
    slopes = []
    for weight, bias in layers:
        a = torch.addmm(bias, x, weight.T)
        slopes.append(act.first(a))
        x = act.value(a)
    v = torch.addmm(mu[1], x, mu[0].T)
    direction = normalize(v, convention)
    eps = machine_eps(torch.finfo(v.dtype).eps) if convention.norm_eps == "machine" else 0.0
    r = torch.sqrt((v * v).sum(dim=1) + eps)
    k = v.shape[1]
    if tangent:
        rows = tangent_frame(direction, Convention()).transpose(1, 2)
    else:
        rows = torch.eye(k, dtype=v.dtype, device=v.device).expand(len(v), k, k)
    rows = rows - (rows @ direction[:, :, None]) * direction[:, None, :]
    g = (rows / r[:, None, None]) @ mu[0]
    for (weight, _), slope in zip(reversed(layers), reversed(slopes), strict=True):
        g = (g * slope[:, None, :]) @ weight
    return g


def log_volume(jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Σ log|r_ii| (n,) of a QR of each (n, a, b) matrix, and whether it is singular to working precision."""
    if jacobian.shape[1] < jacobian.shape[2]:
        jacobian = jacobian.transpose(1, 2)
    if 0 in jacobian.shape:
        zero = jacobian.new_zeros(jacobian.shape[0])
        return zero, zero.bool()
    r = torch.linalg.qr(jacobian, mode="r").R
    diagonal = torch.diagonal(r, dim1=1, dim2=2).abs()
    threshold = jacobian.shape[1] * torch.finfo(jacobian.dtype).eps
    # `<=` and not `<`: a Jacobian of zeros has the largest entry zero, too.
    singular = diagonal.amin(dim=1) <= threshold * diagonal.amax(dim=1)
    return diagonal.log().sum(dim=1), singular


def mmd_imq(x: Tensor, y: Tensor, c: float | Tensor, convention: Convention) -> Tensor:
    """k̄xx + k̄yy − 2 k̄xy as one weighted sum over the pairs of all n + m rows; see `reference.mmd_imq`.

    Leading axes are a stack, each with its own width if c is a tensor that broadcasts against (…, n, m).
    """
    rows = torch.cat([x, y], dim=-2)
    # relu has the derivative 0 at 0, as the original's max.
    kernel = c / (c + torch.relu(1 - rows @ rows.mT))
    weights = _mmd_weights(x.shape[-2], y.shape[-2], convention.mmd_diagonal, x.dtype, x.device)
    return (kernel * weights).sum(dim=(-2, -1))


@functools.lru_cache(maxsize=8)
def _mmd_weights(n: int, m: int, diagonal: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n+m, n+m) weights: 1/(n(n−1)) within x, 1/(m(m−1)) within y, −1/(nm) across, 0 on a removed diagonal."""
    weights = torch.full((n + m, n + m), -1 / (n * m), dtype=torch.float64, device=device)
    weights[:n, :n] = 1 / (n * (n - 1))
    weights[n:, n:] = 1 / (m * (m - 1))
    if diagonal == "removed":
        weights.fill_diagonal_(0)
    return weights.to(dtype)
