"""Decisions of a detector about tables larger than memory: score, p-value and label of each row, in blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pyscore._core.checks import Array
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.data.table_files import Block
from pyscore.detectors import calibration
from pyscore.detectors.detector_file import detector_bytes
from pyscore.detectors.model_file import state_of
from pyscore.detectors.standardised import StandardisedDetector
from pyscore.detectors.svae import SVAEDetector
from pyscore.errors import InvalidInput
from pyscore.scoring.fitted import Impute
from pyscore.scoring.options import ScoreOptions
from pyscore.scoring.prepared_rows import RowBuffer, standardised_rows
from pyscore.scoring.stream import Scored, Scorer

__all__ = ["DetectorScorer", "selection_cutoff"]

_rows = RowBuffer()


class _Preparation(NamedTuple):
    standardiser: Standardiser
    imputer: Imputer | None


@dataclass(frozen=True)
class DetectorScorer:
    """Scores blocks by a detector.

    The columns are ``score`` (`decision_function`, higher = more anomalous), ``p_value`` where the detector has
    calibration rows, and ``anomaly`` (1 or 0): score above `threshold_`, or p-value at most `cutoff`.
    """

    detector: StandardisedDetector | SVAEDetector
    keep: tuple[str, ...] = ()
    cutoff: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", tuple(dict.fromkeys(self.keep)))
        if clash := [name for name in self.keep if name in self.written]:
            raise InvalidInput(f"`keep` has a column {clash[0]!r}, which is the name of a result, too. Rename it.")

    @property
    def options(self) -> ScoreOptions:
        """What computes the scores."""
        return (
            _options(self.detector) if isinstance(self.detector, SVAEDetector) else ScoreOptions(backend="numba")
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that are scored."""
        return self._preparation().standardiser.columns

    @property
    def results(self) -> tuple[str, ...]:
        """Columns by which a table of results is known as one."""
        return ("score", "p_value", "anomaly")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns to be read."""
        return tuple(dict.fromkeys((*self.features, *self.keep)))

    @property
    def written(self) -> tuple[str, ...]:
        """Columns that are computed."""
        return self.results if self.detector.calibration_scores_ is not None else ("score", "anomaly")

    @property
    def once(self) -> bool:
        """Whether each row is scored on its own, so that its bits depend on no others."""
        return _model_scorer(self.detector).once if isinstance(self.detector, SVAEDetector) else True

    def identity(self) -> dict[str, Any]:
        """What decides the scores, besides the rows."""
        one = self.detector
        data = state_of(one).to_bytes() if isinstance(one, SVAEDetector) else detector_bytes(one)
        return {"detector": hashlib.sha256(data).hexdigest(), "keep": list(self.keep), "cutoff": self.cutoff}

    def anomaly(self, block: Block) -> tuple[Array, Array]:
        """Scores (n,) of a block, and the numbers of the rows whose Jacobian is singular."""
        if isinstance(self.detector, SVAEDetector):
            scored = _model_scorer(self.detector)(block)
            return -scored.table.column(0).to_numpy(), scored.singular
        prepared = self._preparation()
        x = standardised_rows(block, prepared, prepared.imputer, np.dtype(np.float64), _rows)
        return self.detector._anomaly(x), np.empty(0, np.int64)

    def __call__(self, block: Block) -> Scored:
        """Score a block."""
        anomaly, singular = self.anomaly(block)
        flagged = anomaly > self.detector.threshold_
        columns = {"score": anomaly}
        if self.detector.calibration_scores_ is not None:
            columns["p_value"] = calibration.conformal_p_values(self.detector.calibration_scores_, anomaly)
            flagged = flagged if self.cutoff is None else columns["p_value"] <= self.cutoff
        arrays = [block.batch.column(name) for name in self.keep]
        arrays += [pa.array(column) for column in columns.values()] + [pa.array(flagged.astype(np.int8))]
        table = pa.RecordBatch.from_arrays(arrays, names=[*self.keep, *columns, "anomaly"])
        return Scored(table, block.file, block.first + len(anomaly), block.share, singular)

    def with_cutoff(self, cutoff: float) -> DetectorScorer:
        """The same, where a row is an anomaly if its p-value is at most the cutoff."""
        return replace(self, cutoff=cutoff)

    def _preparation(self) -> _Preparation:
        one = self.detector
        if isinstance(one, SVAEDetector):
            return _Preparation(one.model_.standardiser, one.model_.imputer)
        return _Preparation(one.standardiser_, one.imputer_)


def _model_scorer(one: SVAEDetector) -> Scorer:
    """What scores blocks by the model of a detector."""
    impute: Impute | None = "median" if one.model_.imputer is not None else None
    return Scorer(one.model_, (one.score_name,), _options(one), impute)


def _options(one: SVAEDetector) -> ScoreOptions:
    return ScoreOptions(convention=one.model_.convention, backend=one.backend, seed=one.seed_)


def selection_cutoff(p_values: Iterable[Array], fdr: float) -> float:
    """Largest p-value that Benjamini and Hochberg's procedure selects among all blocks of p-values; 0 if none.

    Conformal p-values are few different numbers, which are counted, so that memory does not grow with the rows.
    """
    counts: dict[float, int] = {}
    for block in p_values:
        values, times = np.unique(block, return_counts=True)
        for value, count in zip(values.tolist(), times.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
    rows = sum(counts.values())
    cutoff, below = 0.0, 0
    for value in sorted(counts):
        below += counts[value]
        if value * rows <= fdr * below * (1 + calibration.LATTICE * np.finfo(float).eps):
            cutoff = value
    return cutoff
