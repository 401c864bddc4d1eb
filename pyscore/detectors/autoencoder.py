"""Plain autoencoders of any layer sizes, with a Euclidean or a spherical code: what others score by their error.

Not the model of the paper (that is `SVAE`): these are what *Autoencoders for anomaly detection are unreliable*
examines. Everything is float64: an error that is blind 10⁵ away from the data would drown in float32's rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyscore._core import checks as check
from pyscore._core.checks import Array, Latent
from pyscore.backends import torch_functions as tf
from pyscore.convention import EXACT
from pyscore.errors import InvalidInput, TrainingDiverged
from pyscore.reference import network, normalize, sampling
from pyscore.reference.network import Dense

__all__ = ["Autoencoder", "TrainedAutoencoder", "train_autoencoder"]


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """Encoder d→…→k and decoder k→…→d; the activation follows every layer but the bottleneck and the output."""

    encoder: tuple[Dense, ...]
    decoder: tuple[Dense, ...]
    activation: str = "relu"
    latent: Latent = "euclidean"
    """``"sphere"`` divides each code by its norm, as the SVAE does."""

    def __post_init__(self) -> None:
        check.choice("activation", self.activation, network.ACTIVATIONS)
        check.choice("latent", self.latent, ("euclidean", "sphere"))
        layers = (*self.encoder, *self.decoder)
        fits = all(a.weight.shape[0] == b.weight.shape[1] for a, b in itertools.pairwise(layers))
        if not fits or layers[0].weight.shape[1] != layers[-1].weight.shape[0]:
            raise InvalidInput(
                "the layers of an autoencoder must fit each other and return to the number of features; got "
                f"{[layer.weight.shape for layer in layers]}."
            )
        if self.latent == "sphere" and self.latent_dim < 2:
            raise InvalidInput(f"a spherical code needs at least 2 dimensions; got {self.latent_dim}.")

    @property
    def input_dim(self) -> int:
        """Number of features d."""
        return int(self.encoder[0].weight.shape[1])

    @property
    def latent_dim(self) -> int:
        """Dimension k of the codes."""
        return int(self.encoder[-1].weight.shape[0])

    def encode(self, x: ArrayLike) -> Array:
        """Codes (n, k) of the rows x (n, d)."""
        z = network.mlp(check.matrix("x", x, self.input_dim), self.encoder, self.activation)
        return normalize(z) if self.latent == "sphere" else z

    def decode(self, z: ArrayLike) -> Array:
        """Points (n, d) of codes (n, k)."""
        return network.mlp(check.matrix("z", z, self.latent_dim), self.decoder, self.activation)

    def decoder_jacobian(self, z: ArrayLike) -> Array:
        """Jacobian (n, d, k) of decode."""
        return network.mlp_jacobian(check.matrix("z", z, self.latent_dim), self.decoder, self.activation)[1]

    def decoder_bend(self, z: ArrayLike, weights: ArrayLike) -> Array:
        """Hessians (n, k, k) of Σ_m weights_m·decode(z)_m for weights (n, d)."""
        z = check.matrix("z", z, self.latent_dim)
        weights = check.array("weights", weights, (len(z), self.input_dim))
        return network.mlp_hessian(z, self.decoder, self.activation, weights)

    def error(self, x: ArrayLike) -> Array:
        """Squared reconstruction error ‖x − decode(encode(x))‖² (n,)."""
        x = check.matrix("x", x, self.input_dim)
        return np.sum((x - self.decode(self.encode(x))) ** 2, axis=1)

    def torch_error(self) -> Callable[[Tensor], Tensor]:
        """Return `error` as a differentiable function of float64 tensors."""
        encoder, decoder = _tensors(self.encoder), _tensors(self.decoder)

        def error(x: Tensor) -> Tensor:
            out = tf.mlp(_code(tf.mlp(x, encoder, self.activation), self.latent), decoder, self.activation)
            return ((x - out) ** 2).sum(dim=1)

        return error


def _tensors(layers: Sequence[Dense]) -> list[tf.Layer]:
    return [(torch.as_tensor(w, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)) for w, b in layers]


def _code(z: Tensor, latent: Latent) -> Tensor:
    return tf.normalize(z, EXACT) if latent == "sphere" else z


class TrainedAutoencoder(NamedTuple):
    """What training returns."""

    model: Autoencoder
    loss: float
    """Mean squared reconstruction error per row, Σ over features, on all training rows at the end."""


Callback = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, last loss)."""


