"""`pyscore results`: from the output folder of the experiment to tables, figures and a page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pyscore._core.output_guard import check_folder, check_output
from pyscore.cli.options import Json, Output
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import spinner, training_progress
from pyscore.cli.terminal import print_error, print_note
from pyscore.errors import DataIntegrityError, DataUnavailable, InvalidInput, ModelFileError
from pyscore.experiment import results_page, toy
from pyscore.experiment import term_analysis as anatomy
from pyscore.experiment.result_tables import selectable, summarise, write_summary
from pyscore.experiment.run_reader import Study, read_study

__all__ = ["results"]

PAGE = ".md"


def results(
    run: Path | None = None,
    /,
    *,
    output: Output = Path("docs/results.md"),
    tables: Path = Path("docs/results"),
    from_summary: Path | None = None,
    check: bool = False,
    json: Json = False,
) -> None:
    """Write tables, figures and page, or with `check` only compare the page with its tables.

    Parameters
    ----------
    run
        Output folder of the experiment; it may still be running.
    output
        The page, in Markdown.
    tables
        Folder for the tables (CSV) and figures (SVG, PNG) that the page is made of.
    from_summary
        Make the page again from such a folder, without the run.
    check
        Write nothing; exit status 1 unless the page is what the tables give.
    """
    if (run is None) == (from_summary is None):
        raise InvalidInput(
            "give either the output folder of an experiment, or --from-summary and a folder of tables."
        )
    if check:
        _check(from_summary or tables, output)
        return
    folder = from_summary or tables
    _check_outputs(run, output, folder)
    if run is not None:
        with spinner("reading the run") as say:
            study = read_study(run)
            write_summary(folder, summarise(study, _anatomy(run, study, say)))
    _train_toy(folder)
    with spinner("drawing"):
        page = results_page.write_page(folder, output)
    facts = {"page": str(output), "tables": str(folder), "figures": len(page.figures)}
    if json:
        emit({**facts, "verdicts": page.verdicts.to_dict("records")}, json=True)
        return
    shown = page.verdicts[["claim", "setting", "verdict", "count"]]
    print_frame(shown, title="the paper's claims; settings are trained / scored")
    emit(facts, json=False)


def _check_outputs(run: Path | None, output: Path, folder: Path) -> None:
    """Check that page and tables can be written, and that they replace nothing of the run."""
    inside = run is not None and Path(run).resolve() in (folder.resolve(), *folder.resolve().parents)
    if inside:
        raise InvalidInput(f"the tables must not go into the run that they are made of; got {str(folder)!r}.")
    if run is not None:
        check_folder(folder)
    check_folder(output.parent)
    others = [path for path in folder.rglob("*") if path.suffix.lower() != PAGE]
    check_output(output, [*([run] if run is not None else []), *others], suffixes=[PAGE])


def _anatomy(run: Path, study: Study, say: Callable[[str], None]) -> pd.DataFrame | str:
    """Take the scores of the selected models apart, or say why that cannot be done here."""
    try:
        return anatomy.anatomy(run, selectable(study), lambda name: say(f"the terms of `proposed`, {name}"))
    except (DataUnavailable, DataIntegrityError, ModelFileError, InvalidInput) as reason:
        print_note(f"the page will not say what decides `proposed`: {reason}")
        return str(reason)


def _train_toy(folder: Path) -> None:
    if not (folder / results_page.TOY_FILE).is_file():
        with training_progress("toy problem") as callback:
            toy.toy_model(folder / results_page.TOY_FILE, callback)


def _check(folder: Path, output: Path) -> None:
    """Exit with status 1 unless the page is what the tables give."""
    if not output.is_file():
        raise InvalidInput(f"there is no page {str(output)!r} to check.")
    with spinner("checking"):
        page = results_page.build_page(folder, results_page.links_from(output, folder))
    if page.text != output.read_text(encoding="utf-8"):
        print_error(
            f"{output} is not what the tables of {folder} give. Run `pyscore results --from-summary {folder}`."
        )
        sys.exit(1)
