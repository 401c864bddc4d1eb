"""The small tables of the results page, computed once from a run and kept as CSV files.

Everything on the page comes from a `Summary`, so the page can be made again from the committed tables alone.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyscore._core.files import write_json
from pyscore._core.net import as_invalid
from pyscore._core.plain_files import read_json, read_plain
from pyscore.convention import Convention, get_convention
from pyscore.data.tables import write_table
from pyscore.errors import DataUnavailable, InvalidInput
from pyscore.experiment.result_checks import check_facts, check_frame
from pyscore.experiment.run_reader import CONFIG, MODEL, Study, base_name, main_grid, sweep_rows
from pyscore.experiment.selection import CRITERIA, GROUP, SELECTIONS, references, select, usable
from pyscore.experiment.term_analysis import COLUMNS as ANATOMY
from pyscore.experiment.term_analysis import SAMPLED

__all__ = [
    "SAMPLE",
    "SEARCHING",
    "Setting",
    "Summary",
    "read_summary",
    "selectable",
    "settings",
    "slug",
    "summarise",
    "write_summary",
]

TRAINING = ("train_convention", "steps", "learning_rate")
DIFFICULTY = "easy"  # the paper's


LONGEST = 100
"""Largest number of characters of a part of a file name; most file systems allow 255 bytes for the whole."""


def slug(text: str) -> str:
    """Return text as a part of a file name: letters, digits and hyphens; long text is cut and ends in a hash."""
    found = "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split())
    if len(found) <= LONGEST:
        return found
    return f"{found[:LONGEST]}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


@dataclass(frozen=True, order=True)
class Setting:
    """The convention by which models were trained, and the one by which they were scored."""

    train_convention: str
    steps: int
    learning_rate: float
    convention: str

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows of a table that belong to this setting."""
        chosen = np.ones(len(frame), dtype=bool)
        for f in fields(self):
            chosen &= (frame[f.name] == getattr(self, f.name)).to_numpy()
        return frame[chosen]

    @property
    def label(self) -> str:
        """Name of the setting on the page: "trained / scored"."""
        usual = (self.steps, self.learning_rate) == (10_000, 1e-4)
        rest = "" if usual else f" ({self.steps:,} steps, rate {self.learning_rate:g})"
        return f"{self.train_convention} / {self.convention}{rest}"

    @property
    def slug(self) -> str:
        """The label as part of a file name."""
        return slug(self.label)


@dataclass(frozen=True)
class Summary:
    """The tables, one DataFrame per CSV file; the functions below make them."""

    selected: pd.DataFrame
    runs: pd.DataFrame
    failures: pd.DataFrame
    sweep: pd.DataFrame
    ablation: pd.DataFrame
    baselines: pd.DataFrame
    goodness: pd.DataFrame
    signal: pd.DataFrame
    anatomy: pd.DataFrame
    manifest: dict[str, Any] = field(default_factory=dict)

    _matrices: dict[tuple[Setting, str], pd.DataFrame] = field(default_factory=dict, init=False, repr=False)

    def matrix(self, setting: Setting, criterion: str) -> pd.DataFrame:
        """Mean test AUC over the splits, datasets by scores; baselines are columns, too.

        A score has no value on a dataset if it has none on one of the splits that were run, because means over
        different splits cannot be compared. Baselines are averaged over the splits of the models.
        """
        if (setting, criterion) not in self._matrices:
            self._matrices[setting, criterion] = self._matrix(setting, criterion)
        return self._matrices[setting, criterion].copy()

    def beside(self, setting: Setting) -> pd.DataFrame:
        """Baselines on the data as the setting standardises them; rows without a convention are used for all."""
        trained = self.baselines["train_convention"]
        return self.baselines[trained.isna() | (trained == setting.train_convention)]

    def _matrix(self, setting: Setting, criterion: str) -> pd.DataFrame:
        rows = setting.of(self.selected)
        rows = rows[rows["criterion"] == criterion].dropna(subset="auc_test")
        splits = rows[["dataset", "split"]].drop_duplicates()
        beside = self.beside(setting).merge(splits, on=["dataset", "split"]).dropna(subset="auc_test")
        both = pd.concat([frame[["dataset", "split", "score", "auc_test"]] for frame in (rows, beside)])
        table = both.groupby(["dataset", "score"])["auc_test"].agg(["mean", "size"]).reset_index()
        needed = table["dataset"].map(splits.groupby("dataset").size())
        return table[table["size"] == needed].pivot(index="dataset", columns="score", values="mean")


