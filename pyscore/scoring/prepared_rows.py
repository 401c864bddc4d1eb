"""Columns of Arrow as the rows that a model scores: found by name, filled, standardised, checked."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from pyscore._core.checks import Array
from pyscore.data.arrow_numbers import numbers
from pyscore.data.bad_values import bad_value
from pyscore.data.preprocessing import LARGEST, Imputer
from pyscore.data.table_files import Block
from pyscore.errors import InvalidInput
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.scores import LARGEST as LARGEST_STANDARDISED

__all__ = ["standardised_rows"]

_buffers = threading.local()  # one a thread: a fresh one a block would cost its page faults


def standardised_rows(block: Block, fitted: FittedModel, imputer: Imputer | None, dtype: np.dtype[Any]) -> Array:
    """Rows (n, d) of a block as `FittedModel.scores` standardises them, in float64, rounded once to `dtype`.

    The result is overwritten by the next call in the same thread.

    Raises
    ------
    InvalidInput
        If a value is missing (and there is no imputer), infinite or too large, naming file, row and column.
    """
    from pyscore.kernels.cpu.standardise import standardise

    standardiser = fitted.standardiser
    values = [numbers(block.batch.column(name)) for name in standardiser.columns]
    n = block.batch.num_rows
    out = _buffer(n, len(values), dtype)
    bounds = {"limit": LARGEST, "largest": LARGEST_STANDARDISED}
    good = standardise(values, standardiser.mean, standardiser.deviation, out, **bounds)
    if not good and imputer is not None:
        values = [np.where(np.isnan(v), m, v) for v, m in zip(values, imputer.median, strict=True)]
        good = standardise(values, standardiser.mean, standardiser.deviation, out, **bounds)
    if not good:
        raise _complaint(block, values, fitted)
    return out


def _buffer(n: int, d: int, dtype: np.dtype[Any]) -> Array:
    have: Array | None = getattr(_buffers, "array", None)
    if have is None or have.dtype != dtype or have.shape[1] != d or len(have) < n:
        have = _buffers.array = np.empty((n, d), dtype)
    return have[:n]


def _complaint(block: Block, values: list[Array], fitted: FittedModel) -> InvalidInput:
    """The error for the first row with a bad value, and its first bad column."""
    x = np.stack(values, axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        z = (x - fitted.standardiser.mean) / fitted.standardiser.deviation
        bad = ~((np.abs(x) <= LARGEST) & (np.abs(z) <= LARGEST_STANDARDISED))
    row, j = np.argwhere(bad)[0]
    name, value = fitted.standardiser.columns[j], x[row, j]
    if fitted.imputer is not None:
        remedy = "Fill it with --impute median: the model has learnt the medians"
    else:
        remedy = "Drop or fill such rows, or refit with `pyscore fit --impute median`"
    if not abs(value) <= LARGEST:
        return bad_value(block, row, name, value, remedy)
    return InvalidInput(
        f"{block.where(row, name)[0]} is {value}, {z[row, j]:.3g} standard deviations of the training rows from "
        f"their mean: beyond {LARGEST_STANDARDISED:g}, where float32 ends. Drop such rows."
    )
