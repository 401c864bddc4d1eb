"""Reading of the output folder of the paper's experiment into tables.

A folder holds ``results/*.parquet`` (one row for each dataset, split, model, scoring convention and score),
``ablation/*.parquet`` (the same, with the field that was switched), ``baselines/*.parquet`` and ``manifest.json``.
Any of them may be missing or incomplete, since the run may still be going on.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pyscore._core.plain_files import read_json
from pyscore.convention import Convention
from pyscore.errors import DataUnavailable, InvalidInput
from pyscore.experiment.grids import GRIDS
from pyscore.experiment.result_checks import check_manifest
from pyscore.experiment.schema import ABLATION_SCHEMA, BASELINE_SCHEMA, NOT_SWITCHED, SCHEMA

__all__ = ["CONFIG", "MODEL", "PAPER_GRID", "Study", "base_name", "figure3_grid", "main_grid", "read_study"]

PAPER_GRID = GRIDS["paper"].values()
"""288 models (the paper says 280); latent dimensions above d are left out."""
SWEEP = GRIDS["latent"].values()
SWEEP_DATASET = "breast-cancer-wisconsin"

CONFIG = tuple(PAPER_GRID)
"""Columns of the hyper-parameters that vary."""
MODEL = (
    "dataset", "difficulty", "split", "train_convention", "steps", "learning_rate", *CONFIG, "seed",
)  # fmt: skip
"""Columns that identify a trained model."""

_IDENTITY = [*MODEL, "convention", "score"]


def figure3_grid() -> list[dict[str, Any]]:
    """Return the 96 configurations of Figure 3 (latent dimension 2 … 9) as plain dictionaries.

    Original: svae_latent_dim_test.jl (h 64, p 16, β {0.01, 0.1, 1}, c {0.001, 0.01, 0.1, 1}).
    """
    return [dict(zip(SWEEP, values, strict=True)) for values in itertools.product(*SWEEP.values())]


def main_grid(models: pd.DataFrame) -> pd.DataFrame:
    """Rows of the paper's grid, from which models are selected; Figure 3 has further latent dimensions."""
    return models[models["latent_dim"].isin(PAPER_GRID["latent_dim"])]


def sweep_rows(models: pd.DataFrame) -> pd.DataFrame:
    """Rows of the models in Figure 3."""
    chosen = models["dataset"] == SWEEP_DATASET
    for name, values in SWEEP.items():
        chosen &= models[name].isin(values)
    return models[chosen]


def base_name(name: Any) -> Any:
    """Return "ORIGINAL" or "EXACT", whichever a convention is closer to."""
    text = str(name)
    if not text.startswith("EXACT["):
        return name
    changed = text.count("=")
    return "EXACT" if changed <= len(Convention.fields()) // 2 else "ORIGINAL"


@dataclass(frozen=True)
class Study:
    """The tables of one output folder."""

    models: pd.DataFrame
    """Columns of SCHEMA; failed models have a reason in `failure`."""
    ablation: pd.DataFrame
    """Columns of ABLATION_SCHEMA."""
    baselines: pd.DataFrame
    """Columns of BASELINE_SCHEMA."""
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
        ablation=_evaluated(_read_all(folder / "ablation", ABLATION_SCHEMA, unread)).drop_duplicates(
            [*_IDENTITY, "switched"], keep="last", ignore_index=True
        ),
        baselines=_read_all(folder / "baselines", BASELINE_SCHEMA, unread).drop_duplicates(
            ["dataset", "split", "train_convention", "score"], keep="last", ignore_index=True
        ),
        manifest=_manifest(folder / "manifest.json", unread),
        unread=tuple(unread),
    )


def _read_all(folder: Path, schema: pa.Schema, unread: list[str]) -> pd.DataFrame:
    """Concatenate the files of a folder in the order of their names; add to `unread` those that cannot be read."""
    tables = [schema.empty_table()]
    for path in sorted(folder.glob("*.parquet")):
        try:
            tables.append(_conform(pq.read_table(path, partitioning=None), schema))
        except (pa.ArrowException, OSError) as error:
            unread.append(f"{folder.name}/{path.name}: {str(error).splitlines()[0][:200]}")
    return pa.concat_tables(tables).to_pandas()


def _evaluated(ablation: pd.DataFrame) -> pd.DataFrame:
    """Leave out rows of fields that are not switched; older runs wrote copies of the results for them."""
    return ablation[~ablation["switched"].isin(list(NOT_SWITCHED))]


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the columns of the schema, in its order and types; a missing column is null."""
    columns = [
        table.column(f.name).cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)


def _manifest(path: Path, unread: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return check_manifest(read_json(path), path.name)
    except InvalidInput as error:
        unread.append(f"{path.name}: {error}")
        return {}
