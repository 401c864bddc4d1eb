"""Bessel functions as the von Mises-Fisher density needs them: log ₀F₁ and the ratio I_{k/2}/I_{k/2−1}."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.polynomial import Polynomial
from scipy import special

from pyscore._core import arrays
from pyscore._core.checks import Array

__all__ = ["LARGE_ORDER", "bessel_ratio", "log_0f1"]


def _elementary(function: Callable[[Array, int], Array]) -> Callable[[Array, int], Array]:
    """Mark a function whose result is right to a rounding.

    `pyscore.backends.stochastic`, which perturbs every operation at random, then perturbs this function's result
    once instead of each operation inside it.
    """

    @functools.wraps(function)
    def evaluate(kappa: Array, k: int) -> Array:
        if type(kappa) in arrays.KEPT:
            return kappa.elementary(function, k)  # type: ignore[attr-defined]
        return function(kappa, k)

    return evaluate


@_elementary
def log_0f1(kappa: Array, k: int) -> Array:
    """log ₀F₁(; k/2; κ²/4) = log Γ(k/2) − (k/2−1) log(κ/2) + log I_{k/2−1}(κ): 0 at κ = 0, free of poles."""
    nu = 0.5 * k - 1.0
    small, large = _split_kappa(kappa, nu)
    if nu >= LARGE_ORDER:
        bessel = _log_0f1_large_order(large, nu)
    else:
        bessel = special.gammaln(nu + 1) - nu * np.log(0.5 * large) + np.log(special.ive(nu, large)) + large
    return np.where(kappa == small, np.log1p(_series_0f1(small, nu)), bessel)


def _split_kappa(kappa: Array, nu: float) -> tuple[Array, Array]:
    """Split κ at a border: (κ below it and 0 elsewhere, κ above it and the border elsewhere).

    Below the border the power series is used, because `ive` loses up to 20 roundings for κ < 25 already in three
    dimensions, and for large ν the terms added to its logarithm cancel. Above it `ive` is used.
    """
    border = 30.0 + 0.5 * min(nu, LARGE_ORDER)
    return np.where(kappa <= border, kappa, 0.0), np.maximum(kappa, border)


def _series_0f1(kappa: Array, nu: float) -> Array:
    """₀F₁(; ν+1; κ²/4) − 1 as its power series of positive terms, for κ up to the border of `_split_kappa`."""
    t = 0.25 * kappa**2
    series, term = np.zeros_like(t), np.ones_like(t)
    for j in range(1, 60):
        term = term * t / (j * (nu + j))
        series = series + term
    return series


def _ratio_fraction(kappa: Array, nu: float) -> Array:
    """I_{ν+1}(κ)/I_ν(κ) as κ/(2(ν+1) + κ²/(2(ν+2) + …)), for κ up to the border of `_split_kappa`: DLMF 10.33.1.

    It is evaluated from its far end inwards, where each step damps the errors of those before.
    """
    ratio = np.zeros_like(kappa)
    for j in range(60, 0, -1):
        ratio = kappa / (2 * (nu + j) + kappa * ratio)
    return ratio


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
    """log ₀F₁(; ν+1; κ²/4) for large ν, uniformly in κ: DLMF 10.41.3, with Stirling's series for Γ.

    The terms in log κ, which diverge for κ → 0, cancel and are left out:

    (t−ν) − ν log((t+ν)/2ν) − ½ log(t/ν) + s(ν) + log Σ_j U_j(ν/t)/ν^j with t = √(ν²+κ²), and s(ν) Stirling's
    series. The first term that is left out, U_7/ν⁷, is below 2e-16 for ν ≥ 200.
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


@_elementary
def bessel_ratio(kappa: Array, k: int) -> Array:
    """A_k(κ) = I_{k/2}(κ) / I_{k/2−1}(κ), the mean of z·mu under vMF; κ/k for κ → 0."""
    nu = 0.5 * k - 1.0
    small, large = _split_kappa(kappa, nu)
    if nu >= LARGE_ORDER:
        ratio = _bessel_ratio_large_order(large, nu)
    else:
        ratio = special.ive(nu + 1, large) / special.ive(nu, large)
    return np.where(kappa == small, _ratio_fraction(small, nu), ratio)
