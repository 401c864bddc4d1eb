"""Log-volume of a decoder, fused on the GPU: tangents through the layers in shared memory, then QR there."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pyscore.kernels.cpu.decoder_log_volume import TOLERANCE, DecoderVolume
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
from pyscore.kernels.cuda._qr import make_store_pivots, make_volume, qr_bytes
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

__all__ = ["TOLERANCE", "DecoderVolume", "decoder_log_volume", "make_tangents"]


@cache
def make_tangents(k: int, tangent: bool, first: int, g: Geometry, dtype: Any) -> Callable:
    """Return tangents(a): directions to push from the codes in columns 0 … S−1 to columns first·S ….

    The identity, or the last k−1 columns of I − vvᵀ/(1+|u₁|), v = u + sign(u₁)e₁, u = z/|z|; see the CPU's.
    """
    samples, stride = g.samples, g.columns
    skip = 1 if tangent else 0
    zero, one = dtype(0.0), dtype(1.0)

    @cuda.jit(device=True)
    def tangents(a):
        thread = U32(cuda.threadIdx.x)
        s, c = thread % samples, thread // samples
        if c < k - skip:
            norm, sign = one, zero
            if tangent:
                square = zero
                for i in range(k):
                    square += a[U64(i * stride + s)] * a[U64(i * stride + s)]
                norm = dtype(math.sqrt(square))
                sign = -one if a[U64(s)] < zero else one
            inverse = one / (one + abs(a[U64(s)] / norm))
            for i in range(k):
                unit = one if i == c + skip else zero
                if tangent:
                    v_i = a[U64(i * stride + s)] / norm + (sign if i == 0 else zero)
                    unit -= v_i * inverse * (a[U64((c + 1) * stride + s)] / norm)
                a[U64(i * stride + (first + c) * samples + s)] = unit
        cuda.syncthreads()

    return tangents


@cache
def _make_kernel(sizes: tuple[int, ...], name: str, tangent: bool, g: Geometry, dtype: Any) -> Any:
    k, d = sizes[0], sizes[-1]
    pushed = k - 1 if tangent else k
    samples, stride, threads, slab_size = g.samples, g.columns, g.threads, g.slab
    kind, size, choice = matrix_type(dtype), shared_size(g), make_choice(g)
    tall = d >= pushed
    in_turns, out_turns = -(-k * samples // threads), -(-d * samples // threads)
    rows, columns = max(d, pushed), min(d, pushed)
    r_size, p_size = max(rows, 1) * samples, max(columns, 1) * samples
    tangents = make_tangents(k, tangent, 1, g, dtype)
    push = make_push(sizes, name, pushed + 1, g, dtype)
    steps = (stride, samples) if tall else (samples, stride)
    qr = make_volume(rows, columns, *steps, samples, g)
    store = make_store_pivots(columns, g)

    @cuda.jit(**TILE_OPTIONS)
    def kernel(values, z, decoded, volume, smallest, largest, workspace):
        # a line each: the simulator knows a shared array by the line that asks for it
        shared = cuda.shared.array(size, kind, ALIGNMENT)
        a = choice(shared, workspace[cuda.blockIdx.x])
        slab = cuda.shared.array(slab_size, dtype, ALIGNMENT)
        reflector = cuda.shared.array(r_size, np.float64)
        pivots = cuda.shared.array(p_size, np.float64)
        scales = cuda.shared.array(samples, np.float64)
        thread, n = U32(cuda.threadIdx.x), z.shape[0]
        for first in range(cuda.blockIdx.x * samples, n, cuda.gridDim.x * samples):
            for turn in range(in_turns):
                i = turn * threads + thread
                if i < k * samples:
                    s, f = i // k, i % k
                    a[U64(f * stride + s)] = z[U64(min(first + s, n - 1)), U64(f)]
            cuda.syncthreads()
            tangents(a)
            push(values, a, slab, a)
            for turn in range(out_turns):
                i = turn * threads + thread
                s, f = i // d, i % d
                if s < samples and first + s < n:
                    decoded[U64(first + s), U64(f)] = a[U64(f * stride + s)]
            qr(a, reflector, pivots, scales)
            store(pivots, first, n, volume, smallest, largest)

    return kernel


def decoder_log_volume(
    layers: Layers | Packed,
    activation: str,
    z: Any,
    tangent: bool = True,
    *,
    samples: int | None = None,
    stream: Any = 0,
) -> DecoderVolume:
    """Σ_i log s_i(J(z)) of a decoder, with decode(z), in one pass; see `pyscore.kernels.cpu`.

    Parameters
    ----------
    layers, activation, tangent
        As for the CPU.
    z : (n, k) array on the host, or on the device (Numba, torch or CuPy, without a copy)
    samples : int, optional
        Samples a block. Changes the time, never a bit of the result.
    stream : Numba stream

    Returns
    -------
    DecoderVolume : on the host, or on the device if `z` is there.
    """
    packed = layers if isinstance(layers, Packed) else pack(layers, activation)
    k, d = packed.sizes[0], packed.sizes[-1]
    dtype = np.dtype(packed.values.dtype)
    z = check_rows("z", z, k, dtype)
    n = z.shape[0]
    pushed = k - 1 if tangent else k
    g = geometry(packed.sizes, pushed + 1, dtype, samples, beside=qr_bytes(d, pushed))
    kernel = _make_kernel(packed.sizes, packed.activation, bool(tangent), g, dtype.type)
    output = Output(is_device_array(z), stream)
    shapes = {"decoded": ((n, d), dtype), **dict.fromkeys(("volume", "smallest", "largest"), ((n,), np.float64))}
    arrays = {name: output.empty(*shape) for name, shape in shapes.items()}
    if n:
        arguments = to_device(packed.values, stream), to_device(z, stream), *arrays.values()
        launch_tiles(kernel, n, g, dtype, stream, *arguments)
    results = {name: output.give(arrays[name], shape) for name, (shape, _) in shapes.items()}
    return DecoderVolume(results["volume"], results["decoded"], results["smallest"], results["largest"])
