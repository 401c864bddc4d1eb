"""A clear error where PyTorch is needed and not installed; everything else works without it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyscore.errors import BackendUnavailable

__all__ = ["needs_torch"]


@contextlib.contextmanager
def needs_torch(what: str) -> Iterator[None]:
    """Turn the ImportError of a missing torch into a BackendUnavailable that says how to install it."""
    try:
        yield
    except ImportError as error:
        lacks: BaseException | None = error  # the error of a lazily loaded command has the missing torch as cause
        while lacks is not None and getattr(lacks, "name", None) != "torch":
            lacks = lacks.__cause__
        if not isinstance(lacks, ModuleNotFoundError):
            raise
        raise BackendUnavailable(
            f"{what} needs PyTorch, which is not installed: pip install torch. Models are trained and scored by "
            "backend='numba' without it."
        ) from None
