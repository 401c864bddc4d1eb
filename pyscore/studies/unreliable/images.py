"""A convolutional autoencoder of digits with a two-dimensional code, and images that decode to themselves.

scikit-learn's 8×8 digits need no download; `load_mnist` reads the idx files of MNIST if the user has them.
"""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.backends.torch_functions import one_thread
from pyscore.errors import DataIntegrityError, DataUnavailable, InvalidInput, TrainingDiverged
from pyscore.reference import sampling
from pyscore.studies.unreliable import cure
from pyscore.studies.unreliable.adversarial import (
    Adversaries,
    Budget,
    isolation_radius,
    nearest_distance,
    range_starts,
    search,
)

__all__ = ["ConvolutionalAutoencoder", "Digits", "ImageRun", "load_digits", "load_mnist", "read_idx", "run_images"]

Labels = NDArray[np.int64]


class Digits(NamedTuple):
    """Images and their labels."""

    images: Array
    """(n, side²), pixels in [0, 1]."""
    labels: Labels
    """(n,) digits."""

    @property
    def side(self) -> int:
        """Height and width in pixels."""
        return int(np.sqrt(self.images.shape[1]))


# ── data ──


def load_digits() -> Digits:
    """Return scikit-learn's 1,797 digits of 8×8 pixels, which need no download."""
    from sklearn.datasets import load_digits as embedded

    bunch = embedded()
    return Digits(bunch.data / 16.0, bunch.target.astype(np.int64))


