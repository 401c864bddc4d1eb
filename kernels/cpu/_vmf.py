"""Samples of a von Mises-Fisher distribution by Wood's rejection, and the way back from their gradients."""

import math

import numpy as np

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._philox import propose
from pyscore.kernels.cpu._scalar_math import log

__all__ = ["accepted_draw", "sample", "sample_gradient"]

_EPS32 = 2.0**-23
ROUNDS = 10_000


@njit
def accepted_draw(seed, stream, step, purpose, row, kappa, g, words):
    """Fill g (k,) with normals whose ε = (1 + g₀/‖g‖)/2 Wood's rule accepts; return ε.

    g/‖g‖ is uniform on the sphere, so ε is Beta((k−1)/2, (k−1)/2), independent of the direction of g₁…g_{k−1}:
    one draw serves both. Round r takes its words from purpose + r.
    """
    m = g.size - 1
    c = math.sqrt(4 * kappa**2 + m**2)
    b = m / (c + 2 * kappa)
    a = (m + 2 * kappa + c) / 4
    bound = 4 * a * b / (1 + b) - m * log(float(m))
    epsilon = 0.5
    for attempt in range(ROUNDS):
        u = propose(seed, stream, step, purpose + attempt, row, g, words)
        square = 0.0
        for i in range(g.size):
            square += g[i] * g[i]
        epsilon = 0.5 * (1 + g[0] / math.sqrt(square))
        t = 2 * a * b / (1 - (1 - b) * epsilon)
        if m * log(t) - t + bound >= log(u):
            break
    return epsilon


@njit
def _mixing(kappa, epsilon, m, machine, one):
    """w, radius, and their slopes in kappa; `one` holds a number of the parameters' type.

    Under "machine" b is rounded as the original rounds it, (c − 2κ)/(k−1) with its cancellation.
    """
    one[0] = kappa
    square = one[0] * one[0]
    one[0] = 4 * square + m * m
    one[0] = math.sqrt(one[0])
    c = np.float64(one[0])
    if machine:
        one[0] = c - 2 * kappa
        b = np.float64(one[0]) / m
        top, under = 1 - (1 + b) * epsilon, 1 - (1 - b) * epsilon
        w = top / under
        radius = math.sqrt(1 - w * w + 10 * _EPS32)
        w_slope = -epsilon * (top + under) / (under * under)
        return w, radius, w_slope * (-2 + 4 * kappa / c) / m, -w / radius * w_slope * (-2 + 4 * kappa / c) / m
    c = math.sqrt(4 * kappa * kappa + m * m)
    b = m / (c + 2 * kappa)
    rest = 1 - epsilon
    under = rest + b * epsilon
    root, q = math.sqrt(b), math.sqrt(epsilon * rest)
    b_slope = -b / (c + 2 * kappa) * (4 * kappa / c + 2)
    radius_slope = q / (root * under) - 2 * root * q * epsilon / (under * under)
    return (
        (rest - b * epsilon) / under,
        2 * root * q / under,
        -2 * rest * epsilon / (under * under) * b_slope,
        radius_slope * b_slope,
    )


@njit
def _reflection(mu, machine, eps, r):
    """r ← the unit normal of the mirror that takes e1 to mu, and the length it was divided by (0: no mirror)."""
    k = mu.size
    rest = 0.0
    for i in range(1, k):
        r[i] = -mu[i]
        rest += mu[i] * mu[i]
    r[0] = rest / (1 + mu[0]) if not machine and mu[0] > 0 else 1 - mu[0]
    square = r[0] * r[0] + rest
    if square == 0:
        r[0] = 0.0
        return 0.0
    length = math.sqrt(square + eps) if machine else math.sqrt(square)
    for i in range(k):
        r[i] /= length
    return length


@njit
def sample(mu, kappa, epsilon, direction, machine, eps, r, one, z):
    """z ← Householder reflection of [w, radius·direction]; `direction` (k−1,) is what `normalize` made of v."""
    k = mu.size
    w, radius, _, _ = _mixing(kappa, epsilon, k - 1, machine, one)
    _reflection(mu, machine, eps, r)
    z[0] = w
    dot = w * r[0]
    for i in range(1, k):
        z[i] = radius * direction[i - 1]
        dot += z[i] * r[i]
    for i in range(k):
        z[i] -= 2 * dot * r[i]


@njit
def sample_gradient(mu, kappa, epsilon, direction, machine, eps, gz, r, one, g_mu):
    """g_mu ← ∂/∂mu, and return ∂/∂kappa, of a number whose gradient in the sample is gz (k,)."""
    k = mu.size
    w, radius, w_slope, radius_slope = _mixing(kappa, epsilon, k - 1, machine, one)
    length = _reflection(mu, machine, eps, r)
    before_r, gz_r = w * r[0], gz[0] * r[0]
    for i in range(1, k):
        before_r += radius * direction[i - 1] * r[i]
        gz_r += gz[i] * r[i]
    g_kappa = (gz[0] - 2 * gz_r * r[0]) * w_slope
    g_r = -2 * (before_r * gz[0] + gz_r * w)
    along = r[0] * g_r
    g_mu[0] = g_r
    for i in range(1, k):
        g_kappa += (gz[i] - 2 * gz_r * r[i]) * direction[i - 1] * radius_slope
        g_r = -2 * (before_r * gz[i] + gz_r * radius * direction[i - 1])
        along += r[i] * g_r
        g_mu[i] = g_r
    if length == 0:
        g_mu[:] = 0.0
        return g_kappa
    for i in range(k):
        g_mu[i] = (g_mu[i] - r[i] * along) / length  # gradient in the unreflected difference e1 − mu
    head = g_mu[0]
    if not machine and mu[0] > 0:
        rest = 0.0
        for i in range(1, k):
            rest += mu[i] * mu[i]
            g_mu[i] = -g_mu[i] + head * 2 * mu[i] / (1 + mu[0])
        g_mu[0] = -head * rest / (1 + mu[0]) ** 2
    else:
        for i in range(k):
            g_mu[i] = -g_mu[i]
    return g_kappa
