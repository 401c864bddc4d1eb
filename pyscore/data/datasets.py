"""The paper's ten datasets, the one that comes with scikit-learn, and the splits of the experiment.

The ten are Emmott's benchmark as the paper used it. Their files are downloaded from a fixed commit, checked by
SHA-256 and cached. ``PYSCORE_DATA`` may name a folder that already holds them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyscore._core import checks as check
from pyscore._core.cache_folders import user_cache
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.data.preprocessing import Standardiser
from pyscore.errors import DataIntegrityError, DataUnavailable, InvalidInput

__all__ = [
    "DATASETS",
    "NOTES",
    "Dataset",
    "Split",
    "fetch",
    "load_breast_cancer",
    "load_dataset",
    "location",
    "overview",
]

DIFFICULTIES = ("easy", "medium", "hard", "very_hard")
EMBEDDED = "breast-cancer"

NOTES = {
    "breast-cancer-wisconsin": "30 columns (the paper says eight); one row fewer than scikit-learn's copy",
    "cardiotocography": 'anomalies are the "suspect" class, normals include "pathologic"',
    "haberman": "4 easy anomalies, so that a test set has one",
    "waveform-1": "the same 5,000 points as waveform-2, with other difficulty labels",
    "waveform-2": "the same 5,000 points as waveform-1, with other difficulty labels",
}
"""Facts about a dataset that a reader of the results should know."""


@functools.cache
def _registry() -> dict[str, Any]:
    registry: dict[str, Any] = json.loads(resources.files("pyscore.data").joinpath("loda.json").read_text())
    return registry


DATASETS: tuple[str, ...] = (
    "breast-cancer-wisconsin",
    "cardiotocography",
    "haberman",
    "magic-telescope",
    "pendigits",
    "pima-indians",
    "wall-following-robot",
    "waveform-1",
    "waveform-2",
    "yeast",
)
"""Names of the paper's ten datasets."""


class Split(NamedTuple):
    """Training and test rows, standardised; labels 0 normal, 1 anomaly (never used in training)."""

    x_train: Array
    y_train: NDArray[np.int64]
    x_test: Array
    y_test: NDArray[np.int64]
    standardiser: Standardiser


@dataclass(frozen=True, eq=False)
class Dataset:
    """Normal and anomalous rows of one benchmark problem."""

    name: str
    normal: Array
    """(n, d)."""
    anomalous: Array
    """(a, d)."""
    columns: tuple[str, ...]
    difficulty: str = "easy"

    def split(self, seed: int = 0, *, convention: Convention = EXACT) -> Split:
        """Split 80/20 by a seed, contaminate the training rows with anomalies, and standardise.

        ``numpy.random.default_rng(seed)`` permutes the normal rows, then the anomalies. The first round(0.8·n)
        (half to even) of each are for training; of those anomalies only the first ceil(0.1·n_normal_train/0.95)
        are kept.

        Parameters
        ----------
        seed : int, 0 to 4 in the experiment
        convention : Convention
            `standardise`: by the training rows, or jointly by all rows of the dataset.

        Notes
        -----
        Original: ADatasets `makeset` and `subsampleanomalous`, whose seeds were the clock.
        """
        rng = np.random.default_rng(check.integer("seed", seed, at_least=0))
        normal, anomalous = rng.permutation(self.normal), rng.permutation(self.anomalous)
        n, a = round(0.8 * len(normal)), round(0.8 * len(anomalous))
        kept = min(a, math.ceil(0.1 * n / 0.95))
        train, y_train = _stack(normal[:n], anomalous[:kept])
        test, y_test = _stack(normal[n:], anomalous[a:])
        with warnings.catch_warnings():  # some of the ten have constant columns, which the experiment keeps
            warnings.simplefilter("ignore", UserWarning)
            if convention.standardise == "jointly":
                everything = np.concatenate([self.normal, self.anomalous])
                scaler = Standardiser.fit(everything, self.columns, floor=1e-6)
            else:
                scaler = Standardiser.fit(train, self.columns)
        return Split(scaler.transform(train), y_train, scaler.transform(test), y_test, scaler)


def _stack(normal: Array, anomalous: Array) -> tuple[Array, NDArray[np.int64]]:
    labels = np.repeat(np.array([0, 1], dtype=np.int64), [len(normal), len(anomalous)])
    return np.concatenate([normal, anomalous]), labels


def load_breast_cancer() -> Dataset:
    """Return scikit-learn's breast-cancer data (569×30) with benign = normal; it needs no download."""
    from sklearn.datasets import load_breast_cancer as embedded

    bunch = embedded()
    columns = tuple(name.replace(" ", "_") for name in bunch.feature_names)
    return Dataset(EMBEDDED, bunch.data[bunch.target == 1], bunch.data[bunch.target == 0], columns)


