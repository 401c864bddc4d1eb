"""Training that watches the loss of held-out rows, stops when it no longer falls and returns the best model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pyscore import reference
from pyscore._core.checks import Array
from pyscore.reference import sampling
from pyscore.reference.model import SVAE
from pyscore.training.config import Callback, TrainConfig
from pyscore.training.train import new_run

__all__ = ["CHECK_EVERY", "EarlyStopped", "ValidationLoss", "train_early_stopping"]

CHECK_EVERY = 50  # steps; one check costs about as much as one step
MMD_ROWS = 500


class EarlyStopped(NamedTuple):
    """The best model, and how the losses went."""

    model: SVAE
    """The model at the check with the lowest validation loss."""
    history: pd.DataFrame
    """One row per step: loss, mse, mmd."""
    validation: pd.DataFrame
    """One row per check: step, validation_loss."""
    best_step: int
    """Number of steps after which the returned model was taken."""


class ValidationLoss:
    """Equation (1) on held-out rows, in float64: mean (x − decode(mu(x)))² + β·MMD(mu(x), prior sample).

    The MMD compares at most 500 rows with a prior sample whose draws the seed fixes, so two losses differ only
    because the model differs.
    """

    def __init__(self, x: Array, config: TrainConfig) -> None:
        self._x = x
        self._config = config

    def __call__(self, model: SVAE) -> float:
        """Loss of a model."""
        config, convention = self._config, self._config.convention
        codes, _ = model.encode(self._x, convention=convention)
        mse = float(np.mean((self._x - model.decode(codes)) ** 2))
        size = min(len(codes), MMD_ROWS)
        if size < 2 or config.beta == 0:
            return mse
        rng = sampling.generator(config.seed, "validation", 1)
        chosen = rng.integers(model.n_components, size=size)
        mu, kappa = (part[chosen] for part in model.encode_pseudo_inputs(convention=convention))
        prior = reference.sample_vmf(
            mu, kappa, *sampling.draw_vmf(kappa, model.latent_dim, rng), convention=convention
        )
        return mse + config.beta * float(reference.mmd_imq(codes[:size], prior, config.c, convention=convention))


def train_early_stopping(
    x: Array,
    x_validation: Array,
    config: TrainConfig,
    *,
    patience: int,
    callback: Callback | None = None,
    device: str = "cpu",
    **sizes: Any,
) -> EarlyStopped:
    """Train until `patience` checks in a row find no lower validation loss; there is one check every 50 steps.

    Parameters
    ----------
    x, x_validation : (n, d), (m, d) arrays, standardised by the rows of `x`
    config : TrainConfig
        `steps` is the largest number of steps.
    patience : int
        Checks without a lower loss after which training stops.
    callback, device
        As in `training.train`.
    **sizes
        `latent_dim`, `hidden_dim`, `n_components`, `activation`, `dtype`: as in `SVAE.initialise`.
    """
    model = SVAE.initialise(x.shape[1], seed=config.seed, **sizes)
    run, loss_of = new_run(model, x, config, device=device), ValidationLoss(x_validation, config)
    best, best_step, lowest = model, 0, loss_of(model)
    checks = [(0, lowest)]
    waited = 0
    while run.step_count < config.steps and waited < patience:
        run.advance(min(run.step_count + CHECK_EVERY, config.steps))
        step = run.step_count
        if callback is not None:
            callback(step, config.steps, run.last_loss)
        model = run.model()
        value = loss_of(model)
        checks.append((step, value))
        if value < lowest:
            best, best_step, lowest, waited = model, step, value, 0
        else:
            waited += 1
    history = pd.DataFrame(checks, columns=["step", "validation_loss"])
    return EarlyStopped(best, run.history(), history, best_step)
