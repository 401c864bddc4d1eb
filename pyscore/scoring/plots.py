"""Figures, as matplotlib objects that nobody has to show: every function draws into a new Figure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from pyscore._core.checks import Array
from pyscore._core.files import atomic_write
from pyscore._core.text import figure_text, one_line
from pyscore.errors import InvalidInput
from pyscore.reference import roc_auc
from pyscore.reference.roc import roc_curve

__all__ = ["plot_explanation", "roc_and_densities", "save_figure"]

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
GREY = "0.6"
FIGURES = ("png", "svg", "pdf")
TERMS = {
    "log_likelihood": "log p(x|z)",
    "log_prior": "log p(z)",
    "decoder_volume": "−w·log vol J_f",
    "encoder_volume": "+w·log vol J_g",
    "latent_error": "∓‖z − g(f(z))‖²",
    "projected_log_likelihood": "log p(x|z*)",
    "projected_log_prior": "log p(z*)",
    "projected_decoder_volume": "−w·log vol J_f(z*)",
}
"""How figures write the terms of the scores."""


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
    figure.suptitle(figure_text(title))
    _roc(left, curves, labels)
    _densities(right, *score, labels)
    return figure


def _roc(axes: Axes, curves: Mapping[str, Array], labels: Array) -> None:
    ranked = sorted(curves.items(), key=lambda item: -roc_auc(item[1], labels))
    for place, (name, values) in enumerate(ranked):
        axes.plot(
            *roc_curve(values, labels),
            label=f"{figure_text(name)}  {roc_auc(values, labels):.3f}",
            color=COLOURS[place % len(COLOURS)],
            ls="-" if place < len(COLOURS) else "--",
            lw=1.8,
        )
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
    axes.set(xlabel=f"{figure_text(name)}: log-density, nats (higher = more normal)", ylabel="density of rows")
    axes.set_title(f"Distribution of `{figure_text(name)}`", fontsize=11)
    axes.legend(frameon=False, loc="upper left")


def plot_explanation(
    lines: Any, *, typical: Mapping[str, float] | None = None, threshold: float | None = None, top: int = 12
) -> Figure:
    """Draw why one row has its score: the features that weigh most, and the terms of the score or its members.

    Parameters
    ----------
    lines : DataFrame
        The lines of one row of `SVAEDetector.explain` or `explain.explain`.
    typical : term → its median over the training rows, optional
        `SVAEDetector.typical_terms_`; terms are then drawn as differences from it, which is what tells an anomaly:
        a term on its own is mostly constants.
    threshold : float, optional
        The `threshold_` of a detector whose members' mean is the anomaly score (`ExpertEnsemble`, `SVAEEnsemble`);
        the members are then drawn beside it. Without it, `lines` explain a log-density.
    top : int
        Features drawn one by one; the others are gathered in one bar.

    Raises
    ------
    InvalidInput
        If `lines` are not those of one row.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((60, 3))
    >>> fitted = pyscore.fit(x, pyscore.TrainConfig(steps=5), latent_dim=2, hidden_dim=8)
    >>> lines = pyscore.scoring.explain.explain(fitted, x[:1])
    >>> figure = pyscore.plots.plot_explanation(lines)
    >>> len(figure.axes)
    2
    """
    lines = lines if isinstance(lines, pd.DataFrame) else pd.DataFrame(lines.to_dict(as_series=False))
    if lines.empty or lines["feature"].duplicated().any() or lines["row"].nunique() != 1:
        raise InvalidInput(
            f"`lines` must be the lines of one row of an explanation; got {len(lines)} lines of "
            f"{lines['row'].nunique()} row(s). Choose one: lines[lines['row'] == label]."
        )
    ranked = lines.sort_values("contribution", ascending=False, kind="stable")
    bars = min(len(ranked), top + 1)
    figure = Figure(figsize=(11, 1.9 + 0.36 * max(5, bars)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
    row, terms = figure_text(lines["row"].iloc[0]), lines.iloc[0, 7:].astype(float)
    _contributions(left, ranked, top)
    if threshold is None:
        figure.suptitle(f"Row {row}: log-density {_signed(terms['score'], 1)} nats")
        left.set_xlabel("e²/2σ²: nats taken off the log-likelihood")
        _terms(right, terms, typical)
    else:
        figure.suptitle(f"Row {row}: anomaly score {-terms['score']:.2f}, threshold {threshold:.2f}")
        left.set_xlabel("by how much the anomaly score falls if the feature is as expected")
        _members(right, terms.drop("score"), threshold)
    return figure


def _contributions(axes: Axes, ranked: pd.DataFrame, top: int) -> None:
    """Horizontal bars, the largest on top; colour and text say in which direction a value is off."""
    shown, rest = ranked.iloc[:top], ranked.iloc[top:]
    width = [*shown["contribution"], *([rest["contribution"].sum()] if len(rest) else [])]
    colour = [ANOMALY if r > 0 else NORMAL for r in shown["residual"]] + [GREY] * bool(len(rest))
    names = [_short(name) for name in shown["feature"]] + [f"{len(rest)} others"] * bool(len(rest))
    place = np.arange(len(width))
    axes.barh(place, width, color=colour, height=0.72)
    longest = max(max(width), np.finfo(float).tiny)
    numbers = shown[["contribution", "sigmas", "value", "expected"]].to_numpy(np.float64)
    for at, (contribution, sigmas, value, expected) in enumerate(numbers):
        text = f"{_signed(sigmas, 2)}σ:  {_number(value)}, expected {_number(expected)}"
        axes.text(contribution + 0.015 * longest, at, text, va="center", fontsize=8, color="0.25")
    axes.set_yticks(place, names)
    axes.set_ylim(len(width) - 0.4, -0.6)
    axes.set_xlim(0, 1.75 * longest)
    axes.set_title("Features: too high (orange), too low (blue)", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _terms(axes: Axes, terms: pd.Series[float], typical: Mapping[str, float] | None) -> None:
    """Horizontal bars of the terms and their sum, as differences from the typical row if that is known."""
    values = terms - pd.Series({**typical, "score": sum(typical.values())}) if typical else terms
    values = values[terms.index]
    finite = values.where(np.isfinite(values), np.sign(values) * np.abs(values[np.isfinite(values)]).max())
    labels = [TERMS.get(name, figure_text(name)) if name != "score" else "sum" for name in values.index]
    place = np.arange(len(values))
    colour = [ANOMALY if v < 0 else NORMAL for v in values[:-1]] + [GREY]
    axes.barh(place, finite, color=colour, height=0.62)
    axes.axvline(0, color="0.3", lw=0.8)
    low, high = min(0.0, finite.min()), max(0.0, finite.max())
    room = 0.3 * max(high - low, np.finfo(float).tiny)
    for at, (value, end) in enumerate(zip(values, finite, strict=True)):
        side = -1 if value < 0 else 1
        axes.text(
            end + side * 0.03 * room,
            at,
            _signed(value, 1),
            va="center",
            ha="left" if side > 0 else "right",
            fontsize=9,
        )
    axes.set_yticks(place, labels)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xlim(low - room * (low < 0), high + room * (high > 0))
    axes.set_xlabel("nats (orange: makes the row more anomalous)" if typical else "nats")
    axes.set_title("Terms − median of the training rows" if typical else "Terms of the score", fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.spines[["top", "right"]].set_visible(False)


def _members(axes: Axes, members: pd.Series[float], threshold: float) -> None:
    """Horizontal bars of what each member says and of their mean, with a line at the threshold."""
    values = np.append(members.to_numpy(), members.mean())
    place = np.arange(len(values))
    colour = [ANOMALY if v > threshold else NORMAL for v in values[:-1]] + [GREY]
    axes.barh(place, values, color=colour, height=0.62)
    axes.axvline(threshold, color="0.3", lw=0.8, ls="--")
    axes.text(threshold, -0.55, "threshold ", ha="right", va="top", fontsize=8, color="0.25")
    room = 0.25 * max(values.max(), threshold, np.finfo(float).tiny)
    for at, value in enumerate(values):
        axes.text(value + 0.05 * room, at, f"{value:.2f}", va="center", fontsize=9)
    axes.set_yticks(place, [figure_text(name) for name in members.index] + ["mean"])
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xlim(min(0.0, values.min()), max(values.max(), threshold) + room)
    axes.set_xlabel("−log p-value among the training rows")
    axes.set_title("Members (orange: above the threshold)", fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.spines[["top", "right"]].set_visible(False)


def _short(name: str, most: int = 28) -> str:
    name = one_line(name)
    return figure_text(name if len(name) <= most else f"{name[: most - 1]}…")


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as .png, .svg or .pdf, atomically and without the date: equal runs give equal files."""
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FIGURES:
        raise InvalidInput(f"`path` must end in .png, .svg or .pdf; got {str(path)!r}.")
    undated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    # Without a salt the identifiers inside an .svg would be random.
    with rc_context({"svg.hashsalt": "pyscore"}), atomic_write(path) as file:
        figure.savefig(file, format=kind, dpi=150, metadata=undated)
    return path
