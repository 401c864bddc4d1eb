"""How the entry points of this package are compiled: without the GIL, and kept in Numba's cache on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

__all__ = ["compiled"]


def _stamp() -> tuple[float, int]:
    """Return newest change and total size of the files of this package, in the form of Numba's own stamps."""
    states = [path.stat() for path in Path(__file__).parent.glob("*.py")]
    return max(state.st_mtime for state in states), sum(state.st_size for state in states)


_PACKAGE_STAMP = _stamp()


def compiled(function: Callable[..., None]) -> Any:
    """`numba.njit(cache=True, nogil=True)` whose cache notices a change in any file of this package.

    Numba looks at the file of the entry point alone: after an edit of the QR, say, it would go on running the
    old one out of its cache.
    """
    dispatcher = njit(cache=True, nogil=True, error_model="numpy")(function)
    dispatcher._cache._cache_file._source_stamp = _PACKAGE_STAMP
    return dispatcher
