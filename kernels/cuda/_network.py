"""A multilayer perceptron on one block of threads: columns of samples and tangents in shared memory.

A block holds S samples as a matrix [feature][column] in shared memory, column c·S + s being the value (c = 0)
or a tangent (c > 0) of sample s. A thread computes a register tile of 8·(outputs/64) rows × TILE_COLUMNS
columns of each product: 64 fused multiply-adds for 16 numbers read, so that the arithmetic is the limit.
All sizes are constants of the compiled kernel, which lets every loop over a tile unroll into registers; a
network of other sizes compiles anew. p ascends with one multiply-add a step whatever the tile: results depend
neither on S nor on the launch.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyscore.errors import InvalidInput
from pyscore.kernels.cpu._network import Layers, _check_layers
from pyscore.kernels.cuda._activations import activation, activation_code
from pyscore.kernels.cuda._target import cuda

__all__ = ["U64", "Geometry", "Packed", "geometry", "make_layer", "make_push", "make_slopes", "pack"]

U64 = np.uint64
"""Type of indices: with signed ones Numba handles x[-1] as Python does, five instructions an access, and the
compiler cannot merge neighbouring loads into one of 16 bytes."""

ROW_LANES = 8
"""Threads along the rows of a product."""
TILE_COLUMNS = {"float32": 8, "float64": 4}
"""Columns a thread: 8 × 8 accumulators of float32 or 8 × 4 of float64 are 64 registers."""
SHARED_BYTES = 47_000
"""What a block may use without asking: 48 KB, less what the QR keeps."""
MAX_COLUMNS = 128
SLAB_BYTES = 8_192
"""Weights staged at a time. Four to five blocks of 120 threads then share a multiprocessor's 228 KB."""


class Packed(NamedTuple):
    """Weights in the order in which threads read them, and the sizes that kernels are compiled for."""

    values: NDArray
    """Flat. A layer is [input][ROW_LANES][rows a thread], zero-padded, then its bias."""
    sizes: tuple[int, ...]
    """Features before, between and after the layers."""
    activation: str


class Geometry(NamedTuple):
    """How a block is laid out: constants of a compiled kernel."""

    samples: int
    """S, samples a block."""
    columns: int
    """Columns of shared memory, S·(1 + tangents) rounded up to whole tiles."""
    features: int
    """Rows of shared memory: the widest layer."""
    threads: int
    slab: int
    """Numbers of the staging area."""


