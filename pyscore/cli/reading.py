"""How tables are read, as options that `fit`, `evaluate`, `explain` and `score` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from pyscore.data.read_options import ReadOptions

__all__ = ["DEFAULT_READING", "TableOptions"]


@Parameter(name="*")
@dataclass(frozen=True)
class TableOptions(ReadOptions):
    """How tables are read."""

    delimiter: Annotated[
        str | None,
        Parameter(help="What separates fields of a text: ';', '|', tab … By default a comma (.tsv: a tab)."),
    ] = None
    decimal: Annotated[str, Parameter(help="The decimal mark in a text: '.' or ','.")] = "."
    header: Annotated[
        bool | None,
        Parameter(
            help="Whether the first row of a text holds the names of the columns: by default it does; a row "
            "of numbers is refused. Without names columns are called x0, x1, …"
        ),
    ] = None
    null: Annotated[
        tuple[str, ...],
        Parameter(
            allow_leading_hyphen=True,
            negative="",
            help="A text that means that a value is missing, beside an empty cell, NA, NaN, None, null and their "
            "like; may be given several times.",
        ),
    ] = ()
    encoding: Annotated[str | None, Parameter(help="Of a text: latin-1, cp1252, utf-16 … By default UTF-8.")] = (
        None
    )
    impute: Annotated[
        Literal["median"] | None,
        Parameter(
            help="median: fill missing values with the medians of their columns in the training rows, which `fit` "
            "learns and keeps in the model. By default a missing value is an error."
        ),
    ] = None


DEFAULT_READING = TableOptions()
