"""The main scores on the paper's ten datasets: `pyscore bench datasets`."""

from __future__ import annotations

from pyscore import data
from pyscore.bench.record import Row
from pyscore.bench.scores import Progress, close, engines, problem, rows_of_score

__all__ = ["SHOWN", "dataset_rows"]

SHOWN = ("reconstruction", "proposed")
"""The paper's two rivals."""


def dataset_rows(*, quick: bool = False, progress: Progress = lambda _: None) -> tuple[list[Row], list[str]]:
    """Rows for each dataset that is on this machine (or the embedded one), and the names of the others.

    `quick` takes the embedded dataset and one of the ten, and models of 100 steps.
    """
    here = data.overview().set_index("dataset")["here"]
    names = [name for name in data.DATASETS if here[name]]
    missing = [
        f"dataset {name}: not on this machine (pyscore data fetch)" for name in data.DATASETS if not here[name]
    ]
    chosen = [data.EMBEDDED, *names[:1]] if quick else names or [data.EMBEDDED]
    contestants, absent = engines(quick=True)
    rows: list[Row] = []
    for name in chosen:
        progress(name)
        found = problem(name, steps=100 if quick else 1000)
        for score in SHOWN:
            progress(f"{name}: {score}")
            rows += rows_of_score(found, score, contestants, 3 if quick else 7, suite="datasets", budget=5.0)
    close(contestants)
    return rows, missing + absent
