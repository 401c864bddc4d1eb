"""The error for an unusable value in a file, which gives the value's place and its text."""

from __future__ import annotations

import numpy as np

from pyscore.data.preprocessing import LARGEST
from pyscore.data.table_files import Block
from pyscore.errors import InvalidInput

__all__ = ["bad_value"]


def bad_value(block: Block, row: int, name: str, value: float, remedy: str) -> InvalidInput:
    """Return the error for a missing, infinite or too large value; `remedy` says how to fill a gap."""
    where, text = block.where(row, name)
    if np.isnan(value):
        cell = "" if text is None else " (the cell is empty)" if not text.strip() else f" (the cell has {text!r})"
        return InvalidInput(f"{where} is missing or NaN{cell}. {remedy}.")
    got = f"{value}" if text is None else repr(text[:80])
    return InvalidInput(f"{where} must be a finite number of at most {LARGEST:g}; got {got}. Drop such rows.")
