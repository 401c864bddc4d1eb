"""Training of the Wasserstein autoencoder: seeded, replayable, resumable.

Loss of a batch: mean over all n·d entries of (x − decode(mu(x)))² + β·MMD(mu(x), prior sample of n), equation (1).
Original: `wloss` and `Flux.train!` with `ADAM(1e-4)`.

Two engines take the steps: `training.compiled` (numba) and `training.torch_trainer` (torch: automatic
differentiation, any device, recorded draws). From the same seed both start from the same model and use the same
draws, and their parameters agree to rounding.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.optional import needs_torch
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE
from pyscore.training.config import BACKENDS, Callback, TrainConfig, Trained
from pyscore.training.draws import Draws
from pyscore.training.run import TrainingRun

__all__ = ["new_run", "train"]


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
        If the data cannot be used, or if `draws` or a `device` other than the CPU come with numba.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> model = pyscore.SVAE.initialise(3, latent_dim=2, hidden_dim=8)
    >>> run = pyscore.training.new_run(model, x, pyscore.TrainConfig(steps=5))
    >>> run.advance(until=2)
    >>> run.step_count, len(run.history())
    (2, 2)
    """
    if backend is None:
        backend = "numba" if draws is None and device == "cpu" else "torch"
    check.choice("backend", backend, BACKENDS)
    if backend == "torch":
        with needs_torch("backend='torch'"):
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
    """Draw a model from the seed and train it on standardised rows.

    Parameters
    ----------
    x : (n, d) array, standardised
    config : TrainConfig
    latent_dim, hidden_dim, n_components, activation, dtype
        As in `SVAE.initialise`, which draws the start from the configuration's seed.
    draws : Draws, optional
        Source of the batches and prior samples, for example a recording. By default they come from the seed.
    backend : {"numba", "torch"}, optional
        The engine: compiled code on one core of the CPU, or PyTorch. By default numba, but torch where `draws`
        or a `device` other than the CPU are given. The results of the two agree to rounding; each engine
        repeats its own to the bit.
    device : str
        Device on which torch computes, such as ``"cpu"`` or ``"cuda"``.
    callback : callable, optional
        Called with steps done, steps in all and the last loss: by numba every 200 steps, by torch every step.
    checkpoint : path, optional
        If this file exists, training resumes from it. It is written every 1,000 steps.

    Returns
    -------
    Trained
        The model, and one row of history per step.

    Raises
    ------
    InvalidInput, ShapeError
        If the data or a size cannot be used.
    TrainingDiverged
        If the loss becomes NaN or infinite.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> trained = pyscore.train(x, pyscore.TrainConfig(steps=5), latent_dim=2, hidden_dim=8)
    >>> trained.model.decode(trained.model.encode(x)[0]).shape
    (50, 3)
    """
    config = config or TrainConfig()
    x = check.matrix("x", x)
    model = SVAE.initialise(
        x.shape[1], latent_dim, hidden_dim, n_components, activation=activation, seed=config.seed, dtype=dtype
    )
    run = new_run(model, x, config, backend=backend, draws=draws, device=device)
    return run.run(callback=callback, checkpoint=checkpoint)
