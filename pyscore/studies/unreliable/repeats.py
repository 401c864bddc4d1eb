"""Searches with several seeds.

The result of each dataset and seed is kept in a file, so a killed run can resume.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pyscore._core.files import write_json
from pyscore._core.version import __version__
from pyscore.errors import InvalidInput
from pyscore.studies.unreliable.tabular import Effort, Result, run_dataset

__all__ = ["pooled_attacks", "pooled_missed", "run_kept"]

FOLDER = "runs"
ATTACK = ["dataset", "model", "attacked", "criterion"]


def run_kept(
    folder: Path, name: str, seed: int, effort: Effort, baselines: Sequence[str], progress: Callable[[str], None]
) -> Result:
    """Return the result of `run_dataset`, read from ``folder/runs`` if the same was run before.

    Raises
    ------
    InvalidInput
        If the file of an earlier run is damaged.
    """
    path = folder / FOLDER / f"{name}-{seed}.json"
    asked: dict[str, Any] = {"effort": dataclasses.asdict(effort), "baselines": baselines, "version": __version__}
    asked = json.loads(json.dumps(asked))  # in the form in which it is read back, where tuples are lists
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            before, result = found.pop("asked"), Result(**found)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{str(path)!r} is damaged ({error}). Delete it and run again.") from error
        if before == asked:
            return result
    result = run_dataset(name, seed=seed, effort=effort, baselines=baselines, progress=progress)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"asked": asked, **result._asdict()})
    return result


def pooled_missed(missed: pd.DataFrame) -> pd.DataFrame:
    """Rows of `Result.missed` with the points of all seeds together; NaN where no seed found any."""
    hits = missed["missed"].fillna(0.0) * missed["points"]
    keys = [*ATTACK, "points_set", "method"]
    sums = missed.assign(hits=hits).groupby(keys, sort=False)[["points", "hits"]].sum().reset_index()
    return sums.assign(missed=sums["hits"] / sums["points"]).drop(columns="hits")


def pooled_attacks(attacks: pd.DataFrame) -> pd.DataFrame:
    """Rows of `Result.attacks` over all seeds: the mean rate of success, and the largest reach."""
    over = {"success_rate": "mean", "reach_in_radii": "max"}
    return attacks.groupby(ATTACK, sort=False).agg(over).reset_index()
