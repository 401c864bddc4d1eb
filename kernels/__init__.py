"""Compiled kernels: Numba on the CPU (`cpu`), CUDA on the GPU (`cuda`)."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
