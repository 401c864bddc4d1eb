"""Scores: each a sum of named terms, a log-density in nats; higher = more normal.

A detector or an AUC takes the negative. The terms stay public (`score_terms`), since ablations, reports and
explanations need them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import ArrayLike

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.lazy import LazyModule
from pyscore._core.net import netted
from pyscore.backends import Backend
from pyscore.backends._iterations import IMPORTANCE_DRAWS
from pyscore.convention import EXACT, Convention, get_convention
from pyscore.data.dataframes import rows_without_names
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE
from pyscore.reference.sampling import VMFDraws
from pyscore.scoring.options import EngineKeywords, EngineOptions, ScoreKeywords, ScoreOptions

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # loading it takes longer than scoring a thousand rows

__all__ = [
    "IMPORTANCE_DRAWS",
    "SCORES",
    "Score",
    "available_scores",
    "project",
    "projection_report",
    "residual_variance",
    "score",
    "score_table",
    "score_terms",
]

LARGEST = check.LARGEST


@dataclass(frozen=True)
class Score:
    """A sum of terms.

    Examples
    --------
    >>> pyscore.SCORES["proposed"].terms
    ('log_likelihood', 'log_prior', 'decoder_volume')
    """

    terms: tuple[str, ...]
    formula: str
    equation: str
    original: str


SCORES: dict[str, Score] = {
    "reconstruction": Score(("log_likelihood",), "log p(x|z)", "(4)", "log_pxv_x"),
    "latent_reconstruction": Score(("latent_error",), "−‖z − g(f(z))‖²", "–", "log_pxv_z"),
    "prior": Score(("log_prior",), "log p(z)", "3.1", "log_pz"),
    "jacobian_encoder": Score(
        ("log_prior", "encoder_volume"), "log p(z) + w·log vol J_g", "(8)", "log_pz_jaco_enco"
    ),
    "jacobian_decoder": Score(
        ("log_prior", "decoder_volume"), "log p(z) − w·log vol J_f", "(7)", "log_pz_jaco_deco"
    ),
    "joint": Score(("log_likelihood", "log_prior"), "log p(x|z) + log p(z)", "3.1", "log_pxv_pz"),
    "proposed_encoder": Score(
        ("log_likelihood", "log_prior", "encoder_volume"),
        "log p(x|z) + log p(z) + w·log vol J_g",
        "(8)",
        "log_pxv_pz_jaco_enco",
    ),
    "proposed": Score(
        ("log_likelihood", "log_prior", "decoder_volume"),
        "log p(x|z) + log p(z) − w·log vol J_f",
        "(7)",
        "log_pxv_pz_jaco_deco",
    ),
    "importance": Score(("importance",), "log (1/s) Σ p(x|z)p(z)/q(z|x)", "(3)", "log_px_is"),
    "projected": Score(
        ("projected_log_likelihood", "projected_log_prior", "projected_decoder_volume"),
        "`proposed` at argmin ‖x − f(z)‖",
        "3.3",
        "manifoldz",
    ),
    "corrected": Score(
        ("corrected",), "manifold + normal directions at the projection", "3.2", "correctedjacodeco"
    ),
    "laplace": Score(("laplace",), "log p(x,z*) + ½ log det 2πH⁻¹", "–", "–"),
}
"""Every score by name."""

_PASS_NAMES = {"decoder_volume": "decoder_log_volume", "encoder_volume": "encoder_log_volume"}
_ENCODED = frozenset({"log_likelihood", "log_prior", "latent_error", *_PASS_NAMES})
_ITERATED = frozenset({*SCORES["projected"].terms, "corrected", "laplace"})
_ITERATES = frozenset({"numba", "torch"})
"""Backends with projections of their own; the others take the reference's, in float64."""


def available_scores(convention: Convention | str = EXACT) -> tuple[str, ...]:
    """Return the names of the scores that a convention defines (`corrected` has no original form here).

    Examples
    --------
    >>> "corrected" in pyscore.scoring.scores.available_scores("original")
    False
    """
    exact = get_convention(convention).corrected_volume == "exact"
    return tuple(s for s in SCORES if s != "corrected" or exact)


