"""Measures of a trained model: AUCs of every score, mean log-densities, and the goodness of fit of the prior.

`projected`, `corrected` and `laplace` search for a minimum at every row (3 to 9 s for 500 rows, where the cheap
scores take 0.1 s for 14,000) and are measured for selected models only. `importance`, with its 100 draws a row, is
measured on a sample of rows (`costly_rows`); the columns ``rows_train`` and ``rows_test`` give its size.

The field `known_anomalies` has no effect here: under ORIGINAL these sets hold no anomaly at all (Q23), so they
have no AUC. ``auc_known1`` and ``auc_known5`` are always those of true anomalies.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscore._core.checks import Array
from pyscore.backends import Backend, get_backend
from pyscore.convention import ORIGINAL, Convention
from pyscore.data.datasets import Split
from pyscore.errors import PyscoreError
from pyscore.experiment.goodness import goodness_of_fit, known_anomaly_rows
from pyscore.reference import roc_auc, sampling
from pyscore.reference.model import SVAE
from pyscore.reference.sampling import VMFDraws
from pyscore.scoring import scores as scoring

__all__ = [
    "AREAS",
    "CHEAP",
    "COSTLY",
    "DEAR",
    "FIT",
    "KNOWN",
    "MEASURES",
    "NOT_MEASURABLE",
    "Meter",
    "Rows",
    "costly_rows",
    "known_auc",
]

COSTLY = ("importance",)
DEAR = ("projected", "corrected", "laplace")
"""Scores that are measured for selected models only; see `ablation`."""
CHEAP = tuple(name for name in scoring.SCORES if name not in (*COSTLY, *DEAR))
KNOWN = (1, 5)
"""Numbers of known anomalies."""
DRAWS_OF_KNOWN = 5
AREAS = ("auc_train", "auc_test", *(f"auc_known{count}" for count in KNOWN), "mean_log_density")
"""Measures of a score."""
FIT = ("mmd", "p_value", "width")
"""Measures of the prior."""
MEASURES = (*AREAS, *FIT)
NOT_MEASURABLE = (PyscoreError, np.linalg.LinAlgError)
"""Exceptions that are raised where a model cannot be measured, for example because its codes are NaN."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to score in one pass, training rows first, with their labels."""

    x: Array
    n_train: int
    y: NDArray[np.int64]
    known: dict[int, list[NDArray[np.int64]]]
    """Number of known anomalies → for each draw, which of the training anomalies are known."""

    @classmethod
    def of(cls, split: Split, seed: int) -> Rows:
        """All rows of a split. `seed` draws the known anomalies, which are the same for every model."""
        x = np.concatenate([split.x_train, split.x_test])
        return cls(
            x, len(split.x_train), np.concatenate([split.y_train, split.y_test]), _known(split.y_train, seed)
        )

    def sample(self, most: int, seed: int) -> Rows:
        """Sample of at most `most` training and as many test rows, the same for every model of a split."""
        train, test = self.y[: self.n_train], self.y[self.n_train :]
        rng = sampling.generator(seed, "costly_rows")
        chosen = [costly_rows(train, most, rng), costly_rows(test, most, rng)]
        y_train = train[chosen[0]]
        rows = np.concatenate([chosen[0], self.n_train + chosen[1]])
        return Rows(self.x[rows], len(y_train), self.y[rows], _known(y_train, seed))


def _known(labels: NDArray[np.int64], seed: int) -> dict[int, list[NDArray[np.int64]]]:
    rng = sampling.generator(seed, "known_anomalies")
    normal = np.flatnonzero(labels == 0)
    place = np.cumsum(labels == 1) - 1
    return {
        count: [place[known_anomaly_rows(labels, count, rng)[len(normal) :]] for _ in range(DRAWS_OF_KNOWN)]
        for count in KNOWN
    }


