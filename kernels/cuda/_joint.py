"""½‖x − f(z)‖² of a decoder with its derivatives along the latent space, on one block of threads.

The forward pass pushes a code and its m tangents, and keeps of each layer the tangents before the activation and
the first two derivatives of the activation. The reverse pass pulls the residual e = x − f(z) back once. Then

    out[pair(i, j)] = cᵢ·cⱼ − [i, j ≥ 1] Σ_layers Σ_r tᵢ tⱼ g φ'',   c₀ = e, cᵢ = J T_i,

the value, the gradient and the Hessian in one triangle, and out[-1] = z·Jᵀe, which bends with the sphere.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pyscore.kernels.cuda._curvature import activation_twice
from pyscore.kernels.cuda._network import (
    TILE_COLUMNS,
    Geometry,
    layer_offsets,
    make_choice,
    make_layer,
    matrix_type,
    shared_size,
)
from pyscore.kernels.cuda._target import ALIGNMENT, TILE_OPTIONS, U32, U64, cuda
from pyscore.kernels.cuda.decoder_log_volume import make_tangents

__all__ = ["make_joint", "pairs"]

PARTIAL = 8
"""Products that are summed in the data's type before float64 takes over."""


def pairs(m: int) -> int:
    """Entries of the triangle of a residual and m tangents."""
    return (m + 1) * (m + 2) // 2


