"""−log p(x, z) of LANES codes at once, with its gradient and its Hessian along the latent space.

The forward pass pushes a code and its m tangents, and keeps of each layer the tangents before the activation and
the first two derivatives of the activation. The reverse pass pulls the residual back once. The Hessian of
Σ_i e_i f_i is then a sum over layers of Aᵀ diag(g φ'') A, A the tangents and g what was pulled back.
"""

import numpy as np

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._curvature import activate_twice
from pyscore.kernels.cpu._math import exp_negative, log
from pyscore.kernels.cpu._network import BIAS_AT, INPUTS, OUTPUTS, WEIGHTS_AT, layer_product, multiply_columns
from pyscore.kernels.cpu._simd import LANES, fma, load, select, splat, store, widen
from pyscore.kernels.cpu._tiles import copy_lanes

__all__ = ["GAUSSIAN", "MIXTURE", "NO_PRIOR", "add_network", "set_prior"]

NO_PRIOR, MIXTURE, GAUSSIAN = range(3)
"""What −log p(z) adds to the objective: nothing, a mixture of vMF densities, or that of N(0, I)."""

_PARTIAL = 8
"""Products that are summed in the data's type before float64 takes over: their rounding is that of one entry."""


@njit
def _dot(a, a_at, b, b_at, rows, like):
    """Σ_r a_r·b_r, in float64 but for partial sums of a few products."""
    total = splat(0.0, like)
    for first in range(0, rows, _PARTIAL):
        part = splat(0.0, a)
        for r in range(first, min(first + _PARTIAL, rows)):
            part = fma(load(a, a_at + r * LANES), load(b, b_at + r * LANES), part)
        total = total + widen(part)
    return total


@njit
def set_prior(kind, prior, code, at, tangents, t_at, step, k, m, value, gradient, hessian, out, weights):
    """Begin the objective at one group: −log p(z) and its derivatives in R^k along the tangents.

    out[value], out[gradient:] (m) and out[hessian:] (m·m) are set, and z·∇log p(z) is returned. With weights
    w_j ∝ vMF(z; mu_j, κ_j) and pulls u_j = κ_j Tᵀmu_j: gradient Σ w_j u_j, Hessian Σ w_j u_j u_jᵀ − (Σ w_j u_j)².
    """
    zero = splat(0.0, out)
    for i in range(m):
        store(out, gradient + i * LANES, zero)
        for j in range(m):
            store(out, hessian + (i * m + j) * LANES, zero)
    store(out, value, zero)
    if kind == GAUSSIAN:
        square = zero
        for i in range(k):
            z = widen(load(code, at + i * LANES))
            square = fma(z, z, square)
            store(out, gradient + i * LANES, z)
            store(out, hessian + (i * m + i) * LANES, splat(1.0, out))
        store(out, value, fma(square, 0.5, splat(0.5 * k * np.log(2 * np.pi), out)))
    if kind != MIXTURE:
        return zero
    mu, kappa, log_weight = prior
    components = kappa.size
    top = splat(-np.inf, out)
    for j in range(components):
        dot = zero
        for i in range(k):
            dot = fma(widen(load(code, at + i * LANES)), mu[j, i], dot)
        term = fma(dot, kappa[j], log_weight[j])
        store(weights, j * LANES, term)
        top = select(term > top, term, top)
    total = zero
    for j in range(components):
        weight = exp_negative(load(weights, j * LANES) - top)
        store(weights, j * LANES, weight)
        total = total + weight
    store(out, value, -(log(total) + top))
    radial, pulls = zero, components * LANES
    for j in range(components):
        weight, dot = load(weights, j * LANES) / total, zero
        for i in range(k):
            dot = fma(widen(load(code, at + i * LANES)), mu[j, i], dot)
        radial = fma(weight * kappa[j], dot, radial)
        for c in range(m):
            pull = zero
            for i in range(k):
                pull = fma(widen(load(tangents, t_at + c * step + i * LANES)), mu[j, i], pull)
            pull = kappa[j] * pull
            store(weights, pulls + c * LANES, pull)
            place = gradient + c * LANES
            store(out, place, load(out, place) - weight * pull)
        for a in range(m):
            for b in range(a + 1):
                place = hessian + (a * m + b) * LANES
                both = load(weights, pulls + a * LANES) * load(weights, pulls + b * LANES)
                store(out, place, load(out, place) - weight * both)
    for a in range(m):
        for b in range(a + 1):
            place = hessian + (a * m + b) * LANES
            both = load(out, gradient + a * LANES) * load(out, gradient + b * LANES)
            store(out, place, load(out, place) + both)
            store(out, hessian + (b * m + a) * LANES, load(out, place))
    return radial


