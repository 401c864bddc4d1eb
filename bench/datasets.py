"""Every score on the paper's ten datasets, on every backend: `pyscore bench datasets`."""

from __future__ import annotations

import numpy as np

from pyscore.bench.harness import has_peak_memory
from pyscore.bench.record import Row
from pyscore.bench.scores import Problem, Progress, close, engines, problem, rows_of_score
from pyscore.data import datasets as data
from pyscore.scoring.scores import available_scores

__all__ = ["MAIN", "SLOW", "SLOW_ROWS", "dataset_rows"]

MAIN = ("reconstruction", "proposed")
"""The paper's two rivals: all that `quick` measures."""
SLOW = ("importance", "projected", "corrected", "laplace")
"""Scores of which a row costs milliseconds."""
SLOW_ROWS = 50


def dataset_rows(*, quick: bool = False, progress: Progress = lambda _: None) -> tuple[list[Row], list[str]]:
    """Rows for each dataset that is on this machine (or the embedded one), and the names of the others.

    The rows scored are those of the test split; of `SLOW` scores, `SLOW_ROWS` of them. Peak memory is that of
    `proposed`. `quick` takes the embedded dataset and one of the ten, and models of 100 steps.
    """
    here = data.overview().set_index("dataset")["here"]
    names = [name for name in data.DATASETS if here[name]]
    missing = [
        f"dataset {name}: not on this machine (pyscore data fetch)" for name in data.DATASETS if not here[name]
    ]
    chosen = [data.EMBEDDED, *names[:1]] if quick else names or [data.EMBEDDED]
    contestants, absent = engines(quick=quick)
    rows: list[Row] = []
    for name in chosen:
        progress(name)
        found = problem(name, steps=100 if quick else 1000)
        few = thinned(found, SLOW_ROWS)
        for score in MAIN if quick else available_scores():
            progress(f"{name}: {score}")
            rows += rows_of_score(
                few if score in SLOW else found, score, contestants, 5, suite="datasets", budget=2.0,
                memory=score == "proposed" and not quick,
            )  # fmt: skip
    close(contestants)
    if not quick and not has_peak_memory():
        absent.append("peak memory: this system has no /proc/self/clear_refs")
    return rows, missing + absent


def thinned(found: Problem, rows: int) -> Problem:
    """At most so many rows, evenly spaced; the first is normal and the last an anomaly, as in the split."""
    if len(found.x) <= rows:
        return found
    pick = np.linspace(0, len(found.x) - 1, rows).round().astype(int)
    return found._replace(x=found.x[pick], labels=found.labels[pick])