@cache
def _make_dots(m: int, g: Geometry, dtype: Any) -> Callable:
    """Return dots(a, at, rows, column_step, row_step, bends, b_at, first, count, out): add to every pair.

    Column c, row r of sample s is a[at + c·column_step + r·row_step + s]; with b_at ≥ 0 a product is weighted by
    −bends[b_at + r·S + s], and only pairs of tangents are added to.
    """
    samples, threads, total = g.samples, g.threads, pairs(m)
    turns, zero = -(-total * samples // threads), dtype(0.0)

    @cuda.jit(device=True)
    def dots(a, at, rows, column_step, row_step, bends, b_at, first, count, out):
        for turn in range(turns):
            item = turn * threads + U32(cuda.threadIdx.x)
            pair, s = item // samples, item % samples
            i = 0
            while (i + 1) * (i + 2) // 2 <= pair:
                i += 1
            j = pair - i * (i + 1) // 2
            weighted = b_at >= 0
            if pair < total and first + s < count and not (weighted and j == 0):
                left, right = at + i * column_step + s, at + j * column_step + s
                sum_, part = np.float64(0.0), zero
                for r in range(rows):
                    product = a[U64(left + r * row_step)] * a[U64(right + r * row_step)]
                    if weighted:
                        product *= -bends[U64(b_at + r * samples + s)]
                    part += product
                    if r % PARTIAL == PARTIAL - 1:
                        sum_ += np.float64(part)
                        part = zero
                sum_ += np.float64(part)
                if weighted:
                    out[U64(pair), U64(first + s)] += sum_
                else:
                    out[U64(pair), U64(first + s)] = sum_

    return dots


@cache
def _make_twice(name: str, outputs: int, m: int, layer: int, g: Geometry, dtype: Any) -> Callable:
    """Return twice(values, bias_at, a, kept): φ on the codes, φ' on the tangents, after keeping what H needs."""
    samples, stride, threads = g.samples, g.columns, g.threads
    turns, phi = -(-outputs * samples // threads), activation_twice(name, dtype)
    block = g.features * samples
    at = g.kept_at + layer * (m + 2) * block

    @cuda.jit(device=True)
    def twice(values, bias_at, a, kept):
        for turn in range(turns):
            i = turn * threads + U32(cuda.threadIdx.x)
            if i < outputs * samples:
                r, s = i // samples, i % samples
                value, slope, bend = phi(a[U64(r * stride + s)] + values[U64(bias_at + r)])
                a[U64(r * stride + s)] = value
                kept[U64(at + m * block + i)] = slope
                kept[U64(at + (m + 1) * block + i)] = bend
                for c in range(m):
                    before = a[U64(r * stride + (c + 1) * samples + s)]
                    kept[U64(at + c * block + i)] = before
                    a[U64(r * stride + (c + 1) * samples + s)] = before * slope
        cuda.syncthreads()

    return twice


@cache
def _make_bend(outputs: int, m: int, layer: int, g: Geometry, dtype: Any) -> Callable:
    """Return bend(a, kept): bends become g·φ'', and what is pulled back g·φ'."""
    samples, stride, threads = g.samples, g.columns, g.threads
    turns, block = -(-outputs * samples // threads), g.features * samples
    at = g.kept_at + layer * (m + 2) * block

    @cuda.jit(device=True)
    def bend(a, kept):
        for turn in range(turns):
            i = turn * threads + U32(cuda.threadIdx.x)
            if i < outputs * samples:
                r, s = i // samples, i % samples
                pull = a[U64(r * stride + s)]
                kept[U64(at + (m + 1) * block + i)] *= pull
                a[U64(r * stride + s)] = pull * kept[U64(at + m * block + i)]
        cuda.syncthreads()

    return bend


@cache
def _make_up(sizes: tuple[int, ...], name: str, layer: int, m: int, g: Geometry, dtype: Any) -> Callable:
    """Return up(values, a, slab, kept): all layers from `layer` on."""
    width = TILE_COLUMNS[np.dtype(dtype).name]
    at, bias_at = layer_offsets(sizes)[layer]
    outputs, samples, stride, threads = sizes[layer + 1], g.samples, g.columns, g.threads
    turns = -(-outputs * samples // threads)
    columns = -(-samples * (m + 1) // width) * width
    product = make_layer(sizes[layer], outputs, columns, width, g, dtype)
    if layer == len(sizes) - 2:

        @cuda.jit(device=True)
        def up(values, a, slab, kept):
            product(values, at, a, slab)
            for turn in range(turns):
                i = turn * threads + U32(cuda.threadIdx.x)
                if i < outputs * samples:
                    r, s = i // samples, i % samples
                    a[U64(r * stride + s)] += values[U64(bias_at + r)]
            cuda.syncthreads()

    else:
        twice = _make_twice(name, outputs, m, layer, g, dtype)
        rest = _make_up(sizes, name, layer + 1, m, g, dtype)

        @cuda.jit(device=True)
        def up(values, a, slab, kept):
            product(values, at, a, slab)
            twice(values, bias_at, a, kept)
            rest(values, a, slab, kept)

    return up


@cache
def _make_down(sizes: tuple[int, ...], layer: int, m: int, g: Geometry, dtype: Any) -> Callable:
    """Return down(values, a, slab, kept, first, count, out): the reverse pass from the input of `layer` on."""
    width = 1 if g.samples * 8 <= g.threads else TILE_COLUMNS[np.dtype(dtype).name]
    backwards = tuple(reversed(sizes))
    at, _ = layer_offsets(backwards)[len(sizes) - 2 - layer]
    outputs, samples = sizes[layer], g.samples
    columns = -(-samples // width) * width
    product = make_layer(sizes[layer + 1], outputs, columns, width, g, dtype)
    if layer == 0:

        @cuda.jit(device=True)
        def down(values, a, slab, kept, first, count, out):
            product(values, at, a, slab)

    else:
        block = g.features * samples
        kept_at = g.kept_at + (layer - 1) * (m + 2) * block
        bend, dots = _make_bend(outputs, m, layer - 1, g, dtype), _make_dots(m, g, dtype)
        rest = _make_down(sizes, layer - 1, m, g, dtype)

        @cuda.jit(device=True)
        def down(values, a, slab, kept, first, count, out):
            product(values, at, a, slab)
            bend(a, kept)
            # column c of the triangle is tangent c − 1
            dots(
                kept, kept_at - block, outputs, block, samples, kept, kept_at + (m + 1) * block, first, count, out
            )
            rest(values, a, slab, kept, first, count, out)

    return down


@cache
def make_joint(sizes: tuple[int, ...], name: str, sphere: bool, g: Geometry, dtype: Any) -> Any:
    """Return kernel(forward, backward, x, trial, slots, count, out, workspace) for the rows slots[:count]."""
    k, d = sizes[0], sizes[-1]
    m = k - 1 if sphere else k
    samples, stride, threads, slab_size = g.samples, g.columns, g.threads, g.slab
    kind, size, choice = matrix_type(dtype), shared_size(g), make_choice(g)
    along_at = pairs(m)
    tangents, dots = make_tangents(k, sphere, 1, g, dtype), _make_dots(m, g, dtype)
    up, down = _make_up(sizes, name, 0, m, g, dtype), _make_down(sizes, len(sizes) - 2, m, g, dtype)
    in_turns, out_turns = -(-k * samples // threads), -(-d * samples // threads)

    @cuda.jit(**TILE_OPTIONS)
    def kernel(forward, backward, x, trial, slots, count, out, workspace):
        # a line each: the simulator knows a shared array by the line that asks for it
        shared = cuda.shared.array(size, kind, ALIGNMENT)
        slab = cuda.shared.array(slab_size, dtype, ALIGNMENT)
        kept, thread = workspace[cuda.blockIdx.x], U32(cuda.threadIdx.x)
        a = choice(shared, kept)
        for first in range(cuda.blockIdx.x * samples, count, cuda.gridDim.x * samples):
            for turn in range(in_turns):
                i = turn * threads + thread
                if i < k * samples:
                    s, f = i // k, i % k
                    a[U64(f * stride + s)] = trial[slots[min(first + s, count - 1)], U64(f)]
            cuda.syncthreads()
            tangents(a)
            up(forward, a, slab, kept)
            for turn in range(out_turns):
                i = turn * threads + thread
                if i < d * samples:
                    s, f = i // d, i % d
                    at = U64(f * stride + s)
                    a[at] = x[slots[min(first + s, count - 1)], U64(f)] - a[at]
            cuda.syncthreads()
            dots(a, 0, d, samples, stride, a, -1, first, count, out)
            cuda.syncthreads()
            down(backward, a, slab, kept, first, count, out)
            if thread < samples and first + thread < count:
                along = np.float64(0.0)
                for i in range(k):
                    z = np.float64(trial[slots[U64(first + thread)], i])
                    along += z * np.float64(a[U64(i * stride + thread)])
                out[along_at, U64(first + thread)] = along
            cuda.syncthreads()

    return kernel
