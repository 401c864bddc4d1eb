"""The paper's claims as data: its words, where they stand, and a function that checks the claim."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd

from pyscore.data.datasets import DATASETS
from pyscore.experiment.result_tables import SAMPLE, Setting, Summary
from pyscore.experiment.significance import Duel, duel, merge_twins

__all__ = ["CLAIMS", "Claim", "Finding", "verdicts"]

Verdict = Literal["holds", "does not hold", "open", "not run"]
LEVEL = 0.05


@dataclass(frozen=True)
class Finding:
    """Our result for one claim in one setting."""

    verdict: Verdict
    count: str
    """The number that decides the claim, as the table prints it."""
    detail: str = ""
    wins: int | None = None
    of: int | None = None
    p_value: float = math.nan


NOTHING = Finding("not run", "–")


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that can be checked by counting."""

    name: str
    statement: str
    """The claim in the paper's words."""
    where: str
    rule: str
    """The rule by which we say that the claim holds."""
    count: Callable[[Summary, Setting], Finding]


# ── duels over datasets ──────────────────────────────────────────────────────────────────────────────────


def _columns(summary: Summary, setting: Setting, criterion: str, *names: str) -> pd.DataFrame:
    """Mean test AUC of the named scores on those of the ten datasets that have all of them."""
    matrix = summary.matrix(setting, criterion)
    return matrix[matrix.index.isin(DATASETS)].reindex(columns=list(names)).dropna()


def datasets_to_come(summary: Summary, setting: Setting) -> int:
    """Number of the ten datasets that have no result in a setting."""
    return len(set(DATASETS) - set(setting.of(summary.selected)["dataset"]))


def both_counts(pair: pd.DataFrame) -> tuple[Duel, Duel]:
    """Compare the first column with the second, over all datasets and with waveform counted once."""
    first, second = pair.columns
    merged = merge_twins(pair)
    return duel(pair[first], pair[second]), duel(merged[first], merged[second])


def _sentence(pair: pd.DataFrame, merged: Duel) -> str:
    """Return a sentence with the means, the test, and the datasets on which the first is not better."""
    first, second = pair.columns
    lost = list(pair.index[pair[first] <= pair[second]])
    return (
        f"mean AUC {pair[first].mean():.3f} against {pair[second].mean():.3f}; "
        f"Wilcoxon {probability(merged.p_value)} over {merged.n} problems"
        + (f"; not better on {', '.join(lost)}" if lost else "")
    )


def probability(p: float) -> str:
    """Return `p = 0.012`, or a text that there is no p-value."""
    if math.isnan(p):
        return "p undefined"
    return f"p = {p:.3f}" if p >= 0.001 else f"p = {p:.1g}"


def _wins_text(all_: Duel, merged: Duel) -> str:
    text = f"{all_.wins} of {all_.n}"
    return text if merged.n == all_.n else f"{text} ({merged.wins} of {merged.n})"


def _finding(pair: pd.DataFrame, verdict: Callable[[Duel, Duel], Verdict]) -> Finding:
    """Count wins of the first column over the second, and let `verdict` decide on both counts."""
    if pair.empty:
        return NOTHING
    all_, merged = both_counts(pair)
    return Finding(
        verdict(all_, merged), _wins_text(all_, merged), _sentence(pair, merged), all_.wins, all_.n, merged.p_value
    )


def better_on(first: str, second: str, criterion: str, needed: int, summary: Summary, setting: Setting) -> Finding:
    """`first` has the higher mean test AUC on `needed` of the ten datasets; one without a value is not a win."""
    to_come = datasets_to_come(summary, setting)

    def verdict(all_: Duel, merged: Duel) -> Verdict:
        if all_.wins >= needed:
            return "holds"
        return "does not hold" if all_.wins + to_come < needed else "open"

    return _finding(_columns(summary, setting, criterion, first, second), verdict)


def better_overall(first: str, second: str, criterion: str, summary: Summary, setting: Setting) -> Finding:
    """`first` wins on more than half of the datasets, and the difference is significant; all ten have both."""

    def verdict(all_: Duel, merged: Duel) -> Verdict:
        if all_.n < len(DATASETS):
            return "open"
        better = 2 * all_.wins > all_.n and merged.difference > 0 and merged.p_value < LEVEL
        return "holds" if better else "does not hold"

    return _finding(_columns(summary, setting, criterion, first, second), verdict)


def no_pathology(criterion: str, summary: Summary, setting: Setting) -> Finding:
    """`proposed` is never below the worse of reconstruction and prior."""
    table = _columns(summary, setting, criterion, "proposed", "reconstruction", "prior")
    if table.empty:
        return NOTHING
    parts = table[["reconstruction", "prior"]]
    safe = table["proposed"] >= parts.min(axis=1)
    best = int((table["proposed"] >= parts.max(axis=1)).sum())
    failures = ", ".join(table.index[~safe])
    verdict: Verdict = "does not hold"
    if safe.all():
        verdict = "open" if datasets_to_come(summary, setting) else "holds"
    detail = f"at least the better of the two on {best} of {len(table)}"
    if failures:
        detail += f"; below both on {failures}"
    return Finding(verdict, f"{int(safe.sum())} of {len(table)}", detail, int(safe.sum()), len(table))


# ── Figure 3 ─────────────────────────────────────────────────────────────────────────────────────────────

DIMENSIONS = tuple(range(2, 10))


def _by_dimension(summary: Summary, setting: Setting, score: str) -> pd.DataFrame:
    """Mean and deviation of the test AUC over splits and hyper-parameters, by latent dimension."""
    rows = setting.of(summary.sweep)
    rows = rows[rows["score"] == score]
    return rows.groupby("latent_dim")["auc_test"].agg(["mean", "std"]).dropna()


