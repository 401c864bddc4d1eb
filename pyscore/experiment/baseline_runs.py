"""The baselines that the models are compared with, on the same splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pyscore.data.datasets import Split
from pyscore.detectors.baselines import BASELINES
from pyscore.experiment.grid import StackTask
from pyscore.experiment.runs import split_of
from pyscore.experiment.schema import BASELINE_NAMES, BASELINE_SCHEMA
from pyscore.experiment.store import Store, damage_of_rows, write_rows
from pyscore.reference import roc_auc

__all__ = ["baseline_areas", "write_baselines"]


def baseline_areas(split: Split, seed: int = 0) -> pd.DataFrame:
    """Fit each baseline to the contaminated training rows; one row each: ``score``, ``auc_train``, ``auc_test``.

    Training rows are scored as they are: the nearest neighbour of such a row is the row itself.
    """
    n = len(split.x_train)
    everything = np.concatenate([split.x_train, split.x_test])
    rows = []
    for name, shown in BASELINE_NAMES.items():
        scores = BASELINES[shown.method](split.x_train, everything, seed)
        train, test = roc_auc(scores[:n], split.y_train), roc_auc(scores[n:], split.y_test)
        rows.append({"score": name, "auc_train": train, "auc_test": test})
    return pd.DataFrame(rows)


def write_baselines(task: StackTask, store: Store) -> bool:
    """Write the baselines of a task's dataset and split, and return whether they were written.

    Nothing is written if the file exists, or if another process is making it.
    """
    convention = task.options.train_convention.name
    stem = f"{task.dataset}-{task.split}" + ("" if convention == "ORIGINAL" else f"-{convention}")
    path = store.part("baselines") / f"{stem}.parquet"
    if path.is_file() and damage_of_rows(path, BASELINE_SCHEMA.names) is None:
        return False
    facts: dict[str, Any] = {"dataset": task.dataset, "difficulty": task.difficulty, "split": task.split}
    with store.claim(stem) as ours:
        if not ours:
            return False
        if path.is_file():
            if (why := damage_of_rows(path, BASELINE_SCHEMA.names)) is None:
                return False
            store.set_aside(path, why)
        areas = baseline_areas(split_of(task), seed=task.split)
        write_rows(path, areas.assign(**facts, train_convention=convention), BASELINE_SCHEMA)
    return True
