"""The only import of Numba's CUDA target: numba-cuda, its simulator, or one day its successor.

Set ``NUMBA_ENABLE_CUDASIM=1`` before the first import of Numba to run the kernels as Python threads.
"""

from typing import Any

import numpy as np
from numba import config, cuda

__all__ = [
    "ALIGNMENT",
    "SIMULATED",
    "TILE_OPTIONS",
    "Output",
    "cuda",
    "device_fault",
    "divide",
    "is_device_array",
    "to_device",
]

SIMULATED = bool(config.ENABLE_CUDASIM)


ALIGNMENT = None if SIMULATED else 16
"""Bytes to which shared arrays are aligned, so that four neighbouring loads become one; the simulator has none."""

TILE_OPTIONS = {} if SIMULATED else {"max_registers": 128}
"""For kernels with a register tile. With 128 registers a thread four blocks of 120 threads share a
multiprocessor, with the compiler's own choice of 242 two do; the price is 430 bytes of spills a thread."""

if SIMULATED:

    @cuda.jit(device=True)
    def divide(a, b):
        """a/b."""
        return a / b

else:
    from numba.cuda import libdevice

    @cuda.jit(device=True)
    def divide(a, b):
        """a/b in float32 to 2 ulp: two instructions instead of the ten of a correctly rounded division."""
        return libdevice.fast_fdividef(a, b)


def device_fault() -> str | None:
    """Return None if kernels can run here, or why not."""
    if SIMULATED:
        return None
    try:
        if cuda.is_available():
            return None
        fault = cuda.cuda_error() or "the driver was not found"
    except Exception as error:  # the driver bindings raise many types, all of which mean: no GPU
        fault = error
    return "no CUDA GPU: " + " ".join(str(fault).split()).rstrip(".: ")


def is_device_array(array: Any) -> bool:
    """Whether `array` lives on the GPU (Numba, torch or CuPy)."""
    if SIMULATED:
        return hasattr(array, "copy_to_host")
    return not isinstance(array, np.ndarray) and hasattr(array, "__cuda_array_interface__")


def to_device(array: Any, stream: Any = 0) -> Any:
    """Return `array` on the device: device arrays of any library as they are, without a copy."""
    if is_device_array(array):
        return array if SIMULATED else cuda.as_cuda_array(array)
    return cuda.to_device(np.ascontiguousarray(array), stream=stream)


class Output:
    """Arrays that a kernel fills: they stay on the device if the input came from there."""

    def __init__(self, stay: bool, stream: Any) -> None:
        self._stay, self._stream = stay, stream

    def empty(self, shape: Any, dtype: Any) -> Any:
        """Return a device array; CUDA has none of no entries, so that a spare one stands in."""
        return cuda.device_array(
            shape if np.prod(shape) else (1,) * np.ndim(np.zeros(shape)), dtype, stream=self._stream
        )

    def give(self, array: Any, shape: Any) -> Any:
        """Return the filled array to the caller, as NumPy unless the input was on the device."""
        if not np.prod(shape):
            return np.empty(shape, array.dtype)
        return array if self._stay else array.copy_to_host(stream=self._stream)
