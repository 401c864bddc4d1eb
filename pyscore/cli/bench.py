"""`pyscore bench`: measure, keep, compare."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from pyscore._core.output_guard import check_output
from pyscore.bench import compare as comparison
from pyscore.bench import record as records
from pyscore.bench import tables
from pyscore.bench.harness import few_processors, pin_threads
from pyscore.bench.record import Record, Row, describe, read, write
from pyscore.cli.options import Json, Output
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import spinner
from pyscore.cli.terminal import print_error
from pyscore.cli.terminal import write as say
from pyscore.errors import InvalidInput, PyscoreError

__all__ = ["bench", "run_suites"]

Progress = Callable[[str], None]
SUITES = {
    "kernels": "Time the compiled kernels against what they replace, as ratios of one run, errors beside them.",
    "scaling": "Time the kernels over n = 10² … 10⁷, d, h and k, and what the machine allows.",
    "scores": "Time every score on every backend that runs here: rows a second, memory, error, AUC.",
    "training": "Time the three trainers on the same stack of models, in model-steps a second.",
    "datasets": "Time every score on every backend on the paper's datasets, as far as they are on this machine.",
    "stream": "Time `proposed` from Parquet to Parquet beside pandas and the bare kernel.",
    "peers": """
        Time ours beside torch.func, JAX, KeOps, alibi-detect and PyOD on the same rows of the ten datasets.

        alibi-detect asks for NumPy below 2: PYSCORE_ALIBI_PYTHON names the Python of an environment that has it.
        """,
}

bench = App(name="bench", help_format="markdown")


def _command(suites: Sequence[str]) -> Callable[..., None]:
    def measure(
        *,
        json: Annotated[Path | None, Parameter(name="--json", help="Write the measurements there, too.")] = None,
        threads: int = 2,
        quick: bool = False,
    ) -> None:
        """Measure the suites.

        Parameters
        ----------
        threads
            Threads of Numba, torch and BLAS alike.
        quick
            Fewer repeats, sizes, datasets and steps, smaller tables, no compile times.
        """
        run_suites(suites, json, threads=threads, quick=quick)

    return measure


for _suite, _help in SUITES.items():
    bench.command(_command([_suite]), name=_suite, help=_help)
bench.command(
    _command([*SUITES]), name="all", help="Measure everything, one suite after the other, into one file."
)


def run_suites(suites: Sequence[str], json: Path | None, *, threads: int, quick: bool) -> None:
    """Measure suites, print their rows and write them; several run in a process of their own each.

    Otherwise the threads of JAX and KeOps, which some of them load, would get in the way of the next.
    """
    if json is not None:  # before minutes of measuring, not after
        check_output(json)
    if threads < 1:
        raise InvalidInput(f"`threads` must be at least 1; got {threads}.")
    if len(suites) == 1:
        record = _run_here(suites[0], threads, quick=quick)
        if json is not None:
            write(json, record)
        failed: list[str] = []
    else:
        record, failed = _run_all(suites, json, threads, quick=quick)
    say(tables.render(record))
    if failed:
        raise PyscoreError(f"{len(failed)} of {len(suites)} suites failed: {' '.join(failed)}")


def command(name: str, threads: int, *, quick: bool) -> str:
    """What was called."""
    return f"pyscore bench {name} --threads {threads}" + (" --quick" if quick else "")


def _run_all(suites: Sequence[str], json: Path | None, threads: int, *, quick: bool) -> tuple[Record, list[str]]:
    """Measure one suite after the other, the file written as each ends, and say which failed."""
    found: list[Record] = []
    failed: list[str] = []
    with spinner("measuring") as progress:
        for suite in suites:
            progress(suite)
            try:
                found.append(_run_elsewhere(suite, threads, quick=quick))
            except PyscoreError as error:
                failed.append(str(error))
            if found:
                record = records.merge(found, command("all", threads, quick=quick))
                record = replace(record, not_measured=[*record.not_measured, *failed])
                if json is not None:
                    write(json, record)
    if not found:
        raise PyscoreError(" ".join(failed))
    return record, failed


def _run_elsewhere(suite: str, threads: int, *, quick: bool) -> Record:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "record.json"
        arguments = ["bench", suite, "--threads", str(threads), "--json", str(file)] + ["--quick"] * quick
        run = subprocess.run([sys.executable, "-m", "pyscore", *arguments], stdout=subprocess.DEVNULL, check=False)
        if run.returncode:
            raise PyscoreError(
                f"`pyscore {' '.join(arguments[:2])}` ended with status {run.returncode}; see above."
            )
        return read(file)


def _run_here(suite: str, threads: int, *, quick: bool) -> Record:
    compiled: dict[str, dict[str, float]] = {}
    with few_processors(threads), spinner("measuring") as progress:
        pinned = pin_threads(threads)
        rows, absent = _measure(suite, threads, quick=quick, progress=progress)
        if suite == "kernels" and not quick:
            from pyscore.bench.kernels import compile_seconds

            progress("compile times")
            compiled = {k: {"compiled": c, "cached": w} for k, (c, w) in compile_seconds().items()}
    return describe(
        rows, command(suite, threads, quick=quick), pinned, compile_seconds=compiled,
        not_measured=list(dict.fromkeys(absent)),
    )  # fmt: skip


def _measure(suite: str, threads: int, *, quick: bool, progress: Progress) -> tuple[list[Row], list[str]]:
    """Rows of a suite, and what it could not measure; only its own module is imported."""
    progress(suite)
    if suite == "kernels":
        from pyscore.bench.anchors import absent
        from pyscore.bench.kernels import kernel_rows

        return kernel_rows(quick=quick), [f"{name}: not installed" for name in absent()]
    if suite == "training":
        from pyscore.bench.training import training_rows

        return training_rows(threads, quick=quick), []
    if suite == "scores":
        from pyscore.bench.scores import score_rows

        return score_rows(quick=quick, progress=progress)
    if suite == "scaling":
        from pyscore.bench.limits import scaling_rows

        return scaling_rows(quick=quick, progress=progress)
    if suite == "stream":
        from pyscore.bench.stream import stream_rows

        return stream_rows(threads, quick=quick, progress=progress)
    if suite == "peers":
        from pyscore.bench.peers import peer_rows

        return peer_rows(threads, quick=quick, progress=progress)
    from pyscore.bench.datasets import dataset_rows

    return dataset_rows(quick=quick, progress=progress)


@bench.command
def compare(old: Path, new: Path, /, *, json: Json = False) -> None:
    """List what became slower than the noise between two files; exit status 1 if something did.

    Parameters
    ----------
    old, new
        Files of `pyscore bench ... --json`.
    """
    before, after = read(old), read(new)
    table = comparison.compare(before, after)
    verdicts = table["verdict"].value_counts().to_dict()
    judged = sum(verdicts.get(verdict, 0) for verdict in ("slower", "same", "faster"))
    if not judged:
        raise InvalidInput(f"`old` and `new` must have rows in common; {old} and {new} have none.")
    slower = verdicts.get("slower", 0)
    absolute = comparison.same_machine(before, after)
    if json:
        facts = {"compared": judged, "absolute": absolute, "slower": slower, "verdicts": verdicts}
        emit({**facts, "rows": table.to_dict("records")}, json=True)
    else:
        what = "seconds" if absolute else "other machine or threads: our time over the other's"
        print_frame(table.drop(columns=["old", "new"]), title=f"ratio new/old ({what}), slowest first")
        emit({"compared": judged, "slower": slower, **verdicts}, json=False)
    if slower:
        sys.exit(1)


@bench.command
def merge(files: list[Path], /, *, output: Output) -> None:
    """Put files of different suites, measured on one machine, into one.

    Parameters
    ----------
    files
        Files of `pyscore bench ... --json`.
    output
        The file that holds them all.
    """
    if not files:
        raise InvalidInput("`files` must name at least one file of `pyscore bench --json`; got none.")
    check_output(output, files)
    record = records.merge([read(file) for file in files])
    write(output, record)
    emit({"file": str(output), "rows": len(record.rows)}, json=False)


@bench.command
def table(file: Path, /, *, update: Path | None = None, check: bool = False, short: bool = False) -> None:
    """Print a file of measurements as Markdown, or put it into a page.

    Parameters
    ----------
    file
        A file of `pyscore bench ... --json`.
    update
        A page with the lines `<!-- bench: begin -->` and `<!-- bench: end -->`; what is between them is replaced.
    check
        Write nothing; exit status 1 unless the page is what the file gives.
    short
        The headlines alone, one table.
    """
    if update is not None and not check:
        check_output(update, [file])
    record = read(file)
    if update is None:
        say((tables.short_block if short else tables.markdown_block)(record))
        return
    same = tables.update_page(update, record, check=check, short=short)
    if check and not same:
        print_error(
            f"{update} is not what {file} gives. Run `pyscore bench table {file} --update {update}"
            + (" --short`." if short else "`.")
        )
        sys.exit(1)
    emit({"page": str(update), "state": "as it was" if same else "updated"}, json=False)