def _names(names: Iterable[str] | None, convention: Convention) -> list[str]:
    if names is None:
        return list(available_scores(convention))
    return [names] if isinstance(names, str) else list(names)


@netted
def score(
    model: SVAE,
    x: ArrayLike,
    name: str = "proposed",
    *,
    draws: VMFDraws | None = None,
    **options: Unpack[ScoreKeywords],
) -> Array:
    """Log-density of each row under one score, Σ of its terms; see `score_table`.

    Examples
    --------
    >>> model = pyscore.SVAE.initialise(5, latent_dim=3, hidden_dim=8)
    >>> x = np.random.default_rng(0).standard_normal((4, 5))
    >>> pyscore.score(model, x, "proposed").shape
    (4,)
    """
    return _sums(model, x, [name], draws, ScoreOptions(**options))[name]


@netted
def score_table(
    model: SVAE,
    x: ArrayLike,
    names: Iterable[str] | None = None,
    *,
    draws: VMFDraws | None = None,
    **options: Unpack[ScoreKeywords],
) -> pd.DataFrame:
    """Log-densities of each row: one column a score, each the sum of its terms.

    Parameters
    ----------
    model : SVAE
    x : (n, d) array, standardised as the training data were
    names : names out of `SCORES`, or one name; by default all that the convention defines
    draws : VMFDraws, optional
        Injected draws of `importance`: epsilon (n·s,), v (n·s, k−1), the s draws of a row together.
    **options
        Fields of `ScoreOptions`: ``sigma2``, ``convention``, ``backend``, ``dtype``, ``seed``.

    Returns
    -------
    DataFrame (n rows), nats, higher = more normal. A row with a volume of −inf, whose density would be +inf by
    the formula, is −inf: the most anomalous.

    Warns
    -----
    NumericalWarning
        Naming the rows of singular Jacobians.

    Raises
    ------
    InvalidInput, ShapeError
        If `x` holds NaN or infinite values or has the wrong width, or a name is unknown.

    Examples
    --------
    >>> model = pyscore.SVAE.initialise(5, latent_dim=3, hidden_dim=8)
    >>> x = np.random.default_rng(0).standard_normal((4, 5))
    >>> table = pyscore.score_table(model, x, ["reconstruction", "proposed"])
    >>> list(table.columns), len(table)
    (['reconstruction', 'proposed'], 4)
    """
    return pd.DataFrame(_sums(model, x, names, draws, ScoreOptions(**options)))


def _sums(
    model: SVAE, x: ArrayLike, names: Iterable[str] | None, draws: VMFDraws | None, options: ScoreOptions
) -> dict[str, Array]:
    names, terms = _checked_terms(model, x, names, draws, options)
    return sums(terms, names)


def terms_checked(model: SVAE, x: Array, names: Sequence[str], options: ScoreOptions) -> dict[str, Array]:
    """`score_terms` without its checks and frames, for streams: the rows x are finite, the names known.

    The rows may have the type of the engine if `passes_once` says so, float64 if not.
    """
    return _terms(model, x, _wanted(names), None, options)


def passes_once(names: Iterable[str], options: ScoreOptions) -> bool:
    """Whether a backend computes scores in its own type, each row on its own, and as many at once as there are.

    The original's projection is not such a one: a row's ADAM steps depend on how many rows there are.
    """
    terms = set(_wanted(names))
    if options.engine.name in _ITERATES and options.chosen.projection == "minimum":
        terms -= _ITERATED
    return terms <= _ENCODED


def sums(terms: Mapping[str, Array], names: Iterable[str]) -> dict[str, Array]:
    """Each score as the sum of its terms: a finite number, or −inf for a row that is the most anomalous.

    A row is that if its volume is infinite, or if its sum is NaN or infinite: an overflow, of which a
    `NumericalWarning` tells.
    """
    table = {}
    for name in names:
        parts = SCORES[name].terms
        with np.errstate(invalid="ignore", over="ignore"):  # inf − inf, replaced below
            total = reduce(np.add, [terms[term] for term in parts])
        known = np.zeros(total.shape, bool)  # rows that a warning has named
        for volume in [term for term in parts if term.endswith("_volume")]:
            known |= np.isposinf(terms[volume]) if "decoder" in volume else np.isneginf(terms[volume])
            total = np.where(np.isinf(terms[volume]), -np.inf, total)
        lost = ~np.isfinite(total)
        if lost.any():
            total = np.where(lost, -np.inf, total)
            if (unnamed := np.flatnonzero(lost & ~known)).size:
                reference.warn_unscored(unnamed, name)
        table[name] = total
    return table


