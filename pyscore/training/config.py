"""The configuration of training, and the types that every training engine takes and returns."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from pyscore._core import checks as check
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE

__all__ = ["BACKENDS", "Callback", "Progress", "StackMember", "TrainConfig", "Trained", "cores", "part_of"]

BACKENDS = ("numba", "torch")
"""The two engines: compiled code on the CPU, and PyTorch."""

Callback = Callable[[int, int, float], None]
"""Called during training with (steps done, steps in all, last loss)."""

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all, each summed over the models."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Settings of one training run. `TrainConfig.paper()` has those of the paper.

    Examples
    --------
    >>> config = pyscore.TrainConfig(steps=500, beta=0.1)
    >>> config.learning_rate, pyscore.TrainConfig.paper().learning_rate
    (0.001, 0.0001)
    """

    beta: float = 1.0
    """Weight β of the MMD."""
    c: float = 0.1
    """Width c of the IMQ kernel."""
    steps: int = 3000
    batch_size: int = 100
    """Rows a batch, drawn with replacement."""
    learning_rate: float = 1e-3
    """Step size of ADAM."""
    seed: int = 0
    convention: Convention = EXACT
    """Its training fields and `norm_eps` have an effect here."""

    def __post_init__(self) -> None:
        check.real("beta", self.beta, at_least=0.0)
        check.real("c", self.c, above=0.0)
        check.integer("steps", self.steps, at_least=0)
        check.integer("batch_size", self.batch_size, at_least=2, hint="The MMD needs pairs of rows.")
        check.real("learning_rate", self.learning_rate, above=0.0)
        check.integer("seed", self.seed, at_least=0)
        if not isinstance(self.convention, Convention):
            raise InvalidInput(f"`convention` must be a Convention, such as EXACT; got {self.convention!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def paper(cls, **fields: Any) -> TrainConfig:
        """Return the paper's configuration: 10,000 steps of 1e-4 as in its code (its text says "default")."""
        return cls(**{"steps": 10_000, "learning_rate": 1e-4, **fields})


class Trained(NamedTuple):
    """A trained model and the history of its training.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> model, history = pyscore.train(x, pyscore.TrainConfig(steps=5), latent_dim=2, hidden_dim=8)
    >>> list(history.columns), len(history)
    (['loss', 'mse', 'mmd'], 5)
    """

    model: SVAE
    history: pd.DataFrame
    """One row per step: ``loss``, ``mse`` and ``mmd`` of its batch before the update."""


class StackMember(NamedTuple):
    """One model of a stack."""

    model: SVAE | None
    """None if training failed."""
    failure: str | None
    """What went wrong and at which step."""
    history: pd.DataFrame
    """One row per step: ``loss``, ``mse`` and ``mmd`` of its batch before the update."""


def part_of(callback: Progress | None, stack: int, stacks: int) -> Progress | None:
    """Turn a callback of several stacks of equal size into one for stack number `stack` of them."""
    if callback is None:
        return None
    return lambda done, total: callback(stack * total + done, stacks * total)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
