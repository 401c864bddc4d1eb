"""Maps of the reconstruction error of autoencoders with a one-dimensional bottleneck on two-dimensional data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pyscore._core import checks as check
from pyscore._core.checks import Array, Latent
from pyscore.detectors.autoencoder import Autoencoder, train_autoencoder
from pyscore.reference import sampling
from pyscore.studies.unreliable.adversarial import (
    Adversaries,
    Budget,
    isolation_radius,
    nearest_distance,
    range_starts,
    search,
)
from pyscore.studies.unreliable.bounded import decoder_range_bound

__all__ = ["ARCHITECTURES", "SHAPES", "Architecture", "PlaneRun", "error_map", "plane_data", "run_plane"]

SHAPES = ("gaussian", "parabola")
HALF_WIDTH = 20.0
"""Half the width of the map's square, in deviations of the data."""


class Architecture(NamedTuple):
    """An autoencoder of two-dimensional data."""

    label: str
    sizes: tuple[int, ...]
    activation: str
    latent: Latent = "euclidean"


SMALL, DEEP = (2, 5, 1, 5, 2), (2, 100, 20, 1, 20, 100, 2)
ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture("ReLU [2,5,1,5,2]", SMALL, "relu"),
    Architecture("ReLU [2,100,20,1,20,100,2]", DEEP, "relu"),
    Architecture("sigmoid [2,5,1,5,2]", SMALL, "sigmoid"),
    Architecture("tanh [2,5,1,5,2]", SMALL, "tanh"),
    Architecture("swish [2,5,1,5,2]", SMALL, "swish"),
    Architecture("swish [2,100,20,1,20,100,2]", DEEP, "swish"),
    Architecture("swish on a circle [2,100,20,2,20,100,2]", (2, 100, 20, 2, 20, 100, 2), "swish", "sphere"),
)
"""The networks of the paper, the same with swish and tanh, and one whose code lies on the circle."""


class PlaneRun(NamedTuple):
    """One trained network and the adversarial anomalies found."""

    shape: str
    architecture: Architecture
    x: Array
    model: Autoencoder
    strict: Adversaries
    """Points with an error below the smallest error of the data."""
    lenient: Adversaries
    """Points with an error below the 95th percentile of the data's errors."""


def plane_data(shape: str, n: int = 300, seed: int = 0) -> Array:
    """(n, 2) standardised points: a correlated ``"gaussian"``, or a ``"parabola"`` with noise."""
    check.choice("shape", shape, SHAPES)
    rng = sampling.generator(seed, "unreliable", 10 + SHAPES.index(shape))
    along, noise = rng.standard_normal(n), rng.standard_normal((n, 2))
    if shape == "gaussian":
        x = along[:, None] * [1.0, 0.7] + 0.15 * noise
    else:
        x = np.column_stack([along, along**2]) + 0.1 * noise
    return (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)


def error_map(model: Autoencoder, half_width: float = HALF_WIDTH, resolution: int = 201) -> tuple[Array, Array]:
    """Axis (r,) and squared errors (r, r) on a square around the origin; rows of the map are x₂."""
    axis = np.linspace(-half_width, half_width, check.integer("resolution", resolution, at_least=2))
    first, second = np.meshgrid(axis, axis)
    return axis, model.error(np.column_stack([first.ravel(), second.ravel()])).reshape(first.shape)


def run_plane(
    *,
    seed: int = 0,
    steps: int = 2000,
    restarts: int = 5,
    budget: Budget | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
    progress: Callable[[str], None] | None = None,
) -> list[PlaneRun]:
    """Train every architecture on every shape of data and search for its adversarial anomalies."""
    runs = []
    for shape in SHAPES:
        x = plane_data(shape, seed=seed)
        for architecture in architectures:
            if progress is not None:
                progress(f"{shape}, {architecture.label}")
            model = train_autoencoder(
                x, architecture.sizes, activation=architecture.activation, latent=architecture.latent,
                steps=steps, restarts=restarts, seed=seed,
            ).model  # fmt: skip
            starts = range_starts(model.encode, model.decode, x, 32, latent=architecture.latent, seed=seed)
            errors = model.error(x)
            found = [
                search(model.torch_error(), x, t, starts=starts, budget=budget, seed=seed)
                for t in (float(errors.min()), float(np.quantile(errors, 0.95)))
            ]
            runs.append(PlaneRun(shape, architecture, x, model, *found))
    return runs


def summary(runs: Sequence[PlaneRun], *, half_width: float = HALF_WIDTH, resolution: int = 201) -> pd.DataFrame:
    """Return one row per network: its errors, the blind area of the square, and the results of the searches.

    ``blind_area`` is the share of the square, outside the radius around every point, with an error below the 95th
    percentile of the data's.
    """
    rows: list[dict[str, Any]] = []
    for run in runs:
        axis, errors = error_map(run.model, half_width, resolution)
        first, second = np.meshgrid(axis, axis)
        grid = np.column_stack([first.ravel(), second.ravel()])
        empty = nearest_distance(grid, run.x) >= isolation_radius(run.x)
        blind = errors.ravel()[empty] < run.lenient.threshold
        of_data = run.model.error(run.x)
        rows.append({
            "data": run.shape,
            "network": run.architecture.label,
            "mean_error": float(of_data.mean()),
            "smallest_error": float(of_data.min()),
            "p95_error": run.lenient.threshold,
            "radius": run.strict.radius,
            "blind_area": float(blind.mean()),
            "success_strict": run.strict.success_rate,
            "reach_strict": run.strict.reach,
            "success_lenient": run.lenient.success_rate,
            "reach_lenient": run.lenient.reach,
            "exhausted": run.strict.exhausted or run.lenient.exhausted,
            "range_bound": decoder_range_bound(run.model),
        })  # fmt: skip
    return pd.DataFrame(rows)
