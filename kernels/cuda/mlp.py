"""Values of a multilayer perceptron, a block of samples at a time in shared memory."""

from functools import cache
from typing import Any

import numpy as np

from pyscore.kernels.cpu.mlp import TOLERANCE
from pyscore.kernels.cuda._launch import check_rows, launch_tiles
from pyscore.kernels.cuda._network import (
    Geometry,
    Layers,
    Packed,
    geometry,
    make_choice,
    make_push,
    matrix_type,
    pack,
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

__all__ = ["TOLERANCE", "mlp"]


@cache
def _make_kernel(sizes: tuple[int, ...], name: str, g: Geometry, dtype: Any) -> Any:
    inputs, outputs = sizes[0], sizes[-1]
    samples, stride, threads, slab_size = g.samples, g.columns, g.threads, g.slab
    kind, size, choice = matrix_type(dtype), shared_size(g), make_choice(g)
    push = make_push(sizes, name, 1, g, dtype)
    in_turns, out_turns = -(-inputs * samples // threads), -(-outputs * samples // threads)

    @cuda.jit(**TILE_OPTIONS)
    def kernel(values, x, out, workspace):
        # a line each: the simulator knows a shared array by the line that asks for it
        shared = cuda.shared.array(size, kind, ALIGNMENT)
        a = choice(shared, workspace[cuda.blockIdx.x])
        slab = cuda.shared.array(slab_size, dtype, ALIGNMENT)
        thread, n = U32(cuda.threadIdx.x), x.shape[0]
        for first in range(cuda.blockIdx.x * samples, n, cuda.gridDim.x * samples):
            for turn in range(in_turns):
                i = turn * threads + thread
                if i < inputs * samples:
                    s, f = i // inputs, i % inputs
                    a[U64(f * stride + s)] = x[U64(min(first + s, n - 1)), U64(f)]
            cuda.syncthreads()
            push(values, a, slab, a)
            for turn in range(out_turns):
                i = turn * threads + thread
                s, f = i // outputs, i % outputs
                if s < samples and first + s < n:
                    out[U64(first + s), U64(f)] = a[U64(f * stride + s)]
            cuda.syncthreads()

    return kernel


def mlp(layers: Layers | Packed, activation: str, x: Any, *, samples: int | None = None, stream: Any = 0) -> Any:
    """Outputs of the network; see `pyscore.kernels.cpu.mlp`. On the device if `x` is there.

    `samples` a block change the time, never a bit of the result.
    """
    packed = layers if isinstance(layers, Packed) else pack(layers, activation)
    dtype = np.dtype(packed.values.dtype)
    x = check_rows("x", x, packed.sizes[0], dtype)
    g = geometry(packed.sizes, 1, dtype, samples)
    shape = (x.shape[0], packed.sizes[-1])
    output = Output(is_device_array(x), stream)
    out = output.empty(shape, dtype)
    if shape[0]:
        kernel = _make_kernel(packed.sizes, packed.activation, g, dtype.type)
        arrays = to_device(packed.values, stream), to_device(x, stream), out
        launch_tiles(kernel, shape[0], g, dtype, stream, *arrays)
    return output.give(out, shape)
