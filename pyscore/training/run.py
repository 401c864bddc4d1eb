"""What every training engine shares: the loop over steps, the history and the checkpoints."""

from __future__ import annotations

import abc
import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.files import read_tensors, write_tensors
from pyscore._core.output_guard import check_output
from pyscore.errors import InvalidInput, ModelFileError, TrainingDiverged
from pyscore.reference.model import SVAE
from pyscore.training.config import Callback, TrainConfig, Trained
from pyscore.training.saved_models import CHECKPOINT_VERSION, MODEL

__all__ = ["TrainingRun"]


class TrainingRun(abc.ABC):
    """A model in training: parameters, ADAM's moments and the step count. `pyscore.training.new_run` makes one.

    Parameters
    ----------
    model : SVAE
        The starting point; training computes in its dtype.
    x : (n, d) array
        Training rows, standardised.
    config : TrainConfig

    Raises
    ------
    InvalidInput, ShapeError
        If `x` is empty, has NaN or infinite values or the wrong width.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> model = pyscore.SVAE.initialise(3, latent_dim=2, hidden_dim=8)
    >>> run = pyscore.training.new_run(model, x, pyscore.TrainConfig(steps=5))
    >>> isinstance(run, pyscore.training.TrainingRun), len(run.run().history)
    (True, 5)
    """

    backend: ClassVar[str]
    stride: ClassVar[int]
    """Steps taken between two calls of a callback."""

    def __init__(self, model: SVAE, x: ArrayLike, config: TrainConfig | None = None) -> None:
        self.config = config or TrainConfig()
        x = check.matrix(
            "x", x, model.input_dim, dtype=model.dtype, why=f"The model has {model.input_dim} features."
        )
        if len(x) < 2:
            raise InvalidInput(f"`x` must have at least 2 rows to train on; got {len(x)}.")
        check.finite("x", x, limit=check.LARGEST)
        self._rows = x
        self._activation = model.activation
        self.step_count = 0
        self._history: list[tuple[float, float, float]] = []

    # ── what an engine does ──

    @abc.abstractmethod
    def advance(self, until: int) -> None:
        """Take steps until the total is `until`.

        Raises
        ------
        TrainingDiverged
            If the loss is NaN or infinite; the parameters stay as they were before that step.
        """

    @abc.abstractmethod
    def model(self) -> SVAE:
        """Return the parameters as they are now."""

    @abc.abstractmethod
    def _state(self) -> dict[str, Array]:
        """Return the arrays of a checkpoint other than the history: values, m, v."""

    @abc.abstractmethod
    def _restore(self, state: dict[str, Array]) -> None:
        """Take over the arrays that `_state` returned after `step_count` steps."""

    # ── the run ──

    def run(
        self,
        steps: int | None = None,
        *,
        callback: Callback | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        every: int = 1000,
    ) -> Trained:
        """Train up to `steps` steps in all (by default the configuration's).

        If the file `checkpoint` exists, training resumes from it. The file is written after every `every` steps
        and at the end, and is not deleted. An interrupted run that resumes gives the same bits as one that was not
        interrupted.
        """
        total = self.config.steps if steps is None else check.integer("steps", steps, at_least=0)
        if checkpoint is not None:
            check_output(checkpoint)  # an unusable path fails here, not after the first 1,000 steps
        if checkpoint is not None and Path(checkpoint).exists():
            self.load_checkpoint(checkpoint)
        while self.step_count < total:
            here = self.step_count
            # Stops are multiples of `stride` and `every`, so a resumed run stops where an uninterrupted one does.
            self.advance(min(here - here % self.stride + self.stride, here - here % every + every, total))
            if callback is not None:
                callback(self.step_count, total, self.last_loss)
            if checkpoint is not None and (self.step_count % every == 0 or self.step_count == total):
                self.save_checkpoint(checkpoint)
        return Trained(self.model(), self.history())

    @property
    def last_loss(self) -> float:
        """Loss before the last step; NaN at the start."""
        return self._history[-1][0] if self._history else float("nan")

    def history(self) -> pd.DataFrame:
        """Return one row a step: loss, mse, mmd."""
        return pd.DataFrame(self._history, columns=["loss", "mse", "mmd"])

    def _diverged(self, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"{what} at step {self.step_count}. Lower `learning_rate` ({self.config.learning_rate:g}) or `beta` "
            f"({self.config.beta:g}), or look for outliers in the data."
        )

    # ── checkpoints ──

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must have in common with this run; the number of steps may differ."""
        config = {k: v for k, v in self.config.to_dict().items() if k != "steps"}
        data = hashlib.sha256(self._rows.tobytes()).hexdigest()
        return {
            "config": json.loads(json.dumps(config)),
            "data": data,
            "activation": self._activation,
            "backend": self.backend,
        }

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, moments, step count and history; the model itself, too, for `load_model`."""
        history = np.array(self._history, dtype=np.float64).reshape(-1, 3)
        header = {"step": self.step_count, **self._identity()}
        model = {f"{MODEL}/{name}": value for name, value in self.model().parameters().items()}
        write_tensors(
            path, "checkpoint", CHECKPOINT_VERSION, header, {**self._state(), **model, "history": history}
        )

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Take over the state of a checkpoint of the same configuration, data and engine.

        Raises
        ------
        ModelFileError
            If the file is damaged.
        InvalidInput
            If it belongs to another configuration, other data, another architecture or engine.
        """
        header, arrays = read_tensors(path, "checkpoint", CHECKPOINT_VERSION, unsigned=(1,))
        state, mine = self._state(), self._identity()
        same_size = all(arrays.get(name, np.empty(0)).shape == state[name].shape for name in state)
        differ = [key for key in mine if header.get(key) != mine[key]] + ([] if same_size else ["architecture"])
        if differ:
            raise InvalidInput(
                f"`checkpoint` {str(path)!r} belongs to another run: its {', '.join(differ)} differ. "
                "Delete it, or name another file."
            )
        step, history = header.get("step"), arrays.get("history", np.empty(0))
        if type(step) is not int or history.shape != (step, 3):
            raise ModelFileError(f"{str(path)!r} is not a valid checkpoint: its step count or history is damaged.")
        self.step_count = step
        self._history = [tuple(row) for row in history.tolist()]
        self._restore({name: arrays[name] for name in state})
