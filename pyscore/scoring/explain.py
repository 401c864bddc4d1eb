"""Why a row has its score: the residual of each feature in its own units, and the terms of the score.

log N(x; x̂, σ²I) = −½Σ_j e_j² / σ² − (d/2) log 2πσ² is a sum over features, so that e_j²/2σ² is what feature j
takes off the log-density, in nats. Features are standardised; σ = 1 by default, so that one σ is the deviation of
the column in the training rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import pandas as pd

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.net import netted
from pyscore.backends import Backend
from pyscore.convention import Convention
from pyscore.data import dataframes as frames
from pyscore.data.tables import features
from pyscore.reference.model import SVAE
from pyscore.scoring import scores
from pyscore.scoring.fitted import FittedModel, Impute
from pyscore.scoring.options import ScoreKeywords, ScoreOptions

__all__ = ["FEATURE_COLUMNS", "explain", "residuals"]

FEATURE_COLUMNS = ("row", "feature", "value", "expected", "residual", "sigmas", "contribution")


@netted
def explain(
    fitted: FittedModel,
    table: Any,
    name: str = "proposed",
    *,
    impute: Impute | None = None,
    **options: Unpack[ScoreKeywords],
) -> pd.DataFrame:
    """Contribution e_j²/2σ² of each feature to the score of each row, and the score's terms.

    Parameters
    ----------
    fitted : FittedModel
    table : any frame, whose columns are found by name, or array (n, d), raw rows
    name : a score out of `SCORES`
    impute : {"median"}, optional
        Explain missing values as the medians learnt at fit, which stand as their ``value``; by default they are
        an error.
    **options
        Fields of `ScoreOptions`: ``sigma2``, ``convention``, ``backend``, ``dtype``, ``seed``.

    Returns
    -------
    DataFrame
        n·d lines, one for each row and feature, in the order of the table:

        ``row``           label in the index of the table, or its number
        ``feature``       name of the column
        ``value``         x_j as it came
        ``expected``      x̂_j, the decoder's reconstruction, in units of the column
        ``residual``      x_j − x̂_j in units of the column; its sign says too high (+) or too low (−)
        ``sigmas``        e_j = residual / deviation of the column in the training rows
        ``contribution``  e_j²/2σ², nats taken off the log-likelihood; the contributions of a row sum to
                          −log_likelihood − (d/2) log 2πσ²

        then each term of the score and ``score``, their sum (nats, higher = more normal), the same on all
        lines of a row. The scores ``projected`` and ``corrected`` are explained at the projection that they are
        computed at, all others at the encoder's code. Scores without a likelihood (``prior``,
        ``jacobian_decoder``, …) do not contain the contributions.

    Raises
    ------
    InvalidInput, ShapeError
        As `FittedModel.scores`.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((60, 3))
    >>> fitted = pyscore.fit(x, pyscore.TrainConfig(steps=5), latent_dim=2, hidden_dim=8)
    >>> lines = pyscore.scoring.explain.explain(fitted, x[:1])
    >>> len(lines), lines["feature"].tolist()
    (3, ['x0', 'x1', 'x2'])
    """
    check.choice("name", name, scores.SCORES)
    given = ScoreOptions(**options).by(fitted.convention)
    given = replace(given, sigma2=fitted.noise_variance(given.sigma2))
    imputer = fitted.require_imputer(impute)
    x, columns = features(table, fitted.standardiser.columns, missing=imputer is not None)
    x = x if imputer is None else imputer.transform(x)
    standard = fitted.standardiser.transform(x)
    projected = name in ("projected", "corrected")
    e = residuals(fitted.model, standard, given.engine, given.chosen, projected=projected)
    deviation = fitted.standardiser.deviation
    n, d = x.shape
    lines = pd.DataFrame(
        {
            "row": np.repeat(frames.index_of(table if isinstance(table, pd.DataFrame) else x), d),
            "feature": np.tile(np.array(columns, dtype=object), n),
            "value": x.ravel(),
            "expected": (x - e * deviation).ravel(),
            "residual": (e * deviation).ravel(),
            "sigmas": e.ravel(),
            "contribution": (0.5 * e**2 / np.asarray(given.sigma2)).ravel(),
        }
    )
    terms = scores.score_terms(fitted.model, standard, [name], **given.keywords())
    terms["score"] = scores.total(terms, name)
    repeated = terms.loc[np.repeat(np.arange(n), d)].reset_index(drop=True)
    return pd.concat([lines, repeated], axis=1)


def residuals(model: SVAE, x: Array, engine: Backend, convention: Convention, *, projected: bool) -> Array:
    """x − decode(z) (n, d) of standardised rows, at the encoder's code or at the nearest point of the manifold."""
    if projected:
        z = engine.project(model, x, convention=convention).z
    else:
        z, _ = engine.encode(model, x, convention=convention)
    return x - np.asarray(engine.decode(model, z), dtype=np.float64)
