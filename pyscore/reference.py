"""The mathematics: one function per equation, float64 NumPy, no tricks.

Every backend is measured against this file. Rows are samples; log-densities are in nats, and higher
means more normal. Equation numbers are those of Šmídl, Bím, Pevný (2019), *Anomaly scores for generative
models*; "original" names a function of FewShotAnomalyDetection.jl (or of IPMeasures.jl and EvalCurves.jl).
Where the original and the mathematics disagree, the field of `Convention` that chooses is named.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike
from scipy import special

from pyscore import _validate as check
from pyscore._validate import Array, Latent
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput, NumericalWarning, ShapeError

__all__ = [
    "WIDTH_GRID",
    "Projection",
    "householder",
    "imq_kernel_mean",
    "imq_width",
    "imq_width_criterion",
    "kernel_mean",
    "latent_error",
    "log_density_corrected",
    "log_importance",
    "log_laplace",
    "log_likelihood",
    "log_likelihood_normal",
    "log_prior",
    "log_prior_derivatives",
    "log_prior_jacobian_decoder",
    "log_prior_jacobian_encoder",
    "log_vmf",
    "log_vmf_normaliser",
    "log_volume",
    "mmd",
    "mmd_imq",
    "mmd_null",
    "mmd_p_value",
    "mmd_variance",
    "normal_dimensions",
    "normalize",
    "pairwise_distance",
    "project",
    "residual_variance",
    "roc_auc",
    "sample_vmf",
    "tangent_frame",
    "uniform_sphere_entropy",
    "vmf_entropy",
    "vmf_kl",
]

EPS = float(np.finfo(np.float64).eps)
EPS32 = float(np.finfo(np.float32).eps)
LOG_TWO_PI = float(np.log(2 * np.pi))
LOG_TWO_PI_F32 = np.float32(1.8378770351409912)  # Julia's log(2f0*π); NumPy's float32 log gives the next float
VOLUME_FLOOR = float(np.float32(1e-6))  # Julia's 1f-6, in every precision
WIDTH_GRID = 10.0 ** np.linspace(-10.0, 2.0, 241)


# ── Unit vectors ─────────────────────────────────────────────────────────────────────────────────────────


def normalize(v: ArrayLike, *, convention: Convention = EXACT) -> Array:
    """Rows of unit norm: v / √(Σ v² [+ eps]).

    Parameters
    ----------
    v : (n, k) array
    convention : Convention
        `norm_eps`: ``"machine"`` adds the machine epsilon inside the root.

    Returns
    -------
    (n, k) array. Under ``norm_eps="none"`` a row of zeros, which has no direction, becomes e1.

    Notes
    -----
    Original: `normalizecolumns` (utils.jl), which has the epsilon.
    """
    v = check.matrix("v", v, "k")
    if convention.norm_eps == "machine":
        return v / np.sqrt(np.sum(v * v, axis=1, keepdims=True) + EPS)
    # A power of two changes no bit of the result, and keeps the squares from under- and overflowing.
    scaled = np.ldexp(v, -np.frexp(np.max(np.abs(v), axis=1, keepdims=True, initial=0.0))[1])
    squares = np.sum(scaled * scaled, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        unit: Array = scaled / np.sqrt(squares)
    unit[squares[:, 0] == 0] = np.eye(1, v.shape[1])
    return unit


def householder(z: ArrayLike, mu: ArrayLike, *, convention: Convention = EXACT) -> Array:
    """Reflection that takes e1 to mu, applied to z: z − 2(z·r)r with r = normalize(e1 − mu).

    Parameters
    ----------
    z, mu : (n, k) arrays, rows of `mu` of unit norm
    convention : Convention
        `norm_eps`: with the epsilon the reflection is not orthogonal near mu = e1; without it mu = e1 gives
        the identity.

    Returns
    -------
    (n, k) array.

    Notes
    -----
    Original: `householderrotation` (svae.jl). Without the epsilon the first entry of e1 − mu is evaluated as
    Σ_{i>1} mu_i² / (1 + mu_1), the same number on the sphere: the rounding of 1 − mu_1 would move the image of e1
    by eps/|e1 − mu|, up to 1e-8.
    """
    mu = check.matrix("mu", mu, "k")
    z = check.matrix("z", z, mu.shape[1])
    u = np.eye(1, mu.shape[1]) - mu
    if convention.norm_eps == "none":
        ring = np.sum(mu[:, 1:] ** 2, axis=1)
        u[:, 0] = np.where(mu[:, 0] > 0, ring / (1 + np.abs(mu[:, 0])), u[:, 0])
    r = np.where(np.any(u != 0, axis=1, keepdims=True), normalize(u, convention=convention), 0.0)
    return z - 2 * np.sum(z * r, axis=1, keepdims=True) * r


def tangent_frame(z: ArrayLike) -> Array:
    """Orthonormal basis of the tangent space at z: last k−1 columns of the reflection that takes e1 to z.

    Parameters
    ----------
    z : (n, k) array, rows of unit norm (they are normalised again, exactly)

    Returns
    -------
    (n, k, k−1) array.
    """
    unit = normalize(z)
    n, k = unit.shape
    basis = np.broadcast_to(np.eye(k)[1:], (n, k - 1, k)).reshape(-1, k)
    reflected = householder(basis, np.repeat(unit, k - 1, axis=0))
    return np.swapaxes(reflected.reshape(n, k - 1, k), 1, 2)


def sample_vmf(
    mu: ArrayLike, kappa: ArrayLike, epsilon: ArrayLike, v: ArrayLike, *, convention: Convention = EXACT
) -> Array:
    """Sample of vMF(mu, kappa) from accepted draws: reflect [w, √(1−w²)·v/|v|] by the one that takes e1 to mu.

    w = (1 − (1+b)ε) / (1 − (1−b)ε) with b = (√(4κ²+(k−1)²) − 2κ) / (k−1).

    Parameters
    ----------
    mu : (n, k) array, rows of unit norm, k ≥ 2
    kappa : (n,) array
    epsilon : (n,) array
        Accepted draws of Beta((k−1)/2, (k−1)/2) (see `pyscore.sampling` for the rejection step).
    v : (n, k−1) array
        Draws of N(0, I), not yet normalised.
    convention : Convention
        `norm_eps`: ``"machine"`` puts 10·eps(Float32) under the root and eps into both normalisations.

    Returns
    -------
    (n, k) array.

    Notes
    -----
    Wood's rejection sampler, Davidson 2018, algorithm 1. Original: `samplez` (svae.jl). b is evaluated as
    (k−1)/(√(4κ²+(k−1)²)+2κ), w as (1−ε−bε)/(1−ε+bε) and √(1−w²) as 2√(bε(1−ε))/(1−ε+bε): the same numbers
    without the cancellation.
    """
    mu = check.matrix("mu", mu, "k")
    n, k = mu.shape
    if k < 2:
        raise ShapeError(f"`mu` must have at least 2 columns; got shape {mu.shape}.")
    kappa = check.vector("kappa", kappa, n)
    epsilon = check.vector("epsilon", epsilon, n)
    v = check.array("v", v, (n, k - 1))
    b = (k - 1) / (np.sqrt(4 * kappa**2 + (k - 1) ** 2) + 2 * kappa)
    rest, pull = 1 - epsilon, b * epsilon
    w = (rest - pull) / (rest + pull)
    if convention.norm_eps == "machine":
        radius = np.sqrt((1 - w) * (1 + w) + 10 * EPS32)
    else:
        radius = 2 * np.sqrt(pull * rest) / (rest + pull)
    ring = radius[:, None] * normalize(v, convention=convention)
    return householder(np.column_stack([w, ring]), mu, convention=convention)


# ── Likelihood and priors ────────────────────────────────────────────────────────────────────────────────


def log_likelihood(
    x: ArrayLike, x_hat: ArrayLike, sigma2: ArrayLike = 1.0, *, convention: Convention = EXACT
) -> Array:
    """log N(x; x̂, σ²I) = −½ Σ (x−x̂)²/σ² − (d/2) log 2πσ².

    Parameters
    ----------
    x, x_hat : (n, d) arrays
    sigma2 : float or (d,) array
        Variance of the noise, of all features or of each.
    convention : Convention
        `log_two_pi`: ``"float32"`` rounds d·log 2π to Float32, whatever the type of the data.

    Returns
    -------
    (n,) array, nats.

    Raises
    ------
    InvalidInput
        If `sigma2` is not positive.

    Notes
    -----
    Equation (4). Original: `log_normal`, column `log_pxv_x`.
    """
    x = check.matrix("x", x)
    x_hat = check.array("x_hat", x_hat, x.shape)
    variance = check.array("sigma2", sigma2, ("d",) if np.ndim(sigma2) else ())
    if variance.ndim and variance.shape != x.shape[1:]:
        raise ShapeError(f"`sigma2` must be a number or have shape {x.shape[1:]}; got {variance.shape}.")
    if not (np.isfinite(variance).all() and (variance > 0).all()):
        raise InvalidInput(f"`sigma2` must be positive and finite; got {sigma2!r}.")
    d = x.shape[1]
    log_determinant = np.sum(np.broadcast_to(np.log(variance), (d,)))
    constant = float(np.float32(d) * LOG_TWO_PI_F32) if convention.log_two_pi == "float32" else d * LOG_TWO_PI
    return -0.5 * np.sum((x - x_hat) ** 2 / variance, axis=1) - 0.5 * (constant + log_determinant)


def log_likelihood_normal(squared_residual: ArrayLike, sigma2: float, dimensions: int) -> Array:
    """log N(e; 0, σ²I) of a residual e that lies in `dimensions` normal directions: −½‖e‖²/σ² − (dim/2) log 2πσ².

    Parameters
    ----------
    squared_residual : (n,) array, ‖x − f(z)‖²
    sigma2 : float, variance of the noise in each direction
    dimensions : int
        d − k for a manifold that is the image of R^k, d − k + 1 for that of a sphere in R^k.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    The paper (below equation (6)) evaluates it in all d directions, which differs by a constant.
    """
    squared_residual = check.vector("squared_residual", squared_residual)
    sigma2 = check.real("sigma2", sigma2, above=0.0)
    return -0.5 * squared_residual / sigma2 - 0.5 * dimensions * np.log(2 * np.pi * sigma2)


def latent_error(z: ArrayLike, z_hat: ArrayLike) -> Array:
    """Σ (z − ẑ)², where ẑ = mu(decode(z)) is the code that comes back.

    Parameters
    ----------
    z, z_hat : (n, k) arrays

    Returns
    -------
    (n,) array, a squared distance (not a log-density).

    Notes
    -----
    Original: column `log_pxv_z`; its sign as a score is the field `latent_error_sign`.
    """
    z = check.matrix("z", z, "k")
    return np.sum((z - check.array("z_hat", z_hat, z.shape)) ** 2, axis=1)


def _log_0f1(kappa: Array, k: int) -> Array:
    """log ₀F₁(; k/2; κ²/4) = log Γ(k/2) − (k/2−1) log(κ/2) + log I_{k/2−1}(κ): 0 at κ = 0, free of poles."""
    nu = 0.5 * k - 1.0
    small, large = _split_kappa(kappa, nu)
    if nu >= LARGE_ORDER:
        bessel = _log_0f1_large_order(large, nu)
    else:
        bessel = special.gammaln(nu + 1) - nu * np.log(0.5 * large) + np.log(special.ive(nu, large)) + large
    return np.where(kappa == small, np.log1p(_series_0f1(small, nu)), bessel)


def _split_kappa(kappa: Array, nu: float) -> tuple[Array, Array]:
    """κ for the power series (0 elsewhere) and κ for `ive` (the border elsewhere), which is less exact below."""
    border = 10.0 + 2.0 * np.sqrt(nu + 1.0)
    return np.where(kappa <= border, kappa, 0.0), np.maximum(kappa, border)


def _series_0f1(kappa: Array, nu: float) -> Array:
    """₀F₁(; ν+1; κ²/4) − 1 as its power series of positive terms, for κ up to the border above."""
    t = 0.25 * kappa**2
    series, term = np.zeros_like(t), np.ones_like(t)
    for j in range(1, 60):
        term = term * t / (j * (nu + j))
        series = series + term
    return series


LARGE_ORDER = 200.0
"""Order ν from which I_ν comes from its uniform expansion: `ive` underflows to 0 from ν = 393 on."""


@functools.cache
def _debye(terms: int = 7) -> list[Polynomial]:
    """U_0 … of the uniform expansion of I_ν: U_j+1 = ½p²(1−p²)U_j' + ⅛∫₀ᵖ(1−5t²)U_j dt. DLMF 10.41.9."""
    u = [Polynomial([1.0])]
    for _ in range(terms - 1):
        integral = (Polynomial([1.0, 0.0, -5.0]) * u[-1]).integ()
        u.append(0.5 * Polynomial([0.0, 0.0, 1.0, 0.0, -1.0]) * u[-1].deriv() + 0.125 * integral)
    return u


