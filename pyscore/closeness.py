"""Distance of two arrays in units of eps(dtype)·scale, and in units of last place."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyscore._validate import Array

__all__ = ["error_in_eps", "ulps"]


def error_in_eps(got: Any, want: Any, scale: Any = 1.0, dtype: Any = np.float64) -> Array:
    """|got − want| / (eps(dtype)·scale), entry by entry; infinite where only one of them is NaN or infinite."""
    got, want = np.broadcast_arrays(np.asarray(got, np.float64), np.asarray(want, np.float64))
    scale = np.broadcast_to(np.asarray(scale, np.float64), got.shape)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.where(same, 0.0, np.abs(got - want) / (np.finfo(dtype).eps * scale))
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
