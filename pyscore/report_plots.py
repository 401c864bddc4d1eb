"""Plots of measurements as inline SVG that takes its colour of text and lines from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyscore.bench.record import Row, groups
from pyscore.bench.tables import slope
from pyscore.plots import COLOURS

__all__ = ["draw_scaling", "inline_svg", "rates", "scaling"]

INK = "#010203"
"""Drawn in this colour, it becomes the page's own."""
MARKERS = "osD^vPX*"


def rates(rows: Sequence[Row], title: str) -> Figure:
    """Draw units of work a second of each contestant, one line a piece of work, on a logarithmic axis.

    A bar through a marker is the range between the quartiles.
    """
    works = list(groups(rows))
    names = list(dict.fromkeys(row.contestant for row in rows))
    figure = Figure(figsize=(7.5, 1.4 + 0.34 * len(works)), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(names):
        mine = [row for row in rows if row.contestant == name]
        places = [works.index((row.suite, row.work)) for row in mine]
        low, high = ([row.count / np.percentile(row.seconds, q) for row in mine] for q in (75, 25))
        colour, marker = _look(index)
        axes.hlines(places, low, high, color=colour)
        axes.scatter([row.rate for row in mine], places, marker=marker, label=name, s=34, color=colour, zorder=3)
    axes.set(xscale="log", title=title, xlabel="a second (further right is faster)", ylim=(len(works) - 0.5, -0.5))
    axes.set_yticks(range(len(works)), [work for _, work in works])
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=min(3, len(names)), frameon=False, fontsize=9)
    return figure


def _look(index: int) -> tuple[str, str]:
    """Colour and marker of a contestant; the ninth has the first's colour with another marker."""
    return COLOURS[index % len(COLOURS)], MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def scaling(rows: Sequence[Row], axis: str) -> Figure:
    """Draw seconds over the size of one sweep, log-log, with the slope of each contestant in the legend."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    draw_scaling(figure.subplots(), rows, axis)
    return figure


def draw_scaling(axes: Axes, rows: Sequence[Row], axis: str) -> None:
    """Draw into given axes what `scaling` draws."""
    for index, name in enumerate(dict.fromkeys(row.contestant for row in rows)):
        mine = sorted((row for row in rows if row.contestant == name), key=lambda row: row.facts["size"])
        exponent = slope(mine)
        label = name if np.isnan(exponent) else f"{name}, slope {exponent:.2f}"
        colour, marker = _look(index)
        axes.plot(
            [row.facts["size"] for row in mine], [row.median for row in mine],
            marker=marker, color=colour, label=label,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="seconds", title=f"Time over {axis}")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False, fontsize=9)


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an <svg> element without prolog, metadata or background, described for screen readers."""
    _colour(figure)
    target = io.StringIO()
    # The salt makes identifiers differ between the figures of a page, and equal from run to run.
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    svg = target.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' width="[^"]*pt"| height="[^"]*pt"', "", svg.partition(">")[0]) + ">" + svg.partition(">")[2]
    svg = svg.replace(INK, "currentColor").replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
    return svg.strip()


def _colour(figure: Figure) -> None:
    """Give text, ticks and frames the colour that `inline_svg` replaces."""
    for axes in figure.axes:
        axes.title.set_color(INK)
        axes.tick_params(which="both", colors=INK)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        for spine in axes.spines.values():
            spine.set_color(INK)
    for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes)]:
        if legend is not None:
            for text in legend.get_texts():
                text.set_color(INK)
