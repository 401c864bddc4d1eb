"""How tables of text are to be read; files of other kinds say it themselves."""

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
"""Texts that mean that a number is missing: those of pandas and of Arrow."""


class TableNote(UserWarning):
    """What was left aside while a table was read."""


@dataclass(frozen=True)
class ReadOptions:
    """How tables of text (CSV and the like) are read.

    Parameters
    ----------
    delimiter : str, optional
        What separates fields, one character; by default a comma, and a tab in .tsv files.
    decimal : str
        The decimal mark: a point, or a comma.
    header : bool, optional
        Whether the first row holds the names of the columns. By default it does, and a first row of nothing but
        numbers is refused; without names the columns are called x0, x1, …
    null : tuple of str
        Further texts that mean that a value is missing, beside an empty cell, NA, NaN, None, null and their like.
    encoding : str, optional
        By default UTF-8, and UTF-16 where the file begins with its mark.

    Raises
    ------
    InvalidInput
        If one of them cannot be used.

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
        """What must be the same for a run to be resumed."""
        return [self.delimiter, self.decimal, self.header, list(self.null), self.encoding]


def _is_character(text: object) -> bool:
    return isinstance(text, str) and len(text) == 1 and text.isascii()
