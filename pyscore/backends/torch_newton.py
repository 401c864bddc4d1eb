"""Projection and posterior mode on torch tensors: the rows of a block step together, and leave when they are done.

The steps and the rule that ends them are those of `reference.minimise.damped_newton`. The network runs in the type
of its tensors; what is small (gradients and Hessians along the sphere) is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyscore.backends.torch_functions import ACTIVATIONS, Layer, mlp, normalize, tangent_frame
from pyscore.convention import EXACT

__all__ = ["Minimum", "Mixture", "adam_descent", "damped_newton"]


class Mixture(NamedTuple):
    """Components of a prior, float64."""

    mu: Tensor
    """(p, k)."""
    kappa: Tensor
    """(p,)."""
    log_weight: Tensor
    """(p,) log-normaliser − log p."""


class Minimum(NamedTuple):
    """Where the steps of each row ended."""

    z: Tensor
    """(n, k), dtype of the network."""
    value: Tensor
    """(n,) float64, the objective."""
    gradient_norm: Tensor
    """(n,) float64, along the sphere."""
    iterations: Tensor
    """(n,) int64."""
    hessian: Tensor
    """(n, k−1, k−1) float64, along the sphere."""


class _Point(NamedTuple):
    value: Tensor
    gradient: Tensor
    hessian: Tensor


def _objective(
    x: Tensor,
    z: Tensor,
    layers: Sequence[Layer],
    activation: str,
    precision: float,
    offset: float,
    prior: Mixture | None,
) -> _Point:
    """½·precision·‖x − f(z)‖² + offset − log p(z), its gradient and its Hessian along the sphere."""
    act = ACTIVATIONS[activation]
    frame = tangent_frame(z, EXACT)
    a, tangents = z, frame.transpose(1, 2)
    before, pushed = [], []
    for weight, bias in layers[:-1]:
        a, tangents = torch.addmm(bias, a, weight.T), tangents @ weight.T
        before.append(a)
        pushed.append(tangents)
        tangents = tangents * act.first(a)[:, None, :]
        a = act.value(a)
    weight, bias = layers[-1]
    residual, jacobian = x - torch.addmm(bias, a, weight.T), tangents @ weight.T
    wide = residual.double()
    value = 0.5 * precision * (wide * wide).sum(dim=1) + offset
    gradient = -precision * (jacobian @ residual[:, :, None])[..., 0].double()
    hessian = precision * (jacobian @ jacobian.transpose(1, 2)).double()
    pull = residual @ weight
    for index in range(len(layers) - 2, -1, -1):
        bent = pushed[index] * (pull * act.second(before[index]))[:, None, :]
        hessian = hessian - precision * (bent @ pushed[index].transpose(1, 2)).double()
        pull = (pull * act.first(before[index])) @ layers[index][0]
    code = z.double()
    along = precision * (code * pull.double()).sum(dim=1)
    if prior is not None:
        cosine = code @ prior.mu.T
        exponent = cosine * prior.kappa + prior.log_weight
        value = value - torch.logsumexp(exponent, dim=1)
        weights = torch.softmax(exponent, dim=1)
        pulls = (prior.kappa[:, None] * prior.mu) @ frame.double()  # (n, p, m)
        mean = (weights[:, None, :] @ pulls)[:, 0]
        gradient = gradient - mean
        hessian = hessian - (weights[:, :, None] * pulls).transpose(1, 2) @ pulls
        hessian = hessian + mean[:, :, None] * mean[:, None, :]
        along = along + (weights * prior.kappa * cosine).sum(dim=1)
    eye = torch.eye(frame.shape[2], dtype=torch.float64, device=z.device)
    return _Point(value, gradient, hessian + along[:, None, None] * eye)


def _step(point: _Point, damping: Tensor) -> Tensor:
    """δ = −Q (|Λ| + λ max|Λ|)⁻¹ Qᵀg, at most a quarter turn."""
    finite = torch.isfinite(point.hessian).all(dim=(1, 2))
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], point.hessian, 0.0))
    size = values.abs()
    largest = size.amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    along = (vectors.transpose(1, 2) @ point.gradient[..., None])[..., 0] / (size + damping[:, None] * largest)
    delta = -(vectors @ along[..., None])[..., 0]
    return delta / (delta.norm(dim=1, keepdim=True) / (0.5 * math.pi)).clamp(min=1.0)


def _move(z: Tensor, delta: Tensor) -> Tensor:
    """The exponential map of the sphere along a tangent step."""
    step = (tangent_frame(z, EXACT).double() @ delta[..., None])[..., 0]
    angle = step.norm(dim=1, keepdim=True)
    moved = torch.cos(angle) * z.double() + torch.sinc(angle / math.pi) * step
    return normalize(moved, EXACT).to(z.dtype)


def damped_newton(
    x: Tensor,
    z: Tensor,
    layers: Sequence[Layer],
    activation: str,
    *,
    precision: float = 1.0,
    offset: float = 0.0,
    prior: Mixture | None = None,
    steps: int = 100,
) -> Minimum:
    """argmin_z of −log p(x, z) (n,) along the sphere from starts z (n, k) of unit norm, or of ½‖x − f(z)‖²."""

    def evaluate(rows: Tensor, code: Tensor) -> _Point:
        return _objective(x[rows], code, layers, activation, precision, offset, prior)

    eps, n = torch.finfo(x.dtype).eps, len(x)
    rows = torch.arange(n, device=x.device)
    code, point = z.clone(), evaluate(rows, z)
    count = torch.zeros(n, dtype=torch.int64, device=x.device)
    best = _Point(*(part.clone() for part in point))
    first, found = point.value, z.clone()
    damping = torch.full((n,), 1e-4, dtype=torch.float64, device=x.device)
    for _ in range(steps):
        if not len(rows):
            break
        delta = _step(point, damping)
        rounding = 64 * eps * (1 + point.value.abs())
        negligible = -(point.gradient * delta).sum(dim=1) <= rounding
        trial = _move(code, delta)
        new = evaluate(rows, trial)
        flatter = new.gradient.norm(dim=1) < point.gradient.norm(dim=1)
        better = (new.value < point.value - rounding) | ((new.value <= point.value + rounding) & flatter)
        count[rows] += 1
        going_on = better | ~(negligible | (damping > 1e12))
        damping = torch.where(better, (damping * 0.1).clamp(min=1e-15), damping * 10)
        code = torch.where(better[:, None], trial, code)
        point = _Point(
            torch.where(better, new.value, point.value),
            torch.where(better[:, None], new.gradient, point.gradient),
            torch.where(better[:, None, None], new.hessian, point.hessian),
        )
        found[rows] = code
        for whole, part in zip(best, point, strict=True):
            whole[rows] = part
        keep = going_on.nonzero()[:, 0]
        rows, code, damping = rows[keep], code[keep], damping[keep]
        point = _Point(*(part[keep] for part in point))
    worse = (~(best.value <= first)).nonzero()[:, 0]  # not even rounding may make a row worse than its start
    if len(worse):
        found[worse] = z[worse]
        for whole, part in zip(best, evaluate(worse, z[worse]), strict=True):
            whole[worse] = part
    return Minimum(found, best.value, best.gradient.norm(dim=1), count, best.hessian)


def adam_descent(
    x: Tensor,
    z: Tensor,
    layers: Sequence[Layer],
    activation: str,
    powers: Sequence[Sequence[float]],
    rate: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """Take the original's ADAM steps off the sphere; return codes (n, k) and ‖Jᵀe‖ (n,) there.

    powers[i][t] is βᵢᵗ for t = 0 … steps; see `reference.minimise.adam_descent`.
    """
    wide = z.double()
    m, v = torch.zeros_like(wide), torch.zeros_like(wide)
    steps = len(powers[0]) - 1
    for t in range(1, steps + 2):
        pull = _pull_residual(x, wide.to(x.dtype), layers, activation).double()
        if t > steps:
            break
        gradient = pull / -max(len(x), 1)
        m = 0.9 * m + (1 - 0.9) * gradient
        v = 0.999 * v + (1 - 0.999) * (gradient * gradient)
        wide = wide - m / (1 - powers[0][t]) / (torch.sqrt(v / (1 - powers[1][t])) + 1e-8) * rate
    return wide.to(x.dtype), pull.norm(dim=1)


def _pull_residual(x: Tensor, z: Tensor, layers: Sequence[Layer], activation: str) -> Tensor:
    """Jᵀe (n, k) for e = x − f(z)."""
    act: Callable[[Tensor], Tensor] = ACTIVATIONS[activation].first
    pull = x - mlp(z, layers, activation)
    a, before = z, []
    for weight, bias in layers[:-1]:
        a = torch.addmm(bias, a, weight.T)
        before.append(a)
        a = ACTIVATIONS[activation].value(a)
    for index in range(len(layers) - 1, -1, -1):
        pull = pull @ layers[index][0]
        if index:
            pull = pull * act(before[index - 1])
    return pull
