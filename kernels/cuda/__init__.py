"""Kernels compiled by Numba for CUDA GPUs."""
