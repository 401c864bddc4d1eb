"""Progress on stderr: bars, with the rate and the time left, and spinners."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

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
from rich.text import Text

from pyscore.cli.terminal import console, escape

__all__ = ["file_progress", "score_progress", "spinner", "task_progress", "training_progress"]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=console(stderr=True),
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
    err = console(stderr=True)
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
    with Progress(*columns, console=console(stderr=True)) as progress:
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
    with Progress(*columns, console=console(stderr=True), speed_estimate_period=1800) as progress:
        bar = progress.add_task(description, total=cost, tasks=tasks, count=0, note="")

        def update(done: float, count: int | None, note: str | None) -> None:
            fields: dict[str, Any] = {k: v for k, v in (("count", count), ("note", note)) if v is not None}
            progress.update(bar, advance=done, **fields)

        def skip(unneeded: float) -> None:
            progress.update(bar, total=max(0.0, (progress.tasks[0].total or 0.0) - unneeded))

        yield update, skip
