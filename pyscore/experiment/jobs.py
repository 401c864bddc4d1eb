"""The three kinds of jobs: train a stack, train it for the ablation, score it again for the ablation.

A job has three parts, so that it can run on another machine: `inputs` reads from the output folder, `work` needs
only its arguments and runs anywhere, and `save` writes to the output folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pyscore.data.datasets import Split
from pyscore.experiment.ablation import rescore
from pyscore.experiment.grid import StackTask
from pyscore.experiment.runs import Place, Progress, StackResult, run_stack
from pyscore.experiment.schema import ABLATION_SCHEMA, SCHEMA
from pyscore.experiment.store import Store, damage_of_models, damage_of_rows, read_rows, save_models, write_rows

__all__ = ["Job", "Rescore", "TrainingAblation"]

SELECTION = b"pyscore.selection"
"""Metadata key of a file of re-scored rows; its value tells which models were selected when it was made."""


@dataclass(frozen=True)
class Job:
    """Train and measure a stack; the other kinds of jobs are derived from it."""

    task: StackTask

    @property
    def name(self) -> str:
        """Name of its files and of its claim."""
        return self.task.name

    def path(self, store: Store) -> Path:
        """Path of its rows once it is finished."""
        return store.result_path(self.task)

    def outdated(self, store: Store) -> bool:
        """Whether its rows exist but were computed for other options than those of now."""
        return False

    def damage(self, store: Store) -> tuple[Path, str] | None:
        """Return a damaged file of its result and what is wrong with it, or None."""
        rows, models = self.path(store), self._models(store)
        if rows.exists() and (why := damage_of_rows(rows, self.columns)) is not None:
            return rows, why
        if models is not None and (why := damage_of_models(models)) is not None:
            return models, why
        return None

    @property
    def columns(self) -> list[str]:
        """Columns of its rows."""
        return list(SCHEMA.names)

    def _models(self, store: Store) -> Path | None:
        """Path of its models, or None if it trains none."""
        return store.models_path(self.task)

    def inputs(self, store: Store) -> tuple[Any, ...]:
        """Read from the folder what `work` needs."""
        return ()

    def work(self, split: Split, inputs: tuple[Any, ...], place: Place, progress: Progress | None) -> StackResult:
        """Compute the result."""
        return run_stack(self.task, split, place=place, progress=progress)

    def save(self, store: Store, result: StackResult) -> None:
        """Write the models first, then the rows, so that rows never exist without their models."""
        save_models(store.models_path(self.task), self.task, result.models)
        write_rows(self.path(store), result.rows, SCHEMA)


@dataclass(frozen=True)
class TrainingAblation(Job):
    """Train and measure a stack whose training convention has a field switched."""

    switched: str

    def path(self, store: Store) -> Path:
        """Path of its rows, in the folder of the ablation."""
        return store.part("ablation") / f"{self.name}.parquet"

    @property
    def columns(self) -> list[str]:
        """Columns of its rows."""
        return list(ABLATION_SCHEMA.names)

    def save(self, store: Store, result: StackResult) -> None:
        """Write models and rows."""
        save_models(store.models_path(self.task), self.task, result.models)
        write_rows(self.path(store), result.rows.assign(switched=self.switched), ABLATION_SCHEMA)


@dataclass(frozen=True)
class Rescore(Job):
    """Switch the scoring fields on the models of a finished stack."""

    fitted: frozenset[str] = frozenset()
    dear: frozenset[str] = frozenset()
    """Hashes of the models whose goodness of fit (`fitted`) and `ablation.DEAR` scores (`dear`) are measured."""

    @property
    def name(self) -> str:
        """Name of its file and of its claim."""
        return f"rescored-{self.task.name}"

    def path(self, store: Store) -> Path:
        """Path of its rows, in the folder of the ablation."""
        return store.part("ablation") / f"{self.name}.parquet"

    @property
    def columns(self) -> list[str]:
        """Columns of its rows."""
        return list(ABLATION_SCHEMA.names)

    def _models(self, store: Store) -> Path | None:
        return None

    def outdated(self, store: Store) -> bool:
        """Whether other models are selected now, which happens when further stacks have finished."""
        metadata = pq.read_schema(self.path(store)).metadata or {}
        return bool(metadata.get(SELECTION) != self._selection)

    @property
    def _selection(self) -> bytes:
        """Identity of the models that are measured in full."""
        chosen = json.dumps([sorted(self.fitted), sorted(self.dear)])
        return hashlib.sha256(chosen.encode()).hexdigest().encode()

    def inputs(self, store: Store) -> tuple[Any, ...]:
        """Models and rows of the stack."""
        return store.models(self.task), read_rows(store.result_path(self.task))

    def work(self, split: Split, inputs: tuple[Any, ...], place: Place, progress: Progress | None) -> StackResult:
        """Compute the scores again."""
        models, base = inputs
        rows = rescore(
            self.task, models, base, split, fitted=self.fitted, dear=self.dear, place=place, progress=progress
        )
        return StackResult(rows, [])

    def save(self, store: Store, result: StackResult) -> None:
        """Write the rows, and the identity of the selection of models for which they were computed."""
        write_rows(self.path(store), result.rows, ABLATION_SCHEMA, {SELECTION: self._selection})