def train_autoencoder(
    x: ArrayLike,
    sizes: Sequence[int],
    *,
    activation: str = "relu",
    latent: Latent = "euclidean",
    steps: int = 1000,
    batch_size: int = 100,
    learning_rate: float = 3e-3,
    restarts: int = 1,
    seed: int = 0,
    callback: Callback | None = None,
) -> TrainedAutoencoder:
    """Train an autoencoder on rows x (n, d) by ADAM on ‖x − r(x)‖², the best of `restarts` starts.

    Parameters
    ----------
    x : (n, d) array, standardised
    sizes : layer sizes such as (2, 5, 1, 5, 2): an odd number, the middle one is the bottleneck
    activation : after each layer but the bottleneck and the output
    latent : ``"euclidean"`` or ``"sphere"``
    steps, batch_size, learning_rate : of ADAM; the rate falls to a tenth along a cosine
    restarts : small ReLU networks often start with dead units; the start that ends lowest is kept
    seed : of weights and batches

    Raises
    ------
    InvalidInput
        If the sizes do not fit the data.
    TrainingDiverged
        If the loss becomes NaN or infinite.
    """
    x = check.matrix("x", x)
    check.finite("x", x, limit=check.LARGEST)
    sizes = tuple(check.integer("sizes", size, at_least=1) for size in sizes)
    check.integer("restarts", restarts, at_least=1)
    if len(sizes) < 3 or len(sizes) % 2 == 0 or sizes[0] != x.shape[1] or sizes[-1] != x.shape[1]:
        raise InvalidInput(
            f"`sizes` must be an odd number of layer sizes that begins and ends with the {x.shape[1]} features; "
            f"got {list(sizes)}."
        )
    done = 0

    def report(loss: float) -> None:
        nonlocal done
        done += 1
        if callback is not None:
            callback(done, restarts * steps, loss)

    with tf.one_thread():
        runs = []
        for index in range(restarts):
            rng = sampling.generator(seed, "unreliable", 100 + index)
            model = _initialise(sizes, activation, latent, rng)
            runs.append(_descend(model, x, steps, min(batch_size, len(x)), learning_rate, rng, report))
    return min(runs, key=lambda run: run.loss)


def _initialise(sizes: Sequence[int], activation: str, latent: Latent, rng: np.random.Generator) -> Autoencoder:
    """Glorot's uniform weights, zero biases."""
    layers = tuple(
        Dense(sampling.glorot_uniform(rng, out, inputs), np.zeros(out))
        for inputs, out in itertools.pairwise(sizes)
    )
    half = len(layers) // 2
    return Autoencoder(layers[:half], layers[half:], activation, latent)


def _descend(
    model: Autoencoder,
    x: Array,
    steps: int,
    batch: int,
    rate: float,
    rng: np.random.Generator,
    report: Callable[[float], None],
) -> TrainedAutoencoder:
    layers = _tensors((*model.encoder, *model.decoder))
    parameters = [p.requires_grad_() for layer in layers for p in layer]
    half = len(model.encoder)
    optimiser = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1), eta_min=rate / 10)
    rows = torch.as_tensor(x)
    for step in range(steps):
        chosen = rows[torch.from_numpy(rng.integers(len(x), size=batch))]
        z = _code(tf.mlp(chosen, layers[:half], model.activation), model.latent)
        loss = ((chosen - tf.mlp(z, layers[half:], model.activation)) ** 2).sum(dim=1).mean()
        value = loss.item()
        if not np.isfinite(value):
            raise TrainingDiverged(f"the loss became {value} at step {step}. Lower `learning_rate` ({rate:g}).")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        report(value)
    trained = tuple(Dense(w.detach().numpy().copy(), b.detach().numpy().copy()) for w, b in layers)
    result = Autoencoder(trained[:half], trained[half:], model.activation, model.latent)
    return TrainedAutoencoder(result, float(result.error(x).mean()))
