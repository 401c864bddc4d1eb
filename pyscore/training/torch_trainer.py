"""Training in PyTorch, with automatic differentiation, on any device, from a seed or from recorded draws."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyscore._core.checks import Array
from pyscore.backends import torch_functions as tf
from pyscore.reference.minimise import BETAS, beta_power
from pyscore.reference.model import SVAE
from pyscore.training.config import TrainConfig
from pyscore.training.draws import Draws, RandomDraws, StepDraws
from pyscore.training.run import TrainingRun

__all__ = ["Trainer"]


class Trainer(TrainingRun):
    """`TrainingRun` in PyTorch, one step at a time.

    Parameters
    ----------
    model, x, config
        See `TrainingRun`.
    draws : Draws, optional
        By default `RandomDraws(config.seed)`.
    device : str
        Device on which torch computes.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> model = pyscore.SVAE.initialise(3, latent_dim=2, hidden_dim=8)
    >>> run = pyscore.training.torch_trainer.Trainer(model, x, pyscore.TrainConfig(steps=5))
    >>> len(run.run().history)
    5
    """

    backend = "torch"
    stride = 1

    def __init__(
        self,
        model: SVAE,
        x: ArrayLike,
        config: TrainConfig | None = None,
        *,
        draws: Draws | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(model, x, config)
        self.draws = draws or RandomDraws(self.config.seed)
        self._dtype = torch.float64 if model.dtype == np.float64 else torch.float32
        self._x = torch.tensor(self._rows, dtype=self._dtype, device=device)
        self._flat = _FlatParameters(model, self._dtype, device)

    def advance(self, until: int) -> None:
        """See `TrainingRun.advance`."""
        while self.step_count < until:
            self.step()

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
            If the loss is NaN or infinite; the parameters stay as they were before that step.
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

    # ── what it holds ──

    def model(self) -> SVAE:
        """Return the parameters as they are now."""
        return SVAE.from_parameters(self._flat.arrays(self._flat.values), self._activation)

    def gradients(self) -> dict[str, Array]:
        """Return the gradients of the last step by parameter name."""
        return self._flat.arrays(self._flat.gradient)

    def _state(self) -> dict[str, Array]:
        flat = self._flat
        tensors = {"values": flat.values, "m": flat.m, "v": flat.v}
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def _restore(self, state: dict[str, Array]) -> None:
        flat = self._flat
        with torch.no_grad():
            for name, target in (("values", flat.values), ("m", flat.m), ("v", flat.v)):
                target.copy_(torch.from_numpy(state[name]))


class _FlatParameters:
    """All parameters in one vector, so ADAM takes a dozen operations; each has a named leaf tensor."""

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
        """As `minimise.adam_step`, to the same bits, on the whole vector."""
        g = self.gradient
        self.m.copy_(BETAS[0] * self.m.double() + (1 - BETAS[0]) * g.double())
        self.v.copy_(BETAS[1] * self.v.double() + (1 - BETAS[1]) * (g * g).double())
        first, second = (beta_power(beta, t) for beta in BETAS)
        root = torch.sqrt(self.v.double() / (1 - second))
        step = self.m.double() / (1 - first) / (root + 1e-8) * rate
        self.values -= step.to(self.values.dtype)
