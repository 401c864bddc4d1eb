"""Arrow columns: which of their types are numbers, and their values as NumPy arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pyscore._core.checks import Array

__all__ = ["arrow_column", "is_number", "numbers", "plain_type"]


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
        return _values(column)
    if pa.types.is_run_end_encoded(kind):
        column = pc.run_end_decode(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    column = column.cast(pa.float64(), safe=False)
    if column.null_count:
        column = pc.fill_null(column, np.nan)
    return _values(column)


def _values(column: pa.Array) -> Array:
    """The numbers of a column of floats without nulls, not copied; `column.to_numpy()` would load pandas."""
    dtype = np.dtype(np.float32 if column.type == pa.float32() else np.float64)
    if not len(column):
        return np.empty(0, dtype)
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize)


def arrow_column(values: Array) -> pa.Array:
    """Numbers (n,) as a column of their type without nulls, not copied; `pa.array` would load pandas."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])