def _log_0f1_large_order(kappa: Array, nu: float) -> Array:
    """log ₀F₁(; ν+1; κ²/4) for large ν, uniformly in κ: DLMF 10.41.3 with the Γ of Stirling, poles cancelled.

    (t−ν) − ν log((t+ν)/2ν) − ½ log(t/ν) + s(ν) + log Σ_j U_j(ν/t)/ν^j with t = √(ν²+κ²), s Stirling's series.
    The first term that is left out, U_7/ν⁷, is below 2e-16 for ν ≥ 200.
    """
    t = np.hypot(nu, kappa)
    excess = kappa * (kappa / (t + nu))  # t − ν
    stirling = 1 / (12 * nu) - 1 / (360 * nu**3) + 1 / (1260 * nu**5)
    tail = sum(u(nu / t) / nu**j for j, u in enumerate(_debye()) if j)
    half_log = 0.5 * np.log1p(excess / nu)  # ½ log(t/ν)
    return excess - nu * np.log1p(excess / (2 * nu)) - half_log + stirling + np.log1p(tail)


def _bessel_ratio_large_order(kappa: Array, nu: float) -> Array:
    """I_{ν+1}(κ)/I_ν(κ) = I_ν'/I_ν − ν/κ for large ν: DLMF 10.41.5 over 10.41.3, without their common part."""
    t = np.hypot(nu, kappa)
    p, u = nu / t, _debye()
    change = sum((0.5 * p * u[j - 1](p) + p * p * u[j - 1].deriv()(p)) / nu**j for j in range(1, len(u)))
    series = sum(u[j](p) / nu**j for j in range(len(u)))
    # V_j − U_j = −(1−p²)(½p U_{j−1} + p² U'_{j−1}), and 1 − p² = (κ/t)².
    return kappa / (t + nu) - kappa / t * change / series


