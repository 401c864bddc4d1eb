"""The tables of the results page, made from a summary as DataFrames of text and then as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyscore.convention import Convention, get_convention
from pyscore.data import datasets as data
from pyscore.data.datasets import DATASETS
from pyscore.experiment.paper_claims import both_counts, probability
from pyscore.experiment.result_tables import SEARCHING, Setting, Summary
from pyscore.experiment.run_reader import PAPER_GRID
from pyscore.experiment.schema import BASELINE_NAMES
from pyscore.experiment.selection import CRITERIA, SELECTIONS
from pyscore.experiment.significance import Ranking, merge_twins, ranking
from pyscore.experiment.term_analysis import RESIDUAL, SCORE

__all__ = [
    "anatomy_table",
    "auc_cells",
    "auc_table",
    "criteria_means",
    "lost_duels",
    "other_settings",
    "rank_scores",
    "signal_means",
    "widest_terms",
]

SHOWN = (
    "reconstruction", "prior", "joint", "jacobian_decoder", "proposed_encoder", "proposed", "projected",
    "corrected", "laplace", "importance",
)  # fmt: skip
"""Scores in the tables, in this order; `latent_reconstruction` and `jacobian_encoder` are in auc.csv only."""


SAMPLED_SCORES = ("importance", *SEARCHING)
"""Scores that were measured on a sample of the rows; they are shown, but not ranked with the others."""

MAIN_SCORES = ("reconstruction", "prior", "joint", "proposed_encoder", "proposed")
"""Scores in the smaller tables; the others are in the CSV files."""


def label(score: str) -> str:
    """Name of a score or baseline in a table."""
    return BASELINE_NAMES[score].label if score in BASELINE_NAMES else score


def ordered_datasets(names: Iterable[str]) -> list[str]:
    """Datasets in the paper's order, then others by name."""
    known = {name: i for i, name in enumerate(DATASETS)}
    return sorted(names, key=lambda name: (known.get(name, len(known)), name))


def ordered_scores(names: Iterable[str]) -> list[str]:
    """Scores in the order of `SHOWN`, then the baselines."""
    order = [*SHOWN, *BASELINE_NAMES]
    return [name for name in order if name in set(names)]


def auc_table(summary: Summary, chosen: Sequence[Setting]) -> pd.DataFrame:
    """Mean, deviation and number of splits of the test AUC by setting, criterion, dataset and score."""
    parts = []
    for setting in chosen:
        rows = setting.of(summary.selected).dropna(subset="auc_test")
        grouped = rows.groupby(["criterion", "dataset", "score"])["auc_test"]
        table = grouped.agg(mean="mean", deviation="std", splits="size").reset_index()
        table.insert(0, "setting", setting.label)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def auc_cells(summary: Summary, setting: Setting, criterion: str) -> pd.DataFrame:
    """Datasets by scores and baselines, as "0.842 ± 0.012".

    The highest mean of a row is bold, samples left out.
    """
    means = summary.matrix(setting, criterion)
    columns = ordered_scores(means.columns)
    means = means.reindex(index=ordered_datasets(means.index), columns=columns)
    spread = _deviations(summary, setting, criterion).reindex(index=means.index, columns=columns)
    rows = []
    for dataset in means.index:
        best = means.loc[dataset].drop(list(SAMPLED_SCORES), errors="ignore").max()
        cells = {
            label(c): _auc(
                means.loc[dataset, c],
                spread.loc[dataset, c],
                c not in SAMPLED_SCORES and means.loc[dataset, c] == best,
            )
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
                      summary.beside(setting).merge(splits)[["dataset", "score", "auc_test"]]])  # fmt: skip
    return both.groupby(["dataset", "score"])["auc_test"].std().unstack()


