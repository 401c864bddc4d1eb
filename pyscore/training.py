"""Training of the Wasserstein autoencoder in PyTorch: seeded, replayable, resumable.

Loss of a batch: mean over all n·d entries of (x − decode(mu(x)))² + β·MMD(mu(x), prior sample of n), equation (1).
Original: `wloss` and `Flux.train!` with `ADAM(1e-4)`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyscore import _validate as check
from pyscore import torch_functions as tf
from pyscore._validate import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput, ModelFileError, TrainingDiverged
from pyscore.minimise import beta_power
from pyscore.model import SVAE
from pyscore.sampling import TrainingDraws, VMFDraws
from pyscore.storage import read_tensors, write_tensors

__all__ = ["Draws", "RandomDraws", "StepDraws", "TrainConfig", "Trained", "Trainer", "train"]

BETAS = (0.9, 0.999)
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
"""Called with (steps done, steps in all, last loss)."""


class Trainer:
    """A model in training: parameters, ADAM's moments and the step count, one step at a time.

    Parameters
    ----------
    model : SVAE
        Where to start; its dtype is the dtype of training.
    x : (n, d) array
        Training rows, standardised.
    config : TrainConfig
    draws : Draws, optional
        By default `RandomDraws(config.seed)`.
    device : str
        Where to compute.

    Raises
    ------
    InvalidInput, ShapeError
        If `x` is empty, has NaN or infinite values or the wrong width.
    """

    def __init__(
        self,
        model: SVAE,
        x: ArrayLike,
        config: TrainConfig | None = None,
        *,
        draws: Draws | None = None,
        device: str = "cpu",
    ) -> None:
        self.config = config or TrainConfig()
        self.draws = draws or RandomDraws(self.config.seed)
        x = check.matrix(
            "x", x, model.input_dim, dtype=model.dtype, why=f"The model has {model.input_dim} features."
        )
        if len(x) < 2:
            raise InvalidInput(f"`x` must have at least 2 rows to train on; got {len(x)}.")
        check.finite("x", x, limit=1e15)
        self._activation = model.activation
        self._dtype = torch.float64 if model.dtype == np.float64 else torch.float32
        self._x = torch.tensor(x, dtype=self._dtype, device=device)
        self._flat = _FlatParameters(model, self._dtype, device)
        self.step_count = 0
        self._history: list[tuple[float, float, float]] = []

    # ── one step ──

    def loss(self, draws: StepDraws) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, mean squared error and MMD of one batch, as differentiable tensors."""
        config, p = self.config, self._flat.tensors
        size, k = config.batch_size, p["mu.weight"].shape[0]
        x = self._x[torch.from_numpy(draws.batch(len(self._x), size)).to(self._x.device)]
        chosen = self._choose(p["pseudo_inputs"], draws.components(len(p["pseudo_inputs"]), size))
        codes, concentrations = self._encode(torch.cat([x, chosen]))
        z, mu, kappa = codes[:size], codes[size:], concentrations[size:]
        concentration = kappa.detach().cpu().numpy()
        if not np.isfinite(concentration).all():
            raise self._diverged("a concentration kappa became NaN")
        accepted = draws.vmf(concentration, k)
        epsilon, v = (torch.as_tensor(a, dtype=self._dtype, device=x.device) for a in accepted)
        prior = tf.sample_vmf(mu, kappa, epsilon, v, config.convention)
        mmd = tf.mmd_imq(z, prior, config.c, config.convention)
        mse = ((x - tf.mlp(z, self._flat.layers("decoder", 4), self._activation)) ** 2).mean()
        return mse + config.beta * mmd, mse, mmd

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = self._flat
        return tf.encoder_heads(
            x,
            flat.layers("encoder", 3),
            flat.layer("mu"),
            flat.layer("kappa"),
            self._activation,
            self.config.convention,
        )

    def _choose(self, pseudo_inputs: Tensor, components: NDArray[np.int64]) -> Tensor:
        """Rows of the pseudo-inputs; under ``pseudo_input_gradient="last"`` only the last copy has a gradient."""
        chosen = pseudo_inputs[torch.from_numpy(np.ascontiguousarray(components)).to(pseudo_inputs.device)]
        if self.config.convention.pseudo_input_gradient == "sum":
            return chosen
        last = np.zeros((len(components), 1), dtype=bool)
        last[len(components) - 1 - np.unique(components[::-1], return_index=True)[1]] = True
        return torch.where(torch.from_numpy(last).to(chosen.device), chosen, chosen.detach())

    def step(self) -> float:
        """Take one step and return the loss before it.

        Raises
        ------
        TrainingDiverged
            If the loss is NaN or infinite; parameters are those before the step.
        """
        with tf.one_thread():
            return self._step()

    def _step(self) -> float:
        self._flat.gradient.zero_()
        loss, mse, mmd = self.loss(self.draws.step(self.step_count))
        value = loss.item()
        if not np.isfinite(value):
            raise self._diverged(f"the loss became {value}")
        loss.backward()  # type: ignore[no-untyped-call]
        self.step_count += 1
        self._flat.adam(self.step_count, self.config.learning_rate)
        self._history.append((value, mse.item(), mmd.item()))
        return value

    def _diverged(self, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"{what} at step {self.step_count}. Lower `learning_rate` ({self.config.learning_rate:g}) or `beta` "
            f"({self.config.beta:g}), or look for outliers in the data."
        )

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
            value = self.step()
            if callback is not None:
                callback(self.step_count, total, value)
            if checkpoint is not None and (self.step_count % every == 0 or self.step_count == total):
                self.save_checkpoint(checkpoint)
        return Trained(self.model(), self.history())

    # ── what it holds ──

    def model(self) -> SVAE:
        """Return the parameters as they are now."""
        return SVAE.from_parameters(self._flat.arrays(self._flat.values), self._activation)

    def gradients(self) -> dict[str, Array]:
        """Return the gradients of the last step by parameter name."""
        return self._flat.arrays(self._flat.gradient)

    def history(self) -> pd.DataFrame:
        """Return one row a step: loss, mse, mmd."""
        return pd.DataFrame(self._history, columns=["loss", "mse", "mmd"])

    # ── checkpoints ──

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with: configuration (but for its length), data and architecture."""
        config = {k: v for k, v in self.config.to_dict().items() if k != "steps"}
        data = hashlib.sha256(self._x.cpu().numpy().tobytes()).hexdigest()
        return {"config": json.loads(json.dumps(config)), "data": data, "activation": self._activation}

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, moments, step count and history."""
        flat = self._flat
        tensors = {"values": flat.values, "m": flat.m, "v": flat.v}
        arrays = {name: t.detach().cpu().numpy() for name, t in tensors.items()}
        arrays["history"] = np.array(self._history, dtype=np.float64).reshape(-1, 3)
        header = {"step": self.step_count, **self._identity()}
        write_tensors(path, "checkpoint", CHECKPOINT_VERSION, header, arrays)

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint of the same configuration and data.

        Raises
        ------
        ModelFileError
            If the file is damaged.
        InvalidInput
            If it belongs to another configuration, other data or another architecture.
        """
        header, arrays = read_tensors(path, "checkpoint", CHECKPOINT_VERSION, unsigned=(1,))
        flat, mine = self._flat, self._identity()
        same_size = all(arrays.get(n, np.empty(0)).shape == flat.values.shape for n in ("values", "m", "v"))
        differ = [key for key in mine if header.get(key) != mine[key]] + ([] if same_size else ["architecture"])
        if differ:
            raise InvalidInput(
                f"`checkpoint` {str(path)!r} belongs to another run: its {', '.join(differ)} differ. "
                "Delete it, or name another file."
            )
        step, history = header.get("step"), arrays.get("history", np.empty(0))
        if type(step) is not int or history.shape != (step, 3):
            raise ModelFileError(f"{str(path)!r} is not a valid checkpoint: its step count or history is damaged.")
        with torch.no_grad():
            for name, target in (("values", flat.values), ("m", flat.m), ("v", flat.v)):
                target.copy_(torch.from_numpy(arrays[name]))
        self.step_count = step
        self._history = [tuple(row) for row in history.tolist()]


class _FlatParameters:
    """All parameters in one vector, with a named leaf tensor for each, so that ADAM is a dozen operations."""

    def __init__(self, model: SVAE, dtype: torch.dtype, device: str) -> None:
        arrays = model.parameters()
        flat = np.concatenate([a.ravel() for a in arrays.values()])
        self.values = torch.tensor(flat, dtype=dtype, device=device)
        self.gradient, self.m, self.v = (torch.zeros_like(self.values) for _ in range(3))
        self._slices, start = {}, 0
        self.tensors: dict[str, Tensor] = {}
        for name, array in arrays.items():
            self._slices[name] = (slice(start, start + array.size), array.shape)
            leaf = self.values[start : start + array.size].view(array.shape).requires_grad_()
            leaf.grad = self.gradient[start : start + array.size].view(array.shape)
            self.tensors[name] = leaf
            start += array.size

    def layer(self, name: str) -> tf.Layer:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]

    def layers(self, name: str, count: int) -> list[tf.Layer]:
        return [self.layer(f"{name}.{i}") for i in range(count)]

    def arrays(self, flat: Tensor) -> dict[str, Array]:
        host = flat.detach().cpu().numpy().copy()
        return {name: host[where].reshape(shape) for name, (where, shape) in self._slices.items()}

    @torch.no_grad()
    def adam(self, t: int, rate: float) -> None:
        """`minimise.adam_step` on the whole vector, to the same bits."""
        g = self.gradient
        self.m.copy_(BETAS[0] * self.m.double() + (1 - BETAS[0]) * g.double())
        self.v.copy_(BETAS[1] * self.v.double() + (1 - BETAS[1]) * (g * g).double())
        first, second = (beta_power(beta, t) for beta in BETAS)
        root = torch.sqrt(self.v.double() / (1 - second))
        step = self.m.double() / (1 - first) / (root + 1e-8) * rate
        self.values -= step.to(self.values.dtype)


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
    device: str = "cpu",
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Trained:
    """Draw a model and train it on rows `x` (n, d), standardised.

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
    trainer = Trainer(model, x, config, draws=draws, device=device)
    return trainer.run(callback=callback, checkpoint=checkpoint)
