"""Values of a multilayer perceptron, a block of samples at a time in shared memory."""

from functools import cache
from typing import Any

import numpy as np

from pyscore.kernels.cpu.mlp import TOLERANCE
from pyscore.kernels.cuda._launch import blocks_for, check_rows
from pyscore.kernels.cuda._network import U64, Geometry, Layers, Packed, geometry, make_push, pack
from pyscore.kernels.cuda._target import ALIGNMENT, TILE_OPTIONS, Output, cuda, is_device_array, to_device

__all__ = ["TOLERANCE", "mlp"]


@cache
def _make_kernel(sizes: tuple[int, ...], name: str, g: Geometry, dtype: Any) -> Any:
    inputs, outputs = sizes[0], sizes[-1]
    samples, stride, threads, slab_size = g.samples, g.columns, g.threads, g.slab
    a_size = g.features * g.columns
    push = make_push(sizes, name, 1, g, dtype)

    @cuda.jit(**TILE_OPTIONS)
    def kernel(values, x, out):
        # a line each: the simulator knows a shared array by the line that asks for it
        a = cuda.shared.array(a_size, dtype, ALIGNMENT)
        slab = cuda.shared.array(slab_size, dtype, ALIGNMENT)
        thread, n = cuda.threadIdx.x, x.shape[0]
        for first in range(cuda.blockIdx.x * samples, n, cuda.gridDim.x * samples):
            for i in range(thread, inputs * samples, threads):
                a[U64(i % inputs * stride + i // inputs)] = x[min(first + i // inputs, n - 1), i % inputs]
            cuda.syncthreads()
            push(values, a, slab, a)
            for i in range(thread, outputs * samples, threads):
                if first + i // outputs < n:
                    out[first + i // outputs, i % outputs] = a[U64(i % outputs * stride + i // outputs)]
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
        kernel[blocks_for(shape[0], g.samples), g.threads, stream](
            to_device(packed.values, stream), to_device(x, stream), out
        )
    return output.give(out, shape)
