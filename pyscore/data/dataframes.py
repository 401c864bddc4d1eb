"""Conversion of any frame or array to rows of numbers.

A frame has named columns: a DataFrame of pandas, polars, Dask, Modin …, an Arrow table, or a structured NumPy
array. Its columns are taken by name. Arrays, tensors and nested lists have no names; their columns are taken by
position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.lazy import LazyModule
from pyscore.data.arrow_numbers import is_number, numbers
from pyscore.errors import InvalidInput, ShapeError

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    import pandas as pd
else:
    nw = LazyModule("narwhals.stable.v2")
    pd = LazyModule("pandas")  # loading it takes longer than scoring a thousand rows

__all__ = ["Frame", "check_numeric", "index_of", "like", "open_frame", "rows_of", "rows_without_names"]

LARGEST = 1e100  # as in `preprocessing`
SCALARS = (bool, int, float, np.bool_, np.integer, np.floating, Decimal, Fraction)
"""Objects that are real numbers."""


@dataclass(frozen=True)
class Frame:
    """A table with named columns, from any library."""

    names: list[str]
    rows: int
    kind: Callable[[int], str | None]
    """Given a column's place: None if it holds real numbers, else the name of its type."""
    first: Callable[[int], Any]
    """First value of a column."""
    values: Callable[[int], Array]
    """Values (n,) of a column of numbers; NaN where one is missing."""
    whole: Callable[[], Array] | None = None
    """All columns as one array (n, d), for tables that can give it without a copy."""

    def places(self, columns: Sequence[str] | None) -> list[int]:
        """Places of the wanted columns, in the order of `columns`; by default all.

        Raises
        ------
        InvalidInput
            If a column is missing, or its name comes twice.
        """
        counts = Counter(self.names)
        wanted = self.names if columns is None else columns
        if lacking := [name for name in wanted if name not in counts]:
            raise InvalidInput(
                f"the table lacks the column(s) {_some(lacking)}. It has {_some(self.names)}.{_hint(wanted)}"
            )
        if twice := list(dict.fromkeys(name for name in wanted if counts[name] > 1)):
            raise InvalidInput(f"column names must differ; got {_some(twice)} more than once. Rename them.")
        place = {name: i for i, name in enumerate(self.names)}
        return [place[name] for name in wanted]

    def check(self, places: Sequence[int]) -> None:
        """Raise for the first column that does not hold real numbers."""
        bad = [(j, kind) for j in places if (kind := self.kind(j)) is not None]
        if bad:
            j, kind = bad[0]
            first = f" (first value {_shown(self.first(j))})" if self.rows else ""
            raise InvalidInput(
                f"column {self.names[j]!r} must hold numbers; got dtype {kind}{first}. "
                f"Encode it as numbers of 32 or 64 bits, or drop it ({len(bad)} such columns)."
            )

    def matrix(self, places: Sequence[int]) -> Array:
        """Return the columns at `places` as rows (n, d) in float64."""
        if self.whole is not None and list(places) == list(range(len(self.names))):
            return self.whole()
        x = np.empty((self.rows, len(places)), order="F")
        for k, j in enumerate(places):
            x[:, k] = self.values(j)
        return x


def rows_of(
    table: Any, columns: Sequence[str] | None = None, *, missing: bool = False, name: str = "x"
) -> tuple[Array, tuple[str, ...] | None]:
    """Return the rows (n, d) of any frame or array in float64, and the names of their columns (None for an array).

    Parameters
    ----------
    table : frame, (n, d) array, tensor or nested list
    columns : names wanted, in this order; by default all. An array must have as many columns.
    missing : bool
        Whether NaN, nulls and masked entries are allowed; they become NaN.
    name : str
        Name of the table in error messages.

    Raises
    ------
    InvalidInput
        If a column is not there, comes twice, or does not hold real numbers of 32 or 64 bits; if a value is
        missing (unless `missing`), infinite or beyond 1e100.
    ShapeError
        If an array has another number of axes or columns.
    """
    frame = open_frame(table)
    if frame is None:
        x, names = _unnamed(name, table, columns, missing), None
    else:
        places = frame.places(columns)
        frame.check(places)
        x, names = frame.matrix(places), tuple(frame.names[j] for j in places)
    shown = columns if columns is not None else names
    shown = shown if shown is not None else [f"x{j}" for j in range(x.shape[1])]
    check.finite(name, np.where(np.isnan(x), 0.0, x) if missing else x, limit=LARGEST, columns=shown)
    return x, names


