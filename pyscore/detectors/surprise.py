"""Scores of different kinds on one scale: how rare a score is among those of the training rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyscore._core.checks import Array

__all__ = ["Surprise"]


@dataclass(frozen=True, eq=False)
class Surprise:
    """−log of the conformal p-value of a score among known ones, in nats, and above the largest up to 1 more.

    p = (1 + #{known ≥ s}) / (n + 1). A score above the largest known one, by a share t of its distance from the
    median, adds t / (1 + t): rows that are rarer than all known rows keep their order.
    """

    known: Array
    """(n,) scores of the training rows, ascending, +inf allowed; higher = more anomalous."""

    @classmethod
    def of(cls, scores: Array) -> Surprise:
        """Learn the scores (n,) of the training rows."""
        return cls(np.sort(np.where(np.isnan(scores), np.inf, scores)))

    def __call__(self, scores: Array) -> Array:
        """Surprises (m,) of scores (m,); NaN counts as the most anomalous."""
        scores = np.where(np.isnan(scores), np.inf, scores)
        n = self.known.size
        surprise = -np.log((1.0 + n - np.searchsorted(self.known, scores, side="left")) / (n + 1.0))
        finite = self.known[np.isfinite(self.known)]
        if not finite.size:
            return np.asarray(surprise)
        half = finite.size // 2
        largest, median = finite[-1], finite[half]
        with np.errstate(over="ignore", invalid="ignore"):
            share = np.maximum(scores - largest, 0.0) / max(largest - median, np.finfo(np.float64).tiny)
            beyond = np.where(np.isinf(share), 1.0, share / (1.0 + share))
        return np.asarray(surprise + beyond)
