"""Frames of pandas, polars and the like: named numeric columns in, frames of the same kind out (by Narwhals)."""

from __future__ import annotations

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from pyscore.errors import InvalidInput

__all__ = ["check_numeric", "column_names", "index_of", "like"]


def column_names(table: Any) -> list[Any] | None:
    """Labels of a frame's columns as they are, or None for what is not a frame."""
    columns = getattr(table, "columns", None)
    return None if columns is None else list(columns)


def check_numeric(table: Any) -> None:
    """Raise if a frame has a column twice, or one that does not hold real numbers; anything else passes.

    Raises
    ------
    InvalidInput
        Naming the column.
    """
    names = column_names(table)
    if names is None:
        return
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise InvalidInput(f"column names must differ; got {twice[0]!r} more than once. Rename it.")
    frame = nw.from_native(table, eager_only=True, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        return
    types = frame.schema
    text = [name for name, kind in types.items() if not (kind.is_numeric() or kind == nw.Boolean)]
    if text:
        first = frame[text[0]][0] if len(frame) else None
        raise InvalidInput(
            f"column {text[0]!r} must hold numbers; got dtype {types[text[0]]}"
            f"{f' (first value {first!r})' if len(frame) else ''}. "
            f"Encode it as numbers, or drop it ({len(text)} such columns)."
        )


def index_of(table: Any) -> np.ndarray[Any, Any]:
    """Labels of the rows: the index of a pandas frame, else 0, 1, …"""
    return np.asarray(table.index) if isinstance(table, pd.DataFrame) else np.arange(len(table))


def like(frame: pd.DataFrame, table: Any) -> Any:
    """Return a pandas frame as a frame of the kind of `table`; it stays pandas for arrays and lists."""
    given = nw.from_native(table, eager_only=True, pass_through=True)
    if not isinstance(given, nw.DataFrame) or given.implementation.is_pandas():
        return frame
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    return nw.from_dict(columns, backend=given.implementation).to_native()
