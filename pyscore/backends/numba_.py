"""The numba backend: compiled kernels on all cores of the CPU, float32 or float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyscore.backends._compiled import CompiledBackend
from pyscore.errors import InvalidInput
from pyscore.kernels import cpu

__all__ = ["NumbaBackend", "create", "probe"]


def probe() -> str | None:
    """Return None: Numba was imported above."""
    return None


def create(dtype: np.dtype[Any] | None, device: str | None) -> NumbaBackend:
    """Return the backend for one dtype; the number of threads is `numba.set_num_threads`."""
    if device not in (None, "cpu"):
        raise InvalidInput(f"`device` must be 'cpu' for the numba backend; got {device!r}. Use backend='cuda'.")
    return NumbaBackend(dtype)


class NumbaBackend(CompiledBackend):
    """Kernels of `pyscore.kernels.cpu`."""

    name = "numba"
    device = "cpu"

    def __init__(self, dtype: np.dtype[Any] | None) -> None:
        super().__init__(dtype, cpu)
