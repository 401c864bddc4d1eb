"""`pyscore score`: tables in blocks, with progress, to a file or to the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pyscore._core.files import is_kind
from pyscore.cli.options import (
    DEFAULT_READING,
    DEFAULT_SCORING,
    Json,
    ScoringOptions,
    TableOptions,
    names_of,
    split_names,
)
from pyscore.cli.output import emit, note_resumption, print_frame
from pyscore.cli.progress import score_progress
from pyscore.data.table_files import InputFile
from pyscore.errors import InvalidInput
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.resumable_output import check_target
from pyscore.scoring.stream import Scorer, open_input, score_files, scored_blocks

__all__ = ["score"]


def score(
    model: Path,
    tables: list[str],
    /,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    scores: str | None = None,
    top: int = 20,
    fdr: float | None = None,
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
        the most anomalous rows are printed.
    scores
        Of a model, or of the model in a detector: names separated by commas, or "all". By default a detector
        writes its own score (higher = more anomalous), p-value and label, and a model writes proposed.
    top
        How many rows to print, the most anomalous first; with --json all rows are printed in their order.
    fdr
        Call the rows anomalies that Benjamini and Hochberg's procedure selects at this false discovery rate, 0.1
        say, instead of those above the threshold; it goes over the table twice.
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
    kept = split_names(keep)
    if output is not None:
        check_target(output, [model])
    fitted = None if is_kind(model, "detector") else FittedModel.load(model)
    if fitted is None or (fitted.detector and scores is None):
        from pyscore.cli.detect import detect_with

        engine = scoring.convention, scoring.backend, scoring.dtype
        if scores is not None or projection or engine != (None, None, None) or scoring.sigma2 != 1.0:
            raise InvalidInput(
                "`--scores`, `--projection`, `--convention`, `--backend`, `--dtype` and `--sigma2` belong to a "
                "single model; a detector scores as it was fitted. Leave them out, or fit with --detector model."
                if fitted is None
                else "`--projection`, `--convention`, `--backend`, `--dtype` and `--sigma2` belong to `--scores`; "
                "a detector scores as it was fitted. Leave them out, or name scores."
            )
        detect_with(
            model, tables, output, reading, top=top, fdr=fdr, keep=tuple(kept), threads=threads,
            scheduler=scheduler, json=json,
        )  # fmt: skip
        return
    if fdr is not None:
        raise InvalidInput(
            "`--fdr` needs a detector with p-values: fit one with `pyscore fit`, without --detector model."
        )
    names = names_of(scores or "proposed")
    given = scoring.by(fitted.convention)
    facts: dict[str, Any] = {"convention": given.chosen.name, "backend": given.engine.name}
    if output is None:
        scorer = Scorer(fitted, tuple(names or ()), given, reading.impute, tuple(kept), projection)
        _print(scorer, open_input(tables, scorer, reading), facts, top, threads, scheduler, json=json)
        return
    with score_progress("scoring") as progress:
        result = score_files(
            fitted, tables, output, names, impute=reading.impute, reading=reading, keep=kept,
            projection=projection, threads=threads, scheduler=scheduler, progress=progress, **given.keywords(),
        )  # fmt: skip
    note_resumption(result)
    emit({"scores": output, "rows": result.rows, **facts}, json=json)


def _print(
    scorer: Scorer,
    files: list[InputFile],
    facts: dict[str, Any],
    top: int,
    threads: int | None,
    scheduler: str | None,
    *,
    json: bool,
) -> None:
    """Print the rows of the lowest density as a table, or all rows as JSON."""
    from pyscore.cli.detect import NUMBER, MostAnomalous

    name = scorer.names[0]
    found = MostAnomalous(top, name, lowest=True, everything=json)
    with score_progress("scoring") as progress:
        for block in scored_blocks(scorer, files, threads=threads, scheduler=scheduler):
            found.see(block.table)
            progress(found.rows, None)
    frame = found.frame(list(scorer.written))
    if json:
        emit({**facts, "rows": frame.drop(columns=NUMBER).to_dict("records")}, json=True)
        return
    title = f"{len(frame)} most anomalous of {found.rows} rows by {name}, nats, {facts['convention']}"
    print_frame(frame, title=title)
