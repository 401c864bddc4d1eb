"""Scores: each a sum of named terms, a log-density in nats; higher = more normal.

A detector or an AUC takes the negative. The terms stay public (`score_terms`), since ablations, reports and
explanations need them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyscore import _validate as check
from pyscore import reference, sampling
from pyscore._validate import Array
from pyscore.backends import Backend, get_backend
from pyscore.convention import EXACT, Convention, get_convention
from pyscore.errors import InvalidInput
from pyscore.minimise import damped_newton, riemannian
from pyscore.model import SVAE
from pyscore.sampling import VMFDraws

__all__ = ["IMPORTANCE_DRAWS", "SCORES", "Score", "available_scores", "score", "score_table", "score_terms"]

IMPORTANCE_DRAWS = 100
LARGEST = 1e15
"""Largest magnitude of a standardised value: its square must leave room for sums in float32."""


@dataclass(frozen=True)
class Score:
    """A sum of terms."""

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


def available_scores(convention: Convention | str = EXACT) -> tuple[str, ...]:
    """Return the names of the scores that a convention defines (`corrected` has no original form here)."""
    exact = get_convention(convention).corrected_volume == "exact"
    return tuple(s for s in SCORES if s != "corrected" or exact)


def _names(names: Iterable[str] | None, convention: Convention) -> list[str]:
    if names is None:
        return list(available_scores(convention))
    return [names] if isinstance(names, str) else list(names)


def score(
    model: SVAE,
    x: ArrayLike,
    name: str = "proposed",
    *,
    sigma2: ArrayLike = 1.0,
    convention: Convention | str = EXACT,
    backend: str | Backend = "numpy",
    seed: int = 0,
    draws: VMFDraws | None = None,
) -> Array:
    """Log-density of each row under one score, Σ of its terms; see `score_table`."""
    table = score_table(
        model, x, [name], sigma2=sigma2, convention=convention, backend=backend, seed=seed, draws=draws
    )
    return table[name].to_numpy()


def score_table(
    model: SVAE,
    x: ArrayLike,
    names: Iterable[str] | None = None,
    *,
    sigma2: ArrayLike = 1.0,
    convention: Convention | str = EXACT,
    backend: str | Backend = "numpy",
    seed: int = 0,
    draws: VMFDraws | None = None,
) -> pd.DataFrame:
    """Log-densities of each row: one column a score, each the sum of its terms.

    Parameters
    ----------
    model : SVAE
    x : (n, d) array, standardised as the training data were
    names : names out of `SCORES`, or one name; by default all that the convention defines
    sigma2 : float or (d,) array, variance of the noise
    convention : Convention, or ``"exact"`` or ``"original"``
    backend : str or Backend
    seed : int, of the draws of `importance`
    draws : VMFDraws, optional
        Injected draws of `importance`: epsilon (n·s,), v (n·s, k−1), the s draws of a row together.

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
    """
    convention = get_convention(convention)
    names = _names(names, convention)
    terms = score_terms(
        model, x, names, sigma2=sigma2, convention=convention, backend=backend, seed=seed, draws=draws
    )
    return pd.DataFrame(_sums({str(term): terms[term].to_numpy() for term in terms}, names))


def score_checked(
    model: SVAE, x: Array, names: Sequence[str], engine: Backend, convention: Convention, seed: int
) -> dict[str, Array]:
    """`score_table` without its checks and frames, for streams: the rows x are finite, the names known.

    The rows may have the type of the engine if `passes_once(names)`, float64 if not.
    """
    return _sums(_terms(model, x, _wanted(names), engine, 1.0, convention, seed, None), names)


def passes_once(names: Iterable[str]) -> bool:
    """Whether scores come out of one pass of a backend over the rows, each row on its own."""
    return all(term in _ENCODED for term in _wanted(names))


def _sums(terms: Mapping[str, Array], names: Iterable[str]) -> dict[str, Array]:
    """Each score as the sum of its terms; a volume of −inf makes a row the most anomalous."""
    table = {}
    for name in names:
        parts = SCORES[name].terms
        with np.errstate(invalid="ignore"):  # inf − inf, replaced below
            total = reduce(np.add, [terms[term] for term in parts])
        for volume in [term for term in parts if term.endswith("_volume")]:
            total = np.where(np.isinf(terms[volume]), -np.inf, total)
        table[name] = total
    return table


def score_terms(
    model: SVAE,
    x: ArrayLike,
    names: Iterable[str] | None = None,
    *,
    sigma2: ArrayLike = 1.0,
    convention: Convention | str = EXACT,
    backend: str | Backend = "numpy",
    seed: int = 0,
    draws: VMFDraws | None = None,
) -> pd.DataFrame:
    """Terms of the scores asked for, signed and weighted so that a score is the sum of its columns.

    ``decoder_volume`` is −w·log_volume(J_dec), ``encoder_volume`` is +w·log_volume(J_enc), and
    ``latent_error`` is −‖z − ẑ‖² (ORIGINAL: +). Arguments, errors and warnings as in `score_table`.
    """
    engine = get_backend(backend)
    convention = get_convention(convention)
    names = check_names(names, convention)
    x = check.matrix("x", x, model.input_dim, why=f"The model has {model.input_dim} features.")
    check.finite("x", x, limit=LARGEST)
    return pd.DataFrame(_terms(model, x, _wanted(names), engine, sigma2, convention, seed, draws))


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
    model: SVAE,
    x: Array,
    wanted: Sequence[str],
    engine: Backend,
    sigma2: ArrayLike,
    convention: Convention,
    seed: int,
    draws: VMFDraws | None,
) -> dict[str, Array]:
    """Terms by name, in the order wanted."""
    table: dict[str, Array] = {}
    if encoded := frozenset(_PASS_NAMES.get(t, t) for t in wanted if t in _ENCODED):
        run = engine.run_pass(model, x, encoded, sigma2=sigma2, convention=convention)
        table |= _signed(run, convention)
    if "importance" in wanted:
        table["importance"] = _importance(model, x, engine, sigma2, convention, seed, draws)
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


def _importance(
    model: SVAE,
    x: Array,
    engine: Backend,
    sigma2: ArrayLike,
    convention: Convention,
    seed: int,
    draws: VMFDraws | None,
) -> Array:
    """Importance-sampling estimate over IMPORTANCE_DRAWS draws a row, in blocks of rows of bounded size."""
    mu, kappa = engine.encode(model, x, convention=convention)
    components = engine.encode(model, model.pseudo_inputs, convention=convention)
    _, kappa_drawn = model.encode(x, convention=convention)  # the same draws on every backend
    n, k = mu.shape
    s = IMPORTANCE_DRAWS if draws is None else check_draws(draws, n, k)
    result = np.empty(n)
    block = max(1, 2_000_000 // (s * model.input_dim))
    for start in range(0, n, block):
        rows = slice(start, min(n, start + block))
        m = rows.stop - start
        repeat = np.repeat(mu[rows], s, axis=0), np.repeat(kappa[rows], s)
        if draws is None:
            pick = _row_draws(x[rows], kappa_drawn[rows], k, s, seed)
        else:
            pick = VMFDraws(draws.epsilon[start * s : rows.stop * s], draws.v[start * s : rows.stop * s])
        z = engine.sample_vmf(*repeat, *pick, convention=convention)
        likelihood = engine.log_likelihood(
            np.repeat(x[rows], s, axis=0), engine.decode(model, z), sigma2, convention=convention
        )
        result[rows] = engine.log_importance(
            likelihood.reshape(m, s),
            engine.log_prior(z, *components, convention=convention).reshape(m, s),
            np.sum(z * repeat[0], axis=1).reshape(m, s),
            kappa[rows],
            k,
            convention=convention,
        )
    return result


def check_draws(draws: VMFDraws, n: int, k: int) -> int:
    """Return the number of draws a row of injected draws, or raise."""
    epsilon = check.vector("draws.epsilon", draws.epsilon, "n·s")
    if n == 0 or epsilon.size == 0 or epsilon.size % n:
        raise InvalidInput(
            f"`draws.epsilon` must hold s draws for each of the {n} rows; got {epsilon.size} values in all."
        )
    check.array("draws.v", draws.v, (epsilon.size, k - 1))
    return epsilon.size // n


def _row_draws(x: Array, kappa: Array, k: int, s: int, seed: int) -> VMFDraws:
    """Draws of each row from a generator of its own, seeded by the row's values: its batch does not matter."""
    rows = []
    for row, value in zip(x, kappa, strict=True):
        digest = hashlib.blake2b(row.tobytes(), digest_size=8).digest()
        rng = sampling.generator(seed, "importance", int.from_bytes(digest, "little"))
        rows.append(sampling.draw_vmf(np.full(s, value), k, rng))
    return VMFDraws(np.concatenate([r.epsilon for r in rows]), np.concatenate([r.v for r in rows]))


