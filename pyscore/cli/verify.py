"""`pyscore verify`: the agreement of all backends as a table; exit status 1 if anything is out of its bound."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyscore._core.files import write_json
from pyscore._core.output_guard import check_output
from pyscore._core.version import __version__
from pyscore.backends import golden
from pyscore.backends.verify import bit_equal_functions, cases_to_verify, verify
from pyscore.cli.output import emit, print_frame, spinner

__all__ = ["run_verify"]


def run_verify(backends: list[str] | None, dtypes: list[str] | None, seeds: int, target: Path | None) -> None:
    """Verify, print a table (and write JSON), and exit with 1 if a function is out of its bound."""
    if target is not None:
        check_output(target, golden.folders())
    with spinner("verifying") as progress:
        table = verify(backends, dtypes, seeds=seeds, progress=progress)
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
