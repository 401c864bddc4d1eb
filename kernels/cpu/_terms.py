"""The other terms of a score on one tile: likelihood, prior, and the head that puts a code on the sphere."""

import numpy as np

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._math import exp_negative, log
from pyscore.kernels.cpu._simd import LANES, fma, load, select, splat, sqrt, store, widen

__all__ = ["likelihood_tile", "normalize_column", "prior_tile"]


@njit
def normalize_column(source, at, target, t_at, k, eps):
    """target = v/√(Σv² + eps) for the column v; e1 where v = 0 and eps = 0. Returns the root."""
    square = splat(eps, source)
    for i in range(k):
        v = load(source, at + i * LANES)
        square = fma(v, v, square)
    norm = sqrt(square)
    for i in range(k):
        pole = splat(1.0 if i == 0 else 0.0, source)
        store(target, t_at + i * LANES, select(norm == 0.0, pole, load(source, at + i * LANES) / norm))
    return norm


@njit
def likelihood_tile(x, x_at, x_hat, hat_at, precision, constant):
    """−½ Σ precision·(x−x̂)² + constant, with the difference in the data's dtype and the sum in float64."""
    total = splat(0.0, precision)
    for i in range(precision.size):
        difference = widen(load(x, x_at + i * LANES) - load(x_hat, hat_at + i * LANES))
        total = fma(difference * difference, precision[i], total)
    return fma(total, -0.5, constant)


@njit
def prior_tile(z, at, mu, kappa, log_weight, work):
    """log Σ_j exp(kappa_j·z·mu_j + log_weight_j), shifted by its largest term, in float64.

    `work` holds a Lanes for each of the p components.
    """
    top = splat(-np.inf, work)
    for j in range(mu.shape[0]):
        dot = splat(0.0, work)
        for i in range(mu.shape[1]):
            dot = fma(widen(load(z, at + i * LANES)), mu[j, i], dot)
        term = fma(dot, kappa[j], log_weight[j])
        store(work, j * LANES, term)
        top = select(term > top, term, top)
    top = select(top > -np.inf, top, splat(0.0, work))
    total = splat(0.0, work)
    for j in range(mu.shape[0]):
        total = total + exp_negative(load(work, j * LANES) - top)
    return log(total) + top
