"""What a run of the paper's experiment leaves on the disk, read into tables; and the grids that it runs.

A folder holds ``results/*.parquet`` (one row a dataset, split, model, scoring convention and score),
``ablation/*.parquet`` (the same and the field that was switched), ``baselines/*.parquet`` and ``manifest.json``.
Any of them may be missing or half there: the run may still be going on.
"""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pyscore.convention import Convention
from pyscore.errors import DataUnavailable

__all__ = ["CONFIG", "MODEL", "PAPER_GRID", "Study", "base_name", "figure3_grid", "main_grid", "read_study"]

PAPER_GRID: dict[str, tuple[float, ...]] = {
    "hidden_dim": (32, 64),
    "latent_dim": (2, 4, 9),
    "n_components": (1, 4, 16),
    "beta": (0.01, 0.1, 1.0, 10.0),
    "c": (0.001, 0.01, 0.1, 1.0),
}
"""288 models; latent dimensions above d are left out (the paper says 280)."""

SWEEP: dict[str, tuple[float, ...]] = {
    "hidden_dim": (64,),
    "latent_dim": (2, 3, 4, 5, 6, 7, 8, 9),
    "n_components": (16,),
    "beta": (0.01, 0.1, 1.0),
    "c": (0.001, 0.01, 0.1, 1.0),
}
SWEEP_DATASET = "breast-cancer-wisconsin"

CONFIG = tuple(PAPER_GRID)
"""The hyper-parameters that vary."""
MODEL = (
    "dataset", "difficulty", "split", "train_convention", "steps", "learning_rate", *CONFIG, "seed",
)  # fmt: skip
"""What identifies a trained model."""

_TEXT = pa.string()
_REAL = pa.float64()
_WHOLE = pa.int64()
SCHEMA = pa.schema(
    [
        *((name, _TEXT) for name in ("dataset", "difficulty")),
        ("split", _WHOLE),
        *((name, _TEXT) for name in ("stack", "config_hash")),
        *((name, _WHOLE) for name in ("hidden_dim", "latent_dim", "n_components")),
        *((name, _REAL) for name in ("beta", "c")),
        ("steps", _WHOLE),
        ("learning_rate", _REAL),
        ("seed", _WHOLE),
        *((name, _TEXT) for name in ("train_convention", "convention", "score")),
        *((name, _REAL) for name in ("auc_train", "auc_test", "auc_known1", "auc_known5", "mean_log_density")),
        *((name, _REAL) for name in ("mmd", "p_value", "width", "train_disc")),
        *((name, _WHOLE) for name in ("rows_train", "rows_test")),
        *((name, _REAL) for name in ("seconds_train", "seconds_score")),
        *((name, _TEXT) for name in ("backend", "version", "failure")),
    ]
)
"""Columns of ``results/``: one row a dataset, split, model, scoring convention and score."""
ABLATION_SCHEMA = SCHEMA.append(pa.field("switched", _TEXT))
"""`switched` is the field; "" marks rows to compare with that are not in ``results/``."""
BASELINE_SCHEMA = pa.schema(
    [
        ("dataset", _TEXT),
        ("split", _WHOLE),
        ("train_convention", _TEXT),
        ("score", _TEXT),
        ("auc_train", _REAL),
        ("auc_test", _REAL),
    ]
)
_IDENTITY = [*MODEL, "convention", "score"]


def figure3_grid() -> list[dict[str, Any]]:
    """Return the 96 configurations of Figure 3 (latent dimension 2 … 9) as plain dictionaries.

    Original: svae_latent_dim_test.jl (h 64, p 16, β {0.01, 0.1, 1}, c {0.001, 0.01, 0.1, 1}).
    """
    return [dict(zip(SWEEP, values, strict=True)) for values in itertools.product(*SWEEP.values())]


def main_grid(models: pd.DataFrame) -> pd.DataFrame:
    """Rows of the grid that models are selected from, which lacks Figure 3's other latent dimensions."""
    return models[models["latent_dim"].isin(PAPER_GRID["latent_dim"])]


def sweep_rows(models: pd.DataFrame) -> pd.DataFrame:
    """Rows of the models that Figure 3 is drawn from."""
    chosen = models["dataset"] == SWEEP_DATASET
    for name, values in SWEEP.items():
        chosen &= models[name].isin(values)
    return models[chosen]


def base_name(name: Any) -> Any:
    """Return "ORIGINAL" or "EXACT", whichever a convention's name is a variation of."""
    text = str(name)
    if not text.startswith("EXACT["):
        return name
    changed = text.count("=")
    return "EXACT" if changed <= len(Convention.fields()) // 2 else "ORIGINAL"


@dataclass(frozen=True)
class Study:
    """The tables of one output folder."""

    models: pd.DataFrame
    """SCHEMA; failed models have a reason in `failure`."""
    ablation: pd.DataFrame
    """ABLATION_SCHEMA."""
    baselines: pd.DataFrame
    """BASELINE_SCHEMA."""
    manifest: dict[str, Any] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    """Files that could not be read, with the reason."""


def read_study(folder: str | os.PathLike[str]) -> Study:
    """Read the output folder of an experiment, finished or not.

    Raises
    ------
    DataUnavailable
        If there is no such folder, or no result in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataUnavailable(f"there is no folder {str(folder)!r}. Pass the output folder of the experiment.")
    unread: list[str] = []
    models = _read_all(folder / "results", SCHEMA, unread)
    if models.empty:
        raise DataUnavailable(
            f"{str(folder / 'results')!r} holds no result yet ({len(unread)} file(s) could not be read). "
            "Wait until the experiment has finished its first stack."
        )
    return Study(
        models=models.drop_duplicates(_IDENTITY, keep="last", ignore_index=True),
        ablation=_read_all(folder / "ablation", ABLATION_SCHEMA, unread).drop_duplicates(
            [*_IDENTITY, "switched"], keep="last", ignore_index=True
        ),
        baselines=_read_all(folder / "baselines", BASELINE_SCHEMA, unread).drop_duplicates(
            ["dataset", "split", "train_convention", "score"], keep="last", ignore_index=True
        ),
        manifest=_manifest(folder / "manifest.json", unread),
        unread=tuple(unread),
    )


def _read_all(folder: Path, schema: pa.Schema, unread: list[str]) -> pd.DataFrame:
    """Concatenate the files of a folder, in the order of their names; one that cannot be read is noted."""
    tables = [schema.empty_table()]
    for path in sorted(folder.glob("*.parquet")):
        try:
            tables.append(_conform(pq.read_table(path, partitioning=None), schema))
        except (pa.ArrowException, OSError) as error:
            unread.append(f"{folder.name}/{path.name}: {str(error).splitlines()[0][:200]}")
    return pa.concat_tables(tables).to_pandas()


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the schema, in its order and types; a missing one is null."""
    columns = [
        table.column(f.name).cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)


def _manifest(path: Path, unread: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        unread.append(f"{path.name}: {error}")
        return {}
    return value if isinstance(value, dict) else {}
