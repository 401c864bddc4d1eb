"""The three kinds of work that a scheduler hands out: train a stack, train it for the ablation, re-score it.

A job is split so that it can travel: `inputs` is read where the folder is, `work` runs anywhere and needs nothing
but its arguments, `save` writes where the folder is.
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
"""Key of the metadata of a file of re-scored rows that says which models were selected when it was made."""


@dataclass(frozen=True)
class Job:
    """Train and measure a stack; the base of the other kinds."""

    task: StackTask

    @property
    def name(self) -> str:
        """Of its files and of its claim."""
        return self.task.name

    def path(self, store: Store) -> Path:
        """Where its rows lie once it is finished."""
        return store.result_path(self.task)

    def outdated(self, store: Store) -> bool:
        """Whether its rows, which are there and whole, are those of another question than the one now asked."""
        return False

    def damage(self, store: Store) -> tuple[Path, str] | None:
        """A file of its result that is damaged, and how; None if there is none."""
        rows, models = self.path(store), self._models(store)
        if rows.exists() and (why := damage_of_rows(rows, self.columns)) is not None:
            return rows, why
        if models is not None and (why := damage_of_models(models)) is not None:
            return models, why
        return None

    @property
    def columns(self) -> list[str]:
        """Of its rows."""
        return list(SCHEMA.names)

    def _models(self, store: Store) -> Path | None:
        """Where its models lie, if it makes some."""
        return store.models_path(self.task)

    def inputs(self, store: Store) -> tuple[Any, ...]:
        """What `work` needs out of the folder."""
        return ()

    def work(self, split: Split, inputs: tuple[Any, ...], place: Place, progress: Progress | None) -> StackResult:
        """Compute."""
        return run_stack(self.task, split, place=place, progress=progress)

    def save(self, store: Store, result: StackResult) -> None:
        """Write models, then rows: whoever finds the rows finds the models."""
        save_models(store.models_path(self.task), self.task, result.models)
        write_rows(self.path(store), result.rows, SCHEMA)


@dataclass(frozen=True)
class TrainingAblation(Job):
    """Train and measure a stack whose training convention has a field switched."""

    switched: str

    def path(self, store: Store) -> Path:
        """Beside the other rows of the ablation."""
        return store.part("ablation") / f"{self.name}.parquet"

    @property
    def columns(self) -> list[str]:
        """Of its rows."""
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
    """Hashes of the models whose goodness of fit, and whose dear scores, are measured; see `ablation.rescore`."""

    @property
    def name(self) -> str:
        """Of its file and of its claim."""
        return f"rescored-{self.task.name}"

    def path(self, store: Store) -> Path:
        """Beside the other rows of the ablation."""
        return store.part("ablation") / f"{self.name}.parquet"

    @property
    def columns(self) -> list[str]:
        """Of its rows."""
        return list(ABLATION_SCHEMA.names)

    def _models(self, store: Store) -> Path | None:
        return None

    def outdated(self, store: Store) -> bool:
        """Whether other models were selected since: a stack that was finished later has its part in that."""
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
        """Re-score."""
        models, base = inputs
        rows = rescore(
            self.task, models, base, split, fitted=self.fitted, dear=self.dear, place=place, progress=progress
        )
        return StackResult(rows, [])

    def save(self, store: Store, result: StackResult) -> None:
        """Write rows, and which selection of models they are of."""
        write_rows(self.path(store), result.rows, ABLATION_SCHEMA, {SELECTION: self._selection})
