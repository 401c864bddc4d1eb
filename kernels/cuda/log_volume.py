"""Log-volume of given Jacobians: QR of a block of them in shared memory."""

from functools import cache
from typing import Any

import numpy as np

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu.log_volume import TOLERANCE, Volume
from pyscore.kernels.cuda._launch import dtype_of, launch_tiles
from pyscore.kernels.cuda._network import (
    MOST_THREADS,
    STATIC_BYTES,
    Geometry,
    make_choice,
    matrix_type,
    shared_size,
)
from pyscore.kernels.cuda._qr import make_store_pivots, make_volume, qr_bytes
from pyscore.kernels.cuda._target import U64, Output, cuda, is_device_array, to_device

__all__ = ["TOLERANCE", "Volume", "log_volume"]

_THREADS = 128


@cache
def _make_kernel(d: int, k: int, g: Geometry, dtype: Any) -> Any:
    samples, threads = g.samples, g.threads
    rows, columns = max(d, k), min(d, k)
    r_size, p_size = rows * samples, columns * samples
    steps = (k * samples, samples) if d >= k else (samples, k * samples)
    kind, size, choice = matrix_type(dtype), shared_size(g), make_choice(g)
    qr, store = make_volume(rows, columns, *steps, 0, g), make_store_pivots(columns, g)

    @cuda.jit
    def kernel(jacobian, volume, smallest, largest, workspace):
        # a line each: the simulator knows a shared array by the line that asks for it
        shared = cuda.shared.array(size, kind)
        a = choice(shared, workspace[cuda.blockIdx.x])
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


def _geometry(d: int, k: int, dtype: np.dtype, samples: int | None) -> Geometry:
    """Choose S, and the 48 KB as the place of a block's Jacobians, or global memory if one alone is larger."""
    kept, entries = qr_bytes(d, k), d * k
    place = "static" if kept + entries * dtype.itemsize <= STATIC_BYTES else "global"
    bytes_a_sample = kept + (entries * dtype.itemsize if place == "static" else 0)
    most = min(STATIC_BYTES // bytes_a_sample, max(_THREADS // min(d, k), 1 if min(d, k) <= MOST_THREADS else 0))
    chosen = most if samples is None else samples
    if not 1 <= chosen <= most:
        raise InvalidInput(
            f"a block of {max(chosen, 1)} Jacobians of shape ({d}, {k}) needs more shared memory or threads than "
            f"a block has (at most {most} fit). Use backend='numba' for Jacobians this large."
        )
    return Geometry(chosen, 0, 0, chosen * min(d, k), 0, chosen * entries, place)


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
        g = _geometry(d, k, dtype, samples)
        kernel = _make_kernel(d, k, g, dtype.type)
        launch_tiles(kernel, n, g, dtype, stream, to_device(array, stream), *results)
    elif n:
        empty = np.zeros(n), np.full(n, np.inf), np.zeros(n)
        results = [to_device(values, stream) for values in empty]
    return Volume(*(output.give(result, (n,)) for result in results))
