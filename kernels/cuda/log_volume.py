"""Log-volume of given Jacobians: QR of a block of them in shared memory."""

from functools import cache
from typing import Any

import numpy as np

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu.log_volume import TOLERANCE, Volume
from pyscore.kernels.cuda._launch import blocks_for, dtype_of
from pyscore.kernels.cuda._network import SHARED_BYTES, U64, Geometry
from pyscore.kernels.cuda._qr import make_store_pivots, make_volume
from pyscore.kernels.cuda._target import Output, cuda, is_device_array, to_device

__all__ = ["TOLERANCE", "Volume", "log_volume"]

_THREADS = 128


@cache
def _make_kernel(d: int, k: int, g: Geometry, dtype: Any) -> Any:
    samples, threads = g.samples, g.threads
    rows, columns = max(d, k), min(d, k)
    a_size, r_size, p_size = d * k * samples, rows * samples, columns * samples
    steps = (k * samples, samples) if d >= k else (samples, k * samples)
    qr, store = make_volume(rows, columns, *steps, 0, g), make_store_pivots(columns, g)

    @cuda.jit
    def kernel(jacobian, volume, smallest, largest):
        # a line each: the simulator knows a shared array by the line that asks for it
        a = cuda.shared.array(a_size, dtype)
        reflector = cuda.shared.array(r_size, np.float64)
        pivots = cuda.shared.array(p_size, np.float64)
        scales = cuda.shared.array(samples, np.float64)
        thread, n = cuda.threadIdx.x, jacobian.shape[0]
        for first in range(cuda.blockIdx.x * samples, n, cuda.gridDim.x * samples):
            for i in range(thread, d * k * samples, threads):
                s, entry = i // (d * k), i % (d * k)
                a[U64(entry * samples + s)] = jacobian[min(first + s, n - 1), entry // k, entry % k]
            cuda.syncthreads()
            qr(a, reflector, pivots, scales)
            store(pivots, first, n, volume, smallest, largest)

    return kernel


def log_volume(jacobian: Any, *, samples: int | None = None, stream: Any = 0) -> Volume:
    """Σ_i log s_i(J) of each Jacobian (n, d, k); see `pyscore.kernels.cpu`. On the device if it is."""
    array = jacobian if is_device_array(jacobian) else np.asarray(jacobian)
    if len(array.shape) != 3:
        raise ShapeError(f"`jacobian` must have three axes, (n, d, k); got shape {tuple(array.shape)}.")
    dtype = dtype_of(array)
    if dtype not in (np.float32, np.float64):
        raise InvalidInput(f"`jacobian` must be float32 or float64; got {dtype}.")
    n, d, k = array.shape
    output = Output(is_device_array(array), stream)
    results = [output.empty((n,), np.float64) for _ in range(3)]
    if n and d * k:
        bytes_a_sample = d * k * dtype.itemsize + (d + k + 1) * 8
        most = min(SHARED_BYTES // bytes_a_sample, _THREADS // min(d, k))
        chosen = most if samples is None else samples
        if not 1 <= chosen <= most:
            raise InvalidInput(
                f"a block of {chosen} Jacobians of shape ({d}, {k}) needs more than the 48 KB of shared memory or "
                f"{_THREADS} columns (at most {most} fit). Use backend='numba' for Jacobians this large."
            )
        g = Geometry(chosen, 0, 0, chosen * min(d, k), 0)
        kernel = _make_kernel(d, k, g, dtype.type)
        kernel[blocks_for(n, chosen), g.threads, stream](to_device(array, stream), *results)
    elif n:
        empty = np.zeros(n), np.full(n, np.inf), np.zeros(n)
        results = [to_device(values, stream) for values in empty]
    return Volume(*(output.give(result, (n,)) for result in results))
