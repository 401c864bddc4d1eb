"""How models are trained: the configuration, and what all engines share with those who call them."""

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
"""Engines: compiled code on the CPU, PyTorch."""

Callback = Callable[[int, int, float], None]
"""Called now and then with (steps done, steps in all, last loss)."""

Progress = Callable[[int, int], None]
"""Called with (model-steps done, model-steps in all)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a model is trained; `TrainConfig.paper()` is how the paper did it."""

    beta: float = 1.0
    """Weight β of the MMD."""
    c: float = 0.1
    """Width c of the IMQ kernel."""
    steps: int = 3000
    batch_size: int = 100
    """Rows a batch, drawn with replacement."""
    learning_rate: float = 1e-3
    """Of ADAM."""
    seed: int = 0
    convention: Convention = EXACT
    """Its training fields, and `norm_eps`, act here."""

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
        """Return the paper's configuration: 10,000 steps of size 1e-4 (its code; its text says "default")."""
        return cls(**{"steps": 10_000, "learning_rate": 1e-4, **fields})


class Trained(NamedTuple):
    """What training returns."""

    model: SVAE
    history: pd.DataFrame
    """One row a step: ``loss``, ``mse``, ``mmd``, before the update."""


class StackMember(NamedTuple):
    """One model of a stack."""

    model: SVAE | None
    """None if training failed."""
    failure: str | None
    """What went wrong and at which step."""
    history: pd.DataFrame
    """One row a step: ``loss``, ``mse``, ``mmd``, before the update."""


def part_of(callback: Progress | None, stack: int, stacks: int) -> Progress | None:
    """Progress of one stack as a part of that of all, which are of one size."""
    if callback is None:
        return None
    return lambda done, total: callback(stack * total + done, stacks * total)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