def _bessel_ratio(kappa: Array, k: int) -> Array:
    """A_k(κ) = I_{k/2}(κ) / I_{k/2−1}(κ), the mean of z·mu under vMF; κ/k for κ → 0."""
    nu = 0.5 * k - 1.0
    small, large = _split_kappa(kappa, nu)
    series = small / k * (1 + _series_0f1(small, nu + 1)) / (1 + _series_0f1(small, nu))
    if nu >= LARGE_ORDER:
        return np.where(kappa == small, series, _bessel_ratio_large_order(large, nu))
    return np.where(kappa == small, series, special.ive(nu + 1, large) / special.ive(nu, large))


def log_vmf_normaliser(kappa: ArrayLike, k: int) -> Array:
    """log C_k(κ) = (k/2−1) log κ − (k/2) log 2π − log I_{k/2−1}(κ), the normaliser of vMF on the sphere in R^k.

    Parameters
    ----------
    kappa : array of concentrations, κ ≥ 0
    k : int, dimension of the ambient space, k ≥ 2

    Returns
    -------
    Array of the shape of `kappa`, nats; at κ = 0 it is minus the log-area of the sphere.

    Notes
    -----
    Davidson 2018, appendix. Original: `log(c(p, κ))`, which overflows for κ > 700.
    """
    kappa = check.array("kappa", kappa, ("…",) * np.ndim(kappa))
    if not (kappa >= 0).all():
        raise InvalidInput(f"`kappa` must be at least 0; got a smallest value of {np.min(kappa)!r}.")
    return -uniform_sphere_entropy(k) - _log_0f1(kappa, k)


def log_vmf(z: ArrayLike, mu: ArrayLike, kappa: ArrayLike) -> Array:
    """log vMF(z; mu, κ) = κ z·mu + log C_k(κ), row by row.

    Parameters
    ----------
    z, mu : (n, k) arrays, rows of unit norm
    kappa : (n,) array, κ ≥ 0

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Davidson 2018. Original: `log_vmf_c`, whose matrix methods return the last column only.
    """
    mu = check.matrix("mu", mu, "k")
    z = check.array("z", z, mu.shape)
    kappa = check.vector("kappa", kappa, mu.shape[0])
    return kappa * np.sum(z * mu, axis=1) + log_vmf_normaliser(kappa, mu.shape[1])


def uniform_sphere_entropy(k: int) -> float:
    """Log-area of the unit sphere in R^k: log 2 + (k/2) log π − log Γ(k/2).

    Notes
    -----
    Davidson 2018. Original: `huentropy`.
    """
    check.integer("k", k, at_least=2)
    return float(np.log(2) + 0.5 * k * np.log(np.pi) - special.gammaln(0.5 * k))


def vmf_entropy(kappa: ArrayLike, k: int) -> Array:
    """Entropy of vMF(·, κ): −κ A_k(κ) − log C_k(κ), with A_k = I_{k/2} / I_{k/2−1}.

    Parameters
    ----------
    kappa : array of concentrations, κ ≥ 0
    k : int, dimension of the ambient space

    Returns
    -------
    Array of the shape of `kappa`, nats.

    Notes
    -----
    Davidson 2018, equation (15). Original: `vmfentropy`.
    """
    kappa = check.array("kappa", kappa, ("…",) * np.ndim(kappa))
    return -kappa * _bessel_ratio(kappa, k) - log_vmf_normaliser(kappa, k)


def vmf_kl(kappa: ArrayLike, k: int) -> Array:
    """KL(vMF(·, κ) ‖ uniform on the sphere) = κ A_k(κ) + log C_k(κ) − log C_k(0) ≥ 0.

    Parameters
    ----------
    kappa : array of concentrations, κ ≥ 0
    k : int, dimension of the ambient space

    Returns
    -------
    Array of the shape of `kappa`, nats.

    Notes
    -----
    Davidson 2018, equation (14). Original: `kldiv`, which subtracts two entropies.
    """
    kappa = check.array("kappa", kappa, ("…",) * np.ndim(kappa))
    return kappa * _bessel_ratio(kappa, k) - _log_0f1(kappa, k)


def _log_mean_exp(terms: Array) -> Array:
    """log mean exp along the last axis, shifted by its maximum."""
    top = np.max(terms, axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.mean(np.exp(terms - top), axis=-1)) + top[..., 0]


