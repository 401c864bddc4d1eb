"""The commands, each in a file of its own that is loaded when the command is called."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from typing import Any, TextIO

from cyclopts import App

from pyscore._core.optional import needs_torch
from pyscore.cli import terminal
from pyscore.cli.net import status_of
from pyscore.data.read_options import TableNote

__all__ = ["app", "main"]

DEBUG = "--debug"
COMMANDS = {
    "demo": "Train on the embedded breast-cancer data, print a table of test AUCs, save the model and a figure.",
    "fit": "Train a model on a table and save it.",
    "score": """
        Score the rows of tables of any size with a saved model: log-densities in nats, higher = more normal.

        Rows keep their order; memory does not grow with their number. A run that was killed goes on where it was
        when the same command is given again.
        """,
    "explain": "Say why a row has its score: the contribution of each feature, and the terms of the score.",
    "evaluate": "Print AUCs of a saved model on a labelled table, or of models trained on a dataset.",
    "doctor": "Print versions, backends (and why one is missing), and folders.",
    "verify": """
        Compare every function of every backend with the float64 reference and with the original's outputs.

        With --model and --data: the scores of your own model on your own rows, through every backend. Exit status
        1 if a function is out of its stated bound.
        """,
    "reproduce": """
        Run the paper's experiment: train and measure a grid of models on its datasets; resumable.

        Results are rows of Parquet files in the output folder, one file a finished stack (all models of one
        dataset, split and shape). Called again, it goes on where it was stopped, however it was stopped.
        """,
    "results": "Make the page of results: what the paper claims, what the experiment gave, tables and figures.",
    "unreliable": """
        Search for anomalies far from all data that reconstruction error calls normal.

        They are scored otherwise, too. Writes tables, figures and report.md.
        """,
    "report": "Make one self-contained HTML page of all results in a folder: measurements, experiment, agreement.",
}
"""What each command does, for the help. Its function is ``cli/COMMAND.py:COMMAND``."""
GROUPS = {
    "data": "The paper's ten datasets: fetch, list, where.",
    "bench": "Measure kernels, scores, training, datasets, peers; compare files.",
}
"""Commands of several commands: each is the `cyclopts.App` ``cli/GROUP.py:GROUP``."""

app = App(
    name="pyscore",
    help="Density-based anomaly scores for autoencoders. Scores are log-densities: higher = more normal.",
    version_flags=["--version"],
    help_format="plaintext",  # the list of commands needs no Markdown, which takes long to load
    help_epilogue=f"With any command, {DEBUG} prints the traceback of what went wrong.",
    suppress_keyboard_interrupt=False,  # `main` says that the work can go on
)
for _name, _help in COMMANDS.items():
    app.command(f"pyscore.cli.{_name}:{_name}", help=_help, help_format="markdown")
for _name, _help in GROUPS.items():
    app.command(f"pyscore.cli.{_name}:{_name}", help=_help)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one, and what was left aside in a table as a note."""
    if issubclass(category, TableNote):
        terminal.print_note(str(message))
    else:
        terminal.show_warning(message, category, filename, lineno, file, line)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; what goes wrong is said on stderr, with the exit status of `pyscore.cli.net`."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = DEBUG in arguments or os.environ.get("PYSCORE_DEBUG") == "1"
    terminal.ready_streams()
    with warnings.catch_warnings():  # what a program shows of its warnings is its own again afterwards
        warnings.showwarning = _show
        warnings.filterwarnings("always", category=TableNote)  # a note is no error where warnings are
        result: Any = None
        status: str | int | None = None
        try:
            try:
                with needs_torch("this command"):
                    result = app(
                        [argument for argument in arguments if argument != DEBUG], exit_on_error=False,
                        print_error=False, console=terminal.console(), error_console=terminal.console(stderr=True),
                    )  # fmt: skip
            except SystemExit as stop:
                status = stop.code
            terminal.finish_stdout()
        except (Exception, KeyboardInterrupt) as error:
            status = status_of(error, debug=debug) or status
            with contextlib.suppress(OSError, ValueError):
                terminal.finish_stdout()
    if status is None:
        return result
    sys.exit(status)
