"""`pyscore bench`: measure, keep, compare."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pyscore.bench import tables
from pyscore.bench.compare import compare, same_machine
from pyscore.bench.harness import pin_threads
from pyscore.bench.record import Row, describe, read, write
from pyscore.cli import output
from pyscore.errors import InvalidInput

__all__ = ["run_compare", "run_suites", "run_table"]

Progress = Callable[[str], None]
SUITES = ("scaling", "scores", "training", "datasets", "kernels")
"""In this order: the kernels load JAX and KeOps, whose threads get in torch's way."""


def run_suites(suites: list[str], json: Path | None, *, threads: int, quick: bool) -> None:
    """Measure suites one after the other, print their rows and write them."""
    from pyscore.bench.kernels import absent_anchors, compile_seconds

    if json is not None and not json.parent.is_dir():  # before minutes of measuring, not after
        raise InvalidInput(f"`json` must name a file in an existing folder; there is no {str(json.parent)!r}.")
    if threads < 1:
        raise InvalidInput(f"`threads` must be at least 1; got {threads}.")
    pinned = pin_threads(threads)
    rows: list[Row] = []
    absent: list[str] = []
    compiled: dict[str, dict[str, float]] = {}
    with output.spinner("measuring") as progress:
        for suite in suites:
            measured, missing = _measure(suite, threads, quick=quick, progress=progress)
            rows += measured
            absent += missing
        if "kernels" in suites:
            absent += [f"{name}: not installed" for name in absent_anchors()]
            if not quick:
                progress("compile times")
                compiled = {k: {"compiled": c, "cached": w} for k, (c, w) in compile_seconds().items()}
    name = "all" if len(suites) > 1 else suites[0]
    command = f"pyscore bench {name} --threads {threads}" + (" --quick" if quick else "")
    record = describe(rows, command, pinned, compile_seconds=compiled, not_measured=list(dict.fromkeys(absent)))
    if json is not None:
        write(json, record)
    sys.stdout.write(tables.render(record) + "\n")


def _measure(suite: str, threads: int, *, quick: bool, progress: Progress) -> tuple[list[Row], list[str]]:
    """Rows of a suite, and what it could not measure."""
    progress(suite)
    if suite == "kernels":
        from pyscore.bench.kernels import kernel_rows

        return kernel_rows(quick=quick), []
    if suite == "training":
        from pyscore.bench.training import training_rows

        return training_rows(threads, quick=quick), []
    if suite == "scores":
        from pyscore.bench.scores import score_rows

        return score_rows(quick=quick, progress=progress)
    if suite == "scaling":
        from pyscore.bench.limits import scaling_rows

        return scaling_rows(quick=quick, progress=progress)
    from pyscore.bench.datasets import dataset_rows

    return dataset_rows(quick=quick, progress=progress)


def run_compare(old: Path, new: Path, *, json: bool) -> None:
    """Print what changed; exit status 1 if something became slower than the noise."""
    before, after = read(old), read(new)
    table = compare(before, after)
    if table.empty:
        raise InvalidInput(f"`old` and `new` must have rows in common; {old} and {new} have none.")
    slower = table[table["verdict"] == "slower"]
    absolute = same_machine(before, after)
    if json:
        facts = {"compared": len(table), "absolute": absolute, "slower": len(slower)}
        output.emit({**facts, "rows": table.to_dict("records")}, json=True)
    else:
        what = (
            "seconds a unit of work" if absolute else "other machine or threads: time of the base over the other's"
        )
        output.print_frame(table.drop(columns=["old", "new"]), title=f"ratio new/old ({what}), slowest first")
        output.emit({"compared": len(table), "slower": len(slower)}, json=False)
    if len(slower):
        sys.exit(1)


def run_table(file: Path, update: Path | None, *, check: bool) -> None:
    """Print a record as Markdown, or put it between the markers of a page."""
    record = read(file)
    if update is None:
        sys.stdout.write(tables.markdown_block(record) + "\n")
        return
    same = tables.update_page(update, record, check=check)
    if check and not same:
        output.print_error(
            f"{update} is not what {file} gives. Run `pyscore bench table {file} --update {update}`."
        )
        sys.exit(1)
    output.emit({"page": str(update), "state": "as it was" if same else "updated"}, json=False)
