"""Checks of arguments and sizes of grids."""

from typing import Any

import numpy as np

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cuda._network import Geometry
from pyscore.kernels.cuda._target import SIMULATED, allow_shared, cuda, is_device_array

__all__ = ["blocks_for", "check_rows", "dtype_of", "launch_tiles"]


def dtype_of(array: Any) -> np.dtype:
    """Return the NumPy dtype of an array of any library (torch's own are not NumPy's)."""
    interface = getattr(array, "__cuda_array_interface__", None)
    return np.dtype(interface["typestr"] if interface else array.dtype)


def check_rows(name: str, value: Any, columns: int | None, dtype: np.dtype | None) -> Any:
    """Return an (n, columns) array of float32 or float64 (or of `dtype`), on the host or on the device."""
    array = value if is_device_array(value) else np.asarray(value)
    kind = dtype_of(array)
    shape = tuple(array.shape)
    if len(shape) != 2 or (columns is not None and shape[1] != columns):
        raise ShapeError(f"`{name}` must have shape (n, {'k' if columns is None else columns}); got {shape}.")
    if kind not in (np.float32, np.float64) or (dtype is not None and kind != dtype):
        wanted = "float32 or float64" if dtype is None else f"{dtype} like the rest"
        raise InvalidInput(f"`{name}` must be {wanted}; got {kind}. Cast one of the two.")
    return array


def blocks_for(items: int, items_a_block: int, blocks_a_multiprocessor: int = 16) -> int:
    """Return a grid that covers the items or fills the GPU, whichever is less; kernels stride over the rest."""
    if SIMULATED:
        return min(-(-items // items_a_block), 4)
    multiprocessors = cuda.get_current_device().MULTIPROCESSOR_COUNT
    return min(-(-items // items_a_block), multiprocessors * blocks_a_multiprocessor)


def launch_tiles(kernel: Any, rows: int, g: Geometry, dtype: Any, stream: Any, *arguments: Any) -> None:
    """Launch a kernel whose last argument is the workspace, with the shared memory that its geometry asks for."""
    numbers = g.kept + (g.entries if g.place == "global" else 0)
    blocks = blocks_for(rows, g.samples, 4 if numbers else 16)
    arguments = *arguments, cuda.device_array((blocks, max(1, numbers)), dtype, stream=stream)
    if g.dynamic_bytes:
        allow_shared(kernel, arguments, g.dynamic_bytes)
    kernel[blocks, g.threads, stream, g.dynamic_bytes](*arguments)
