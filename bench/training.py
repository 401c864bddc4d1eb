"""Measure training: `pyscore bench training --json FILE`, model-steps a second of the three trainers.

The same 16 models (β × c of the paper's grid) take the same steps in turns: through compiled code on all
threads, as one torch stack, one after the other through `pyscore.training.torch_trainer.Trainer`; and beside them
the bare matrix products of these steps, which no implementation can do without.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from pyscore.bench.harness import measure
from pyscore.bench.kernels import KERNEL, rows_of
from pyscore.bench.record import Row
from pyscore.convention import ORIGINAL
from pyscore.reference.model import SVAE, parameter_shapes
from pyscore.training.config import TrainConfig
from pyscore.training.stack import train_stack
from pyscore.training.torch_trainer import Trainer

__all__ = ["SHAPES", "bare_products", "training_rows"]

SHAPES = ((32, 2, 1), (64, 4, 4), (64, 9, 16))
"""h, k, p: the smallest, a middle and the largest stack of the paper's grid."""
SEQUENTIAL_TARGET = 6.0
"""Times as fast as the sequential trainer that the stack has to be."""
ROWS, FEATURES = 300, 30


def training_rows(threads: int, *, quick: bool = False) -> list[Row]:
    """Return one row for each shape and contestant; its times are those of one model-step."""
    rows: list[Row] = []
    for h, k, p in SHAPES[:1] if quick else SHAPES:
        rows += _shape_rows(h, k, p, threads, steps=20 if quick else 100, repeats=3 if quick else 5)
    return rows


def _shape_rows(h: int, k: int, p: int, threads: int, steps: int, repeats: int) -> list[Row]:
    x = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype(np.float32)
    configs = [
        TrainConfig.paper(steps=steps, beta=beta, c=c, seed=i, convention=ORIGINAL)
        for i, (beta, c) in enumerate(itertools.product((0.01, 0.1, 1.0, 10.0), (0.001, 0.01, 0.1, 1.0)))
    ]
    sizes: dict[str, Any] = {"latent_dim": k, "hidden_dim": h, "n_components": p}
    one = max(1, steps // 10)
    model = SVAE.initialise(FEATURES, k, h, p, seed=0)
    trainer = Trainer(model, x, configs[0])

    def sequential() -> None:
        for _ in range(one):
            trainer.step()

    products, multiplications = bare_products(model, len(configs), configs[0].batch_size)
    contestants: dict[str, Callable[[], Any]] = {
        KERNEL: lambda: train_stack(x, configs, threads=threads, **sizes),
        "sequential Trainer": sequential,
        "torch stack": lambda: train_stack(x, configs, backend="torch", **sizes),
        "bare bmm calls": products,
    }
    taken = measure(contestants, repeats)
    per_call = {"sequential Trainer": one, "bare bmm calls": len(configs)}
    times = {name: [s / per_call.get(name, steps * len(configs)) for s in taken[name]] for name in taken}
    median = {name: float(np.median(seconds)) for name, seconds in times.items()}
    notes = ", ".join(f"{name.replace('kernel', 'compiled')} {1 / s:,.0f}" for name, s in median.items())
    targets = {"sequential Trainer": SEQUENTIAL_TARGET, "torch stack": 1.0, "bare bmm calls": 0.0}
    notes = f"model-steps/s: {notes}; {multiplications / 1e6:.1f}e6 multiply-adds a step"
    return rows_of(f"train h={h} k={k} p={p}", times, targets, {}, notes, suite="training", unit="model-step")


def bare_products(model: SVAE, models: int, batch: int) -> tuple[Callable[[], None], int]:
    """Return a function that makes the products of one step of a stack, and their multiply-adds a model.

    Forward, by the inputs and by the weights, of every layer: torch.bmm on operands of the right sizes.
    """
    import torch

    shapes = parameter_shapes(model.input_dim, model.latent_dim, model.hidden_dim, model.n_components)
    operands, count = [], 0
    for name, shape in shapes.items():
        if not name.endswith("weight"):
            continue
        rows = batch * (1 if name.startswith("decoder") else 2)
        weight = torch.ones(models, *shape)
        operands.append((torch.ones(models, rows, shape[1]), weight, torch.ones(models, rows, shape[0])))
        count += 3 * rows * shape[0] * shape[1]

    def run() -> None:
        for source, weight, delta in operands:
            torch.bmm(source, weight.transpose(1, 2))
            torch.bmm(delta, weight)
            torch.bmm(delta.transpose(1, 2), source)

    return run, count
