"""The paper's toy problem (Figure 1): x = [z², z] + e, whose density is known, so that scores can be checked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyscore._core.checks import Array
from pyscore.convention import EXACT
from pyscore.errors import ModelFileError
from pyscore.reference import sampling
from pyscore.reference.model import SVAE
from pyscore.scoring.scores import score_terms
from pyscore.training.config import Callback, TrainConfig
from pyscore.training.train import train

__all__ = [
    "TOY",
    "Maps",
    "density_maps",
    "off_data_mass",
    "parabola",
    "total_variation",
    "toy_model",
    "true_density",
]

MEAN, VARIANCE, NOISE = 0.5, 0.15, 0.01
"""p(z) = N(0.5, 0.15) and p(e) = N(0, 0.01·I). The paper does not say whether 0.15 is a variance or a deviation.
It is read as a variance because 0.01·I is one, and because with a deviation of 0.15 the noise hides the bend."""

WINDOW = ((-1.0, 3.0), (-1.5, 2.5))
"""Range of x₁ and of x₂ in the maps."""
SIDE = 161
ROWS = 1000
SIZES = {"latent_dim": 2, "hidden_dim": 32, "n_components": 4}
TOY = TrainConfig(beta=1.0, c=1.0, steps=5000, learning_rate=1e-3, seed=0, convention=EXACT)
"""Our own choice, since neither the text nor the scripts of the paper say how its toy model was trained."""
KIND, VERSION = "toy", 1

PANELS = {
    "reconstruction": ("log_likelihood",),
    "prior": ("log_prior",),
    "proposed": ("log_likelihood", "log_prior", "decoder_volume"),
}


def parabola(rows: int = ROWS, seed: int = 0) -> Array:
    """Draw rows (n, 2) of the toy problem."""
    rng = sampling.generator(seed, "toy")
    z = MEAN + np.sqrt(VARIANCE) * rng.standard_normal(rows)
    return np.column_stack([z**2, z]) + np.sqrt(NOISE) * rng.standard_normal((rows, 2))


def true_density(x: Array) -> Array:
    """p(x) = ∫ N(x; [z², z], 0.01·I) N(z; 0.5, 0.15) dz of rows x (n, 2).

    The integral is taken by the trapezoidal rule over ±8 deviations of z. The integrand is smooth and vanishes at
    both ends, so the rule converges faster than any power of the step.
    """
    z = MEAN + np.sqrt(VARIANCE) * np.linspace(-8.0, 8.0, 513)
    prior = np.exp(-((z - MEAN) ** 2) / (2 * VARIANCE)) / np.sqrt(2 * np.pi * VARIANCE)
    distance = (x[:, :1] - z**2) ** 2 + (x[:, 1:] - z) ** 2
    return np.exp(-distance / (2 * NOISE)) @ prior * (z[1] - z[0]) / (2 * np.pi * NOISE)


class Maps(NamedTuple):
    """Densities over the window, up to a factor; each map is (SIDE, SIDE), the first axis is x₂."""

    x1: Array
    x2: Array
    data: Array
    """(n, 2), the training rows."""
    true: Array
    scores: dict[str, Array]
    """Map of each panel by name, scaled to a highest value of 1."""
    sigma2: float
    """Variance of the reconstruction error of the training rows."""


def toy_model(path: str | os.PathLike[str] | None = None, callback: Callback | None = None) -> SVAE:
    """Return the trained toy model. It is read from `path` if that file exists, else trained and written there."""
    from pyscore._core.files import read_tensors, write_tensors

    header: dict[str, Any] = json.loads(json.dumps({"config": TOY.to_dict(), "sizes": SIZES, "rows": ROWS}))
    if path is not None and Path(path).is_file():
        found, tensors = read_tensors(path, KIND, VERSION, unsigned=(VERSION,))
        if found == header:
            return SVAE.from_parameters(tensors, "swish")
    model = train(
        parabola(seed=TOY.seed), TOY, latent_dim=SIZES["latent_dim"], hidden_dim=SIZES["hidden_dim"],
        n_components=SIZES["n_components"], callback=callback,
    ).model  # fmt: skip
    if path is not None:
        write_tensors(path, KIND, VERSION, header, model.parameters())
    return model


def density_maps(model: SVAE, side: int = SIDE) -> Maps:
    """Evaluate reconstruction, prior and proposed score over the window, σ² = var(x − f(g(x))) as in Figure 1."""
    if model.input_dim != 2:
        raise ModelFileError(f"the toy problem has 2 features; got a model of {model.input_dim}.")
    data = parabola(seed=TOY.seed)
    code, _ = model.encode(data, convention=EXACT)
    sigma2 = float(np.var(data - model.decode(code)))
    x1, x2 = (np.linspace(*edges, side) for edges in WINDOW)
    grid = np.stack(np.meshgrid(x1, x2), axis=-1).reshape(-1, 2)
    terms = score_terms(model, grid, list(PANELS), sigma2=sigma2, convention=EXACT, backend="numpy")
    scores = {}
    for name, parts in PANELS.items():
        log_density = terms[list(parts)].sum(axis=1).to_numpy()
        scores[name] = np.exp(log_density - log_density.max()).reshape(side, side)
    return Maps(x1, x2, data, true_density(grid).reshape(side, side), scores, sigma2)


def off_data_mass(maps: Maps, coverage: float = 0.99) -> dict[str, float]:
    """Share of each map's mass outside the smallest region that holds `coverage` of p(x).

    The true density has the share 1 − `coverage` there.
    """
    order = np.argsort(-maps.true, axis=None, kind="stable")
    mass = np.cumsum(maps.true.ravel()[order]) / maps.true.sum()
    outside = np.ones(maps.true.size, dtype=bool)
    outside[order[: int(np.searchsorted(mass, coverage)) + 1]] = False
    return {name: float(values.ravel()[outside].sum() / values.sum()) for name, values in maps.scores.items()}


def total_variation(maps: Maps) -> dict[str, float]:
    """Distance ½∫|q − p| of each map from the true density, both normalised over the window (0 = equal)."""
    true = maps.true / maps.true.sum()
    return {name: float(np.abs(q / q.sum() - true).sum() / 2) for name, q in maps.scores.items()}
