"""Gaussian log-likelihood of reconstructions: a thread a row."""

from functools import cache
from typing import Any

import numpy as np

from pyscore.errors import ShapeError
from pyscore.kernels.cpu.log_likelihood import TOLERANCE, likelihood_constants
from pyscore.kernels.cuda._launch import blocks_for, check_rows, dtype_of
from pyscore.kernels.cuda._target import Output, cuda, is_device_array, to_device

__all__ = ["TOLERANCE", "log_likelihood"]

_THREADS = 128


@cache
def _kernel() -> Any:
    @cuda.jit
    def kernel(x, x_hat, precision, constant, out):
        for row in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
            total = 0.0
            for i in range(x.shape[1]):
                difference = np.float64(x[row, i] - x_hat[row, i])
                total += difference * difference * precision[i]
            out[row] = constant - 0.5 * total

    return kernel


def log_likelihood(
    x: Any,
    x_hat: Any,
    sigma2: Any = 1.0,
    *,
    log_two_pi: float | None = None,
    threads: int = _THREADS,
    stream: Any = 0,
) -> Any:
    """−½ Σ (x−x̂)²/σ² − (d/2) log 2πσ²; see `pyscore.kernels.cpu`. On the device if `x` is there."""
    x = check_rows("x", x, None, None)
    n, d = x.shape
    x_hat = check_rows("x_hat", x_hat, d, dtype_of(x))
    if x_hat.shape[0] != n:
        raise ShapeError(f"`x_hat` must have shape {tuple(x.shape)}, like `x`; got {tuple(x_hat.shape)}.")
    precision, constant = likelihood_constants(d, sigma2, log_two_pi)
    output = Output(is_device_array(x), stream)
    out = output.empty((n,), np.float64)
    if n:
        arrays = to_device(x, stream), to_device(x_hat, stream), to_device(precision, stream)
        _kernel()[blocks_for(n, threads), threads, stream](*arrays, constant, out)
    return output.give(out, (n,))
