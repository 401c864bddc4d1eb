"""One damped Newton step of a row, a thread a row: accept or refuse the trial point, then choose the next one."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pyscore.kernels.cpu._joint import GAUSSIAN, MIXTURE
from pyscore.kernels.cuda._eigen import eigen
from pyscore.kernels.cuda._target import cuda

__all__ = ["begin", "end", "make_advance", "state_size"]

VALUE, FIRST, DAMPING, COUNT, FRESH, LAST, NEGLIGIBLE, NORM, STATE = range(9)
"""Numbers of a row that are kept from step to step; its gradient (m) and Hessian (m·m) stand behind them."""
_TINY = float(np.finfo(np.float64).tiny)
_QUARTER_TURN = 0.5 * math.pi
F64 = np.float64


def state_size(m: int) -> int:
    """Numbers a row."""
    return STATE + m + m * m


@cache
def make_frame(sphere: bool, dtype: Any) -> Callable:
    """Return frame(z, row, m, t): the tangent directions at z[row] as columns of t (k, m), in `dtype`.

    The same arithmetic as `decoder_log_volume.make_tangents`, whose columns the network pushed.
    """
    zero, one = dtype(0.0), dtype(1.0)

    @cuda.jit(device=True)
    def frame(z, row, m, t):
        k, norm, sign = z.shape[1], one, zero
        if sphere:
            square = zero
            for i in range(k):
                square += z[row, i] * z[row, i]
            norm = dtype(math.sqrt(square))
            sign = -one if z[row, 0] < zero else one
        inverse = one / (one + abs(z[row, 0] / norm))
        for c in range(m):
            for i in range(k):
                unit = one if i == c + (k - m) else zero
                if sphere:
                    v_i = z[row, i] / norm + (sign if i == 0 else zero)
                    unit -= v_i * inverse * (z[row, c + 1] / norm)
                t[i, c] = unit

    return frame


@cache
def make_prior(kind: int) -> Callable:
    """Return prior(z, row, m, t, mu, kappa, log_weight, g, h, u): −log p(z), its derivatives along t; u: scratch.

    Returned are −log p and z·∇log p. With weights w_j ∝ vMF(z; mu_j, κ_j) and pulls u_j = κ_j Tᵀmu_j: gradient
    −Σ w_j u_j, Hessian −Σ w_j u_j u_jᵀ + (Σ w_j u_j)².
    """

    @cuda.jit(device=True)
    def exponent(z, row, mu, kappa, log_weight, j):
        dot = 0.0
        for i in range(z.shape[1]):
            dot += F64(z[row, i]) * mu[j, i]
        return dot * kappa[j] + log_weight[j], dot

    @cuda.jit(device=True)
    def prior(z, row, m, t, mu, kappa, log_weight, g, h, u):
        k, value, radial = z.shape[1], 0.0, 0.0
        for a in range(m):
            g[a] = 0.0
            for b in range(m):
                h[a, b] = 0.0
        if kind == GAUSSIAN:
            square = 0.0
            for i in range(k):
                z_i = F64(z[row, i])
                square += z_i * z_i
                g[i] = z_i
                h[i, i] = 1.0
            value = 0.5 * square + 0.5 * k * math.log(2.0 * math.pi)
        elif kind == MIXTURE:
            top = -math.inf
            for j in range(mu.shape[0]):
                term = exponent(z, row, mu, kappa, log_weight, j)[0]
                top = term if term > top else top
            total = 0.0
            for j in range(mu.shape[0]):
                total += math.exp(exponent(z, row, mu, kappa, log_weight, j)[0] - top)
            value = -(math.log(total) + top)
            for j in range(mu.shape[0]):
                term, dot = exponent(z, row, mu, kappa, log_weight, j)
                weight = math.exp(term - top) / total
                radial += weight * kappa[j] * dot
                for a in range(m):
                    pull = 0.0
                    for i in range(k):
                        pull += F64(t[i, a]) * mu[j, i]
                    u[a] = kappa[j] * pull
                    g[a] -= weight * u[a]
                for a in range(m):
                    for b in range(a + 1):
                        h[a, b] -= weight * (u[a] * u[b])
            for a in range(m):
                for b in range(a + 1):
                    h[a, b] += g[a] * g[b]
        return value, radial

    return prior


@cache
def make_advance(kind: int, k: int, sphere: bool, dtype: Any) -> Any:
    """Return the kernel that takes one step of the rows slots[:count]; those that go on are in `following`.

    `terms` is what `make_joint` made of the trial points; see `kernels.cpu.newton` for the rules. Sizes of loops
    are arguments: as constants they would be unrolled, and want more registers than there are.
    """
    tangents = k - 1 if sphere else k
    frame, prior = make_frame(sphere, dtype), make_prior(kind)

    @cuda.jit(device=True)
    def objective(trial, row, m, terms, slot, t, components, precision, offset, g, h, u):
        """Value, gradient and Hessian at the trial point."""
        mu, kappa, log_weight = components
        value, radial = prior(trial, row, m, t, mu, kappa, log_weight, g, h, u)
        value += 0.5 * precision * terms[0, slot] + offset
        along = precision * terms[terms.shape[0] - 1, slot] + radial if sphere else 0.0
        for a in range(m):
            first = (a + 1) * (a + 2) // 2
            g[a] -= precision * terms[first, slot]
            for b in range(a + 1):
                h[a, b] += precision * terms[first + b + 1, slot]
                if a == b:
                    h[a, a] += along
                h[b, a] = h[a, b]
        return value

    @cuda.jit(device=True)
    def accept(state, row, m, value, g, h, z, trial, eps, steps):
        """Take the trial point or leave it; return whether the row is done."""
        square = 0.0
        for a in range(m):
            square += g[a] * g[a]
        norm, before = math.sqrt(square), state[VALUE, row]
        fresh, damping = state[FRESH, row] > 0.5, state[DAMPING, row]
        rounding = 64.0 * eps * (1.0 + abs(before))
        taken = fresh or value < before - rounding
        if not taken:
            taken = value <= before + rounding and norm < state[NORM, row]
        stuck = damping > 1e12 or state[NEGLIGIBLE, row] > 0.5
        if not fresh:
            state[COUNT, row] += 1.0
            state[DAMPING, row] = max(damping * 0.1, 1e-15) if taken else 10.0 * damping
        else:
            state[FIRST, row] = value
        if taken:
            state[VALUE, row], state[NORM, row] = value, norm
            for a in range(m):
                state[STATE + a, row] = g[a]
                for b in range(m):
                    state[STATE + m + a * m + b, row] = h[a, b]
            for i in range(z.shape[1]):
                z[row, i] = trial[row, i]
        state[FRESH, row] = 0.0
        return (not taken and stuck) or state[COUNT, row] >= steps or state[LAST, row] > 0.5

    @cuda.jit(device=True)
    def along_tangents(t, m, u, i):
        total = 0.0
        for c in range(m):
            total += F64(t[i, c]) * u[c]
        return total

    @cuda.jit(device=True)
    def step(state, row, m, h, v, t, u, z, trial, eps):
        """Next trial point: δ = −Q (|Λ| + λ max|Λ|)⁻¹ Qᵀg, at most a quarter turn."""
        k, largest = z.shape[1], _TINY
        for i in range(m):
            largest = max(largest, abs(h[i, i]))
        shift = state[DAMPING, row] * largest
        square = 0.0
        for j in range(m):
            u[j] = 0.0
        for i in range(m):
            along = 0.0
            for j in range(m):
                along += v[j, i] * state[STATE + j, row]
            along /= abs(h[i, i]) + shift
            for j in range(m):
                u[j] -= v[j, i] * along
        for j in range(m):
            square += u[j] * u[j]
        turn, slope = 1.0, 0.0
        if sphere:
            turn = max(1.0, math.sqrt(square) / _QUARTER_TURN)
        for j in range(m):
            u[j] /= turn
            slope -= state[STATE + j, row] * u[j]
        negligible = slope <= 64.0 * eps * (1.0 + abs(state[VALUE, row]))
        state[NEGLIGIBLE, row] = 1.0 if negligible else 0.0
        frame(z, row, m, t)
        square = 0.0
        for i in range(k):
            total = along_tangents(t, m, u, i)
            square += total * total
        cosine, sinc, norm = 1.0, 1.0, 1.0
        if sphere:
            length, square = math.sqrt(square), 0.0
            cosine, sinc = math.cos(length), math.sin(length) / length if length > 0.0 else 1.0
            for i in range(k):
                total = sinc * along_tangents(t, m, u, i) + cosine * F64(z[row, i])
                square += total * total
            norm = math.sqrt(square)
        for i in range(k):
            trial[row, i] = dtype((sinc * along_tangents(t, m, u, i) + cosine * F64(z[row, i])) / norm)

    @cuda.jit
    def kernel(
        terms, slots, count, start, z, trial, state, mu, kappa, log_weight, precision, offset, eps, steps, log_det,
        following, counter, m,
    ):  # fmt: skip
        t = cuda.local.array((k, tangents), dtype)
        h, v = cuda.local.array((tangents, tangents), F64), cuda.local.array((tangents, tangents), F64)
        g, u = cuda.local.array(tangents, F64), cuda.local.array(tangents, F64)
        for slot in range(cuda.grid(1), count, cuda.gridsize(1)):
            row = slots[slot]
            frame(trial, row, m, t)
            components = mu, kappa, log_weight
            value = objective(trial, row, m, terms, slot, t, components, precision, offset, g, h, u)
            done = accept(state, row, m, value, g, h, z, trial, eps, steps)
            ended = done and (state[VALUE, row] <= state[FIRST, row] or state[LAST, row] > 0.5)
            if done and not ended:  # the start was better: end there
                state[FRESH, row], state[LAST, row] = 1.0, 1.0
                for i in range(z.shape[1]):
                    trial[row, i] = start[row, i]
            else:
                for a in range(m):
                    for b in range(m):
                        h[a, b] = state[STATE + m + a * m + b, row]
                eigen(h, v, m)
            if ended:
                total, definite = 0.0, True
                for a in range(m):
                    definite = definite and h[a, a] > 0.0
                    total += math.log(h[a, a]) if h[a, a] > 0.0 else 0.0
                log_det[row] = total if definite else math.nan
            elif not done:
                step(state, row, m, h, v, t, u, z, trial, eps)
            if not ended:
                following[cuda.atomic.add(counter, 0, 1)] = row

    return kernel


@cuda.jit
def begin(start, z, trial, state):
    """Put every row where it starts: its first trial point."""
    for row in range(cuda.grid(1), start.shape[0], cuda.gridsize(1)):
        for i in range(start.shape[1]):
            z[row, i] = start[row, i]
            trial[row, i] = start[row, i]
        for item in range(state.shape[0]):
            state[item, row] = 0.0
        state[DAMPING, row], state[FRESH, row] = 1e-4, 1.0


@cuda.jit
def end(state, value, norm, count):
    """Copy what callers want of the state."""
    for row in range(cuda.grid(1), state.shape[1], cuda.gridsize(1)):
        value[row], norm[row] = state[VALUE, row], state[NORM, row]
        count[row] = np.int64(state[COUNT, row])
