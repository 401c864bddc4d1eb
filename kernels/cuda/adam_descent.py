"""The original's projection: a fixed number of ADAM steps on the codes, off the sphere, by one block."""

import math
from functools import cache
from typing import Any

import numpy as np

from pyscore._core.constants import BETAS
from pyscore.errors import ShapeError
from pyscore.kernels.cpu.adam_descent import EPSILON, Descent
from pyscore.kernels.cuda._launch import check_rows, launch_tiles
from pyscore.kernels.cuda._network import (
    Geometry,
    Layers,
    Packed,
    geometry,
    make_choice,
    make_pull,
    make_push,
    matrix_rows,
    matrix_type,
    shared_size,
)
from pyscore.kernels.cuda._target import (
    ALIGNMENT,
    TILE_OPTIONS,
    U32,
    U64,
    Output,
    cuda,
    is_device_array,
    to_device,
)
from pyscore.kernels.cuda.encoder_log_volume import pack_encoder

__all__ = ["Descent", "adam_descent"]

F64 = np.float64


@cache
def _make_kernel(sizes: tuple[int, ...], name: str, g: Geometry, dtype: Any) -> Any:
    k, d = sizes[0], sizes[-1]
    samples, stride, threads, slab_size = g.samples, g.columns, g.threads, g.slab
    kind, size, choice = matrix_type(dtype), shared_size(g), make_choice(g)
    code_size = k * g.samples
    push = make_push(sizes, name, 1, g, dtype, True)
    pull = make_pull(tuple(reversed(sizes)), 1, g, dtype)
    k_turns, d_turns = -(-k * samples // threads), -(-d * samples // threads)
    beta1, beta2 = BETAS

    @cuda.jit(**TILE_OPTIONS)
    def kernel(forward, backward, x, start, rate, powers, total, z, norm, workspace):
        # a line each: the simulator knows a shared array by the line that asks for it
        shared = cuda.shared.array(size, kind, ALIGNMENT)
        slab = cuda.shared.array(slab_size, dtype, ALIGNMENT)
        codes = cuda.shared.array(code_size, F64)
        moment = cuda.shared.array(code_size, F64)
        square = cuda.shared.array(code_size, F64)
        slopes, thread, n = workspace[cuda.blockIdx.x], U32(cuda.threadIdx.x), x.shape[0]
        a, steps = choice(shared, slopes), powers.shape[1] - 1
        for first in range(cuda.blockIdx.x * samples, n, cuda.gridDim.x * samples):
            for turn in range(k_turns):
                i = turn * threads + thread
                if i < k * samples:
                    codes[U64(i)] = F64(start[U64(min(first + i % samples, n - 1)), U64(i // samples)])
                    moment[U64(i)], square[U64(i)] = F64(0.0), F64(0.0)
            for t in range(1, steps + 2):
                for turn in range(k_turns):
                    i = turn * threads + thread
                    if i < k * samples:
                        a[U64(i // samples * stride + i % samples)] = dtype(codes[U64(i)])
                cuda.syncthreads()
                push(forward, a, slab, slopes)
                for turn in range(d_turns):
                    i = turn * threads + thread
                    if i < d * samples:
                        s, f = i // d, i % d
                        at = U64(f * stride + s)
                        a[at] = x[U64(min(first + s, n - 1)), U64(f)] - a[at]
                cuda.syncthreads()
                pull(backward, a, slab, slopes)
                if t <= steps:
                    for turn in range(k_turns):
                        i = turn * threads + thread
                        if i < k * samples:
                            gradient = F64(a[U64(i // samples * stride + i % samples)]) / -total
                            m = beta1 * moment[U64(i)] + (1.0 - beta1) * gradient
                            v = beta2 * square[U64(i)] + (1.0 - beta2) * (gradient * gradient)
                            moment[U64(i)], square[U64(i)] = m, v
                            corrected = m / (1.0 - powers[0, t])
                            codes[U64(i)] -= corrected / (math.sqrt(v / (1.0 - powers[1, t])) + EPSILON) * rate
                elif thread < samples and first + thread < n:
                    length = F64(0.0)
                    for i in range(k):
                        gradient = F64(a[U64(i * stride + thread)])
                        length += gradient * gradient
                        z[U64(first + thread), U64(i)] = dtype(codes[U64(i * samples + thread)])
                    norm[U64(first + thread)] = math.sqrt(length)
                cuda.syncthreads()

    return kernel


def adam_descent(
    decoder: Layers | tuple[Packed, Packed],
    activation: str,
    x: Any,
    z: Any,
    powers: Any,
    *,
    rate: float = 1e-3,
    samples: int | None = None,
    stream: Any = 0,
) -> Descent:
    """Take ADAM steps from z on the mean over the rows of ½‖x − decode(z)‖²; see `pyscore.kernels.cpu`.

    On the device if `x` is there. `samples` a block change the time, never a bit of the result.
    """
    forward, backward = decoder if isinstance(decoder[0], Packed) else pack_encoder(decoder, activation)
    sizes, dtype = forward.sizes, np.dtype(forward.values.dtype)
    k, d = sizes[0], sizes[-1]
    x, z = check_rows("x", x, d, dtype), check_rows("z", z, k, dtype)
    n = x.shape[0]
    if z.shape[0] != n:
        raise ShapeError(f"`z` must have one row for each of the {n} rows of `x`; got {z.shape[0]}.")
    both = (*sizes, *reversed(sizes[:-1]))
    kept = (len(sizes) - 2) * matrix_rows(both)
    g = geometry(both, 1, dtype, samples, beside=3 * k * 8, kept=kept)
    output = Output(is_device_array(x), stream)
    found = output.empty((n, k), dtype), output.empty((n,), np.float64)
    if n:
        weights = to_device(forward.values, stream), to_device(backward.values, stream)
        constants = float(rate), to_device(np.array(powers, np.float64), stream), float(n)
        arrays = *weights, to_device(x, stream), to_device(z, stream), *constants, *found
        launch_tiles(_make_kernel(sizes, forward.activation, g, dtype.type), n, g, dtype, stream, *arrays)
    return Descent(output.give(found[0], (n, k)), output.give(found[1], (n,)))
