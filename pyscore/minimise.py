"""Descent on codes: the two ways of `reference.project`, and the posterior mode that Laplace needs."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from pyscore._validate import Array, Latent
from pyscore.reference import Projection, move, tangent_frame

__all__ = ["adam_descent", "adam_step", "beta_power", "damped_newton", "levenberg_marquardt", "tangent_basis"]

Model = Callable[[Array], tuple[Array, Array, Array]]
"""Codes (n, k) → objective (n,), gradient (n, m) and curvature (n, m, m) in the tangent basis."""


def adam_step(
    gradient: Array, m: Array, v: Array, t: int, rate: float, betas: tuple[float, float] = (0.9, 0.999)
) -> tuple[Array, Array, Array]:
    """ADAM's step and its two new moments; to be subtracted from the parameter.

    Notes
    -----
    Original: Flux 0.8 `ADAM`: the moments and the gradient's square have the parameter's type, every other
    operation is Float64, and 1e-8 stands outside the root.
    """
    m = (betas[0] * m.astype(np.float64) + (1 - betas[0]) * gradient.astype(np.float64)).astype(m.dtype)
    square = (gradient * gradient).astype(np.float64)
    v = (betas[1] * v.astype(np.float64) + (1 - betas[1]) * square).astype(v.dtype)
    powers = [beta_power(beta, t) for beta in betas]
    corrected = v.astype(np.float64) / (1 - powers[1])
    step = m.astype(np.float64) / (1 - powers[0]) / (np.sqrt(corrected) + 1e-8) * rate
    return step.astype(gradient.dtype), m, v


@functools.cache
def _powers(base: float) -> list[float]:
    return [1.0]


def beta_power(base: float, exponent: int) -> float:
    """Return base^exponent by repeated products, as the original keeps it (and so to its last bit)."""
    powers = _powers(base)
    while len(powers) <= exponent:
        powers.append(powers[-1] * base)
    return powers[exponent]


def adam_descent(
    x: Array,
    z: Array,
    decode: Callable[[Array], Array],
    jacobian: Callable[[Array], Array],
    *,
    steps: int,
    rate: float = 1e-3,
) -> Projection:
    """Take `steps` ADAM steps in R^k on mean_i ½‖x_i − decode(z_i)‖² (original: `manifoldz`)."""
    m, v = np.zeros_like(z), np.zeros_like(z)
    n = max(len(z), 1)
    for t in range(1, steps + 1):
        gradient = -np.einsum("ndk,nd->nk", jacobian(z), x - decode(z)) / n
        step, m, v = adam_step(gradient, m, v, t, rate)
        z = z - step
    norm = np.linalg.norm(np.einsum("ndk,nd->nk", jacobian(z), x - decode(z)), axis=1)
    return Projection(z, norm, np.full(len(z), steps))


def tangent_basis(z: Array, latent: Latent) -> Array:
    """(n, k, m) basis of the directions in which a code may move."""
    if latent == "sphere":
        return tangent_frame(z)
    return np.broadcast_to(np.eye(z.shape[1]), (*z.shape, z.shape[1]))


def levenberg_marquardt(
    x: Array,
    z: Array,
    decode: Callable[[Array], Array],
    jacobian: Callable[[Array], Array],
    *,
    latent: Latent,
    steps: int,
) -> Projection:
    """argmin_z ½‖x − decode(z)‖² with the Gauss-Newton curvature TᵀJᵀJT."""

    def value(z: Array) -> Array:
        return 0.5 * np.sum((x - decode(z)) ** 2, axis=1)

    def model(z: Array) -> tuple[Array, Array, Array]:
        residual = x - decode(z)
        a = jacobian(z) @ tangent_basis(z, latent)
        return (
            0.5 * np.sum(residual**2, axis=1),
            -np.einsum("ndm,nd->nm", a, residual),
            np.swapaxes(a, 1, 2) @ a,
        )

    return damped_newton(z, value, model, latent=latent, steps=steps)


def damped_newton(
    z: Array, value: Callable[[Array], Array], model: Model, *, latent: Latent, steps: int
) -> Projection:
    """Minimise each row's objective: solve (H + λ·scale·I) δ = −g, retract, and accept only what decreases.

    λ falls by ten after a success and grows by ten after a failure, row by row; a row is done when its
    gradient is at rounding level or its steps no longer move it.
    """
    z = z.copy()
    damping = np.full(len(z), 1e-3)
    active = np.ones(len(z), dtype=bool)
    count = np.zeros(len(z), dtype=np.int64)
    f, g, h = model(z)
    for _ in range(steps):
        if not active.any():
            break
        basis = tangent_basis(z, latent)
        scale = np.maximum(np.trace(h, axis1=1, axis2=2) / max(h.shape[1], 1), 1e-12)
        shift = _shift(h) + damping * scale
        delta = np.linalg.solve(h + shift[:, None, None] * np.eye(h.shape[1]), -g[..., None])[..., 0]
        trial = move(z, np.einsum("nkm,nm->nk", basis, delta), latent)
        with np.errstate(over="ignore", invalid="ignore"):
            better = active & (value(trial) < f)
        count += active
        z[better] = trial[better]
        damping = np.where(better, np.maximum(damping * 0.1, 1e-12), damping * 10)
        if better.any():
            f, g, h = model(z)
        small = np.linalg.norm(g, axis=1) <= 1e-14 * (1 + f) * np.sqrt(scale)
        stuck = ~better & ((np.linalg.norm(delta, axis=1) < 1e-13) | (damping > 1e12))
        active &= ~(small | stuck)
    return Projection(z, np.linalg.norm(g, axis=1), count)


def _shift(hessian: Array) -> Array:
    """What makes each Hessian positive semidefinite: minus its smallest eigenvalue where that is negative."""
    if hessian.shape[1] == 0:
        return np.zeros(len(hessian))
    lowest: Array = np.linalg.eigvalsh(hessian)[:, 0]
    return np.where(lowest < 0, -1.01 * lowest, 0.0)
