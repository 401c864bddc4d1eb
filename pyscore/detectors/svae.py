"""`SVAEDetector`: the model as an estimator that scikit-learn and PyOD users know."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.net import netted
from pyscore.backends import BACKENDS, Backend, get_backend
from pyscore.convention import Convention, get_convention
from pyscore.data import dataframes as frames
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.detectors.decisions import check_contamination
from pyscore.detectors.tabular import Parts, TabularDetector, seed_of, split_rows
from pyscore.errors import InvalidInput
from pyscore.scoring import scores
from pyscore.scoring.explain import explain
from pyscore.scoring.fitted import FittedModel, Impute, PendingVariance, check_names
from pyscore.training.config import Callback, TrainConfig
from pyscore.training.early_stopping import train_early_stopping
from pyscore.training.train import train

__all__ = ["SVAEDetector"]


class SVAEDetector(TransformerMixin, TabularDetector):  # type: ignore[misc]
    """Anomaly detector by the density of a spherical autoencoder, −(log p(x|z) + log p(z) − log vol J_f).

    **Signs.** `decision_function` and `decision_scores_`: **higher = more anomalous**, as in PyOD.
    `score_samples` and everything else in this library: log-densities in nats, higher = more normal; so
    ``decision_function(X) == -score_samples(X)``. scikit-learn's `IsolationForest` has the opposite
    `decision_function` (lower = more anomalous). **Labels.** `predict` and `labels_`: 1 = anomaly, 0 = normal,
    as in PyOD; scikit-learn's outlier detectors say −1 = anomaly, +1 = normal.

    Parameters
    ----------
    latent_dim : int, optional
        Dimension k of the space that holds the sphere of codes; by default 4, or the number of features if
        that is smaller.
    hidden_dim, n_components : int
        Width of the hidden layers; number of components of the prior.
    activation : str
        Of the hidden layers.
    score_name : str
        A score out of `pyscore.SCORES`. (Not ``score``: that is a method in scikit-learn.)
    convention : "exact", "original" or Convention
        EXACT is what the mathematics asks for, ORIGINAL the code of the paper.
    steps, learning_rate, batch_size : int, float, int
        Of ADAM. `steps` is the most that are taken under early stopping.
    beta, c : float
        Weight of the MMD, and width of its kernel.
    contamination : float in (0, 0.5]
        Fraction of the training rows that `threshold_` flags.
    random_state : int, RandomState, Generator or None
        Seed of all draws. The same integer gives the same model, to the bit, on one machine; None draws a seed,
        which `seed_` holds.
    device : str
        Where torch computes: ``"cpu"``, ``"cuda"``, …; training, and scoring with ``backend="torch"``.
    backend : str, optional
        What scores are computed with; see `pyscore doctor`. By default numba, whose first use on a machine
        compiles for some seconds, or numpy, with a warning, where numba cannot run.
    early_stopping : bool
        Hold out a part of the rows, stop when its loss no longer falls, and keep the best model; the scaler
        does not see these rows.
    validation_fraction : float
        That part.
    patience : int
        Checks of the validation loss (one every 50 steps) without a lower value before training stops.
    calibration_fraction : float
        Part of the rows that nothing is fitted on, kept for `p_values`, `select` and
        ``set_threshold(false_positive_rate=…)``; 0 if `calibrate` brings other rows, or none are needed.
    impute : None or "median"
        Fill missing values (NaN, None, NA, masked entries) with the medians of the rows trained on, in `fit` and
        everywhere else; by default they are an error.
    callbacks : callable, or sequence of them
        Each called as ``callback(steps done, steps in all, loss)`` every 200 steps (every 50 with
        early stopping, each step on a GPU) and at the end; `history_` has every step.

    Attributes
    ----------
    decision_scores_ : (n,) array
        Anomaly scores of the training rows, higher = more anomalous; +inf where the Jacobian is singular.
    threshold_ : float
        A row is an anomaly if its score is above it.
    labels_ : (n,) array of 0 and 1
    model_ : FittedModel
        Network, scaler, columns and convention.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn; the names only if all columns of a frame had strings for names.
    history_ : DataFrame
        Loss, mse and mmd of each step.
    validation_history_ : DataFrame or None
        Validation loss of each check.
    best_step_ : int
        Steps after which the model stood as it is kept.
    calibration_scores_ : (m,) array or None
        Sorted as the rows came.
    typical_terms_ : dict
        Median of each term of the score over the training rows: what `explain` is compared with.
    seed_ : int

    Notes
    -----
    Features are standardised inside `fit`, on the training rows. **Sample weights are not supported**: `fit` takes
    no `sample_weight`. Missing values are an error that names row and column, unless `impute` is "median"; any
    other imputer goes before the detector in a `Pipeline`.

    Frames of pandas and polars are accepted everywhere; columns of text are refused by name, as are other
    names, or another order, than in `fit`. Scores, labels and probabilities are NumPy arrays whatever came
    in, as in scikit-learn and PyOD; `explain` returns a frame of the kind that came in, with the rows' labels;
    `transform` returns the terms of the score, as a frame if `set_output` asks for one.

    Follows PyOD's conventions without inheriting from it. Pickling in memory (joblib, `copy`) works; a file is
    written by `save` and read by `load`, as safetensors that cannot execute code.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from pyscore import SVAEDetector
    >>> x, y = load_breast_cancer(return_X_y=True)
    >>> detector = SVAEDetector(contamination=0.05).fit(x[y == 1])  # benign
    >>> anomaly = detector.decision_function(x[y == 0])  # malignant: high
    """

    def __init__(
        self,
        *,
        latent_dim: int | None = None,
        hidden_dim: int = 32,
        n_components: int = 4,
        activation: str = "swish",
        score_name: str = "proposed",
        convention: str | Convention = "exact",
        steps: int = 3000,
        learning_rate: float = 1e-3,
        batch_size: int = 100,
        beta: float = 1.0,
        c: float = 0.1,
        contamination: float = 0.1,
        random_state: int | np.random.RandomState | np.random.Generator | None = 0,
        device: str = "cpu",
        backend: str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        calibration_fraction: float = 0.0,
        impute: Impute | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden_dim = hidden_dim
        self.n_components = n_components
        self.activation = activation
        self.score_name = score_name
        self.convention = convention
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.beta = beta
        self.c = c
        self.contamination = contamination
        self.random_state = random_state
        self.device = device
        self.backend = backend
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.calibration_fraction = calibration_fraction
        self.impute = impute
        self.callbacks = callbacks

    # ── fitting ──

    @netted
    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows X (n, d), which may hold a few anomalies; `y` is ignored.

        Raises
        ------
        InvalidInput, ShapeError
            If a parameter or the data cannot be used; both are ValueErrors.
        TrainingDiverged
            If the loss becomes NaN or infinite.
        """
        config = self._check_parameters()
        x = self._rows(X, reset=True)
        check_names(self._columns(x.shape[1]))
        parts = split_rows(
            len(x),
            config.seed,
            self.calibration_fraction,
            self.validation_fraction if self.early_stopping else 0.0,
        )
        self.seed_ = config.seed
        self.model_ = self._train(x, parts, config)
        terms, density = self._terms_and_density(self._filled(x))
        self.typical_terms_ = {str(name): _finite_median(terms[name].to_numpy()) for name in terms}
        self._decide(-density, parts.calibration)
        return self

    def _check_parameters(self) -> TrainConfig:
        """Return the training's configuration; raise for parameters that no part of it would complain about."""
        check.choice("score_name", self.score_name, scores.SCORES)
        if self.backend is not None:
            check.choice("backend", self.backend, BACKENDS)
        check_contamination(self.contamination)
        if self.impute is not None:
            check.choice("impute", self.impute, ("median",))
        check.integer("patience", self.patience, at_least=1)
        check.real("calibration_fraction", self.calibration_fraction, at_least=0.0)
        return TrainConfig(
            beta=self.beta,
            c=self.c,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seed_of(self.random_state),
            convention=get_convention(self.convention),
        )

    def _train(self, x: Array, parts: Parts, config: TrainConfig) -> FittedModel:
        """Train; scaler and medians see the rows that the model is trained on, no others."""
        callback = _combined(self.callbacks)
        columns = self._columns(x.shape[1])
        sizes: dict[str, Any] = {
            "latent_dim": min(4, x.shape[1]) if self.latent_dim is None else self.latent_dim,
            "hidden_dim": self.hidden_dim,
            "n_components": self.n_components,
            "activation": self.activation,
        }
        imputer = None if self.impute is None else Imputer.fit(x[parts.train], columns)
        x = x if imputer is None else imputer.transform(x)
        standardiser = Standardiser.fit(x[parts.train], columns)
        rows = standardiser.transform(x[parts.train])
        self.validation_history_, self.best_step_ = None, config.steps
        if self.early_stopping:
            held_out = standardiser.transform(x[parts.validation])
            options: dict[str, Any] = {"patience": self.patience, "callback": callback, "device": self.device}
            stopped = train_early_stopping(rows, held_out, config, **options, **sizes)
            model, self.history_ = stopped.model, stopped.history
            self.validation_history_, self.best_step_ = stopped.validation, stopped.best_step
        else:
            model, self.history_ = train(rows, config, device=self.device, callback=callback, **sizes)
        pending = PendingVariance.of(model, rows)  # σ² of the residuals, estimated when first asked for
        return FittedModel(model, standardiser, config.convention, config.to_dict(), pending, imputer)

    # ── scores ──

    @netted
    def score_samples(self, X: Any) -> Array:
        """Log-densities (n,) of rows X (n, d) in nats, higher = more normal; −inf for a singular Jacobian."""
        check_is_fitted(self, "model_")
        return self._terms_and_density(self._filled(self._rows(X)))[1]

    @netted
    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-density of rows X (n, d) in nats, higher = better; `y` is ignored.

        What `GridSearchCV` maximises without a `scoring`. Scores with a volume grow without bound as the decoder
        shrinks: without labels choose by ``score_name="importance"``; with them (1 = anomaly) by
        ``scoring="roc_auc"``.
        """
        density = self.score_samples(X)
        return float(np.mean(density)) if len(density) else float("nan")

    @netted
    def transform(self, X: Any) -> Array:
        """Terms (n, t) of the score of rows X (n, d), signed so that their sum is `score_samples`."""
        check_is_fitted(self, "model_")
        return self._terms_and_density(self._filled(self._rows(X)))[0].to_numpy()

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the terms that `transform` returns; `input_features` is ignored."""
        check_is_fitted(self, "model_")
        return np.array(scores.SCORES[self.score_name].terms, dtype=object)

    def _terms_and_density(self, x: Array) -> tuple[pd.DataFrame, Array]:
        """Terms of the score and their sum, −inf where a row cannot be scored."""
        model = self.model_
        name = self.score_name
        terms = pd.DataFrame(model.terms(x, [name], backend=self._engine(), seed=self.seed_))
        return terms, scores.total(terms, name)

    def _filled(self, x: Array) -> Array:
        """Rows without gaps."""
        return x if self.model_.imputer is None else self.model_.imputer.transform(x)

    def _engine(self) -> Backend:
        return get_backend(self.backend, device=self.device if self.backend == "torch" else None)

    # ── explanation ──

    @netted
    def explain(self, X: Any) -> Any:
        """Why: residual and contribution of each feature, and the terms of the score; see `scoring.explain`.

        Returns a frame of the kind of X (pandas for arrays), one line for each row and feature.
        `pyscore.scoring.plots.plot_explanation` draws the lines of one row.
        """
        check_is_fitted(self, "model_")
        x = self._filled(self._rows(X))
        table = pd.DataFrame(x, columns=list(self.model_.standardiser.columns), index=frames.index_of(X))
        lines = explain(self.model_, table, self.score_name, backend=self._engine(), seed=self.seed_)
        return frames.like(lines, X)

    # ── files ──

    @netted
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write model, scaler, threshold and training scores as safetensors, atomically; `load` reads them.

        `FittedModel.load` and the command line read the file, too. Callbacks are not written.
        """
        from pyscore.detectors.model_file import state_of

        check_is_fitted(self, "model_")
        state_of(self).save(path)

    @classmethod
    @netted
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file of `save`: a detector that scores to the same bits.

        Raises
        ------
        ModelFileError
            If the file is missing, corrupt or foreign, or holds a model without a detector.
        """
        from pyscore.detectors.model_file import restore

        return restore(cls, FittedModel.load(path), path)


def _finite_median(values: Array) -> float:
    """Median of the finite values; 0 if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else 0.0


def _combined(callbacks: Callback | Sequence[Callback] | None) -> Callback | None:
    """One callback that calls all."""
    if callbacks is None or callable(callbacks):
        return callbacks
    each: list[Callable[[int, int, float], None]] = list(callbacks)
    if not all(map(callable, each)):
        raise InvalidInput(f"`callbacks` must be callable, or a sequence of callables; got {callbacks!r}.")

    def call_all(done: int, total: int, loss: float) -> None:
        for callback in each:
            callback(done, total, loss)

    return call_all if each else None
