"""Options that several commands share; each is described once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from pyscore.convention import Convention, get_convention
from pyscore.data.read_options import ReadOptions
from pyscore.errors import InvalidInput
from pyscore.scoring.options import ScoreOptions

if TYPE_CHECKING:
    from pyscore.training.config import TrainConfig

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_READING",
    "DEFAULT_SCORING",
    "ConventionName",
    "Json",
    "ModelOptions",
    "Output",
    "ScoringOptions",
    "TableOptions",
    "names_of",
    "split_names",
]

ConventionName = Literal["exact", "original"]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model that is trained, and its training.

    Parameters
    ----------
    latent_dim
        Dimension of the latent space; by default 4, or the number of features if that is smaller.
    hidden_dim
        Width of the hidden layers.
    n_components
        Components of the prior.
    beta
        Weight of the MMD in the loss.
    c
        Width of the MMD's kernel.
    steps
        Training steps.
    learning_rate
        Of ADAM. The paper's code has 1e-4.
    batch_size
        Rows a batch.
    """

    latent_dim: int | None = None
    hidden_dim: int = 32
    n_components: int = 4
    beta: float = 1.0
    c: float = 0.1
    steps: int = 3000
    learning_rate: float = 1e-3
    batch_size: int = 100

    def config(self, convention: str | Convention, seed: int = 0) -> TrainConfig:
        """Return how the model is trained."""
        from pyscore.training.config import TrainConfig

        return TrainConfig(
            beta=self.beta, c=self.c, steps=self.steps, learning_rate=self.learning_rate,
            batch_size=self.batch_size, seed=seed, convention=get_convention(convention),
        )  # fmt: skip

    def given(self) -> dict[str, Any]:
        """Return what differs from the defaults."""
        return {name: value for name, value in asdict(self).items() if value != getattr(DEFAULT_MODEL, name)}

    def sizes(self) -> dict[str, Any]:
        """Return the sizes of the model, as arguments of `pyscore.fit`."""
        return {name: getattr(self, name) for name in ("latent_dim", "hidden_dim", "n_components")}


@Parameter(name="*")
@dataclass(frozen=True)
class TableOptions(ReadOptions):
    """How tables are read.

    Parameters
    ----------
    delimiter
        What separates fields of a text: ';', '|', tab … By default a comma (.tsv: a tab).
    decimal
        The decimal mark in a text: '.' or ','.
    header
        Whether the first row of a text holds the names of the columns: by default it does; a row of numbers is
        refused. Without names columns are called x0, x1, …
    null
        A text that means that a value is missing, beside an empty cell, NA, NaN, None, null and their like; may be
        given several times.
    encoding
        Of a text: latin-1, cp1252, utf-16 … By default UTF-8.
    impute
        median: fill missing values with the medians of their columns in the training rows, which `fit` learns and
        keeps in the model. By default a missing value is an error.
    """

    null: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True, negative="")] = ()
    impute: Literal["median"] | None = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, eq=False)
class ScoringOptions(ScoreOptions):
    """How rows are scored.

    Parameters
    ----------
    convention
        exact or original; by default that of the saved model, and exact for one that is trained here.
    backend
        What computes; see `pyscore doctor`. By default numba, which compiles its kernels once (some ten seconds on
        first use), or numpy, with a warning, where numba cannot run.
    dtype
        Type of the backend's arithmetic; by default float64 (numpy, julia) or float32 (the others).
    sigma2
        Variance of the noise in standardised units: a number, or residual, that of the training residuals.
    seed
        Seed of the draws of the importance score.
    """

    convention: ConventionName | None = None
    backend: str | None = None
    dtype: Literal["float32", "float64"] | None = None
    sigma2: float | Literal["residual"] = 1.0


DEFAULT_MODEL = ModelOptions()
DEFAULT_READING = TableOptions()
DEFAULT_SCORING = ScoringOptions()


def split_names(text: str) -> list[str]:
    """Names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def names_of(text: str, argument: str = "scores") -> list[str] | None:
    """Names of a comma-separated list; None for "all"."""
    if text == "all":
        return None
    names = split_names(text)
    if not names:
        raise InvalidInput(f"`{argument}` must name at least one, or be 'all'; got {text!r}.")
    return names
