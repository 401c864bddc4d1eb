"""The last check of every public function: a library's error for bad input becomes a PyscoreError.

A library does not know pyscore's arguments, so its error says little to the caller of pyscore. `netted` turns it
into an `InvalidInput` that quotes it and has the original as its cause. It converts only the exceptions that each
library is known to raise for bad input (`RAISES`), and only if they were raised in that library or in compiled
code called from pyscore. It does not convert errors of pyscore, errors of a user's own functions (a decoder, a
callback), or exceptions that only a fault of pyscore explains (KeyError, AttributeError, AssertionError …).
`as_invalid` does the same for a block of code, with a beginning of the message that the caller chooses.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from pyscore._core.text import printable
from pyscore.errors import InvalidInput, InvalidType, OutOfMemory, PyscoreError

__all__ = ["CONVERSION", "FOREIGN", "RAISES", "as_invalid", "foreign_types", "netted", "reason"]

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
FOREIGN: dict[str, tuple[str, ...]] = {
    "builtins": ("UnicodeError",),
    "csv": ("Error",),
    "json": ("JSONDecodeError",),
    "lzma": ("LZMAError",),
    "narwhals.exceptions": ("NarwhalsError",),
    "pandas.errors": ("EmptyDataError", "ParserError", "OutOfBoundsDatetime", "UndefinedVariableError"),
    "polars.exceptions": ("PolarsError",),
    "pyarrow.lib": ("ArrowException",),
    "safetensors": ("SafetensorError",),
    "xml.etree.ElementTree": ("ParseError",),
    "xml.parsers.expat": ("ExpatError",),
    "zipfile": ("BadZipFile",),
    "zlib": ("error",),
}
"""Module → its own exceptions that it raises for damaged or unsuitable input.

`OSError` is not here: any may raise it.
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


def foreign_types() -> tuple[type[BaseException], ...]:
    """Return the types of `FOREIGN` whose module is loaded; other modules cannot have raised anything."""
    loaded = [(sys.modules[name], types) for name, types in FOREIGN.items() if name in sys.modules]
    return tuple(getattr(module, name) for module, names in loaded for name in names if hasattr(module, name))


def reason(error: BaseException, most: int = 300) -> str:
    """Return the first line of an exception's message, or its type's name if it has none."""
    lines = printable(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:most]


@contextlib.contextmanager
def as_invalid(what: str, *more: type[Exception]) -> Iterator[None]:
    """Turn what a library raises inside the block into an InvalidInput that begins with ``what``.

    Parameters
    ----------
    what : str
        Beginning of the message, for example "cannot read 't.csv'".
    more : exception types
        Further types that the block may raise for bad input.

    Raises
    ------
    InvalidInput
        With the library's exception as its cause.
    """
    try:
        yield
    except PyscoreError:
        raise
    except Exception as error:
        if not isinstance(error, (*foreign_types(), *more)):
            raise
        raise InvalidInput(f"{what}: {reason(error)}.") from error
