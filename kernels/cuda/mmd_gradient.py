"""MMD with the IMQ kernel and its gradients with respect to both sets of rows, on the GPU."""

from typing import Any

import numpy as np

from pyscore.errors import InvalidInput
from pyscore.kernels.cpu.kernel_mean import Diagonal, check_kernel, width_array
from pyscore.kernels.cpu.mmd_gradient import TOLERANCE, MMDGradient
from pyscore.kernels.cuda._launch import blocks_for
from pyscore.kernels.cuda._pairs import make_gradient
from pyscore.kernels.cuda._target import Output, is_device_array, to_device
from pyscore.kernels.cuda.kernel_mean import THREADS, points, require_same_dtype
from pyscore.kernels.cuda.mmd import mmd_imq

__all__ = ["TOLERANCE", "MMDGradient", "mmd_gradient"]


def mmd_gradient(
    x: Any, y: Any, c: float = 1.0, *, diagonal: Diagonal = "removed", stream: Any = 0
) -> MMDGradient:
    """Value of `mmd_imq` and its gradients; see `pyscore.kernels.cpu`. On the device if `x` is there."""
    check_kernel("imq", "cosine", diagonal)
    p = points("x", x, "cosine", None, stream)
    q = points("y", y, "cosine", p.k, stream)
    require_same_dtype(p, q)
    if np.ndim(c):
        raise InvalidInput(f"`c` must be one width for a gradient; got an array of shape {np.shape(c)}.")
    width = float(width_array(c, p.dtype)[0])
    value = float(mmd_imq(x, y, c, diagonal=diagonal, stream=stream))
    kernel, removed = make_gradient(p.k, p.dtype.type), diagonal == "removed"
    output = Output(is_device_array(x), stream)
    gradients = []
    for a, b in ((p, q), (q, p)):
        out = to_device(np.zeros((a.n, a.k)), stream)
        launch = kernel[blocks_for(a.n, THREADS), THREADS, stream]
        launch(a.rows, a.shift, a.rows, a.shift, width, True, removed, 2.0 / (a.n * (a.n - 1.0)), out)
        launch(a.rows, a.shift, b.rows, b.shift, width, False, False, -2.0 / (a.n * float(b.n)), out)
        gradients.append(output.give(out, (a.n, a.k)))
    return MMDGradient(value, *gradients)
