"""Kernels of pairs of rows on the GPU: a thread has ROWS rows in registers and walks over a chunk of the others.

Distances are acc = |x−y|² + (1−|x|²) + (1−|y|²) = 2(1 − x·y), see the CPU's `_pairs`. A thread adds ROWS terms in
the data's dtype and from there on in float64; its sum over one chunk goes to memory, and those sums are added
in a fixed order. Chunks have CHUNK rows whatever the launch, so results do not depend on it.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pyscore.kernels.cpu._pairs import GAUSSIAN, IMQ
from pyscore.kernels.cuda._target import U64, cuda, divide

__all__ = ["CHUNK", "ROWS", "WIDTHS", "make_gradient", "make_pair_sums", "make_row_sums", "make_shift"]

ROWS = 4
"""Rows a thread: each coordinate read from shared memory serves four pairs."""
CHUNK = 2048
"""Rows of y whose terms one thread adds: 49 × 25,000 sums for 10⁵ × 10⁵ pairs keep every multiprocessor busy."""
WIDTHS = 8
"""Kernel widths a pass, when there is more than one: as many float64 sums in registers."""
_STAGED = 4096
"""Numbers of y in shared memory at a time."""


@cache
def make_shift() -> Any:
    """Return shift(x, out): 1 − |x|² of each row, as if summed in twice float64."""

    @cuda.jit
    def shift(x, out):
        for row in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
            total, carry = 1.0, 0.0
            for i in range(x.shape[1]):
                v = np.float64(x[row, i])
                square = v * v
                carry -= cuda.fma(v, v, -square)
                following = total - square
                back = following - total
                carry += (total - (following - back)) - (square + back)
                total = following
            out[row] = total + carry

    return shift


@cache
def _make_value(code: int, dtype: Any) -> Callable:
    """Return value(acc, width, scale, offset): the kernel of one pair from acc ≥ 0."""
    zero = dtype(0.0)

    if code == IMQ:

        @cuda.jit(device=True)
        def value(acc, width, scale, offset):
            return width / (max(acc, zero) + width)

    elif code == GAUSSIAN:

        @cuda.jit(device=True)
        def value(acc, width, scale, offset):
            return dtype(math.exp(-scale * max(acc, zero)))

    else:

        @cuda.jit(device=True)
        def value(acc, width, scale, offset):
            return dtype(math.exp(-width * dtype(math.log1p(scale * max(acc, zero) + offset))))

    return value


@cache
def _make_four(code: int, dtype: Any) -> Callable:
    """Return four(a, width, scale, offset): sum of the kernel over ROWS pairs, in pairs of pairs.

    IMQ: 1/a + 1/b = (a+b)/(ab), one division for two; `max` would drop NaN, the comparison keeps it.
    """
    zero, fast = dtype(0.0), dtype is np.float32
    single = _make_value(code, dtype)

    @cuda.jit(device=True)
    def lift(acc, width):
        return width if acc < zero else acc + width

    if code == IMQ and fast:

        @cuda.jit(device=True)
        def four(a, width, scale, offset):
            p, q, r, s = lift(a[0], width), lift(a[1], width), lift(a[2], width), lift(a[3], width)
            return (divide(p + q, p * q) + divide(r + s, r * s)) * width

    elif code == IMQ:

        @cuda.jit(device=True)
        def four(a, width, scale, offset):
            p, q, r, s = lift(a[0], width), lift(a[1], width), lift(a[2], width), lift(a[3], width)
            return ((p + q) / (p * q) + (r + s) / (r * s)) * width

    else:

        @cuda.jit(device=True)
        def four(a, width, scale, offset):
            low = single(a[0], width, scale, offset) + single(a[1], width, scale, offset)
            return low + (single(a[2], width, scale, offset) + single(a[3], width, scale, offset))

    return four


@cache
def make_pair_sums(code: int, k: int, widths: int, symmetric: bool, threads: int, dtype: Any) -> Any:
    """Return kernel(x, x_shift, y, y_shift, width, scale, offset, partial).

    partial[w, chunk, group] is Σ k_w(x_i, y_j) over the ROWS rows i of a group and the rows j (> i if symmetric)
    of a chunk. width, scale and offset hold `widths` numbers of the data's dtype.
    """
    rows_staged = max(1, _STAGED // k)
    staged_size = rows_staged * k
    single, four = _make_value(code, dtype), _make_four(code, dtype)

    @cuda.jit
    def kernel(x, x_shift, y, y_shift, width, scale, offset, partial):
        # a line each: the simulator knows a shared array by the line that asks for it
        staged = cuda.shared.array(staged_size, dtype)
        staged_shift = cuda.shared.array(rows_staged, dtype)
        mine, mine_shift = cuda.local.array((ROWS, k), dtype), cuda.local.array(ROWS, dtype)
        acc, totals = cuda.local.array(ROWS, dtype), cuda.local.array(widths, np.float64)
        thread, n, m = cuda.threadIdx.x, x.shape[0], y.shape[0]
        groups, chunks = partial.shape[2], partial.shape[1]
        for start in range(cuda.blockIdx.x * threads, groups, cuda.gridDim.x * threads):
            group = start + thread
            first = group * ROWS
            for r in range(ROWS):
                row = min(first + r, n - 1)
                mine_shift[r] = x_shift[row]
                for i in range(k):
                    mine[r, i] = x[row, i]
            for chunk in range(cuda.blockIdx.y, chunks, cuda.gridDim.y):
                for w in range(widths):
                    totals[w] = 0.0
                begin, end = chunk * CHUNK, min((chunk + 1) * CHUNK, m)
                if symmetric and end <= start * ROWS:
                    end = begin  # below the diagonal for every thread of the block
                for base in range(begin, end, rows_staged):
                    here = min(rows_staged, end - base)
                    cuda.syncthreads()
                    for i in range(thread, here * k, threads):
                        staged[U64(i)] = y[base + i // k, i % k]
                    for i in range(thread, here, threads):
                        staged_shift[U64(i)] = y_shift[base + i]
                    cuda.syncthreads()
                    for j in range(here):
                        for r in range(ROWS):
                            acc[r] = staged_shift[U64(j)] + mine_shift[r]
                        for i in range(k):
                            other = staged[U64(j * k + i)]
                            for r in range(ROWS):
                                difference = other - mine[r, i]
                                acc[r] += difference * difference
                        lowest = first if symmetric else -1
                        if first + ROWS <= n and (not symmetric or base + j >= lowest + ROWS):
                            for w in range(widths):
                                totals[w] += np.float64(four(acc, width[w], scale[w], offset[w]))
                        else:
                            for r in range(ROWS):
                                if first + r < n and (not symmetric or base + j > first + r):
                                    for w in range(widths):
                                        totals[w] += np.float64(single(acc[r], width[w], scale[w], offset[w]))
                if group < groups:
                    for w in range(widths):
                        partial[w, chunk, group] = totals[w]

    return kernel


@cache
def make_row_sums(threads: int) -> Any:
    """Return kernel(partial, out): out[w, chunk] = Σ_group partial[w, chunk, group], one block a row of groups.

    Each of the `threads` threads adds every `threads`-th sum in turn, then they add up by halves.
    """

    @cuda.jit
    def kernel(partial, out):
        sums = cuda.shared.array(threads, np.float64)
        thread, chunks = cuda.threadIdx.x, partial.shape[1]
        for row in range(cuda.blockIdx.x, partial.shape[0] * chunks, cuda.gridDim.x):
            total = 0.0
            for group in range(thread, partial.shape[2], threads):
                total += partial[row // chunks, row % chunks, group]
            sums[thread] = total
            cuda.syncthreads()
            half = threads // 2
            while half > 0:
                if thread < half:
                    sums[thread] += sums[thread + half]
                half //= 2
                cuda.syncthreads()
            if thread == 0:
                out[row // chunks, row % chunks] = sums[0]
            cuda.syncthreads()

    return kernel


@cache
def make_gradient(k: int, dtype: Any) -> Any:
    """Return kernel(x, x_shift, y, y_shift, width, same, removed, scale, out): a thread a row of x.

    out[i] += scale·Σ_j c/(c+d_ij)²·y_j; eight rows j are summed in the data's dtype, then in float64.
    """
    zero, one, half = dtype(0.0), dtype(1.0), dtype(0.5)

    @cuda.jit
    def kernel(x, x_shift, y, y_shift, width, same, removed, scale, out):
        part, total = cuda.local.array(k, dtype), cuda.local.array(k, np.float64)
        c = dtype(width)
        for row in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
            for i in range(k):
                part[i], total[i] = zero, 0.0
            for j in range(y.shape[0]):
                acc = x_shift[row] + y_shift[j]
                for i in range(k):
                    difference = y[j, i] - x[row, i]
                    acc += difference * difference
                inverse = one / (half * acc + c)
                weight = zero if acc < zero or (same and removed and j == row) else c * (inverse * inverse)
                for i in range(k):
                    part[i] += weight * y[j, i]
                if j % 8 == 7 or j == y.shape[0] - 1:
                    for i in range(k):
                        total[i] += np.float64(part[i])
                        part[i] = zero
            for i in range(k):
                out[row, i] += scale * total[i]

    return kernel
