"""Descent on codes: the two ways of `reference.project`, and the posterior mode that Laplace needs."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from pyscore._validate import Array, Latent
from pyscore.reference import EPS, Projection, move, tangent_frame

__all__ = [
    "adam_descent",
    "adam_step",
    "beta_power",
    "damped_newton",
    "levenberg_marquardt",
    "radial_pull",
    "tangent_basis",
]

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
    hessian: Callable[[Array, Array], Array] | None = None,
) -> Projection:
    """argmin_z ½‖x − decode(z)‖² with the Gauss-Newton curvature TᵀJᵀJT, or the whole one given `hessian`."""

    def model(z: Array) -> tuple[Array, Array, Array]:
        residual, j, basis = x - decode(z), jacobian(z), tangent_basis(z, latent)
        gradient, curvature = -np.einsum("ndk,nd->nk", j, residual), np.swapaxes(j, 1, 2) @ j
        if hessian is not None:
            curvature = curvature - hessian(z, residual)
            if latent == "sphere":
                curvature = curvature - radial_pull(z, gradient)
        curvature = np.swapaxes(basis, 1, 2) @ curvature @ basis
        return 0.5 * np.sum(residual**2, axis=1), np.einsum("nkm,nk->nm", basis, gradient), curvature

    return damped_newton(z, model, latent=latent, steps=steps)


def radial_pull(z: Array, gradient: Array) -> Array:
    """(z·g) I (n, k, k): what the Riemannian Hessian on the sphere, Tᵀ(H − (z·g) I)T, subtracts from H."""
    return np.sum(z * gradient, axis=1)[:, None, None] * np.eye(z.shape[1])


def damped_newton(z: Array, model: Model, *, latent: Latent, steps: int) -> Projection:
    """Minimise each row's objective: solve (H + λ·scale·I) δ = −g, retract, and accept only what improves.

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
        scale = np.maximum(np.linalg.norm(h, axis=(1, 2)) / np.sqrt(max(h.shape[1], 1)), 1e-12)
        shift = _shift(h) + damping * scale
        delta = np.linalg.solve(h + shift[:, None, None] * np.eye(h.shape[1]), -g[..., None])[..., 0]
        trial = move(z, np.einsum("nkm,nm->nk", basis, delta), latent)
        with np.errstate(over="ignore", invalid="ignore"):
            found = model(trial)
            better = active & _improves(f, g, *found[:2])
        count += active
        z[better], f[better], g[better], h[better] = (a[better] for a in (trial, *found))
        damping = np.where(better, np.maximum(damping * 0.1, 1e-12), damping * 10)
        small = np.linalg.norm(g, axis=1) <= 1e-14 * (1 + np.abs(f)) * np.sqrt(scale)
        stuck = ~better & ((np.linalg.norm(delta, axis=1) < 1e-13) | (damping > 1e12))
        active &= ~(small | stuck)
    return Projection(z, np.linalg.norm(g, axis=1), count)


def _improves(f: Array, g: Array, trial_f: Array, trial_g: Array) -> Array:
    """Where a step lowers the objective, or, once that sees only rounding, the gradient."""
    flat = trial_f <= f + 4 * EPS * np.abs(f)
    return (trial_f < f) | (flat & (np.linalg.norm(trial_g, axis=1) < 0.9 * np.linalg.norm(g, axis=1)))


def _shift(hessian: Array) -> Array:
    """What makes each Hessian positive semidefinite: minus its smallest eigenvalue where that is negative."""
    if hessian.shape[1] == 0:
        return np.zeros(len(hessian))
    lowest: Array = np.linalg.eigvalsh(hessian)[:, 0]
    return np.where(lowest < 0, -1.01 * lowest, 0.0)
