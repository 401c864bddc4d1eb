"""Comparison of the scores with the true log-density, on manifolds where that is known.

`log_densities` computes scores, `error_table` their errors for decreasing σ, and `total_mass` the integral of a
score over space. `train_and_score` compares models that were trained on samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.errors import InvalidInput
from pyscore.reference.minimise import damped_newton, negative_log_joint
from pyscore.scoring.fitted import fit
from pyscore.scoring.scores import score
from pyscore.studies.manifolds import (
    Ellipsoid,
    Linear,
    Manifold,
    Parabola,
    SwissRoll,
    Torus,
    circle,
    ellipse,
    sphere,
)
from pyscore.training.config import TrainConfig

__all__ = [
    "MANIFOLDS",
    "SCORED",
    "TRAINED",
    "TrainedDensity",
    "agreement",
    "error_table",
    "log_densities",
    "quirk_masses",
    "slope",
    "total_mass",
    "train_and_score",
]

MANIFOLDS: dict[str, Callable[[], Manifold]] = {
    "linear": lambda: Linear(np.array([[2.0, 0.3], [0.5, 1.0], [-0.7, 0.4]]), np.array([0.5, -1.0, 0.0])),
    "circle": circle,
    "circle in R³": lambda: circle(input_dim=3),
    "ellipse": ellipse,
    "sphere": sphere,
    "parabola": Parabola,
    "Swiss roll": SwissRoll,
    "torus": Torus,
}
"""The manifolds of the page docs/exact-density.md, by name."""

SCORED = ("exact", "corrected", "laplace", "original")
"""exact: log p(z') + log N(e) over the normal dimensions − log_volume at the projection z'; corrected: the same
with the prior widened to N(0, I + σ²(JᵀJ)⁻¹), for z ~ N(0, I); laplace; original: `proposed` of the paper's code,
with the true σ² in place of its 1."""


def log_densities(
    manifold: Manifold, x: ArrayLike, sigma: float, names: Iterable[str] = SCORED
) -> dict[str, Array]:
    """Scores of rows x (n, d) under the manifold's own decoder and prior, nats, by name (see `SCORED`).

    On spheres the scores are those of `pyscore.score` for the model `Ellipsoid.svae`; elsewhere they are computed
    with `pyscore.reference`. `corrected` is left out where codes are not N(0, I); on the sphere it is `exact`.

    Raises
    ------
    InvalidInput
        If a name is unknown.
    """
    sigma2 = check.real("sigma", sigma, above=0.0) ** 2
    for name in (names := tuple(names)):
        check.choice("names", name, SCORED)
    x = check.matrix("x", x, manifold.input_dim)
    if isinstance(manifold, Ellipsoid):
        return _of_model(manifold, x, sigma2, names)
    z = manifold.nearest(x).z
    x_hat, jacobian = manifold.decode(z), manifold.decoder_jacobian(z)
    log_pz = manifold.prior(z)[0]
    volume = reference.log_volume(jacobian)
    table: dict[str, Array] = {}
    for name in names:
        if name == "exact":
            square = np.sum((x - x_hat) ** 2, axis=1)
            noise = -0.5 * square / sigma2 - 0.5 * manifold.normal_dim * np.log(2 * np.pi * sigma2)
            table[name] = log_pz + noise - EXACT.volume_weight * volume
        elif name == "corrected" and not isinstance(manifold, Torus):
            table[name] = reference.log_density_corrected(x, x_hat, z, jacobian, sigma2=sigma2)
        elif name == "laplace":
            table[name] = _laplace(manifold, x, z, sigma2)
        elif name == "original":
            likelihood = reference.log_likelihood(x, x_hat, sigma2, convention=ORIGINAL)
            table[name] = likelihood + log_pz - ORIGINAL.volume_weight * volume
    return table


def _of_model(manifold: Ellipsoid, x: Array, sigma2: float, names: tuple[str, ...]) -> dict[str, Array]:
    """Scores of `pyscore.score` for the model that equals the manifold."""
    model = manifold.svae()
    wanted = {"exact": ("corrected", EXACT), "laplace": ("laplace", EXACT), "original": ("proposed", ORIGINAL)}
    return {
        name: score(model, x, wanted[name][0], sigma2=sigma2, convention=wanted[name][1], backend="numpy")
        for name in names
        if name in wanted
    }


def _laplace(manifold: Manifold, x: Array, z: Array, sigma2: float) -> Array:
    objective = negative_log_joint(
        x, manifold.decode, manifold.decoder_jacobian, manifold.decoder_bend, manifold.prior, sigma2,
        latent=manifold.latent,
    )  # fmt: skip
    mode = damped_newton(z, objective, latent=manifold.latent, steps=100).z
    value, _, hessian = objective(mode)
    return reference.log_laplace(-value, hessian)


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────


def error_table(
    manifold: Manifold, sigmas: Sequence[float], *, n: int = 500, seed: int = 0, names: Iterable[str] = SCORED
) -> pd.DataFrame:
    """Errors score − log p(x) in nats: one row for each σ and score.

    Returns
    -------
    DataFrame
        ``on_manifold``: root mean square error of rows without noise, which falls as σ². ``noisy``: root mean
        square error of rows of p(x), which falls as σ, because at a normal distance ξ ~ σ the curvature enters at
        first order. ``bias`` and ``deviation``: mean and deviation of these errors; a constant could remove the
        first. ``integral_error``: error of the true density's integral.
    """
    rows = []
    for sigma in sigmas:
        clean, noisy = manifold.sample(n, 0.0, seed), manifold.sample(n, sigma, seed)
        truth = [manifold.log_density(x, sigma) for x in (clean, noisy)]
        scored = [log_densities(manifold, x, sigma, names) for x in (clean, noisy)]
        for name in scored[0]:
            error = [s[name] - t.value for s, t in zip(scored, truth, strict=True)]
            rows.append(
                {
                    "manifold": manifold.name,
                    "sigma": sigma,
                    "score": name,
                    "on_manifold": float(np.sqrt(np.mean(error[0] ** 2))),
                    "noisy": float(np.sqrt(np.mean(error[1] ** 2))),
                    "bias": float(np.mean(error[1])),
                    "deviation": float(np.std(error[1])),
                    "integral_error": max(t.error for t in truth),
                }
            )
    return pd.DataFrame(rows)


def slope(sigmas: ArrayLike, errors: ArrayLike) -> float:
    """Slope of log error against log σ, by least squares: the order of the error."""
    sigmas, errors = check.vector("sigmas", sigmas), check.vector("errors", errors)
    if not (errors > 0).all():
        raise InvalidInput("`errors` must be positive to have a logarithm.")
    return float(np.polyfit(np.log(sigmas), np.log(errors), 1)[0])


def total_mass(manifold: Manifold, sigma: float, log_density: Callable[[Array], Array] | str = "exact") -> float:
    """∫ exp(log_density(x)) dx in R^d, d = 2 or 3: a sum over a grid of spacing σ within 7σ of the manifold.

    The trapezoid rule of spacing σ integrates a Gaussian of deviation σ to 2·exp(−2π²) = 5e-9, and a density that
    falls like one has less than 1e-10 of its mass beyond 7σ.

    Parameters
    ----------
    manifold : Manifold
    sigma : float, deviation of the noise
    log_density : a name of `SCORED`, or a function of (n, d) rows that returns (n,) nats

    Returns
    -------
    float
        1 for a density. By Weyl's tube formula the exact score has 1 + σ²·E[K] on a surface in space with Gaussian
        curvature K, and 1 on a curve, as long as the tube of radius 7σ does not meet itself.
    """
    sigma = check.real("sigma", sigma, above=0.0)

    def mass(x: Array) -> float:
        if isinstance(log_density, str):
            return float(np.sum(np.exp(log_densities(manifold, x, sigma, [log_density])[log_density])))
        return float(np.sum(np.exp(log_density(x))))

    axes = [np.arange(low - 8 * sigma, high + 8 * sigma, sigma) for low, high in zip(*manifold.box(), strict=True)]
    total = 0.0
    for first in axes[0]:  # one line or plane of the grid at a time
        rest = np.meshgrid(*axes[1:], indexing="ij")
        x = np.column_stack([np.full(rest[0].size, first), *[g.ravel() for g in rest]])
        x = x[np.linalg.norm(x - manifold.decode(manifold.start(x)), axis=1) <= 7 * sigma]
        if len(x):
            total += mass(x)
    return total * sigma**manifold.input_dim


def quirk_masses(manifold: Ellipsoid, sigma: float) -> dict[str, float]:
    """Mass of the exact score (`projected` over the normal dimensions), also with each field of ORIGINAL."""
    model, extra = manifold.svae(), manifold.input_dim - manifold.normal_dim

    def mass(convention: Convention) -> float:
        def log_density(x: Array) -> Array:
            values = score(model, x, "projected", sigma2=sigma**2, convention=convention, backend="numpy")
            return values + 0.5 * extra * np.log(2 * np.pi * sigma**2)  # `projected` counts all d dimensions

        return total_mass(manifold, sigma, log_density)

    fields = ("volume_weight", "jacobian", "prior_density")
    return {"EXACT": mass(EXACT)} | {field: mass(EXACT.switched(field)) for field in fields}


# ── trained models ───────────────────────────────────────────────────────────────────────────────────────


TRAINED: dict[str, tuple[str, Convention, float | Literal["residual"]]] = {
    "corrected, EXACT": ("corrected", EXACT, "residual"),
    "laplace, EXACT": ("laplace", EXACT, "residual"),
    "proposed, EXACT": ("proposed", EXACT, "residual"),
    "proposed, ORIGINAL": ("proposed", ORIGINAL, 1.0),
    "reconstruction": ("reconstruction", EXACT, "residual"),
}
"""Score, convention and σ² of each result of `train_and_score`; ORIGINAL always has σ² = 1."""


class TrainedDensity(NamedTuple):
    """True and estimated log-densities of test rows, in the units of the data."""

    truth: Array
    """(n,) nats."""
    scores: dict[str, Array]
    """(n,) nats, by the names of `TRAINED`."""
    sigma: float
    """Estimated deviation of the noise, in the units of the data (geometric mean over features)."""


def train_and_score(
    manifold: Manifold, sigma: float, config: TrainConfig, *, n: int = 2000, **sizes: Any
) -> TrainedDensity:
    """Fit a model to n rows of the manifold, and score as many new ones.

    The density of the data is the score of standardised features minus Σ log deviation.
    """
    fitted = fit(manifold.sample(n, sigma, config.seed), config, **sizes)
    x = manifold.sample(n, sigma, config.seed + 1_000_000)
    volume = float(np.sum(np.log(fitted.standardiser.deviation)))
    scored = {
        label: fitted.scores(x, [name], sigma2=sigma2, convention=convention, backend="numpy")[name].to_numpy()
        - volume
        for label, (name, convention, sigma2) in TRAINED.items()
    }
    variance = float(np.asarray(fitted.noise_variance("residual")))
    estimated = float(np.sqrt(variance) * np.exp(volume / manifold.input_dim))
    return TrainedDensity(manifold.log_density(x, sigma).value, scored, estimated)


def agreement(truth: Array, scored: Array) -> dict[str, float]:
    """Pearson's and Spearman's correlation with the truth, mean and root mean square of the error, in nats."""
    error = scored - truth
    return {
        "pearson": float(np.corrcoef(truth, scored)[0, 1]),
        "spearman": float(stats.spearmanr(truth, scored).statistic),
        "bias": float(np.mean(error)),
        "rms": float(np.sqrt(np.mean(error**2))),
    }
