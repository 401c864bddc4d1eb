"""What libraries raise because of what they were given: a list of types by library, not a bare `except`."""

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
"""Module → the exceptions that it raises at damaged or unsuitable input (`OSError` comes from everywhere)."""


def foreign_types() -> tuple[type[BaseException], ...]:
    """Return the types of `FOREIGN` whose module is loaded: one that isn't has raised nothing."""
    loaded = [(sys.modules[name], types) for name, types in FOREIGN.items() if name in sys.modules]
    return tuple(getattr(module, name) for module, names in loaded for name in names if hasattr(module, name))


def reason(error: BaseException, most: int = 300) -> str:
    """Return the first line of what an exception says, or its name if it says nothing."""
    lines = printable(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:most]


@contextlib.contextmanager
def as_invalid(what: str, *more: type[Exception]) -> Iterator[None]:
    """Turn what a library raises inside the block into an InvalidInput that begins with ``what``.

    Parameters
    ----------
    what : str
        "cannot read 't.csv'", say.
    more : exception types
        What this use of a library also raises.

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
