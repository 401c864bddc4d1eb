"""Tables, JSON and progress on the terminal; progress and errors go to stderr, results to stdout."""

from __future__ import annotations

import contextlib
import json as jsonlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
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
from rich.table import Table
from rich.text import Text

__all__ = [
    "emit",
    "file_progress",
    "print_error",
    "print_frame",
    "print_note",
    "score_progress",
    "show_warning",
    "spinner",
    "task_progress",
    "training_progress",
]


def _errors() -> Console:
    return Console(stderr=True)


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
        sys.stdout.write(jsonlib.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")
        return
    console = Console()
    for key, entry in value.items():
        console.print(f"[bold]{escape(str(key))}[/bold]  {escape(str(entry))}", highlight=False, soft_wrap=True)


def print_frame(frame: pd.DataFrame, *, title: str, caption: str | None = None) -> None:
    """Print a DataFrame as a table; numbers right, text left, NaN as a dash."""
    console = Console()
    console.print(f"[bold]{escape(title)}[/bold]", highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype != bool
        table.add_column(
            str(name), justify="right" if numeric else "left", no_wrap=bool(numeric or name == frame.columns[0])
        )
    for row in frame.itertuples(index=False):
        table.add_row(*[escape(_cell(value)) for value in row])
    console.print(table)
    if caption:
        console.print(f"[dim]{escape(caption)}[/dim]", highlight=False)


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
    text = f"[yellow]warning:[/yellow] {escape(str(message))}"
    _errors().print(text, highlight=False, soft_wrap=True)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
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
    with _errors().status(description) as status:
        yield lambda note: status.update(f"{description}: {escape(note)}")


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} rows/s" if speed else "", style="progress.data.speed")


@contextlib.contextmanager
def score_progress(description: str) -> Iterator[Callable[[int, float | None], None]]:
    """Show a progress bar over rows, their rate and the time left; yields the function that says where it is."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]} rows"),
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
        TextColumn("{task.description} {task.fields[count]}/{task.fields[tasks]}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=_errors(), speed_estimate_period=1800) as progress:
        bar = progress.add_task(description, total=cost, tasks=tasks, count=0, note="")

        def update(done: float, count: int | None, note: str | None) -> None:
            fields: dict[str, Any] = {k: v for k, v in (("count", count), ("note", note)) if v is not None}
            progress.update(bar, advance=done, **fields)

        def skip(unneeded: float) -> None:
            progress.update(bar, total=max(0.0, (progress.tasks[0].total or 0.0) - unneeded))

        yield update, skip
