"""The figures of the results page; each takes tables (or maps) and returns a matplotlib Figure.

Colours are those of Okabe and Ito. Whatever colour shows is also shown by position, marker or hatching.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyscore._core.text import figure_text
from pyscore.experiment.schema import BASELINE_NAMES
from pyscore.experiment.significance import Ranking
from pyscore.experiment.toy import WINDOW, Maps
from pyscore.scoring.plots import COLOURS

__all__ = ["ablation_changes", "auc_boxes", "critical_difference", "latent_sweep", "paired_settings", "toy_maps"]

STYLE: dict[str, dict[str, Any]] = {
    "reconstruction": {"color": COLOURS[0], "marker": "o", "hatch": ""},
    "proposed": {"color": COLOURS[1], "marker": "s", "hatch": "////"},
}
PAIR = tuple(STYLE)
GREY = "0.45"
BESIDE: dict[str, dict[str, Any]] = {
    "knn": {"marker": "_", "ms": 26, "mew": 1.6, "color": GREY},
    "isolation_forest": {"marker": "^", "ms": 6, "color": COLOURS[2], "mfc": "w"},
    "pca": {"marker": "x", "ms": 6, "color": GREY},
    "ppca": {"marker": "+", "ms": 8, "color": COLOURS[3]},
}
"""How each baseline is drawn in Figure 2, between the two boxes."""
LINES = ("--", ":", "-.", (0, (1, 3)))


def toy_maps(maps: Maps) -> Figure:
    """Figure 1: data and true density, and the density maps of reconstruction, prior and proposed score."""
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    axes = figure.subplots(1, 4, sharex=True, sharey=True)
    extent = (*WINDOW[0], *WINDOW[1])
    panels = [
        ("data and true density", maps.true / maps.true.max()),
        ("(a) reconstruction  N(x; f(z), σ²)", maps.scores["reconstruction"]),
        ("(b) prior  p(z), z = g(x)", maps.scores["prior"]),
        ("(c) proposed, equation (7)", maps.scores["proposed"]),
    ]
    for i, (axis, (title, values)) in enumerate(zip(axes, panels, strict=True)):
        image = axis.imshow(
            values, origin="lower", extent=extent, cmap="Blues", vmin=0, vmax=1, interpolation="nearest"
        )
        # the region that holds the data, to compare each map with
        axis.contour(
            maps.x1, maps.x2, maps.true, levels=[_level(maps.true, 0.99)], colors=COLOURS[1], linewidths=1.0
        )
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("$x_1$")
        if i == 0:
            axis.plot(*maps.data[:150].T, ".", color="k", ms=1.6, alpha=0.7)
            axis.set_ylabel("$x_2$")
    figure.colorbar(image, ax=axes, shrink=0.85, pad=0.01, label="density / its maximum")
    return figure


def _level(density: np.ndarray, coverage: float) -> float:
    """Density at the border of the smallest region with the given share of the mass."""
    ordered = np.sort(density, axis=None)[::-1]
    return float(ordered[np.searchsorted(np.cumsum(ordered) / ordered.sum(), coverage)])


def auc_boxes(
    selected: pd.DataFrame,
    datasets: Sequence[str],
    criteria: Sequence[str] = ("supervised", "unsupervised"),
    beside: pd.DataFrame | None = None,
) -> Figure:
    """Figure 2: test AUCs of reconstruction and proposed over the splits, one panel per selection.

    Parameters
    ----------
    selected : rows of one setting of `Summary.selected`
    datasets : the order along the axis
    criteria : panels, from the top
    beside : baselines (dataset, split, score, auc_test); each is drawn as a mark at its mean
    """
    figure = Figure(figsize=(10, 2.9 * len(criteria) + 0.7), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(criteria), 1, sharex=True, sharey=True))
    for axis, criterion in zip(axes, criteria, strict=True):
        rows = selected[selected["criterion"] == criterion]
        for name, shift in zip(PAIR, (-0.19, 0.19), strict=True):
            values = [_values(rows, dataset, name) for dataset in datasets]
            _boxes(axis, values, np.arange(len(datasets)) + shift, name)
        if beside is not None:
            means = beside.groupby(["score", "dataset"])["auc_test"].mean()
            for name, style in BESIDE.items():
                mark = {"label": BASELINE_NAMES[name].label, **style}
                if name in means.index:
                    values = means[name].reindex(list(datasets))
                    axis.plot(range(len(datasets)), values, ls="", **mark)
        axis.axhline(0.5, color="0.8", lw=0.8, zorder=0)
        axis.set(ylabel="test AUC", xlim=(-0.6, len(datasets) - 0.4))
        axis.set_title(f"model selection: {criterion}", fontsize=11, loc="left")
        axis.grid(axis="y", color="0.92", lw=0.8)
        axis.set_axisbelow(True)
    axes[-1].set_xticks(range(len(datasets)), list(map(figure_text, datasets)), rotation=25, ha="right")
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper right", ncols=len(handles), frameon=False)
    return figure


def _values(rows: pd.DataFrame, dataset: str, score: str) -> np.ndarray:
    chosen = rows[(rows["dataset"] == dataset) & (rows["score"] == score)]
    return chosen["auc_test"].dropna().to_numpy()


def _boxes(axis: Axes, values: list[np.ndarray], places: np.ndarray, name: str) -> None:
    style = STYLE[name]
    enough = [i for i, v in enumerate(values) if len(v) > 1]
    if enough:
        axis.boxplot(
            [values[i] for i in enough], positions=places[enough], widths=0.32, showfliers=False,
            patch_artist=True, manage_ticks=False,
            boxprops={"facecolor": "none", "edgecolor": style["color"], "hatch": style["hatch"], "linewidth": 1.1},
            medianprops={"color": style["color"], "linewidth": 2},
            whiskerprops={"color": style["color"]}, capprops={"color": style["color"]},
        )  # fmt: skip
    x = np.repeat(places, [len(v) for v in values])
    axis.plot(
        x,
        np.concatenate([*values, []]),
        ls="",
        marker=style["marker"],
        ms=4,
        mfc="w",
        mec=style["color"],
        label=name,
    )


def latent_sweep(sweep: pd.DataFrame, beside: dict[str, float] | None = None) -> Figure:
    """Figure 3: test AUC against latent dimension, boxes over splits and hyper-parameters.

    Parameters
    ----------
    sweep : rows of one setting of `Summary.sweep`
    beside : mean test AUC of baselines by name; each is a horizontal line, as it has no latent dimension
    """
    figure = Figure(figsize=(8, 3.9), layout="constrained")
    axis = figure.subplots()
    for (name, value), dashes in zip((beside or {}).items(), LINES, strict=False):
        axis.axhline(value, ls=dashes, lw=1.2, color=GREY, label=figure_text(name), zorder=1)
    dims = sorted(sweep["latent_dim"].unique())
    for name, shift in zip(PAIR, (-0.17, 0.17), strict=True):
        rows = sweep[sweep["score"] == name]
        values = [rows.loc[rows["latent_dim"] == k, "auc_test"].dropna().to_numpy() for k in dims]
        style = STYLE[name]
        filled = [i for i, v in enumerate(values) if len(v)]
        if not filled:
            continue
        axis.boxplot(
            [values[i] for i in filled], positions=np.array(dims)[filled] + shift, widths=0.28, patch_artist=True,
            boxprops={"facecolor": "none", "edgecolor": style["color"], "hatch": style["hatch"]},
            medianprops={"color": style["color"], "linewidth": 2}, manage_ticks=False,
            whiskerprops={"color": style["color"]}, capprops={"color": style["color"]},
            flierprops={"marker": ".", "ms": 3, "mec": style["color"], "mfc": style["color"]},
        )  # fmt: skip
        medians = [np.median(values[i]) for i in filled]
        axis.plot(
            np.array(dims)[filled] + shift, medians, color=style["color"], lw=1.2, marker=style["marker"], ms=5,
            mfc="w", label=f"{name} (line: medians)",
        )  # fmt: skip
    axis.set(xlabel="latent dimension k (codes lie on a sphere of dimension k − 1)", ylabel="test AUC")
    axis.set_xticks(dims)
    axis.grid(axis="y", color="0.92", lw=0.8)
    axis.set_axisbelow(True)
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def critical_difference(ranks: Ranking, labels: dict[str, str], bold: str = "proposed") -> Figure:
    """Demšar's diagram: average ranks on a line, methods within the critical difference joined by a bar."""
    values, k = ranks.ranks, len(ranks.ranks)
    left = (k + 1) // 2
    bars = _cliques(values.to_numpy(), ranks.critical_difference)
    top = 0.55 + 0.32 * len(bars)  # below the axis: first the bars, then the names
    height = top + 0.42 * left + 1.1
    figure = Figure(figsize=(8.5, 0.62 * height + 0.5), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(0.2, k + 0.8), ylim=(-(top + 0.42 * left), 1.35))
    axis.axis("off")
    axis.plot([1, k], [0, 0], color="k", lw=1)
    for rank in range(1, k + 1):
        axis.plot([rank, rank], [0, 0.12], color="k", lw=1)
        axis.text(rank, 0.22, str(rank), ha="center", va="bottom", fontsize=9)
    axis.plot([1, 1 + ranks.critical_difference], [0.95, 0.95], color=GREY, lw=2, marker="|", ms=8)
    axis.text(
        1, 1.08, f"critical difference {ranks.critical_difference:.2f} (5 %, {ranks.datasets} problems)",
        fontsize=9, color="0.25", va="bottom",
    )  # fmt: skip
    for i, (start, stop) in enumerate(bars):
        axis.plot([start - 0.06, stop + 0.06], [-0.3 - 0.32 * i] * 2, color="k", lw=4, solid_capstyle="round")
    for i, (name, rank) in enumerate(values.items()):
        on_left = i < left
        y = -(top + 0.42 * (i if on_left else k - 1 - i))
        edge, align = (0.75, "right") if on_left else (k + 0.25, "left")
        colour = COLOURS[1] if name == bold else GREY
        axis.plot([rank, rank, edge], [0, y, y], color=colour, lw=1.6 if name == bold else 0.9, clip_on=False)
        text = f"{figure_text(labels.get(str(name), str(name)))}  {rank:.2f}"
        axis.text(
            edge + (-0.08 if on_left else 0.08), y, text, ha=align, va="center", fontsize=10, clip_on=False,
            color=COLOURS[1] if name == bold else "k", fontweight="bold" if name == bold else "normal",
        )  # fmt: skip
    return figure


