"""Log-density of codes under the mixture of encoded pseudo-inputs: a thread a row."""

import math
from functools import cache
from typing import Any

import numpy as np

from pyscore.kernels.cpu.log_prior import TOLERANCE, prior_arrays
from pyscore.kernels.cuda._launch import blocks_for, check_rows
from pyscore.kernels.cuda._target import Output, cuda, is_device_array, to_device

__all__ = ["TOLERANCE", "log_prior"]

_THREADS = 128


@cache
def _kernel() -> Any:
    @cuda.jit(device=True)
    def exponent(z, row, mu, kappa, log_weight, j):
        dot = 0.0
        for i in range(mu.shape[1]):
            dot += np.float64(z[row, i]) * mu[j, i]
        return dot * kappa[j] + log_weight[j]

    @cuda.jit
    def kernel(z, mu, kappa, log_weight, out):
        for row in range(cuda.grid(1), z.shape[0], cuda.gridsize(1)):
            top = exponent(z, row, mu, kappa, log_weight, 0)
            for j in range(1, mu.shape[0]):
                term = exponent(z, row, mu, kappa, log_weight, j)
                top = term if term > top else top
            total = 0.0
            for j in range(mu.shape[0]):  # computed again: cheaper than p numbers of local memory a thread
                total += math.exp(exponent(z, row, mu, kappa, log_weight, j) - top)
            out[row] = math.log(total) + top

    return kernel


def log_prior(
    z: Any, mu_u: Any, kappa_u: Any, log_normaliser: Any, *, threads: int = _THREADS, stream: Any = 0
) -> Any:
    """log (1/p) Σ_j exp(κ_j z·μ_j + log C_j); see `pyscore.kernels.cpu`. On the device if `z` is there."""
    z = check_rows("z", z, None, None)
    n = z.shape[0]
    components = prior_arrays(z.shape[1], mu_u, kappa_u, log_normaliser)
    output = Output(is_device_array(z), stream)
    out = output.empty((n,), np.float64)
    if n:
        arrays = to_device(z, stream), *(to_device(a, stream) for a in components)
        _kernel()[blocks_for(n, threads), threads, stream](*arrays, out)
    return output.give(out, (n,))
