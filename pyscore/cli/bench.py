"""`pyscore bench`: measure, keep, compare."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pyscore._core.output_guard import check_output
from pyscore.bench import tables
from pyscore.bench.compare import compare, same_machine
from pyscore.bench.harness import few_processors, pin_threads
from pyscore.bench.record import Record, Row, describe, merge, read, write
from pyscore.cli import output
from pyscore.errors import InvalidInput, PyscoreError

__all__ = ["run_compare", "run_merge", "run_suites", "run_table"]

Progress = Callable[[str], None]
SUITES = ("kernels", "scaling", "scores", "training", "datasets", "stream", "peers")


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
    output.write(tables.render(record))
    if failed:
        raise PyscoreError(f"{len(failed)} of {len(suites)} suites failed: {' '.join(failed)}")


def command(name: str, threads: int, *, quick: bool) -> str:
    """What was called."""
    return f"pyscore bench {name} --threads {threads}" + (" --quick" if quick else "")


def _run_all(suites: Sequence[str], json: Path | None, threads: int, *, quick: bool) -> tuple[Record, list[str]]:
    """Measure one suite after the other, the file written as each ends, and say which failed."""
    found: list[Record] = []
    failed: list[str] = []
    with output.spinner("measuring") as progress:
        for suite in suites:
            progress(suite)
            try:
                found.append(_run_elsewhere(suite, threads, quick=quick))
            except PyscoreError as error:
                failed.append(str(error))
            if found:
                record = merge(found, command("all", threads, quick=quick))
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
    with few_processors(threads), output.spinner("measuring") as progress:
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


def run_compare(old: Path, new: Path, *, json: bool) -> None:
    """Print what changed; exit status 1 if something became slower than the noise."""
    before, after = read(old), read(new)
    table = compare(before, after)
    verdicts = table["verdict"].value_counts().to_dict()
    judged = sum(verdicts.get(verdict, 0) for verdict in ("slower", "same", "faster"))
    if not judged:
        raise InvalidInput(f"`old` and `new` must have rows in common; {old} and {new} have none.")
    slower = verdicts.get("slower", 0)
    absolute = same_machine(before, after)
    if json:
        facts = {"compared": judged, "absolute": absolute, "slower": slower, "verdicts": verdicts}
        output.emit({**facts, "rows": table.to_dict("records")}, json=True)
    else:
        what = "seconds" if absolute else "other machine or threads: our time over the other's"
        output.print_frame(table.drop(columns=["old", "new"]), title=f"ratio new/old ({what}), slowest first")
        output.emit({"compared": judged, "slower": slower, **verdicts}, json=False)
    if slower:
        sys.exit(1)


def run_merge(files: Sequence[Path], target: Path) -> None:
    """Write one file of several."""
    if not files:
        raise InvalidInput("`files` must name at least one file of `pyscore bench --json`; got none.")
    check_output(target, files)
    record = merge([read(file) for file in files])
    write(target, record)
    output.emit({"file": str(target), "rows": len(record.rows)}, json=False)


def run_table(file: Path, update: Path | None, *, check: bool, short: bool) -> None:
    """Print a record as Markdown, or put it between the markers of a page."""
    if update is not None and not check:
        check_output(update, [file])
    record = read(file)
    if update is None:
        output.write((tables.short_block if short else tables.markdown_block)(record))
        return
    same = tables.update_page(update, record, check=check, short=short)
    if check and not same:
        output.print_error(
            f"{update} is not what {file} gives. Run `pyscore bench table {file} --update {update}"
            + (" --short`." if short else "`.")
        )
        sys.exit(1)
    output.emit({"page": str(update), "state": "as it was" if same else "updated"}, json=False)