def rank_scores(summary: Summary, setting: Setting, criterion: str) -> Ranking | None:
    """Ranks of scores and baselines over independent datasets; None where the test is not defined.

    A method takes part if it has a value on every dataset with both main scores; `SAMPLED_SCORES` do not.
    """
    matrix = merge_twins(summary.matrix(setting, criterion))
    if not {"reconstruction", "proposed"} <= set(matrix.columns):
        return None
    names = [name for name in ordered_scores(matrix.columns) if name not in SAMPLED_SCORES]
    matrix = matrix[names].dropna(subset=["reconstruction", "proposed"])
    matrix = matrix.dropna(axis=1)
    if matrix.shape[0] < 2 or matrix.shape[1] < 3:
        return None
    return ranking(matrix)


def criteria_means(summary: Summary, setting: Setting) -> pd.DataFrame:
    """Mean test AUC over the datasets, scores by criterion; all cells of a row use the same datasets."""
    columns = [*CRITERIA, "median", "oracle"]
    matrices = {c: summary.matrix(setting, c) for c in columns}
    rows = []
    for score in ordered_scores(set().union(*(m.columns for m in matrices.values()))):
        if score in BASELINE_NAMES:
            continue
        table = pd.DataFrame({c: m[score] for c, m in matrices.items() if score in m}).reindex(columns=columns)
        present = table.dropna(axis=1, how="all").dropna()
        rows.append({"score": score, "datasets": len(present), **present.mean().reindex(columns).to_dict()})
    return pd.DataFrame(rows)


SIGNALS = {
    "supervised": "train AUC",
    "unsupervised": "train log-density",
    "mmd": "prior's fit, −MMD",
    "train_disc": "prior's fit, classifier",
}
"""Columns of `Summary.signal` → their names in the table."""


def signal_means(summary: Summary, chosen: Sequence[Setting]) -> pd.DataFrame:
    """Mean over datasets of Spearman's correlation (averaged over splits) of criterion and test AUC."""
    rows = []
    for setting in chosen:
        table = setting.of(summary.signal)
        by_dataset = table.groupby(["score", "dataset"])[list(SIGNALS)].mean()
        means = by_dataset.groupby("score").mean()
        rows += [
            {"setting": setting.label, "score": score, **{SIGNALS[c]: means.loc[score, c] for c in SIGNALS}}
            for score in ordered_scores(means.index)
        ]
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


def switch_label(field: str, rows: pd.DataFrame) -> str:
    """Return `field → value`, with the value that the field takes when it is switched."""
    if field not in Convention.fields():
        return field
    first = rows.iloc[0]
    kind = "train_convention" if field in Convention.fields("training") else "convention"
    base = get_convention("exact" if first[kind] == "EXACT" else "original")
    return f"{field} → {getattr(base.switched(field), field)}"


def moved(rows: pd.DataFrame, by: str = "switched") -> pd.DataFrame:
    """Rows of an ablation whose field (or other column `by`) changes an AUC somewhere."""
    columns = ["mean_change", "supervised_change", "unsupervised_change"]
    largest = rows[columns].abs().groupby(rows[by]).max().max(axis=1)
    return rows[rows[by].isin(largest.index[largest > 0])]


