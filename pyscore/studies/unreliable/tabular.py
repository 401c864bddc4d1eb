"""Adversarial anomalies of the reconstruction error on the ten datasets, and the other scores of these points."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyscore._core import checks as check
from pyscore._core.checks import Array, Latent
from pyscore.backends import torch_functions as tf
from pyscore.convention import EXACT
from pyscore.data import datasets as data
from pyscore.detectors.autoencoder import Autoencoder, train_autoencoder
from pyscore.detectors.baselines import BASELINES, Scorer
from pyscore.reference import roc_auc
from pyscore.reference.model import SVAE
from pyscore.scoring import scores
from pyscore.studies.unreliable import cure
from pyscore.studies.unreliable.adversarial import (
    Adversaries,
    Budget,
    DifferentiableScore,
    differentiable,
    isolation_radius,
    range_starts,
    search,
)
from pyscore.studies.unreliable.bounded import decoder_range_bound
from pyscore.training.config import TrainConfig
from pyscore.training.train import train

__all__ = ["CRITERIA", "MODELS", "Effort", "Result", "run_dataset", "svae_error"]

MODELS = ("SVAE", "AE swish", "AE ReLU")
CRITERIA = ("strict", "lenient")
"""Strict: an error below the smallest one of a normal training row. Lenient: below their 95th percentile."""
MOST_NORMALS = 500


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much work training and search do."""

    steps: int = 1000
    budget: Budget = field(default_factory=Budget)
    adaptive: Budget | None = field(default_factory=lambda: Budget(restarts=16, steps=100, rounds=8))
    """Budget of the search on `proposed`, whose gradient is computed by differences; None leaves it out."""

    @classmethod
    def quick(cls) -> Effort:
        """Return a third of the work, with ADAM's usual decay rates."""
        usual: dict[str, Any] = {"rate": 0.1, "betas": (0.9, 0.999)}
        return cls(
            budget=Budget(restarts=32, steps=150, rounds=10, **usual),
            adaptive=Budget(restarts=8, steps=60, rounds=4, **usual),
        )


class Result(NamedTuple):
    """The results of one dataset."""

    attacks: list[dict[str, Any]]
    """One row per model and criterion: the results of the search."""
    missed: list[dict[str, Any]]
    """One row per model, criterion, set of points and method: the share that the method misses."""
    aucs: list[dict[str, Any]]
    """One row per baseline: its AUC on the test rows, without adversarial points."""


def svae_error(model: SVAE) -> DifferentiableScore:
    """Squared reconstruction error of an SVAE, differentiable, in float64."""
    layers = {
        name: torch.as_tensor(value.astype(np.float64)) for name, value in model.parameters().items()
    }  # float32 weights are exact in float64, so this error equals `reconstruction` up to rounding

    def stack(name: str, count: int) -> list[tf.Layer]:
        return [(layers[f"{name}.{i}.weight"], layers[f"{name}.{i}.bias"]) for i in range(count)]

    encoder, decoder = stack("encoder", len(model.encoder)), stack("decoder", len(model.decoder))
    weight, bias = layers["mu.weight"], layers["mu.bias"]

    def error(x: Tensor) -> Tensor:
        hidden = tf.mlp(x, encoder, model.activation, last_active=True)
        z = tf.normalize(hidden @ weight.T + bias, EXACT)
        return ((x - tf.mlp(z, decoder, model.activation)) ** 2).sum(dim=1)

    return error


class _Target(NamedTuple):
    """A trained model whose error is searched for adversarial anomalies."""

    name: str
    model: SVAE | Autoencoder
    error: DifferentiableScore
    prior: cure.GaussianPrior | None
    encode: Callable[[Array], Array]


def _directions(model: SVAE, x: Array) -> Array:
    return model.encode(x)[0]


def _targets(x: Array, names: Iterable[str], steps: int, seed: int) -> Iterable[_Target]:
    d = x.shape[1]
    k = min(4, d - 1) if d > 2 else d
    for name in names:
        if name == "SVAE":
            svae = train(x, TrainConfig(steps=steps, seed=seed), latent_dim=max(k, 2)).model
            yield _Target(name, svae, svae_error(svae), None, functools.partial(_directions, svae))
            continue
        activation = "swish" if name == "AE swish" else "relu"
        sizes = (d, 32, 32, k, 32, 32, d)
        plain = train_autoencoder(x, sizes, activation=activation, steps=steps, seed=seed).model
        prior = cure.GaussianPrior.fit(plain.encode(x))
        yield _Target(name, plain, plain.torch_error(), prior, plain.encode)


