"""Descent on codes: the nearest point of the manifold (`project`), and the posterior mode that Laplace needs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array, Latent
from pyscore.convention import EXACT, Convention
from pyscore.reference.likelihood import log_likelihood
from pyscore.reference.sphere import EPS, normalize, tangent_frame

__all__ = [
    "BETAS",
    "Projection",
    "adam_descent",
    "adam_step",
    "beta_power",
    "damped_newton",
    "levenberg_marquardt",
    "move",
    "negative_log_joint",
    "project",
    "riemannian",
    "tangent_basis",
]

from pyscore._core.constants import BETAS

Model = Callable[[Array], tuple[Array, Array, Array]]
"""Codes (n, k) → objective (n,), gradient (n, m) and curvature (n, m, m) in the tangent basis."""


class Projection(NamedTuple):
    """Nearest points of the manifold, with the remaining gradient and the number of steps.

    Examples
    --------
    >>> pyscore.reference.Projection._fields
    ('z', 'gradient_norm', 'iterations')
    """

    z: Array
    """(n, k) codes."""
    gradient_norm: Array
    """(n,) ‖Jᵀe‖ at z; for spherical codes, the norm of the gradient along the sphere."""
    iterations: Array
    """(n,) steps taken."""


def move(z: Array, step: Array, latent: Latent) -> Array:
    """Retract a step: z + step, or the exponential map of the sphere along a tangent step.

    Examples
    --------
    >>> z, step = np.array([[1.0, 0.0]]), np.array([[0.0, 0.5 * np.pi]])
    >>> pyscore.reference.move(z, step, "sphere").round(3).tolist()
    [[0.0, 1.0]]
    """
    if latent == "euclidean":
        return z + step
    angle = np.linalg.norm(step, axis=1, keepdims=True)
    return normalize(np.cos(angle) * z + np.sinc(angle / np.pi) * step)


def adam_step(
    gradient: Array, m: Array, v: Array, t: int, rate: float, betas: tuple[float, float] = BETAS
) -> tuple[Array, Array, Array]:
    """ADAM's step, which the caller subtracts from the parameter, and the two new moments.

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
    """Return base^exponent by repeated products, as the original does, so that both have the same bits."""
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
    """(n, k, m) basis of the directions in which a code can move: the tangents of the sphere, or all of R^k."""
    if latent == "sphere":
        return tangent_frame(z)
    return np.broadcast_to(np.eye(z.shape[1]), (*z.shape, z.shape[1]))


def levenberg_marquardt(
    x: Array,
    z: Array,
    decode: Callable[[Array], Array],
    jacobian: Callable[[Array], Array],
    bend: Callable[[Array, Array], Array] | None,
    *,
    latent: Latent,
    steps: int,
    eps: float = EPS,
) -> Projection:
    """argmin_z ½‖x − decode(z)‖², with the Gauss-Newton curvature JᵀJ, or the whole Hessian JᵀJ − Σ e_m ∇²f_m."""

    def model(z: Array) -> tuple[Array, Array, Array]:
        residual = x - decode(z)
        j = jacobian(z)
        gradient = -np.einsum("ndk,nd->nk", j, residual)
        hessian = np.swapaxes(j, 1, 2) @ j
        if bend is None:  # Gauss-Newton: JᵀJ without the sphere's curvature term, which could make it indefinite
            frame = tangent_basis(z, latent)
            down = np.swapaxes(frame, 1, 2)
            return 0.5 * np.sum(residual**2, axis=1), (down @ gradient[..., None])[..., 0], down @ hessian @ frame
        hessian = hessian - bend(z, residual)
        return 0.5 * np.sum(residual**2, axis=1), *riemannian(z, gradient, hessian, latent)

    return damped_newton(z, model, latent=latent, steps=steps, eps=eps)


def riemannian(z: Array, gradient: Array, hessian: Array, latent: Latent) -> tuple[Array, Array]:
    """Gradient Tᵀg (n, m) and Hessian Tᵀ(H − (z·g) I)T (n, m, m) along the sphere, from those in R^k."""
    if latent == "euclidean":
        return gradient, hessian
    frame = tangent_basis(z, latent)
    down = np.swapaxes(frame, 1, 2)
    radial = np.sum(z * gradient, axis=1)[:, None, None] * np.eye(z.shape[1])
    return (down @ gradient[..., None])[..., 0], down @ (hessian - radial) @ frame


def negative_log_joint(
    x: Array,
    decode: Callable[[Array], Array],
    jacobian: Callable[[Array], Array],
    bend: Callable[[Array, Array], Array],
    prior: Callable[[Array], tuple[Array, Array, Array]],
    sigma2: float,
    *,
    latent: Latent,
    convention: Convention = EXACT,
) -> Model:
    """Return −log p(x, z) = −log N(x; decode(z), σ²I) − log p(z) with its gradient and Hessian along the codes.

    `prior` gives log p(z) (n,), its gradient (n, k) and its Hessian (n, k, k), both those of R^k.
    """

    def objective(z: Array) -> tuple[Array, Array, Array]:
        x_hat, j = decode(z), jacobian(z)
        residual = (x - x_hat) / sigma2
        log_pz, prior_gradient, prior_hessian = prior(z)
        gradient = -np.einsum("ndk,nd->nk", j, residual) - prior_gradient
        hessian = np.swapaxes(j, 1, 2) @ j / sigma2 - bend(z, residual) - prior_hessian
        log_joint = log_likelihood(x, x_hat, sigma2, convention=convention) + log_pz
        return -log_joint, *riemannian(z, gradient, hessian, latent)

    return objective