def log_prior(
    z: ArrayLike, mu_u: ArrayLike, kappa_u: ArrayLike | None = None, *, convention: Convention = EXACT
) -> Array:
    """log p(z) = log (1/p) Σ_j vMF(z; mu_j, kappa_j), the mixture of the encoded pseudo-inputs.

    Parameters
    ----------
    z : (n, k) array, rows of unit norm
    mu_u : (p, k) array, mean directions of the encoded pseudo-inputs
    kappa_u : (p,) array, their concentrations; needed by ``prior_density="vmf_mixture"``
    convention : Convention
        `prior_density`: ``"unit_kappa"`` is log (1/p) Σ_j exp(z·mu_j), which is κ = 1 without a normaliser.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Original: `log_pz_from_z` (svae_vamp_means.jl), which is the unit_kappa form.
    """
    mu_u = check.matrix("mu_u", mu_u, "k")
    z = check.matrix(
        "z", z, mu_u.shape[1], why=f"`mu_u` has {mu_u.shape[1]} columns. Did you pass x instead of its code?"
    )
    if mu_u.shape[0] == 0:
        raise ShapeError("`mu_u` must have at least one row (a prior component); got none.")
    cosines = z @ mu_u.T
    if convention.prior_density == "unit_kappa":
        return _log_mean_exp(cosines)
    if kappa_u is None:
        raise InvalidInput(
            "`kappa_u` must be given for the mixture of vMF densities (prior_density='vmf_mixture'); got None. "
            "Pass the second output of encode(pseudo_inputs), or use the ORIGINAL convention."
        )
    kappa_u = check.vector("kappa_u", kappa_u, mu_u.shape[0])
    return _log_mean_exp(kappa_u * cosines + log_vmf_normaliser(kappa_u, mu_u.shape[1]))


def log_prior_derivatives(
    z: Array, mu_u: Array, kappa_u: Array, *, convention: Convention = EXACT
) -> tuple[Array, Array, Array]:
    """`log_prior` (n,) with its gradient (n, k) and Hessian (n, k, k) in R^k.

    With weights w_j ∝ vMF(z; mu_j, κ_j): gradient Σ w_j κ_j mu_j = m, Hessian Σ w_j κ_j² mu_j mu_jᵀ − m mᵀ.
    """
    log_pz = log_prior(z, mu_u, kappa_u, convention=convention)
    if convention.prior_density == "unit_kappa":
        kappa_u = np.ones_like(kappa_u)
    exponent = kappa_u * (z @ mu_u.T) + log_vmf_normaliser(kappa_u, z.shape[1])
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    pull = kappa_u[:, None] * mu_u
    gradient = weight @ pull
    hessian = np.einsum("np,pi,pj->nij", weight, pull, pull) - gradient[:, :, None] * gradient[:, None, :]
    return log_pz, gradient, hessian


# ── Volumes ──────────────────────────────────────────────────────────────────────────────────────────────


def log_volume(jacobian: ArrayLike, *, warn: bool = True) -> Array:
    """Log-volume Σ_i log s_i(J) of each Jacobian, s its min(d, k) singular values.

    Parameters
    ----------
    jacobian : (n, d, k) array
        d×k or, for an encoder, k×d: the volume is that of the smaller side.
    warn : bool
        Whether to warn of rows that are singular to working precision.

    Returns
    -------
    (n,) array, nats; −inf for a row with a zero singular value, NaN for a row with a NaN.

    Warns
    -----
    NumericalWarning
        Naming the rows with a singular value below max(d, k)·eps·max(s).

    Notes
    -----
    Section 3.4. Original: half of `reduce(+, log.(abs.(s.S)))*2`. The absolute error is about
    min(d, k)·eps·cond(J), for this SVD and for the QR of the backends alike.
    """
    jacobian = check.array("jacobian", jacobian, ("n", "d", "k"))
    n, d, k = jacobian.shape
    volume = np.full(n, np.nan)
    good = np.isfinite(jacobian).all(axis=(1, 2))
    if min(d, k) == 0 or not good.any():
        volume[good] = 0.0
        return volume
    s = np.linalg.svd(jacobian[good], compute_uv=False)
    with np.errstate(divide="ignore"):
        volume[good] = np.sum(np.log(s), axis=1)
    singular = np.flatnonzero(good)[s[:, -1] <= max(d, k) * EPS * s[:, 0]]
    if warn and singular.size:
        warn_singular(singular)
    return volume


def weighted(weight: float, volume: Array) -> Array:
    """Return w·log_volume, which is zero for w = 0 whatever the volume."""
    return weight * volume if weight else np.where(np.isnan(volume), volume, 0.0)


_singular: ContextVar[list[Array] | None] = ContextVar("_singular", default=None)


@contextlib.contextmanager
def singular_rows() -> Iterator[list[Array]]:
    """Collect the rows of singular Jacobians in this thread instead of warning: a stream has blocks of them."""
    rows: list[Array] = []
    token = _singular.set(rows)
    try:
        yield rows
    finally:
        _singular.reset(token)


def warn_singular(rows: Array) -> None:
    """Issue the NumericalWarning of `log_volume` for these rows."""
    if (collected := _singular.get()) is not None:
        collected.append(rows)
        return
    shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
    warnings.warn(
        f"the Jacobian of {len(rows)} row(s) is singular to working precision (rows {shown}): their log-volume "
        "is −inf or rounding noise. Scores rank rows of volume −inf as most anomalous.",
        NumericalWarning,
        stacklevel=3,
    )


def log_prior_jacobian_decoder(
    z: ArrayLike,
    jacobian: ArrayLike,
    mu_u: ArrayLike,
    kappa_u: ArrayLike | None = None,
    *,
    convention: Convention = EXACT,
) -> Array:
    """log p(z) − w·log_volume(J_dec(z)): the density on the manifold at decode(z).

    Parameters
    ----------
    z : (n, k) array, rows of unit norm
    jacobian : (n, d, k) array, ambient Jacobian of the decoder at z
    mu_u, kappa_u : (p, k), (p,) arrays, the prior's components
    convention : Convention
        `volume_weight` is w, `jacobian` chooses J or its restriction J·T to the tangent space at z,
        `prior_density` the prior.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Equation (7) without its likelihood. Original: `log_pz_jacobian_decoder` (w = 2, ambient).
    """
    z = check.matrix("z", z, "k")
    jacobian = check.array("jacobian", jacobian, (z.shape[0], "d", z.shape[1]))
    if convention.jacobian == "tangent":
        jacobian = jacobian @ tangent_frame(z)
    prior = log_prior(z, mu_u, kappa_u, convention=convention)
    return prior - weighted(convention.volume_weight, log_volume(jacobian))


