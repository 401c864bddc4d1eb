"""The importance-sampling estimate of log p(x): draws, decoder passes and their log-sum-exp on the GPU.

Four launches: the draws, a thread each; the decoder; the weight of each draw; the sum of each row. Codes and
reconstructions go through device memory between them, 40 numbers a draw at d = 30 and k = 9, against 20,000
operations of the decoder.
"""

import math
from functools import cache
from typing import Any

import numpy as np

from pyscore.errors import ShapeError
from pyscore.kernels.cpu.importance import Estimate
from pyscore.kernels.cpu.log_likelihood import likelihood_constants
from pyscore.kernels.cuda._draws import make_draw, make_sample
from pyscore.kernels.cuda._launch import blocks_for, check_rows
from pyscore.kernels.cuda._network import Layers, Packed, pack
from pyscore.kernels.cuda._target import SIMULATED, Output, cuda, is_device_array, to_device
from pyscore.kernels.cuda.log_prior import log_prior
from pyscore.kernels.cuda.mlp import mlp

__all__ = ["Estimate", "importance"]

_THREADS = 8 if SIMULATED else 128
CHUNK = 1 << 20
"""Draws at a time."""
F64 = np.float64


@cache
def _make_draws(k: int, machine: bool, injected: bool, dtype: Any) -> Any:
    draw, sample = make_draw(k), make_sample(k, machine, dtype)

    @cuda.jit
    def kernel(mu, kappa, drawn, keys, seed, stream, epsilon, v, first, count, eps, z, lost):
        g, r = cuda.local.array(k, F64), cuda.local.array(k, F64)
        words = cuda.local.array(4, np.uint64)
        for item in range(cuda.grid(1), z.shape[0], cuda.gridsize(1)):
            row = first + item // count
            if injected:
                g[0] = epsilon[first * count + item]
                for i in range(1, k):
                    g[i] = v[first * count + item, i - 1]
            elif not draw(seed, keys[row], stream, item % count, drawn[row], g, words):
                cuda.atomic.add(lost, 0, 1)
            sample(mu, row, kappa[row], eps, g, r, z, item)

    return kernel


@cuda.jit
def _weigh(x, mu, kappa, z, decoded, density, precision, constant, first, count, outer, weights):
    """weights[i] = log p(x|z_i) − κ z_i·mu, plus log p(z_i) unless `outer`."""
    for item in range(cuda.grid(1), z.shape[0], cuda.gridsize(1)):
        row = first + item // count
        total, cosine = 0.0, 0.0
        for i in range(x.shape[1]):
            difference = F64(x[row, i] - decoded[item, i])
            total += difference * difference * precision[i]
        for i in range(z.shape[1]):
            cosine += F64(z[item, i]) * F64(mu[row, i])
        weight = constant - 0.5 * total - kappa[row] * cosine
        weights[item] = weight if outer else weight + density[item]


@cuda.jit
def _sum_rows(terms, first, count, out):
    """out[row] = log Σ exp(terms) over the draws of each row, in their order."""
    for row in range(cuda.grid(1), terms.shape[0] // count, cuda.gridsize(1)):
        top = -math.inf
        for i in range(count):
            term = terms[row * count + i]
            top = term if term > top else top
        shift = top if top > -math.inf else 0.0
        total = 0.0
        for i in range(count):
            total += math.exp(terms[row * count + i] - shift)
        out[first + row] = -math.inf if total == 0.0 else math.log(total) + shift


def importance(
    decoder: Layers | Packed,
    activation: str,
    x: Any,
    mu: Any,
    kappa: Any,
    prior: tuple[Any, Any, Any],
    draws: tuple[Any, int, int, int] | tuple[Any, Any],
    drawn: Any = None,
    *,
    sigma2: Any = 1.0,
    log_two_pi: float | None = None,
    norm_eps: float = 0.0,
    outer: bool = False,
    samples: int | None = None,
    chunk: int = CHUNK,
    stream: Any = 0,
) -> Estimate:
    """log Σ_i exp(log p(x|z_i) + log p(z_i) − κ z_i·mu) over draws z_i ~ vMF(mu, κ); see `pyscore.kernels.cpu`.

    On the device if `x` is there. `samples` a block and `chunk` draws at a time change the time, never a bit.
    """
    packed = decoder if isinstance(decoder, Packed) else pack(decoder, activation)
    dtype = np.dtype(packed.values.dtype)
    k, d = packed.sizes[0], packed.sizes[-1]
    x, mu = check_rows("x", x, d, dtype), check_rows("mu", mu, k, dtype)
    n, kappa = x.shape[0], np.array(kappa, np.float64)
    drawn = kappa if drawn is None else np.array(drawn, np.float64)
    for name, value in (("mu", mu), ("kappa", kappa), ("drawn", drawn)):
        if value.shape[0] != n:
            raise ShapeError(f"`{name}` must have one row for each of the {n} rows of `x`; got {value.shape[0]}.")
    injected = len(draws) == 2
    epsilon, v = np.zeros(1), np.zeros((1, max(k - 1, 1)))
    keys, seed, purpose = np.zeros(1, np.uint64), 0, 0
    if injected:
        epsilon, v = (np.array(a, np.float64, order="C") for a in draws)
        count = epsilon.size // max(n, 1)
        if epsilon.shape != (n * count,) or v.shape != (n * count, k - 1):
            raise ShapeError(
                f"`draws` must hold epsilon (n·s,) and v (n·s, {k - 1}) for {n} rows; "
                f"got {epsilon.shape} and {v.shape}."
            )
    else:
        keys, seed, purpose, count = draws
    output = Output(is_device_array(x), stream)
    found, lost = [to_device(np.full(max(n, 1), fill), stream) for fill in (-np.inf, 0.0)], np.zeros(1, np.int64)
    if n and count:
        arrays = [to_device(a, stream) for a in (mu, kappa, drawn, np.array(keys, np.uint64), epsilon, v, lost)]
        make = _make_draws(k, norm_eps > 0, injected, dtype.type)
        likelihood = likelihood_constants(d, sigma2, log_two_pi)
        rows, precision = to_device(x, stream), to_device(likelihood[0], stream)
        for first in range(0, n, max(1, chunk // count)):
            size = (min(n - first, max(1, chunk // count))) * count
            z = cuda.device_array((size, k), dtype, stream=stream)
            weights = cuda.device_array(size, np.float64, stream=stream)
            grid = blocks_for(size, _THREADS), _THREADS, stream
            make[grid](*arrays[:4], np.uint64(seed), np.uint64(purpose), *arrays[4:6], first, count,
                       float(norm_eps), z, arrays[6])  # fmt: skip
            decoded = mlp(packed, activation, z, samples=samples, stream=stream)
            density = log_prior(z, *prior, stream=stream)
            _weigh[grid](rows, arrays[0], arrays[1], z, decoded, density, precision, likelihood[1], first, count,
                         bool(outer), weights)  # fmt: skip
            for terms, out in ((weights, found[0]), (density, found[1]))[: 1 + bool(outer)]:
                _sum_rows[grid](terms, first, count, out)
        lost = arrays[6].copy_to_host(stream=stream)
    return Estimate(*(output.give(a, (n,)) for a in found), int(lost[0]))
