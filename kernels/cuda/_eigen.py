"""Eigenvalues and eigenvectors of a small symmetric matrix by Jacobi's rotations, one matrix a thread."""

import math

from pyscore.kernels.cpu._eigen import SWEEPS
from pyscore.kernels.cuda._target import cuda

__all__ = ["eigen"]

_NEGLIGIBLE = 2.0**-54


@cuda.jit(device=True)
def _rotate(a, v, m, p, q):
    """Zero a[p, q] by a rotation of these two axes."""
    entry, first, second = a[p, q], a[p, p], a[q, q]
    ratio = (second - first) / (2.0 * entry)
    tangent = 1.0 / (abs(ratio) + math.sqrt(ratio * ratio + 1.0))
    tangent = -tangent if ratio < 0.0 else tangent
    cosine = 1.0 / math.sqrt(tangent * tangent + 1.0)
    sine = tangent * cosine
    for r in range(m):
        x, y = a[p, r], a[q, r]
        a[p, r], a[q, r] = cosine * x - sine * y, sine * x + cosine * y
    for r in range(m):
        x, y = a[r, p], a[r, q]
        a[r, p], a[r, q] = cosine * x - sine * y, sine * x + cosine * y
        x, y = v[r, p], v[r, q]
        v[r, p], v[r, q] = cosine * x - sine * y, sine * x + cosine * y
    a[p, p], a[q, q] = first - tangent * entry, second + tangent * entry
    a[p, q], a[q, p] = 0.0, 0.0


@cuda.jit(device=True)
def eigen(a, v, m):
    """a (m, m) becomes diagonal, and column i of v its eigenvector i; see the CPU's.

    m is an argument, not a constant: unrolled, these loops would want a thousand registers.
    """
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
                    _rotate(a, v, m, p, q)
                    rotated = True
        if not rotated:
            break