def log_prior_jacobian_encoder(
    z: ArrayLike,
    jacobian: ArrayLike,
    mu_u: ArrayLike,
    kappa_u: ArrayLike | None = None,
    *,
    convention: Convention = EXACT,
) -> Array:
    """log p(z) + w·log_volume(J_enc(x)) at z = mu(x).

    Parameters
    ----------
    z : (n, k) array, the codes mu(x)
    jacobian : (n, k, d) array, Jacobian of mu at x
    mu_u, kappa_u : (p, k), (p,) arrays, the prior's components
    convention : Convention
        `volume_weight` is w; `encoder_jacobian` keeps the smallest singular value, which is rounding noise
        since mu lies on the sphere, or takes TᵀJ with T orthogonal to mu.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Equation (8) without its likelihood. Original: `log_pz_jacobian_encoder` (w = 2, ambient).
    """
    z = check.matrix("z", z, "k")
    jacobian = check.array("jacobian", jacobian, (*z.shape, "d"))
    tangent = convention.encoder_jacobian == "tangent"
    if tangent:
        jacobian = np.swapaxes(tangent_frame(z), 1, 2) @ jacobian
    prior = log_prior(z, mu_u, kappa_u, convention=convention)
    # The ambient form is singular by construction, so that a warning would say nothing.
    return prior + weighted(convention.volume_weight, log_volume(jacobian, warn=tangent))


# ── Marginal likelihoods ─────────────────────────────────────────────────────────────────────────────────


def log_importance(
    log_px_given_z: ArrayLike,
    log_pz: ArrayLike,
    cosine: ArrayLike,
    kappa: ArrayLike,
    k: int,
    *,
    convention: Convention = EXACT,
) -> Array:
    """log p(x) ≈ log (1/s) Σ_i exp(log p(x|z_i) + log p(z_i) − log q(z_i|x)) over draws z_i ~ vMF(mu(x), κ(x)).

    Parameters
    ----------
    log_px_given_z, log_pz : (n, s) arrays, nats, at the s draws of each row
    cosine : (n, s) array, z_i·mu(x)
    kappa : (n,) array, κ(x)
    k : int, latent dimension
    convention : Convention
        `importance`: ``"outer_sum"`` is log Σ_i exp(a_i − κ z_i·mu) · Σ_j p_j, the original's broadcast, without
        −log s, without the normaliser of q and without a shift (so that far rows give −inf).

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Equation (3). Original: `log_px`, 100 draws.
    """
    likelihood = check.matrix("log_px_given_z", log_px_given_z, "s")
    prior = check.array("log_pz", log_pz, likelihood.shape)
    kappa = check.vector("kappa", kappa, likelihood.shape[0])
    log_q = kappa[:, None] * check.array("cosine", cosine, likelihood.shape)
    if convention.importance == "outer_sum":
        with np.errstate(divide="ignore", over="ignore"):
            return np.log(np.sum(np.exp(likelihood - log_q), axis=1) * np.sum(np.exp(prior), axis=1))
    log_q = log_q + log_vmf_normaliser(kappa, k)[:, None]
    return _log_mean_exp(likelihood + prior - log_q)


# ── Maximum mean discrepancy ─────────────────────────────────────────────────────────────────────────────


def _require_rows(name: str, rows: int, least: int) -> None:
    if rows < least:
        raise ShapeError(f"`{name}` must have at least {least} row(s) for a kernel mean; got {rows}.")


def imq_kernel_mean(
    x: ArrayLike, y: ArrayLike | None = None, c: ArrayLike = 1.0, *, convention: Convention = EXACT
) -> Array:
    """Mean of k(x, y) = c / (c + max(0, 1 − x·y)) over all pairs, or within x when y is None.

    Parameters
    ----------
    x : (n, k) array, rows of unit norm; n ≥ 2 when `y` is None
    y : (m, k) array, optional
    c : float or array of widths, c > 0
    convention : Convention
        `mmd_diagonal`: within x, ``"kept"`` sums all n² pairs and divides by n(n−1), which is biased by
        1/(n−1); ``"removed"`` sums the n(n−1) pairs of different rows.

    Returns
    -------
    Array of the shape of `c`.

    Notes
    -----
    Equation (1), Tolstikhin 2018. Original: `k_imq`; 1 − x·y is half the squared distance on the sphere.
    """
    x = check.matrix("x", x, "k")
    width = check.array("c", c, ("widths",) * np.ndim(c))
    if not (np.isfinite(width).all() and (width > 0).all()):
        raise InvalidInput(f"`c` must be positive and finite; got {c!r}.")
    other = x if y is None else check.matrix("y", y, x.shape[1])
    _require_rows("x", x.shape[0], 2 if y is None else 1)
    _require_rows("y", other.shape[0], 1)
    distance = np.maximum(0.0, 1 - x @ other.T)
    pairs = x.shape[0] * other.shape[0]
    if y is None:
        pairs -= x.shape[0]
        if convention.mmd_diagonal == "removed":
            distance = distance[~np.eye(x.shape[0], dtype=bool)]
    sums = [np.sum(w / (w + distance)) / pairs for w in width.ravel()]
    return np.reshape(sums, width.shape)


def mmd_imq(x: ArrayLike, y: ArrayLike, c: ArrayLike = 1.0, *, convention: Convention = EXACT) -> Array:
    """MMD² = k̄xx + k̄yy − 2 k̄xy with the inverse multiquadric kernel.

    Parameters
    ----------
    x, y : (n, k), (m, k) arrays, rows of unit norm; n, m ≥ 2
    c : float or array of widths, c > 0
    convention : Convention
        `mmd_diagonal`, see `imq_kernel_mean`; ``"kept"`` is biased by 1/(n−1) + 1/(m−1).

    Returns
    -------
    Array of the shape of `c`.

    Notes
    -----
    Equation (1), Tolstikhin 2018. Original: `mmd_imq`.
    """
    x = check.matrix("x", x, "k")
    y = check.matrix("y", y, x.shape[1])
    _require_rows("y", y.shape[0], 2)
    within = imq_kernel_mean(x, None, c, convention=convention) + imq_kernel_mean(
        y, None, c, convention=convention
    )
    return within - 2 * imq_kernel_mean(x, y, c)


Distance = Literal["cosine", "squared_euclidean"]
Kernel = Literal["imq", "gaussian", "rq"]


def pairwise_distance(
    x: ArrayLike, y: ArrayLike, distance: Distance = "cosine", *, convention: Convention = EXACT
) -> Array:
    """All distances of rows: 1 − x·y/(|x||y|) or |x − y|².

    Parameters
    ----------
    x, y : (n, k), (m, k) arrays
    distance : {"cosine", "squared_euclidean"}
    convention : Convention
        `width_distance`: ``"frobenius"`` divides x·y by the Frobenius norms of the matrices x and y.

    Returns
    -------
    (n, m) array.

    Notes
    -----
    Original: IPMeasures `pairwisecos`, `pairwisel2`.
    """
    x = check.matrix("x", x, "k")
    y = check.matrix("y", y, x.shape[1])
    check.choice("distance", distance, ("cosine", "squared_euclidean"))
    if distance == "squared_euclidean":
        return -2 * x @ y.T + np.sum(x * x, axis=1)[:, None] + np.sum(y * y, axis=1)
    if convention.width_distance == "frobenius":
        return 1 - x @ y.T / np.linalg.norm(x) / np.linalg.norm(y)
    return 1 - (x @ y.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)


