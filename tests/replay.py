"""Training in float64 PyTorch, exactly and under random rounding: the spread of losses, gradients and parameters."""

import contextlib
import functools
from typing import NamedTuple

import golden_files as golden
import numpy as np
import torch
from closeness import assert_close

from pyscore import reference
from pyscore.backends import torch_functions as tf
from pyscore.backends.contract import DRAWS
from pyscore.backends.stochastic import LONGEST, K, Noise
from pyscore.backends.stochastic_torch import RandomRounding
from pyscore.convention import ORIGINAL
from pyscore.training.config import TrainConfig
from pyscore.training.torch_stack import Stack
from pyscore.training.torch_trainer import Trainer

RATE = 1e-4
RUNS = 6
"""Runs of many steps under random rounding; the largest deviation of a whole array is taken, so that few do."""


def torch_spread(evaluate, dtype, draws=8):
    """Largest deviation of each tensor that `evaluate()` returns under random rounding, in units of eps(dtype)."""
    unit, exact = float(np.finfo(dtype).eps) / 2, evaluate()
    worst = [unit * value.abs() for value in exact]
    for seed in range(draws):
        with RandomRounding(Noise(dtype, seed)):
            moved = evaluate()
        worst = [torch.maximum(w, (m - e).abs()) for w, m, e in zip(worst, moved, exact, strict=True)]
    return [value.numpy() / (2 * unit) for value in worst]


def dense_mmd(x, y, c, diagonal):
    """Value and both gradients, by torch's formula with its n×m matrices, in float64."""
    x, y = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (x, y))

    def within(a):
        k = c / (c + (1 - a @ a.T).clamp(min=0))
        return (k.sum() - (k.diagonal().sum() if diagonal == "removed" else 0)) / (len(a) * (len(a) - 1))

    value = within(x) + within(y) - 2 * (c / (c + (1 - x @ y.T).clamp(min=0))).mean()
    return value.detach(), *torch.autograd.grad(value, (x, y))


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


class MovedRun(Stack):
    """A run of many steps in float64, and beside it `RUNS` copies in which every layer's output is moved.

    All are one stack, whose first model is exact. In the others what goes in, the output of every layer and
    activation, the terms of the samples, and ADAM's moments become r(1 + uξ); derivatives get the same factors.
    `RandomRounding` moves each operation, which takes too long for a hundred steps.
    """

    def __init__(self, model, x, config, draws, dtype, members=RUNS + 1):
        self._noise = Noise(dtype, 7)
        self._marks = np.arange(members, dtype=np.float64)
        self._draws = draws
        super().__init__(x.astype(np.float64), [model.astype(np.float64)] * members, [config] * members, "cpu")

    def moved(self, value, terms=3):
        """The value, with the entries of all members but the first moved; each member's otherwise.

        A sum of so many positive terms is moved as `Noise.summed` does.
        """
        marks = self._marks.reshape(-1, *[1] * (value.ndim - 1))
        uniform = self._noise.uniform(value.detach().numpy() * (1 + marks))
        unit = self._noise.unit * np.sqrt(min(terms, LONGEST) / 3)
        return value * torch.from_numpy(1 + unit * (marks > 0) * uniform)

    def _batches(self, step):
        drawn, p = self._draws.step(step), self.values["pseudo_inputs"].shape[1]
        size, members = self.config.batch_size, len(self.seeds)
        pair = drawn.batch(len(self.x), size), drawn.components(p, size)
        return tuple(np.tile(a, (members, 1)) for a in pair)

    def _accepted(self, step, kappa):
        """Accepted for the exact member: rounding must not change which proposals are."""
        drawn = self._draws.step(step).vmf(kappa[0], self.values["mu.weight"].shape[1])
        return tuple(np.tile(a, (len(kappa), *[1] * a.ndim)) for a in drawn)

    def _choose(self, components):
        return self.moved(super()._choose(components))

    def _dense(self, name, a):
        return self.moved(super()._dense(name, self.moved(a)))

    def _encode(self, x):
        return tuple(map(self.moved, super()._encode(x)))

    def _sample(self, mu, kappa, epsilon, v):
        """`tf.sample_vmf`, with the terms moved that cancel."""
        convention, m = self.config.convention, mu.shape[-1] - 1
        epsilon, c = self.moved(epsilon), self.moved(torch.sqrt(4 * kappa**2 + m**2))
        if convention.norm_eps == "machine":
            b = (c - 2 * kappa) / m
            w = self.moved(1 - (1 + b) * epsilon) / self.moved(1 - (1 - b) * epsilon)
            radius = torch.sqrt(1 - self.moved(w**2) + 10 * tf.EPS32)
        else:
            b = m / (c + 2 * kappa)
            w = self.moved(1 - epsilon - b * epsilon) / self.moved(1 - epsilon + b * epsilon)
            radius = 2 * torch.sqrt(b * epsilon * (1 - epsilon)) / (1 - epsilon + b * epsilon)
        z = torch.cat([w[..., None], radius[..., None] * self.moved(tf.normalize(v, convention))], dim=-1)
        return self.moved(tf.householder(self.moved(z), mu, convention))

    def losses(self):
        _, mse, mmd = super().losses()
        mse = self.moved(mse, LONGEST)
        return self.moved(mse + self.beta * mmd), mse, mmd

    def _mmd(self, z, prior):
        n, m = z.shape[1], prior.shape[1]
        mean = {}
        for name, a, b in (("xx", z, z), ("yy", prior, prior), ("xy", z, prior)):
            kernel = self.moved(self.c / (self.c + torch.relu(1 - self.moved(a @ b.mT))))
            if name != "xy" and self.config.convention.mmd_diagonal == "removed":
                kernel = kernel * (1 - torch.eye(n, dtype=kernel.dtype))
            pairs = n * m if name == "xy" else n * (n - 1)
            mean[name] = self.moved(kernel.sum(dim=(1, 2)) / pairs, LONGEST)
        return mean["xx"] + mean["yy"] - 2 * mean["xy"]

    def _adam(self, gradients):
        super()._adam({name: self.moved(g) for name, g in gradients.items()})
        with torch.no_grad():
            for tensors in (self.m, self.v, self.values):
                for value in tensors.values():
                    value.copy_(self.moved(value))


