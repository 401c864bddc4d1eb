"""The cuda backend: compiled kernels on an NVIDIA GPU, float32 or float64, or on numba-cuda's simulator."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyscore.backends._compiled import CompiledBackend
from pyscore.errors import InvalidInput
from pyscore.kernels import cuda

__all__ = ["CudaBackend", "create", "probe"]


def probe() -> str | None:
    """Return None, or why there is no GPU to run on."""
    fault: str | None = cuda.device_fault()
    if fault is None:
        return None
    return f"{fault}. Use a machine with an NVIDIA GPU and driver, or set NUMBA_ENABLE_CUDASIM=1 to simulate one."


def create(dtype: np.dtype[Any] | None, device: str | None) -> CudaBackend:
    """Return the backend for one dtype, on the current device of the process."""
    if device not in (None, "cuda"):
        raise InvalidInput(
            f"`device` must be 'cuda' for the cuda backend; got {device!r}. "
            "Choose among several GPUs with CUDA_VISIBLE_DEVICES."
        )
    return CudaBackend(dtype)


class CudaBackend(CompiledBackend):
    """Kernels of `pyscore.kernels.cuda`."""

    name = "cuda"
    device = "cuda"

    def __init__(self, dtype: np.dtype[Any] | None) -> None:
        super().__init__(dtype, cuda)
