"""Checks of the files of an experiment: its manifest, and the tables from which the page is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pyscore._core.schema import check, fields, listing, mapping, number, optional, scalar, text
from pyscore._core.text import one_line
from pyscore.errors import InvalidInput

__all__ = ["check_facts", "check_frame", "check_manifest", "check_runs"]

NAME = text(1000)
NAMES = listing(NAME)
FACT = optional(mapping(scalar))


def _fact(value: Any, place: str) -> None:
    """Accept text, a number, or an object of these."""
    (FACT if isinstance(value, dict) else scalar)(value, place)


FACTS = dict.fromkeys(("machine", "commit", "python", "date", "command", "versions"), _fact)
RUN = {
    "grid": fields({"name": NAME}), "datasets": NAMES, "splits": listing(number(whole=True)), "stacks": NAMES,
    "options": fields({"steps": number(0, 1e15, whole=True)}), "notes": mapping(text()),
}  # fmt: skip
RUNS = mapping(fields(RUN, FACTS))
MANIFEST = fields({}, {**FACTS, "runs": mapping(fields({}, FACTS))})
SUMMARY = fields(
    {},
    {
        **dict.fromkeys((*FACTS, "pyscore", "backends"), NAMES),
        "unread": listing(text()), "anatomy": text(), "rows_of_other_difficulties": number(0, 1e15, whole=True),
    },
)  # fmt: skip


def check_manifest(value: Any, file: str) -> dict[str, Any]:
    """Return the manifest of a run; raises InvalidInput naming file and field."""
    check(value, MANIFEST, file, "`pyscore reproduce`", "Name another folder.")
    return dict(value)


def check_runs(value: Any, file: str) -> dict[str, dict[str, Any]]:
    """Return the runs of a manifest, each complete; raises InvalidInput naming file and field."""
    check(value, fields({"runs": RUNS}), file, "`pyscore reproduce`", "Name another folder.")
    return dict(value["runs"])


def check_facts(value: Any, file: str) -> dict[str, Any]:
    """Return the content of summary.json; raises InvalidInput naming file and field."""
    check(value, SUMMARY, file, "`pyscore results`", "Make the tables again.")
    return dict(value)


# ── tables ──

KEYS = ("dataset", "train_convention", "convention", "score", "criterion", "term")
"""Columns of text that must not be empty."""
CONVENTION = re.compile(r"(ORIGINAL|EXACT)(\[[^\x00-\x1f]*\])?")
RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("auc_train", "auc_test", "auc", "auc_without", "accepted", "used"), (0, 1)),
    **dict.fromkeys(("supervised", "unsupervised"), (-1 - 1e-9, 1 + 1e-9)),
    **dict.fromkeys(("mean_change", "supervised_change", "unsupervised_change"), (-1, 1)),
    **dict.fromkeys(("models", "failed", "splits", "steps", "candidates", "tied"), (0, 1e12)),
    **dict.fromkeys(("seconds_train", "seconds_score", "learning_rate"), (0, 1e12)),
    **dict.fromkeys(("hidden_dim", "latent_dim", "n_components"), (0, 1e6)),
    "split": (-1e12, 1e12),
}
"""Smallest and largest allowed value of a column. Missing values are not checked here."""


def check_frame(frame: pd.DataFrame, wanted: tuple[str, ...], file: str) -> pd.DataFrame:
    """Return a table after checking that it has the wanted columns, with values in their ranges.

    Raises
    ------
    InvalidInput
        If not; the message names file, column, line (the header is line 1) and value.
    """

    def damaged(why: str) -> InvalidInput:
        return InvalidInput(f"`{file}` is a damaged table of `pyscore results`: {why}. Make the tables again.")

    if lacking := [name for name in wanted if name not in frame.columns]:
        raise damaged(f"it lacks the column(s) {', '.join(lacking)}")
    for name in map(str, frame.columns):
        column = frame[name]
        # A baseline without a training convention is used for all of them.
        if name in KEYS and column.isna().any() and not (name == "train_convention" and "auc_train" in wanted):
            raise damaged(f"column `{name}` is empty in line {_line(column.isna())}")
        if name in ("train_convention", "convention"):
            said = column.dropna().astype(str)
            wrong = ~said.map(lambda text: CONVENTION.fullmatch(text) is not None).astype(bool)
            if wrong.any():
                raise damaged(_must(name, said[wrong], "a convention, ORIGINAL or EXACT"))
        if name in RANGES and name not in KEYS:
            low, high = RANGES[name]
            values = column.astype(float)
            wrong = values.notna() & ~values.between(low, high)
            if wrong.any():
                raise damaged(_must(name, column[wrong], f"between {low:g} and {high:g}"))
    return frame


def _line(mask: pd.Series) -> int:
    return int(np.flatnonzero(mask.to_numpy())[0]) + 2


def _must(name: str, wrong: pd.Series, wanted: str) -> str:
    return f"column `{name}` must be {wanted}; line {int(wrong.index[0]) + 2} has {one_line(wrong.iloc[0])[:60]!r}"
