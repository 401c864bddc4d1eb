"""Maximum mean discrepancy of two sets of rows on the GPU."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.kernels.cpu.kernel_mean import Diagonal, Distance, Kernel, check_kernel, width_array
from pyscore.kernels.cpu.mmd import TOLERANCE
from pyscore.kernels.cuda.kernel_mean import mean_within, points, require_same_dtype, sums

__all__ = ["TOLERANCE", "mmd", "mmd_imq"]


def mmd(
    x: Any,
    y: Any,
    c: ArrayLike = 1.0,
    *,
    kernel: Kernel = "imq",
    distance: Distance = "cosine",
    diagonal: Diagonal = "removed",
    stream: Any = 0,
) -> NDArray:
    """k̄xx + k̄yy − 2k̄xy; see `pyscore.kernels.cpu`. Rows may be on the device; the value comes to the host."""
    check_kernel(kernel, distance, diagonal)
    p = points("x", x, distance, None, stream)
    q = points("y", y, distance, p.k, stream)
    require_same_dtype(p, q)
    widths = width_array(c, p.dtype)
    within_x = mean_within(p, widths, kernel, distance, diagonal, stream)
    within_y = mean_within(q, widths, kernel, distance, diagonal, stream)
    cross = sums(p, q, widths, kernel, distance, False, stream)
    return (within_x + within_y - 2.0 * cross / (p.n * float(q.n))).reshape(np.shape(c))


def mmd_imq(x: Any, y: Any, c: ArrayLike = 1.0, *, diagonal: Diagonal = "removed", stream: Any = 0) -> NDArray:
    """`mmd` with the kernel c / (c + max(0, 1 − x·y)) of the training loss."""
    return mmd(x, y, c, diagonal=diagonal, stream=stream)
