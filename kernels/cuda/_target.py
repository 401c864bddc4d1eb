"""The only import of Numba's CUDA target: numba-cuda, its simulator, or one day its successor.

Set ``NUMBA_ENABLE_CUDASIM=1`` before the first import of Numba to run the kernels as Python threads.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import config, cuda

__all__ = [
    "ALIGNMENT",
    "SIMULATED",
    "TILE_OPTIONS",
    "U32",
    "U64",
    "Output",
    "allow_shared",
    "cuda",
    "device_fault",
    "divide",
    "is_device_array",
    "shared_limit",
    "to_device",
]

SIMULATED = bool(config.ENABLE_CUDASIM)


ALIGNMENT = None if SIMULATED else 16
"""Bytes to which shared arrays are aligned, so that four neighbouring loads become one; the simulator has none."""

U32 = int if SIMULATED else np.uint32
U64 = int if SIMULATED else np.uint64
"""Types of numbers of threads and of indices: with signed ones Numba handles x[-1] and −1 // 2 as Python does, in
five instructions an access, and the compiler cannot merge neighbouring loads into one of 16 bytes."""

TILE_OPTIONS = {} if SIMULATED else {"max_registers": 168}
"""For kernels with a register tile. With 168 registers a thread three blocks of 128 threads share a
multiprocessor, and nothing is spilled to local memory; see `pyscore.bench.ptx`."""

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


def shared_limit() -> int:
    """Bytes of shared memory that a block gets on request; under the simulator those of compute capability 9.0."""
    if SIMULATED:
        return 232_448
    return int(cuda.get_current_device().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)


def allow_shared(kernel: Any, arguments: Sequence[Any], dynamic_bytes: int) -> None:
    """Ask the driver to let `kernel` use so much shared memory at launch; without this 48 KB in all are the limit.

    numba-cuda passes the size to the launch, but does not ask (0.30).
    """
    if SIMULATED:
        return
    from numba.cuda.cudadrv.driver import binding, driver

    compiled = kernel.compile(tuple(kernel.typeof_pyval(argument) for argument in arguments))
    function = compiled._codelibrary.get_cufunc()
    attribute = binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    driver.cuKernelSetAttribute(attribute, dynamic_bytes, function.handle, function.device.id)


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