def total(terms: pd.DataFrame, name: str) -> Array:
    """Sum (n,) of the terms of a score, out of a table of `score_terms`; −inf where a volume is infinite."""
    return sums({term: terms[term].to_numpy() for term in SCORES[name].terms}, [name])[name]


@netted
def score_terms(
    model: SVAE,
    x: ArrayLike,
    names: Iterable[str] | None = None,
    *,
    draws: VMFDraws | None = None,
    **options: Unpack[ScoreKeywords],
) -> pd.DataFrame:
    """Terms of the scores asked for, signed and weighted so that a score is the sum of its columns.

    ``decoder_volume`` is −w·log_volume(J_dec), ``encoder_volume`` is +w·log_volume(J_enc), and
    ``latent_error`` is −‖z − ẑ‖² (ORIGINAL: +). Arguments, errors and warnings as in `score_table`.

    Examples
    --------
    >>> model = pyscore.SVAE.initialise(5, latent_dim=3, hidden_dim=8)
    >>> x = np.random.default_rng(0).standard_normal((4, 5))
    >>> terms = pyscore.score_terms(model, x, ["proposed"])
    >>> list(terms.columns)
    ['log_likelihood', 'log_prior', 'decoder_volume']
    >>> bool(np.allclose(terms.sum(axis=1), pyscore.score(model, x, "proposed")))
    True
    """
    return pd.DataFrame(_checked_terms(model, x, names, draws, ScoreOptions(**options))[1])


def _checked_terms(
    model: SVAE, x: ArrayLike, names: Iterable[str] | None, draws: VMFDraws | None, options: ScoreOptions
) -> tuple[list[str], dict[str, Array]]:
    """Names of the scores asked for, and their terms."""
    if not hasattr(model, "input_dim"):
        raise InvalidInput(
            f"`model` must be an SVAE; got {type(model).__name__}. A FittedModel scores raw rows by its method "
            "`scores`."
        )
    if isinstance(options.sigma2, str):
        raise InvalidInput(
            "`sigma2` can't be 'residual' for an SVAE, which does not know the residuals of its training rows. "
            "Give a number (`pyscore.scoring.scores.residual_variance` estimates it), or use FittedModel.scores."
        )
    options = options.by(EXACT)
    names = check_names(names, options.chosen)
    x = _rows(model, x)
    return names, _terms(model, x, _wanted(names), draws, options)


def _rows(model: SVAE, x: ArrayLike) -> Array:
    """Standardised rows (n, d) of the width of the model, whose squares do not overflow."""
    x = rows_without_names("x", x, model.input_dim, why=f"The model has {model.input_dim} features.")
    check.finite("x", x, limit=LARGEST)
    return x


def check_names(names: Iterable[str] | None, convention: Convention) -> list[str]:
    """Return the names of scores, all of them by default; raise for one that the convention lacks."""
    names = _names(names, convention)
    for name in names:
        check.choice("score", name, SCORES)
        if name not in available_scores(convention):
            raise InvalidInput(
                f"`score` {name!r} has no original form for spherical codes (corrected_volume='floored'). "
                "Use the EXACT convention, or leave it out."
            )
    return names


def _wanted(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(term for name in names for term in SCORES[name].terms))


