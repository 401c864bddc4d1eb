"""Measures of the original's scripts: goodness of fit of the prior, and the sets with few known anomalies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput
from pyscore.reference import sampling
from pyscore.reference.model import SVAE

__all__ = ["Goodness", "fit_of_codes", "goodness_of_fit", "known_anomaly_rows", "mean_of_draws", "sample_prior"]

MOST_CODES = 300
DRAWS = 10
NULL_PAIRS = 100
WIDTH_SAMPLES = 500


class Goodness(NamedTuple):
    """Distance between the codes of the data and samples of the prior."""

    mmd: float
    """MMD² of codes and prior samples, averaged over draws."""
    p_value: float
    """p-value of the hypothesis that the codes are prior samples; see `reference.mmd_p_value`."""
    width: float
    """Kernel width that the criterion chose on prior samples."""


def sample_prior(model: SVAE, n: int, rng: np.random.Generator, *, convention: Convention = EXACT) -> Array:
    """Samples (n, k) of the prior: a component at random, then vMF(mu(u), kappa(u)). Original: `sampleVamp`."""
    components = rng.integers(model.n_components, size=n)
    mu, kappa = model.encode_pseudo_inputs(convention=convention)
    draws = sampling.draw_vmf(kappa[components], model.latent_dim, rng)
    return reference.sample_vmf(mu[components], kappa[components], *draws, convention=convention)


def fit_of_codes(
    codes: ArrayLike,
    prior: ArrayLike,
    width_pair: tuple[ArrayLike, ArrayLike],
    null_pairs: tuple[ArrayLike, ArrayLike],
    *,
    convention: Convention = EXACT,
    compiled: bool = False,
) -> Goodness:
    """Goodness of fit from given samples, without any draw of its own.

    Parameters
    ----------
    codes : (m, k) array, codes of data rows
    prior : (r, m, k) array, r samples of the prior
    width_pair : two (w, k) arrays, samples of the prior for the width criterion
    null_pairs : two (s, m, k) arrays, s pairs of samples of the prior
    convention : Convention
        `width_distance`, `mmd_variance` and `p_value`.
    compiled : bool
        Use `compiled_goodness` instead of the reference: ten times as fast, and equal to rounding.

    Notes
    -----
    Original: the first lines of `compute_metrics` of the scripts.
    """
    if compiled:
        from pyscore.experiment.compiled_goodness import imq_width, mmd, mmd_null
    else:
        from pyscore.reference import imq_width, mmd, mmd_null
    width = imq_width(*width_pair, convention=convention)
    null = mmd_null(*null_pairs, width, convention=convention)
    prior = check.array("prior", prior, ("r", "m", "k"))
    statistic = float(np.mean([mmd(p, codes, width=width, convention=convention) for p in prior]))
    return Goodness(statistic, reference.mmd_p_value(null, statistic, convention=convention), width)


def goodness_of_fit(
    model: SVAE,
    x: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    seed: int = 0,
    convention: Convention = EXACT,
    compiled: bool = False,
) -> Goodness:
    """MMD between codes of the rows x (n, d) and the prior, with its p-value.

    At most 300 codes are compared with 10 prior samples of the same size. The null distribution has 100 pairs, and
    the kernel width maximises the criterion on 500 + 500 prior samples.

    Parameters
    ----------
    model : SVAE
    x : (n, d) array, standardised
    labels : (n,) array of 0 and 1, needed by ``goodness_rows="normal"``
    seed : int
    convention : Convention
        `goodness_rows`: ``"normal"`` takes the rows labelled 0; ``"all"`` takes every row and needs no labels.
    compiled : bool
        See `fit_of_codes`.

    Raises
    ------
    InvalidInput
        If labels are needed and missing, or fewer than 2 rows are left.
    """
    rows = check.matrix("x", x, model.input_dim)
    rng = sampling.generator(seed, "goodness")
    if convention.goodness_rows == "normal":
        if labels is None:
            raise InvalidInput("`labels` must be given when goodness_rows='normal'. Pass them, or use 'all'.")
        rows = rows[np.asarray(labels) == 0]
    if len(rows) < 2:
        raise InvalidInput(f"`x` must have at least 2 rows to compare with the prior; got {len(rows)}.")
    codes, _ = model.encode(rows[rng.permutation(len(rows))[:MOST_CODES]], convention=convention)
    m, k = codes.shape

    def prior(*shape: int) -> Array:
        samples = sample_prior(model, int(np.prod(shape)), rng, convention=convention)
        return samples.reshape(*shape, k)

    return fit_of_codes(
        codes,
        prior(DRAWS, m),
        (prior(WIDTH_SAMPLES), prior(WIDTH_SAMPLES)),
        (prior(NULL_PAIRS, m), prior(NULL_PAIRS, m)),
        convention=convention,
        compiled=compiled,
    )


def known_anomaly_rows(
    labels: ArrayLike, count: int, rng: np.random.Generator, *, convention: Convention = EXACT
) -> NDArray[np.int64]:
    """Rows of a training set in which only `count` anomalies are known: all normal rows, then those anomalies.

    Parameters
    ----------
    labels : (n,) array of 0 and 1
    count : int, number of known anomalies (all, if there are fewer)
    rng : numpy.random.Generator
    convention : Convention
        `known_anomalies`: ``"normals"`` counts from the first row of the data instead of the first anomaly. Normal
        rows come first, so the set then holds no anomaly at all.

    Notes
    -----
    Original: `subsample` of the scripts.
    """
    labels = np.asarray(labels)
    normal, anomalous = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    chosen = rng.permutation(len(anomalous))[: min(count, len(anomalous))]
    return np.concatenate([normal, chosen if convention.known_anomalies == "normals" else anomalous[chosen]])


def mean_of_draws(values: ArrayLike, *, convention: Convention = EXACT) -> float:
    """Mean over repeated draws of known anomalies; the original sums five values and divides by ten."""
    values = check.vector("values", values)
    return float(np.sum(values) / 10) if convention.known_anomalies == "normals" else float(np.mean(values))