def damped_newton(z: Array, model: Model, *, latent: Latent, steps: int, eps: float = EPS) -> Projection:
    """Minimise each row's objective by saddle-free Newton steps δ = −Q (|Λ| + λ max|Λ|)⁻¹ Qᵀg, H = QΛQᵀ.

    A row takes a step if the step lowers its objective, or if the objective changes by no more than its rounding
    error and the gradient becomes smaller. Each row has its own λ, which falls by ten after a step that was taken
    and grows by ten after one that was not. A row stops when a step was not taken although it promised a change
    below the rounding error. `eps` is the machine epsilon of the arithmetic that evaluates `model`.
    """
    start = z
    f, g, h = first, _, _ = model(z)
    damping = np.full(len(z), 1e-4)
    active = np.full(len(z), h.shape[1] > 0)
    count = np.zeros(len(z), dtype=np.int64)
    for _ in range(steps):
        if not active.any():
            break
        values, vectors = np.linalg.eigh(h)
        size = np.abs(values)
        along = (np.swapaxes(vectors, 1, 2) @ g[..., None])[..., 0]
        largest = np.maximum(size.max(axis=1, keepdims=True), np.finfo(float).tiny)
        delta = -(vectors @ (along / (size + damping[:, None] * largest))[..., None])[..., 0]
        if latent == "sphere":  # at most a quarter turn
            delta /= np.maximum(1.0, np.linalg.norm(delta, axis=1, keepdims=True) / (0.5 * np.pi))
        rounding = 64 * eps * (1 + np.abs(f))  # 64 eps: the objective is a sum of many rounded terms
        negligible = -np.sum(g * delta, axis=1) <= rounding
        basis = tangent_basis(z, latent)
        trial = move(z, (basis @ delta[..., None])[..., 0], latent)
        new_f, new_g, new_h = model(trial)
        flatter = np.linalg.norm(new_g, axis=1) < np.linalg.norm(g, axis=1)
        better = active & ((new_f < f - rounding) | ((new_f <= f + rounding) & flatter))
        count += active
        active &= better | ~(negligible | (damping > 1e12))
        damping = np.where(better, np.maximum(damping * 0.1, 1e-15), damping * 10)
        z = np.where(better[:, None], trial, z)
        f, g = np.where(better, new_f, f), np.where(better[:, None], new_g, g)
        h = np.where(better[:, None, None], new_h, h)
    z = np.where((f <= first)[:, None], z, start)  # rounding must not make a row worse than its start
    return Projection(z, np.linalg.norm(g, axis=1), count)


def project(
    x: ArrayLike,
    z: ArrayLike,
    decode: Callable[[Array], Array],
    jacobian: Callable[[Array], Array],
    bend: Callable[[Array, Array], Array] | None = None,
    *,
    latent: Latent = "sphere",
    steps: int = 100,
    convention: Convention = EXACT,
) -> Projection:
    """argmin_z ‖x − decode(z)‖² from a start z, by damped Newton steps along the sphere.

    Parameters
    ----------
    x : (n, d) array
    z : (n, k) array, the start (the encoder's codes)
    decode, jacobian : functions of (n, k) codes that return (n, d) and (n, d, k) arrays
    bend : function of (n, k) codes and (n, d) weights, optional
        Hessians (n, k, k) of Σ_m weights_m·decode(z)_m. Without it the steps are those of Levenberg and
        Marquardt, which converge slowly where the residual is large.
    latent : {"sphere", "euclidean"}
    steps : int, at most so many steps
    convention : Convention
        `projection`: ``"adam"`` takes exactly `steps` ADAM steps of size 1e-3 in R^k, off the sphere, on
        the mean of −log p(x|z) over the rows.

    Returns
    -------
    Projection
        Under ``projection="minimum"`` never worse than the start (to rounding).

    Notes
    -----
    Section 3.3. Original: `manifoldz` (jacodeco.jl).

    Examples
    --------
    >>> def decode(z):
    ...     return z
    >>> def jacobian(z):
    ...     return np.broadcast_to(np.eye(2), (len(z), 2, 2))
    >>> found = pyscore.reference.project([[3.0, 4.0]], [[1.0, 0.0]], decode, jacobian)
    >>> found.z.round(3).tolist()
    [[0.6, 0.8]]
    """
    z = check.matrix("z", z, "k")
    x = check.array("x", x, (z.shape[0], "d"))
    check.choice("latent", latent, ("sphere", "euclidean"))
    if convention.projection == "adam":
        return adam_descent(x, z, decode, jacobian, steps=steps)
    if latent == "sphere":
        z = normalize(z)
    return levenberg_marquardt(x, z, decode, jacobian, bend, latent=latent, steps=steps)