def load_dataset(name: str, difficulty: str = "easy") -> Dataset:
    """Load one of the paper's ten datasets, or ``"breast-cancer"``, which needs no download.

    Raises
    ------
    InvalidInput
        If the name is unknown or the dataset has no anomalies of that difficulty.
    DataUnavailable, DataIntegrityError
        See `fetch`.

    Examples
    --------
    >>> data = pyscore.load_dataset("breast-cancer")
    >>> data.normal.shape, data.anomalous.shape
    ((357, 30), (212, 30))
    """
    if name == EMBEDDED:
        return load_breast_cancer()
    check.choice("dataset", name, (*DATASETS, EMBEDDED))
    check.choice("difficulty", difficulty, DIFFICULTIES)
    files = _registry()["datasets"][name]
    if f"{difficulty}.txt" not in files:
        there = [d for d in DIFFICULTIES if f"{d}.txt" in files]
        raise InvalidInput(f"{name} has no {difficulty} anomalies; it has {', '.join(there)}.")
    fetch(name)
    normal, anomalous = (np.loadtxt(_path(name, f), ndmin=2) for f in ("normal.txt", f"{difficulty}.txt"))
    columns = tuple(f"x{i}" for i in range(normal.shape[1]))
    return Dataset(name, normal, anomalous, columns, difficulty)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────


def location() -> Path:
    """Return the folder of the dataset files: ``PYSCORE_DATA``, or the cache of the user's system.

    Raises
    ------
    DataUnavailable
        If there is neither.
    """
    named = os.environ.get("PYSCORE_DATA")
    if named:
        return Path(named).expanduser()
    folder = user_cache()
    if folder is None:
        raise DataUnavailable("this user has no home folder for the datasets. Set PYSCORE_DATA to a folder.")
    return folder / "loda"


def _path(name: str, file: str) -> Path:
    return location() / name / file


def fetch(name: str) -> Path:
    """Make sure that all files of a dataset are on this machine and have their SHA-256; return their folder.

    Raises
    ------
    DataIntegrityError
        If a file is not what the paper used.
    DataUnavailable
        If a file is missing from ``PYSCORE_DATA``, or cannot be downloaded; the text says both ways out.
    """
    check.choice("dataset", name, DATASETS)
    for file, entry in _registry()["datasets"][name].items():
        path = _path(name, file)
        if path.is_file():
            _verify(path, entry["sha256"])
        elif os.environ.get("PYSCORE_DATA"):
            raise DataUnavailable(
                f"{name}/{file} is not in PYSCORE_DATA={os.environ['PYSCORE_DATA']!r}. "
                "Put the files of UCI.jl's folder loda/ there, or unset PYSCORE_DATA to download them."
            )
        else:
            _download(name, file, entry["sha256"])
    return location() / name


def _verify(path: Path, sha256: str) -> None:
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != sha256:
        raise DataIntegrityError(
            f"{str(path)!r} is not the paper's file: its SHA-256 is {got[:16]}…, not {sha256[:16]}…. "
            "Delete it and fetch it again."
        )


def _download(name: str, file: str, sha256: str) -> None:
    import pooch

    registry = _registry()
    owner = registry["source"].removeprefix("github.com/")
    url = f"https://raw.githubusercontent.com/{owner}/{registry['commit']}/{registry['folder']}/{name}/{file}"
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, f"sha256:{sha256}", fname=file, path=location() / name)
    except ValueError as error:
        raise DataIntegrityError(
            f"{url} does not have the expected SHA-256: {error}. Try again; if that fails, copy "
            "the files of UCI.jl's folder loda/ here and set PYSCORE_DATA to it."
        ) from error
    except Exception as error:  # requests raises many types for a missing network
        raise DataUnavailable(
            f"cannot download {name}/{file} ({type(error).__name__}). Either connect to the network and run "
            f"`pyscore data fetch {name}`, or copy UCI.jl's folder loda/ (commit {registry['commit'][:8]}) "
            "here and set PYSCORE_DATA to it. The embedded dataset 'breast-cancer' needs neither."
        ) from error


def overview() -> pd.DataFrame:
    """Return one row a dataset: sizes, difficulties, whether it is on this machine, and what to know of it."""
    rows: list[dict[str, Any]] = []
    for name, files in _registry()["datasets"].items():
        here = all(_path(name, file).is_file() for file in files)
        counts = {d: files[f"{d}.txt"]["rows"] if f"{d}.txt" in files else 0 for d in DIFFICULTIES}
        normal = files["normal.txt"]
        row = {"dataset": name, "normal": normal["rows"], "columns": normal["columns"], **counts}
        rows.append({**row, "here": here, "note": NOTES.get(name, "")})
    embedded = {"dataset": EMBEDDED, "normal": 357, "columns": 30, "easy": 212, "medium": 0, "hard": 0}
    rows.append({**embedded, "very_hard": 0, "here": True, "note": "embedded (scikit-learn's), needs no download"})
    return pd.DataFrame(rows)
