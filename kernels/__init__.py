"""Compiled kernels: Numba on the CPU (`cpu`), CUDA on the GPU (`cuda`)."""
