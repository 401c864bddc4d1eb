"""The exceptions that libraries raise for bad input, listed by library so that no bare `except` is needed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from pyscore._core.text import printable
from pyscore.errors import InvalidInput, PyscoreError

__all__ = ["FOREIGN", "as_invalid", "foreign_types", "reason"]

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
"""Module → the exceptions that it raises for damaged or unsuitable input.

`OSError` is not here: any may raise it.
"""


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
