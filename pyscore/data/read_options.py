"""Options for reading text tables; files of other kinds need none."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any

from pyscore.errors import InvalidInput

__all__ = ["MISSING", "ReadOptions", "TableNote"]

MISSING = (
    "", "NA", "N/A", "n/a", "#N/A", "#NA", "#N/A N/A", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null",
    "None", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN",
)  # fmt: skip
"""Texts that stand for a missing number, as in pandas and Arrow."""


class TableNote(UserWarning):
    """A note on columns or files that were left out while tables were read."""


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading text tables (CSV and the like).

    Parameters
    ----------
    delimiter : str, optional
        The character between fields; by default a comma, and a tab in .tsv files.
    decimal : str
        The decimal mark: a point, or a comma.
    header : bool, optional
        Whether the first row holds the names of the columns. By default it does, and a first row of numbers alone
        is refused. Without names the columns are called x0, x1, …
    null : tuple of str
        Further texts that stand for a missing value, besides the empty cell, NA, NaN, None, null and similar ones.
    encoding : str, optional
        By default UTF-8, or UTF-16 where the file begins with its byte order mark.

    Raises
    ------
    InvalidInput
        If an option cannot be used.

    Examples
    --------
    >>> from pyscore.data.read_options import ReadOptions
    >>> german = ReadOptions(delimiter=";", decimal=",")
    """

    delimiter: str | None = None
    decimal: str = "."
    header: bool | None = None
    null: tuple[str, ...] = ()
    encoding: str | None = None

    def __post_init__(self) -> None:
        delimiter = {"tab": "\t", "\\t": "\t"}.get(self.delimiter or "", self.delimiter)
        object.__setattr__(self, "delimiter", delimiter)
        object.__setattr__(self, "null", (self.null,) if isinstance(self.null, str) else tuple(self.null))
        if delimiter is not None and (not _is_character(delimiter) or delimiter in '"\r\n' or delimiter.isalnum()):
            raise InvalidInput(
                f"`delimiter` must be one character, such as ';', '|' or 'tab'; got {self.delimiter!r}."
            )
        if self.decimal not in (".", ","):
            raise InvalidInput(f"`decimal` must be '.' or ','; got {self.decimal!r}.")
        if self.decimal == delimiter:
            raise InvalidInput(f"`delimiter` and `decimal` must differ; both are {self.decimal!r}.")
        if not all(isinstance(text, str) for text in self.null):
            raise InvalidInput(f"`null` must hold texts; got {self.null!r}.")
        if self.encoding is not None:
            try:
                if codecs.lookup(self.encoding)._is_text_encoding is False:
                    raise LookupError
            except (LookupError, TypeError, ValueError):
                raise InvalidInput(
                    f"`encoding` must be one that Python knows, such as 'utf-8', 'latin-1' or 'cp1252'; got "
                    f"{self.encoding!r}."
                ) from None

    def identity(self) -> list[Any]:
        """The options as a list; a run can be resumed only if it is the same."""
        return [self.delimiter, self.decimal, self.header, list(self.null), self.encoding]


def _is_character(text: object) -> bool:
    return isinstance(text, str) and len(text) == 1 and text.isascii()
