"""Three formulas in the original's order of operations: the reference's numbers, with more of their rounding.

What the original recorded, and what float32 backends give under ORIGINAL, carries the rounding of this order; the
scale of a comparison with them is its spread (`pyscore.backends.stochastic`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from pyscore import reference
from pyscore._core.checks import Array
from pyscore.convention import Convention

__all__ = ["sample_vmf", "vmf_entropy", "vmf_kl"]


def sample_vmf(arguments: tuple[Any, ...], convention: Convention) -> Array:
    """`reference.sample_vmf` with b = (c − 2κ)/(k−1), which loses 2κ·eps, and w = (1 − (1+b)ε)/(1 − (1−b)ε).

    Only where the convention is the original's: EXACT has one order everywhere.
    """
    if convention.norm_eps != "machine":
        return reference.sample_vmf(*arguments, convention=convention)
    mu, kappa, epsilon, v = arguments
    m = mu.shape[1] - 1
    b = (np.sqrt(4 * kappa**2 + m**2) - 2 * kappa) / m
    w = (1 - (1 + b) * epsilon) / (1 - (1 - b) * epsilon)
    radius = np.sqrt(1 - w**2 + 10 * reference.EPS32)
    ring = radius[:, None] * reference.normalize(v, convention=convention)
    return reference.householder(np.column_stack([w, ring]), mu, convention=convention)


def vmf_entropy(arguments: tuple[Any, ...], convention: Convention) -> Array:
    """`reference.vmf_entropy` with (k/2−1) log κ and log I_{k/2−1}(κ) apart, which cancel where κ is near 0."""
    kappa, k = arguments
    nu = 0.5 * k - 1
    scaled = special.ive(nu, kappa)
    log_normaliser = nu * np.log(kappa) - 0.5 * k * np.log(2 * np.pi) - (np.log(scaled) + kappa)
    return -kappa * special.ive(nu + 1, kappa) / scaled - log_normaliser


def vmf_kl(arguments: tuple[Any, ...], convention: Convention) -> Array:
    """`reference.vmf_kl` as the difference of two entropies, each of order 1 where the divergence is near 0."""
    _, k = arguments
    return reference.uniform_sphere_entropy(k) - vmf_entropy(arguments, convention)
