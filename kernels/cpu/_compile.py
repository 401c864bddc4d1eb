"""How the functions of this package are compiled: without the GIL, and kept on disk by `_kernel_cache`."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

from pyscore.kernels.cpu._kernel_cache import KernelCache

__all__ = ["compiled", "njit"]


@contextlib.contextmanager
def _numba_enabled() -> Iterator[None]:
    """Compile in spite of NUMBA_DISABLE_JIT, which is meant for functions that Python can run, too.

    These are made of a processor's instructions, which Python cannot run. Numba's own functions, which they call,
    look at the setting while they are compiled, so that it is changed for that long.
    """
    with global_compiler_lock:
        before, config.DISABLE_JIT = config.DISABLE_JIT, 0
        try:
            yield
        finally:
            config.DISABLE_JIT = before


class _Kernel(CPUDispatcher):
    """A function of Numba's that is compiled whatever NUMBA_DISABLE_JIT says."""

    def compile(self, sig: Any) -> Any:
        """See Numba."""
        with _numba_enabled():
            return super().compile(sig)


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit`, for what compiled functions call; compiled with them, and not kept on disk by itself."""
    if function is None:
        return lambda later: njit(later, **options)
    return _Kernel(function, targetoptions={"nopython": True, "boundscheck": None, **options})


def compiled(function: Callable[..., None]) -> Any:
    """`njit` without the GIL, for what Python calls: kept on disk for the next process."""
    kernel = njit(function, nogil=True, error_model="numpy")
    kernel._cache = KernelCache(function)
    return kernel
