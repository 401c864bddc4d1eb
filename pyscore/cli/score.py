"""`pyscore score`: tables in blocks, with progress, to a file or to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from pyscore.cli.output import emit, print_frame, print_note, score_progress
from pyscore.cli.reading import TableOptions
from pyscore.convention import get_convention
from pyscore.data.table_files import InputFile
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.resumable_output import check_target
from pyscore.scoring.stream import Scorer, open_input, score_files, scored_blocks

__all__ = ["run_score"]

SHOWN = 20


def run_score(
    model: Path,
    source: Sequence[str],
    target: str | None,
    names: list[str] | None,
    convention: str | None,
    *,
    backend: str,
    seed: int,
    reading: TableOptions,
    keep: Sequence[str],
    sigma2: float | Literal["residual"],
    projection: bool,
    threads: int | None,
    scheduler: str | None,
    json: bool,
) -> None:
    """Score the rows of a source with a saved model; write them, or print the first ones."""
    if target is not None:
        check_target(target, [model])
    fitted = FittedModel.load(model)
    chosen = get_convention(convention) if convention else fitted.convention
    facts: dict[str, Any] = {"convention": chosen.name, "backend": backend}
    if target is None:
        scorer = Scorer(
            fitted, tuple(names or ()), chosen, backend, seed, reading.impute, tuple(keep), sigma2, projection
        )  # fmt: skip
        _print(scorer, open_input(source, scorer, reading), facts, threads, scheduler, json=json)
        return
    with score_progress("scoring") as progress:
        result = score_files(
            fitted, source, target, names, convention=chosen, backend=backend, seed=seed,
            impute=reading.impute, reading=reading, keep=keep, sigma2=sigma2, projection=projection,
            threads=threads, scheduler=scheduler, progress=progress,
        )  # fmt: skip
    if result.restarted is not None:
        print_note(f"an unfinished run was there, but {result.restarted}; started anew.")
    if result.resumed:
        print_note(f"went on from row {result.resumed:,}, where an earlier run had stopped.")
    emit({"scores": target, "rows": result.rows, **facts}, json=json)


def _print(
    scorer: Scorer,
    files: list[InputFile],
    facts: dict[str, Any],
    threads: int | None,
    scheduler: str | None,
    *,
    json: bool,
) -> None:
    """Print the first rows as a table, or all of them as JSON."""
    head: list[pa.RecordBatch] = []
    rows = 0
    with score_progress("scoring") as progress:
        for block in scored_blocks(scorer, files, threads=threads, scheduler=scheduler):
            if json or rows < SHOWN:
                head.append(block.table if json else block.table.slice(0, SHOWN - rows))
            rows += block.table.num_rows
            progress(rows, None)
    frame = pa.Table.from_batches(head).to_pandas() if head else pd.DataFrame(columns=list(scorer.written))
    if json:
        emit({**facts, "rows": frame.to_dict("records")}, json=True)
        return
    print_frame(frame, title=f"first {len(frame)} of {rows} rows, nats, {facts['convention']}")