def settings(summary: Summary) -> list[Setting]:
    """Every setting with results, the paper's own first, then those with more datasets."""
    columns = [f.name for f in fields(Setting)]
    counts = summary.selected.groupby(columns)["dataset"].nunique().rename("datasets").reset_index()
    found = {
        Setting(str(r["train_convention"]), int(r["steps"]), float(r["learning_rate"]), str(r["convention"])): int(
            r["datasets"]
        )
        for r in counts.to_dict("records")
    }

    def order(setting: Setting) -> tuple[Any, ...]:
        usual = (setting.steps, setting.learning_rate) == (10_000, 1e-4)
        original = setting.train_convention == "ORIGINAL"
        return (not (usual and original), -found[setting], *(
            name != "ORIGINAL" for name in (setting.train_convention, setting.convention)), setting)  # fmt: skip

    return sorted(found, key=order)


# ── from the run ─────────────────────────────────────────────────────────────────────────────────────────


def selectable(study: Study) -> pd.DataFrame:
    """Return the rows from which models are selected: those of the grid on complete splits."""
    return complete_splits(main_grid(_paper_difficulty(study.models)))


def _paper_difficulty(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["difficulty"].fillna(DIFFICULTY) == DIFFICULTY]


def summarise(study: Study, anatomy: pd.DataFrame | str = "not asked for") -> Summary:
    """Reduce a run to its summary; `anatomy` is the table of `term_analysis`, or the reason why there is none."""
    easy, ablation = _paper_difficulty(study.models), _paper_difficulty(study.ablation)
    everything = main_grid(easy)
    grid = complete_splits(everything)
    parts = pd.DataFrame(columns=list(ANATOMY)) if isinstance(anatomy, str) else anatomy
    return Summary(
        selected=_with_sampled(_with_costly(_selected(grid), ablation), parts),
        runs=_runs(everything, grid),
        failures=_failures(easy),
        sweep=_sweep(complete_splits(sweep_rows(easy))),
        ablation=_ablation(everything, ablation),
        baselines=study.baselines.sort_values(
            ["dataset", "split", "train_convention", "score"], ignore_index=True
        ),
        goodness=_goodness(grid),
        signal=_signal(grid),
        anatomy=parts,
        manifest={
            **_facts(study.manifest),
            "unread": list(study.unread),
            "anatomy": anatomy if isinstance(anatomy, str) else "",
            "rows_of_other_difficulties": len(study.models) - len(easy),
            "pyscore": sorted(study.models["version"].dropna().unique()),
            "backends": sorted(study.models["backend"].dropna().unique()),
        },
    )


