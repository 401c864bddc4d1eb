"""A small generative adversarial network, and the search for the code of a point: what AnoGAN and ADGAN score by.

Section 4 of Šmídl, Bím, Pevný (2019) describes both; the GAN is equation (2) with the non-saturating loss.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.backends import torch_functions as tf
from pyscore.backends.torch_functions import one_thread
from pyscore.errors import TrainingDiverged
from pyscore.reference import sampling

__all__ = ["GAN", "train_gan"]

DISCRIMINATION = 0.1
"""AnoGAN's λ, the share of the discriminator's features in its loss (Schlegl 2017)."""


@dataclass(frozen=True, eq=False)
class GAN:
    """Generator k→h→h→d (swish) and discriminator d→h→h→1 (leaky ReLU); codes are N(0, I)."""

    generator: list[tf.Layer]
    discriminator: list[tf.Layer]

    @property
    def latent_dim(self) -> int:
        """Dimension k of the codes."""
        return int(self.generator[0][0].shape[1])

    def generate(self, z: Tensor) -> Tensor:
        """Points (n, d) of codes (n, k)."""
        return tf.mlp(z, self.generator, "swish")

    def features(self, x: Tensor) -> Tensor:
        """Last hidden layer (n, h) of the discriminator."""
        return tf.mlp(x, self.discriminator[:-1], "leaky_relu", last_active=True)

    def logit(self, x: Tensor) -> Tensor:
        """Log-odds (n,) that the discriminator gives for x being data."""
        weight, bias = self.discriminator[-1]
        return (self.features(x) @ weight.T + bias)[:, 0]

    def search(
        self, x: ArrayLike, *, restarts: int, steps: int, matching: float, seed: int
    ) -> tuple[Array, Array]:
        """Search the code of each row by ADAM, from `restarts` starts.

        Parameters
        ----------
        x : (n, d) array
        restarts, steps : ints
        matching : float
            λ of (1−λ)·Σ|x − G(z)| + λ·Σ|φ(x) − φ(G(z))|, φ the discriminator's features; 0 minimises Σ(x − G(z))².
        seed : int, of the starts

        Returns
        -------
        (z, loss) : (n, restarts, k) and (n, restarts) arrays
        """
        x = check.matrix("x", x)
        rng = sampling.generator(seed, "baselines", 2)
        start = rng.standard_normal((restarts, self.latent_dim))  # the same for every row: batches do not matter
        rows = torch.as_tensor(np.repeat(x, restarts, axis=0))
        z = torch.as_tensor(np.tile(start, (len(x), 1))).requires_grad_()
        wanted = self.features(rows).detach()
        optimiser = torch.optim.Adam([z], lr=0.05)

        def loss() -> Tensor:
            out = self.generate(z)
            if not matching:
                return ((rows - out) ** 2).sum(dim=1)
            residual = (rows - out).abs().sum(dim=1)
            return (1 - matching) * residual + matching * (wanted - self.features(out)).abs().sum(dim=1)

        with one_thread():
            for _ in range(steps):
                optimiser.zero_grad()
                loss().sum().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        with torch.no_grad():
            value = loss().numpy()
        return z.detach().numpy().reshape(len(x), restarts, -1), value.reshape(len(x), restarts)


def train_gan(x: ArrayLike, *, latent_dim: int = 4, hidden_dim: int = 32, steps: int = 1000, seed: int = 0) -> GAN:
    """Train a GAN on rows x (n, d), standardised: one step of each network a batch of 100.

    Raises
    ------
    TrainingDiverged
        If a loss becomes NaN or infinite.
    """
    x = check.matrix("x", x)
    check.finite("x", x, limit=check.LARGEST)
    d, k, h = x.shape[1], latent_dim, hidden_dim
    rng = sampling.generator(seed, "baselines", 1)
    gan = GAN(_layers((k, h, h, d), rng), _layers((d, h, h, 1), rng))
    optimisers = [
        torch.optim.Adam([p for layer in layers for p in layer], lr=1e-3, betas=(0.5, 0.999))
        for layers in (gan.generator, gan.discriminator)
    ]
    softplus = torch.nn.functional.softplus
    rows = torch.as_tensor(x)
    with one_thread():
        for step in range(steps):
            batch = rows[torch.from_numpy(rng.integers(len(x), size=100))]
            made = gan.generate(torch.as_tensor(rng.standard_normal((100, k))))
            discriminator = softplus(-gan.logit(batch)).mean() + softplus(gan.logit(made.detach())).mean()
            _step(optimisers[1], discriminator, step)
            _step(optimisers[0], softplus(-gan.logit(made)).mean(), step)
    frozen = [[(w.detach(), b.detach()) for w, b in layers] for layers in (gan.generator, gan.discriminator)]
    return GAN(*frozen)


def _layers(sizes: tuple[int, ...], rng: np.random.Generator) -> list[tf.Layer]:
    pairs = itertools.pairwise(sizes)
    weights = [torch.as_tensor(sampling.glorot_uniform(rng, out, inputs)) for inputs, out in pairs]
    return [(w.requires_grad_(), torch.zeros(len(w), dtype=torch.float64).requires_grad_()) for w in weights]


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingDiverged(
            f"a loss of the GAN became {loss.item()} at step {step}. Look for outliers in the data."
        )
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