def rows_without_names(name: str, table: Any, d: int, *, why: str = "") -> Array:
    """Return rows (n, d) in float64 for a model that knows no names of columns.

    Raises
    ------
    InvalidInput
        If the table has names, since the order of the model's columns is unknown. Names that count the columns
        (0, 1, … or x0, x1, …) are allowed and give the order.
    ShapeError
        If it has another number of axes or columns.
    """
    frame = open_frame(table)
    if frame is None:
        return check.matrix(name, table, d, why=why)
    for counted in ([str(j) for j in range(d)], [f"x{j}" for j in range(d)]):
        if sorted(frame.names) == sorted(counted):
            places = frame.places(counted)
            frame.check(places)
            return frame.matrix(places)
    if len(frame.names) != d:
        raise ShapeError(f"`{name}` must have {d} columns; got {len(frame.names)}. {why}".rstrip())
    raise InvalidInput(
        f"`{name}` must be an array here: the model knows no names of columns, so that {_some(frame.names)} "
        "cannot be put in order. Score frames by `FittedModel.scores`, or pass an array with the columns in the "
        "order of the training."
    )


def _unnamed(name: str, table: Any, columns: Sequence[str] | None, missing: bool) -> Array:
    x = check.matrix(name, table, missing=missing)
    if columns is not None and x.shape[1] != len(columns):
        raise ShapeError(
            f"`{name}` must have {len(columns)} columns ({_some(columns)}); got shape {x.shape}. "
            "Pass the columns that the model was trained on, in the same order."
        )
    return x


def check_numeric(table: Any) -> None:
    """Raise if a frame has a column twice, or a column that does not hold real numbers. Arrays are not checked.

    Raises
    ------
    InvalidInput
        If so; the message names the column.
    """
    frame = open_frame(table)
    if frame is not None:
        frame.check(frame.places(None))


def index_of(table: Any) -> np.ndarray[Any, Any]:
    """Labels of the rows: the index of a pandas frame, else 0, 1, …"""
    if isinstance(table, pd.DataFrame):
        return np.asarray(table.index)
    frame = open_frame(table)
    return np.arange(len(table) if frame is None else frame.rows)


def like(frame: pd.DataFrame, table: Any) -> Any:
    """Return a pandas frame as a frame of the kind of `table`; it stays pandas for arrays and lists."""
    given = nw.from_native(table, eager_only=True, pass_through=True)
    if not isinstance(given, nw.DataFrame) or given.implementation.is_pandas():
        return frame
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    return nw.from_dict(columns, backend=given.implementation).to_native()


# ── the kinds of frames ──


def open_frame(table: Any) -> Frame | None:
    """Return a `Frame` for a table with named columns, and None for anything else.

    Lazy frames (of Dask, polars, …) are computed.
    """
    if isinstance(table, pd.DataFrame):
        return _pandas(table)
    if isinstance(table, np.ndarray) and table.dtype.names is not None:
        return _structured(table)
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        return _arrow(table)
    if hasattr(table, "map_partitions") and hasattr(table, "compute") and hasattr(table, "columns"):
        return _pandas(table.compute())  # Dask, whose column labels need not be text
    given = nw.from_native(table, pass_through=True)
    if isinstance(given, nw.LazyFrame):
        return open_frame(given.collect().to_native())
    if isinstance(given, nw.DataFrame):
        return _narwhals(given)
    if hasattr(table, "__arrow_c_stream__") and not hasattr(table, "__array__"):
        try:
            return _arrow(pa.table(table))
        except (pa.ArrowException, TypeError, ValueError):
            return None
    return None


def _pandas(table: pd.DataFrame) -> Frame:
    types = list(table.dtypes)

    def kind(j: int) -> str | None:
        good = _is_numbers(table.iloc[:, j]) if _is_objects(types[j]) else _is_real(types[j])
        return None if good else str(types[j])

    def values(j: int) -> Array:
        column = table.iloc[:, j]
        if isinstance(column.dtype, pd.SparseDtype):
            column = pd.Series(np.asarray(column))
        if isinstance(column.dtype, np.dtype) and not _is_objects(column.dtype):
            return column.to_numpy()
        if _is_objects(column.dtype) or _is_decimal(column.dtype):
            return _from_objects(str(table.columns[j]), column.array)
        return column.to_numpy(dtype=np.float64, na_value=np.nan)

    plain = bool(types) and all(isinstance(dtype, np.dtype) and dtype == np.float64 for dtype in types)
    whole = table.to_numpy if plain else None
    names = [str(label) for label in table.columns]
    return Frame(names, len(table), kind, lambda j: table.iloc[0, j], values, whole)


