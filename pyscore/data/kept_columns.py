"""Columns that are copied to the output: one type for all input files, which the output file must support."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from pyscore.errors import InvalidInput

__all__ = ["check_writable", "unified"]

Kept = tuple[tuple[str, pa.DataType], ...]


def unified(files: Sequence[tuple[str, Kept]]) -> Kept:
    """Return a type for each kept column that can hold its values in every file.

    Of 32 and 64 bits it is the wider; of nulls and text it is text.

    Parameters
    ----------
    files : for each file its path, and the name and type of each kept column

    Raises
    ------
    InvalidInput
        If there is no such type; the message names the column, the files and both types.
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
    """Whether text can represent every value of the type."""
    types = pa.types
    text = types.is_string(kind) or types.is_large_string(kind)
    return bool(text or types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind))


def check_writable(kept: Kept, suffix: str) -> None:
    """Raise if the output file cannot hold a kept column. This is checked before anything is scored.

    Parameters
    ----------
    kept : name and type of each kept column
    suffix : ".csv", ".parquet", ".arrow" or ".feather"

    Raises
    ------
    InvalidInput
        If a column cannot be held; the message names it and its type.
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
        return False  # bytes are not text
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
