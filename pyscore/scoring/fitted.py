"""A model with what it needs to score a user's table: scaler, imputer, columns, convention; and its file."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.files import atomic_write, pack_tensors, read_tensors, unpack_tensors
from pyscore._core.lazy import LazyModule
from pyscore._core.net import netted
from pyscore._core.text import one_line, printable
from pyscore.convention import Convention
from pyscore.data.preprocessing import LARGEST, Imputer, Standardiser
from pyscore.data.tables import features
from pyscore.errors import InvalidInput, ModelFileError, PyscoreError
from pyscore.reference.model import SVAE
from pyscore.scoring import scores as scoring
from pyscore.scoring.options import EngineKeywords, EngineOptions, ScoreKeywords, ScoreOptions

if TYPE_CHECKING:  # training loads torch, which scoring can do without
    import pandas as pd

    from pyscore.training.config import Callback, TrainConfig
else:
    pd = LazyModule("pandas")  # loading it takes longer than scoring a thousand rows

__all__ = ["FittedModel", "Impute", "PendingVariance", "check_names", "fit"]

FORMAT_VERSION = 2
"""Version 1 has no checksum and no imputer; it is still read."""
Impute = Literal["median"]
_DEEPEST = 8
"""Levels of nesting that the record of the training may have."""
DETECTOR = "detector."
"""What the names of a detector's arrays start with."""


@dataclass(frozen=True, eq=False)
class PendingVariance:
    """The variance of a model's residuals, not estimated yet, and the training rows that it needs.

    Examples
    --------
    >>> model = pyscore.SVAE.initialise(5, latent_dim=3, hidden_dim=8)
    >>> x = np.random.default_rng(0).standard_normal((4, 5))
    >>> pending = pyscore.scoring.fitted.PendingVariance.of(model, x)
    >>> pending.value() > 0
    True
    """

    model: SVAE
    rows: Array

    @classmethod
    def of(cls, model: SVAE, x: Array) -> PendingVariance:
        """Keep what is needed of the standardised rows x (n, d)."""
        return cls(model, scoring.residual_rows(x))

    def value(self) -> float | None:
        """`scores.residual_variance`, or None where the rows lie on the manifold, so that there is none."""
        try:
            return scoring.residual_variance(self.model, self.rows)
        except InvalidInput:
            return None


