"""Options of scoring: each is defined, checked and described here, for every function that takes it.

Functions take them as keywords: ``score(model, x, backend="numpy", sigma2=0.1)``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypedDict, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from pyscore._core import checks as check
from pyscore.backends import Backend, get_backend
from pyscore.convention import Convention, get_convention
from pyscore.errors import InvalidInput

__all__ = ["EngineKeywords", "EngineOptions", "ScoreKeywords", "ScoreOptions"]


class EngineKeywords(TypedDict, total=False):
    """Fields of `EngineOptions`, as keywords."""

    convention: Convention | str | None
    backend: str | Backend | None
    dtype: DTypeLike | None


class ScoreKeywords(EngineKeywords, total=False):
    """Fields of `ScoreOptions`, as keywords."""

    sigma2: ArrayLike | Literal["residual"]
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineOptions:
    """What computes, and by which convention.

    Parameters
    ----------
    convention : Convention, or ``"exact"`` or ``"original"``, optional
        By default that of the fitted model, and EXACT for a bare SVAE.
    backend : str or Backend, optional
        A name out of `pyscore.available_backends`. By default numba, or numpy, with a warning, where numba cannot
        run.
    dtype : float32 or float64, optional
        Type of the backend's arithmetic; by default float64 (numpy, julia) or float32 (the others).

    Raises
    ------
    InvalidInput
        If one of them is unknown, or `backend` is an object of another type than `dtype`.

    Examples
    --------
    >>> from pyscore.scoring.options import EngineOptions
    >>> EngineOptions(backend="numpy", convention="original").engine.name
    'numpy'
    """

    convention: Convention | str | None = None
    backend: str | Backend | None = None
    dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        if self.convention is not None:
            object.__setattr__(self, "convention", get_convention(self.convention))
        if self.dtype is not None:
            object.__setattr__(self, "dtype", check.floating("dtype", self.dtype))

    def by(self, convention: Convention) -> Self:
        """Return the options with a convention, this one if they have none."""
        return self if self.convention is not None else replace(self, convention=convention)

    @property
    def chosen(self) -> Convention:
        """The convention of options that have one."""
        return cast("Convention", self.convention)

    @property
    def engine(self) -> Backend:
        """The backend; raises as `get_backend`."""
        engine = get_backend(self.backend, dtype=self.dtype)
        if self.dtype is not None and engine.dtype != self.dtype:
            raise InvalidInput(f"`backend` computes in {engine.dtype}, but `dtype` is {np.dtype(self.dtype)}.")
        return engine

    def keywords(self) -> Any:
        """Return the fields, as keywords for another function."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreOptions(EngineOptions):
    """How rows are scored; beside these the fields of `EngineOptions`.

    Parameters
    ----------
    sigma2 : float, (d,) array or "residual"
        Variance of the noise in standardised units. ``"residual"`` is that of the training residuals, which a
        `FittedModel` knows.
    seed : int
        Of the draws of `importance`.

    Raises
    ------
    InvalidInput
        If one of them cannot be used.

    Examples
    --------
    >>> from pyscore.scoring.options import ScoreOptions
    >>> ScoreOptions(backend="numpy", sigma2="residual").seed
    0
    """

    sigma2: ArrayLike | Literal["residual"] = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer("seed", self.seed, at_least=0)
        if isinstance(self.sigma2, str) and self.sigma2 != "residual":
            raise InvalidInput(f"`sigma2` must be a number, one a feature, or 'residual'; got {self.sigma2!r}.")
