"""A multilayer perceptron on one block of threads: columns of samples and tangents in shared memory.

A block holds S samples as a matrix [feature][column], column c·S + s being the value (c = 0) or a tangent (c > 0)
of sample s. A thread computes a register tile of 8 rows × TILE_COLUMNS columns of each product: 64 fused
multiply-adds for 16 numbers read, so that the arithmetic is the limit. Layers of more than PANEL outputs are done
PANEL rows at a time. All sizes are constants of the compiled kernel; a network of other sizes compiles anew.
p ascends with one multiply-add a step whatever the tile: results depend neither on S nor on where the matrix is.
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
from pyscore.kernels.cuda._target import SIMULATED, U32, U64, cuda, shared_limit

__all__ = ["Geometry", "Packed", "geometry", "make_choice", "make_layer", "make_pull", "make_push", "pack"]

ROW_LANES = 8
"""Threads along the rows of a product."""
PANEL = 64
"""Outputs of a layer that are computed at a time: 8 a thread."""
TILE_COLUMNS = {"float32": 8, "float64": 4}
"""Columns a thread: 8 × 8 accumulators of float32 or 8 × 4 of float64 are 64 registers."""
STATIC_BYTES = 47_000
"""Shared memory of a block that a kernel may declare: 48 KB, less a reserve."""
MAX_COLUMNS, ENOUGH_COLUMNS, MOST_THREADS = 128, 64, 384
"""Columns of a block at most, unless one sample has more; columns for which no more memory is asked for."""
SLAB_BYTES = 8_192
"""Weights staged at a time. Four to five blocks of 128 threads then share a multiprocessor's 228 KB."""


class Packed(NamedTuple):
    """Weights in the order in which threads read them, and the sizes that kernels are compiled for."""

    values: NDArray
    """Flat. A layer is [panel][input][ROW_LANES][rows a thread], zero-padded, then its bias."""
    sizes: tuple[int, ...]
    """Features before, between and after the layers."""
    activation: str


class Geometry(NamedTuple):
    """How a block is laid out: constants of a compiled kernel."""

    samples: int
    """S, samples a block."""
    columns: int
    """Columns of the matrix, S·(1 + tangents) rounded up to whole tiles."""
    features: int
    """Rows of the matrix: the widest layer, padded."""
    threads: int
    slab: int
    """Numbers of the staging area."""
    entries: int
    """Numbers of the matrix; twice features × columns where a layer has several panels."""
    place: str = "static"
    """Where the matrix is: "static" or "dynamic" shared memory, or "global" memory, read through L2."""
    dynamic_bytes: int = 0
    """Shared memory to ask for at launch."""
    kept: int = 0
    """Numbers that a block keeps in global memory from the forward for the reverse pass."""

    @property
    def kept_at(self) -> int:
        """Where these begin in a block's row of the workspace."""
        return self.entries if self.place == "global" else 0


