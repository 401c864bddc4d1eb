"""Results on stdout: tables, JSON, lines of name and value."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from pyscore._core.text import as_json, one_line
from pyscore.cli.terminal import console, escape, print_note

if TYPE_CHECKING:
    import pandas as pd

    from pyscore.scoring.stream import StreamResult

__all__ = ["emit", "note_resumption", "print_columns", "print_frame"]


def note_resumption(result: StreamResult) -> None:
    """Say whether an unfinished run was found, and what became of it."""
    if result.restarted is not None:
        print_note(f"an unfinished run was there, but {result.restarted}; started anew.")
    if result.resumed:
        print_note(f"went on from row {result.resumed:,}, where an earlier run had stopped.")


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
    """`print_columns` of a DataFrame."""
    columns = [(name, frame.iloc[:, i].tolist()) for i, name in enumerate(frame.columns)]
    print_columns(columns, title=title, caption=caption)


def print_columns(
    columns: Sequence[tuple[object, Sequence[Any]]], *, title: str, caption: str | None = None
) -> None:
    """Print named columns as a table; numbers right, text left, NaN as a dash."""
    out = console()
    out.print(f"[bold]{escape(title)}[/bold]", highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for i, (name, values) in enumerate(columns):
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        table.add_column(_name(name), justify="right" if numeric else "left", no_wrap=numeric or i == 0)
    for row in zip(*(values for _, values in columns), strict=True):
        table.add_row(*[_name(_cell(value)) for value in row])
    out.print(table)
    if caption:
        out.print(f"[dim]{escape(caption)}[/dim]", highlight=False)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3f}"
    return str(value)
