"""Tables, JSON and progress on the terminal; progress and errors go to stderr, results to stdout.

Everything that a command prints goes through this file: text of others is shown, never obeyed
(`pyscore._core.text`), and what the terminal's encoding lacks is written otherwise.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape as escape_markup
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from pyscore._core.text import FALLBACK, as_json, encodable, one_line, printable

__all__ = [
    "console",
    "drop_stdout",
    "emit",
    "file_progress",
    "finish_stdout",
    "goes_on",
    "print_error",
    "print_frame",
    "print_note",
    "ready_streams",
    "score_progress",
    "show_warning",
    "spinner",
    "task_progress",
    "training_progress",
    "write",
    "write_error",
]


class _Console(Console):
    """A console that shows the text of others, whoever prints it: cyclopts prints help and errors here, too."""

    def on_broken_pipe(self) -> None:
        """Say no more to a stderr that nobody reads; a stdout that nobody reads ends the command (`main`)."""
        if not self.stderr:
            raise BrokenPipeError
        self.quiet = True

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render as rich does, each piece of text made printable in the encoding of the stream."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(encodable(printable(segment.text), self.encoding), segment.style)


def console(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr as they are now."""
    return _Console(stderr=stderr)


def _errors() -> Console:
    return console(stderr=True)


def ready_streams() -> None:
    """Let stdout and stderr take every character: one that their encoding lacks becomes ASCII."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - for as long as the command takes
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=FALLBACK)


def finish_stdout() -> None:
    """Write what is still held back for stdout; if that fails, it is not tried again when Python ends.

    Raises
    ------
    OSError
        If it cannot be written: a `BrokenPipeError` if nobody reads it any more, as after ``| head -1``.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        drop_stdout()
        raise


def drop_stdout() -> None:
    """Let all that is still written to stdout vanish."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def goes_on(hint: str) -> Iterator[None]:
    """Add to a Ctrl-C how the work can be continued."""
    try:
        yield
    except KeyboardInterrupt as error:
        if hint:
            error.add_note(hint)
        raise


def write(text: str) -> None:
    """Write lines of text to stdout."""
    sys.stdout.write(printable(text) + "\n")


def write_error(text: str) -> None:
    """Write lines of text to stderr."""
    sys.stderr.write(printable(text) + "\n")


def escape(text: object) -> str:
    """Return text for a line of a console: shown, not obeyed, neither by the terminal nor by rich."""
    return escape_markup(encodable(printable(text), getattr(sys.stdout, "encoding", None)))


def _name(text: object) -> str:
    """`escape` for the cell of a table, on one line."""
    return escape(one_line(text))


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: they become strings, NumPy values become plain ones."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def emit(value: Any, *, json: bool) -> None:
    """Print a dictionary as JSON, or as lines of name and value."""
    if json:
        utf = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
        sys.stdout.write(as_json(_plain(value), ascii_only=not utf) + "\n")
        return
    out = console()
    for key, entry in value.items():
        out.print(f"[bold]{_name(key)}[/bold]  {escape(entry)}", highlight=False, soft_wrap=True)


def print_frame(frame: pd.DataFrame, *, title: str, caption: str | None = None) -> None:
    """Print a DataFrame as a table; numbers right, text left, NaN as a dash."""
    out = console()
    out.print(f"[bold]{escape(title)}[/bold]", highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype != bool
        table.add_column(
            _name(name), justify="right" if numeric else "left", no_wrap=bool(numeric or name == frame.columns[0])
        )
    for row in frame.itertuples(index=False):
        table.add_row(*[_name(_cell(value)) for value in row])
    out.print(table)
    if caption:
        out.print(f"[dim]{escape(caption)}[/dim]", highlight=False)


def _cell(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def print_error(text: str) -> None:
    """Print one error on stderr."""
    _errors().print(f"[bold red]error:[/bold red] {escape(text)}", highlight=False, soft_wrap=True)


def print_note(text: str) -> None:
    """Print on stderr what is worth knowing and no reason to worry."""
    _errors().print(f"[cyan]note:[/cyan] {escape(text)}", highlight=False, soft_wrap=True)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning without the source line that it came from."""
    text = f"[yellow]warning:[/yellow] {escape(message)}"
    _errors().print(text, highlight=False, soft_wrap=True)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=_errors(),
    )


@contextlib.contextmanager
def training_progress(description: str) -> Iterator[Callable[..., None]]:
    """Show a progress bar for training; yields the callback that drives it."""
    with _progress() as progress:
        task = progress.add_task(description, total=None, note="loading; the first run here compiles")

        def callback(done: int, total: int, loss: float | None = None) -> None:
            if done % 20 == 0 or done == total:  # torch calls at every step
                note = "" if loss is None else f"loss {loss:.4f}"
                progress.update(task, completed=done, total=total, note=note)

        yield callback


@contextlib.contextmanager
def spinner(description: str) -> Iterator[Callable[[str], None]]:
    """Show that work goes on, and on what; yields the function that says so."""
    err = _errors()
    moving = "dots" if err.encoding.startswith("utf") else "line"
    with err.status(escape(description), spinner=moving) as status:
        yield lambda note: status.update(f"{escape(description)}: {escape(note)}")


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} rows/s" if speed else "", style="progress.data.speed")


@contextlib.contextmanager
def score_progress(description: str) -> Iterator[Callable[[int, float | None], None]]:
    """Show a progress bar over rows, their rate and the time left; yields the function that says where it is."""
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[rows]} rows", markup=False),
        _Rate(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    ]
    with Progress(*columns, console=_errors()) as progress:
        task = progress.add_task(description, total=None, rows="0")

        def tell(rows: int, total: float | None) -> None:
            progress.update(task, completed=rows, total=total, rows=f"{rows:,}")

        yield tell
        progress.update(task, total=progress.tasks[0].completed)


@contextlib.contextmanager
def file_progress(description: str, items: Sequence[str]) -> Iterator[Callable[[Iterable[str]], Iterator[str]]]:
    """Show a progress bar over named items; yields the iterator that drives it."""
    with _progress() as progress:
        task = progress.add_task(description, total=len(items), note="")

        def advance(names: Iterable[str]) -> Iterator[str]:
            for name in names:
                progress.update(task, note=name)
                yield name
                progress.advance(task)

        yield advance


@contextlib.contextmanager
def task_progress(
    description: str, tasks: int, cost: float
) -> Iterator[tuple[Callable[[float, int | None, str | None], None], Callable[[float], None]]]:
    """Show a bar over tasks of unequal cost, with the time left.

    Yields ``update(cost done since, tasks done in all, note)`` and ``skip(cost that there is no need for)``.
    """
    columns = (
        TextColumn("{task.description} {task.fields[count]}/{task.fields[tasks]}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=_errors(), speed_estimate_period=1800) as progress:
        bar = progress.add_task(description, total=cost, tasks=tasks, count=0, note="")

        def update(done: float, count: int | None, note: str | None) -> None:
            fields: dict[str, Any] = {k: v for k, v in (("count", count), ("note", note)) if v is not None}
            progress.update(bar, advance=done, **fields)

        def skip(unneeded: float) -> None:
            progress.update(bar, total=max(0.0, (progress.tasks[0].total or 0.0) - unneeded))

        yield update, skip
