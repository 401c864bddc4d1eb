"""Markdown tables from data frames, and the parts of a page that a command writes between two markers.

Cells may hold bold text, code, and names that come from outside. None of them can become HTML, a link or an image
(`pyscore._core.text.markdown_text`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyscore._core.files import atomic_write
from pyscore._core.text import markdown_text
from pyscore.errors import InvalidInput

__all__ = ["Markdown", "markdown_table", "replace_part", "three_decimals", "three_figures", "with_part"]


class Markdown(str):
    """Text that is Markdown already; a template prints it as it is."""

    __slots__ = ()


def three_decimals(value: float) -> str:
    """0.1 → "0.100"."""
    return f"{value:.3f}"


def three_figures(value: float) -> str:
    """0.1 → "0.1", 12345.0 → "1.23e+04"."""
    return f"{value:.3g}"


def markdown_table(frame: pd.DataFrame, number: Callable[[float], str] = three_decimals) -> Markdown:
    """Return a frame as a Markdown table.

    Columns of numbers and those in `attrs["right"]` are aligned to the right.
    """
    if frame.empty:
        return Markdown()
    kinds = [pd.api.types.is_numeric_dtype(frame.iloc[:, place]) for place in range(frame.shape[1])]
    right = [kind or name in frame.attrs.get("right", ()) for kind, name in zip(kinds, frame.columns, strict=True)]
    lines = [[_cell(c, number) for c in frame.columns], ["---:" if r else "---" for r in right]]
    lines += [[_cell(value, number) for value in row] for row in frame.itertuples(index=False)]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _cell(value: Any, number: Callable[[float], str]) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and math.isnan(value)):
        return "–"
    if isinstance(value, float | np.floating):
        return number(float(value))
    return markdown_text(value).replace("|", "\\|")


def with_part(text: str, begin: str, end: str, body: str, page: str) -> str:
    """Return the text of a page with `body` between its two markers.

    Raises
    ------
    InvalidInput
        If the page has not exactly one pair of them, in that order.
    """
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise InvalidInput(f"`page` {page!r} must have one line {begin} and, after it, one line {end}, once each.")
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{body}\n\n{end}{rest.split(end)[1]}"


def replace_part(page: str | os.PathLike[str], begin: str, end: str, body: str, *, check: bool = False) -> bool:
    """Put `body` between the markers of a page, atomically; return whether it was there already.

    With `check` nothing is written.

    Raises
    ------
    InvalidInput
        If there is no such page, or it has not exactly one pair of markers.
    """
    page = Path(page)
    if not page.is_file():
        raise InvalidInput(f"`update` must name a page that exists; there is no {str(page)!r}.")
    text = page.read_text(encoding="utf-8")
    fresh = with_part(text, begin, end, body, str(page))
    if fresh != text and not check:
        with atomic_write(page, "w") as file:
            file.write(fresh)
    return fresh == text