class _Variance:
    """Descriptor of `FittedModel.residual_variance`: a number or None, estimated when first asked for."""

    def __get__(self, owner: FittedModel | None, kind: type | None = None) -> float | None:
        if owner is None:
            return None  # the default of the field
        held = owner.__dict__["_residual_variance"]
        if isinstance(held, PendingVariance):
            held = owner.__dict__["_residual_variance"] = held.value()
        return held

    def __set__(self, owner: FittedModel, value: float | PendingVariance | None) -> None:
        owner.__dict__["_residual_variance"] = value


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A trained SVAE together with its standardisation and the convention of its scores.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((60, 3))
    >>> fitted = pyscore.fit(x, pyscore.TrainConfig(steps=5), latent_dim=2, hidden_dim=8)
    >>> fitted.save("model.safetensors")
    >>> again = pyscore.FittedModel.load("model.safetensors")
    >>> bool((again.scores(x, ["prior"]) == fitted.scores(x, ["prior"])).all(axis=None))
    True
    """

    model: SVAE
    standardiser: Standardiser
    convention: Convention
    training: dict[str, Any] = field(default_factory=dict)
    """Configuration of the training, as it stands in the file."""
    residual_variance: _Variance = _Variance()
    """σ² of the training residuals (see `scores.residual_variance`), in standardised units, or None; after a
    training it is estimated when first asked for."""
    imputer: Imputer | None = None
    """Medians of the training rows, if they were learnt (``fit(…, impute="median")``)."""
    detector: dict[str, Any] = field(default_factory=dict)
    """What a detector keeps beside its model (`SVAEDetector.save`), as it stands in the file; else empty."""
    arrays: dict[str, Array] = field(default_factory=dict)
    """Arrays of the detector: threshold, training scores, …"""

    @netted
    def scores(
        self,
        table: Any,
        names: Iterable[str] | None = None,
        *,
        impute: Impute | None = None,
        **options: Unpack[ScoreKeywords],
    ) -> pd.DataFrame:
        """Log-densities (nats, higher = more normal) of raw rows, a DataFrame or array; see `score_table`.

        They are densities of the standardised features: those of the raw ones are lower by Σ log deviation.

        Parameters
        ----------
        table : DataFrame, or array of (n, d)
            Columns of a frame are found by name, in any order; others are left aside.
        names
            See `score_table`.
        impute : {"median"}, optional
            Fill missing values with the medians learnt at fit; by default they are an error.
        **options
            Fields of `ScoreOptions`: ``sigma2``, ``convention``, ``backend``, ``dtype``, ``seed``.
        """
        given = ScoreOptions(**options).by(self.convention)
        names = scoring.check_names(names, given.chosen)
        return pd.DataFrame(scoring.sums(self._terms(self._raw(table, impute), names, given), names))

    def terms(self, x: Array, names: Sequence[str], **options: Unpack[ScoreKeywords]) -> dict[str, Array]:
        """Terms (n,) by name of the scores of raw rows x (n, d), float64 and complete; see `score_terms`.

        With the numba backend the rows are standardised in compiled code, and rounded once to its type.
        """
        return self._terms(x, names, ScoreOptions(**options).by(self.convention))

    def _terms(self, x: Array, names: Sequence[str], options: ScoreOptions) -> dict[str, Array]:
        engine = options.engine
        once = engine.name == "numba" and scoring.passes_once(names, options)
        x = self.standardiser.for_scores(x, engine.dtype if once else np.float64, compiled=once)
        options = replace(options, sigma2=self.noise_variance(options.sigma2))
        return scoring.terms_checked(self.model, x, names, options)

    def _raw(self, table: Any, impute: Impute | None) -> Array:
        """Rows (n, d) as they came, or with their gaps filled."""
        imputer = self.require_imputer(impute)
        x, _ = features(table, self.standardiser.columns, missing=imputer is not None)
        return x if imputer is None else imputer.transform(x)

    def noise_variance(self, sigma2: ArrayLike | Literal["residual"]) -> ArrayLike:
        """Return `sigma2` itself, or the variance of the training residuals for ``"residual"``.

        Raises
        ------
        InvalidInput
            If the model has none: it was saved by an older version, or built by hand.
        """
        if not isinstance(sigma2, str):
            return sigma2
        if self.residual_variance is None:
            raise InvalidInput(
                "`sigma2` can't be 'residual': this model holds no variance of its training residuals. "
                "Fit it again, or give `sigma2` as a number."
            )
        return self.residual_variance

    @netted
    def projection_report(
        self, table: Any, *, impute: Impute | None = None, **options: Unpack[EngineKeywords]
    ) -> pd.DataFrame:
        """How well each raw row was projected onto the manifold; see `scores.projection_report`."""
        given = EngineOptions(**options).by(self.convention)
        x = self.standardiser.for_scores(self._raw(table, impute))
        return scoring.projection_report(self.model, x, **given.keywords())

    def require_imputer(self, impute: Impute | None) -> Imputer | None:
        """Return the imputer asked for, or raise if the model has none."""
        if impute is None:
            return None
        check.choice("impute", impute, ("median",))
        if self.imputer is None:
            raise InvalidInput(
                f"`impute` is {impute!r}, but this model has learnt no medians. "
                f"Refit it with `pyscore fit --impute {impute}` (or `fit(…, impute={impute!r})`)."
            )
        return self.imputer

    def digest(self) -> str:
        """SHA-256 of all that the scores depend on: parameters, scaler, medians, columns, convention."""
        state = hashlib.sha256(self.model.digest().encode())
        for array in self._scaler().values():
            state.update(np.ascontiguousarray(array).tobytes())
        state.update(repr((self.standardiser.columns, sorted(self.convention.to_dict().items()))).encode())
        return state.hexdigest()

    # ── files ──

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file with a JSON header and a checksum; atomically."""
        check_names(self.standardiser.columns)
        data = self.to_bytes()
        with atomic_write(path) as file:
            file.write(data)

    def to_bytes(self) -> bytes:
        """Contents of a file of `save`."""
        from pyscore._core.version import __version__

        header = {
            "pyscore_version": __version__,
            "activation": self.model.activation,
            "columns": list(self.standardiser.columns),
            "convention": self.convention.to_dict(),
            "training": self.training,
            "residual_variance": self.residual_variance,
        }
        header |= {"detector": self.detector} if self.detector else {}
        kept = {f"{DETECTOR}{name}": value for name, value in self.arrays.items()}
        return pack_tensors("model", FORMAT_VERSION, header, self.model.parameters() | self._scaler() | kept)

    def _scaler(self) -> dict[str, Array]:
        named = {"scaler.mean": self.standardiser.mean, "scaler.deviation": self.standardiser.deviation}
        return named if self.imputer is None else {**named, "imputer.median": self.imputer.median}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FittedModel:
        """Read a file of `save`, of this version or an earlier one.

        A file is data: nothing in it is executed, and every field is checked before it is used.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged in any bit, foreign, of a newer version, or inconsistent.
        """
        return _from_parts(*read_tensors(path, "model", FORMAT_VERSION, unsigned=(1,)), str(path))

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str = "<bytes>") -> FittedModel:
        """Read the contents of a file of `save`; `name` is what errors call it. Raises as `load`."""
        header, tensors = unpack_tensors(data, "model", FORMAT_VERSION, unsigned=(1,), name=name)
        return _from_parts(header, tensors, name)


