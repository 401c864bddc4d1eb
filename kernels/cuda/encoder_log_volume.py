"""Log-volume of an encoder whose codes lie on the sphere, in reverse mode on one block of threads."""

import math
from functools import cache
from typing import Any

import numpy as np

from pyscore.kernels.cpu.encoder_log_volume import TOLERANCE, EncoderVolume
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

__all__ = ["TOLERANCE", "EncoderVolume", "encoder_log_volume", "pack_encoder"]


def pack_encoder(layers: Layers, activation: str) -> tuple[Packed, Packed]:
    """Pack an encoder for the forward and for the reverse pass."""
    return pack(layers, activation), pack(layers, activation, transposed=True)


@cache
def _make_cotangents(k: int, tangent: bool, g: Geometry, dtype: Any) -> Any:
    """Return cotangents(a, code, root): rows of Tᵀ/root or of (I − mu·muᵀ)/root, from the codes in code (k, S)."""
    samples, stride = g.samples, g.columns
    skip = 1 if tangent else 0
    zero, one = dtype(0.0), dtype(1.0)

    @cuda.jit(device=True)
    def cotangents(a, code, root):
        thread = U32(cuda.threadIdx.x)
        s, c = thread % samples, thread // samples
        if c < k - skip:
            sign = -one if code[U64(s)] < zero else one
            inverse = one / (one + abs(code[U64(s)]))
            for i in range(k):
                unit = one if i == c + skip else zero
                mine = code[U64(i * samples + s)]
                if tangent:
                    mine = (mine + (sign if i == 0 else zero)) * inverse
                unit -= mine * code[U64((c + skip) * samples + s)]
                a[U64(i * stride + c * samples + s)] = unit / root[U64(s)]
        cuda.syncthreads()

    return cotangents


@cache
def _make_kernel(sizes: tuple[int, ...], name: str, tangent: bool, g: Geometry, dtype: Any) -> Any:
    d, k = sizes[0], sizes[-1]
    columns = k - 1 if tangent else k
    samples, stride, threads, slab_size = g.samples, g.columns, g.threads, g.slab
    kind, size, choice = matrix_type(dtype), shared_size(g), make_choice(g)
    in_turns = -(-d * samples // threads)
    code_size, r_size, p_size = k * samples, max(d, columns) * samples, max(min(d, columns), 1) * samples
    zero, one = dtype(0.0), dtype(1.0)
    push = make_push(sizes, name, 1, g, dtype, True)
    cotangents = _make_cotangents(k, tangent, g, dtype)
    pull = make_pull(tuple(reversed(sizes)), columns, g, dtype)
    steps = (stride, samples) if d >= columns else (samples, stride)
    qr = make_volume(max(d, columns), min(d, columns), *steps, 0, g)
    store = make_store_pivots(min(d, columns), g)

    @cuda.jit(**TILE_OPTIONS)
    def kernel(forward, backward, x, eps, mu, volume, smallest, largest, workspace):
        # a line each: the simulator knows a shared array by the line that asks for it
        shared = cuda.shared.array(size, kind, ALIGNMENT)
        slopes = workspace[cuda.blockIdx.x]
        a = choice(shared, slopes)
        slab = cuda.shared.array(slab_size, dtype, ALIGNMENT)
        code = cuda.shared.array(code_size, dtype)
        root = cuda.shared.array(samples, dtype)
        reflector = cuda.shared.array(r_size, np.float64)
        pivots = cuda.shared.array(p_size, np.float64)
        scales = cuda.shared.array(samples, np.float64)
        thread, n = U32(cuda.threadIdx.x), x.shape[0]
        for first in range(cuda.blockIdx.x * samples, n, cuda.gridDim.x * samples):
            for turn in range(in_turns):
                i = turn * threads + thread
                if i < d * samples:
                    s, f = i // d, i % d
                    a[U64(f * stride + s)] = x[U64(min(first + s, n - 1)), U64(f)]
            cuda.syncthreads()
            push(forward, a, slab, slopes)
            if thread < samples:
                square = dtype(eps)
                for i in range(k):
                    square += a[U64(i * stride + thread)] * a[U64(i * stride + thread)]
                root[thread] = dtype(math.sqrt(square))
                for i in range(k):
                    pole = one if i == 0 else zero
                    unit = pole if square == zero else a[U64(i * stride + thread)] / root[thread]
                    code[U64(i * samples + thread)] = unit
                    if first + thread < n:
                        mu[first + thread, i] = unit
            cuda.syncthreads()
            cotangents(a, code, root)
            pull(backward, a, slab, slopes)
            qr(a, reflector, pivots, scales)
            store(pivots, first, n, volume, smallest, largest)

    return kernel


def encoder_log_volume(
    layers: Layers | tuple[Packed, Packed],
    activation: str,
    x: Any,
    tangent: bool = True,
    *,
    norm_eps: float = 0.0,
    samples: int | None = None,
    stream: Any = 0,
) -> EncoderVolume:
    """Σ_i log s_i(TᵀJ(x)) of mu(x) = normalize(network(x)), with mu(x); see `pyscore.kernels.cpu`.

    `x` may be on the device, and the results then are. `samples` a block change the time, never a bit.
    """
    forward, backward = layers if isinstance(layers[0], Packed) else pack_encoder(layers, activation)
    sizes, dtype = forward.sizes, np.dtype(forward.values.dtype)
    d, k = sizes[0], sizes[-1]
    x = check_rows("x", x, d, dtype)
    n, columns = x.shape[0], max(k - 1 if tangent else k, 1)
    both = (*sizes, *reversed(sizes[:-1]))
    beside = qr_bytes(d, columns) + (k + 1) * dtype.itemsize
    g = geometry(both, columns, dtype, samples, beside=beside, kept=(len(sizes) - 2) * matrix_rows(both))
    output = Output(is_device_array(x), stream)
    shapes = {"mu": ((n, k), dtype), **dict.fromkeys(("volume", "smallest", "largest"), ((n,), np.float64))}
    arrays = {name: output.empty(*shape) for name, shape in shapes.items()}
    if n:
        kernel = _make_kernel(sizes, forward.activation, bool(tangent), g, dtype.type)
        weights = to_device(forward.values, stream), to_device(backward.values, stream)
        arguments = *weights, to_device(x, stream), float(norm_eps), *arrays.values()
        launch_tiles(kernel, n, g, dtype, stream, *arguments)
    results = {name: output.give(arrays[name], shape) for name, (shape, _) in shapes.items()}
    return EncoderVolume(results["volume"], results["mu"], results["smallest"], results["largest"])