def _kernel(name: Kernel, distance: Array | float, width: float) -> Array:
    """Imq c/(c+d), gaussian exp(−c·d), rq (1 + (d+eps)/2c)^−c. Original: IPMeasures `kernels.jl`."""
    check.choice("kernel", name, ("imq", "gaussian", "rq"))
    d = np.asarray(distance, dtype=np.float64)
    if name == "imq":
        return width / (width + d)
    if name == "gaussian":
        return np.exp(-width * d)
    return (1 + (d + EPS) / (2 * width)) ** -width


def kernel_mean(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    width: float,
    kernel: Kernel = "imq",
    distance: Distance = "cosine",
    convention: Convention = EXACT,
) -> float:
    """Mean of a kernel over pairs of rows; within x as (Σ k − n·k(0)) / (n(n−1)).

    Notes
    -----
    Original: IPMeasures `kernelsum`, which subtracts n·k(0) rather than the diagonal: the same for true
    distances, not for those of ``width_distance="frobenius"``.
    """
    x = check.matrix("x", x, "k")
    other = x if y is None else check.matrix("y", y, x.shape[1])
    width = check.real("width", width, above=0.0)
    _require_rows("x", x.shape[0], 2 if y is None else 1)
    _require_rows("y", other.shape[0], 1)
    total = np.sum(_kernel(kernel, pairwise_distance(x, other, distance, convention=convention), width))
    if y is not None:
        return float(total / (x.shape[0] * other.shape[0]))
    n = x.shape[0]
    return float((total - n * _kernel(kernel, 0.0, width)) / (n * n - n))


def mmd(
    x: ArrayLike,
    y: ArrayLike,
    *,
    width: float,
    kernel: Kernel = "imq",
    distance: Distance = "cosine",
    convention: Convention = EXACT,
) -> float:
    """Unbiased MMD² with any kernel and distance: the statistic of the goodness-of-fit test.

    Notes
    -----
    Original: IPMeasures `mmd`.
    """
    options: dict[str, Any] = {
        "width": width,
        "kernel": kernel,
        "distance": distance,
        "convention": convention,
    }
    return kernel_mean(x, **options) + kernel_mean(y, **options) - 2 * kernel_mean(x, y, **options)


def mmd_variance(
    k_xx: ArrayLike, k_xy: ArrayLike, k_yy: ArrayLike, *, biased: bool = False, convention: Convention = EXACT
) -> tuple[float, float]:
    """MMD² and an unbiased estimate of its variance, from the three kernel matrices of equal size.

    Parameters
    ----------
    k_xx, k_xy, k_yy : (m, m) arrays, m ≥ 4
    biased : bool, whether MMD² (not its variance) keeps the diagonals
    convention : Convention
        `mmd_variance`: ``"swapped"`` exchanges the row and column sums of k_xy in the last line.

    Returns
    -------
    (mmd2, variance) : floats

    Notes
    -----
    Sutherland 2017, equation (5). Original: IPMeasures `mmd2_and_variance`.
    """
    k_xy = check.array("k_xy", k_xy, ("m", "m"))
    m = k_xy.shape[0]
    if k_xy.shape != (m, m) or m < 4:
        raise ShapeError(f"`k_xy` must be square with at least 4 rows; got shape {k_xy.shape}.")
    xx, yy = check.array("k_xx", k_xx, (m, m)), check.array("k_yy", k_yy, (m, m))
    off = 1 - np.eye(m)
    sums = KernelSums(
        (xx * off).sum(axis=0), (yy * off).sum(axis=0), k_xy.sum(axis=1), k_xy.sum(axis=0),
        (xx**2 * off).sum(), (yy**2 * off).sum(), (k_xy**2).sum(),
    )  # fmt: skip
    statistic, variance = mmd_variance_of_sums(sums, convention=convention)
    if biased:
        statistic = float((xx.sum() + yy.sum()) / m**2 - 2 * k_xy.sum() / m**2)
    return statistic, variance


class KernelSums(NamedTuple):
    """What `mmd_variance` needs of three kernel matrices; sums within x or y leave the diagonal out."""

    rows_xx: Array
    """(m,)."""
    rows_yy: Array
    """(m,)."""
    rows_xy: Array
    """(m,), over y."""
    columns_xy: Array
    """(m,), over x."""
    squares_xx: float
    squares_yy: float
    squares_xy: float


def mmd_variance_of_sums(sums: KernelSums, *, convention: Convention = EXACT) -> tuple[float, float]:
    """Unbiased MMD² and its variance, as `mmd_variance`, from sums of kernel values."""
    rows_xx, rows_yy, per_x, per_y, squares_xx, squares_yy, squares_xy = sums
    m = len(per_x)
    sum_xx, sum_yy, sum_xy = rows_xx.sum(), rows_yy.sum(), per_x.sum()
    cross_x, cross_y = (per_y, per_x) if convention.mmd_variance == "swapped" else (per_x, per_y)
    variance = (
        2 / (m**2 * (m - 1) ** 2)
        * (2 * rows_xx @ rows_xx - squares_xx + 2 * rows_yy @ rows_yy - squares_yy)
        - (4 * m - 6) / (m**3 * (m - 1) ** 3) * (sum_xx**2 + sum_yy**2)
        + 4 * (m - 2) / (m**3 * (m - 1) ** 2) * (per_y @ per_y + per_x @ per_x)
        - 4 * (m - 3) / (m**3 * (m - 1) ** 2) * squares_xy
        - (8 * m - 12) / (m**5 * (m - 1)) * sum_xy**2
        + 8 / (m**3 * (m - 1)) * ((sum_xx + sum_yy) * sum_xy / m - rows_xx @ cross_x - rows_yy @ cross_y)
    )  # fmt: skip
    return float((sum_xx + sum_yy) / (m * (m - 1)) - 2 * sum_xy / m**2), float(variance)


