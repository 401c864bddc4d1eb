"""`pyscore score`: tables in blocks, with progress, to a file or to the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from cyclopts import Parameter

from pyscore.cli.options import (
    DEFAULT_READING,
    DEFAULT_SCORING,
    Json,
    ScoringOptions,
    TableOptions,
    names_of,
    split_names,
)
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import score_progress
from pyscore.cli.terminal import print_note
from pyscore.data.table_files import InputFile
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.resumable_output import check_target
from pyscore.scoring.stream import Scorer, open_input, score_files, scored_blocks

__all__ = ["score"]

SHOWN = 20


def score(
    model: Path,
    tables: list[str],
    /,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    scores: str = "proposed",
    scoring: ScoringOptions = DEFAULT_SCORING,
    projection: Annotated[bool, Parameter(negative="")] = False,
    keep: str = "",
    threads: int | None = None,
    scheduler: str | None = None,
    reading: TableOptions = DEFAULT_READING,
    json: Json = False,
) -> None:
    """Score the rows of tables with a saved model; write the scores, or print the first ones.

    Parameters
    ----------
    model
        A file of `pyscore fit`.
    tables
        A .csv, .tsv, .parquet or .arrow file (texts also compressed), a folder of them, or a pattern; or several.
        They must have the columns that the model was trained on, in any order.
    output
        A .parquet, .csv or .arrow file for the scores, or a folder (with a slash at its end) for parts; by default
        the first rows are printed.
    scores
        Names separated by commas, or "all".
    projection
        Add how the rows were projected onto the manifold: distance from the encoder's point and from the nearest
        one, the norm of the gradient there, and the number of iterations.
    keep
        Columns to carry along, separated by commas: identifiers, say.
    threads
        Threads that score (numba); by default all cores.
    scheduler
        Address of a Dask scheduler, tcp://…, whose workers do the work; they must see the same paths.
    """
    names, kept = names_of(scores), split_names(keep)
    if output is not None:
        check_target(output, [model])
    fitted = FittedModel.load(model)
    given = scoring.by(fitted.convention)
    facts: dict[str, Any] = {"convention": given.chosen.name, "backend": given.engine.name}
    if output is None:
        scorer = Scorer(fitted, tuple(names or ()), given, reading.impute, tuple(kept), projection)
        _print(scorer, open_input(tables, scorer, reading), facts, threads, scheduler, json=json)
        return
    with score_progress("scoring") as progress:
        result = score_files(
            fitted, tables, output, names, impute=reading.impute, reading=reading, keep=kept,
            projection=projection, threads=threads, scheduler=scheduler, progress=progress, **given.keywords(),
        )  # fmt: skip
    if result.restarted is not None:
        print_note(f"an unfinished run was there, but {result.restarted}; started anew.")
    if result.resumed:
        print_note(f"went on from row {result.resumed:,}, where an earlier run had stopped.")
    emit({"scores": output, "rows": result.rows, **facts}, json=json)


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
    schema = pa.schema([(name, pa.float64()) for name in scorer.written])
    frame = (pa.Table.from_batches(head) if head else schema.empty_table()).to_pandas()
    if json:
        emit({**facts, "rows": frame.to_dict("records")}, json=True)
        return
    print_frame(frame, title=f"first {len(frame)} of {rows} rows, nats, {facts['convention']}")
