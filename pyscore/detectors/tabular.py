"""Tables in: the checks of a detector's rows, the gaps that it fills, and the rows that it holds back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from pyscore._core import checks as check
from pyscore._core.arrays import plain_numbers
from pyscore._core.checks import Array
from pyscore.data import dataframes as frames
from pyscore.data.preprocessing import LARGEST
from pyscore.detectors.decisions import Decisions
from pyscore.errors import InvalidInput
from pyscore.reference import sampling

__all__ = ["Parts", "TabularDetector", "seed_of", "split_rows"]


class TabularDetector(Decisions, BaseEstimator):  # type: ignore[misc]
    """A detector of rows (n, d): arrays, or frames of pandas, polars and Arrow, whose columns have names."""

    impute: str | None
    feature_names_in_: NDArray[np.object_]

    def _rows(self, X: Any, *, reset: bool = False) -> Array:
        """Rows as float64, gaps as NaN, with scikit-learn's checks of shape and names and pyscore's of values."""
        gaps = self.impute is not None
        frame = frames.open_frame(X)
        table: Any
        if frame is None:
            table = _real_numbers(X, gaps)
        else:
            x, names = frames.rows_of(X, missing=gaps, name="X")
            labels = X.columns if isinstance(X, pd.DataFrame) else names
            table = pd.DataFrame(x, columns=labels, copy=False)
        least = 2 if reset else 1
        x = validate_data(
            self, table, reset=reset, dtype=np.float64, ensure_all_finite=False,
            ensure_min_samples=least, ensure_min_features=least,
        )  # fmt: skip
        check.finite(
            "X", np.where(np.isnan(x), 0.0, x) if gaps else x, limit=LARGEST, columns=self._columns(x.shape[1])
        )
        return x

    def _columns(self, d: int) -> tuple[str, ...]:
        """Names of the columns, x0, x1, … if they have none."""
        return tuple(map(str, getattr(self, "feature_names_in_", [f"x{i}" for i in range(d)])))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.impute is not None
        return tags


def _real_numbers(X: Any, missing: bool) -> Array:
    if np.iscomplexobj(X) if isinstance(X, np.ndarray) else False:
        raise InvalidInput(
            f"`X` must be an array of real numbers; got dtype {X.dtype}. Complex data not supported."
        )
    return plain_numbers("X", X, missing=missing)


class Parts(NamedTuple):
    """Indices of the rows for training, validation and calibration, each ascending."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]


def split_rows(n: int, seed: int, calibration_fraction: float, validation_fraction: float) -> Parts:
    """Split n rows at random; the parts of both fractions are rounded, and hold at least 2 rows if not 0."""
    sizes = []
    for name, fraction in (
        ("calibration_fraction", calibration_fraction),
        ("validation_fraction", validation_fraction),
    ):
        if not 0 <= fraction < 1:
            raise InvalidInput(f"`{name}` must be at least 0 and below 1; got {fraction!r}.")
        sizes.append(max(2, round(n * fraction)) if fraction else 0)
    held = sum(sizes)
    if n - held < 2:
        raise InvalidInput(
            f"`calibration_fraction` and `validation_fraction` leave {max(0, n - held)} of {n} rows to train on; "
            "at least 2 are needed. Lower them, or bring more rows."
        )
    order = sampling.generator(seed, "validation").permutation(n) if held else np.arange(n)
    calibration_rows, validation_rows, train_rows = np.split(order, [sizes[0], held])
    return Parts(np.sort(train_rows), np.sort(validation_rows), np.sort(calibration_rows))


def seed_of(random_state: Any) -> int:
    """Return an integer seed: itself, or drawn from a generator or from fresh entropy."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return check.integer("random_state", random_state, at_least=0)
