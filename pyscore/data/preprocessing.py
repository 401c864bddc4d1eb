"""Standardisation of features and imputation of missing values, fitted on the training rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.errors import InvalidInput

__all__ = ["Imputer", "Standardiser"]

LARGEST = 1e100  # sums of its square do not overflow in float64


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Standardisation x ↦ (x − mean) / deviation of each feature."""

    mean: Array
    """(d,)."""
    deviation: Array
    """(d,), sample deviation (n−1); 1 for a constant feature."""
    columns: tuple[str, ...]
    """Names of the features."""

    @classmethod
    def fit(cls, x: ArrayLike, columns: tuple[str, ...] | None = None, *, floor: float = 0.0) -> Standardiser:
        """Mean and deviation of the rows x (n, d).

        Parameters
        ----------
        x : (n, d) array, n ≥ 2
        columns : names of the features, by default x0, x1, …
        floor : float
            A feature whose deviation is at most this counts as constant; the original has 1e-6. By default
            only a deviation that is rounding noise (1e-13 of the largest value) counts.

        Raises
        ------
        InvalidInput
            If there are fewer than 2 rows, no varying feature, or a value is NaN, infinite or beyond 1e100.

        Warns
        -----
        UserWarning
            Naming constant features, which carry no information and become zero.
        """
        x = check.matrix("x", x)
        columns = tuple(columns) if columns is not None else tuple(f"x{i}" for i in range(x.shape[1]))
        if len(columns) != x.shape[1]:
            raise InvalidInput(f"`columns` must hold {x.shape[1]} names; got {len(columns)}.")
        if x.shape[0] < 2 or x.shape[1] == 0:
            raise InvalidInput(
                f"`x` must have at least 2 rows and 1 column to be standardised; got shape {x.shape}."
            )
        check.finite("x", x, limit=LARGEST, columns=columns)
        mean, deviation = x.mean(axis=0), x.std(axis=0, ddof=1)
        constant = deviation <= np.maximum(floor, 1e-13 * np.abs(x).max(axis=0))
        if constant.all():
            raise InvalidInput("`x` must vary: every column is constant, so there is nothing to learn.")
        if constant.any():
            names = [name for name, flat in zip(columns, constant, strict=True) if flat]
            warnings.warn(
                f"constant columns carry no information and become zero: {', '.join(names[:10])}"
                f"{', …' if len(names) > 10 else ''}. Leave them out to silence this.",
                UserWarning,
                stacklevel=2,
            )
        return cls(mean, np.where(constant, 1.0, deviation), columns)

    def transform(self, x: ArrayLike) -> Array:
        """Standardise rows (n, d); raises as `fit` does for NaN, infinite and huge values."""
        x = check.matrix("x", x, len(self.columns), why=f"The columns are {', '.join(self.columns[:8])} ….")
        check.finite("x", x, limit=LARGEST, columns=self.columns)
        z = x - self.mean
        z /= self.deviation
        return z

    def for_scores(self, x: Array, dtype: Any = np.float64, *, compiled: bool = False) -> Array:
        """Standardise rows (n, d) for scoring: check their magnitude and round once to `dtype`.

        `compiled` does it in one pass of compiled code on all cores, with the same bits.

        Raises
        ------
        InvalidInput
            As `transform`; or if a row lies more than 1e15 deviations from the mean.
        """
        if compiled and len(x):
            out = np.empty(x.shape, dtype)
            if x.flags.f_contiguous:  # a frame
                good = self.transpose(list(x.T), out, compiled=True)
            else:
                from pyscore.kernels.cpu.standardise import standardise_rows

                bounds = {"limit": LARGEST, "largest": check.LARGEST}
                good = standardise_rows(np.ascontiguousarray(x), self.mean, self.deviation, out, **bounds)
            if good:
                return out
        z = self.transform(x)  # raises an error that names the bad entry
        check.finite("x (standardised)", z, limit=check.LARGEST, columns=self.columns)
        return z.astype(dtype, copy=False)

    def transpose(self, columns: Sequence[Array], out: Array, *, compiled: bool) -> bool:
        """Write d columns (n,), standardised in float64, into the rows of `out` (n, d), each rounded once.

        Parameters
        ----------
        columns : d contiguous arrays of (n,), float32 or float64
        out : (n, d) array, float32 or float64
        compiled : bool
            Whether in one pass of compiled code, to the same bits.

        Returns
        -------
        bool
            Whether every entry is finite and within the bounds of `for_scores`; if one is not, `out` is of no use.
        """
        if compiled:
            from pyscore.kernels.cpu.standardise import standardise

            bounds = {"limit": LARGEST, "largest": check.LARGEST}
            return standardise(columns, self.mean, self.deviation, out, **bounds)
        good = True
        with np.errstate(over="ignore", invalid="ignore"):
            for j, column in enumerate(columns):
                z = (column - self.mean[j]) / self.deviation[j]
                good &= bool((np.abs(column) <= LARGEST).all() and (np.abs(z) <= check.LARGEST).all())
                out[:, j] = z
        return good


@dataclass(frozen=True, eq=False)
class Imputer:
    """Replacement of NaN by the median of its feature."""

    median: Array
    """(d,), of the values that are not missing."""

    @classmethod
    def fit(cls, x: ArrayLike, columns: tuple[str, ...]) -> Imputer:
        """Return the imputer with the median of each feature of the rows x (n, d), ignoring NaN.

        Raises
        ------
        InvalidInput
            If a feature has no value at all.
        """
        x = check.matrix("x", x, len(columns))
        gone = np.atleast_1d(np.isnan(x).all(axis=0))
        empty = [name for name, none in zip(columns, gone, strict=True) if none]
        if empty:
            raise InvalidInput(
                f"column {empty[0]!r} has no value at all, so it has no median ({len(empty)} such columns). "
                "Leave it out."
            )
        return cls(np.nanmedian(x, axis=0))

    def transform(self, x: ArrayLike) -> Array:
        """Fill the gaps of the rows x (n, d)."""
        x = check.matrix("x", x, len(self.median))
        return np.where(np.isnan(x), self.median, x)
