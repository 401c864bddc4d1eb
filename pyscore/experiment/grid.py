"""The work of a run: grids of configurations, cut into stacks of models of one shape."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyscore._core import checks as check
from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.data import datasets as data
from pyscore.errors import InvalidInput
from pyscore.experiment.grids import GRIDS, Grid
from pyscore.training.config import TrainConfig

__all__ = ["GRIDS", "Grid", "Options", "StackTask", "model_seed", "tasks_of"]

SCHEMA_VERSION = 1
"""Part of every hash. It is raised when the meaning of the results changes."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How models are trained and measured, the same for all stacks of a run. Every field changes results."""

    steps: int = 10_000
    learning_rate: float = 1e-4
    batch_size: int = 100
    train_convention: Convention = ORIGINAL
    conventions: tuple[Convention, ...] = (ORIGINAL, EXACT)
    """Scoring conventions, each measured on the same model."""
    costly_rows: int = 300
    """Largest number of rows of each of the two sets for `importance`; see `measures.costly_rows`."""
    disc_steps: int = 500
    """Training steps of the classifier of the two-sample test; 0 leaves it out."""

    def __post_init__(self) -> None:
        self.train_config(1.0, 1.0, 0)  # checks steps, learning rate and batch size
        check.integer("costly_rows", self.costly_rows, at_least=0)
        check.integer("disc_steps", self.disc_steps, at_least=0)

    def train_config(self, beta: float, c: float, seed: int) -> TrainConfig:
        """Return the training configuration of one model."""
        return TrainConfig(
            beta=beta, c=c, steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate,
            seed=seed, convention=self.train_convention,
        )  # fmt: skip


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def model_seed(dataset: str, split: int, shape: tuple[int, int, int], beta: float, c: float) -> int:
    """Seed of one model: the first 32 bits of the SHA-256 of these arguments.

    A model's draws therefore do not depend on its stack, its grid, the number of steps or the learning rate.
    """
    return int(_digest([dataset, split, *shape, beta, c])[:8], 16)


@dataclass(frozen=True, kw_only=True)
class StackTask:
    """All models of one dataset, split and shape: one training, one file of results."""

    dataset: str
    difficulty: str = "easy"
    split: int = 0
    hidden_dim: int = 32
    latent_dim: int = 4
    n_components: int = 4
    betas: tuple[float, ...] = GRIDS["paper"].betas
    cs: tuple[float, ...] = GRIDS["paper"].cs
    options: Options = field(default_factory=Options)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary."""
        return dataclasses.asdict(self)

    @property
    def hash(self) -> str:
        """SHA-256 of everything on which the results depend; backend, device and threads are not part of it."""
        return _digest({**self.to_dict(), "schema": SCHEMA_VERSION})

    @property
    def name(self) -> str:
        """File name of the stack, without suffix."""
        shape = f"h{self.hidden_dim}-k{self.latent_dim}-p{self.n_components}"
        return f"{self.dataset}-{self.difficulty}-{self.split}-{shape}-{self.hash[:10]}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(hidden, latent, components)."""
        return self.hidden_dim, self.latent_dim, self.n_components

    def configs(self) -> list[TrainConfig]:
        """Training configuration of every model, β outermost."""
        return [
            self.options.train_config(beta, c, model_seed(self.dataset, self.split, self.shape, beta, c))
            for beta, c in itertools.product(self.betas, self.cs)
        ]

    def model_hash(self, config: TrainConfig) -> str:
        """16 hexadecimal digits that identify one trained model, the same in every grid."""
        what = [self.dataset, self.difficulty, self.split, *self.shape, config.to_dict()]
        return _digest(what)[:16]


def tasks_of(
    grid: Grid, datasets: Sequence[str], splits: Sequence[int], options: Options, difficulty: str = "easy"
) -> list[StackTask]:
    """All stacks of a run in the order of work: split by split, the dataset with the fewest rows first."""
    overview = data.overview().set_index("dataset")
    unknown = [name for name in datasets if name not in overview.index]
    if unknown or not datasets:
        raise InvalidInput(
            f"`datasets` must be out of {', '.join(overview.index)}; got {unknown[0] if unknown else 'none'}."
        )
    if not splits:
        raise InvalidInput("`splits` must hold at least one split; got none.")
    for split in splits:
        check.integer("splits", split, at_least=0)
    widths = {str(name): int(columns) for name, columns in overview["columns"].items()}
    size = overview["normal"] + overview["easy"]
    ordered = sorted(dict.fromkeys(datasets), key=lambda name: (size[name], name))
    return [
        StackTask(
            dataset=name, difficulty=difficulty, split=split, hidden_dim=h, latent_dim=k, n_components=p,
            betas=grid.betas, cs=grid.cs, options=options,
        )
        for split in dict.fromkeys(splits)
        for name in ordered
        for h, k, p in grid.shapes(widths[name])
    ]  # fmt: skip
