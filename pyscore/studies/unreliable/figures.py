"""Figures of the unreliability experiments, as matplotlib objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, FigureBase

from pyscore._core.checks import Array
from pyscore.detectors.autoencoder import Autoencoder
from pyscore.scoring.plots import COLOURS
from pyscore.studies.unreliable.adversarial import Adversaries, nearest_distance
from pyscore.studies.unreliable.bounded import decoder_range_bound, error_bound, identity_autoencoder
from pyscore.studies.unreliable.images import ImageRun, latent_map
from pyscore.studies.unreliable.linear import Subspace, principal_subspace
from pyscore.studies.unreliable.plane import HALF_WIDTH, PlaneRun, error_map

__all__ = ["bounded_figure", "images_figure", "linear_figure", "missed_figure", "plane_figure"]

DATA, FOUND, BLIND = COLOURS[0], COLOURS[1], COLOURS[2]


def linear_figure(x: Array, subspace: Subspace, angles: pd.DataFrame) -> Figure:
    """Draw errors against distance for points on the principal subspace and for points off it.

    `angles` has columns ``steps``, ``bias`` and ``angle``, the angle between a trained linear autoencoder and PCA.
    """
    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(0)
    length = np.geomspace(1, 1e8, 60)
    direction = rng.standard_normal((60, subspace.basis.shape[1]))
    c = length[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    a = subspace.point(c)
    distance = nearest_distance(a, x)
    scatter = np.linalg.norm(x - subspace.reconstruct(x), axis=1)
    exact = np.linalg.norm(a - subspace.reconstruct(a), axis=1)
    left.axhspan(scatter.min(), scatter.max(), color=DATA, alpha=0.2, lw=0, label="errors of the data")
    left.plot(distance, np.maximum(exact, 1e-17), ".", color=FOUND, label="a = x̄ + cVᵀ")
    left.plot(distance, distance * np.finfo(float).eps, color="0.5", lw=1, ls="--", label="distance · eps")
    left.set(xscale="log", yscale="log", xlabel="distance to the nearest training row", ylabel="‖a − r(a)‖")
    left.set_title("PCA: perfect at any distance", fontsize=11)
    left.legend(frameon=False, loc="center right", fontsize=9)
    for (bias, part), colour in zip(angles.groupby("bias"), COLOURS, strict=False):
        label = "with bias → PCA" if bias else "no bias → PCA through 0"
        right.plot(part["steps"], np.maximum(part["angle"], 1e-16), "o-", ms=4, color=colour, label=label)
    right.set(xscale="log", yscale="log", xlabel="L-BFGS steps", ylabel="largest principal angle, rad")
    right.set_title("Trained linear autoencoders reach the PCA subspace", fontsize=11)
    right.legend(frameon=False, fontsize=9)
    return figure


def _map(axes: Axes, run: PlaneRun, half_width: float) -> None:
    axis, errors = error_map(run.model, half_width)
    image = axes.pcolormesh(
        axis,
        axis,
        np.log10(np.maximum(errors, 1e-6)),
        cmap="Greys",
        vmin=-4,
        vmax=3,
        shading="nearest",
        rasterized=True,
    )
    image.set_edgecolor("face")
    blind = np.where(errors < run.lenient.threshold, 1.0, np.nan)
    axes.pcolormesh(axis, axis, blind, cmap=ListedColormap([BLIND]), shading="nearest", rasterized=True)
    axes.plot(*run.x.T, ".", ms=1.5, color=DATA)
    for found, marker in ((run.lenient, "x"), (run.strict, "+")):
        points = found.far[found.found]
        inside = np.abs(points).max(axis=1, initial=0) <= half_width
        axes.plot(*points[inside].T, marker, ms=5, mew=1.2, color=FOUND)
    axes.set(xlim=(-half_width, half_width), ylim=(-half_width, half_width), aspect="equal", xticks=[], yticks=[])


def plane_figure(runs: Sequence[PlaneRun], half_width: float = HALF_WIDTH) -> Figure:
    """Draw maps of the reconstruction error, with one row of panels per shape and one column per network.

    Grey is the log error, light where it is small. Green: an error as small as that of 95 % of the data. Crosses:
    adversarial anomalies.
    """
    shapes = list(dict.fromkeys(run.shape for run in runs))
    networks = list(dict.fromkeys(run.architecture.label for run in runs))
    figure = Figure(figsize=(1.65 * len(networks), 1.85 * len(shapes) + 0.6), layout="constrained")
    grid = figure.subplots(len(shapes), len(networks), squeeze=False)
    for run in runs:
        row, column = shapes.index(run.shape), networks.index(run.architecture.label)
        axes = grid[row][column]
        _map(axes, run, half_width)
        if row == 0:
            name, _, sizes = run.architecture.label.partition(" [")
            axes.set_title(f"{name}\n[{sizes}", fontsize=7)
        if column == 0:
            axes.set_ylabel(f"{run.shape}, ±{half_width:g} deviations", fontsize=8)
        reach = run.lenient.reach / run.lenient.radius
        axes.set_xlabel(f"reach {reach:.1f} radii", fontsize=8)
    figure.suptitle(
        "Reconstruction error (grey, light = small); green: as small as on 95 % of the data (blue); "
        "crosses: anomalies found",
        fontsize=9,
    )
    return figure


def bounded_figure(free: PlaneRun, bounded: PlaneRun, half_width: float = HALF_WIDTH) -> Figure:
    """Draw the maps of a constructed swish network and of a code on the circle, and their least error by radius.

    The constructed network is `identity_autoencoder`: the same layers as the trained `free` one, and exactly PCA.
    """
    subspace = principal_subspace(bounded.x, 1)
    exact = identity_autoencoder(subspace, "swish")
    figure = Figure(figsize=(11.5, 4.1), layout="constrained")
    panels = figure.subplots(1, 3)
    _map(
        panels[0], free._replace(model=exact, lenient=_everywhere(free, exact), strict=_nowhere(free)), half_width
    )
    panels[0].set_title("swish [2,2,1,2,2], constructed: PCA exactly", fontsize=10)
    _map(panels[1], bounded, half_width)
    panels[1].set_title(bounded.architecture.label, fontsize=10)
    along = float(np.arctan2(*subspace.basis[::-1, 0]))
    angle = along + np.linspace(
        0, 2 * np.pi, 721
    )  # along the direction that the constructed network reconstructs perfectly
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    bound = decoder_range_bound(bounded.model)
    panels[1].plot(*(bound * circle).T, color=COLOURS[3], lw=1.5)
    lengths = np.geomspace(0.5, 1e6, 90)
    trained = f"trained {free.architecture.label}"
    models = {"constructed swish": exact, trained: free.model, "code on the circle": bounded.model}
    for (label, model), colour in zip(models.items(), (BLIND, FOUND, DATA), strict=True):
        least = [model.error(r * circle).min() for r in lengths]
        panels[2].plot(lengths, np.maximum(least, 1e-20), color=colour, label=label)
    floor = error_bound(bounded.model, np.column_stack([lengths, np.zeros_like(lengths)]))
    label = f"(‖x‖ − B)², B = {bound:.1f}"
    panels[2].plot(lengths[floor > 0], floor[floor > 0], color=COLOURS[3], ls="--", label=label)
    panels[2].set(xscale="log", yscale="log", xlabel="‖x‖", ylabel="least squared error at that norm")
    panels[2].set_ylim(1e-21, 1e14)
    panels[2].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _everywhere(run: PlaneRun, model: Autoencoder) -> Adversaries:
    """Placeholder for the constructed network, which reconstructs every point of its line; no anomaly is drawn."""
    return replace(_nowhere(run), threshold=float(np.quantile(model.error(run.x), 0.95)))


def _nowhere(run: PlaneRun) -> Adversaries:
    """Placeholder for a network that was not searched."""
    return replace(run.strict, near_distance=np.full_like(run.strict.near_distance, np.nan))


def images_figure(run: ImageRun, *, shown: int = 6) -> Figure:
    """Draw the latent maps and, below them, adversarial and normal images, each above its reconstruction."""
    figure = Figure(figsize=(11.5, 5.6), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=[1.5, 1.0])
    top, bottom = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    _latent_panels(top, run)
    columns = bottom.add_gridspec(1, 3)
    blocks = [bottom.add_subfigure(columns[i]) for i in range(3)]
    for block, (title, images) in zip(blocks, _image_rows(run, shown).items(), strict=True):
        block.suptitle(title, fontsize=9)
        back = run.model.decode(run.model.encode(images)) if len(images) else images
        grid = block.subplots(2, shown)
        for panel in grid.ravel():
            panel.set_axis_off()
        for panels, pair in zip(grid.T, zip(images, back, strict=True), strict=False):
            own_scale = (min(p.min() for p in pair), max(p.max() for p in pair))
            low, high = own_scale if "own scale" in title else (0.0, 1.0)
            for panel, image in zip(panels, pair, strict=True):
                panel.imshow(image.reshape(run.digits.side, -1), cmap="Greys", vmin=low, vmax=high)
    return figure


def _image_rows(run: ImageRun, shown: int) -> dict[str, Array]:
    def farthest(points: Array, distance: Array) -> Array:
        good = np.flatnonzero(np.isfinite(distance))
        return points[good[np.argsort(-distance[good])][:shown]]

    return {
        f"normal digits ({', '.join(map(str, run.classes))})": run.held_out[:shown],
        "adversarial, any pixel values (own scale)": farthest(run.free.far, run.free.far_distance),
        "adversarial, pixels in [0, 1]": farthest(run.pixels.far, run.pixels.far_distance),
    }


def _latent_panels(figure: FigureBase, run: ImageRun) -> None:
    found = latent_map(run)
    panels = figure.subplots(1, 2)
    codes = run.model.encode(run.train)
    titles = ("log₁₀ distance of f(z) to the nearest image", "log₁₀ error of f(z)")
    for axes, values, title in zip(panels, (found.distance, found.error), titles, strict=True):
        shades = axes.pcolormesh(
            *found.axes, np.log10(np.maximum(values, 1e-8)), cmap="cividis", shading="nearest", rasterized=True
        )
        figure.colorbar(shades, ax=axes)
        axes.plot(*codes.T, ".", ms=1.5, color="white")
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="z₁", ylabel="z₂")
    blind = (found.error < run.free.threshold) & (found.distance >= run.free.radius)
    if blind.any():
        panels[1].contour(*found.axes, blind.astype(float), levels=[0.5], colors=[FOUND], linewidths=1.5)
        panels[1].set_title(titles[1] + "; outlined: far from all images, looks normal", fontsize=10)


def missed_figure(table: pd.DataFrame) -> Figure:
    """Draw a heat map of the shares missed, with one row per method and one column per (model, criterion, set).

    `table` has columns ``method``, ``group`` and ``missed``; cells are means over the datasets with points.
    """
    wide = table.pivot_table(index="method", columns="group", values="missed", sort=False, observed=True)
    figure = Figure(figsize=(1.6 + 0.95 * wide.shape[1] + 2.2, 0.42 * len(wide) + 1.9), layout="constrained")
    axes = figure.subplots()
    shades = axes.imshow(wide.to_numpy(), cmap="Oranges", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(wide.shape[1]), labels=list(wide.columns), rotation=35, ha="right", fontsize=9)
    axes.set_yticks(range(len(wide)), labels=list(wide.index), fontsize=9)
    for (row, column), value in np.ndenumerate(wide.to_numpy()):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=9, color="white" if value > 0.6 else "black"
        )
    figure.colorbar(shades, ax=axes, label="share of adversarial anomalies that look normal")
    return figure