def _at_projection(
    model: SVAE, x: Array, wanted: frozenset[str], engine: Backend, sigma2: ArrayLike, convention: Convention
) -> dict[str, Array]:
    """Terms at the nearest point of the manifold instead of the encoder's, found in float64."""
    start, _ = model.encode(x, convention=convention)
    z = reference.project(
        x, start, model.decode, model.decoder_jacobian, model.decoder_bend, convention=convention
    ).z
    components = model.encode_pseudo_inputs(convention=convention)
    table: dict[str, Array] = {}
    if any(term.startswith("projected") for term in wanted):
        volume = engine.decoder_log_volume(model, z, convention=convention)
        likelihood = engine.log_likelihood(x, engine.decode(model, z), sigma2, convention=convention)
        table["projected_log_likelihood"] = np.asarray(likelihood, np.float64)
        prior = engine.log_prior(z, *components, convention=convention)
        table["projected_log_prior"] = np.asarray(prior, np.float64)
        volume = np.asarray(volume, np.float64)
        table["projected_decoder_volume"] = reference.weighted(-convention.volume_weight, volume)
    if "corrected" in wanted:
        density = reference.log_density_corrected(
            x, model.decode(z), z, model.decoder_jacobian(z),
            sigma2=_one_variance(sigma2, "corrected"), latent="sphere",
            mu_u=components[0], kappa_u=components[1], convention=convention,
        )  # fmt: skip
        # A volume of −inf is the only way to +inf.
        table["corrected"] = np.where(np.isposinf(density), -np.inf, density)
    if "laplace" in wanted:
        table["laplace"] = laplace(model, x, z, _one_variance(sigma2, "laplace"), convention)
    return table


