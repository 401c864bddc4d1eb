"""Tables of the user's own: CSV and Parquet files, DataFrames and arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyscore import _validate as check
from pyscore._validate import Array
from pyscore.errors import DataUnavailable, InvalidInput, ShapeError

__all__ = ["features", "read_table", "records", "split_labels", "write_table"]


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a .csv (also .csv.gz, .tsv) or .parquet file.

    Raises
    ------
    DataUnavailable
        If there is no such file.
    InvalidInput
        If it is of another kind, empty, or cannot be parsed.
    """
    path = Path(path)
    if not path.is_file():
        raise DataUnavailable(f"there is no file {str(path)!r}. Check the path.")
    suffixes = [s.lower() for s in path.suffixes]
    try:
        if ".parquet" in suffixes:
            frame = pd.read_parquet(path)
        elif ".csv" in suffixes or ".tsv" in suffixes:
            frame = pd.read_csv(path, sep="\t" if ".tsv" in suffixes else ",")
        else:
            raise InvalidInput(f"`path` must end in .csv, .tsv or .parquet; got {str(path)!r}.")
    except InvalidInput:
        raise
    except Exception as error:  # pandas and pyarrow raise a dozen types for a damaged file
        raise InvalidInput(f"cannot parse {str(path)!r}: {error}. Is it damaged, or of another kind?") from error
    if frame.empty:
        raise InvalidInput(f"the table {str(path)!r} is empty: {len(frame)} rows, {frame.shape[1]} columns.")
    return frame


def write_table(path: str | os.PathLike[str], frame: pd.DataFrame) -> None:
    """Write a frame as .csv or .parquet, atomically."""
    from pyscore.storage import atomic_write

    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InvalidInput(f"`path` must end in .csv or .parquet; got {str(path)!r}.")
    with atomic_write(path) as file:
        if suffix == ".csv":
            file.write(frame.to_csv(index=False).encode())
        else:
            frame.to_parquet(file, index=False)


def split_labels(frame: pd.DataFrame, label: str | None) -> tuple[pd.DataFrame, Array | None]:
    """Take the label column (0/1 or False/True) off a frame."""
    if label is None:
        return frame, None
    if label not in frame.columns:
        raise InvalidInput(f"`label` must name a column; got {label!r}. There are {_some(frame.columns)}.")
    values = frame[label].to_numpy()
    if not np.isin(values, (0, 1)).all():
        raise InvalidInput(
            f"column {label!r} must hold 0 (normal) and 1 (anomaly); got {_some(pd.unique(values))}."
        )
    return frame.drop(columns=label), values.astype(np.int64)


def features(
    table: Any, columns: Sequence[str] | None = None, *, missing: bool = False
) -> tuple[Array, tuple[str, ...]]:
    """Feature matrix (n, d) in float64 and the names of its columns.

    Parameters
    ----------
    table : DataFrame, or array of (n, d)
    columns : names wanted, in this order; by default all
    missing : bool
        Let NaN and nulls pass, as NaN.

    Raises
    ------
    InvalidInput
        If a column holds text, dates or objects, is missing, or a value is NaN (unless `missing`), infinite or
        beyond 1e100.
    """
    if not isinstance(table, pd.DataFrame):
        x = check.matrix("x", table)
        names = tuple(columns) if columns is not None else tuple(f"x{i}" for i in range(x.shape[1]))
        if x.shape[1] != len(names):
            raise ShapeError(
                f"`x` must have {len(names)} columns ({_some(names)}); got shape {x.shape}. "
                "Pass the columns that the model was trained on, in the same order."
            )
    else:
        names = tuple(columns) if columns is not None else tuple(map(str, table.columns))
        table = table.set_axis(list(map(str, table.columns)), axis=1)
        lacking = [name for name in names if name not in table.columns]
        if lacking:
            raise InvalidInput(f"the table lacks the column(s) {_some(lacking)}. It has {_some(table.columns)}.")
        twice = table.columns[table.columns.duplicated()]
        if len(twice):
            raise InvalidInput(f"column names must differ; got {_some(twice)} more than once. Rename them.")
        text = [name for name in names if not _is_real(table[name].dtype)]
        if text:
            raise InvalidInput(
                f"column {text[0]!r} must hold numbers; got dtype {table[text[0]].dtype}"
                f"{f' (first value {table[text[0]].iloc[0]!r})' if len(table) else ''}. "
                f"Encode it as numbers of 32 or 64 bits, or drop it ({len(text)} such columns)."
            )
        x = table[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)
    if x.size == 0:
        raise InvalidInput(f"the table must have rows and columns; got {x.shape[0]} rows, {x.shape[1]} columns.")
    check.finite("x", np.where(np.isnan(x), 0.0, x) if missing else x, limit=1e100, columns=names)
    return x, names


def _is_real(dtype: Any) -> bool:
    types = pd.api.types
    return types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype) and dtype != np.float16


def _some(names: Any) -> str:
    shown = [str(n) for n in list(names)[:8]]
    return ", ".join(shown) + (", …" if len(names) > 8 else "")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
