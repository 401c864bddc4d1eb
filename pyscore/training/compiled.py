"""Training in compiled code on one core (`pyscore.kernels.cpu.train`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core.checks import Array
from pyscore.kernels.cpu import train as kernel
from pyscore.kernels.cpu._activations import activation_code
from pyscore.reference.minimise import BETAS, beta_power
from pyscore.reference.model import SVAE
from pyscore.reference.sampling import STREAMS
from pyscore.training.config import TrainConfig
from pyscore.training.run import TrainingRun

__all__ = ["CompiledTrainer", "step_options"]


class CompiledTrainer(TrainingRun):
    """`TrainingRun` in compiled code. It releases the GIL, so several threads can each train a model.

    Parameters
    ----------
    model, x, config
        See `TrainingRun`. Draws come from the configuration's seed.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> model = pyscore.SVAE.initialise(3, latent_dim=2, hidden_dim=8)
    >>> run = pyscore.training.compiled.CompiledTrainer(model, x, pyscore.TrainConfig(steps=5))
    >>> len(run.run().history)
    5
    """

    backend = "numba"
    stride = 200
    """Steps between two calls of a callback, which take about 0.05 s."""

    def __init__(self, model: SVAE, x: ArrayLike, config: TrainConfig | None = None) -> None:
        super().__init__(model, x, config)
        self._optimised = kernel.initial_state(model.parameters(), model.activation)
        self._options = step_options(self.config, model.activation)
        self._powers = np.ones(2)

    def advance(self, until: int) -> None:
        """See `TrainingRun.advance`."""
        self.step_count, failure, history, _ = kernel.train_steps(
            self._optimised, self._rows, self._options, self._powers, self.step_count, until
        )
        self._history += map(tuple, history.tolist())
        if failure is not None:
            raise self._diverged(failure)

    def model(self) -> SVAE:
        """Return the parameters as they are now."""
        return SVAE.from_parameters(kernel.parameters(self._optimised), self._activation)

    def _state(self) -> dict[str, Array]:
        state = self._optimised
        return {"values": state.values, "m": state.m, "v": state.v}

    def _restore(self, state: dict[str, Array]) -> None:
        for name, target in self._state().items():
            target[:] = state[name]
        self._powers[:] = [beta_power(beta, self.step_count) for beta in BETAS]


def step_options(config: TrainConfig, activation: str) -> Any:
    """Return the fields of a configuration that the compiled step reads."""
    convention = config.convention
    return kernel.StepOptions(
        beta=float(config.beta),
        c=float(config.c),
        learning_rate=float(config.learning_rate),
        batch_size=config.batch_size,
        seed=config.seed,
        stream=STREAMS["train"],
        activation=activation_code(activation),
        machine=convention.norm_eps == "machine",
        removed=convention.mmd_diagonal == "removed",
        summed=convention.pseudo_input_gradient == "sum",
    )
