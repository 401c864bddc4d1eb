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


class _Fiber(greenlet.greenlet):
    """One simulated thread."""

    def __init__(self, run: Any, grid_point: Any, block_point: Any, block_dim: Any) -> None:
        from numba.cuda.simulator.kernelapi import Dim3

        super().__init__(run)
        self.blockIdx, self.threadIdx = Dim3(*grid_point), Dim3(*block_point)
        self.thread_id = block_point[0] + block_dim[0] * (block_point[1] + block_dim[1] * block_point[2])

    def syncthreads(self) -> None:
        self.parent.switch()


def _run_block(manager: Any, grid_point: Any, *arguments: Any) -> None:
    """Take all threads of a block from barrier to barrier."""
    block = manager._block_dim
    alive = [_Fiber(manager._f, grid_point, point, block) for point in np.ndindex(*block)]
    started: set[int] = set()
    while alive:
        for fiber in alive:
            if id(fiber) in started:
                fiber.switch()
            else:
                started.add(id(fiber))
                fiber.switch(*arguments)
        alive = [fiber for fiber in reversed(alive) if not fiber.dead]


def _current_thread() -> Any:
    here = greenlet.getcurrent()
    return here if isinstance(here, _Fiber) else threading.current_thread()


@contextmanager
def _swapped(function: Any, fake: Any) -> Iterator[None]:
    """Put the fake module in place of `cuda` in all modules of kernels, for the whole of a launch."""
    from numba import cuda

    if isinstance(greenlet.getcurrent(), _Fiber):
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
