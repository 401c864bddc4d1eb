"""A model with what it needs to score a user's table: the scaler, the columns, the convention; and its file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyscore import _validate as check
from pyscore import scores as scoring
from pyscore._validate import Array
from pyscore.backends import Backend
from pyscore.convention import Convention
from pyscore.errors import InvalidInput, ModelFileError, PyscoreError
from pyscore.model import SVAE
from pyscore.preprocessing import Standardiser
from pyscore.storage import read_tensors, write_tensors
from pyscore.tables import features
from pyscore.training import Callback, TrainConfig, train

__all__ = ["FittedModel", "fit"]

FORMAT_VERSION = 1
SCALER = ("mean", "deviation")
DETECTOR = "detector."


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A trained SVAE together with its standardisation and the convention of its scores."""

    model: SVAE
    standardiser: Standardiser
    convention: Convention
    training: dict[str, Any] = field(default_factory=dict)
    """Configuration of the training, as it stands in the file."""
    residual_variance: float | None = None
    """σ² of the training residuals (see `scores.residual_variance`), in standardised units."""
    detector: dict[str, Any] = field(default_factory=dict)
    """What a detector keeps beside its model (`SVAEDetector.save`), as it stands in the file; else empty."""
    arrays: dict[str, Array] = field(default_factory=dict)
    """Arrays of the detector: threshold, training scores, …"""

    def scores(
        self,
        table: Any,
        names: Iterable[str] | None = None,
        *,
        sigma2: ArrayLike | Literal["residual"] = 1.0,
        convention: Convention | None = None,
        backend: str | Backend = "numpy",
        seed: int = 0,
    ) -> pd.DataFrame:
        """Log-densities (nats, higher = more normal) of raw rows, a DataFrame or array; see `score_table`.

        They are densities of the standardised features: those of the raw ones are lower by Σ log deviation.
        `sigma2` is in standardised units, too; ``"residual"`` is the variance of the training residuals.
        """
        x, _ = features(table, self.standardiser.columns)
        return scoring.score_table(
            self.model,
            self.standardiser.transform(x),
            names,
            sigma2=self.noise_variance(sigma2),
            convention=convention or self.convention,
            backend=backend,
            seed=seed,
        )

    def noise_variance(self, sigma2: ArrayLike | Literal["residual"]) -> ArrayLike:
        """Return `sigma2` itself, or the variance of the training residuals for ``"residual"``.

        Raises
        ------
        InvalidInput
            If the model has none: it was saved by an older version, or built by hand.
        """
        if not isinstance(sigma2, str):
            return sigma2
        if sigma2 != "residual":
            raise InvalidInput(f"`sigma2` must be a number, one a feature, or 'residual'; got {sigma2!r}.")
        if self.residual_variance is None:
            raise InvalidInput(
                "`sigma2` can't be 'residual': this model holds no variance of its training residuals. "
                "Fit it again, or give `sigma2` as a number."
            )
        return self.residual_variance

    def projection_report(self, table: Any, *, convention: Convention | None = None) -> pd.DataFrame:
        """How well each raw row was projected onto the manifold; see `scores.projection_report`."""
        x, _ = features(table, self.standardiser.columns)
        z = self.standardiser.transform(x)
        return scoring.projection_report(self.model, z, convention=convention or self.convention)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file with a JSON header; atomically."""
        import pyscore

        header = {
            "pyscore_version": pyscore.__version__,
            "activation": self.model.activation,
            "columns": list(self.standardiser.columns),
            "convention": self.convention.to_dict(),
            "training": self.training,
            "residual_variance": self.residual_variance,
        }
        header |= {"detector": self.detector} if self.detector else {}
        tensors = self.model.parameters()
        tensors |= {"scaler.mean": self.standardiser.mean, "scaler.deviation": self.standardiser.deviation}
        tensors |= {f"{DETECTOR}{name}": value for name, value in self.arrays.items()}
        write_tensors(path, "model", FORMAT_VERSION, header, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FittedModel:
        """Read a file of `save`.

        Raises
        ------
        ModelFileError
            If the file is missing, corrupt, truncated, foreign, of an unknown version, or inconsistent.
        """
        header, tensors = read_tensors(path, "model", FORMAT_VERSION)
        try:
            mean, deviation = (np.asarray(tensors.pop(f"scaler.{part}"), np.float64) for part in SCALER)
            columns, training = _typed(header, "columns", list), _typed(header, "training", dict)
            detector = _typed({"detector": {}, **header}, "detector", dict)
            arrays = {n.removeprefix(DETECTOR): tensors.pop(n) for n in list(tensors) if n.startswith(DETECTOR)}
            model = SVAE.from_parameters(tensors, _typed(header, "activation", str))
            convention = Convention.from_dict(_typed(header, "convention", dict))
            variance = _variance(header.get("residual_variance"))  # files of older versions lack it
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"{str(path)!r} is not a valid pyscore model: {error} missing or bad.") from None
        except PyscoreError as error:
            raise ModelFileError(f"{str(path)!r} is not a valid pyscore model: {error}") from None
        standardiser = Standardiser(mean, deviation, tuple(map(str, columns)))
        if problem := _inconsistency(model, standardiser):
            raise ModelFileError(f"{str(path)!r} is not a valid pyscore model: {problem}.")
        return cls(model, standardiser, convention, training, variance, detector, arrays)


def _variance(value: Any) -> float | None:
    return None if value is None else check.real("residual_variance", value, above=0.0)


def _typed(header: dict[str, Any], name: str, kind: type) -> Any:
    """Return a field of a header, which must be of a type."""
    if not isinstance(header[name], kind):
        raise TypeError(name)
    return header[name]


def _inconsistency(model: SVAE, standardiser: Standardiser) -> str | None:
    """What is wrong with a model and its scaler, if anything."""
    d, mean, deviation = model.input_dim, standardiser.mean, standardiser.deviation
    if mean.shape != (d,) or deviation.shape != (d,) or len(standardiser.columns) != d:
        return f"columns and scaler must have {d} entries"
    if not all(np.isfinite(a).all() for a in (*model.parameters().values(), mean, deviation)):
        return "a parameter is not finite"
    return None if (deviation > 0).all() else "a deviation of the scaler is not positive"


def fit(
    table: Any,
    config: TrainConfig | None = None,
    *,
    latent_dim: int | None = None,
    hidden_dim: int = 32,
    n_components: int = 4,
    activation: str = "swish",
    dtype: Any = np.float32,
    device: str = "cpu",
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> FittedModel:
    """Standardise a table of raw rows and train a model on it.

    Parameters
    ----------
    table : DataFrame, or array of (n, d)
    config : TrainConfig
    latent_dim : int, optional
        By default 4, or the number of features if that is smaller.
    hidden_dim, n_components, activation, dtype, device, callback, checkpoint
        See `training.train`.

    Raises
    ------
    InvalidInput
        If the table has text, NaN, infinite or huge values, fewer than 2 rows, or nothing that varies.
    """
    config = config or TrainConfig()
    x, columns = features(table)
    standardiser = Standardiser.fit(x, columns)
    k = latent_dim if latent_dim is not None else min(4, x.shape[1])
    trained = train(
        standardiser.transform(x), config, latent_dim=k, hidden_dim=hidden_dim, n_components=n_components,
        activation=activation, dtype=dtype, device=device, callback=callback, checkpoint=checkpoint,
    )  # fmt: skip
    variance = estimate_variance(trained.model, standardiser.transform(x))
    return FittedModel(trained.model, standardiser, config.convention, config.to_dict(), variance)


def estimate_variance(model: SVAE, x: Array) -> float | None:
    """Return `scores.residual_variance`, or None where the rows lie on the manifold, so that there is none."""
    try:
        return scoring.residual_variance(model, x)
    except InvalidInput:
        return None