def costly_rows(labels: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return at most `most` row numbers, ascending: all anomalies (at most most/2 of them), the rest normal."""
    normal, anomalous = rng.permutation(np.flatnonzero(labels == 0)), rng.permutation(np.flatnonzero(labels == 1))
    if len(labels) <= most:
        return np.arange(len(labels))
    anomalous = anomalous[: max(most // 2, most - len(normal))]
    return np.sort(np.concatenate([normal[: most - len(anomalous)], anomalous]))


def known_auc(scores: Array, labels: NDArray[np.int64], draws: Sequence[NDArray[np.int64]]) -> float:
    """Mean over draws of the AUC of the normal rows and the anomalies of the draw.

    An AUC is the mean, over anomalies, of the share of normal rows with a lower score, so one sort serves all
    draws.
    """
    normal, anomalous = np.sort(scores[labels == 0]), scores[labels == 1]
    twice_below = np.searchsorted(normal, anomalous, "left") + np.searchsorted(normal, anomalous, "right")
    areas = [int(twice_below[draw].sum()) / (2 * len(draw) * len(normal)) for draw in draws]
    return float(np.mean(areas))


@dataclass(frozen=True, eq=False)
class Meter:
    """One model and the rows that it is measured on."""

    model: SVAE
    split: Split
    rows: Rows
    """Rows for the scores of `CHEAP`."""
    sample: Rows | None
    """Rows for all other scores; None leaves those scores out."""
    seed: int
    """Seed of the draws of `importance` and of the goodness of fit."""

    @functools.cached_property
    def _engine(self) -> Backend:
        return get_backend("numba", dtype=self.model.dtype)

    def measure(self, convention: Convention) -> list[dict[str, Any]]:
        """Measure under one convention; one row per score with `MEASURES`, ``rows_train``, ``rows_test``, …

        Warns
        -----
        NumericalWarning
            If a Jacobian is singular; such rows rank last, see `score_table`.

        Notes
        -----
        A score that is NaN at some row (it overflowed) has NaN measures, and ``failure`` says so.
        """
        start = time.perf_counter()
        fit = self.fit(convention)
        measured = self.areas(convention, (*CHEAP, *(COSTLY if self.sample is not None else ())))
        seconds = time.perf_counter() - start
        return [{"convention": convention.name, **fit, **row, "seconds_score": seconds} for row in measured]

    def fit(self, convention: Convention) -> dict[str, float]:
        """Goodness of fit of the prior: ``mmd``, ``p_value``, ``width``."""
        x, y = self.split.x_train, self.split.y_train
        fit = goodness_of_fit(self.model, x, y, seed=self.seed, convention=convention, compiled=True)
        return dict(fit._asdict())

    def areas(self, convention: Convention, names: Sequence[str]) -> list[dict[str, Any]]:
        """AUCs and mean density of scores, one row each."""
        found = []
        for rows, chosen in (
            (self.rows, [name for name in names if name in CHEAP]),
            (self.sample, [name for name in names if name not in CHEAP]),
        ):
            if rows is not None and chosen:
                draws = self._draws(rows) if "importance" in chosen else None
                table = scoring.score_table(
                    self.model, rows.x, chosen, convention=convention, backend=self._engine, draws=draws
                )
                found += [{"score": name, **_areas(table[name].to_numpy(), rows)} for name in chosen]
        return found

    def _draws(self, rows: Rows) -> VMFDraws:
        """Draws of `importance`.

        They depend on the concentrations alone, which are equal under all conventions.
        """
        _, kappa = self.model.encode(rows.x, convention=ORIGINAL)
        rng = sampling.generator(self.seed, "importance")
        return sampling.draw_vmf(np.repeat(kappa, scoring.IMPORTANCE_DRAWS), self.model.latent_dim, rng)


def _areas(log_density: Array, rows: Rows) -> dict[str, Any]:
    """AUCs and mean density of one score."""
    n = rows.n_train
    sizes = {"rows_train": n, "rows_test": len(rows.x) - n}
    if bad := int(np.isnan(log_density).sum()):
        return {**dict.fromkeys(AREAS, float("nan")), **sizes, "failure": f"the score of {bad} rows is NaN"}
    scores, y = -log_density, rows.y
    known = {f"auc_known{count}": known_auc(scores[:n], y[:n], draws) for count, draws in rows.known.items()}
    with np.errstate(invalid="ignore"):
        mean = float(np.mean(log_density[:n]))  # −inf if any row is −inf; such a model cannot be selected
    areas = {"auc_train": roc_auc(scores[:n], y[:n]), "auc_test": roc_auc(scores[n:], y[n:])}
    return {**areas, **known, "mean_log_density": mean, **sizes, "failure": None}
