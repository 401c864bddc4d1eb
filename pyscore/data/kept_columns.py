"""Columns that are carried along: one type for all files, and whether the kind of file that is written has it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from pyscore.errors import InvalidInput

__all__ = ["check_writable", "unified"]

Kept = tuple[tuple[str, pa.DataType], ...]


def unified(files: Sequence[tuple[str, Kept]]) -> Kept:
    """Types that hold what every file has: of 32 and 64 bits the wider, of nulls and texts the text.

    Parameters
    ----------
    files : path, and name and type of each column kept

    Raises
    ------
    InvalidInput
        Naming column, file and both types where there is no such type.
    """
    first_path, first = files[0]
    types = dict(first)
    for path, kept in files[1:]:
        for name, kind in kept:
            if kind != types[name]:
                types[name] = _common(name, types[name], kind, first_path, path)
    return tuple(types.items())


def _common(name: str, one: pa.DataType, other: pa.DataType, first: str, path: str) -> pa.DataType:
    fields = [pa.schema([(name, one)]), pa.schema([(name, other)])]
    try:
        return pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except (pa.ArrowException, NotImplementedError):
        if _is_plain(one) and _is_plain(other):
            return pa.string()
        raise InvalidInput(
            f"column {name!r} cannot be kept: it holds {one} in {first!r}, but {other} in {path!r}. "
            "Give it one type in all files, or score them one by one."
        ) from None


def _is_plain(kind: pa.DataType) -> bool:
    """Whether a text says all that a value of the type does."""
    types = pa.types
    text = types.is_string(kind) or types.is_large_string(kind)
    return bool(text or types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind))


def check_writable(kept: Kept, suffix: str) -> None:
    """Raise if a kind of file cannot hold a column that is kept; before anything is scored.

    Parameters
    ----------
    kept : name and type of each
    suffix : ".csv", ".parquet", ".arrow" or ".feather"

    Raises
    ------
    InvalidInput
        Naming the column and its type.
    """
    for name, kind in kept:
        if not _can_hold(suffix, kind):
            other = "Parquet or " if suffix == ".csv" and _can_hold(".parquet", kind) else ""
            raise InvalidInput(
                f"`keep` has the column {name!r} of {kind}, which a {suffix} file cannot hold. Write {other}"
                ".arrow instead, or leave the column out."
            )


def _can_hold(suffix: str, kind: pa.DataType) -> bool:
    if suffix == ".csv" and any(
        (pa.types.is_binary(kind), pa.types.is_large_binary(kind), pa.types.is_fixed_size_binary(kind))
    ):
        return False  # bytes that are no text
    table, out = pa.table({"column": pa.nulls(1, kind)}), io.BytesIO()
    try:
        if suffix == ".csv":
            csv.write_csv(table, out)
        elif suffix == ".parquet":
            parquet.write_table(table, out)
        else:
            with ipc.new_file(out, table.schema) as writer:
                writer.write_table(table)
    except (pa.ArrowException, NotImplementedError):
        return False
    return True