class Spread(NamedTuple):
    """A parameter, and how far the moved runs came from it: the largest entry's, and the root mean square."""

    exact: np.ndarray
    largest: float
    mean: float


def run_of(model, x, config, draws, steps, dtype=None):
    """(step → name → Spread of the parameter), (steps, 3) spread of the losses, for a run in `dtype`."""
    dtype = dtype or model.dtype
    with reference.precision(dtype), tf.one_thread():
        run, found = MovedRun(model, x, config, draws, dtype), {}
        for step in range(1, max(steps) + 1):
            run.step()
            if step in steps:
                found[step] = {name: _deviation(a.detach().numpy().copy()) for name, a in run.values.items()}
    losses = torch.stack(run._history).numpy()  # (steps, members, 3)
    deviation = np.maximum.accumulate(np.abs(losses - losses[:, :1]).max(axis=1))
    return found, np.maximum(deviation, run._noise.unit * np.abs(losses[:, 0]))


def _deviation(members):
    apart = np.abs(members - members[0]).reshape(len(members), -1)
    return Spread(members[0], apart.max(), np.sqrt((apart**2).mean(axis=1)).max())


def assert_run_close(got, want, spreads, what):
    """Parameters `got` and `want` of two runs differ by at most K times the spread of their array."""
    for name, spread in spreads.items():
        dtype = got[name].dtype
        eps, size = np.finfo(dtype).eps, np.abs(want[name]).max()
        scale = max(spread.largest / eps, size / 2)
        assert_close(got[name], want[name], K, scale, dtype, f"{what}: {name}")
        apart = np.sqrt(np.mean((np.asarray(got[name], float) - want[name]) ** 2))
        assert_close(apart, 0.0, K, max(spread.mean / eps, size / 2), dtype, f"{what}: {name}, root mean square")


@functools.lru_cache(maxsize=2)
def recorded_run(case, steps):
    """`run_of` the recorded training."""
    arrays, facts = golden.load(case), golden.facts(case)
    config = TrainConfig(
        steps=max(steps), learning_rate=RATE, convention=ORIGINAL, beta=facts["tr_beta"], c=facts["tr_gamma"]
    )
    return run_of(golden.model(arrays), arrays["X_train"].T, config, golden.RecordedDraws(arrays), steps)