def insensitive(summary: Summary, setting: Setting) -> Finding:
    """Whether the mean AUC varies less over latent dimensions than over splits and hyper-parameters."""
    tables = {name: _by_dimension(summary, setting, name) for name in ("reconstruction", "proposed")}
    if any(len(table) < 2 for table in tables.values()):
        return NOTHING
    spans = {name: float(np.ptp(table["mean"])) for name, table in tables.items()}
    noise = float(tables["reconstruction"]["std"].mean())
    complete = all(set(DIMENSIONS) <= set(table.index) for table in tables.values())
    true = spans["reconstruction"] <= noise
    detail = (
        f"mean AUC moves by {spans['reconstruction']:.3f} over k (that of `proposed` by {spans['proposed']:.3f}); "
        f"its deviation over splits and hyper-parameters is {noise:.3f}"
    )
    return Finding(_decided(true, complete), f"range {spans['reconstruction']:.3f}", detail)


def peak(summary: Summary, setting: Setting) -> Finding:
    """Whether the mean AUC of `proposed` is highest at k = 4, 5 or 6 and lower, on average, below and above."""
    table = _by_dimension(summary, setting, "proposed")["mean"]
    if len(table) < 2:
        return NOTHING
    best = int(table.index.to_numpy()[table.to_numpy().argmax()])
    sides = [table[table.index < 4], table[table.index.isin([4, 5, 6])], table[table.index > 6]]
    means = [float(side.mean()) for side in sides]
    true = 4 <= best <= 6 and means[1] > max(means[0], means[2])
    detail = "mean AUC " + ", ".join(
        f"{value:.3f} at {name}" for value, name in zip(means, ("k < 4", "k = 4–6", "k > 6"), strict=True)
    )
    return Finding(_decided(true, set(DIMENSIONS) <= set(table.index)), f"peak at k = {best}", detail)


def _decided(true: bool, complete: bool) -> Verdict:
    if not complete:
        return "open"
    return "holds" if true else "does not hold"


# ── the list ─────────────────────────────────────────────────────────────────────────────────────────────

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "supervised",
        "the proposed score is better than the reconstruction error on all problems",
        "section 5, Figure 2 top",
        "higher mean test AUC on ten of ten datasets, each score with the model of the highest train AUC",
        partial(better_on, "proposed", "reconstruction", "supervised", 10),
    ),
    Claim(
        "unsupervised",
        "in this difficult setting the proposed score is better in nine out of ten problems",
        "section 5, Figure 2 bottom",
        "higher mean test AUC on nine of ten datasets; lowest train reconstruction error against highest train "
        "likelihood",
        partial(better_on, "proposed", "reconstruction", "unsupervised", 9),
    ),
    Claim(
        "few labels",
        "the new score decisively outperforms conventional scores […] where hyper-parameters are selected using "
        "few labeled samples",
        "section 6",
        "selected by five known anomalies: wins on more than half of the datasets and Wilcoxon p < 0.05",
        partial(better_overall, "proposed", "reconstruction", "five known"),
    ),
    Claim(
        "decoder",
        "according to experimental results the formulation (7) delivers better results [than (8)]",
        "section 3.2",
        "`proposed` against `proposed_encoder`, supervised: wins on more than half and Wilcoxon p < 0.05",
        partial(better_overall, "proposed", "proposed_encoder", "supervised"),
    ),
    Claim(
        "no failures",
        "It should, therefore, benefit from both scores and prevent pathological failures",
        "section 3.2",
        "unsupervised: on no dataset below both reconstruction and prior",
        partial(no_pathology, "unsupervised"),
    ),
    Claim(
        "projection",
        "We believe that even better results can be obtained if the normalization constant is approximated more "
        "closely using the optimization of z′",
        "section 5",
        "`projected` against `proposed` of the same models and rows, unsupervised: wins on more than half and "
        "Wilcoxon p < 0.05",
        partial(better_overall, "projected", SAMPLE, "unsupervised"),
    ),
    Claim(
        "insensitive",
        "the conventional score based on reconstruction error is almost insensitive to the latent dimension",
        "section 5.1, Figure 3",
        "its mean AUC moves over k = 2 … 9 by no more than its deviation over splits and hyper-parameters",
        insensitive,
    ),
    Claim(
        "peak",
        "the performance of the anomaly detection based on the proposed score has a flat peak at 4–6 dimensions "
        "with decreasing performance for lower as well as higher dimensions",
        "section 5.1, Figure 3",
        "highest mean AUC at k = 4, 5 or 6, and the mean over 4–6 above those of both sides",
        peak,
    ),
    Claim(
        "kNN",
        "vanilla k-nearest neighbor with basic L2 distance is frequently superior to approaches based on "
        "Variational Auto-Encoders [by reconstruction error]",
        "section 1, of its reference [31]",
        "kNN against reconstruction, unsupervised: higher mean test AUC on six of the ten",
        partial(better_on, "knn", "reconstruction", "unsupervised", 6),
    ),
)


def verdicts(summary: Summary, chosen: list[Setting]) -> pd.DataFrame:
    """Return one row for each claim and setting: the paper's words, our count and the verdict."""
    rows: list[dict[str, Any]] = []
    for claim in CLAIMS:
        for setting in chosen:
            found = claim.count(summary, setting)
            rows.append(
                {
                    "claim": claim.name, "setting": setting.label, "verdict": found.verdict, "count": found.count,
                    "wins": found.wins, "of": found.of, "p_value": found.p_value, "detail": found.detail,
                    "statement": claim.statement, "where": claim.where, "rule": claim.rule,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