def ablation_means(ablation: pd.DataFrame) -> pd.DataFrame:
    """Return one row per field and base convention: the mean change over the datasets of one score.

    The score is `proposed` if the field changes it, else the score that the field changes most.
    """
    columns = ["mean_change", "supervised_change", "unsupervised_change"]
    rows = []
    for (train, scored, switched), part in ablation.groupby(
        ["train_convention", "convention", "switched"], sort=True
    ):
        means = part.groupby("score")[columns].mean()
        changed = means[means.index.isin(moved(part, "score")["score"])]
        if changed.empty:
            continue
        score = "proposed" if "proposed" in changed.index else str(changed["mean_change"].abs().idxmax())
        values = changed.T[score]
        field = f"`{switch_label(str(switched), part)}`"
        rows.append(
            {"base": f"{train} / {scored}", "field switched": field, "score moved": score,
             "datasets": part["dataset"].nunique(),
             "models": f"{int(part.loc[part['score'] == score, 'models'].sum()):,}",
             "all models": values["mean_change"],
             "supervised": values["supervised_change"], "unsupervised": values["unsupervised_change"]}
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["order"] = -np.abs(frame["unsupervised"])
        frame = frame.sort_values(["base", "order"], kind="stable").drop(columns="order")
        for name in ("all models", "supervised", "unsupervised"):
            frame[name] = frame[name].map(lambda v: "–" if math.isnan(v) else f"{v:+.3f}")
        frame.attrs["right"] = ("models", "all models", "supervised", "unsupervised")
    return frame


def setting_duels(summary: Summary, setting: Setting, base: Setting, criterion: str) -> list[dict[str, Any]]:
    """Compare a setting with another, one row per score, over the datasets that have both."""
    first, second = summary.matrix(setting, criterion), summary.matrix(base, criterion)
    rows = []
    for score in MAIN_SCORES:
        if score not in first or score not in second:
            continue
        pair = pd.DataFrame({"setting": first[score], "base": second[score]}).dropna()
        if pair.empty:
            continue
        all_, merged = both_counts(pair)
        rows.append(
            {
                "selection": criterion, "score": score, "setting": setting.label,
                "better on": f"{all_.wins} of {all_.n}", "worse on": str(all_.losses),
                "mean change": f"{all_.difference:+.3f}", "Wilcoxon": probability(merged.p_value),
            }
        )  # fmt: skip
    return rows


def other_settings(summary: Summary, few: Sequence[Setting]) -> pd.DataFrame:
    """AUCs of reconstruction and `proposed` on the datasets of settings that were not run on most of them."""
    rows = []
    for setting in few:
        matrices = {criterion: summary.matrix(setting, criterion) for criterion in SELECTIONS}
        for dataset in ordered_datasets(setting.of(summary.selected)["dataset"].unique()):
            cells = {
                f"{score}, {criterion}": matrix.get(score, pd.Series(dtype=float)).get(dataset, math.nan)
                for criterion, matrix in matrices.items()
                for score in ("reconstruction", "proposed")
            }
            rows.append({"setting": setting.label, "dataset": dataset, **cells})
    return pd.DataFrame(rows)


# ── what decides `proposed` ──────────────────────────────────────────────────────────────────────────────


TERMS = {"log_likelihood": "error", "log_prior": "prior", "decoder_volume": "volume"}
"""Terms of `proposed` → their names in the table."""


def anatomy_table(summary: Summary, setting: Setting, criterion: str) -> pd.DataFrame:
    """Spread and AUC of each term of the selected models, averaged over splits; one row per dataset."""
    mine = setting.of(summary.anatomy)
    mine = mine[mine["criterion"] == criterion]
    if mine.empty:
        return pd.DataFrame()
    means = mine.groupby(["dataset", "term"])[["spread", "auc", "auc_without"]].mean().unstack()
    rival = summary.matrix(setting, criterion).get("reconstruction", pd.Series(dtype=float))
    frame = pd.DataFrame(
        {
            "dataset": name,
            "spread of error": means.at[name, ("spread", "log_likelihood")],
            "of prior": means.at[name, ("spread", "log_prior")],
            "of volume": means.at[name, ("spread", "decoder_volume")],
            "AUC of error": means.at[name, ("auc", "log_likelihood")],
            "prior": means.at[name, ("auc", "log_prior")],
            "volume": means.at[name, ("auc", "decoder_volume")],
            "`proposed`": means.at[name, ("auc", SCORE)],
            "without prior": means.at[name, ("auc_without", "log_prior")],
            "without volume": means.at[name, ("auc_without", "decoder_volume")],
            "σ² of the residuals": means.at[name, ("auc", RESIDUAL)],
            "reconstruction": rival.get(name, math.nan),
        }
        for name in ordered_datasets(means.index)
    )
    for column in frame.columns[1:4]:  # nats, shown to a tenth
        frame[column] = [f"{value:.1f}" for value in frame[column]]
    frame.attrs["right"] = tuple(frame.columns[1:4])
    return frame


def widest_terms(summary: Summary, setting: Setting, criterion: str) -> dict[str, list[str]]:
    """For each term, the datasets on which it spreads most (median over splits)."""
    mine = setting.of(summary.anatomy)
    mine = mine[(mine["criterion"] == criterion) & mine["term"].isin(TERMS)]
    spread = mine.groupby(["dataset", "term"])["spread"].median().unstack()
    widest = spread.idxmax(axis=1)
    return {
        TERMS[term]: ordered_datasets(widest.index[widest == term]) for term in TERMS if (widest == term).any()
    }


def lost_duels(summary: Summary, setting: Setting, criterion: str) -> list[str]:
    """For each dataset where `proposed` is below reconstruction, a sentence that names the term best left out."""
    table = anatomy_table(summary, setting, criterion)
    if table.empty:
        return []
    found = []
    for row in table[table["`proposed`"] < table["reconstruction"]].to_dict("records"):
        without = {"prior": row["without prior"], "volume": row["without volume"]}
        best = max(without, key=lambda name: without[name])
        text = (
            f"{row['dataset']} ({criterion}, {setting.label}): `proposed` {row['`proposed`']:.3f}, reconstruction "
            f"{row['reconstruction']:.3f}. The error of its own model alone has {row['AUC of error']:.3f}, "
            f"the prior {row['prior']:.3f}, the volume {row['volume']:.3f}"
        )
        if without[best] - row["`proposed`"] >= 0.005:
            text += f"; without the {best} the sum has {without[best]:.3f}"
            enough = without[best] >= row["reconstruction"]
            text += ", which would do." if enough else ", which is still below."
        elif row["AUC of error"] < row["reconstruction"]:
            text += "; leaving either out helps nothing: the model that was selected reconstructs worse."
        else:
            text += "; leaving either out helps nothing, only both together."
        found.append(text)
    return found


# ── what was run ─────────────────────────────────────────────────────────────────────────────────────────


def expected_models(d: int) -> int:
    """Models of the paper's grid for d features."""
    latent = sum(k <= d for k in PAPER_GRID["latent_dim"])
    return latent * math.prod(len(values) for name, values in PAPER_GRID.items() if name != "latent_dim")


def runs_table(summary: Summary) -> pd.DataFrame:
    """Return one row per dataset and training: splits and models run, out of those of the paper's grid."""
    runs = summary.runs
    columns = dict(data.overview().set_index("dataset")["columns"])
    rows = []
    for dataset in ordered_datasets({*data.DATASETS, *runs["dataset"]}):
        mine = runs[runs["dataset"] == dataset]
        parts = [part for _, part in mine.groupby(["train_convention", "steps", "learning_rate"])]
        rows += [_runs_row(dataset, columns.get(dataset), part) for part in parts or [mine]]
    frame = pd.DataFrame(rows)
    frame.attrs["right"] = ("features", "models a split", "hours")
    return frame


def _runs_row(dataset: str, d: int | None, part: pd.DataFrame) -> dict[str, Any]:
    used, hours = part[part["used"] == 1], (part["seconds_train"].sum() + part["seconds_score"].sum()) / 3600
    trained = [
        f"{r['train_convention']}, {r['steps']:,} steps of {r['learning_rate']:g}"
        for r in part.to_dict("records")[:1]
    ]
    count = int((used["models"] + used["failed"]).max()) if len(used) else 0
    return {
        "dataset": dataset, "features": "–" if d is None else str(d), "trained": "".join(trained) or "–",
        "splits used": len(used),
        "models a split": str(count) if d is None else f"{count} of {expected_models(d)}",
        "failed": int(part["failed"].sum()), "hours": f"{hours:.2f}",
    }  # fmt: skip
