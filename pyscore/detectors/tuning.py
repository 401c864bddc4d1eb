"""Choice of β, c and k without labels: the highest mean log-density of held-out rows over a small grid.

Which log-density? `proposed` and the other scores with a volume can't choose a model: log p(z) − log vol J is a
density on the manifold that grows without bound as the decoder shrinks (the model that decodes all codes to nearly
one point wins), and its log N(x; f(z)) counts d normal directions whatever k is, so that models of different k are
densities over d + k − 1 dimensions. The criterion is therefore the model's own marginal log p(x) =
log ∫ N(x; f(z), σ²I) p(z) dz, estimated by importance sampling (equation (3) of the paper; score `importance`
under EXACT): a normalised density over R^d for every β, c and k, bounded by −(d/2) log 2πσ², and its mean over
rows that were not trained on is a proper scoring rule. The ORIGINAL form of `importance` lacks two normalisers, so
the criterion is computed under EXACT whatever convention the detector's scores have.

What to expect: a better density, not a better detector. On seven of the paper's datasets (two splits each, 36
candidates of 2,000 steps, β from 0.01) the chosen model's AUC of `proposed` was 0.713 on average, that of a
candidate drawn at random 0.711, of the defaults 0.714, of the best candidate (which needs labels) 0.803; choosing
by the mean of `joint`, `reconstruction` or `proposed` itself, held out or not, gave 0.697 to 0.718. Differences
below 0.02 are noise.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pyscore._core.checks import Array
from pyscore.convention import Convention
from pyscore.errors import TrainingDiverged
from pyscore.reference.model import SVAE
from pyscore.scoring import scores
from pyscore.training.config import Progress, TrainConfig, part_of
from pyscore.training.stack import train_stack

__all__ = ["CRITERION_ROWS", "GRID", "Choice", "choose", "held_out_log_density"]

GRID: dict[str, tuple[float, ...]] = {"latent_dim": (2, 4, 9), "beta": (0.1, 1.0, 10.0), "c": (0.01, 0.1, 1.0)}
"""27 models, in three stacks; latent dimensions above d become d."""
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
    progress: Progress | None = None,
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
    device : str
        ``"cpu"`` trains compiled, one model a core; another trains each stack as one batched model there.
    progress : callable, optional
        Called now and then with model-steps done and in all.
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
    backend = "numba" if device == "cpu" else "torch"
    rows = []
    for index, k in enumerate(dims):
        members = train_stack(
            x, configs, **{**sizes, "latent_dim": k}, backend=backend, device=device,
            callback=part_of(progress, index, len(dims)),
        )  # fmt: skip
        for (beta, c), member in zip(points, members, strict=True):
            mean = held_out_log_density(member.model, held_out, seed=config.seed) if member.model else np.nan
            rows.append({"latent_dim": k, "beta": beta, "c": c, "mean_log_density": mean})
    best = _best(rows, config)
    table = pd.DataFrame(rows).assign(chosen=[row is best for row in rows])
    return Choice(int(best["latent_dim"]), float(best["beta"]), float(best["c"]), table)


def _best(rows: list[dict[str, float]], config: TrainConfig) -> dict[str, float]:
    """The first row with the highest finite mean."""
    finite = [row for row in rows if np.isfinite(row["mean_log_density"])]
    if not finite:
        raise TrainingDiverged(
            f"none of the {len(rows)} candidates of `tune` has a finite held-out log-density. Lower "
            f"`learning_rate` ({config.learning_rate:g}), or look for outliers in the data."
        )
    return max(finite, key=lambda row: row["mean_log_density"])


def held_out_log_density(model: SVAE, x: Array, *, seed: int = 0) -> float:
    """Mean log p(x) of at most 500 rows, by importance sampling with 100 draws a row, in nats."""
    values = scores.score(model, x[:CRITERION_ROWS], "importance", convention=Convention(), seed=seed)
    return float(np.mean(values))
