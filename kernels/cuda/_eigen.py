"""Eigenvalues and eigenvectors of a small symmetric matrix by Jacobi's rotations, one matrix a thread."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from pyscore.kernels.cpu._eigen import SWEEPS
from pyscore.kernels.cuda._target import cuda

__all__ = ["make_eigen"]

_NEGLIGIBLE = 2.0**-54
F64 = np.float64


@cache
def make_eigen(m: int) -> Callable:
    """Return eigen(a, v): a (m, m) becomes diagonal, and column i of v its eigenvector i; see the CPU's."""

    @cuda.jit(device=True)
    def mix(a, p, q, row, by_columns, cosine, sine):
        if by_columns:
            x, y = a[row, p], a[row, q]
            a[row, p], a[row, q] = cosine * x - sine * y, sine * x + cosine * y
        else:
            x, y = a[p, row], a[q, row]
            a[p, row], a[q, row] = cosine * x - sine * y, sine * x + cosine * y

    @cuda.jit(device=True)
    def rotate(a, v, p, q):
        entry, first, second = a[p, q], a[p, p], a[q, q]
        ratio = (second - first) / (2.0 * entry)
        tangent = 1.0 / (abs(ratio) + math.sqrt(ratio * ratio + 1.0))
        tangent = -tangent if ratio < 0.0 else tangent
        cosine = 1.0 / math.sqrt(tangent * tangent + 1.0)
        sine = tangent * cosine
        for r in range(m):
            mix(a, p, q, r, False, cosine, sine)
        for r in range(m):
            mix(a, p, q, r, True, cosine, sine)
            mix(v, p, q, r, True, cosine, sine)
        a[p, p], a[q, q] = first - tangent * entry, second + tangent * entry
        a[p, q], a[q, p] = 0.0, 0.0

    @cuda.jit(device=True)
    def eigen(a, v):
        largest = 0.0
        for i in range(m):
            for j in range(m):
                v[i, j] = 1.0 if i == j else 0.0
                size = abs(a[i, j])
                largest = size if size > largest else largest
        floor = largest * _NEGLIGIBLE
        for _ in range(SWEEPS):
            rotated = False
            for p in range(m - 1):
                for q in range(p + 1, m):
                    if abs(a[p, q]) > floor:
                        rotate(a, v, p, q)
                        rotated = True
            if not rotated:
                break

    return eigen
