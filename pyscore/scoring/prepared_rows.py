"""Columns of Arrow as the rows that a model scores: found by name, filled, standardised, checked."""

from __future__ import annotations

import threading
from typing import Any, Protocol

import numpy as np

from pyscore._core.checks import Array
from pyscore.data.arrow_numbers import numbers
from pyscore.data.bad_values import bad_value
from pyscore.data.preprocessing import LARGEST, Imputer, Standardiser
from pyscore.data.table_files import Block
from pyscore.errors import InvalidInput
from pyscore.scoring.scores import LARGEST as LARGEST_STANDARDISED

__all__ = ["Prepares", "RowBuffer", "standardised_rows"]


class RowBuffer(threading.local):
    """Memory for the rows of one block, kept for the next block: one a thread, whoever made it.

    A fresh array for every block would cost its page faults. Rows that are kept longer than until the thread's
    next block have to be copied.
    """

    array: Array | None = None

    def rows(self, n: int, d: int, dtype: np.dtype[Any]) -> Array:
        """An array (n, d) with anything in it."""
        have = self.array
        if have is None or have.dtype != dtype or have.shape[1] != d or len(have) < n:
            have = self.array = np.empty((n, d), dtype)
        return have[:n]


class Prepares(Protocol):
    """What knows how rows are prepared: a `FittedModel`, say."""

    @property
    def standardiser(self) -> Standardiser:
        """Scaler of the columns, with their names."""

    @property
    def imputer(self) -> Imputer | None:
        """What fills gaps."""


def standardised_rows(
    block: Block,
    fitted: Prepares,
    imputer: Imputer | None,
    dtype: np.dtype[Any],
    buffer: RowBuffer | None = None,
    *,
    compiled: bool = False,
) -> Array:
    """Rows (n, d) of a block as `FittedModel.scores` standardises them, in float64, rounded once to `dtype`.

    Parameters
    ----------
    block : Block
    fitted : FittedModel, or whatever has its scaler and imputer
    imputer : Imputer or None
    dtype : float32 or float64
    buffer : RowBuffer, optional
        Memory of the caller's that the rows are put into; by default they get an array of their own.
    compiled : bool
        See `Standardiser.transpose`.

    Raises
    ------
    InvalidInput
        If a value is missing (and there is no imputer), infinite or too large, naming file, row and column.
    """
    standardiser = fitted.standardiser
    values = [numbers(block.batch.column(name)) for name in standardiser.columns]
    n = block.batch.num_rows
    d = len(values)
    out = np.empty((n, d), dtype) if buffer is None else buffer.rows(n, d, dtype)
    good = standardiser.transpose(values, out, compiled=compiled)
    if not good and imputer is not None:
        values = [np.where(np.isnan(v), m, v) for v, m in zip(values, imputer.median, strict=True)]
        good = standardiser.transpose(values, out, compiled=compiled)
    if not good:
        raise _complaint(block, values, fitted)
    return out


def _complaint(block: Block, values: list[Array], fitted: Prepares) -> InvalidInput:
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
