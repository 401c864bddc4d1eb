"""Stand-in for pyscore.stacked until it lands: one model after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pyscore.errors import TrainingDiverged
from pyscore.model import SVAE
from pyscore.training import TrainConfig, Trainer


class StackMember(NamedTuple):
    """One model of a stack."""

    model: SVAE | None
    failure: str | None
    history: pd.DataFrame


def train_stack(
    x: Any, configs: Sequence[TrainConfig], *, latent_dim: int, hidden_dim: int, n_components: int,
    activation: str = "swish", dtype: Any = np.float32, backend: str = "numba", device: str = "cpu",
    threads: int | None = None, callback: Any = None,
) -> list[StackMember]:  # fmt: skip
    """Train one after the other."""
    members = []
    for index, config in enumerate(configs):
        shape = (x.shape[1], latent_dim, hidden_dim, n_components)
        trainer = Trainer(SVAE.initialise(*shape, activation=activation, seed=config.seed, dtype=dtype), x, config)
        try:
            trained = trainer.run()
            members.append(StackMember(trained.model, None, trained.history))
        except TrainingDiverged as error:
            members.append(StackMember(None, str(error), trainer.history()))
        if callback is not None:
            callback((index + 1) * config.steps // len(configs), config.steps)
    return members