def _one_variance(sigma2: ArrayLike, name: str) -> float:
    if np.ndim(sigma2):
        raise InvalidInput(f"`sigma2` must be one number for the score {name!r}; got shape {np.shape(sigma2)}.")
    return check.real("sigma2", sigma2, above=0.0)


def laplace(model: SVAE, x: Array, z: Array, sigma2: float, convention: Convention) -> Array:
    """Laplace's log p(x), from the posterior mode found on the sphere from the start z; see `log_laplace`."""
    components = model.encode_pseudo_inputs(convention=convention)

    def objective(z: Array) -> tuple[Array, Array, Array]:
        """−log p(x, z) with its gradient and Hessian along the sphere."""
        x_hat, j = model.decode(z), model.decoder_jacobian(z)
        residual = (x - x_hat) / sigma2
        prior_gradient, prior_hessian = _prior_derivatives(z, *components, convention)
        gradient = -np.einsum("ndk,nd->nk", j, residual) - prior_gradient
        hessian = np.swapaxes(j, 1, 2) @ j / sigma2 - model.decoder_bend(z, residual) - prior_hessian
        log_joint = reference.log_likelihood(x, x_hat, sigma2, convention=convention)
        log_joint += reference.log_prior(z, *components, convention=convention)
        return -log_joint, *riemannian(z, gradient, hessian, "sphere")

    mode = damped_newton(reference.normalize(z), objective, latent="sphere", steps=100).z
    value, _, hessian = objective(mode)
    return reference.log_laplace(-value, hessian)


def _prior_derivatives(z: Array, mu_u: Array, kappa_u: Array, convention: Convention) -> tuple[Array, Array]:
    """Gradient (n, k) and Hessian (n, k, k) of log Σ_j exp(κ_j z·mu_j + log C(κ_j)) in R^k."""
    if convention.prior_density == "unit_kappa":
        kappa_u = np.ones_like(kappa_u)
    exponent = kappa_u * (z @ mu_u.T) + reference.log_vmf_normaliser(kappa_u, z.shape[1])
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    pull = kappa_u[:, None] * mu_u
    gradient = weight @ pull
    hessian = np.einsum("np,pi,pj->nij", weight, pull, pull) - gradient[:, :, None] * gradient[:, None, :]
    return gradient, hessian