def complete_splits(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out unfinished splits, which have fewer models than the fullest split of their dataset.

    A model selected from a part of the grid cannot be compared with one selected from the whole grid.
    """
    by = ["dataset", *TRAINING]
    counts = _unique_models(rows).groupby([*by, "split"]).size()
    full = counts == counts.groupby(by).transform("max")
    keys = pd.MultiIndex.from_frame(rows[[*by, "split"]])
    return rows[full.reindex(keys).to_numpy(dtype=bool)]


def _selected(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the model that each criterion selects, and the median and highest test AUC."""
    parts = [*(select(rows, criterion) for criterion in CRITERIA), references(rows)]
    measures = ["criterion", "auc_train", "auc_test", "mean_log_density", *CONFIG, "candidates", "tied"]
    columns = [*GROUP, *measures]
    return _in_order([part.reindex(columns=columns) for part in parts])


def _in_order(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate frames with the same columns and sort the rows by group and criterion."""
    # pandas would guess the dtype of a column that is missing in a frame.
    together = pd.concat([part.astype(object) for part in parts], ignore_index=True)
    return together.infer_objects().sort_values([*GROUP, "criterion"], kind="stable", ignore_index=True)


SEARCHING = ("projected", "corrected", "laplace")
"""Scores that search for a minimum at every row; they are measured only for models selected by `proposed`."""


def _with_costly(selected: pd.DataFrame, ablation: pd.DataFrame) -> pd.DataFrame:
    """Add the measured scores of `SEARCHING` for the model that each criterion selects by `proposed`."""
    rows = usable(ablation[(ablation["switched"] == "") & ablation["score"].isin(SEARCHING)])
    models = selected[selected["score"] == "proposed"].drop(
        columns=["score", "auc_train", "auc_test", "mean_log_density"]
    )
    key = [name for name in (*GROUP, *CONFIG) if name != "score"]
    measured = rows[[*key, "score", "auc_train", "auc_test", "mean_log_density"]]
    if measured.empty:
        return selected
    found = models.merge(measured, on=key)
    present = set(selected["score"])
    found = found[~found["score"].isin(present)]
    if found.empty:
        return selected
    return _in_order([selected, found[selected.columns]])


SAMPLE = "proposed_sampled"
"""Name of `proposed` on the sample of `SEARCHING`, to compare those scores with on the same rows."""


def _with_sampled(selected: pd.DataFrame, anatomy: pd.DataFrame) -> pd.DataFrame:
    """Add `SAMPLE`, where `term_analysis` has measured it."""
    found = anatomy[anatomy["term"] == SAMPLED]
    if found.empty:
        return selected
    found = found.assign(score=SAMPLE, auc_test=found["auc"]).reindex(columns=selected.columns)
    return _in_order([selected, found])


def _facts(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the facts about machine, code and versions in a manifest and its runs."""
    found: dict[str, Any] = {}
    for entry in (manifest, *(run for run in manifest.get("runs", {}).values() if isinstance(run, dict))):
        for name in ("machine", "commit", "python", "date", "command", "versions"):
            value = entry.get(name)
            items = [f"{k} {v}" for k, v in value.items()] if isinstance(value, dict) else [value] if value else []
            found[name] = sorted({*found.get(name, []), *map(str, items)})
    return {name: values for name, values in found.items() if values}


def _unique_models(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop_duplicates(list(MODEL))


def _runs(rows: pd.DataFrame, complete: pd.DataFrame) -> pd.DataFrame:
    """Count trained and failed models by dataset, split and training, with their time and if the split is used."""
    by = ["dataset", "split", *TRAINING]
    scored, lost = _scored_and_lost(rows)
    grouped = _unique_models(scored).groupby(by)
    table = grouped.agg(models=("seed", "size"), seconds_train=("seconds_train", "sum"))
    # A model is scored once per convention, and each of its rows carries that time.
    once = scored.drop_duplicates([*MODEL, "convention"])
    table["seconds_score"] = once.groupby(by)["seconds_score"].sum()
    failed = _unique_models(lost).groupby(by).size().rename("failed")
    table = table.join(failed, how="outer").fillna(0)
    table["used"] = table.index.isin(pd.MultiIndex.from_frame(complete[by])).astype(int)
    return table.astype({"models": int, "failed": int}).reset_index()


def _scored_and_lost(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of models with at least one score, and the rows of models without any."""
    alive = rows["failure"].isna().groupby([rows[name] for name in MODEL], dropna=False).transform("any")
    return rows[alive], rows[~alive]


def _failures(rows: pd.DataFrame) -> pd.DataFrame:
    """Count the models of each dataset and training that failed or lack a score, by reason."""
    _, lost = _scored_and_lost(rows)
    by = ["dataset", *TRAINING, "failure", "score"]
    whole = _unique_models(lost).assign(score="all")
    part = rows[rows["failure"].notna() & ~rows.index.isin(lost.index)].drop_duplicates(
        [*MODEL, "score", "failure"]
    )
    counted = [frame.groupby(by).size().rename("models").reset_index() for frame in (whole, part)]
    return pd.concat(counted, ignore_index=True) if len(part) else counted[0]


def _sweep(rows: pd.DataFrame) -> pd.DataFrame:
    """Test AUCs by latent dimension, one row per model of Figure 3."""
    chosen = usable(rows)
    chosen = chosen[chosen["score"].isin(["reconstruction", "prior", "joint", "proposed"])]
    columns = ["latent_dim", "split", "beta", "c", *TRAINING, "convention", "score", "auc_test"]
    return chosen[columns].sort_values(columns[:-1], ignore_index=True)


def _goodness(rows: pd.DataFrame) -> pd.DataFrame:
    """Goodness of fit of the prior over the models of each dataset."""
    once = rows[rows["failure"].isna()].drop_duplicates([*MODEL, "convention"])
    by = ["dataset", *TRAINING, "convention"]
    tested = once.dropna(subset="p_value").groupby(by)
    table = tested.agg(
        models=("p_value", "size"),
        mmd=("mmd", "median"),
    )
    passed = tested["p_value"].agg(list).reset_index()
    shares = [_passed(get_convention(r["convention"].lower()), r["p_value"]) for r in passed.to_dict("records")]
    table["accepted"] = pd.Series(shares, index=table.index, dtype=float)
    classifier = once.dropna(subset="train_disc").groupby(by)["train_disc"].median().rename("train_disc")
    return table.join(classifier, how="outer").reset_index()


def _passed(convention: Convention, p_values: list[float]) -> float:
    """Share of the models that the test does not reject at 5 %. Under ``"rank"`` large values mean a bad fit."""
    p = np.array(p_values)
    return float((p <= 0.95).mean() if convention.p_value == "rank" else (p > 0.05).mean())


def _signal(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation over the models between each possible selection criterion and the test AUC.

    ``mmd`` and ``train_disc`` measure the prior's goodness of fit. Their sign is chosen so that a positive
    correlation means: the better the fit, the higher the AUC.
    """
    fit = usable(rows).dropna(subset="auc_test")
    fit = fit.assign(mmd=-fit["mmd"])
    by = list(GROUP)
    names = {
        "supervised": "auc_train",
        "unsupervised": "mean_log_density",
        "mmd": "mmd",
        "train_disc": "train_disc",
    }
    ranks = fit[[*names.values(), "auc_test"]].groupby([fit[name] for name in by]).rank()
    frame = pd.concat([fit[by], ranks], axis=1)
    table = pd.DataFrame({name: _correlation(frame, by, column, "auc_test") for name, column in names.items()})
    table["models"] = frame.groupby(by).size()
    return table.reset_index()


def _correlation(frame: pd.DataFrame, by: list[str], x: str, y: str) -> pd.Series:
    """Pearson's correlation within groups; NaN where a column is constant."""
    pair = frame.dropna(subset=[x, y])
    a, b = (pair[c] - pair.groupby(by)[c].transform("mean") for c in (x, y))
    keys = [pair[c] for c in by]
    products = [series.groupby(keys).sum() for series in (a * b, a * a, b * b)]
    scale = (products[1] * products[2]) ** 0.5
    return products[0] / scale.where(scale > 0)


# ── ablation ─────────────────────────────────────────────────────────────────────────────────────────────

ALL = "all training fields"
"""Value of `switched` for models that were trained under EXACT instead of ORIGINAL."""
_SAME = [name for name in MODEL if name != "train_convention"]


def _ablation(rows: pd.DataFrame, ablation: pd.DataFrame) -> pd.DataFrame:
    """Change of the test AUC when one field of the convention is switched, for all models and the selected ones.

    Each switched row is compared with the row of the same configuration and split under the unswitched convention.
    Positive means that switching the field is better.
    """
    by = ["train_convention", "convention", "switched", "score", "dataset"]
    columns = [*by, "splits", "models", "mean_change", "supervised_change", "unsupervised_change"]
    named = ablation["switched"].fillna("") != ""
    exact = ablation[~named & (ablation["train_convention"] == "EXACT")]
    varied = pd.concat(
        [_with_base(ablation[named]), _with_base(exact).assign(switched=ALL, base_train="ORIGINAL")]
    )
    if varied.empty:
        return pd.DataFrame(columns=columns)
    base = _with_base(pd.concat([ablation[ablation["switched"].fillna("") == ""][rows.columns], rows]))
    key = [*_SAME, "score", "base_train", "base_scoring"]
    base = base[(base["base_train"] == base["train_convention"]) & (base["base_scoring"] == base["convention"])]
    base = usable(base).drop_duplicates(key)
    pairs = usable(varied).merge(base, on=key, suffixes=("", "_base"), validate="many_to_one")
    tables = [_changes(part, base.columns) for _, part in pairs.groupby("switched", sort=True)]
    if not tables:
        return pd.DataFrame(columns=columns)
    together = pd.concat(tables, ignore_index=True)
    return together.rename(columns={"base_train": "train_convention", "base_scoring": "convention"})[
        columns
    ].sort_values(by, ignore_index=True)


def _with_base(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(
        base_train=rows["train_convention"].map(base_name), base_scoring=rows["convention"].map(base_name)
    )


def _changes(pairs: pd.DataFrame, columns: pd.Index) -> pd.DataFrame:
    """Mean change over models and, for both selections, over splits, of one switched field."""
    group = ["base_train", "base_scoring", "score", "dataset", "split"]
    key = ["base_train", "base_scoring", *_SAME, "score"]
    before = pairs[[c if c in key else f"{c}_base" for c in columns]].set_axis(columns, axis=1)
    after = pairs[list(columns)]
    table = (pairs["auc_test"] - pairs["auc_test_base"]).groupby([pairs[g] for g in group]).agg(["mean", "size"])
    table = table.set_axis(["mean_change", "models"], axis=1)
    for criterion in SELECTIONS:
        chosen = [select(side, criterion, group).set_index(group)["auc_test"] for side in (after, before)]
        table[f"{criterion}_change"] = chosen[0] - chosen[1]
    over = table.reset_index().groupby(group[:-1])
    result = over[["mean_change", "supervised_change", "unsupervised_change"]].mean()
    result["splits"], result["models"] = over.size(), over["models"].sum()
    return result.reset_index().assign(switched=pairs["switched"].iloc[0])


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────

_TEXT = {"dataset", "train_convention", "convention", "score", "criterion", "failure", "switched", "term"}
_WHOLE = {"split", "steps", "models", "failed", "splits", "used"}
_TABLES = tuple(f.name for f in fields(Summary) if f.init and f.name != "manifest")


def write_summary(folder: str | os.PathLike[str], summary: Summary) -> None:
    """Write one CSV file a table, and summary.json."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _TABLES:
        write_table(folder / f"{name}.csv", getattr(summary, name))
    write_json(folder / "summary.json", summary.manifest)


_KEY = ("dataset", *TRAINING, "convention")
_WANTED: dict[str, tuple[str, ...]] = {
    "selected": (*GROUP, "criterion", "auc_train", "auc_test", "mean_log_density", *CONFIG, "candidates", "tied"),
    "runs": ("dataset", "split", *TRAINING, "models", "seconds_train", "seconds_score", "failed", "used"),
    "failures": ("dataset", *TRAINING, "failure", "score", "models"),
    "sweep": ("latent_dim", "split", "beta", "c", *TRAINING, "convention", "score", "auc_test"),
    "ablation": (
        "train_convention", "convention", "switched", "score", "dataset", "splits", "models", "mean_change",
        "supervised_change", "unsupervised_change",
    ),
    "baselines": ("dataset", "split", "train_convention", "score", "auc_train", "auc_test"),
    "goodness": (*_KEY, "models", "mmd", "accepted", "train_disc"),
    "signal": (*GROUP, "supervised", "unsupervised", "mmd", "train_disc", "models"),
    "anatomy": ANATOMY,
}  # fmt: skip
"""Columns of each table."""


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file with fixed column types; numbers keep every bit, and empty fields are missing values."""
    from pyarrow import ArrowException, csv

    data = read_plain(path)
    names = data.partition(b"\n")[0].decode("utf-8", "replace").strip().split(",")
    wanted = _WANTED[path.stem]
    options = csv.ConvertOptions(
        column_types={
            name: "string" if name in _TEXT or name not in wanted else "int64" if name in _WHOLE else "float64"
            for name in names
        },
        null_values=[""],
        strings_can_be_null=True,
    )
    with as_invalid("it is not a table", ArrowException):
        table = csv.read_csv(io.BytesIO(data), convert_options=options)
        found = table.column_names
    if len(set(found)) < len(found):
        raise InvalidInput("a column comes twice")
    return check_frame(table.to_pandas(), wanted, path.name)


def read_summary(folder: str | os.PathLike[str]) -> Summary:
    """Read what `write_summary` wrote, to the same bits.

    Raises
    ------
    DataUnavailable
        If a file is missing.
    InvalidInput
        If a file cannot be parsed.
    """
    folder = Path(folder)

    def read(name: str, parse: Callable[[Path], Any]) -> Any:
        path = folder / name
        if not path.is_file():
            raise DataUnavailable(
                f"there is no file {str(path)!r}. Pass a folder that `pyscore results` wrote its tables to."
            )
        try:
            return parse(path)
        except InvalidInput as error:
            raise InvalidInput(f"cannot parse {str(path)!r}: {error}.") from error

    tables = {name: read(f"{name}.csv", _read_csv) for name in _TABLES}
    return Summary(**tables, manifest=read("summary.json", lambda path: check_facts(read_json(path), path.name)))
