"""Training of the Wasserstein autoencoder: seeded, replayable, resumable.

Loss of a batch: mean over all n·d entries of (x − decode(mu(x)))² + β·MMD(mu(x), prior sample of n), equation (1).
Original: `wloss` and `Flux.train!` with `ADAM(1e-4)`.

Two engines take the steps: `training.compiled` (numba) and `training.torch_trainer` (torch: automatic
differentiation, any device, recorded draws). Same seed, same start, same draws, parameters equal to rounding.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.files import read_tensors, write_tensors
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput, ModelFileError, TrainingDiverged
from pyscore.reference.model import SVAE
from pyscore.reference.sampling import TrainingDraws, VMFDraws

__all__ = [
    "BACKENDS",
    "Draws",
    "RandomDraws",
    "StepDraws",
    "TrainConfig",
    "Trained",
    "TrainingRun",
    "new_run",
    "train",
]

BACKENDS = ("numba", "torch")
CHECKPOINT_VERSION = 2


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


class StepDraws(Protocol):
    """The draws of one step, asked for in this order."""

    def batch(self, rows: int, size: int) -> NDArray[np.int64]:
        """Indices (size,) of the rows of the batch."""

    def components(self, p: int, size: int) -> NDArray[np.int64]:
        """Indices (size,) of the prior components."""

    def vmf(self, kappa: Array, k: int) -> VMFDraws:
        """Accepted draws for concentrations `kappa` (size,)."""


class Draws(Protocol):
    """A source of draws: a seed, or a recording."""

    def step(self, index: int) -> StepDraws:
        """Draws of step 0, 1, …; asking twice gives the same."""


@dataclass(frozen=True)
class RandomDraws:
    """Draws from a seed, each a function of (seed, step, purpose)."""

    seed: int

    def step(self, index: int) -> StepDraws:
        """See `Draws.step`."""
        return TrainingDraws(self.seed, index)


class Trained(NamedTuple):
    """What training returns."""

    model: SVAE
    history: pd.DataFrame
    """One row a step: ``loss``, ``mse``, ``mmd``, before the update."""


Callback = Callable[[int, int, float], None]
"""Called now and then with (steps done, steps in all, last loss)."""


class TrainingRun(abc.ABC):
    """A model in training: parameters, ADAM's moments and the step count; see `new_run`.

    Parameters
    ----------
    model : SVAE
        Where to start; its dtype is the dtype of training.
    x : (n, d) array
        Training rows, standardised.
    config : TrainConfig

    Raises
    ------
    InvalidInput, ShapeError
        If `x` is empty, has NaN or infinite values or the wrong width.
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
        """Take steps until `until` have been taken in all.

        Raises
        ------
        TrainingDiverged
            If the loss is NaN or infinite; parameters are those before the step.
        """

    @abc.abstractmethod
    def model(self) -> SVAE:
        """Return the parameters as they are now."""

    @abc.abstractmethod
    def _state(self) -> dict[str, Array]:
        """Return what a checkpoint holds beside the history: values, m, v."""

    @abc.abstractmethod
    def _restore(self, state: dict[str, Array]) -> None:
        """Set what `_state` returned, after `step_count` steps."""

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

        With `checkpoint`, a file of that name is resumed from if it is there, written every so many steps, and
        left at the end: an interrupted run goes on to the same bits.
        """
        total = self.config.steps if steps is None else check.integer("steps", steps, at_least=0)
        if checkpoint is not None and Path(checkpoint).exists():
            self.load_checkpoint(checkpoint)
        while self.step_count < total:
            here = self.step_count
            # Multiples, so that a resumed run stops where an uninterrupted one does.
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
        """What a checkpoint must agree with: configuration (but for its length), data, architecture, engine."""
        config = {k: v for k, v in self.config.to_dict().items() if k != "steps"}
        data = hashlib.sha256(self._rows.tobytes()).hexdigest()
        return {
            "config": json.loads(json.dumps(config)),
            "data": data,
            "activation": self._activation,
            "backend": self.backend,
        }

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, moments, step count and history."""
        history = np.array(self._history, dtype=np.float64).reshape(-1, 3)
        header = {"step": self.step_count, **self._identity()}
        write_tensors(path, "checkpoint", CHECKPOINT_VERSION, header, {**self._state(), "history": history})

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint of the same configuration, data and engine.

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


def new_run(
    model: SVAE,
    x: ArrayLike,
    config: TrainConfig | None = None,
    *,
    backend: str | None = None,
    draws: Draws | None = None,
    device: str = "cpu",
) -> TrainingRun:
    """Start training `model` on rows `x` (n, d) with the engine that `train` describes.

    Raises
    ------
    InvalidInput, ShapeError
        If the data cannot be used, or if numba is asked for what only torch does.
    """
    if backend is None:
        backend = "numba" if draws is None and device == "cpu" else "torch"
    check.choice("backend", backend, BACKENDS)
    if backend == "torch":
        from pyscore.training.torch_trainer import Trainer

        return Trainer(model, x, config, draws=draws, device=device)
    if draws is not None or device != "cpu":
        what = "`draws` must be None" if draws is not None else f"`device` must be 'cpu', not {device!r},"
        raise InvalidInput(f"{what} with backend='numba', which draws from the seed on the CPU. Use 'torch'.")
    from pyscore.training.compiled import CompiledTrainer

    return CompiledTrainer(model, x, config)


def train(
    x: ArrayLike,
    config: TrainConfig | None = None,
    *,
    latent_dim: int = 4,
    hidden_dim: int = 32,
    n_components: int = 4,
    activation: str = "swish",
    dtype: Any = np.float32,
    draws: Draws | None = None,
    backend: str | None = None,
    device: str = "cpu",
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Trained:
    """Draw a model and train it on rows `x` (n, d), standardised.

    Parameters
    ----------
    x : (n, d) array
    config : TrainConfig
    latent_dim, hidden_dim, n_components, activation, dtype
        As in `SVAE.initialise`, which draws the start from the configuration's seed.
    draws : Draws, optional
        Where batches and prior samples come from: a recording, say. By default the configuration's seed.
    backend : {"numba", "torch"}, optional
        The engine: compiled code on one core of the CPU, or PyTorch. By default numba, but torch where `draws`
        or a `device` other than the CPU are given. The two are equal to rounding, each to its own bits.
    device : str
        Where torch computes.
    callback : callable, optional
        Called with steps done, steps in all and the last loss: by numba every 200 steps, by torch every step.
    checkpoint : path, optional
        A file to resume from if it is there, and to write to every 1,000 steps.

    Returns
    -------
    Trained
        The model and one row of history a step.

    Raises
    ------
    InvalidInput, ShapeError
        If the data or a size cannot be used.
    TrainingDiverged
        If the loss becomes NaN or infinite.
    """
    config = config or TrainConfig()
    x = check.matrix("x", x)
    model = SVAE.initialise(
        x.shape[1], latent_dim, hidden_dim, n_components, activation=activation, seed=config.seed, dtype=dtype
    )
    run = new_run(model, x, config, backend=backend, draws=draws, device=device)
    return run.run(callback=callback, checkpoint=checkpoint)