def read_idx(path: str | os.PathLike[str], axes: int) -> NDArray[np.uint8]:
    """Read a file of bytes in the idx format, also .gz, and check its header against its length.

    Raises
    ------
    DataUnavailable
        If the file cannot be read.
    DataIntegrityError
        If it is not idx, holds another type or number of axes, or is truncated.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except EOFError:
        raise DataIntegrityError(f"{str(path)!r} is a truncated gzip file. Download it again.") from None
    except OSError as error:
        raise DataUnavailable(f"cannot read {str(path)!r}: {error}.") from error
    if len(raw) < 4 + 4 * axes or raw[:4] != bytes([0, 0, 8, axes]):
        raise DataIntegrityError(
            f"{str(path)!r} must begin with the idx header 00 00 08 {axes:02d} (bytes, {axes} axes); got "
            f"{raw[:4].hex(' ') or 'nothing'}."
        )
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    body = raw[4 + 4 * axes :]
    if int(np.prod(shape, dtype=object)) != len(body):
        raise DataIntegrityError(
            f"{str(path)!r} must hold {' × '.join(map(str, shape))} bytes; got {len(body)}. Is it truncated?"
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def load_mnist(folder: str | os.PathLike[str]) -> Digits:
    """Read MNIST's training images and labels from a folder: ``train-images-idx3-ubyte`` and
    ``train-labels-idx1-ubyte``, with or without .gz, also with a dot for the last hyphen.

    Raises
    ------
    DataUnavailable
        If a file is missing.
    DataIntegrityError
        If a file is damaged, or the two do not belong together.
    """
    images = read_idx(_find(Path(folder), "train-images", "idx3-ubyte"), 3)
    labels = read_idx(_find(Path(folder), "train-labels", "idx1-ubyte"), 1)
    n, height, width = images.shape
    if len(labels) != n or height != width or n == 0 or height % 4 or labels.max() > 9:
        raise DataIntegrityError(
            f"images and labels in {str(folder)!r} must belong together, square with a side divisible by 4, "
            f"digits 0 to 9; got {n} images of {height}×{width} and {len(labels)} labels up to "
            f"{labels.max(initial=0)}."
        )
    return Digits(images.reshape(n, -1) / 255.0, labels.astype(np.int64))


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{joint}{kind}{end}" for joint in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataUnavailable(
        f"there is no {names[0]} (nor .gz) in {str(folder)!r}. Name the folder that holds MNIST's idx files, "
        "or leave --mnist out to use scikit-learn's digits."
    )


# ── the network ──


class ConvolutionalAutoencoder:
    """Two strided convolutions to a code in R^k and back, ReLU between, the output linear; float64.

    The methods are those of `Autoencoder`, on flattened images.
    """

    def __init__(self, side: int, latent_dim: int = 2, channels: int = 8, *, seed: int = 0) -> None:
        if side < 8 or side % 4:
            raise InvalidInput(f"`side` must be at least 8 and divisible by 4; got {side}.")
        self.side, self.latent_dim, small = side, latent_dim, side // 4
        c = channels
        self.encoder = nn.Sequential(
            nn.Unflatten(1, (1, side, side)),
            nn.Conv2d(1, c, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(2 * c * small**2, 32), nn.ReLU(), nn.Linear(32, latent_dim),
        ).double()  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 32), nn.ReLU(), nn.Linear(32, 2 * c * small**2), nn.ReLU(),
            nn.Unflatten(1, (2 * c, small, small)),
            nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(c, 1, 4, stride=2, padding=1), nn.Flatten(),
        ).double()  # fmt: skip
        rng = sampling.generator(seed, "unreliable", 20)
        with torch.no_grad():  # He's initial weights, from pyscore's own generator
            for parameter in self._parameters():
                fan = parameter[0].numel()
                scale = np.sqrt(2 / fan) if parameter.ndim > 1 else 0.0
                parameter.copy_(torch.as_tensor(scale * rng.standard_normal(tuple(parameter.shape))))

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.encoder.parameters(), *self.decoder.parameters()]

    def train(
        self,
        x: ArrayLike,
        *,
        steps: int = 2000,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        seed: int = 0,
        callback: Callable[[int, int, float], None] | None = None,
    ) -> ConvolutionalAutoencoder:
        """Train in place on images (n, side²) by ADAM on ‖x − r(x)‖², and return the model."""
        rows = torch.as_tensor(check.matrix("x", x, self.side**2))
        rng = sampling.generator(seed, "unreliable", 21)
        optimiser = torch.optim.Adam(self._parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1), eta_min=learning_rate / 20)
        with one_thread():
            for step in range(steps):
                batch = rows[torch.from_numpy(rng.integers(len(rows), size=batch_size))]
                loss = ((batch - self.decoder(self.encoder(batch))) ** 2).sum(dim=1).mean()
                value = loss.item()
                if not np.isfinite(value):
                    raise TrainingDiverged(f"the loss became {value} at step {step}. Lower `learning_rate`.")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                if callback is not None:
                    callback(step + 1, steps, value)
        for parameter in self._parameters():
            parameter.requires_grad_(False)
        return self

    def _numpy(self, network: nn.Module, a: ArrayLike, columns: int) -> Array:
        rows = torch.as_tensor(check.matrix("rows", a, columns))
        with torch.no_grad(), one_thread():
            return network(rows).numpy()

    def encode(self, x: ArrayLike) -> Array:
        """Codes (n, k) of the images x (n, side²)."""
        return self._numpy(self.encoder, x, self.side**2)

    def decode(self, z: ArrayLike) -> Array:
        """Images (n, side²) of codes (n, k)."""
        return self._numpy(self.decoder, z, self.latent_dim)

    def error(self, x: ArrayLike) -> Array:
        """Squared reconstruction error (n,)."""
        x = check.matrix("x", x, self.side**2)
        return np.sum((x - self.decode(self.encode(x))) ** 2, axis=1)

    def torch_error(self) -> Callable[[Tensor], Tensor]:
        """Return `error` as a differentiable function of float64 tensors."""
        return lambda x: ((x - self.decoder(self.encoder(x))) ** 2).sum(dim=1)

    def decoder_jacobian(self, z: ArrayLike) -> Array:
        """Jacobians (n, side², k) of decode, by differentiating uᵀJ by u: k passes instead of side²."""
        rows = torch.as_tensor(check.matrix("z", z, self.latent_dim)).requires_grad_()
        with torch.enable_grad(), one_thread():
            out = self.decoder(rows)
            u = torch.zeros_like(out).requires_grad_()
            (pulled,) = torch.autograd.grad(out, rows, u, create_graph=True)
            columns = [
                torch.autograd.grad(pulled[:, i].sum(), u, retain_graph=True)[0] for i in range(self.latent_dim)
            ]
        return torch.stack(columns, dim=2).numpy()

    def decoder_bend(self, z: ArrayLike, weights: ArrayLike) -> Array:
        """Hessians (n, k, k), which are zero: a ReLU network is piecewise linear."""
        z = check.matrix("z", z, self.latent_dim)
        check.array("weights", weights, (len(z), self.side**2))
        return np.zeros((*z.shape, self.latent_dim))


# ── the experiment ──


class ImageRun(NamedTuple):
    """A trained model, its images and the adversarial images found."""

    digits: Digits
    classes: tuple[int, ...]
    train: Array
    held_out: Array
    model: ConvolutionalAutoencoder
    prior: cure.GaussianPrior
    free: Adversaries
    """Images of any pixel values with an error below the 95th percentile."""
    strict: Adversaries
    """Images of any pixel values with an error below the smallest one."""
    pixels: Adversaries
    """Images with pixels in [0, 1], at half the radius, with an error below the 95th percentile."""


def run_images(
    digits: Digits | None = None,
    *,
    classes: Sequence[int] = (0, 1, 4),
    steps: int = 2000,
    budget: Budget | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> ImageRun:
    """Train on some classes of digits, and search for images that are reconstructed well but resemble no digit.

    80 % of the images of the classes are for training (at most 2,000), the rest are the held-out normals.
    """
    digits = load_digits() if digits is None else digits
    report = progress or (lambda text: None)
    chosen = digits.images[np.isin(digits.labels, list(classes))]
    if len(chosen) < 20:
        raise InvalidInput(f"`classes` must leave at least 20 images; got {len(chosen)} of {list(classes)}.")
    chosen = sampling.generator(seed, "unreliable", 22).permutation(chosen)[:2500]
    x, held_out = np.split(chosen, [round(0.8 * len(chosen))])
    report("images: training")
    model = ConvolutionalAutoencoder(digits.side, seed=seed).train(x, steps=steps, seed=seed)
    prior = cure.GaussianPrior.fit(model.encode(x))
    errors, radius = model.error(x), isolation_radius(x)
    high = float(np.quantile(errors, 0.95))
    starts = range_starts(model.encode, model.decode, x, 64, seed=seed)
    options: dict[str, Any] = {"starts": starts, "budget": budget, "seed": seed}
    report("images: any pixel values")
    free = search(model.torch_error(), x, high, radius=radius, **options)
    strict = search(model.torch_error(), x, float(errors.min()), radius=radius, **options)
    report("images: pixels in [0, 1]")
    pixels = search(model.torch_error(), x, high, radius=0.5 * radius, bounds=(0.0, 1.0), **options)
    return ImageRun(digits, tuple(classes), x, held_out, model, prior, free, strict, pixels)


class LatentMap(NamedTuple):
    """Distance from the data and reconstruction error of decoded images, over a square of codes."""

    axes: tuple[Array, Array]
    distance: Array
    """(r, r) D(f(z)); rows are the second coordinate."""
    error: Array
    """(r, r) ‖f(z) − f(g(f(z)))‖²."""


def latent_map(run: ImageRun, *, stretch: float = 8.0, resolution: int = 81) -> LatentMap:
    """Compute the map for codes up to `stretch` times as far from the mean as those of the data."""
    codes = run.model.encode(run.train)
    centre, half = codes.mean(axis=0), stretch * np.abs(codes - codes.mean(axis=0)).max(axis=0)
    axes = tuple(np.linspace(c - h, c + h, resolution) for c, h in zip(centre, half, strict=True))
    first, second = np.meshgrid(*axes)
    x = run.model.decode(np.column_stack([first.ravel(), second.ravel()]))
    distance = nearest_distance(x, run.train).reshape(first.shape)
    return LatentMap((axes[0], axes[1]), distance, run.model.error(x).reshape(first.shape))
