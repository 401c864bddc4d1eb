"""Figures, as matplotlib objects that nobody has to show: every function draws into a new Figure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyscore._validate import Array
from pyscore.errors import InvalidInput
from pyscore.evaluation import roc_curve
from pyscore.reference import roc_auc
from pyscore.storage import atomic_write

__all__ = ["roc_and_densities", "save_figure"]

# Okabe and Ito's, which colour-blind readers can tell apart.
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#f0e442",
    "#000000",
)
NORMAL, ANOMALY = COLOURS[0], COLOURS[1]


def roc_and_densities(
    curves: Mapping[str, Array], score: tuple[str, Array], labels: ArrayLike, title: str
) -> Figure:
    """Draw ROC curves of several scores, and the distribution of one score for normal and anomalous rows.

    Parameters
    ----------
    curves : name → (n,) anomaly scores, higher = more anomalous
    score : name and (n,) log-densities of the score whose distribution is drawn
    labels : (n,) array of 0 and 1
    title : str
    """
    labels = np.asarray(labels)
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title)
    _roc(left, curves, labels)
    _densities(right, *score, labels)
    return figure


def _roc(axes: Axes, curves: Mapping[str, Array], labels: Array) -> None:
    ranked = sorted(curves.items(), key=lambda item: -roc_auc(item[1], labels))
    for (name, values), colour in zip(ranked, COLOURS, strict=False):
        axes.plot(*roc_curve(values, labels), label=f"{name}  {roc_auc(values, labels):.3f}", color=colour, lw=1.8)
    axes.plot([0, 1], [0, 1], color="0.7", lw=1, ls=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_title("ROC curves on the test rows", fontsize=11)
    axes.legend(loc="lower right", frameon=False, title="AUC", alignment="left", fontsize=9)


def _densities(axes: Axes, name: str, values: Array, labels: Array) -> None:
    finite = np.where(np.isfinite(values), values, values[np.isfinite(values)].min())
    low, high = np.quantile(finite, [0.01, 1.0])  # the far tail is gathered in the first bin
    bins = np.linspace(low, high, 41)
    for label, colour, text in ((0, NORMAL, "normal"), (1, ANOMALY, "anomaly")):
        chosen = np.clip(finite[labels == label], low, high)
        axes.hist(chosen, bins=list(bins), density=True, alpha=0.55, color=colour, label=f"{text} ({len(chosen)})")
    axes.set(xlabel=f"{name}: log-density, nats (higher = more normal)", ylabel="density of rows")
    axes.set_title(f"Distribution of `{name}`", fontsize=11)
    axes.legend(frameon=False, loc="upper left")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as .png, .svg or .pdf, atomically and without the date: equal runs give equal files."""
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("png", "svg", "pdf"):
        raise InvalidInput(f"`path` must end in .png, .svg or .pdf; got {str(path)!r}.")
    undated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    # Without a salt the identifiers inside an .svg would be random.
    with rc_context({"svg.hashsalt": "pyscore"}), atomic_write(path) as file:
        figure.savefig(file, format=kind, dpi=150, metadata=undated)
    return path