def imq_width_criterion(
    x: ArrayLike,
    y: ArrayLike,
    widths: ArrayLike = WIDTH_GRID,
    *,
    distance: Distance = "cosine",
    convention: Convention = EXACT,
) -> Array:
    """MMD² / √max(var, eps) for each width: the power criterion of the IMQ kernel.

    Parameters
    ----------
    x, y : (m, k) arrays of the same number of rows
    widths : array of widths, 10^(−10:0.05:2) by default
    convention : Convention
        `width_distance` and `mmd_variance`.

    Returns
    -------
    Array of the shape of `widths`.

    Notes
    -----
    Sutherland 2017, section 2.1. Original: IPMeasures `crit_mmd2_var`.
    """
    widths = np.asarray(widths, dtype=np.float64)
    d_xx = pairwise_distance(x, x, distance, convention=convention)
    d_xy = pairwise_distance(x, y, distance, convention=convention)
    d_yy = pairwise_distance(y, y, distance, convention=convention)
    values = []
    for c in widths.ravel():
        kernels = (_kernel("imq", d, float(c)) for d in (d_xx, d_xy, d_yy))
        statistic, variance = mmd_variance(*kernels, convention=convention)
        values.append(statistic / np.sqrt(max(variance, EPS)))
    return np.reshape(values, widths.shape)


def imq_width(x: ArrayLike, y: ArrayLike, *, convention: Convention = EXACT) -> float:
    """Width of the grid 10^(−10:0.05:2) with the largest criterion. Original: `get_γ` of the scripts."""
    return float(WIDTH_GRID[np.argmax(imq_width_criterion(x, y, convention=convention))])


def mmd_null(x: ArrayLike, y: ArrayLike, width: float, *, convention: Convention = EXACT) -> Array:
    """Sorted MMD² of r pairs of samples of one distribution: the null distribution of the statistic.

    Parameters
    ----------
    x, y : (r, n, k) arrays, r pairs of prior samples
    width : float, width of the IMQ kernel
    convention : Convention
        `width_distance`.

    Returns
    -------
    (r,) array, ascending.

    Notes
    -----
    Original: `null_distr_distances` of the scripts, 100 pairs.
    """
    x = check.array("x", x, ("r", "n", "k"))
    y = check.array("y", y, (x.shape[0], "m", x.shape[2]))
    return np.sort([mmd(a, b, width=width, convention=convention) for a, b in zip(x, y, strict=True)])


def mmd_p_value(null: ArrayLike, statistic: float, *, convention: Convention = EXACT) -> float:
    """P(null ≥ statistic) = (1 + #{null ≥ statistic}) / (1 + r).

    Parameters
    ----------
    null : (r,) array, ascending, r ≥ 1
    statistic : float
    convention : Convention
        `p_value`: ``"rank"`` is the 1-based place of the statistic in the null sample over r: from 1/r to
        1 + 1/r, and large where the fit is bad.

    Notes
    -----
    Original: `mmdpval` of the scripts.
    """
    null = check.vector("null", null, "r")
    if null.size == 0 or np.isnan(null).any() or np.any(np.diff(null) < 0):
        raise InvalidInput("`null` must be ascending with at least one value. Use mmd_null, or sort it.")
    if np.isnan(statistic):
        raise InvalidInput("`statistic` must be a number; got NaN.")
    below = int(np.searchsorted(null, statistic, side="left"))
    if convention.p_value == "rank":
        return (below + 1) / null.size
    return (1 + null.size - below) / (1 + null.size)


# ── The outlook of section 3.2: projection, correction, Laplace ──────────────────────────────────────────


class Projection(NamedTuple):
    """Nearest points of the manifold and how they were found."""

    z: Array
    """(n, k) codes."""
    gradient_norm: Array
    """(n,) ‖Jᵀe‖ at z, along the sphere if the latent space is one."""
    iterations: Array
    """(n,) steps taken."""


