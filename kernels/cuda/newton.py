"""The nearest point of a decoder's manifold, and the mode of a posterior: damped Newton steps on the GPU.

A step is two launches over the rows that are not done yet: the network with its derivatives, a block of samples at
a time; then, a thread a row, the decision on the trial point and the next one. Rows never meet: no bit depends on
who else is in the list, nor on its order.
"""

from typing import Any

import numpy as np

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._joint import GAUSSIAN, MIXTURE, NO_PRIOR
from pyscore.kernels.cpu.log_prior import prior_arrays
from pyscore.kernels.cpu.newton import Minimum
from pyscore.kernels.cuda._joint import make_joint, pairs
from pyscore.kernels.cuda._launch import blocks_for, check_rows, launch_tiles
from pyscore.kernels.cuda._network import Geometry, Layers, Packed, geometry, matrix_rows
from pyscore.kernels.cuda._newton_step import begin, end, make_advance, state_size
from pyscore.kernels.cuda._target import SIMULATED, Output, cuda, is_device_array, to_device
from pyscore.kernels.cuda.encoder_log_volume import pack_encoder

__all__ = ["Minimum", "damped_newton"]

_THREADS = 8 if SIMULATED else 64
CHUNK = 1 << 17
"""Rows at a time: 130 MB of derivatives and state at k = 9."""


def damped_newton(
    decoder: Layers | tuple[Packed, Packed],
    activation: str,
    x: Any,
    z: Any,
    *,
    sphere: bool = True,
    precision: float = 1.0,
    offset: float = 0.0,
    prior: tuple[Any, Any, Any] | str | None = None,
    steps: int = 100,
    samples: int | None = None,
    chunk: int = CHUNK,
    stream: Any = 0,
) -> Minimum:
    """argmin_z ½·precision·‖x − decode(z)‖² + offset − log p(z), from a start z; see `pyscore.kernels.cpu`.

    On the device if `x` is there. `samples` a block and `chunk` rows at a time change the time, never a bit.
    """
    forward, backward = decoder if isinstance(decoder[0], Packed) else pack_encoder(decoder, activation)
    sizes, dtype = forward.sizes, np.dtype(forward.values.dtype)
    k, d = sizes[0], sizes[-1]
    x, z = check_rows("x", x, d, dtype), check_rows("z", z, k, dtype)
    n = x.shape[0]
    if z.shape[0] != n:
        raise ShapeError(f"`z` must have one row for each of the {n} rows of `x`; got {z.shape[0]}.")
    if k - sphere < 1:
        raise InvalidInput(f"`z` must have at least {1 + sphere} columns, so that it can move; got {k}.")
    if isinstance(prior, str) and (prior != "gaussian" or sphere):
        raise InvalidInput(f"`prior` must be 'gaussian' off the sphere, or a mixture, or None; got {prior!r}.")
    kind = NO_PRIOR if prior is None else GAUSSIAN if isinstance(prior, str) else MIXTURE
    components = prior if kind == MIXTURE else (np.zeros((1, k)), np.zeros(1), np.zeros(1))
    m = k - 1 if sphere else k
    both = (*sizes, *reversed(sizes[:-1]))
    kept = (len(sizes) - 2) * (m + 2) * matrix_rows(both)
    g = geometry(both, m + 1, dtype, samples, kept=kept)
    kernels = (
        make_joint(sizes, forward.activation, bool(sphere), g, dtype.type),
        make_advance(kind, k, bool(sphere), dtype.type),
    )
    weights = to_device(forward.values, stream), to_device(backward.values, stream)
    constants = *(to_device(a, stream) for a in prior_arrays(k, *components)), float(precision), float(offset)
    output = Output(is_device_array(x), stream)
    shapes = ((n, k), dtype), ((n,), np.float64), ((n,), np.float64), ((n,), np.int64), ((n,), np.float64)
    found = [output.empty(*shape) for shape in shapes]
    rows, starts = to_device(x, stream), to_device(z, stream)
    eps = float(np.finfo(dtype).eps)
    for first in range(0, n, chunk):
        here = slice(first, min(first + chunk, n))
        _descend(
            kernels, g, m, dtype, weights, rows[here], starts[here], (*constants, eps, int(steps)), stream,
            [array[here] for array in found],
        )  # fmt: skip
    return Minimum(*(output.give(a, shape) for a, (shape, _) in zip(found, shapes, strict=True)))


def _descend(
    kernels: Any, g: Geometry, m: int, dtype: Any, weights: Any, x: Any, start: Any, constants: Any, stream: Any,
    found: Any,
) -> None:  # fmt: skip
    """Take steps with some rows until all are done."""
    joint, advance = kernels
    n, (z, value, norm, count, log_det) = start.shape[0], found
    terms = cuda.device_array((pairs(m) + 1, n), np.float64, stream=stream)
    state = cuda.device_array((state_size(m), n), np.float64, stream=stream)
    trial = cuda.device_array(start.shape, dtype, stream=stream)
    slots, following = to_device(np.arange(n), stream), cuda.device_array(n, np.int64, stream=stream)
    begin[blocks_for(n, _THREADS), _THREADS, stream](start, z, trial, state)
    active = n
    while active:
        launch_tiles(joint, active, g, dtype, stream, *weights, x, trial, slots, active, terms)
        counter = to_device(np.zeros(1, np.int64), stream)
        advance[blocks_for(active, _THREADS), _THREADS, stream](
            terms, slots, active, start, z, trial, state, *constants, log_det, following, counter, m
        )
        active = int(counter.copy_to_host(stream=stream)[0])
        slots, following = following, slots
    end[blocks_for(n, _THREADS), _THREADS, stream](state, value, norm, count)
