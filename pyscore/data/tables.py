"""A user's tables in memory: files of any kind that is read, DataFrames and arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pyscore._core.checks import Array
from pyscore._core.lazy import LazyModule
from pyscore.data.arrow_numbers import numbers
from pyscore.data.bad_values import bad_value
from pyscore.data.dataframes import rows_of
from pyscore.data.preprocessing import LARGEST
from pyscore.data.read_options import ReadOptions
from pyscore.data.table_files import (
    Block,
    InputFile,
    Source,
    block_rows,
    find_files,
    inspect_all,
    read_blocks,
    tell_notes,
)
from pyscore.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # loading it takes longer than scoring a thousand rows

__all__ = [
    "WRITTEN",
    "Rows",
    "features",
    "read_row",
    "read_rows",
    "read_table",
    "records",
    "split_labels",
    "write_table",
]

WRITTEN = (".csv", ".parquet")
"""Endings of the tables that `write_table` writes."""


@dataclass(frozen=True)
class Rows:
    """Rows that were read from tables on disk."""

    x: Array
    """(n, d) float64; NaN where a value is missing."""
    columns: tuple[str, ...]
    """Names of the features."""
    kept: pa.Table
    """The columns of `keep`, which are not features."""

    @property
    def frame(self) -> pd.DataFrame:
        """The features as a DataFrame, which shares their memory."""
        return pd.DataFrame(self.x, columns=list(self.columns), copy=False)

    def labels(self, name: str) -> Array:
        """Return a kept column as labels 0 and 1; raises as `split_labels`."""
        return _labels(self.kept[name].to_pylist(), name)


def read_rows(
    source: Source,
    features: Sequence[str] | None = None,
    *,
    keep: Sequence[str] = (),
    missing: bool = False,
    options: ReadOptions | None = None,
    progress: Callable[[int, float | None], None] | None = None,
) -> Rows:
    """Read tables of any kind that `pyscore score` reads: a file, a folder, a pattern, or several of them.

    Parameters
    ----------
    source : path, or several
    features : names of columns, which may stand in any order; by default all columns but those of `keep`
    keep : names of columns to read that are not features
    missing : bool
        Whether missing values are allowed; they become NaN.
    options : ReadOptions
        How text tables are read.
    progress : callable (rows, total), optional
        Called with the number of rows read and the number in all, which is None where files do not say it.

    Raises
    ------
    DataUnavailable
        If there is no such file.
    InvalidInput
        If a file is of another kind, empty, or cannot be parsed, or if a value is not a number, missing (unless
        `missing`), infinite or beyond 1e100; the message names file, line and column.

    Warns
    -----
    TableNote
        If columns are left out because they number the rows, or are empty and have no name.
    """
    files = inspect_all(find_files(source), features, keep, options)
    tell_notes(files)
    names = files[0].features
    _require_columns(files, names)
    counts = [file.rows for file in files if file.rows is not None]
    total = sum(counts) if len(counts) == len(files) else None
    x, at, parts, kept = np.empty((total or 0, len(names))), 0, [], []
    for block in read_blocks(files, tuple(dict.fromkeys((*names, *keep))), block_rows(len(names) + len(keep))):
        rows = _checked(block, names, missing)
        if total is None:
            parts.append(rows)
        else:
            x[at : at + len(rows)] = rows
        at += len(rows)
        kept.append(block.batch.select(list(keep)))
        if progress is not None:
            progress(at, total)
    if not at:
        raise InvalidInput(f"the table {files[0].path!r} is empty: 0 rows, {len(names)} columns.")
    x = x if total is not None else np.concatenate(parts)
    return Rows(x, names, pa.Table.from_batches(kept) if keep else pa.table({}))


def read_row(
    source: Source, features: Sequence[str], row: int, *, missing: bool = False, options: ReadOptions | None = None
) -> pd.DataFrame:
    """Read one row of tables, counted from 0 over all files, as a DataFrame; raises as `read_rows`."""
    files = inspect_all(find_files(source), features, (), options)
    number, before = 0, 0
    while number < len(files) and (count := files[number].rows) is not None and row >= before + count:
        number, before = number + 1, before + count
    start = (number, max(0, row - before) if number < len(files) and files[number].rows is not None else 0)
    at = before + start[1]
    for block in read_blocks(files, features, block_rows(len(features)), start=start):
        if 0 <= row < at + block.batch.num_rows:
            one = replace(block, batch=block.batch.slice(row - at, 1), first=block.first + row - at)
            return pd.DataFrame(_checked(one, features, missing), columns=list(features), index=[row])
        at += block.batch.num_rows
    raise InvalidInput(f"`row` must be between 0 and {at - 1}, the last row of the table; got {row}.")


def read_table(source: Source, *, options: ReadOptions | None = None) -> pd.DataFrame:
    """Read tables whose columns are all numbers as a DataFrame; see `read_rows`."""
    return read_rows(source, missing=True, options=options).frame


def _checked(block: Block, names: Sequence[str], missing: bool) -> Array:
    """Return the features of a block as rows in float64, after checking each value."""
    x = np.empty((block.batch.num_rows, len(names)))
    for j, name in enumerate(names):
        x[:, j] = numbers(block.batch.column(name))
    with np.errstate(invalid="ignore"):
        good = np.abs(x) <= LARGEST
    bad = ~good & ~np.isnan(x) if missing else ~good
    if bad.any():
        row, j = np.argwhere(bad)[0]
        remedy = "Fill it with the median of its column (--impute median), or drop such rows"
        raise bad_value(block, int(row), names[j], x[row, j], remedy)
    return x


def _require_columns(files: Sequence[InputFile], names: Sequence[str]) -> None:
    if not names:
        raise InvalidInput(f"the table {files[0].path!r} is empty: it has no column of numbers.")


def write_table(path: str | os.PathLike[str], frame: pd.DataFrame) -> None:
    """Write a frame as .csv or .parquet, atomically."""
    from pyscore._core.files import atomic_write

    suffix = Path(path).suffix.lower()
    if suffix not in WRITTEN:
        raise InvalidInput(f"`path` must end in .csv or .parquet; got {str(path)!r}.")
    with atomic_write(path) as file:
        if suffix == ".csv":
            file.write(frame.to_csv(index=False).encode())
        else:
            frame.to_parquet(file, index=False, write_page_checksum=True)


def split_labels(frame: pd.DataFrame, label: str | None) -> tuple[pd.DataFrame, Array | None]:
    """Split a frame into its features and its label column (0/1 or False/True)."""
    if label is None:
        return frame, None
    place = {str(name): j for j, name in enumerate(frame.columns)}
    if str(label) not in place:
        raise InvalidInput(f"`label` must name a column; got {label!r}. There are {_some(frame.columns)}.")
    values = frame.iloc[:, place[str(label)]]
    rest = frame.drop(columns=frame.columns[place[str(label)]])
    return rest, _labels(values.tolist(), str(label))


def _labels(values: list[Any], name: str) -> Array:
    """Return labels 0 and 1, given as numbers, as truth values, or as text of either."""
    known = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
    found = [known.get(str(value).strip().lower(), -1) for value in values]
    if -1 in found:
        distinct = list(dict.fromkeys(map(str, values)))
        raise InvalidInput(f"column {name!r} must hold 0 (normal) and 1 (anomaly); got {_some(distinct)}.")
    return np.array(found, dtype=np.int64)


def features(
    table: Any, columns: Sequence[str] | None = None, *, missing: bool = False
) -> tuple[Array, tuple[str, ...]]:
    """Feature matrix (n, d) in float64 and the names of its columns.

    Parameters
    ----------
    table : any frame, or array of (n, d); see `dataframes.rows_of`
    columns : names wanted, in this order; by default all
    missing : bool
        Whether NaN, nulls and masked entries are allowed; they become NaN.

    Raises
    ------
    InvalidInput
        If a wanted column is not there, holds text, dates or objects, or has a value that is NaN (unless
        `missing`), infinite or beyond 1e100.
    """
    x, names = rows_of(table, columns, missing=missing)
    if x.size == 0:
        raise InvalidInput(f"the table must have rows and columns; got {x.shape[0]} rows, {x.shape[1]} columns.")
    if names is None:
        names = tuple(columns) if columns is not None else tuple(f"x{i}" for i in range(x.shape[1]))
    return x, names


def _some(names: Any) -> str:
    shown = [str(n) for n in list(names)[:8]]
    return ", ".join(shown) + (", …" if len(names) > 8 else "")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
