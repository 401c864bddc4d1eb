"""The tables of the results page: from a summary to DataFrames of text, and from those to Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyscore.comparison import TWINS, Ranking, merge_twins, ranking
from pyscore.data import DATASETS
from pyscore.selection import CRITERIA
from pyscore.summary import Setting, Summary

__all__ = [
    "BASELINE_LABELS",
    "auc_cells",
    "auc_table",
    "criteria_means",
    "markdown",
    "rank_scores",
    "signal_means",
]

BASELINE_LABELS = {
    "knn": "kNN",
    "isolation_forest": "isolation forest",
    "pca": "PCA",
    "ppca": "PPCA",
}
"""Names of the baselines' files, and what the page calls them."""

SHOWN = (
    "reconstruction", "prior", "joint", "jacobian_decoder", "proposed_encoder", "proposed", "projected", "corrected",
    "laplace", "importance",
)  # fmt: skip
"""Scores of the tables, in this order; `latent_reconstruction` and `jacobian_encoder` stand in auc.csv alone."""


def markdown(frame: pd.DataFrame) -> str:
    """A frame of text and numbers as a Markdown table; numbers to the right."""
    if frame.empty:
        return ""
    right = [pd.api.types.is_numeric_dtype(frame[c]) or c in frame.attrs.get("right", ()) for c in frame.columns]
    lines = [[_cell(c) for c in frame.columns], ["---:" if r else "---" for r in right]]
    lines += [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def label(score: str) -> str:
    """What a table calls a score or a baseline."""
    return BASELINE_LABELS.get(score, score)


def ordered_datasets(names: Iterable[str]) -> list[str]:
    """The paper's order, then others by name."""
    known = {name: i for i, name in enumerate(DATASETS)}
    return sorted(names, key=lambda name: (known.get(name, len(known)), name))


def ordered_scores(names: Iterable[str]) -> list[str]:
    """Scores in the order of `SHOWN`, then the baselines."""
    order = [*SHOWN, *BASELINE_LABELS]
    return [name for name in order if name in set(names)]


def auc_table(summary: Summary, chosen: Sequence[Setting]) -> pd.DataFrame:
    """Long table: mean, deviation and number of splits of the test AUC by setting, criterion, dataset and score."""
    parts = []
    for setting in chosen:
        rows = setting.of(summary.selected).dropna(subset="auc_test")
        grouped = rows.groupby(["criterion", "dataset", "score"])["auc_test"]
        table = grouped.agg(mean="mean", deviation="std", splits="size").reset_index()
        table.insert(0, "setting", setting.label)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def auc_cells(summary: Summary, setting: Setting, criterion: str) -> pd.DataFrame:
    """Datasets by scores and baselines, "0.842 ± 0.012", the highest mean of a row in bold."""
    means = summary.matrix(setting, criterion)
    columns = ordered_scores(means.columns)
    means = means.reindex(index=ordered_datasets(means.index), columns=columns)
    spread = _deviations(summary, setting, criterion).reindex(index=means.index, columns=columns)
    rows = []
    for dataset in means.index:
        best = means.loc[dataset].max()
        cells = {
            label(c): _auc(means.loc[dataset, c], spread.loc[dataset, c], means.loc[dataset, c] == best)
            for c in columns
        }
        rows.append({"dataset": dataset, **cells})
    averages = means.mean()[means.notna().all()]
    rows.append(
        {
            "dataset": f"mean of {len(means)}",
            **{label(c): _auc(averages.get(c, math.nan), math.nan) for c in columns},
        }
    )
    frame = pd.DataFrame(rows)
    frame.attrs["right"] = tuple(label(c) for c in columns)
    return frame


def _auc(mean: float, deviation: float, best: bool = False) -> str:
    if math.isnan(mean):
        return "–"
    text = f"{mean:.3f}" if math.isnan(deviation) else f"{mean:.3f} ± {deviation:.3f}"
    return f"**{text}**" if best else text


def _deviations(summary: Summary, setting: Setting, criterion: str) -> pd.DataFrame:
    rows = setting.of(summary.selected)
    rows = rows[rows["criterion"] == criterion]
    splits = rows[["dataset", "split"]].drop_duplicates()
    both = pd.concat([rows[["dataset", "score", "auc_test"]],
                      summary.baselines.merge(splits)[["dataset", "score", "auc_test"]]])  # fmt: skip
    return both.groupby(["dataset", "score"])["auc_test"].std().unstack()


def rank_scores(summary: Summary, setting: Setting, criterion: str) -> Ranking | None:
    """Ranks of scores and baselines over independent problems; None where the test is not defined.

    Only methods that have a value on every problem with both main scores take part.
    """
    matrix = merge_twins(summary.matrix(setting, criterion))
    if not {"reconstruction", "proposed"} <= set(matrix.columns):
        return None
    matrix = matrix[ordered_scores(matrix.columns)].dropna(subset=["reconstruction", "proposed"])
    matrix = matrix.dropna(axis=1)
    if matrix.shape[0] < 2 or matrix.shape[1] < 3:
        return None
    return ranking(matrix)


def criteria_means(summary: Summary, setting: Setting) -> pd.DataFrame:
    """Mean over the datasets of the test AUC, scores by criterion; the same datasets in all cells of a row."""
    columns = [*CRITERIA, "median", "oracle"]
    matrices = {c: summary.matrix(setting, c) for c in columns}
    rows = []
    for score in ordered_scores(set().union(*(m.columns for m in matrices.values()))):
        if score in BASELINE_LABELS:
            continue
        table = pd.DataFrame({c: m[score] for c, m in matrices.items() if score in m}).reindex(columns=columns)
        present = table.dropna(axis=1, how="all").dropna()
        rows.append({"score": score, "datasets": len(present), **present.mean().reindex(columns).to_dict()})
    return pd.DataFrame(rows)


def signal_means(summary: Summary, chosen: Sequence[Setting]) -> pd.DataFrame:
    """Mean over datasets of Spearman's correlation (averaged over splits) of criterion and test AUC."""
    rows = []
    for setting in chosen:
        table = setting.of(summary.signal)
        by_dataset = table.groupby(["score", "dataset"])[["supervised", "unsupervised"]].mean()
        means = by_dataset.groupby("score").mean()
        rows += [
            {"setting": setting.label, "score": score, "train AUC": means.loc[score, "supervised"],
             "train log-density": means.loc[score, "unsupervised"]}
            for score in ordered_scores(means.index)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def sweep_means(sweep: pd.DataFrame, chosen: Sequence[Setting]) -> pd.DataFrame:
    """Mean ± deviation of the test AUC by latent dimension."""
    rows = []
    for setting in chosen:
        table = setting.of(sweep)
        for score in ("reconstruction", "proposed"):
            grouped = table[table["score"] == score].groupby("latent_dim")["auc_test"].agg(["mean", "std"])
            if len(grouped):
                cells = {
                    f"k = {int(k)}": _auc(m, s)
                    for k, (m, s) in zip(grouped.index, grouped.to_numpy(), strict=True)
                }
                rows.append({"setting": setting.label, "score": score, **cells})
    return pd.DataFrame(rows)


def ablation_means(ablation: pd.DataFrame) -> pd.DataFrame:
    """One row a field and base convention: mean change over the datasets, of the score that it moves.

    That is `proposed` where it moves it, otherwise the score that it moves most.
    """
    columns = ["mean_change", "supervised_change", "unsupervised_change"]
    rows = []
    for (train, scored, switched), part in ablation.groupby(
        ["train_convention", "convention", "switched"], sort=True
    ):
        means = part.groupby("score")[columns].mean()
        moved = means[(part.groupby("score")[columns].agg(lambda v: v.abs().max()) > 0).any(axis=1)]
        if moved.empty:
            score, values = "none", pd.Series(0.0, columns)
        else:
            score = "proposed" if "proposed" in moved.index else str(moved["mean_change"].abs().idxmax())
            values = moved.loc[score]
        rows.append(
            {"base": f"{train} / {scored}", "field switched": f"`{switched}`", "score moved": score,
             "datasets": part["dataset"].nunique(), "all models": values["mean_change"],
             "supervised": values["supervised_change"], "unsupervised": values["unsupervised_change"]}
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["order"] = -np.abs(frame["unsupervised"])
        frame = frame.sort_values(["base", "order"], kind="stable").drop(columns="order")
        for name in ("all models", "supervised", "unsupervised"):
            frame[name] = frame[name].map(lambda v: "–" if math.isnan(v) else f"{v:+.3f}")
        frame.attrs["right"] = ("all models", "supervised", "unsupervised")
    return frame


def one_problem(datasets: Iterable[str]) -> int:
    """Number of independent problems."""
    return len({TWINS.get(name, name) for name in datasets})
