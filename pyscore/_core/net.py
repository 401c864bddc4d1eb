"""The last check of every public function: a library's error for bad input becomes a PyscoreError.

A library does not know pyscore's arguments, so its error says little to the caller of pyscore. `netted` turns it
into an `InvalidInput` that quotes it and has the original as its cause. It converts only the exceptions that each
library is known to raise for bad input (`RAISES`), and only if they were raised in that library or in compiled
code called from pyscore. It does not convert errors of pyscore, errors of a user's own functions (a decoder, a
callback), or exceptions that only a fault of pyscore explains (KeyError, AttributeError, AssertionError …).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from pyscore._core.foreign_errors import foreign_types
from pyscore._core.text import printable
from pyscore.errors import InvalidInput, InvalidType, OutOfMemory, PyscoreError

__all__ = ["CONVERSION", "RAISES", "netted"]

CONVERSION = (
    TypeError,
    ValueError,
    OverflowError,
    RuntimeError,
    NotImplementedError,
    IndexError,
    AttributeError,
    BufferError,
)
"""Exceptions that `__array__`, `__float__` and the like may raise while an object is converted to numbers."""

RAISES: dict[str, tuple[type[Exception], ...]] = {
    "numpy": (TypeError, ValueError, OverflowError, IndexError, FloatingPointError, MemoryError),
    "scipy": (TypeError, ValueError, OverflowError, MemoryError),
    "sklearn": (TypeError, ValueError, OverflowError, MemoryError),
    "pandas": (TypeError, ValueError, OverflowError, NotImplementedError, MemoryError),
    "pyarrow": (TypeError, ValueError, OverflowError, NotImplementedError, MemoryError),
    "polars": (TypeError, ValueError, OverflowError, RuntimeError, MemoryError),
    "narwhals": (TypeError, ValueError, NotImplementedError),
    "torch": (TypeError, ValueError, OverflowError, IndexError, RuntimeError, NotImplementedError, MemoryError),
    "numba": (TypeError, ValueError, OverflowError, MemoryError),
    "pyscore": (TypeError, ValueError, OverflowError, MemoryError),
}
"""Library → the exceptions that it raises for bad input, subclasses (LinAlgError, ArrowInvalid …) included.

"pyscore" is in the list because compiled functions of NumPy and others have no frame of their own: their errors
seem to come from the line of pyscore that called them.
"""
_OWN = {"sklearn.exceptions.NotFittedError"}

Function = TypeVar("Function", bound=Callable[..., Any])


def netted(function: Function) -> Function:
    """Decorate a public function or method so that errors of libraries for bad input become PyscoreErrors."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except PyscoreError:
            raise
        except Exception as error:
            if (converted := translated(error, function.__qualname__)) is None:
                raise
            raise converted from error

    return guarded  # type: ignore[return-value]


def translated(error: Exception, caller: str) -> PyscoreError | None:
    """Return the PyscoreError for an exception of a library, or None if it is not to be converted."""
    kind = type(error)
    if f"{kind.__module__}.{kind.__qualname__}" in _OWN or _is_a_call(error.__traceback__):
        return None
    library = _library(error.__traceback__)
    if not isinstance(error, (*RAISES.get(library, ()), *foreign_types())):
        return None
    said = (" ".join(printable(error).split()) or kind.__name__).rstrip(".")[:500]
    text = f"{caller} cannot use its input: {said} ({kind.__name__})."
    if isinstance(error, MemoryError):
        return OutOfMemory(f"{caller} ran out of memory: {said}. Pass fewer rows at a time.")
    return InvalidType(text) if isinstance(error, TypeError) else InvalidInput(text)


def _is_a_call(trace: TracebackType | None) -> bool:
    """Whether the arguments did not fit the signature, where Python's own error is the right one."""
    return trace is None or trace.tb_next is None


def _library(trace: TracebackType | None) -> str:
    """Name of the package whose code was running when the exception was raised."""
    name = ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return name.split(".")[0]
