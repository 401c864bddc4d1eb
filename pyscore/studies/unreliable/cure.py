"""How many adversarial anomalies of the reconstruction error other scores still miss.

A score *misses* a point if the point's anomaly score is below the 95th percentile of held-out normal rows, that
is, if a detector with 5 % false alarms does not report it. For the SVAE the scores are those of
`pyscore.scoring.scores`; for a plain autoencoder they are the same formulas with a Gaussian prior fitted to the
codes of the training rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, ORIGINAL
from pyscore.detectors.baselines import Scorer, baseline
from pyscore.errors import InvalidInput, NumericalWarning
from pyscore.reference.minimise import damped_newton
from pyscore.reference.model import SVAE
from pyscore.scoring import scores

__all__ = [
    "DENSITIES",
    "PERCENTILE",
    "GaussianPrior",
    "baseline_scorers",
    "density_scores",
    "missed",
    "missed_rows",
]

PERCENTILE = 95.0
DENSITIES = (
    "reconstruction",
    "joint",
    "proposed ORIGINAL",
    "proposed EXACT",
    "projected",
    "laplace",
)
"""Names in the tables of the scores that are compared; EXACT unless the name says otherwise."""


class Decoded(Protocol):
    """A model with a Euclidean code: an `Autoencoder`, or one of images."""

    def encode(self, x: ArrayLike, /) -> Array:
        """Codes (n, k)."""

    def decode(self, z: ArrayLike, /) -> Array:
        """Points (n, d)."""

    def decoder_jacobian(self, z: ArrayLike, /) -> Array:
        """Jacobians (n, d, k)."""

    def decoder_bend(self, z: ArrayLike, weights: ArrayLike, /) -> Array:
        """Hessians (n, k, k) of Σ_m weights_m·decode(z)_m."""


class GaussianPrior(NamedTuple):
    """N(mean, covariance), fitted to codes."""

    mean: Array
    """(k,)."""
    precision: Array
    """(k, k)."""
    log_normaliser: float

    @classmethod
    def fit(cls, codes: ArrayLike) -> GaussianPrior:
        """Mean and covariance of the codes (n, k), which must span R^k.

        Raises
        ------
        InvalidInput
            If the covariance is singular: a unit of the bottleneck is dead.
        """
        codes = check.matrix("codes", codes, "k")
        covariance = np.atleast_2d(np.cov(codes, rowvar=False))
        sign, log_determinant = np.linalg.slogdet(covariance)
        if sign <= 0 or np.linalg.cond(covariance) > 1e12:
            raise InvalidInput(
                "`codes` must vary in every direction; their covariance is singular. A unit of the bottleneck is "
                "dead: train with another seed or a smaller bottleneck."
            )
        normaliser = -0.5 * (len(covariance) * np.log(2 * np.pi) + log_determinant)
        return cls(codes.mean(axis=0), np.linalg.inv(covariance), float(normaliser))

    def log_density(self, z: Array) -> Array:
        """Log-density (n,) of codes (n, k)."""
        centred = z - self.mean
        return self.log_normaliser - 0.5 * np.einsum("ni,ij,nj->n", centred, self.precision, centred)


def density_scores(
    model: SVAE | Decoded, x: ArrayLike, prior: GaussianPrior | None = None, *, sigma2: float = 1.0
) -> pd.DataFrame:
    """Log-densities (nats, higher = more normal) of the rows x, one column for each of `DENSITIES`.

    Parameters
    ----------
    model : an SVAE, or a model with a Euclidean code
    x : (n, d) array
    prior : the prior of a Euclidean code (an SVAE has its own)
    sigma2 : float, variance of the noise

    Notes
    -----
    A row without a density (a volume of −inf, a Hessian that is not positive definite) is −inf, the most
    anomalous. No warning is given for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        if isinstance(model, SVAE):
            return _svae_scores(model, x, sigma2)
        if prior is None:
            raise InvalidInput(
                "`prior` must be given for a model with a Euclidean code. Fit one: GaussianPrior.fit."
            )
        return _gaussian_scores(model, check.matrix("x", x), prior, sigma2)


