"""Detectors that learn from standardised rows and are kept as arrays: what the ensembles have in common."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.net import netted
from pyscore.data import dataframes as frames
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.detectors.decisions import check_contamination
from pyscore.detectors.tabular import TabularDetector, seed_of, split_rows
from pyscore.scoring.explain import FEATURE_COLUMNS
from pyscore.scoring.fitted import check_names

__all__ = ["StandardisedDetector"]

BLOCK = 4096
"""Rows that are scored at a time by `explain`, which changes one feature after the other."""


class StandardisedDetector(TabularDetector):
    """`fit`, `score_samples`, `explain`, `save` and `load` of a detector that says how it learns and scores."""

    random_state: Any
    calibration_fraction: float
    standardiser_: Standardiser
    imputer_: Imputer | None

    # ── what a detector brings ──

    @abstractmethod
    def _learn(self, x: Array, seed: int) -> None:
        """Learn from standardised rows x (n, d)."""

    @abstractmethod
    def _surprises(self, x: Array) -> dict[str, Array]:
        """What each member says of standardised rows x: name → (n,), higher = more anomalous."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a file keeps of the members: fields of JSON, and arrays."""

    @abstractmethod
    def _restore(self, fields: dict[str, Any], arrays: dict[str, Array], d: int) -> None:
        """Take the members out of a file; raises KeyError, TypeError or ValueError if they are not usable."""

    def _check_parameters(self) -> None:
        """Raise for parameters that cannot be used."""
        check_contamination(self.contamination)
        check.real("calibration_fraction", self.calibration_fraction, at_least=0.0)
        if self.impute is not None:
            check.choice("impute", self.impute, ("median",))

    # ── fitting ──

    @netted
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from rows X (n, d), which may hold a few anomalies; `y` is ignored.

        Raises
        ------
        InvalidInput, ShapeError
            If a parameter or the data cannot be used; both are ValueErrors.
        """
        self._check_parameters()
        x = self._rows(X, reset=True)
        columns = check_names(self._columns(x.shape[1]))
        self.seed_ = seed_of(self.random_state)
        parts = split_rows(len(x), self.seed_, self.calibration_fraction, 0.0)
        self.imputer_ = None if self.impute is None else Imputer.fit(x[parts.train], columns)
        x = x if self.imputer_ is None else self.imputer_.transform(x)
        self.standardiser_ = Standardiser.fit(x[parts.train], columns)
        rows = self.standardiser_.transform(x)
        self.typical_ = np.median(rows[parts.train], axis=0)
        self._learn(rows[parts.train], self.seed_)
        self._decide(self._anomaly(rows), parts.calibration)
        return self

    # ── scores ──

    @netted
    def score_samples(self, X: Any) -> Array:
        """Negative of the anomaly scores (n,) of rows X (n, d), higher = more normal."""
        check_is_fitted(self, "standardiser_")
        return -self._anomaly(self._standard(self._rows(X)))

    def _anomaly(self, x: Array) -> Array:
        """Mean of what the members say of standardised rows x (n, d)."""
        said = list(self._surprises(x).values())
        return np.asarray(np.mean(said, axis=0))

    def _standard(self, x: Array) -> Array:
        """Rows without gaps, standardised."""
        return self.standardiser_.transform(x if self.imputer_ is None else self.imputer_.transform(x))

    # ── explanation ──

    @netted
    def explain(self, X: Any) -> Any:
        """Why: by how much the score of each row falls if one feature after the other is made typical.

        Returns
        -------
        frame of the kind of X (pandas for arrays)
            n·d lines, one for each row and feature, with the columns of `pyscore.scoring.explain`:

            ``row``, ``feature``, ``value``  label of the row, name of the column, value as it came
            ``expected``      median of the column in the training rows
            ``residual``      value − expected
            ``sigmas``        residual / deviation of the column in the training rows
            ``contribution``  anomaly score of the row less its score with the expected value in its place

            then what each member of the detector says of the row, and ``score``, minus their mean (higher = more
            normal), the same on all lines of a row.
        """
        check_is_fitted(self, "standardiser_")
        x = self._rows(X)
        filled = x if self.imputer_ is None else self.imputer_.transform(x)
        z = self.standardiser_.transform(filled)
        n, d = z.shape
        index, deviation = frames.index_of(X), self.standardiser_.deviation
        expected = self.standardiser_.mean + self.typical_ * deviation
        said = self._surprises(z)
        anomaly = np.asarray(np.mean(list(said.values()), axis=0))
        values: list[Any] = [
            np.repeat(np.arange(n) if index is None else np.asarray(index), d),
            np.tile(np.array(self.standardiser_.columns, dtype=object), n),
            filled.ravel(),
            np.tile(expected, n),
            (filled - expected).ravel(),
            ((filled - expected) / deviation).ravel(),
            self._contributions(z, anomaly).ravel(),
        ]
        lines = pd.DataFrame(dict(zip(FEATURE_COLUMNS, values, strict=True)))
        for name, column in said.items():
            lines[name] = np.repeat(column, d)
        lines["score"] = np.repeat(-anomaly, d)
        return frames.like(lines, X)

    def _contributions(self, z: Array, anomaly: Array) -> Array:
        """By how much each anomaly score falls if a feature becomes typical; (n, d), negative where it rises."""
        found = np.empty(z.shape)
        for start in range(0, len(z), BLOCK):
            rows = slice(start, start + BLOCK)
            for j, typical in enumerate(self.typical_):
                changed = z[rows].copy()
                changed[:, j] = typical
                found[rows, j] = anomaly[rows] - self._anomaly(changed)
        return found

    # ── files ──

    @netted
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as safetensors, atomically; `load` and `pyscore.load_model` read the same bits."""
        from pyscore.detectors.detector_file import write_detector

        check_is_fitted(self, "standardiser_")
        write_detector(self, path)

    @classmethod
    @netted
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file of `save`.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged or foreign, or holds another kind of detector.
        """
        from pyscore.detectors.detector_file import read_detector

        return read_detector(path, cls)