def _cliques(ranks: np.ndarray, critical: float) -> list[tuple[float, float]]:
    """Longest runs of at least two sorted ranks that span less than the critical difference."""
    runs: list[tuple[float, float]] = []
    end = -1
    for i, rank in enumerate(ranks):
        last = int(np.searchsorted(ranks, rank + critical)) - 1
        if last > i and last > end:
            runs.append((float(rank), float(ranks[last])))
            end = last
    return runs


def ablation_changes(changes: pd.DataFrame, labels: dict[str, str] | None = None) -> Figure:
    """Change of the test AUC when one field is switched: one dot per dataset, a bar for the mean, two panels.

    Parameters
    ----------
    changes : rows of `Summary.ablation` of one score and one convention
    labels : text for each field
    """
    panels = {"supervised_change": "supervised selection", "unsupervised_change": "unsupervised selection"}
    order = changes.groupby("switched")["unsupervised_change"].mean().sort_values(kind="stable").index
    figure = Figure(figsize=(9.5, 0.4 * len(order) + 1.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        for y, switched in enumerate(order):
            values = changes.loc[changes["switched"] == switched, column].dropna().to_numpy()
            axis.plot(values, np.full(len(values), y), ls="", marker="o", ms=5, mfc="w", mec=COLOURS[0], alpha=0.9)
            if len(values):
                axis.plot(values.mean(), y, marker="D", ms=7, color=COLOURS[1], ls="")
        axis.axvline(0, color="0.6", lw=1)
        axis.locator_params(axis="x", nbins=6)
        axis.set_title(title, fontsize=11, loc="left")
        axis.grid(axis="x", color="0.92", lw=0.8)
        axis.set_axisbelow(True)
    figure.supxlabel("change of test AUC; right of 0: the value after the arrow is better", fontsize=10)
    axes[0].set_ylim(-0.6, len(order) - 0.4)
    axes[0].set_yticks(range(len(order)), [figure_text((labels or {}).get(name, name)) for name in order])
    axes[0].plot([], [], ls="", marker="o", mfc="w", mec=COLOURS[0], label="one dataset")
    axes[0].plot([], [], ls="", marker="D", color=COLOURS[1], label="mean")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def paired_settings(matrices: dict[str, pd.DataFrame], datasets: Sequence[str], title: str) -> Figure:
    """Test AUC of `proposed` by setting, with `reconstruction` for comparison; one line per dataset."""
    figure = Figure(figsize=(8.5, 0.38 * len(datasets) + 1.6), layout="constrained")
    axis = figure.subplots()
    markers = ("s", "D", "^", "v", "P", "X")
    y = np.arange(len(datasets))[::-1]
    series = [("reconstruction", next(iter(matrices.values())), "reconstruction", COLOURS[0], "o")]
    colours = [COLOURS[1], COLOURS[2], COLOURS[3], COLOURS[4], COLOURS[5]]
    series += [
        (f"proposed, {label}", matrix, "proposed", colour, marker)
        for (label, matrix), colour, marker in zip(matrices.items(), colours, markers, strict=False)
    ]
    points = []
    for label, matrix, score, colour, marker in series:
        values = matrix.reindex(index=list(datasets), columns=[score])[score].to_numpy(np.float64)
        points.append(values)
        axis.plot(values, y, ls="", marker=marker, ms=7, mfc=colour, mec="w", label=figure_text(label), zorder=3)
    stacked = np.array(points)
    some = np.isfinite(stacked).any(axis=0)
    low, high = np.nanmin(stacked[:, some], axis=0), np.nanmax(stacked[:, some], axis=0)
    axis.hlines(y[some], low, high, color="0.8", lw=2.5)
    axis.set_yticks(y, list(map(figure_text, datasets)))
    axis.set_xlabel("mean test AUC")
    axis.set_title(figure_text(title), fontsize=11, loc="left")
    axis.grid(axis="x", color="0.92", lw=0.8)
    axis.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
