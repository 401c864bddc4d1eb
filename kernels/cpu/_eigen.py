"""Eigenvalues and eigenvectors of LANES small symmetric matrices at once, by Jacobi's rotations."""

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._simd import LANES, fma, lane_sum, load, select, splat, sqrt, store, vabs

__all__ = ["symmetric_eigen"]

SWEEPS = 30
"""Far more than are needed: convergence is quadratic, 5 to 9 sweeps for up to 32 rows."""
_NEGLIGIBLE = 2.0**-54
"""An entry this small beside the largest one is left as it is."""


@njit
def symmetric_eigen(work, at, m):
    """Turn the matrices A at work[at:] (m·m Lanes) to diagonal ones, with their eigenvectors behind them.

    The eigenvalues are then the diagonal of A, and eigenvector i is column i of the m·m Lanes that follow.
    A lane whose entries are all negligible beside its largest one is not rotated any more, to the last bit: how
    long the other lanes go on doesn't matter to it. The error of an eigenvalue is about eps·max|A|.
    """
    vectors = at + m * m * LANES
    one, zero = splat(1.0, work), splat(0.0, work)
    largest = zero
    for i in range(m):
        for j in range(m):
            store(work, vectors + (i * m + j) * LANES, one if i == j else zero)
            size = vabs(load(work, at + (i * m + j) * LANES))
            largest = select(size > largest, size, largest)
    floor = largest * _NEGLIGIBLE
    for _ in range(SWEEPS):
        rotated = zero
        for p in range(m - 1):
            for q in range(p + 1, m):
                rotated = rotated + _rotate(work, at, vectors, m, p, q, floor)
        if lane_sum(rotated) == 0.0:
            break


@njit
def _rotate(work, at, vectors, m, p, q, floor):
    """Zero entry (p, q) by a rotation of these two axes and return 1; where it is small return 0."""
    entry = load(work, at + (p * m + q) * LANES)
    wanted = vabs(entry) > floor
    one, zero = splat(1.0, work), splat(0.0, work)
    safe = select(wanted, entry, one)
    first, second = load(work, at + (p * m + p) * LANES), load(work, at + (q * m + q) * LANES)
    ratio = (second - first) / (2.0 * safe)
    tangent = one / (vabs(ratio) + sqrt(fma(ratio, ratio, one)))
    tangent = select(ratio < 0.0, -tangent, tangent)
    tangent = select(wanted, tangent, zero)
    cosine = one / sqrt(fma(tangent, tangent, one))
    sine = tangent * cosine
    for r in range(m):
        _mix(work, at + (p * m + r) * LANES, at + (q * m + r) * LANES, cosine, sine)
    for r in range(m):
        _mix(work, at + (r * m + p) * LANES, at + (r * m + q) * LANES, cosine, sine)
        _mix(work, vectors + (r * m + p) * LANES, vectors + (r * m + q) * LANES, cosine, sine)
    store(work, at + (p * m + p) * LANES, select(wanted, first - tangent * safe, first))
    store(work, at + (q * m + q) * LANES, select(wanted, second + tangent * safe, second))
    store(work, at + (p * m + q) * LANES, select(wanted, zero, entry))
    store(work, at + (q * m + p) * LANES, select(wanted, zero, entry))
    return select(wanted, one, zero)


@njit
def _mix(work, p, q, cosine, sine):
    a, b = load(work, p), load(work, q)
    store(work, p, cosine * a - sine * b)
    store(work, q, sine * a + cosine * b)