def _terms(
    model: SVAE, x: Array, wanted: Sequence[str], draws: VMFDraws | None, options: ScoreOptions
) -> dict[str, Array]:
    """Terms by name, in the order wanted; what overflows is infinite or NaN, which `sums` ranks."""
    engine, convention, sigma2 = options.engine, options.chosen, options.sigma2
    table: dict[str, Array] = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if encoded := frozenset(_PASS_NAMES.get(t, t) for t in wanted if t in _ENCODED):
            run = engine.run_pass(model, x, encoded, sigma2=sigma2, convention=convention)
            table |= _signed(run, convention)
        if "importance" in wanted:
            estimate = engine.importance(model, x, sigma2, seed=options.seed, draws=draws, convention=convention)
            table["importance"] = np.asarray(estimate, np.float64)
        if any(term.startswith("projected") or term in ("corrected", "laplace") for term in wanted):
            table |= _at_projection(model, x, frozenset(wanted), engine, sigma2, convention)
    return {term: table[term] for term in wanted}


def _signed(run: dict[str, Array], convention: Convention) -> dict[str, Array]:
    """Turn what a pass yields into terms."""
    w = convention.volume_weight
    sign = {
        "decoder_log_volume": ("decoder_volume", -w),
        "encoder_log_volume": ("encoder_volume", w),
        "latent_error": ("latent_error", 1.0 if convention.latent_error_sign == "near" else -1.0),
        "log_likelihood": ("log_likelihood", 1.0),
        "log_prior": ("log_prior", 1.0),
    }
    return {
        sign[key][0]: reference.weighted(sign[key][1], np.asarray(run[key], np.float64))
        for key in run
        if key in sign
    }


@netted
def project(
    model: SVAE,
    x: ArrayLike,
    *,
    steps: int = 100,
    **options: Unpack[EngineKeywords],
) -> reference.Projection:
    """Nearest points of the manifold: argmin_z ‖x − decode(z)‖² on the sphere, from the encoder's codes.

    Parameters
    ----------
    model : SVAE
    x : (n, d) array, standardised as the training data were
    steps : int, at most so many Newton steps
    **options
        Fields of `EngineOptions`: ``convention`` (ORIGINAL: 100 ADAM steps off the sphere), ``backend``,
        ``dtype``. The precision decides how near the minimum is: in float32 the objective is that of rounded rows.

    Returns
    -------
    Projection
        `z` (n, k), `gradient_norm` ‖Jᵀe‖ along the sphere, and `iterations` (n,). Under EXACT no row is further
        from its point than decode(encode(x)) is; the minimum is the local one that the encoder's code leads to.

    Notes
    -----
    Section 3.3. See `reference.project`, and `projection_report` for a table.

    Examples
    --------
    >>> model = pyscore.SVAE.initialise(5, latent_dim=3, hidden_dim=8)
    >>> x = np.random.default_rng(0).standard_normal((4, 5))
    >>> found = pyscore.scoring.scores.project(model, x, backend="numpy")
    >>> found.z.shape, bool(np.allclose(np.linalg.norm(found.z, axis=1), 1.0))
    ((4, 3), True)
    """
    given = EngineOptions(**options).by(EXACT)
    check.integer("steps", steps, at_least=0)
    return given.engine.project(model, _rows(model, x), steps=steps, convention=given.chosen)


PROJECTION_COLUMNS = ("encoder_distance", "distance", "gradient_norm", "iterations")


@netted
def projection_report(
    model: SVAE,
    x: ArrayLike,
    *,
    steps: int = 100,
    **options: Unpack[EngineKeywords],
) -> pd.DataFrame:
    """How well each row was projected; arguments as in `project`.

    Returns
    -------
    DataFrame (n rows)
        ``encoder_distance`` ‖x − f(g(x))‖, ``distance`` ‖x − f(z')‖ at the projection, ``gradient_norm`` ‖Jᵀe‖
        there (zero at a minimum) and ``iterations``.

    Examples
    --------
    >>> model = pyscore.SVAE.initialise(5, latent_dim=3, hidden_dim=8)
    >>> x = np.random.default_rng(0).standard_normal((4, 5))
    >>> report = pyscore.scoring.scores.projection_report(model, x, backend="numpy")
    >>> bool((report["distance"] <= report["encoder_distance"] * (1 + 1e-12)).all())
    True
    """
    x = _rows(model, x)
    found = project(model, x, steps=steps, **options)
    encoded, _ = model.encode(x, convention=EngineOptions(**options).by(EXACT).chosen)
    return pd.DataFrame(
        {
            "encoder_distance": np.linalg.norm(x - model.decode(encoded), axis=1),
            "distance": np.linalg.norm(x - model.decode(found.z), axis=1),
            "gradient_norm": found.gradient_norm,
            "iterations": found.iterations,
        }
    )


