"""`pyscore verify --model FILE --data TABLE`: the user's own model and rows through every backend."""

from __future__ import annotations

import html
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyscore._core.files import atomic_write, write_json
from pyscore._core.version import __version__
from pyscore.backends.julia_models import Chain, read_model
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import spinner
from pyscore.cli.terminal import print_note
from pyscore.data.tables import features, read_table
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.verify_model import check_rows, verify_model
from pyscore.scoring.verify_original import differences_from_original

__all__ = ["run_verify_model"]

TITLE = (
    "difference: largest, in nats; error, bound: eps(dtype)·scale from float64 NumPy; noise: rows that rounding "
    "decides, not compared"
)
CHAIN_BACKENDS = "a Chain is compared on numpy, torch and julia"


def run_verify_model(
    path: Path,
    data: Path,
    backends: list[str] | None,
    dtypes: list[str] | None,
    targets: list[Path],
    *,
    name: str | None = None,
    activation: str | None = None,
    original: Path | None = None,
) -> None:
    """Verify, print a table, write JSON or HTML, and exit with 1 if a quantity is out of its bound."""
    for target in targets:
        if target.suffix not in (".json", ".html"):
            raise InvalidInput(f"`--json` and `--html` must name a .json or .html file; got {str(target)!r}.")
    model, x = _model_and_rows(path, data, name, activation)
    with spinner("verifying") as progress:
        table = verify_model(model, x, backends, dtypes, progress=progress)
        if original is not None:
            progress("the original, in Julia")
            table = _with_original(table, model, x, original)
    failed = int((~table["ok"]).sum())
    facts = {
        "model": str(path),
        "kind": "Chain" if isinstance(model, Chain) else "SVAEvampmeans",
        "data": str(data),
        "rows": len(x),
        "pyscore": __version__,
        "python": platform.python_version(),
        "out of bounds": failed,
    }
    for target in targets:
        _write(target, table, facts)
    print_frame(_readable(table), title=TITLE)
    if isinstance(model, Chain):
        print_note(CHAIN_BACKENDS + ".")
    emit(facts, json=False)
    if failed:
        sys.exit(1)


def _model_and_rows(
    path: Path, data: Path, name: str | None, activation: str | None
) -> tuple[SVAE | Chain, np.ndarray[Any, Any]]:
    """Return the model and its inputs: of a model file of pyscore's, the standardised rows."""
    frame = read_table(str(data))
    if path.suffix == ".safetensors":
        fitted = FittedModel.load(path)
        x, _ = features(frame, fitted.standardiser.columns)
        return fitted.model, fitted.standardiser.for_scores(x, np.float64)
    model = read_model(path, name=name, activation=activation)
    x = frame.to_numpy(dtype=np.float64)
    check_rows(model, x)
    if not np.isfinite(x).all():
        raise InvalidInput(f"`--data` must hold a number everywhere; {str(data)!r} has missing values.")
    return model, x


def _with_original(table: pd.DataFrame, model: SVAE | Chain, x: Any, project: Path) -> pd.DataFrame:
    """Add the largest difference from what the original package computes on the same weights and rows."""
    if isinstance(model, Chain):
        raise InvalidInput("`--original` compares with FewShotAnomalyDetection.jl, which has no Chain; got one.")
    found = differences_from_original(model, x, project)
    keys = list(zip(table["quantity"], table["convention"], table["backend"], table["dtype"], strict=True))
    return table.assign(original=[found.get(key, float("nan")) for key in keys])


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return numbers as short text: errors span twenty orders of magnitude."""

    def short(value: float) -> str:
        return "–" if np.isnan(value) else f"{value:.2g}"

    columns = [c for c in ("difference", "error", "bound", "original") if c in table]
    return table.assign(mean=table["mean"].map("{:.6g}".format), **{c: table[c].map(short) for c in columns})


def _write(target: Path, table: pd.DataFrame, facts: dict[str, Any]) -> None:
    if target.suffix == ".json":
        plain = [
            {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
            for row in table.to_dict("records")
        ]
        write_json(target, {**facts, "rows": plain, "n": facts["rows"]})
        return
    lines = "".join(
        f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>"
        for key, value in facts.items()
    )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>pyscore verify</title><style>'
        "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}"
        "th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left}</style></head><body>"
        f"<h1>pyscore verify</h1><table>{lines}</table><p>{html.escape(TITLE)}</p>"
        f"{_readable(table).to_html(index=False, border=0, escape=True)}</body></html>\n"
    )
    with atomic_write(target, "w") as file:
        file.write(page)
