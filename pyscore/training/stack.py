"""Training many models of one shape at once, as the paper's grid of 12,480 small models needs.

A model's result does not depend on the other models of its stack: its draws come from its own seed, and its
arithmetic uses its own parameters alone. On the CPU each thread trains one model in compiled code, small enough to
stay in a core's cache (`pyscore.kernels.cpu.train`). ``backend="torch"`` trains the stack as one model of batched
matrix products (`pyscore.training.torch_stack`), which suits a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.optional import needs_torch
from pyscore.errors import InvalidInput, TrainingDiverged
from pyscore.reference.model import SVAE
from pyscore.training.config import BACKENDS, Progress, StackMember, TrainConfig, cores

__all__ = ["train_stack"]

SHARED = ("steps", "batch_size", "learning_rate", "convention")
"""Fields of `TrainConfig` that must be equal for all models of a stack."""


def train_stack(
    x: ArrayLike,
    configs: Sequence[TrainConfig],
    *,
    latent_dim: int = 4,
    hidden_dim: int = 32,
    n_components: int = 4,
    activation: str = "swish",
    dtype: Any = np.float32,
    backend: str = "numba",
    device: str = "cpu",
    threads: int | None = None,
    callback: Progress | None = None,
) -> list[StackMember]:
    """Draw and train one model for each configuration, all of one shape and on the same rows.

    Parameters
    ----------
    x : (n, d) array
        Training rows, standardised.
    configs : sequence of TrainConfig
        `beta`, `c` and `seed` may vary; the rest has to agree.
    latent_dim, hidden_dim, n_components, activation, dtype
        As in `pyscore.training.train`. For the same seed it trains the same model from the same draws; the
        parameters agree to rounding.
    backend : {"numba", "torch"}
        Compiled code on the CPU, whose results have the same bits for every stack and number of threads; or
        batched products on `device`, whose results agree to rounding.
    device : str
        Device of the torch backend.
    threads : int, optional
        Number of models that the numba backend trains at the same time; by default one per core.
    callback : callable, optional
        Called during training with the steps done and the steps in all, each summed over the models.

    Returns
    -------
    list of StackMember, in the order of `configs`
        A model whose loss is not finite has its `failure` set there and does not stop the others.

    Raises
    ------
    InvalidInput, ShapeError
        If the data or a size cannot be used, or the configurations differ in more than `beta`, `c` and `seed`.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> configs = [pyscore.TrainConfig(steps=5, beta=beta) for beta in (0.1, 1.0)]
    >>> members = pyscore.train_stack(x, configs, latent_dim=2, hidden_dim=8)
    >>> [member.failure for member in members]
    [None, None]
    """
    check.choice("backend", backend, BACKENDS)
    if backend == "numba" and device != "cpu":
        raise InvalidInput(f"`device` must be 'cpu' with backend='numba'; got {device!r}. Use backend='torch'.")
    x = check.matrix("x", x, dtype=check.floating("dtype", dtype))
    if len(x) < 2:
        raise InvalidInput(f"`x` must have at least 2 rows to train on; got {len(x)}.")
    check.finite("x", x, limit=check.LARGEST)
    configs = _agreeing(configs)
    models = [
        SVAE.initialise(
            x.shape[1], latent_dim, hidden_dim, n_components, activation=activation, seed=config.seed, dtype=dtype
        )
        for config in configs
    ]
    if not models:
        return []
    if backend == "torch":
        with needs_torch("backend='torch'"):
            from pyscore.training.torch_stack import train_batched
        return train_batched(x, models, configs, device, callback)
    return _train_compiled(x, models, configs, threads, callback)


def _agreeing(configs: Sequence[TrainConfig]) -> list[TrainConfig]:
    configs = list(configs)
    for index, config in enumerate(configs):
        if not isinstance(config, TrainConfig):
            raise InvalidInput(f"`configs` must hold TrainConfig objects; got {config!r} at {index}.")
        for field in SHARED:
            first, this = getattr(configs[0], field), getattr(config, field)
            if first != this:
                raise InvalidInput(
                    f"`configs` of one stack must agree in `{field}`; got {first!r} and, at {index}, {this!r}. "
                    "Train them as two stacks."
                )
    return configs


def _train_compiled(
    x: Array, models: list[SVAE], configs: list[TrainConfig], threads: int | None, callback: Progress | None
) -> list[StackMember]:
    workers = cores() if threads is None else check.integer("threads", threads, at_least=1)
    done, stop = [0] * len(models), threading.Event()
    total = sum(config.steps for config in configs)
    with ThreadPoolExecutor(workers, thread_name_prefix="pyscore-train") as pool:
        jobs: list[Future[StackMember]] = [
            pool.submit(_train_one, x, model, config, done, index, stop)
            for index, (model, config) in enumerate(zip(models, configs, strict=True))
        ]
        try:
            pending = set(jobs)
            while pending:
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for job in finished:
                    job.result()  # an error of one model (not a divergence) ends the stack
                if callback is not None:
                    callback(sum(done), total)
        except BaseException:
            stop.set()
            for job in jobs:
                job.cancel()
            raise
    return [job.result() for job in jobs]


def _train_one(
    x: Array, model: SVAE, config: TrainConfig, done: list[int], index: int, stop: threading.Event
) -> StackMember:
    from pyscore.training.compiled import CompiledTrainer

    run = CompiledTrainer(model, x, config)
    try:
        while run.step_count < config.steps and not stop.is_set():
            run.advance(min(run.step_count + run.stride, config.steps))
            done[index] = run.step_count
    except TrainingDiverged as failure:
        done[index] = config.steps
        return StackMember(None, str(failure), run.history())
    return StackMember(run.model(), None, run.history())