def rows_a_thread(outputs: int) -> int:
    """Rows of a register tile for a layer of `outputs`."""
    return -(-outputs // ROW_LANES)


def pack(layers: Layers, activation: str, *, transposed: bool = False) -> Packed:
    """Pack (weight (out, in), bias (out,)) pairs; `transposed` packs Wᵀ, in reverse order, for reverse mode.

    Raises
    ------
    ShapeError, InvalidInput
        As the CPU's `pack`.
    """
    _check_layers(layers)
    activation_code(activation)
    pieces = []
    for weight, bias in reversed(layers) if transposed else layers:
        matrix = weight.T if transposed else weight
        out, inputs = matrix.shape
        tile = rows_a_thread(out)
        rows = np.zeros((tile * ROW_LANES, inputs), weight.dtype)
        rows[:out] = matrix
        shift = np.zeros(tile * ROW_LANES, weight.dtype)
        if not transposed:
            shift[:out] = bias
        # thread `row` has rows row, row + 8, row + 16, …: neighbours then write neighbouring banks
        pieces += [rows.reshape(tile, ROW_LANES, inputs).transpose(2, 1, 0).ravel(), shift]
    sizes = [layers[0][0].shape[1]] + [weight.shape[0] for weight, _ in layers]
    return Packed(np.concatenate(pieces), tuple(reversed(sizes) if transposed else sizes), activation)


def geometry(
    sizes: Sequence[int],
    columns_a_sample: int,
    dtype: np.dtype,
    samples: int | None = None,
    kept_a_sample: int = 0,
) -> Geometry:
    """Choose S so that columns and `kept_a_sample` numbers more fit in shared memory, or check the S asked for.

    Raises
    ------
    InvalidInput
        If not even one sample fits.
    """
    tile = TILE_COLUMNS[dtype.name]
    features = max(max(sizes), *(rows_a_thread(size) * ROW_LANES for size in sizes[1:]))
    widest = max(rows_a_thread(size) * ROW_LANES for size in sizes[1:])
    slab = max(widest, SLAB_BYTES // dtype.itemsize // widest * widest)
    room = (SHARED_BYTES - slab * dtype.itemsize) // dtype.itemsize
    # the QR of a sample keeps a reflector of max(d, t) float64 and two scalars a column
    extra = (sizes[-1] + 2 * columns_a_sample + 2) * 8 // dtype.itemsize + kept_a_sample
    limit = min(MAX_COLUMNS, room // features) // tile * tile
    most = min(limit // columns_a_sample, room // (features * columns_a_sample + extra))
    chosen = most if samples is None else samples
    if not 1 <= chosen <= most:
        raise InvalidInput(
            f"a block of {chosen} samples of a network with layers {tuple(sizes)} and {columns_a_sample} columns "
            f"a sample needs more shared memory than the 48 KB of a block (at most {most} samples fit). "
            "Use backend='numba' or 'torch' for networks this wide."
        )
    columns = -(-chosen * columns_a_sample // tile) * tile
    return Geometry(chosen, columns, features, columns // tile * ROW_LANES, slab)


@cache
def make_layer(inputs: int, outputs: int, columns: int, width: int, g: Geometry, dtype: Any) -> Callable:
    """Return layer(values, at, a, slab): a[:outputs, :columns] ← W·a[:inputs, :columns], in place."""
    tile, stride, threads = rows_a_thread(outputs), g.columns, g.threads
    step = ROW_LANES * tile
    depth = g.slab // step
    tiles = -(-columns // width)
    zero = dtype(0.0)
    turns = -(-tiles * ROW_LANES // threads)

    @cuda.jit(device=True)
    def layer(values, at, a, slab):
        thread = cuda.threadIdx.x
        row, column = thread % ROW_LANES, thread // ROW_LANES * width
        sums, weights = cuda.local.array((tile, width), dtype), cuda.local.array(tile, dtype)
        for r in range(tile):
            for c in range(width):
                sums[U64(r), U64(c)] = zero
        for start in range(0, inputs, depth):
            here = min(depth, inputs - start)
            cuda.syncthreads()
            for i in range(thread, here * step, threads):
                slab[U64(i)] = values[U64(at + start * step + i)]
            cuda.syncthreads()
            if column < columns:
                for p in range(here):
                    for r in range(tile):
                        weights[r] = slab[U64(p * step + row * tile + r)]
                    for c in range(width):
                        value = a[U64((start + p) * stride + column + c)]
                        for r in range(tile):
                            sums[U64(r), U64(c)] += weights[U64(r)] * value
        cuda.syncthreads()
        if column < columns:
            for r in range(tile):
                for c in range(width):
                    a[U64((row + ROW_LANES * r) * stride + column + c)] = sums[U64(r), U64(c)]
        cuda.syncthreads()

    if turns != 1:
        raise ValueError("a block must have a thread for every register tile")
    return layer


@cache
def make_activate(name: str, outputs: int, columns_a_sample: int, g: Geometry, dtype: Any) -> Callable:
    """Return activate(values, bias_at, a, slopes, slopes_at): φ on the value columns, φ' on the tangents.

    slopes[slopes_at + r·S + s] receives φ' as well, for reverse mode, if `slopes_at` is not negative.
    """
    samples, stride, threads = g.samples, g.columns, g.threads
    phi = activation(name, dtype)

    @cuda.jit(device=True)
    def activate(values, bias_at, a, slopes, slopes_at):
        for i in range(cuda.threadIdx.x, outputs * samples, threads):
            r, s = i // samples, i % samples
            value, slope = phi(a[U64(r * stride + s)] + values[U64(bias_at + r)])
            a[U64(r * stride + s)] = value
            if slopes_at >= 0:
                slopes[U64(slopes_at + i)] = slope
            for c in range(1, columns_a_sample):
                a[U64(r * stride + c * samples + s)] *= slope
        cuda.syncthreads()

    return activate


def layer_offsets(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return where the weights and the bias of each layer start in `Packed.values`."""
    offsets, at = [], 0
    for inputs, outputs in pairwise(sizes):
        padded = rows_a_thread(outputs) * ROW_LANES
        offsets.append((at, at + padded * inputs))
        at += padded * (inputs + 1)
    return offsets


def _chain(steps: Sequence[Callable]) -> Callable:
    """Return a device function that calls each step(values, a, slab, slopes) in turn."""
    if len(steps) == 1:
        return steps[0]
    first, rest = steps[0], _chain(steps[1:])

    @cuda.jit(device=True)
    def both(values, a, slab, slopes):
        first(values, a, slab, slopes)
        rest(values, a, slab, slopes)

    return both


def _push_step(layer: Callable, activate: Callable, at: int, bias_at: int, slopes_at: int) -> Callable:
    @cuda.jit(device=True)
    def step(values, a, slab, slopes):
        layer(values, at, a, slab)
        activate(values, bias_at, a, slopes, slopes_at)

    return step


@cache
def make_push(
    sizes: tuple[int, ...], name: str, columns_a_sample: int, g: Geometry, dtype: Any, keep_slopes: bool = False
) -> Callable:
    """Return push(values, a, slab, slopes): all layers, in place in the columns of `a`.

    With `keep_slopes` the slopes of layer l stay in slopes[l·features·S:].
    """
    width = TILE_COLUMNS[np.dtype(dtype).name] if columns_a_sample > 1 else 1
    used = g.samples * columns_a_sample
    if -(-used // width) * ROW_LANES > g.threads:
        width = TILE_COLUMNS[np.dtype(dtype).name]
    steps = []
    for index, (at, bias_at) in enumerate(layer_offsets(sizes)):
        inputs, outputs = sizes[index], sizes[index + 1]
        last = index == len(sizes) - 2
        layer = make_layer(inputs, outputs, -(-used // width) * width, width, g, dtype)
        activate = make_activate("identity" if last else name, outputs, columns_a_sample, g, dtype)
        slopes_at = index * g.features * g.samples if keep_slopes and not last else -1
        steps.append(_push_step(layer, activate, at, bias_at, slopes_at))
    return _chain(steps)


@cache
def make_pull(sizes: tuple[int, ...], cotangents: int, g: Geometry, dtype: Any) -> Callable:
    """Return pull(values, a, slab, slopes): transposed layers, multiplied by the slopes that `push` kept.

    `sizes` are those of the transposed network, from the codes to the rows.
    """
    width = TILE_COLUMNS[np.dtype(dtype).name]
    columns = -(-g.samples * cotangents // width) * width
    steps = []
    for index, (at, _) in enumerate(layer_offsets(sizes)):
        layer = make_layer(sizes[index], sizes[index + 1], columns, width, g, dtype)
        below = len(sizes) - 3 - index
        steps.append(
            _pull_step(layer, at, make_slopes(sizes[index + 1], cotangents, below, g) if below >= 0 else None)
        )
    return _chain(steps)


def _pull_step(layer: Callable, at: int, multiply: Callable | None) -> Callable:
    if multiply is None:

        @cuda.jit(device=True)
        def step(values, a, slab, slopes):
            layer(values, at, a, slab)

    else:

        @cuda.jit(device=True)
        def step(values, a, slab, slopes):
            layer(values, at, a, slab)
            multiply(a, slopes)

    return step


@cache
def make_slopes(outputs: int, cotangents: int, layer: int, g: Geometry) -> Callable:
    """Return multiply(a, slopes): every cotangent column times the slopes of one layer."""
    samples, stride, threads, start = g.samples, g.columns, g.threads, layer * g.features * g.samples

    @cuda.jit(device=True)
    def multiply(a, slopes):
        for i in range(cuda.threadIdx.x, outputs * samples, threads):
            r, s = i // samples, i % samples
            for c in range(cotangents):
                a[U64(r * stride + c * samples + s)] *= slopes[U64(start + i)]
        cuda.syncthreads()

    return multiply