def _arrow(table: pa.Table) -> Frame:
    def kind(j: int) -> str | None:
        dtype = table.schema.field(j).type
        return None if is_number(dtype) else str(dtype)

    def values(j: int) -> Array:
        column = table.column(j)
        return numbers(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))

    return Frame(list(table.column_names), table.num_rows, kind, lambda j: table.column(j)[0].as_py(), values)


def _structured(table: np.ndarray[Any, Any]) -> Frame:
    names = list(table.dtype.names or ())
    if table.ndim != 1:
        raise ShapeError(f"a structured array must have one axis, (n,), one entry a row; got shape {table.shape}.")

    def kind(j: int) -> str | None:
        dtype = table.dtype[j]
        good = dtype.kind in "fiub" and dtype != np.float16
        return None if good or (dtype.kind == "O" and _is_numbers(table[names[j]])) else str(dtype)

    def values(j: int) -> Array:
        column = table[names[j]]
        if column.dtype.kind == "O":
            return _from_objects(names[j], column)
        if isinstance(column, np.ma.MaskedArray):
            return np.ma.filled(column.astype(np.float64), np.nan)
        return column

    return Frame(names, len(table), kind, lambda j: table[names[j]][0], values)


def _narwhals(table: nw.DataFrame[Any]) -> Frame:
    types = list(table.schema.values())

    def kind(j: int) -> str | None:
        dtype = types[j]
        return None if dtype.is_numeric() or dtype in (nw.Boolean, nw.Unknown) else str(dtype)

    def values(j: int) -> Array:
        series = table.get_column(table.columns[j])
        try:
            column = pa.chunked_array([series.to_arrow()])
        except pa.ArrowException:  # integers of 128 bits
            return series.cast(nw.Float64).to_numpy()
        if not is_number(column.type):
            raise InvalidInput(
                f"column {table.columns[j]!r} must hold numbers; got dtype {column.type}. "
                "Encode it as numbers of 32 or 64 bits, or drop it."
            )
        return numbers(column.combine_chunks())

    return Frame(list(map(str, table.columns)), len(table), kind, lambda j: table[0, j], values)


# ── types of pandas, and objects ──


def _is_real(dtype: Any) -> bool:
    if isinstance(dtype, pd.SparseDtype):
        return _is_real(dtype.subtype)
    if isinstance(dtype, pd.ArrowDtype):
        return is_number(dtype.pyarrow_dtype) and not pa.types.is_dictionary(dtype.pyarrow_dtype)
    types = pd.api.types
    return bool(types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype) and dtype != np.float16)


def _is_objects(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "O"


def _is_decimal(dtype: Any) -> bool:
    return isinstance(dtype, pd.ArrowDtype) and not pa.types.is_floating(dtype.pyarrow_dtype)


def _is_gap(value: Any) -> bool:
    return value is None or value is pd.NA or value is np.ma.masked


def _is_numbers(values: Any) -> bool:
    """Whether all objects are real numbers or missing."""
    return all(_is_gap(v) or isinstance(v, SCALARS) for v in values)


def _from_objects(name: str, values: Any) -> Array:
    """Convert objects that passed `_is_numbers` to float64."""
    out = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if not _is_gap(value):
            try:
                out[i] = float(value)
            except (OverflowError, ValueError):
                raise InvalidInput(
                    f"column {name!r} must hold numbers that float64 has; got {_shown(value)} at row {i}. "
                    "Drop or impute those rows first."
                ) from None
    return out


# ── messages ──


def _hint(wanted: Sequence[str]) -> str:
    """Explain, for a model whose columns have no names, what to pass."""
    if list(wanted) == [f"x{j}" for j in range(len(wanted))]:
        return (
            " The model was trained on rows without names: pass an array with the columns in that order, or name "
            "them x0, x1, …"
        )
    return ""


def _shown(value: Any) -> str:
    """A value as messages show it: shortened, and an integer of very many digits by its number of bits."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 1024:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