def _svae_scores(model: SVAE, x: ArrayLike, sigma2: float) -> pd.DataFrame:
    names = ["reconstruction", "joint", "proposed", "projected", "laplace"]
    table = scores.score_table(model, x, names, sigma2=sigma2, convention=EXACT, backend="numpy")
    table = table.rename(columns={"proposed": "proposed EXACT"})
    original = scores.score(model, x, "proposed", sigma2=sigma2, convention=ORIGINAL, backend="numpy")
    return table.assign(**{"proposed ORIGINAL": original})[list(DENSITIES)]


def _gaussian_scores(model: Decoded, x: Array, prior: GaussianPrior, sigma2: float) -> pd.DataFrame:
    z = model.encode(x)
    likelihood, log_prior = reference.log_likelihood(x, model.decode(z), sigma2), prior.log_density(z)
    volume = reference.log_volume(model.decoder_jacobian(z), warn=False)
    projected = reference.project(
        x, z, model.decode, model.decoder_jacobian, model.decoder_bend, latent="euclidean"
    ).z
    at = reference.log_volume(model.decoder_jacobian(projected), warn=False)
    columns = {
        "reconstruction": likelihood,
        "joint": likelihood + log_prior,
        "proposed ORIGINAL": likelihood + log_prior - 2 * volume,
        "proposed EXACT": likelihood + log_prior - volume,
        "projected": reference.log_likelihood(x, model.decode(projected), sigma2)
        + prior.log_density(projected)
        - at,
        "laplace": _laplace(model, x, projected, prior, sigma2),
    }
    return pd.DataFrame({name: np.where(np.isposinf(v), -np.inf, v) for name, v in columns.items()})


def _laplace(model: Decoded, x: Array, start: Array, prior: GaussianPrior, sigma2: float) -> Array:
    """Laplace's log p(x) at the posterior mode of a Gaussian prior; see `reference.log_laplace`."""

    def objective(z: Array) -> tuple[Array, Array, Array]:
        x_hat, j = model.decode(z), model.decoder_jacobian(z)
        residual = (x - x_hat) / sigma2
        gradient = -np.einsum("ndk,nd->nk", j, residual) + (z - prior.mean) @ prior.precision
        hessian = np.swapaxes(j, 1, 2) @ j / sigma2 - model.decoder_bend(z, residual) + prior.precision
        return -(reference.log_likelihood(x, x_hat, sigma2) + prior.log_density(z)), gradient, hessian

    mode = damped_newton(start, objective, latent="euclidean", steps=100).z
    value, _, hessian = objective(mode)
    return reference.log_laplace(-value, hessian)


def baseline_scorers(train: Array, names: Iterable[str], seed: int = 0) -> dict[str, Scorer]:
    """Baselines fitted to the training rows, by name."""
    return {name: baseline(name).fit(train, seed) for name in names}


def missed(normal: ArrayLike, adversarial: ArrayLike, *, percentile: float = PERCENTILE) -> float:
    """Share of adversarial scores below a percentile of the scores of normal rows; higher = more anomalous.

    NaN if there is no adversarial point. A point whose score is NaN counts as missed, since NaN raises no alarm.
    """
    normal, adversarial = check.vector("normal", normal), check.vector("adversarial", adversarial, "m")
    if not len(normal):
        raise InvalidInput("`normal` must hold at least one score; got none.")
    if not len(adversarial):
        return float("nan")
    limit = np.quantile(normal, percentile / 100, method="lower")  # ±inf are scores like any other
    return float(np.mean(~(adversarial >= limit)))


def missed_rows(
    densities: tuple[pd.DataFrame, pd.DataFrame], others: Mapping[str, Scorer], normal: Array, adversarial: Array
) -> list[dict[str, str | float | int]]:
    """Return one row per method: ``method``, ``points``, ``missed``.

    Parameters
    ----------
    densities : log-densities of the normal rows, and of the adversarial points
    others : baselines, fitted
    normal, adversarial : (n, d), (m, d) arrays, what the baselines score
    """
    of_normal, of_adversarial = densities
    shares = {
        str(name): missed(-of_normal[name].to_numpy(), -of_adversarial[name].to_numpy()) for name in of_normal
    }
    if len(adversarial):
        shares |= {name: missed(score(normal), score(adversarial)) for name, score in others.items()}
    return [{"method": name, "points": len(adversarial), "missed": share} for name, share in shares.items()]
