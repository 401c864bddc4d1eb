"""Plots as inline SVG that takes its colours of text, lines and background from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, ParseError, fromstring, tostring

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter, NullLocator

from pyscore.bench.record import Row, groups
from pyscore.bench.tables import slope
from pyscore.errors import InvalidInput
from pyscore.scoring.plots import COLOURS

__all__ = ["draw_scaling", "element", "inline_svg", "is_line_art", "parse", "rates", "scaling"]

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
    _few_ticks(axes.xaxis)
    axes.set_yticks(range(len(works)), [work for _, work in works])
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
    """Return a figure as an <svg> element without prolog, metadata or background, described for screen readers.

    ``name`` must be unique in the page: what `element` says.
    """
    target = io.StringIO()
    # The salt makes identifiers equal from run to run.
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    return element(parse(target.getvalue()), name, description)


# ── SVG files as a part of the page ──

MATPLOTLIB_STYLE = "*{stroke-linejoin: round; stroke-linecap: butt}"
"""In a page it would apply to all figures; the page's own style sheet has it."""
DRAWING = frozenset({
    "svg", "g", "defs", "use", "symbol", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon",
    "text", "tspan", "title", "desc", "clipPath", "pattern", "marker", "linearGradient", "radialGradient", "stop",
})  # fmt: skip
"""Elements that only draw."""
DROPPED = ("metadata", "style")


def parse(text: str) -> Element:
    """Read an SVG file.

    Raises
    ------
    InvalidInput
        If it is not well-formed, or not SVG.
    """
    try:
        root = fromstring(text)
    except ParseError as error:
        raise InvalidInput(f"a figure must be well-formed SVG; it is not: {error}. Draw it again.") from None
    if _local(root.tag) != "svg":
        raise InvalidInput(f"a figure must be an <svg> element, and is <{_local(root.tag)}>. Draw it again.")
    return root


def is_line_art(root: Element) -> bool:
    """Whether a figure is lines, areas and text: no raster, script or style sheet, nothing from elsewhere."""
    metadata = {child for each in root.iter() if _local(each.tag) == "metadata" for child in each.iter()}
    for each in root.iter():
        if each in metadata:
            continue
        tag = _local(each.tag)
        if tag == "style" and (each.text or "").strip() == MATPLOTLIB_STYLE:
            continue
        if tag not in DRAWING:
            return False
        for key, value in each.attrib.items():
            if _local(key).startswith("on") or re.search(r"url\((?!#)", value):
                return False
            if _local(key) == "href" and not value.startswith("#"):
                return False
    return True


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