RESIDUAL_ROWS = 1000


def residual_variance(model: SVAE, x: ArrayLike, **options: Unpack[EngineKeywords]) -> float:
    """σ² of rows x (n, d): mean squared distance to the manifold over the d−k+1 normal dimensions.

    At most `RESIDUAL_ROWS` rows, evenly spaced, are projected: a relative standard error of
    √(2/(1000·(d−k+1))), below 5 %. See `reference.residual_variance`; the options are those of `project`, but the
    arithmetic is float64 by default.

    Examples
    --------
    >>> model = pyscore.SVAE.initialise(5, latent_dim=3, hidden_dim=8)
    >>> x = np.random.default_rng(0).standard_normal((4, 5))
    >>> pyscore.scoring.scores.residual_variance(model, x, backend="numpy") > 0
    True
    """
    x = check.matrix("x", x, model.input_dim, why=f"The model has {model.input_dim} features.")
    x = residual_rows(x)
    if not isinstance(options.get("backend"), Backend):
        options = {"dtype": np.float64, **options}
    x_hat = model.decode(project(model, x, **options).z)
    return reference.residual_variance(x, x_hat, model.latent_dim)


def residual_rows(x: Array) -> Array:
    """The rows that `residual_variance` looks at: at most `RESIDUAL_ROWS`, evenly spaced, a copy."""
    return x[np.unique(np.linspace(0, len(x) - 1, min(len(x), RESIDUAL_ROWS)).round().astype(np.int64))]


def _at_projection(
    model: SVAE, x: Array, wanted: frozenset[str], engine: Backend, sigma2: ArrayLike, convention: Convention
) -> dict[str, Array]:
    """Terms at the nearest point of the manifold instead of the encoder's."""
    z = engine.project(model, x, convention=convention).z
    table: dict[str, Array] = {}
    projected = any(term.startswith("projected") for term in wanted)
    if projected or "corrected" in wanted:
        x_hat, components = engine.decode(model, z), model.encode_pseudo_inputs(convention=convention)
        prior = np.asarray(engine.log_prior(z, *components, convention=convention), np.float64)
    if projected:
        volume = np.asarray(engine.decoder_log_volume(model, z, convention=convention), np.float64)
        likelihood = engine.log_likelihood(x, x_hat, sigma2, convention=convention)
        table["projected_log_likelihood"] = np.asarray(likelihood, np.float64)
        table["projected_log_prior"] = prior
        table["projected_decoder_volume"] = reference.weighted(-convention.volume_weight, volume)
    if "corrected" in wanted:
        if not projected or convention.jacobian != "tangent":
            along = replace(convention, jacobian="tangent")
            volume = np.asarray(engine.decoder_log_volume(model, z, convention=along), np.float64)
        table["corrected"] = _corrected(x, x_hat, prior, volume, _one_variance(sigma2, "corrected"), model)
    if "laplace" in wanted:
        density = engine.laplace(model, x, z, _one_variance(sigma2, "laplace"), convention=convention)
        table["laplace"] = np.asarray(density, np.float64)
    return table


def _corrected(x: Array, x_hat: Array, prior: Array, volume: Array, sigma2: float, model: SVAE) -> Array:
    """`reference.log_density_corrected` on the sphere, from its terms at the projection."""
    square = np.sum((np.asarray(x, np.float64) - x_hat) ** 2, axis=1)
    normal = reference.normal_dimensions(model.input_dim, model.latent_dim, "sphere")
    density = prior + reference.log_likelihood_normal(square, sigma2, normal) - volume
    # A volume of −inf is the only way to +inf, and has been warned of.
    return np.where(np.isposinf(density), -np.inf, density)


def _one_variance(sigma2: ArrayLike, name: str) -> float:
    if np.ndim(sigma2):
        raise InvalidInput(f"`sigma2` must be one number for the score {name!r}; got shape {np.shape(sigma2)}.")
    return check.real("sigma2", sigma2, above=0.0)
