"""What needs PyTorch says so where there is none; everything else works without it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyscore.errors import BackendUnavailable

__all__ = ["needs_torch"]


@contextlib.contextmanager
def needs_torch(what: str) -> Iterator[None]:
    """Turn a missing torch, inside the block, into BackendUnavailable: `what` needs it, and how to install it."""
    try:
        yield
    except ImportError as error:
        lacks: BaseException | None = error  # a command that is loaded lazily has the reason as its cause
        while lacks is not None and getattr(lacks, "name", None) != "torch":
            lacks = lacks.__cause__
        if not isinstance(lacks, ModuleNotFoundError):
            raise
        raise BackendUnavailable(
            f"{what} needs PyTorch, which is not installed: pip install torch. Models are trained and scored by "
            "backend='numba' without it."
        ) from None
