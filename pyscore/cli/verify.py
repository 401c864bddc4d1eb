"""`pyscore verify`: the agreement of all backends as a table; exit status 1 if anything is out of its bound."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from cyclopts import Parameter

from pyscore._core.files import write_json
from pyscore._core.output_guard import check_output
from pyscore._core.version import __version__
from pyscore.backends import golden
from pyscore.backends.verify import bit_equal_functions, cases_to_verify
from pyscore.backends.verify import verify as verify_backends
from pyscore.cli.options import split_names
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import spinner
from pyscore.errors import InvalidInput

__all__ = ["verify"]


def verify(
    *,
    backends: str | None = None,
    dtype: Literal["float64", "float32"] | None = None,
    seeds: int = 3,
    json: Annotated[Path | None, Parameter(name="--json", help="Write the table to this file, too.")] = None,
    html: Annotated[Path | None, Parameter(name="--html", help="Write the table of --model as a page.")] = None,
    model: Path | None = None,
    data: Path | None = None,
    name: str | None = None,
    activation: str | None = None,
    original: Path | None = None,
) -> None:
    """Verify the backends, or with `model` and `data` one model on its rows.

    Parameters
    ----------
    backends
        Names separated by commas; by default all that run here.
    dtype
        float64 or float32; by default both.
    seeds
        Number of random inputs of each size.
    model
        A model that Julia saved (BSON of an SVAEvampmeans or of a Flux Chain of Dense layers), or pyscore's own.
    data
        A table of the model's inputs, its columns in the model's order.
    name
        Which value of the file, where several are models.
    activation
        What follows the hidden layers, where the file does not say it (Flux.state).
    original
        A Julia project that has FewShotAnomalyDetection.jl: its own functions are compared, too.
    """
    named = split_names(backends) if backends else None
    dtypes: list[str] | None = [dtype] if dtype else None
    if (model is None) != (data is None):
        raise InvalidInput("`--model` and `--data` must be given together.")
    if model is None or data is None:
        if html is not None or original is not None:
            raise InvalidInput("`--html` and `--original` need `--model` and `--data`.")
        _verify(named, dtypes, seeds, json)
        return
    from pyscore.cli.verify_model import run_verify_model

    targets = [target for target in (json, html) if target is not None]
    run_verify_model(model, data, named, dtypes, targets, name=name, activation=activation, original=original)


def _verify(backends: list[str] | None, dtypes: list[str] | None, seeds: int, target: Path | None) -> None:
    """Verify, print a table (and write JSON), and exit with 1 if a function is out of its bound."""
    if target is not None:
        check_output(target, golden.folders())
    with spinner("verifying") as progress:
        table = verify_backends(backends, dtypes, seeds=seeds, progress=progress)
        names = dict.fromkeys(name for name, dtype in cases_to_verify(backends, dtypes) if dtype == "float64")
        equal = {name: bit_equal_functions(name) for name in names if name != "numpy"}
    failed = table[~table["ok"]]
    if target is not None:
        _write(target, table, equal)
    print_frame(
        _readable(table),
        title="error: from float64 NumPy in eps(dtype)·scale, at most the bound; original: the same from the "
        "original's recorded outputs; difference: the largest from them in absolute terms",
    )
    for name, functions in equal.items():
        emit({f"equal to NumPy to the last bit, {name} float64": ", ".join(functions) or "none"}, json=False)
    if not golden.folders():
        emit(
            {"golden files": "none found (set PYSCORE_GOLDEN): the original's outputs were not compared"},
            json=False,
        )
    emit(
        {"out of bounds": len(failed), "functions": table["function"].nunique(), "checks": len(table)}, json=False
    )
    if len(failed):
        sys.exit(1)


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return numbers as short text: errors span twenty orders of magnitude."""

    def short(value: float) -> str:
        return "–" if np.isnan(value) else f"{value:.2g}"

    text = {column: table[column].map(short) for column in ("error", "bound", "ulp", "golden", "golden_error")}
    shown = table.assign(**text).drop(columns="golden_bound")  # the same for both
    return shown.rename(columns={"golden_error": "original", "golden": "difference"})


def _write(target: Path, table: pd.DataFrame, equal: dict[str, list[str]]) -> None:
    plain: list[dict[Any, Any]] = [
        {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]
    write_json(target, {"pyscore": __version__, "rows": plain, "bit_equal": equal})