def panels(outputs: int) -> list[int]:
    """Rows a thread of each panel of a layer of `outputs`."""
    return [-(-min(PANEL, outputs - first) // ROW_LANES) for first in range(0, outputs, PANEL)]


def padded(outputs: int) -> int:
    """Outputs of a layer, rounded up to whole register tiles."""
    return ROW_LANES * sum(panels(outputs))


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
        rows = np.zeros((padded(out), inputs), weight.dtype)
        rows[:out] = matrix
        shift = np.zeros(padded(out), weight.dtype)
        if not transposed:
            shift[:out] = bias
        for panel, tile in enumerate(panels(out)):
            # thread `row` has rows row, row + 8, row + 16, …: neighbours then write neighbouring banks
            here = rows[panel * PANEL : panel * PANEL + tile * ROW_LANES]
            pieces.append(here.reshape(tile, ROW_LANES, inputs).transpose(2, 1, 0).ravel())
        pieces.append(shift)
    sizes = [layers[0][0].shape[1]] + [weight.shape[0] for weight, _ in layers]
    return Packed(np.concatenate(pieces), tuple(reversed(sizes) if transposed else sizes), activation)


def geometry(
    sizes: Sequence[int],
    columns_a_sample: int,
    dtype: np.dtype,
    samples: int | None = None,
    *,
    beside: int = 0,
    kept: int = 0,
) -> Geometry:
    """Choose S and where the matrix is, or check the S asked for.

    A sample has `beside` bytes in shared memory beside the matrix, and `kept` numbers in global memory.

    Raises
    ------
    InvalidInput
        If what has to be in shared memory does not fit for even one sample.
    """
    room = STATIC_BYTES, shared_limit()
    return _geometry(tuple(sizes), columns_a_sample, dtype, samples, beside, kept, room)


@cache
def _geometry(
    sizes: tuple[int, ...],
    columns_a_sample: int,
    dtype: np.dtype,
    samples: int | None,
    beside: int,
    kept: int,
    shared: tuple[int, int],
) -> Geometry:
    """Take the first place with room for ENOUGH_COLUMNS, or for the samples asked for.

    The places are the 48 KB that every block has; half of what a block gets on request, so that two share a
    multiprocessor; all of it; global memory. What is not the matrix is always in the 48 KB.
    """
    tile, itemsize = TILE_COLUMNS[dtype.name], dtype.itemsize
    features = matrix_rows(sizes)
    column = features * (1 if max(sizes[1:]) <= PANEL else 2)
    slab = SLAB_BYTES // itemsize
    extra, (static, limit) = -(-beside // itemsize), shared
    room = static // itemsize - slab
    asked = (limit - static) // itemsize

    def rounded(count: int) -> int:
        return -(-count * columns_a_sample // tile) * tile

    widest = MAX_COLUMNS if columns_a_sample <= MAX_COLUMNS else MOST_THREADS // ROW_LANES * tile
    most = min(widest // columns_a_sample, room // extra if extra else widest)
    places = [
        ("static", [c for c in range(1, most + 1) if rounded(c) * column + c * extra <= room]),
        ("dynamic", [c for c in range(1, most + 1) if rounded(c) * column <= asked // 2]),
        ("dynamic", [c for c in range(1, most + 1) if rounded(c) * column <= asked]),
        ("global", list(range(1, most + 1))),
    ]
    wanted = min(most, -(-ENOUGH_COLUMNS // columns_a_sample)) if samples is None else samples
    if not 1 <= wanted <= most:
        raise InvalidInput(
            f"a block of {max(wanted, 1)} samples of a network with layers {sizes} and {columns_a_sample} columns "
            f"a sample needs more shared memory or threads than a block has (at most {most} samples fit). "
            "Use backend='numba' or 'torch' for networks this wide."
        )
    place, counts = next((name, counts) for name, counts in places if wanted in counts)
    chosen = wanted if samples is not None or place == "global" else counts[-1]
    entries = column * rounded(chosen)
    dynamic = entries * itemsize if place == "dynamic" else 0
    threads = rounded(chosen) // tile * ROW_LANES
    return Geometry(chosen, rounded(chosen), features, threads, slab, entries, place, dynamic, kept * chosen)


def matrix_rows(sizes: Sequence[int]) -> int:
    """Rows of the matrix of a block: the widest layer, padded to whole register tiles."""
    return max(max(sizes), *(padded(size) for size in sizes[1:]))


def shared_size(g: Geometry) -> int:
    """Return what a kernel asks `cuda.shared.array` for: 0 stands for what the launch gives."""
    return {"static": g.entries, "dynamic": 0, "global": 1}[g.place]


def matrix_type(dtype: Any) -> Any:
    """Return `dtype` as `cuda.shared.array` takes it; the simulator wants one with a size."""
    return np.dtype(dtype) if SIMULATED else dtype


@cache
def make_choice(g: Geometry) -> Callable:
    """Return choice(shared, row): the matrix of a block, in shared memory or its row of the workspace."""
    if g.place == "global":

        @cuda.jit(device=True)
        def choice(shared, row):
            return row

    else:

        @cuda.jit(device=True)
        def choice(shared, row):
            return shared

    return choice


@cache
def _make_chunk(here: int, tile: int, columns: int, width: int, g: Geometry, dtype: Any) -> Callable:
    """Return chunk(values, at, start, a, slab, sums): add `here` inputs of a product, from input `start` on."""
    stride, threads, step = g.columns, g.threads, ROW_LANES * tile
    turns = -(-here * step // threads)

    @cuda.jit(device=True)
    def chunk(values, at, start, a, slab, sums):
        thread = U32(cuda.threadIdx.x)
        row, column = thread % ROW_LANES, thread // ROW_LANES * width
        weights = cuda.local.array(tile, dtype)
        cuda.syncthreads()
        for turn in range(turns):
            i = turn * threads + thread
            if i < here * step:
                slab[U64(i)] = values[U64(at + start * step + i)]
        cuda.syncthreads()
        if column < columns:
            for p in range(here):
                for r in range(tile):
                    weights[U64(r)] = slab[U64(p * step + row * tile + r)]
                for c in range(width):
                    value = a[U64((start + p) * stride + column + c)]
                    for r in range(tile):
                        sums[U64(r), U64(c)] += weights[U64(r)] * value

    return chunk


@cache
def _make_panel(
    inputs: int, tile: int, first: int, target: int, columns: int, width: int, g: Geometry, dtype: Any
) -> Callable:
    """Return panel(values, at, a, slab): a[target:][first : first + 8·tile, :columns] ← rows of W·a."""
    stride, step = g.columns, ROW_LANES * tile
    depth = min(g.slab // step, inputs)
    whole, rest = inputs // depth, inputs % depth
    chunk = _make_chunk(depth, tile, columns, width, g, dtype)
    last = _make_chunk(max(rest, 1), tile, columns, width, g, dtype)
    zero, origin = dtype(0.0), target + first * stride

    @cuda.jit(device=True)
    def panel(values, at, a, slab):
        thread = U32(cuda.threadIdx.x)
        row, column = thread % ROW_LANES, thread // ROW_LANES * width
        sums = cuda.local.array((tile, width), dtype)
        for r in range(tile):
            for c in range(width):
                sums[U64(r), U64(c)] = zero
        for block in range(whole):
            chunk(values, at, block * depth, a, slab, sums)
        if rest:
            last(values, at, whole * depth, a, slab, sums)
        cuda.syncthreads()
        if column < columns:
            for r in range(tile):
                for c in range(width):
                    a[U64(origin + (row + ROW_LANES * r) * stride + column + c)] = sums[U64(r), U64(c)]
        cuda.syncthreads()

    return panel


@cache
def make_layer(inputs: int, outputs: int, columns: int, width: int, g: Geometry, dtype: Any) -> Callable:
    """Return layer(values, at, a, slab): a[:outputs, :columns] ← W·a[:inputs, :columns], in place."""
    if -(-columns // width) * ROW_LANES > g.threads:
        raise ValueError("a block must have a thread for every register tile")
    tiles = panels(outputs)
    if len(tiles) == 1:
        return _make_panel(inputs, tiles[0], 0, 0, columns, width, g, dtype)
    scratch, step = g.entries // 2, ROW_LANES * inputs
    steps = [_copy_step(padded(outputs) * g.columns, scratch, g)]
    for index in reversed(range(len(tiles))):
        panel = _make_panel(inputs, tiles[index], index * PANEL, scratch, columns, width, g, dtype)
        steps.insert(0, _panel_step(panel, step * sum(tiles[:index])))
    return _chain(steps)


def _panel_step(panel: Callable, after: int) -> Callable:
    @cuda.jit(device=True)
    def step(values, at, a, slab):
        panel(values, at + after, a, slab)

    return step


def _copy_step(size: int, source: int, g: Geometry) -> Callable:
    threads = g.threads
    turns = -(-size // threads)

    @cuda.jit(device=True)
    def copy(values, at, a, slab):
        for turn in range(turns):
            i = turn * threads + U32(cuda.threadIdx.x)
            if i < size:
                a[U64(i)] = a[U64(source + i)]
        cuda.syncthreads()

    return copy


@cache
def make_activate(name: str, outputs: int, columns_a_sample: int, g: Geometry, dtype: Any) -> Callable:
    """Return activate(values, bias_at, a, slopes, slopes_at): φ on the value columns, φ' on the tangents.

    slopes[slopes_at + r·S + s] receives φ' as well, for reverse mode, if `slopes_at` is not negative.
    """
    samples, stride, threads = g.samples, g.columns, g.threads
    turns = -(-outputs * samples // threads)
    phi = activation(name, dtype)

    @cuda.jit(device=True)
    def activate(values, bias_at, a, slopes, slopes_at):
        for turn in range(turns):
            i = turn * threads + U32(cuda.threadIdx.x)
            if i < outputs * samples:
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
        offsets.append((at, at + padded(outputs) * inputs))
        at += padded(outputs) * (inputs + 1)
    return offsets


def _chain(steps: Sequence[Callable]) -> Callable:
    """Return a device function of four arguments that calls each of the steps with them in turn."""
    if len(steps) == 1:
        return steps[0]
    first, rest = steps[0], _chain(steps[1:])

    @cuda.jit(device=True)
    def both(a, b, c, d):
        first(a, b, c, d)
        rest(a, b, c, d)

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

    With `keep_slopes` the slopes of layer l stay in slopes[kept_at + l·features·S:].
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
        slopes_at = g.kept_at + index * g.features * g.samples if keep_slopes and not last else -1
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
    samples, stride, threads, start = g.samples, g.columns, g.threads, g.kept_at + layer * g.features * g.samples
    turns = -(-outputs * samples // threads)

    @cuda.jit(device=True)
    def multiply(a, slopes):
        for turn in range(turns):
            i = turn * threads + U32(cuda.threadIdx.x)
            if i < outputs * samples:
                r, s = i // samples, i % samples
                for c in range(cotangents):
                    a[U64(r * stride + c * samples + s)] *= slopes[U64(start + i)]
        cuda.syncthreads()

    return multiply
