"""Plots as inline SVG that takes its colours of text, lines and background from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, fromstring, tostring

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter, NullLocator

from pyscore._core.text import figure_text, one_line
from pyscore.bench.record import Row, groups
from pyscore.bench.tables import slope
from pyscore.errors import InvalidInput
from pyscore.scoring.plots import COLOURS

__all__ = ["check_svg", "draw_scaling", "element", "inline_svg", "rates", "scaling"]

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
        axes.scatter(
            [row.rate for row in mine],
            places,
            marker=marker,
            label=figure_text(name),
            s=34,
            color=colour,
            zorder=3,
        )
    axes.set(
        xscale="log",
        title=figure_text(title),
        xlabel="a second (further right is faster)",
        ylim=(len(works) - 0.5, -0.5),
    )
    _few_ticks(axes.xaxis)
    axes.set_yticks(range(len(works)), [figure_text(work) for _, work in works])
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=min(3, len(names)), frameon=False, fontsize=9)
    return figure


def _few_ticks(axis: Axis) -> None:
    """Label decades, or where there is less than two of them also 2 and 5, as 10k, 20M."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_minor_formatter(NullFormatter())


def _look(index: int) -> tuple[str, str]:
    """Colour and marker of a contestant; the ninth has the first's colour with another marker."""
    return COLOURS[index % len(COLOURS)], MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def scaling(rows: Sequence[Row], axis: str) -> Figure:
    """Draw seconds over the size of one sweep, log-log, with the slope of each contestant in the legend."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    draw_scaling(axes, rows, axis)
    sizes = sorted({row.facts["size"] for row in rows})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    _plain_ticks(axes.yaxis)
    return figure


def _plain_ticks(axis: Axis) -> None:
    """Label decades, and where these would be less than three also 2 and 5, as plain numbers."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 1000 * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:.6g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_scaling(axes: Axes, rows: Sequence[Row], axis: str) -> None:
    """Draw into given axes what `scaling` draws."""
    for index, name in enumerate(dict.fromkeys(row.contestant for row in rows)):
        mine = sorted((row for row in rows if row.contestant == name), key=lambda row: row.facts["size"])
        exponent = slope(mine)
        label = figure_text(name) + ("" if np.isnan(exponent) else f", slope {exponent:.2f}")
        colour, marker = _look(index)
        axes.plot(
            [row.facts["size"] for row in mine], [row.median for row in mine],
            marker=marker, color=colour, label=label,
        )  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=figure_text(axis),
        ylabel="seconds",
        title=f"Time over {figure_text(axis)}",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False, fontsize=9)


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an <svg> element without prolog, metadata or background, described for screen readers.

    ``name`` must be unique in the page: see `element`. Only for figures that were drawn here: one of a file may
    hold anything, and belongs in an image.
    """
    target = io.StringIO()
    # The salt makes identifiers equal from run to run.
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    return element(fromstring(target.getvalue()), name, one_line(description))


# ── SVG as a part of the page ──

DROPPED = ("metadata", "style")
"""matplotlib's style would apply to all figures of a page; the page's own style sheet has it."""
MOST_DEPTH = 200
"""Levels of elements in a figure of a file; matplotlib makes ten."""


def check_svg(data: bytes) -> None:
    """Check that a file is SVG that a browser can draw; nothing is kept of it.

    Raises
    ------
    InvalidInput
        If it is not well-formed, defines entities, nests too deeply, or is not SVG.
    """
    from xml.parsers.expat import ExpatError, ParserCreate

    open_elements: list[str] = []

    def start(name: str, _: dict[str, str]) -> None:
        if not open_elements and name.rpartition(":")[2] != "svg":
            raise InvalidInput(
                f"a figure must be an <svg> element, and is <{one_line(name)[:40]}>. Draw it again."
            )
        open_elements.append(name)
        if len(open_elements) > MOST_DEPTH:
            raise InvalidInput(f"a figure must nest at most {MOST_DEPTH} elements. Draw it again.")

    def entity(*_: object) -> None:
        raise InvalidInput("a figure must define no entities of XML. Draw it again.")

    parser = ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: open_elements.pop()
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(data, True)
    except (ExpatError, ValueError, LookupError) as error:  # the last two: an encoding that Python does not have
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"a figure must be well-formed SVG; it is not: {error}. Draw it again.") from None


def element(root: Element, name: str, description: str) -> str:
    """Return a figure of line art as an element of the page, in the page's colours.

    Identifiers begin with ``name``, and so do the references to them: they meet no other figure's. Black becomes
    the colour of the text, white that of the page, a grey the mixture of both.
    """
    referred = {found for each in root.iter() for value in each.attrib.values() for found in _references(value)}
    _clean(root)
    seen: set[str] = set()
    for each in root.iter():
        each.tag = _local(each.tag)
        # Of an identifier that is there twice a reference means the first.
        kept = {_local(k): v for k, v in each.attrib.items() if k != "id" or (v in referred and v not in seen)}
        seen.add(each.attrib.get("id", ""))
        each.attrib = {key: _adapted(key, value, name) for key, value in kept.items()}
        if each.tag not in ("text", "tspan"):
            each.text = (each.text or "").strip() or None
        if each.tag != "tspan":
            each.tail = None
    rest = {k: v for k, v in root.attrib.items() if k not in ("id", "width", "height", "version")}
    if "viewBox" not in rest and {"width", "height"} <= set(root.attrib):
        rest["viewBox"] = f"0 0 {_points(root.attrib['width'])} {_points(root.attrib['height'])}"
    root.attrib = {"role": "img", "aria-label": description, "fill": "currentColor", **rest}
    return tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _points(length: str) -> str:
    return re.sub(r"[a-z]+$", "", length.strip())


def _references(value: str) -> list[str]:
    return re.findall(r"url\(#([^)]+)\)", value) + ([value[1:]] if value.startswith("#") else [])


def _clean(parent: Element) -> None:
    for child in list(parent):
        if _local(child.tag) in DROPPED:
            parent.remove(child)
        else:
            _clean(child)


def _adapted(key: str, value: str, name: str) -> str:
    """Return an attribute with its identifiers prefixed, and its greys those of the page."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value[1:]}"
    value = value.replace("url(#", f"url(#{name}-")
    return re.sub(r"#([0-9a-f]{2})\1\1(?![0-9a-f])", _page_colour, value) if key == "style" else value


def _page_colour(grey: re.Match[str]) -> str:
    ink = 1 - int(grey[1], 16) / 255
    if ink in (0, 1):
        return "currentColor" if ink else "var(--paper, #fff)"
    return f"color-mix(in srgb, currentColor {100 * ink:.0f}%, var(--paper, #fff))"