def _from_parts(header: dict[str, Any], tensors: dict[str, Array], name: str) -> FittedModel:
    """Build a model out of what a file holds, every field of which may be anything."""
    try:
        _fields(header)
        columns = check_names(header["columns"])
        standardiser = Standardiser(_row(tensors, "scaler.mean"), _row(tensors, "scaler.deviation"), columns)
        arrays = {n.removeprefix(DETECTOR): tensors.pop(n) for n in list(tensors) if n.startswith(DETECTOR)}
        imputer = Imputer(_row(tensors, "imputer.median")) if "imputer.median" in tensors else None
        if integers := [label for label, array in tensors.items() if array.dtype.kind != "f"]:
            raise InvalidInput(f"tensor {integers[0][:80]!r} must hold floating numbers")
        model = SVAE.from_parameters(tensors, header["activation"])
        convention = Convention.from_dict(header["convention"])
        variance = _variance(header.get("residual_variance"))
        fitted = FittedModel(model, standardiser, convention, header["training"], variance, imputer)
        fitted = replace(fitted, detector=header.get("detector", {}), arrays=arrays)
        _consistent(fitted)
    except PyscoreError as error:
        text = str(error).rstrip(".")[:1000]
        raise ModelFileError(f"{name!r} is not a valid pyscore model: {text}.") from None
    return fitted


_OPTIONAL = ("residual_variance", "detector")
_FIELDS = {"pyscore_version": str, "activation": str, "columns": list, "convention": dict, "training": dict}


def _fields(header: dict[str, Any]) -> None:
    """Check that a header has its fields, each of its type, and no others."""
    for name, kind in _FIELDS.items():
        if name not in header:
            raise InvalidInput(f"its field {name!r} is missing")
        if not isinstance(header[name], kind):
            raise InvalidInput(
                f"its field {name!r} must be a {kind.__name__}, not a {type(header[name]).__name__}"
            )
    if unknown := [name for name in header if name not in (*_FIELDS, *_OPTIONAL)]:
        raise InvalidInput(f"it has an unknown field {unknown[0][:80]!r}")
    if not isinstance(header.get("detector", {}), dict):
        raise InvalidInput("its field 'detector' must be a dict")
    for name in ("training", "detector"):
        if _too_deep(header.get(name), _DEEPEST):
            raise InvalidInput(f"its field {name!r} is nested deeper than {_DEEPEST} levels")


