"""Training steps in float64 PyTorch, exactly and under random rounding: the spread of losses and gradients."""

import contextlib
import functools

import golden_files as golden
import numpy as np
import torch

from pyscore import reference
from pyscore.backends import torch_functions as tf
from pyscore.backends.stochastic import DRAWS, Noise
from pyscore.backends.stochastic_torch import RandomRounding
from pyscore.convention import ORIGINAL
from pyscore.training.config import TrainConfig
from pyscore.training.torch_trainer import Trainer

RATE = 1e-4


def trainer(case, draws, dtype=None, **config):
    """A trainer of the recorded model, in another dtype if one is given."""
    arrays, facts = golden.load(case), golden.facts(case)
    config = {"beta": facts["tr_beta"], "c": facts["tr_gamma"], **config}
    settings = TrainConfig(steps=100, learning_rate=RATE, convention=ORIGINAL, **config)
    model = golden.model(arrays)
    return Trainer(model if dtype is None else model.astype(dtype), arrays["X_train"].T, settings, draws=draws)


class MovedStep:
    """One step's losses and gradients in float64, and their largest deviation under random rounding to `dtype`.

    The gradient is linear in β: one forward pass serves them all. A deviation is at least one rounding.
    """

    def __init__(self, model, x, config, draws, dtype):
        self.unit = float(np.finfo(dtype).eps) / 2
        with reference.precision(dtype), tf.one_thread():
            run = Trainer(model.astype(np.float64), x, config, draws=OnceDrawn(draws))
            self.exact = _parts(run, contextlib.nullcontext())
            self.moved = [_parts(run, RandomRounding(Noise(dtype, seed))) for seed in range(DRAWS)]

    def losses(self, beta):
        """(3,) spread of loss, mse and mmd."""
        return self._spread(lambda parts: np.array([parts[0] @ (1, beta), *parts[0]]))

    def gradients(self, beta):
        """Name → spread of the gradient of mse + β·mmd."""
        return {
            name: self._spread(lambda parts, name=name: parts[1][name][0] + beta * parts[1][name][1])
            for name in self.exact[1]
        }

    def _spread(self, of):
        exact = of(self.exact)
        deviation = np.max([np.abs(of(parts) - exact) for parts in self.moved], axis=0)
        return np.maximum(deviation, self.unit * np.abs(exact))


class OnceDrawn:
    """The draws of step 0, drawn once: rounding must not change which proposals are accepted."""

    def __init__(self, draws):
        step = draws.step(0)
        self.batch, self.components = step.batch, step.components
        self._step = step
        self._accepted = None

    def step(self, index):
        return self

    def vmf(self, kappa, k):
        if self._accepted is None:
            self._accepted = self._step.vmf(kappa, k)
        return self._accepted


def _parts(run, rounding):
    """(mse, mmd), and name → their two gradients."""
    tensors = run._flat.tensors
    with rounding:
        _, *losses = run.loss(run.draws.step(0))
        slopes = [
            torch.autograd.grad(part, list(tensors.values()), retain_graph=True, allow_unused=True)
            for part in losses
        ]
    gradients = {
        name: [np.zeros(leaf.shape) if slope is None else slope.numpy() for slope in pair]
        for (name, leaf), *pair in zip(tensors.items(), *slopes, strict=True)
    }
    return np.array([float(part.detach()) for part in losses]), gradients


@functools.lru_cache(maxsize=4)
def moved(case, c):
    """`MovedStep` of the recorded single step."""
    arrays, recorded = golden.load(case), golden.model(golden.load(case))
    config = TrainConfig(convention=ORIGINAL, c=c)
    return MovedStep(recorded, arrays["X_train"].T, config, golden.RecordedLoss(arrays), recorded.dtype)