def move(z: Array, step: Array, latent: Latent) -> Array:
    """Retract a step: z + step, or the exponential map of the sphere along a tangent step."""
    if latent == "euclidean":
        return z + step
    angle = np.linalg.norm(step, axis=1, keepdims=True)
    return normalize(np.cos(angle) * z + np.sinc(angle / np.pi) * step)


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
        Hessians (n, k, k) of Σ_m weights_m·decode(z)_m. Without it the steps are Levenberg-Marquardt's, which
        converge slowly where the residual is large.
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
    """
    from pyscore.minimise import adam_descent, levenberg_marquardt

    z = check.matrix("z", z, "k")
    x = check.array("x", x, (z.shape[0], "d"))
    check.choice("latent", latent, ("sphere", "euclidean"))
    if convention.projection == "adam":
        return adam_descent(x, z, decode, jacobian, steps=steps)
    if latent == "sphere":
        z = normalize(z)
    return levenberg_marquardt(x, z, decode, jacobian, bend, latent=latent, steps=steps)


def normal_dimensions(d: int, k: int, latent: Latent) -> int:
    """Directions normal to the manifold: d−k for Euclidean codes in R^k, d−k+1 for codes on the sphere in R^k."""
    check.choice("latent", latent, ("sphere", "euclidean"))
    tangent = check.integer("k", k, at_least=1) - (latent == "sphere")
    check.integer("d", d, at_least=tangent, hint="A manifold has no more dimensions than its space.")
    return d - tangent


def residual_variance(x: ArrayLike, x_hat: ArrayLike, k: int, *, latent: Latent = "sphere") -> float:
    """σ² = Σ‖x − x̂‖² / (n·m), over the m = d−k+1 (sphere) or d−k (Euclidean) normal dimensions.

    Parameters
    ----------
    x, x_hat : (n, d) arrays, x̂ the projections of the n rows onto the manifold
    k : int, latent dimension
    latent : {"sphere", "euclidean"}

    Returns
    -------
    float, the maximum-likelihood estimate where the residuals are normal to the manifold.

    Raises
    ------
    InvalidInput
        If there is no normal dimension, or no row leaves the manifold: σ² = 0 has no density.
    """
    x = check.matrix("x", x)
    residual = x - check.array("x_hat", x_hat, x.shape)
    count = len(x) * normal_dimensions(x.shape[1], k, latent)
    variance = float(np.sum(residual**2)) / count if count else 0.0
    if not 0 < variance < np.inf:
        raise InvalidInput(
            f"σ² can't be estimated from {len(x)} row(s) with {x.shape[1]} features and k = {k}: the mean squared "
            f"residual over {count} normal coordinates is {variance!r}. Give `sigma2` as a number."
        )
    return variance


def log_density_corrected(
    x: ArrayLike,
    x_hat: ArrayLike,
    z: ArrayLike,
    jacobian: ArrayLike,
    *,
    sigma2: float = 1.0,
    latent: Latent = "euclidean",
    mu_u: ArrayLike | None = None,
    kappa_u: ArrayLike | None = None,
    convention: Convention = EXACT,
) -> Array:
    """Density of x split into manifold and normal directions at the projection z.

    Euclidean latents, z ~ N(0, I):
    log N(z; 0, I + σ²(JᵀJ)⁻¹) + log N(e; σ²) over d−k dimensions − log_volume(J).

    Spherical latents:
    log_prior(z) + log N(e; σ²) over d−k+1 dimensions − log_volume(J·T).

    Parameters
    ----------
    x, x_hat : (n, d) arrays, x̂ = decode(z)
    z : (n, k) array
    jacobian : (n, d, k) array, ambient Jacobian of the decoder at z
    sigma2 : float, variance of the noise
    latent : {"euclidean", "sphere"}
    mu_u, kappa_u : (p, k), (p,) arrays, the prior's components (spherical latents only)
    convention : Convention
        `corrected_volume`: ``"floored"`` subtracts 2·Σlog(s + 1f-6) (and asks for σ² = 1 and Euclidean
        latents), ``"exact"`` the log-volume.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Section 3.2. Original: `correctedjacodeco` (jacodeco.jl).
    """
    x = check.matrix("x", x)
    n, d = x.shape
    z = check.array("z", z, (n, "k"))
    k = z.shape[1]
    jacobian = check.array("jacobian", jacobian, (n, d, k))
    residual = np.sum((x - check.array("x_hat", x_hat, x.shape)) ** 2, axis=1)
    sigma2 = check.real("sigma2", sigma2, above=0.0)

    check.choice("latent", latent, ("sphere", "euclidean"))
    normal = normal_dimensions(d, k, latent) if d >= k else 0
    floored = convention.corrected_volume == "floored"
    if latent == "sphere":
        if floored or mu_u is None:
            raise InvalidInput(
                "the corrected density of a spherical latent space has no original form: it needs "
                "corrected_volume='exact' and the prior's components `mu_u`, `kappa_u`. Use EXACT."
            )
        volume = log_volume(jacobian @ tangent_frame(z))
        noise = log_likelihood_normal(residual, sigma2, normal)
        return log_prior(z, mu_u, kappa_u, convention=convention) + noise - volume
    if floored and sigma2 != 1.0:
        raise InvalidInput(f"`sigma2` must be 1 under corrected_volume='floored'; got {sigma2!r}.")
    _, s, vt = np.linalg.svd(jacobian, full_matrices=False)
    with np.errstate(divide="ignore"):
        spread = 1 + sigma2 / s**2  # eigenvalues of I + σ²(JᵀJ)⁻¹
        volume = 2 * np.sum(np.log(s + VOLUME_FLOOR), axis=1) if floored else log_volume(jacobian)
    coordinates = np.squeeze(vt @ z[:, :, None], axis=2)
    log_pz = -0.5 * np.sum(coordinates**2 / spread + np.log(spread), axis=1) - 0.5 * k * LOG_TWO_PI
    # The original: no noise term without room for it.
    noise = log_likelihood_normal(residual, sigma2, normal) if normal else np.zeros(n)
    return log_pz + noise - volume


def log_laplace(log_joint: ArrayLike, hessian: ArrayLike) -> Array:
    """Laplace approximation log p(x) ≈ log p(x, z*) + (m/2) log 2π − ½ log det H.

    Parameters
    ----------
    log_joint : (n,) array, log p(x|z*) + log p(z*), nats
    hessian : (n, m, m) array
        Hessian of −log p(x, z) at its minimum z*: the Riemannian one in an orthonormal tangent basis for a
        spherical latent space (m = k−1), the plain one for a Euclidean one (m = k).

    Returns
    -------
    (n,) array, nats; −inf where H is not positive definite, so that z* is no minimum.

    Warns
    -----
    NumericalWarning
        Naming the rows whose Hessian is not positive definite.
    """
    hessian = check.array("hessian", hessian, ("n", "m", "m"))
    log_joint = check.vector("log_joint", log_joint, hessian.shape[0])
    eigenvalues = np.linalg.eigvalsh(0.5 * (hessian + np.swapaxes(hessian, 1, 2)))
    bad = np.logical_not((eigenvalues > 0).all(axis=1))
    warn_indefinite(bad)
    safe = np.where(bad[:, None], 1.0, eigenvalues)
    value = log_joint + 0.5 * hessian.shape[1] * LOG_TWO_PI - 0.5 * np.sum(np.log(safe), axis=1)
    return np.where(bad, -np.inf, value)


def warn_indefinite(bad: Array) -> None:
    """Issue the NumericalWarning of `log_laplace` for the rows where `bad` (n,) is true."""
    if bad.any():
        warnings.warn(
            f"the Hessian of {int(bad.sum())} row(s) is not positive definite "
            f"(first: row {np.flatnonzero(bad)[0]}): their Laplace density is set to −inf.",
            NumericalWarning,
            stacklevel=3,
        )


# ── Quality of a ranking ─────────────────────────────────────────────────────────────────────────────────


def roc_auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: P(score of an anomaly > score of a normal) + ½ P(equal).

    Parameters
    ----------
    scores : (n,) array, higher = more anomalous; ±inf is fine, NaN is not
    labels : (n,) array of 0 (normal) and 1 (anomaly), both present

    Returns
    -------
    float in [0, 1].

    Notes
    -----
    Original: EvalCurves `auc(roccurve(...))`: ties are grouped likewise, but its curve is rounded to 10
    digits, which moves the area by up to 2.4e-11.
    """
    scores = check.vector("scores", scores)
    labels = np.asarray(labels)
    if labels.shape != scores.shape:
        raise ShapeError(f"`labels` must have shape {scores.shape}; got {labels.shape}.")
    wrong = labels[~np.isin(labels, (0, 1))]
    if wrong.size:
        raise InvalidInput(f"`labels` must be 0 (normal) or 1 (anomaly); got {wrong[0]!r} ({wrong.size} such).")
    if np.isnan(scores).any():
        raise InvalidInput(f"`scores` must not hold NaN; got {int(np.isnan(scores).sum())}.")
    anomalies = np.equal(labels, 1)
    p, n = int(anomalies.sum()), int((~anomalies).sum())
    if p == 0 or n == 0:
        raise InvalidInput(
            f"`labels` must hold both classes; got {n} normal and {p} anomalous rows. "
            "An area under the curve needs at least one of each."
        )
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    twice_rank = 2 * np.cumsum(counts) - counts + 1  # twice the mean rank of each group of ties, an integer
    twice_u = int(twice_rank[inverse][anomalies].sum()) - p * (p + 1)
    return twice_u / (2 * p * n)
