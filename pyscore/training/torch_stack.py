"""A stack of models trained as one model of batched matrix products in PyTorch, which suits a GPU."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyscore._core.checks import Array
from pyscore.backends import torch_functions as tf
from pyscore.kernels.cpu.training_draws import batch_and_components, vmf_draws
from pyscore.reference.minimise import BETAS, beta_power
from pyscore.reference.model import SVAE
from pyscore.reference.network import KAPPA_MAX
from pyscore.reference.sampling import STREAMS
from pyscore.training.config import Progress, StackMember, TrainConfig

__all__ = ["Stack", "train_batched"]

REPORT_EVERY = 20


def train_batched(
    x: Array, models: list[SVAE], configs: list[TrainConfig], device: str, callback: Progress | None
) -> list[StackMember]:
    """Train the models of one stack together; see `pyscore.training.stack.train_stack`."""
    stack, steps = Stack(x, models, configs, device), configs[0].steps
    for step in range(steps):
        stack.step()
        if callback is not None and ((step + 1) % REPORT_EVERY == 0 or step + 1 == steps):
            callback((step + 1) * len(models), steps * len(models))
    return stack.members()


class Stack:
    """Parameters with a leading axis of models; one step moves all of them.

    The loss of the stack is the sum of the models' losses, so each parameter gets the gradient of its own model's
    loss. A model whose loss is not finite is frozen: its gradient is set to zero and its failure is recorded.
    """

    def __init__(self, x: Array, models: list[SVAE], configs: list[TrainConfig], device: str) -> None:
        self.config, self.activation = configs[0], models[0].activation
        self.x = torch.tensor(x, device=device)
        named = [model.parameters() for model in models]
        stacked = {name: np.stack([p[name] for p in named]) for name in named[0]}
        self.values = {n: torch.tensor(a, device=device, requires_grad=True) for n, a in stacked.items()}
        self.m = {n: torch.zeros_like(t, requires_grad=False) for n, t in self.values.items()}
        self.v = {n: torch.zeros_like(t, requires_grad=False) for n, t in self.values.items()}
        self.beta = torch.tensor([c.beta for c in configs], dtype=self.x.dtype, device=device)
        self.c = torch.tensor([c.c for c in configs], dtype=self.x.dtype, device=device)[:, None, None]
        self.seeds = np.array([c.seed for c in configs], dtype=np.int64)
        self.failures: list[str | None] = [None] * len(models)
        self._alive = torch.ones(len(models), dtype=torch.bool, device=device)
        self._history: list[Tensor] = []

    # ── the loss ──

    def losses(self) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, mean squared error and MMD (models,) of the next step's batches."""
        size, step = self.config.batch_size, len(self._history)
        rows, components = self._batches(step)
        x = self.x[self._to_device(rows)]
        codes, kappas = self._encode(torch.cat([x, self._choose(components)], dim=1))
        z, mu, kappa = codes[:, :size], codes[:, size:], kappas[:, size:]
        concentration = kappa.detach().double().cpu().numpy()
        sound = np.where(
            np.isfinite(concentration), concentration, 1.0
        )  # a NaN would never be accepted, and the sampler of all models would wait
        epsilon, v = (self._to_device(a).to(x.dtype) for a in self._accepted(step, sound))
        mmd = self._mmd(z, self._sample(mu, kappa, epsilon, v))
        mse = ((x - self._dense_chain("decoder", 4, z, last_active=False)) ** 2).mean(dim=(1, 2))
        return mse + self.beta * mmd, mse, mmd

    def _batches(self, step: int) -> tuple[Array, Array]:
        """Rows and components (models, size) of a step."""
        p = self.values["pseudo_inputs"].shape[1]
        return batch_and_components(self.seeds, STREAMS["train"], step, len(self.x), p, self.config.batch_size)

    def _accepted(self, step: int, kappa: Array) -> tuple[Array, Array]:
        """Accepted draws epsilon (models, size) and v (models, size, k−1) of a step."""
        return vmf_draws(self.seeds, STREAMS["train"], step, kappa, self.values["mu.weight"].shape[1])

    def _sample(self, mu: Tensor, kappa: Tensor, epsilon: Tensor, v: Tensor) -> Tensor:
        """Samples (models, size, k) of the prior."""
        k = mu.shape[-1]
        draws = mu.reshape(-1, k), kappa.reshape(-1), epsilon.reshape(-1), v.reshape(-1, k - 1)
        return tf.sample_vmf(*draws, self.config.convention).reshape(mu.shape)

    def _mmd(self, z: Tensor, prior: Tensor) -> Tensor:
        return tf.mmd_imq(z, prior, self.c, self.config.convention)

    def _to_device(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.x.device)

    def _choose(self, components: Array) -> Tensor:
        """Pseudo-inputs (models, size, d); see `Trainer._choose`."""
        chosen = torch.gather(
            self.values["pseudo_inputs"],
            1,
            self._to_device(components)[:, :, None].expand(-1, -1, self.x.shape[1]),
        )
        if self.config.convention.pseudo_input_gradient == "sum":
            return chosen
        size = components.shape[1]
        last = np.zeros(components.shape, dtype=bool)
        for member, drawn in enumerate(components):
            last[member, size - 1 - np.unique(drawn[::-1], return_index=True)[1]] = True
        return torch.where(self._to_device(last)[:, :, None], chosen, chosen.detach())

    def _dense(self, name: str, a: Tensor) -> Tensor:
        return torch.baddbmm(
            self.values[f"{name}.bias"][:, None], a, self.values[f"{name}.weight"].transpose(1, 2)
        )

    def _dense_chain(self, name: str, layers: int, a: Tensor, *, last_active: bool) -> Tensor:
        phi = tf.ACTIVATIONS[self.activation].value
        for index in range(layers):
            a = self._dense(f"{name}.{index}", a)
            if last_active or index < layers - 1:
                a = phi(a)
        return a

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self._dense_chain("encoder", 3, x, last_active=True)
        kappa = KAPPA_MAX * torch.sigmoid(self._dense("kappa", hidden))
        return tf.normalize(self._dense("mu", hidden), self.config.convention), kappa[..., 0]

    # ── the step ──

    def step(self) -> None:
        """Take one step of every model that has not failed."""
        loss, mse, mmd = self.losses()
        self._history.append(torch.stack([loss, mse, mmd], dim=1).detach().double())
        broken = self._alive & ~torch.isfinite(loss.detach())
        if broken.any():
            self._freeze(broken)
        gradients = torch.autograd.grad(torch.where(self._alive, loss, 0).sum(), list(self.values.values()))
        self._adam(dict(zip(self.values, gradients, strict=True)))

    def _freeze(self, broken: Tensor) -> None:
        for member in torch.nonzero(broken)[:, 0].tolist():
            self.failures[member] = f"the loss became NaN or infinite at step {len(self._history) - 1}"
        self._alive = self._alive & ~broken

    @torch.no_grad()
    def _adam(self, gradients: dict[str, Tensor]) -> None:
        """As `minimise.adam_step`: arithmetic in float64, moments kept in the parameters' type."""
        first, second = (1 - beta_power(beta, len(self._history)) for beta in BETAS)
        for name, value in self.values.items():
            alive = self._alive.reshape(-1, *[1] * (value.ndim - 1))
            g, m, v = torch.where(alive, gradients[name], 0), self.m[name], self.v[name]
            m.copy_(BETAS[0] * m.double() + (1 - BETAS[0]) * g.double())
            v.copy_(BETAS[1] * v.double() + (1 - BETAS[1]) * (g * g).double())
            step = m.double() / first / (torch.sqrt(v.double() / second) + 1e-8) * self.config.learning_rate
            value -= torch.where(alive, step, 0).to(value.dtype)

    def members(self) -> list[StackMember]:
        """Return the models as they are now."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in self.values.items()}
        empty = self.x.new_empty((0, len(self.seeds), 3), dtype=torch.float64)
        history = (torch.stack(self._history) if self._history else empty).cpu().numpy()
        members = []
        for index, failure in enumerate(self.failures):
            steps = len(history) if failure is None else int(failure.rsplit(" ", 1)[1])
            frame = pd.DataFrame(history[:steps, index], columns=["loss", "mse", "mmd"])
            named = {name: array[index].copy() for name, array in arrays.items()}
            model = None if failure is not None else SVAE.from_parameters(named, self.activation)
            members.append(StackMember(model, failure, frame))
        return members
