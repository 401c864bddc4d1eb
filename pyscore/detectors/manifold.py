"""Anomaly scores of any generative model in PyTorch: an autoencoder, VAE, WAE, GAN generator or flow.

Sign: `score_samples` returns log-densities in nats, **higher = more normal**; `decision_function` returns their
negative, **higher = more anomalous**, as in PyOD (scikit-learn's detectors have the opposite sign).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import validate_data

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.arrays import plain_numbers
from pyscore._core.checks import Array, Latent
from pyscore._core.net import netted
from pyscore.backends import get_backend
from pyscore.data import dataframes as frames
from pyscore.detectors.decoders import CompiledMap, TorchMap, adopt, check_derivative, check_rows
from pyscore.detectors.nearest_points import Pool, Projected, project
from pyscore.detectors.priors import GaussianMixture, Prior, StandardNormal, UniformSphere, farthest_off_sphere
from pyscore.detectors.recognise import MLP, NotMLP, first_layer, recognise
from pyscore.errors import InvalidInput, NumericalWarning, ShapeError
from pyscore.reference import sampling
from pyscore.scoring.scores import SCORES

__all__ = ["MANIFOLD_SCORES", "ManifoldScorer"]

MANIFOLD_SCORES: dict[str, tuple[str, ...]] = {
    name: SCORES[name].terms
    for name in ("reconstruction", "prior", "joint", "jacobian_decoder", "proposed", "projected", "corrected")
}
"""Score → its terms, as in `pyscore.scoring.scores`; a score is their sum."""

_RESHAPE = "Reshape your data: X.reshape(-1, 1) for one feature, X.reshape(1, -1) for one row."
PRIORS = ("normal", "sphere", "gaussian_mixture")
POOL = 1024


def _with_former_name(init: Any) -> Any:
    """Let a constructor understand ``score`` for ``score_name``; the signature that scikit-learn reads stays."""

    @functools.wraps(init)
    def understanding(self: Any, *args: Any, **kwargs: Any) -> None:
        if "score" in kwargs and "score_name" not in kwargs:
            kwargs["score_name"] = kwargs.pop("score")
        init(self, *args, **kwargs)

    return understanding


class ManifoldScorer(BaseEstimator):  # type: ignore[misc]
    """log p(x) ≈ log N(x − f(z); 0, σ²) + log p(z) − log vol J_f(z) of a decoder f, at z = g(x) or the projection.

    Higher = more normal (`score_samples`, nats); `decision_function` is the negative, higher = more anomalous.

    Parameters
    ----------
    decoder : nn.Module, or function of a tensor
        f, from codes (n, k) to rows (n, d) or (n, *event_shape). A module, or a bound method of one
        (``vae.decode``), is copied in eval mode; other functions are used as they are.
    encoder : nn.Module or function, optional
        g, from rows of `event_shape` to codes (n, k); of a tuple the first entry, (mu, log_variance) say, is the
        code. Without one, codes are found by projection: argmin_z ‖x − f(z)‖².
    prior : {"normal", "sphere", "gaussian_mixture"} or Prior
        Standard normal; uniform on the unit sphere; a mixture of `n_components` Gaussians fitted to the codes; or
        an object of `pyscore.detectors.priors`, or of your own with its members.
    sigma2 : "residual" or float
        Variance of the noise in each normal direction; estimated from the training residuals, or given.
    score_name : str
        What `score_samples` returns, out of `MANIFOLD_SCORES`. (Not ``score``: that is a method in scikit-learn;
        the keyword ``score`` is still understood.)
    latent_dim : int, optional
        k, where neither the encoder, nor the prior, nor an MLP decoder tells it.
    event_shape : tuple of int, optional
        Shape of one row as the modules see it, (1, 8, 8) for images; by default that of X.
    n_components : int
        Of the Gaussian mixture.
    starts, steps : int
        Starts of the projection beside the encoder's point, and steps from the best one.
    seed : int
    device : str
        ``"cpu"``, ``"cuda"``, …
    dtype : float64 or float32
        Of the modules. Parameters trained in float32 are exact in float64, and the volume is then exact, too.

    Attributes
    ----------
    sigma2_ : float or None
        None if there is no normal direction (d = k: a flow).
    prior_ : Prior
    latent_dim_, n_features_in_, manifold_dim_, normal_dim_ : int
        k, d, the dimension of the manifold (k, or k − 1 for codes on a sphere), and d less that.
    path, encoder_path : str
        ``"compiled"`` (an MLP on pyscore's kernels) or ``"torch.func"``; `path_reason` says why.

    Raises
    ------
    InvalidInput
        If a module draws at random, its rows depend on their batch, or shapes do not fit.
    BackendUnavailable
        If torch does not see the device.

    Notes
    -----
    Equation (7) with the likelihood in the normal directions alone, d − k of them (d − k + 1 for a sphere), so
    that it is a density, and that of a flow for d = k; the paper takes all d, which differs by a constant.
    "residual" is σ² = Σ‖x − f(z)‖² / (n·normal_dim). With an encoder, `proposed` is at g(x), and `projected` at
    the projection, for which g(x) is one start more; without one they are the same.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> decoder, encoder = torch.nn.Linear(2, 5), torch.nn.Linear(5, 2)
    >>> x = np.random.default_rng(0).standard_normal((40, 5))
    >>> scorer = pyscore.ManifoldScorer(decoder, encoder).fit(x)
    >>> scorer.score_samples(x).shape, scorer.manifold_dim_, scorer.normal_dim_
    ((40,), 2, 3)
    """

    @_with_former_name
    def __init__(
        self,
        decoder: Any,
        encoder: Any = None,
        prior: str | Prior = "normal",
        *,
        sigma2: float | str = "residual",
        score_name: str = "proposed",
        latent_dim: int | None = None,
        event_shape: tuple[int, ...] | None = None,
        n_components: int = 4,
        starts: int = 4,
        steps: int = 100,
        seed: int = 0,
        device: str = "cpu",
        dtype: Any = np.float64,
    ) -> None:
        self.decoder = decoder
        self.encoder = encoder
        self.prior = prior
        self.sigma2 = sigma2
        self.score_name = score_name
        self.latent_dim = latent_dim
        self.event_shape = event_shape
        self.n_components = n_components
        self.starts = starts
        self.steps = steps
        self.seed = seed
        self.device = device
        self.dtype = dtype

    @property
    def path(self) -> str:
        """``"compiled"`` or ``"torch.func"``."""
        return self._decoder.path

    @property
    def path_reason(self) -> str:
        """Why the decoder takes this path."""
        return self._path_reason

    @property
    def encoder_path(self) -> str | None:
        """The encoder's path; None without one."""
        return None if self._encoder is None else self._encoder.path

    # ── fitting ──

    @netted
    def fit(self, X: ArrayLike, y: object = None) -> ManifoldScorer:
        """Check the modules, fit the prior if it is to be fitted, and estimate σ².

        Parameters
        ----------
        X : (n, d) or (n, *event_shape) array, the training rows, as the modules were trained on them
        y : ignored
        """
        del y
        self._check_parameters()
        self.__dict__.pop("sigma2_", None)  # a fit that fails leaves no half-fitted scorer
        x = self._first_rows(X)
        own = adopt("decoder", self.decoder, self._torch_dtype, self.device)
        self._encoder = self._make_encoder(x)
        self.latent_dim_ = self._find_latent_dim(x)
        self._decoder, self._path_reason = self._map("decoder", own, self.latent_dim_, (self.latent_dim_,))
        codes = None if self._encoder is None else self._encoder.values(x)
        self.prior_ = self._make_prior(codes)
        self._latent: Latent = "sphere" if self.prior_.spherical else "euclidean"
        self.manifold_dim_ = self.latent_dim_ - (self._latent == "sphere")
        pool = self._draw_pool()
        self._check_decoder(pool)
        self._pool = Pool.of(pool, self._decoder)
        self.sigma2_ = self._find_sigma2(x)
        return self

    def _check_parameters(self) -> None:
        check.choice("score", self.score_name, MANIFOLD_SCORES)
        check.integer("starts", self.starts, at_least=1)
        check.integer("steps", self.steps, at_least=1)
        check.integer("seed", self.seed, at_least=0)
        check.integer("n_components", self.n_components, at_least=1)
        if self.latent_dim is not None:
            check.integer("latent_dim", self.latent_dim, at_least=1)
        if isinstance(self.prior, str):
            check.choice("prior", self.prior, PRIORS)
        elif not isinstance(self.prior, Prior):
            raise InvalidInput(
                f"`prior` must be one of {', '.join(map(repr, PRIORS))}, or have the members dim, spherical, "
                f"log_density and sample (see pyscore.detectors.priors); got {type(self.prior).__name__}."
            )
        if isinstance(self.sigma2, str):
            check.choice("sigma2", self.sigma2, ("residual",))
        else:
            check.real("sigma2", self.sigma2, above=0.0)
        get_backend("torch", dtype=self.dtype, device=self.device)  # the same complaints
        self._torch_dtype = torch.float32 if check.floating("dtype", self.dtype) == np.float32 else torch.float64

    def _first_rows(self, rows: Any) -> Array:
        """Return the rows of `fit` flat, and learn their shape and the names of their columns."""
        given, labels = _table(rows)
        shape = given.shape[1:]
        self._event_shape = tuple(shape if self.event_shape is None else self.event_shape)
        if len(shape) == 0:
            raise InvalidInput(f"`X` must have rows of at least one feature; got shape {given.shape}. {_RESHAPE}")
        if 0 in shape or 0 in self._event_shape:
            raise InvalidInput(
                f"`X` must have rows of at least one feature; got 0 feature(s) (shape={given.shape}) while a "
                f"minimum of 1 is required."
            )
        if len(given) == 0:
            raise InvalidInput("`X` must have at least one row to fit to; got none: 0 sample(s).")
        width = int(np.prod(self._event_shape))
        flat = self._flat(given, width)
        if flat.shape[1] != width:
            raise ShapeError(
                f"`X` must have shape (n, {width}) or (n, *{self._event_shape}), as `event_shape` says; "
                f"got {given.shape}."
            )
        flat = self._named(flat, labels, reset=True)
        self.n_features_in_ = width
        return self._finite(flat)

    def _rows(self, rows: Any) -> Array:
        """Return rows flat (n, d) and finite, from (n, d), (n, *event_shape) or a frame of d columns."""
        given, labels = _table(rows)
        return self._finite(self._named(self._flat(given, self.n_features_in_), labels, reset=False))

    def _flat(self, rows: Array, width: int) -> Array:
        shape = self._event_shape
        if rows.ndim > 2:
            if rows.shape[1:] != shape:
                raise InvalidInput(f"`X` must have shape (n, {width}) or (n, *{shape}); got {rows.shape}.")
            rows = rows.reshape(len(rows), width)
        if rows.ndim < 2:
            raise ShapeError(f"`X` must have two axes, (n, {width}); got shape {rows.shape}. {_RESHAPE}")
        return rows.astype(np.float64, copy=False)

    def _named(self, rows: Array, labels: Any, *, reset: bool) -> Array:
        """Check the number of columns and, where there are any, their names, as scikit-learn does."""
        table = rows if labels is None else pd.DataFrame(rows, columns=labels, copy=False)
        least = 1 if reset else 0
        checked: Array = validate_data(
            self, table, reset=reset, dtype=np.float64, ensure_all_finite=False,
            ensure_min_samples=least, ensure_min_features=1,
        )  # fmt: skip
        return checked

    def _finite(self, x: Array) -> Array:
        check.finite("X", x, limit=check.LARGEST, columns=getattr(self, "feature_names_in_", None))
        return x

    def _map(self, name: str, own: Any, inputs: int, shape: tuple[int, ...]) -> tuple[CompiledMap | TorchMap, str]:
        """Return a map by the compiled kernels if it is an MLP on the CPU, else by torch.func; and why."""
        found = recognise(own, inputs) if self.device == "cpu" else NotMLP(f"device is {self.device!r}")
        if isinstance(found, MLP):
            return CompiledMap(found), f"`{name}` is an MLP with activation {found.activation!r}"
        return TorchMap(own, name, self._torch_dtype, self.device, shape), f"`{name}`: {found.reason}"

    def _make_encoder(self, x: Array) -> CompiledMap | TorchMap | None:
        if self.encoder is None:
            return None
        own = adopt("encoder", self.encoder, self._torch_dtype, self.device)
        encoder, _ = self._map("encoder", own, self.n_features_in_, self._event_shape)
        check_rows("encoder", encoder.values, x, float(np.finfo(self.dtype).eps))
        return encoder

    def _find_latent_dim(self, x: Array) -> int:
        """Return k as the encoder, the prior, the parameter or the first Linear layer of the decoder has it."""
        known: dict[str, int] = {}
        if self._encoder is not None:
            known["encoder"] = self._encoder.values(x[:1]).shape[1]
        if not isinstance(self.prior, str):
            known["prior"] = int(self.prior.dim)
        if self.latent_dim is not None:
            known["latent_dim"] = self.latent_dim
        if not known and (layer := first_layer(self.decoder)) is not None:
            known["decoder"] = layer.in_features
        if not known:
            raise InvalidInput(
                "`latent_dim` must be given: without an encoder or a prior of known dimension nothing tells it."
            )
        if len(set(known.values())) > 1:
            said = ", ".join(f"{name}: {k}" for name, k in known.items())
            raise InvalidInput(f"`latent_dim` must be the same everywhere; got {said}.")
        return next(iter(known.values()))

    def _check_decoder(self, codes: Array) -> None:
        check_rows("decoder", self._decoder.values, codes, float(np.finfo(self.dtype).eps))
        d = self._decoder.values(codes[:1]).shape[1]
        if d != self.n_features_in_:
            raise InvalidInput(f"`decoder` must return {self.n_features_in_} features a row, as X has; got {d}.")
        if d < self.manifold_dim_:
            raise InvalidInput(
                f"the manifold must have at most as many dimensions as the data, {d}; got {self.manifold_dim_}. "
                "Such a decoder has no density: use fewer latent dimensions."
            )
        if isinstance(self._decoder, TorchMap):
            check_derivative("decoder", self._decoder, codes)
        self.normal_dim_ = reference.normal_dimensions(d, self.latent_dim_, self._latent)

    def _make_prior(self, codes: Array | None) -> Prior:
        k = self.latent_dim_
        if not isinstance(self.prior, str):
            return self.prior
        if self.prior == "normal":
            return StandardNormal(k)
        if self.prior == "sphere":
            return UniformSphere(k)
        if codes is None:
            raise InvalidInput(
                "`prior` 'gaussian_mixture' is fitted to codes, which need an encoder. Pass one, or a fitted "
                "pyscore.detectors.priors.GaussianMixture."
            )
        return GaussianMixture.fit(codes, self.n_components, seed=self.seed)

    def _draw_pool(self) -> Array:
        """Return POOL codes of the prior, which may be a user's own and so is checked."""
        k = self.latent_dim_
        drawn = self.prior_.sample(POOL, sampling.generator(self.seed, "projection"))
        pool = check.array("prior.sample", drawn, (POOL, k))
        check.finite("prior.sample", pool)
        check.vector("prior.log_density", self.prior_.log_density(pool), POOL)
        return pool

    def _find_sigma2(self, x: Array) -> float | None:
        if self.normal_dim_ == 0:
            return None
        if not isinstance(self.sigma2, str):
            return float(self.sigma2)
        x_hat = self._decoder.values(self._codes(x))
        sigma2 = reference.residual_variance(x, x_hat, self.latent_dim_, latent=self._latent)
        rounding = float(np.finfo(self.dtype).eps) * float(np.abs(x).max())
        if sigma2 <= rounding**2:
            raise InvalidInput(
                "`sigma2` can't be estimated: the training rows lie on the manifold to rounding. "
                "Pass a number, the variance of the noise that you expect."
            )
        return sigma2

    # ── scoring ──

    @netted
    def score_samples(self, X: ArrayLike) -> Array:
        """Log-density (n,) of each row under `score`, nats: higher = more normal."""
        values: Array = self.score_table(X, [self.score_name])[self.score_name].to_numpy()
        return values

    @netted
    def score(self, X: ArrayLike, y: object = None) -> float:
        """Mean log-density of rows X in nats, higher = better; `y` is ignored. What `GridSearchCV` maximises."""
        del y
        density = self.score_samples(X)
        return float(np.mean(density)) if len(density) else float("nan")

    @netted
    def decision_function(self, X: ArrayLike) -> Array:
        """−`score_samples`: higher = more anomalous."""
        return -self.score_samples(X)

    @netted
    def score_table(self, X: ArrayLike, names: Iterable[str] | None = None) -> pd.DataFrame:
        """Log-densities of each row, nats: one column a score, each the sum of its terms.

        Parameters
        ----------
        X : (n, d) or (n, *event_shape) array
        names : names out of `MANIFOLD_SCORES`, or one; by default all that are defined for the prior

        Returns
        -------
        DataFrame (n rows) of finite numbers, and −inf for rows that are the most anomalous: those with a volume of
        −inf, whose density would be +inf, and those without a density, since a term of it overflows.

        Warns
        -----
        NumericalWarning
            Naming such rows.
        """
        names = self._names(names)
        terms = self.score_terms(X, names)
        table = {}
        for name in names:
            volumes = [term for term in MANIFOLD_SCORES[name] if term.endswith("_volume")]
            rest = terms[[term for term in MANIFOLD_SCORES[name] if term not in volumes]]
            with np.errstate(over="ignore", invalid="ignore"):
                volume = terms[volumes].sum(axis=1, skipna=False).to_numpy()
                density = rest.sum(axis=1, skipna=False).to_numpy()
            table[name] = _ranked(density, volume, name, unreached=self.sigma2_ is None)
        return pd.DataFrame(table)

    @netted
    def score_terms(self, X: ArrayLike, names: Iterable[str] | None = None) -> pd.DataFrame:
        """Terms of the scores asked for (default: of all), signed so that a score is the sum of its columns.

        ``decoder_volume`` is −log vol J_f(z). Arguments as in `score_table`.

        Warns
        -----
        NumericalWarning
            Naming the rows of singular Jacobians, and for d = k those that the decoder does not reach.
        """
        names = self._names(names)
        x = self._rows(X)
        wanted = dict.fromkeys(term for name in names for term in MANIFOLD_SCORES[name])
        base = {term: term.removeprefix("projected_") for term in wanted}
        if self._encoder is None:
            found = self._terms_at(self._project(x).z, x, set(base.values()))
            return pd.DataFrame({term: found[base[term]] for term in wanted})
        there = {term for term in wanted if term != base[term] or term == "corrected"}
        table: dict[str, Array] = {}
        if len(there) < len(wanted):
            table |= self._terms_at(self._codes(x), x, {term for term in wanted if term not in there})
        if there:
            found = self._terms_at(self._project(x).z, x, {base[term] for term in there})
            table |= {term: found[base[term]] for term in there}
        return pd.DataFrame({term: table[term] for term in wanted})

    @netted
    def encode(self, X: ArrayLike) -> Array:
        """Codes (n, k): the encoder's, or by projection without one."""
        self._require_fitted()
        return self._codes(self._rows(X))

    @netted
    def project(self, X: ArrayLike) -> Projected:
        """Nearest points of the manifold, argmin_z ‖x − f(z)‖²; never worse than the encoder's point."""
        self._require_fitted()
        return self._project(self._rows(X))

    @netted
    def decode(self, z: ArrayLike) -> Array:
        """Points f(z) (n, d) of the manifold."""
        self._require_fitted()
        return self._decoder.values(check.matrix("z", z, self.latent_dim_))

    def _project(self, x: Array) -> Projected:
        encoded = None if self._encoder is None else self._codes(x)
        return project(
            x,
            self._decoder,
            self._pool,
            latent=self._latent,
            encoded=encoded,
            starts=self.starts,
            steps=self.steps,
        )

    def _codes(self, x: Array) -> Array:
        if self._encoder is None:
            return self._project(x).z
        z = self._encoder.values(x)
        bad = ~np.isfinite(z).all(axis=1)
        if bad.any():
            raise InvalidInput(
                f"`encoder` must return finite codes; it does not for row {np.flatnonzero(bad)[0]}."
            )
        return self._on_latent(z)

    def _on_latent(self, z: Array) -> Array:
        """Codes of a sphere normalised exactly; an error where they are not on it to single precision."""
        if self._latent == "euclidean":
            return z
        if (worst := farthest_off_sphere(z)) is not None:
            raise InvalidInput(
                f"`encoder` must return codes of unit norm for a prior on the sphere; row {worst} has norm "
                f"{np.linalg.norm(z[worst]):g}. Normalise its output, or use a prior on R^k."
            )
        return reference.normalize(z)

    def _terms_at(self, z: Array, x: Array, wanted: set[str]) -> dict[str, Array]:
        """Terms at codes z."""
        spherical = self._latent == "sphere"
        table: dict[str, Array] = {}
        if "decoder_volume" in wanted or ("corrected" in wanted and spherical):
            x_hat, volume, singular = self._decoder.log_volume(z, spherical)
            table["decoder_volume"] = -volume
            if singular.any():
                reference.warn_singular(np.flatnonzero(singular))
        elif wanted & {"log_likelihood", "corrected"}:
            x_hat = self._decoder.values(z)
        if wanted & {"log_likelihood", "corrected"}:
            table["log_likelihood"] = self._log_likelihood(x, x_hat)
        if wanted & {"log_prior", "corrected"}:
            table["log_prior"] = self.prior_.log_density(z)
        if "corrected" in wanted and spherical:
            table["corrected"] = _ranked(
                table["log_likelihood"] + table["log_prior"], table["decoder_volume"], "corrected",
                unreached=self.sigma2_ is None,
            )  # fmt: skip
        elif "corrected" in wanted:
            table["corrected"] = reference.log_density_corrected(
                x, x_hat, z, self._decoder.jacobian(z), sigma2=self.sigma2_ or 1.0
            )
        return table

    def _log_likelihood(self, x: Array, x_hat: Array) -> Array:
        """log N(x − x̂; 0, σ²) in the normal directions; without any, 0 where x̂ is x and −inf where it is not."""
        with np.errstate(over="ignore", invalid="ignore"):
            squared = np.sum((x - x_hat) ** 2, axis=1)
        if self.sigma2_ is not None:
            return reference.log_likelihood_normal(squared, self.sigma2_, self.normal_dim_)
        reach = np.sqrt(np.finfo(self.dtype).eps) * (1 + np.linalg.norm(x, axis=1))
        missed = np.sqrt(squared) > reach
        if missed.any():
            warnings.warn(
                f"the decoder, which leaves no normal direction, does not reach {int(missed.sum())} row(s) "
                f"(first: row {np.flatnonzero(missed)[0]}): their density is 0, and their log-density −inf.",
                NumericalWarning,
                stacklevel=2,
            )
        return np.where(missed, -np.inf, 0.0)

    def _names(self, names: Iterable[str] | None) -> list[str]:
        """Return the names asked for, or all that are defined."""
        self._require_fitted()
        defined = self.prior_.spherical or isinstance(self.prior_, StandardNormal)
        if names is None:
            return [name for name in MANIFOLD_SCORES if name != "corrected" or defined]
        chosen = [names] if isinstance(names, str) else list(names)
        for name in chosen:
            check.choice("score", name, MANIFOLD_SCORES)
            if name == "corrected" and not defined:
                raise InvalidInput(
                    "`score` 'corrected' is defined for a standard normal prior or one on the sphere; got "
                    f"{type(self.prior_).__name__}. Use 'projected'."
                )
        return chosen

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "sigma2_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "density_estimator"
        tags.input_tags.three_d_array = True  # images: (n, *event_shape)
        return tags

    def _require_fitted(self) -> None:
        if not hasattr(self, "sigma2_"):
            raise NotFittedError("this ManifoldScorer is not fitted yet. Call fit with the training rows first.")


def _table(rows: Any) -> tuple[Array, Any]:
    """Rows of any shape as numbers, and the labels of their columns if they are a frame."""
    if frames.open_frame(rows) is None:
        if isinstance(rows, np.ndarray) and np.iscomplexobj(rows):
            raise InvalidInput(f"`X` must be real; got dtype {rows.dtype}. Complex data not supported.")
        return plain_numbers("X", rows), None
    x, names = frames.rows_of(rows, name="X")
    return x, rows.columns if isinstance(rows, pd.DataFrame) else names


def _ranked(density: Array, volume: Array, name: str, *, unreached: bool) -> Array:
    """density + volume term as a finite number, or −inf, the most anomalous, where it is none.

    Warns of rows that no other warning has named; `unreached` says that one has named those of a density of −inf.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        total: Array = density + volume
    lost = ~np.isfinite(total)
    told = np.isposinf(volume) | (np.isneginf(density) & unreached)
    if (unnamed := np.flatnonzero(lost & ~told)).size:
        reference.warn_unscored(unnamed, name)
    return np.where(lost, -np.inf, total)
