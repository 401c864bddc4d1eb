"""Choice of β, c and k without labels: the highest mean log-density of held-out rows over a small grid.

Which log-density? `proposed` and the other scores with a volume can't choose a model: log p(z) − log vol J is a
density on the manifold that grows without bound as the decoder shrinks (`beta` so large that all rows decode to
one point wins), and its log N(x; f(z)) counts d normal directions whatever k is, so that models of different k are
densities over d + k − 1 dimensions. The criterion is therefore the model's own marginal log p(x) =
log ∫ N(x; f(z), σ²I) p(z) dz, estimated by importance sampling (equation (3) of the paper; score `importance`
under EXACT): a normalised density over R^d for every β, c and k, bounded by −(d/2) log 2πσ², and its mean over rows
that were not trained on is a proper scoring rule. The ORIGINAL form of `importance` lacks two normalisers, so the
criterion is computed under EXACT whatever convention the detector's scores have.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pyscore import scores
from pyscore._validate import Array
from pyscore.convention import Convention
from pyscore.errors import TrainingDiverged
from pyscore.model import SVAE
from pyscore.training import Callback, TrainConfig, train

__all__ = ["CRITERION_ROWS", "GRID", "Choice", "choose", "held_out_log_density"]

GRID: dict[str, tuple[float, ...]] = {"latent_dim": (2, 4, 9), "beta": (0.1, 1.0, 10.0), "c": (0.01, 0.1, 1.0)}
"""27 models, in three stacks; latent dimensions above d are left out."""
CRITERION_ROWS = 500


class Choice(NamedTuple):
    """What `choose` returns."""

    latent_dim: int
    beta: float
    c: float
    table: pd.DataFrame
    """One row a candidate: latent_dim, beta, c, mean_log_density (NaN if it diverged), chosen."""


def choose(
    x: Array,
    held_out: Array,
    config: TrainConfig,
    sizes: dict[str, Any],
    *,
    device: str = "cpu",
    callback: Callback | None = None,
    grid: dict[str, tuple[float, ...]] | None = None,
) -> Choice:
    """Train a model for each point of the grid and choose the one with the highest held-out mean log p(x).

    Parameters
    ----------
    x, held_out : (n, d), (m, d) arrays, standardised by the rows of `x`
    config : TrainConfig
        All but β and c; every candidate has its seed.
    sizes : dict
        `hidden_dim`, `n_components`, `activation`; a `latent_dim` is ignored.
    device, callback
        See `training.train`; the callback counts the steps of one stack after the other.
    grid : dict of `latent_dim`, `beta` and `c`, by default `GRID`

    Raises
    ------
    TrainingDiverged
        If no candidate has a finite mean.
    """
    grid = grid or GRID
    dims = sorted({int(min(k, x.shape[1])) for k in grid["latent_dim"]})
    points = list(itertools.product(grid["beta"], grid["c"]))
    configs = [dataclasses.replace(config, beta=beta, c=c) for beta, c in points]
    rows = []
    for k in dims:
        models = _stack(x, configs, {**sizes, "latent_dim": k}, device, callback)
        for (beta, c), model in zip(points, models, strict=True):
            mean = float("nan") if model is None else held_out_log_density(model, held_out, seed=config.seed)
            rows.append({"latent_dim": k, "beta": beta, "c": c, "mean_log_density": mean})
    table = pd.DataFrame(rows)
    finite = table["mean_log_density"].where(np.isfinite(table["mean_log_density"]))
    if finite.isna().all():
        raise TrainingDiverged(
            f"none of the {len(table)} candidates of `tune` has a finite held-out log-density. Lower "
            f"`learning_rate` ({config.learning_rate:g}), or look for outliers in the data."
        )
    best = int(finite.idxmax())
    table["chosen"] = table.index == best
    row = rows[best]
    return Choice(int(row["latent_dim"]), float(row["beta"]), float(row["c"]), table)


def held_out_log_density(model: SVAE, x: Array, *, seed: int = 0) -> float:
    """Mean log p(x) of at most 500 rows, by importance sampling with 100 draws a row, in nats."""
    values = scores.score(model, x[:CRITERION_ROWS], "importance", convention=Convention(), seed=seed)
    return float(np.mean(values))


def _stack(
    x: Array, configs: list[TrainConfig], sizes: dict[str, Any], device: str, callback: Callback | None
) -> list[SVAE | None]:
    """Train the models of one shape; None for one that diverged."""
    models: list[SVAE | None] = []
    for config in configs:
        try:
            models.append(train(x, config, device=device, callback=callback, **sizes).model)
        except TrainingDiverged:
            models.append(None)
    return models