def run_dataset(
    name: str,
    *,
    seed: int = 0,
    effort: Effort | None = None,
    models: Sequence[str] = MODELS,
    baselines: Iterable[str] = tuple(BASELINES),
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Train each model on split `seed` of a dataset, attack its error, and score the points found.

    Normal training rows set the thresholds of the search. At most 500 normal test rows set the 95th percentile
    that decides which points are missed.
    """
    for model_name in models:
        check.choice("model", model_name, MODELS)
    effort = effort or Effort()
    split = data.load_dataset(name).split(seed)
    normal_train = split.x_train[split.y_train == 0]
    normal_test = split.x_test[split.y_test == 0][:MOST_NORMALS]
    report = progress or (lambda text: None)
    report("baselines")
    others = cure.baseline_scorers(split.x_train, baselines, seed)
    radius = isolation_radius(split.x_train)
    aucs = [(method, roc_auc(score(split.x_test), split.y_test)) for method, score in others.items()]
    result = Result([], [], [{"dataset": name, "seed": seed, "method": m, "auc": auc} for m, auc in aucs])
    for target in _targets(split.x_train, models, effort.steps, seed):
        latent: Latent = "sphere" if isinstance(target.model, SVAE) else "euclidean"
        starts = range_starts(
            target.encode,
            target.model.decode,
            split.x_train,
            effort.budget.restarts // 2,
            latent=latent,
            seed=seed,
        )
        errors = target.error(torch.as_tensor(normal_train)).numpy()
        of_normal = cure.density_scores(target.model, normal_test, target.prior)
        facts = {"dataset": name, "model": target.name, "attacked": "reconstruction", "seed": seed}
        for criterion, threshold in zip(CRITERIA, (errors.min(), np.quantile(errors, 0.95)), strict=True):
            report(f"{target.name}, {criterion}")
            found = search(
                target.error, split.x_train, float(threshold), radius=radius, starts=starts,
                budget=effort.budget, seed=seed,
            )  # fmt: skip
            labelled = {**facts, "criterion": criterion}
            bound = decoder_range_bound(target.model)
            result.attacks.append({**labelled, **found.summary(), "range_bound": bound})
            result.missed.extend(_missed(labelled, found, target, of_normal, others, normal_test))
        if effort.adaptive is not None and isinstance(target.model, SVAE):
            report(f"{target.name}, adaptive")
            found = _adaptive(target.model, split.x_train, normal_train, radius, starts, effort.adaptive, seed)
            labelled = {**facts, "attacked": "proposed EXACT", "criterion": "lenient"}
            result.attacks.append(
                {**labelled, **found.summary(), "range_bound": decoder_range_bound(target.model)}
            )
            result.missed.extend(_missed(labelled, found, target, of_normal, others, normal_test))
    return result


def _missed(
    facts: dict[str, Any],
    found: Adversaries,
    target: _Target,
    of_normal: pd.DataFrame,
    others: dict[str, Scorer],
    normal: Array,
) -> list[dict[str, Any]]:
    """Shares missed among the first anomalies found, and among the farthest."""
    rows = []
    for name, points in (("near", found.near[found.found]), ("far", found.far[found.found])):
        densities = cure.density_scores(target.model, points, target.prior) if len(points) else of_normal.iloc[:0]
        shares = cure.missed_rows((of_normal, densities), others, normal, points)
        rows += [{**facts, "points_set": name, **share} for share in shares]
    return rows


def _adaptive(
    model: SVAE, rows: Array, normal: Array, radius: float, starts: Array, budget: Budget, seed: int
) -> Adversaries:
    """Attack the score `proposed` under EXACT, searching on this score itself."""

    def anomaly(x: Array) -> Array:
        """−log-density. Points far away are clipped to the largest input that the scores accept."""
        return -scores.score(model, np.clip(x, -1e14, 1e14), "proposed", backend="torch")

    threshold = float(np.quantile(anomaly(normal), 0.95))
    return search(
        differentiable(anomaly),
        rows,
        threshold,
        radius=radius,
        starts=starts,
        positive=False,
        budget=budget,
        seed=seed,
    )