def _variance(value: Any) -> float | None:
    """Check the variance of the residuals, which files of older versions lack."""
    if isinstance(value, bool):
        raise InvalidInput("its field 'residual_variance' must be a number, not a bool")
    return None if value is None else check.real("residual_variance", value, above=0.0)


def _too_deep(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_too_deep(entry, levels - 1) for entry in inner)


def check_names(columns: Sequence[Any]) -> tuple[str, ...]:
    """Check the names of columns: texts that can be printed, all different.

    Raises
    ------
    InvalidInput
        If a name is no text, is not valid Unicode, or holds characters that a terminal obeys instead of showing
        them (ESC and other controls, changes of direction); or if two are the same.

    Examples
    --------
    >>> pyscore.scoring.fitted.check_names(["age", "weight"])
    ('age', 'weight')
    """
    for name in columns:
        if not isinstance(name, str):
            raise InvalidInput(f"a name of a column must be a str, not a {type(name).__name__}")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"the name of a column, {name[:80]!r}, is not valid Unicode") from None
        if printable(name) != name:
            raise InvalidInput(
                f"the name of a column, '{one_line(name)[:80]}', holds control characters. Rename it"
            )
    if len(set(columns)) < len(columns):
        twice, _ = Counter(columns).most_common(1)[0]
        raise InvalidInput(f"column {twice[:80]!r} comes twice")
    return tuple(columns)


def _row(tensors: dict[str, Array], name: str) -> Array:
    """Take one float64 row out of the tensors."""
    if name not in tensors:
        raise InvalidInput(f"tensor {name!r} is missing")
    array = tensors.pop(name)
    if array.dtype != np.float64 or array.ndim != 1:
        raise InvalidInput(f"tensor {name!r} must be a row of float64, not {array.dtype} of shape {array.shape}")
    return array


def _consistent(fitted: FittedModel) -> None:
    """Check that the parts of a model fit each other and hold usable numbers."""
    d, standardiser = fitted.model.input_dim, fitted.standardiser
    rows = fitted._scaler()
    if any(row.shape != (d,) for row in rows.values()) or len(standardiser.columns) != d:
        raise InvalidInput(f"columns and scaler must have {d} entries")
    if not all(np.isfinite(a).all() for a in (*fitted.model.parameters().values(), *rows.values())):
        raise InvalidInput("a parameter is not finite")
    if not (standardiser.deviation > 0).all():
        raise InvalidInput("a deviation of the scaler is not positive")
    if max(np.abs(row).max() for name, row in rows.items() if name != "scaler.deviation") > LARGEST:
        raise InvalidInput(f"a mean or median is beyond {LARGEST:g}")


@netted
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
    impute: Impute | None = None,
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
    impute : {"median"}, optional
        Fill missing values with the medians of their columns, and keep these in the model; by default a
        missing value is an error.

    Raises
    ------
    InvalidInput
        If the table has text, NaN (unless imputed), infinite or huge values, fewer than 2 rows, or nothing that
        varies.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((60, 3))
    >>> fitted = pyscore.fit(x, pyscore.TrainConfig(steps=5), latent_dim=2, hidden_dim=8)
    >>> fitted.scores(x, ["proposed"]).shape
    (60, 1)
    """
    from pyscore.training.config import TrainConfig
    from pyscore.training.train import train

    if impute is not None:
        check.choice("impute", impute, ("median",))
    config = config or TrainConfig()
    x, columns = features(table, missing=impute is not None)
    check_names(columns)
    imputer = Imputer.fit(x, columns) if impute is not None else None
    x = x if imputer is None else imputer.transform(x)
    standardiser = Standardiser.fit(x, columns)
    rows = standardiser.transform(x)
    k = latent_dim if latent_dim is not None else min(4, x.shape[1])
    trained = train(
        rows, config, latent_dim=k, hidden_dim=hidden_dim, n_components=n_components,
        activation=activation, dtype=dtype, device=device, callback=callback, checkpoint=checkpoint,
    )  # fmt: skip
    pending = PendingVariance.of(trained.model, rows)
    return FittedModel(trained.model, standardiser, config.convention, config.to_dict(), pending, imputer)
