"""Arrow columns: which of their types are numbers, and their values as NumPy arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pyscore._core.checks import Array

__all__ = ["is_number", "numbers", "plain_type"]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Type of the values behind Arrow's dictionary and run-end encodings."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds real numbers of at least 32 bits, or only nulls."""
    kind, types = plain_type(kind), pa.types
    floating = types.is_floating(kind) and not types.is_float16(kind)
    return bool(
        floating
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )


def numbers(column: pa.Array) -> Array:
    """Values (n,) of a column of `is_number`, float32 or float64, contiguous; nulls are NaN.

    float32 and float64 without nulls are not copied.
    """
    kind = column.type
    if not column.null_count and kind in (pa.float32(), pa.float64()):
        return column.to_numpy()
    if pa.types.is_run_end_encoded(kind):
        column = pc.run_end_decode(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    column = column.cast(pa.float64(), safe=False)
    if column.null_count:
        column = pc.fill_null(column, np.nan)
    return np.ascontiguousarray(column.to_numpy(zero_copy_only=False))