@njit
def _push(values, plan, code, active, kept, size, step, groups, columns, slopes, bends):
    """Push groups of a code and its tangents; layer l's tangents before its activation stay at kept[l·size:]."""
    layers = plan.shape[0]
    for layer in range(layers):
        inputs, outputs = plan[layer, INPUTS], plan[layer, OUTPUTS]
        before = kept[layer * size :]
        layer_product(
            values, plan[layer, WEIGHTS_AT], inputs, outputs, active, step, before, step, groups * columns
        )
        for g in range(groups if layer < layers - 1 else 0):
            at, slopes_at = g * columns * step, (layer * groups + g) * step
            activate_twice(
                code, outputs, before, at, values, plan[layer, BIAS_AT], active, at, slopes, bends, slopes_at
            )
            for place in range(at + step, at + columns * step, step):
                copy_lanes(before, place, active, place, outputs)
            multiply_columns(outputs, columns - 1, active, at + step, step, slopes, slopes_at)


@njit
def _add_products(left, at, right, r_at, step, rows, m, factor, out, hessian):
    """Add factor·LᵀR to the lower triangle of a Hessian, m columns each."""
    for a in range(m):
        for b in range(a + 1):
            place = hessian + (a * m + b) * LANES
            dot = _dot(left, at + a * step, right, r_at + b * step, rows, out)
            store(out, place, fma(dot, factor, load(out, place)))


@njit
def add_network(
    forward, backward, code, x, x_at, z, precision, offset, sphere, step, groups, k, m, buffers, radial, items, out
):
    """Add ½·precision·‖x − f(z)‖² + offset with its derivatives, and end the objective: H − (z·g) I on the sphere.

    `buffers[0]` holds codes and tangents, group by group; radial[g·LANES:] is z·∇log p(z) of `set_prior`.
    """
    values, plan = forward
    turned, back_plan = backward
    active, kept, slopes, bends, pulled, spare = buffers
    columns, layers, d = m + 1, plan.shape[0], plan[plan.shape[0] - 1, OUTPUTS]
    size = groups * columns * step
    _push(values, plan, code, active, kept, size, step, groups, columns, slopes, bends)
    result = kept[(layers - 1) * size :]
    bias_at = plan[layers - 1, BIAS_AT]
    width, (value, gradient, hessian) = items
    for g in range(groups):
        at, here = g * columns * step, g * width
        for i in range(d):
            x_hat = load(result, at + i * LANES) + values[bias_at + i]
            store(pulled, g * step + i * LANES, load(x, g * x_at + i * LANES) - x_hat)
        square = splat(0.0, out)
        for i in range(d):
            e = widen(load(pulled, g * step + i * LANES))
            square = fma(e, e, square)
        place = here + value
        store(out, place, load(out, place) + fma(square, 0.5 * precision, splat(offset, out)))
        for c in range(m):
            place = here + gradient + c * LANES
            dot = _dot(result, at + (c + 1) * step, pulled, g * step, d, out)
            store(out, place, fma(dot, -precision, load(out, place)))
        _add_products(result, at + step, result, at + step, step, d, m, precision, out, here + hessian)
    for layer in range(layers):
        inputs, outputs = back_plan[layer, INPUTS], back_plan[layer, OUTPUTS]
        layer_product(turned, back_plan[layer, WEIGHTS_AT], inputs, outputs, pulled, step, spare, step, groups)
        pulled, spare = spare, pulled
        below = layers - 2 - layer
        if below < 0:
            break
        for g in range(groups):
            at, d_at = below * size + (g * columns + 1) * step, (below * groups + g) * step
            for r in range(outputs):  # the bends become g·φ'', the gradient g·φ'
                pull = load(pulled, g * step + r * LANES)
                store(bends, d_at + r * LANES, pull * load(bends, d_at + r * LANES))
                store(pulled, g * step + r * LANES, pull * load(slopes, d_at + r * LANES))
            for c in range(m):
                bent = g * columns * step + (c + 1) * step
                for r in range(outputs):
                    tangent = load(kept, at + c * step + r * LANES)
                    store(active, bent + r * LANES, tangent * load(bends, d_at + r * LANES))
            bent = g * columns * step + step
            _add_products(active, bent, kept, at, step, outputs, m, -precision, out, g * width + hessian)
    for g in range(groups):
        along = splat(0.0, out)
        if sphere:
            for i in range(k):
                along = fma(widen(load(z, (g * k + i) * LANES)), widen(load(pulled, g * step + i * LANES)), along)
            along = fma(along, precision, load(radial, g * LANES))
        for a in range(m):
            place = g * width + hessian + (a * m + a) * LANES
            store(out, place, load(out, place) + along)
            for b in range(a):
                place = g * width + hessian + (a * m + b) * LANES
                store(out, g * width + hessian + (b * m + a) * LANES, load(out, place))
