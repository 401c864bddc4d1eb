"""Run numba-cuda's simulated threads as greenlets: the same kernels, without a switch of the system's threads.

Each greenlet runs up to its next barrier. From barrier to barrier the order of the threads turns round, so that a
result that depends on a missing barrier changes or is wrong, every time.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import greenlet
import numpy as np

__all__ = ["install"]


class _Thread:
    """One simulated thread, as kernels see it."""

    def __init__(self, run: Any, grid_point: Any, block_point: Any, block_dim: Any) -> None:
        from numba.cuda.simulator.kernelapi import Dim3

        self.blockIdx, self.threadIdx = Dim3(*grid_point), Dim3(*block_point)
        self.thread_id = block_point[0] + block_dim[0] * (block_point[1] + block_dim[1] * block_point[2])
        self.fiber = greenlet.greenlet(run)
        self.fiber.simulated = self

    def syncthreads(self) -> None:
        self.fiber.parent.switch()


def _run_block(manager: Any, grid_point: Any, *arguments: Any) -> None:
    """Take all threads of a block from barrier to barrier."""
    block = manager._block_dim
    alive = [_Thread(manager._f, grid_point, point, block).fiber for point in np.ndindex(*block)]
    first = True
    while alive:
        for fiber in alive:
            fiber.switch(*arguments if first else ())
        alive, first = [fiber for fiber in reversed(alive) if not fiber.dead], False


def _current_thread() -> Any:
    return getattr(greenlet.getcurrent(), "simulated", None) or threading.current_thread()


@contextmanager
def _swapped(function: Any, fake: Any) -> Iterator[None]:
    """Put the fake module in place of `cuda` in all modules of kernels, for the whole of a launch."""
    from numba import cuda

    if hasattr(greenlet.getcurrent(), "simulated"):
        yield
        return
    places = [
        (module.__dict__, name)
        for key, module in list(sys.modules.items())
        if key.startswith("pyscore.kernels.cuda")
        for name, value in list(module.__dict__.items())
        if value is cuda
    ]
    places += [(function.__globals__, name) for name, value in list(function.__globals__.items()) if value is cuda]
    for names, name in places:
        names[name] = fake
    try:
        yield
    finally:
        for names, name in places:
            names[name] = cuda


def install() -> None:
    """Let the simulator of this process use greenlets; nothing where there is no simulator."""
    from numba import config

    if not config.ENABLE_CUDASIM:
        return
    from numba.cuda.simulator import kernel, kernelapi

    kernel.BlockManager.run = _run_block
    kernel.swapped_cuda_module = _swapped
    kernelapi.threading = SimpleNamespace(current_thread=_current_thread, Lock=threading.Lock)
