"""Distance of two arrays in units of eps(dtype)·scale, and in units of last place."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from pyscore._core.checks import Array

__all__ = ["RECORD", "error_in_eps", "record", "ulps"]

RECORD = "PYSCORE_RECORD_ERRORS"
"""Environment variable with the name of a file to which every comparison adds a line, see `record`."""


def error_in_eps(got: Any, want: Any, scale: Any = 1.0, dtype: Any = np.float64) -> Array:
    """|got − want| / (eps(dtype)·scale), entry by entry; infinite where only one of them is NaN or infinite.

    Where the scale is infinite, rounding alone decides what comes out, and the error is 0.
    """
    got, want = np.broadcast_arrays(np.asarray(got, np.float64), np.asarray(want, np.float64))
    scale = np.broadcast_to(np.asarray(scale, np.float64), got.shape)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.where(same | np.isposinf(scale), 0.0, np.abs(got - want) / (np.finfo(dtype).eps * scale))
    return np.where(np.isnan(error), np.inf, error)


def ulps(got: Any, want: Any) -> float:
    """Largest |got − want| in units of the last place of `want`, in the type of `got`."""
    got = np.asarray(got)
    if got.size == 0:
        return 0.0
    want = np.asarray(want, np.float64)
    spacing = np.spacing(np.maximum(np.abs(want).astype(got.dtype), np.finfo(got.dtype).tiny)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(got == want, 0.0, np.abs(got.astype(np.float64) - want) / spacing)))


def record(what: str, error: float, bound: float) -> None:
    """Add a comparison to the file that ``PYSCORE_RECORD_ERRORS`` names, if it does.

    One JSON object a line: ``what``, ``test`` (pytest's, or null), ``error`` and ``bound`` in the same units, and
    ``ratio`` = error/bound, which is above 1 where the comparison failed. A line is written whole, so that several
    processes may share a file.
    """
    target = os.environ.get(RECORD)
    if not target:
        return
    ratio = error / bound if bound > 0 else float(error > 0)
    numbers = {
        name: float(f"{value:.4g}") for name, value in (("error", error), ("bound", bound), ("ratio", ratio))
    }
    line = json.dumps({"what": what, "test": os.environ.get("PYTEST_CURRENT_TEST"), **numbers}) + "\n"
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
