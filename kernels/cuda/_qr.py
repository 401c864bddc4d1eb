"""Householder QR of S small matrices by one block: a thread for every column of every sample."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from pyscore.kernels.cuda._network import Geometry
from pyscore.kernels.cuda._target import U32, U64, cuda

__all__ = ["make_store_pivots", "make_volume", "qr_bytes"]

F64 = np.float64


def qr_bytes(rows: int, columns: int) -> int:
    """Shared memory of a sample: a reflector, its pivots and a scale."""
    return (max(rows, columns, 1) + max(min(rows, columns), 1) + 1) * 8


@cache
def make_volume(rows: int, columns: int, row_step: int, column_step: int, first: int, g: Geometry) -> Callable:
    """Return volume(a, reflector, pivots): Σ log|r_jj| of rows ≥ columns matrices in shared memory.

    Entry (i, j) of sample s is a[first + i·row_step + j·column_step + s]. In float64: a thread keeps its column
    in registers, and converts it once. reflector (rows, S) and pivots (columns, S) are shared scratch; pivots
    holds the |r_jj| afterwards. Every step ends in two barriers, which all threads of the block take.
    """
    samples = g.samples

    @cuda.jit(device=True)
    def volume(a, reflector, pivots, scales):
        thread = U32(cuda.threadIdx.x)
        s, mine = thread % samples, thread // samples
        active = mine < columns
        column = cuda.local.array(rows, F64)
        if active:
            at = U64(first + mine * column_step + s)
            for i in range(rows):
                column[U64(i)] = F64(a[at + U64(i * row_step)])
        for j in range(columns):
            if active and mine == j:
                square = F64(0.0)
                for i in range(rows):
                    below = column[U64(i)] if i >= j else F64(0.0)
                    square += below * below
                    reflector[U64(i * samples + s)] = below
                norm, pivot = math.sqrt(square), reflector[U64(j * samples + s)]
                reflector[U64(j * samples + s)] = pivot - norm if pivot < 0.0 else pivot + norm
                half_square = norm * (norm + abs(pivot))
                scales[s] = F64(0.0) if half_square == 0.0 else F64(1.0) / half_square
                pivots[U64(j * samples + s)] = norm
            cuda.syncthreads()
            if active and mine > j:
                dot = F64(0.0)
                for i in range(rows):
                    dot += reflector[U64(i * samples + s)] * column[U64(i)]
                dot *= scales[s]
                for i in range(rows):
                    column[U64(i)] -= dot * reflector[U64(i * samples + s)]
            cuda.syncthreads()

    return volume


@cache
def make_store_pivots(columns: int, g: Geometry) -> Callable:
    """Return store(pivots, first, n, volume, smallest, largest): one thread a sample sums its logarithms."""
    samples = g.samples

    @cuda.jit(device=True)
    def store(pivots, first, n, volume, smallest, largest):
        s = cuda.threadIdx.x
        if s < samples and first + s < n:
            total, least, most = F64(0.0), F64(math.inf), F64(0.0)
            for j in range(columns):
                pivot = pivots[U64(j * samples + s)]
                total += F64(-math.inf) if pivot == 0.0 else math.log(pivot)
                least = least if least <= pivot else pivot
                most = most if most >= pivot else pivot
            volume[first + s] = total if most < math.inf else F64(math.nan)
            smallest[first + s] = least
            largest[first + s] = most
        cuda.syncthreads()

    return store
