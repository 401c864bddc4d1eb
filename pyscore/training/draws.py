"""The random draws of training, which come from a seed or from a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pyscore._core.checks import Array
from pyscore.reference.sampling import TrainingDraws, VMFDraws

__all__ = ["Draws", "RandomDraws", "StepDraws"]


class StepDraws(Protocol):
    """The draws of one step; the trainer calls the three methods in this order."""

    def batch(self, rows: int, size: int) -> NDArray[np.int64]:
        """Indices (size,) of the rows of the batch."""

    def components(self, p: int, size: int) -> NDArray[np.int64]:
        """Indices (size,) of the prior components."""

    def vmf(self, kappa: Array, k: int) -> VMFDraws:
        """Accepted draws for concentrations `kappa` (size,)."""


class Draws(Protocol):
    """A source of draws: a seed, or a recording."""

    def step(self, index: int) -> StepDraws:
        """Draws of step `index` (0, 1, …); every call with the same index gives the same draws."""


@dataclass(frozen=True)
class RandomDraws:
    """Draws that depend on (seed, step, purpose) alone."""

    seed: int

    def step(self, index: int) -> StepDraws:
        """See `Draws.step`."""
        return TrainingDraws(self.seed, index)
