"""Training and measuring of one stack, whose results become rows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pyscore._core.version import __version__
from pyscore.data import datasets as data
from pyscore.data.datasets import Split
from pyscore.errors import NumericalWarning
from pyscore.experiment.classifier import train_disc
from pyscore.experiment.grid import StackTask
from pyscore.experiment.measures import CHEAP, COSTLY, MEASURES, NOT_MEASURABLE, Meter, Rows
from pyscore.experiment.schema import SCHEMA
from pyscore.reference.model import SVAE
from pyscore.training.config import StackMember, TrainConfig, cores
from pyscore.training.stack import train_stack

__all__ = [
    "Place",
    "Progress",
    "StackResult",
    "cores",
    "facts_of",
    "failed_models",
    "failed_rows",
    "run_stack",
    "split_of",
    "spread",
]

Progress = Callable[[str, float], None]
"""Called with (phase, share of the stack that is done)."""
TRAINING_SHARE = 0.8
"""Share of a stack's time that training takes, for the progress bar."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where models are trained. It changes rounding and speed only, so it is not part of a hash."""

    backend: str = "numba"
    device: str = "cpu"
    threads: int | None = None


class StackResult(NamedTuple):
    """The results of a stack."""

    rows: pd.DataFrame
    """Columns of `schema.SCHEMA`."""
    models: list[SVAE | None]
    """In the order of ``task.configs()``; None where training failed."""


def split_of(task: StackTask) -> Split:
    """Load the rows of a task, standardised as the training convention says."""
    dataset = data.load_dataset(task.dataset, task.difficulty)
    return dataset.split(task.split, convention=task.options.train_convention)


def run_stack(
    task: StackTask, split: Split | None = None, *, place: Place | None = None, progress: Progress | None = None
) -> StackResult:
    """Train all models of a stack and measure them.

    A model whose loss became NaN has one row for each convention and score, with NaN measures and the reason in
    ``failure``. The other models are not affected.
    """
    place, options = place or Place(), task.options
    split = split or split_of(task)
    report = progress or (lambda phase, share: None)
    configs = task.configs()
    start = time.perf_counter()
    members = train_stack(
        split.x_train, configs, latent_dim=task.latent_dim, hidden_dim=task.hidden_dim,
        n_components=task.n_components, dtype=np.float32, backend=place.backend, device=place.device,
        threads=place.threads,
        callback=lambda done, total: report("training", TRAINING_SHARE * done / max(total, 1)),
    )  # fmt: skip
    seconds = (time.perf_counter() - start) / len(configs)

    rows = Rows.of(split, task.split)
    sample = rows.sample(options.costly_rows, task.split) if options.costly_rows else None

    def measured(config: TrainConfig, member: StackMember) -> list[dict[str, Any]]:
        facts = {**facts_of(task, config, place), "seconds_train": seconds}
        if member.model is None:
            return failed_rows(task, facts, member.failure or "training failed")
        if not all(np.isfinite(value).all() for value in member.model.parameters().values()):
            return failed_rows(task, facts, "a parameter is not finite after training")
        try:
            disc = float("nan")
            if options.disc_steps:
                disc = train_disc(member.model, split.x_train, steps=options.disc_steps, seed=config.seed)
            meter = Meter(member.model, split, rows, sample, config.seed)
            found = [row for convention in options.conventions for row in meter.measure(convention)]
        except NOT_MEASURABLE as error:
            return failed_rows(task, facts, f"not measurable: {error}")
        return [{**facts, "train_disc": disc, **row} for row in found]

    table: list[dict[str, Any]] = []
    for index, part in enumerate(spread(measured, configs, members, threads=place.threads)):
        table += part
        report("measuring", TRAINING_SHARE + (1 - TRAINING_SHARE) * (index + 1) / len(configs))
    return StackResult(pd.DataFrame(table, columns=SCHEMA.names), [m.model for m in members])


def spread(work: Callable[..., Any], *arguments: Sequence[Any], threads: int | None) -> Iterator[Any]:
    """Run `map` on threads, by default one per core, without warnings of singular Jacobians.

    The result shows them anyway: such a row ranks last, and the mean log-density of its model is −inf.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(threads or cores()) as pool:
        warnings.simplefilter("ignore", NumericalWarning)
        yield from pool.map(work, *arguments)


def facts_of(task: StackTask, config: TrainConfig, place: Place) -> dict[str, Any]:
    """Return the columns that identify a row's dataset, model and training."""
    where = place.backend if place.device == "cpu" else f"{place.backend} {place.device}"
    return {
        "dataset": task.dataset,
        "difficulty": task.difficulty,
        "split": task.split,
        "stack": task.name,
        "config_hash": task.model_hash(config),
        "hidden_dim": task.hidden_dim,
        "latent_dim": task.latent_dim,
        "n_components": task.n_components,
        "beta": config.beta,
        "c": config.c,
        "steps": config.steps,
        "learning_rate": config.learning_rate,
        "seed": config.seed,
        "train_convention": config.convention.name,
        "backend": where,
        "version": __version__,
    }


def failed_rows(task: StackTask, facts: dict[str, Any], reason: str) -> list[dict[str, Any]]:
    """Return the rows of a model that failed, with NaN measures."""
    scores = (*CHEAP, *(COSTLY if task.options.costly_rows else ()))
    nothing = dict.fromkeys((*MEASURES, "train_disc", "seconds_score"), float("nan"))
    return [
        {**facts, **nothing, "convention": c.name, "score": s, "rows_train": 0, "rows_test": 0, "failure": reason}
        for c in task.options.conventions
        for s in scores
    ]


def failed_models(rows: pd.DataFrame) -> dict[str, int]:
    """Number of models without any measure in each stack, for example because training diverged."""
    failed = rows[rows["failure"].notna() & (rows["rows_train"] == 0)]
    return dict(failed.groupby("stack")["config_hash"].nunique())
