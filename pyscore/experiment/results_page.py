"""The results page: tables and figures of a summary in a Markdown template.

The same input gives the same bytes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pyscore._core.files import atomic_write
from pyscore._core.markdown import Markdown, markdown_table
from pyscore._core.text import markdown_text
from pyscore.convention import Convention
from pyscore.data import datasets as data
from pyscore.data.tables import records, write_table
from pyscore.errors import InvalidInput
from pyscore.experiment import figures, toy
from pyscore.experiment import page_tables as results_tables
from pyscore.experiment import paper_claims as claims
from pyscore.experiment.page_tables import MAIN_SCORES, ordered_datasets
from pyscore.experiment.result_tables import Setting, Summary, read_summary, settings, slug
from pyscore.experiment.schema import BASELINE_NAMES, FIT_ONLY, NOT_SWITCHED
from pyscore.experiment.selection import SELECTIONS
from pyscore.experiment.significance import Ranking
from pyscore.scoring.plots import save_figure

__all__ = ["TOY_FILE", "Page", "build_page", "links_from", "write_page"]

MAIN_SETTINGS = 3
"""Number of settings shown in full, each with more than half of the datasets; the CSV files hold all settings."""
TOY_FILE = "toy.safetensors"
SPLITS = 5  # the paper's
SWEPT = "breast-cancer-wisconsin"
"""The dataset of Figure 3."""


@dataclass(frozen=True)
class Page:
    """The text and the figures of a page, before they are written."""

    text: str
    figures: dict[str, Callable[[], Figure]]
    """Functions that draw the figures, by file name without suffix."""
    verdicts: pd.DataFrame
    auc: pd.DataFrame


def build_page(folder: str | os.PathLike[str], links: str = "results") -> Page:
    """Build the page from the tables of a folder.

    Parameters
    ----------
    folder : folder of `write_summary`, and of toy.safetensors (the toy model is trained if that is missing)
    links : path of that folder as the page's links name it

    Raises
    ------
    DataUnavailable, InvalidInput
        If a table is missing, cannot be parsed or holds no result.
    """
    folder = Path(folder)
    summary = read_summary(folder)
    chosen = settings(summary)
    if not chosen:
        raise InvalidInput(f"{str(folder)!r} holds no selected model: every model of the run failed.")
    maps = toy.density_maps(toy.toy_model(folder / TOY_FILE))
    return _Builder(summary, chosen, maps, links).page()


def write_page(folder: str | os.PathLike[str], output: str | os.PathLike[str]) -> Page:
    """Write page, figures (SVG and PNG), verdicts.csv and auc.csv; return their paths."""
    folder, output = Path(folder), Path(output)
    page = build_page(folder, links_from(output, folder))
    for name, draw in page.figures.items():
        figure = draw()
        for suffix in ("svg", "png"):
            save_figure(figure, folder / f"{name}.{suffix}")
    write_table(folder / "verdicts.csv", page.verdicts)
    write_table(folder / "auc.csv", page.auc)
    with atomic_write(output, "w") as file:
        file.write(page.text)
    return page


def _shown(value: Any) -> Any:
    """Return a value as the template prints it; names cannot become HTML, links or images."""
    return value if isinstance(value, Markdown) or not isinstance(value, str) else markdown_text(value)


def links_from(output: Path, folder: Path) -> str:
    """Path of the tables' folder as seen from the page."""
    return Path(os.path.relpath(folder.resolve(), output.resolve().parent)).as_posix()


class _Builder:
    """Computes the values of the template, section by section."""

    def __init__(self, summary: Summary, chosen: list[Setting], maps: toy.Maps, links: str) -> None:
        self.summary, self.settings, self.maps, self.links = summary, chosen, maps, links
        datasets = [setting.of(summary.selected)["dataset"].nunique() for setting in chosen]
        wide = [s for s, n in zip(chosen, datasets, strict=True) if 2 * n > max(datasets)]
        self.main = wide[:MAIN_SETTINGS]
        self.main_labels = [s.label for s in self.main]
        self.verdicts = claims.verdicts(summary, chosen)
        self.figures: dict[str, Callable[[], Figure]] = {}
        self.datasets = ordered_datasets(summary.selected["dataset"].unique())

    def page(self) -> Page:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("pyscore.experiment"), undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, autoescape=False, keep_trailing_newline=True, finalize=_shown,
        )  # fmt: skip
        context = {
            "answer": self.answer(), "claims": claims.CLAIMS, "claims_table": markdown_table(self.claims_table()),
            "details_table": markdown_table(self.details_table()), "run": self.run(), "datasets": self.datasets,
            "settings": [self.setting(s) for s in self.main], "selection": self.selection(),
            "anatomy": self.anatomy(), "conventions": self.conventions(), "ablation": self.ablation(),
            "sweep": self.sweep(), "toy": self.toy(), "goodness_table": markdown_table(self.goodness_table()),
            "notes": data.NOTES, "tables": self.links,
        }  # fmt: skip
        text = environment.get_template("results.md.j2").render(**context)
        auc = results_tables.auc_table(self.summary, self.settings)
        return Page(re.sub(r"\n{3,}", "\n\n", text), self.figures, self.verdicts, auc)

    def figure(self, name: str, draw: Callable[[], Figure]) -> str:
        """Register a figure and return its link."""
        self.figures[name] = draw
        return f"{self.links}/{name}.svg"

    # ── first the answer ──

    def answer(self) -> dict[str, Any]:
        shown = self.verdicts[self.verdicts["setting"].isin(self.main_labels)]
        by_claim = {name: records(rows[rows["verdict"] != "not run"]) for name, rows in shown.groupby("claim")}
        mine = shown[shown["setting"] == self.main_labels[0]]
        return {
            "supervised": by_claim["supervised"],
            "unsupervised": by_claim["unsupervised"],
            "setting": self.main_labels[0],
            "total": len(mine),
            "tally": _tally(mine["verdict"]),
            "mass": toy.off_data_mass(self.maps),
            "distance": toy.total_variation(self.maps),
            "missing": [name for name in data.DATASETS if name not in self.datasets],
        }

    def claims_table(self) -> pd.DataFrame:
        cells = {(v["claim"], v["setting"]): _verdict_cell(v) for v in records(self.verdicts)}
        return pd.DataFrame(
            [
                {
                    "claim": f"**{claim.name}**: “{claim.statement}” ({claim.where})",
                    **{label: cells[claim.name, label] for label in self.main_labels},
                }
                for claim in claims.CLAIMS
            ]
        )

    def details_table(self) -> pd.DataFrame:
        known = self.verdicts[self.verdicts["verdict"] != "not run"]
        return known.loc[known["setting"].isin(self.main_labels), ["claim", "setting", "count", "detail"]]

    # ── what was run ──

    def run(self) -> dict[str, Any]:
        runs, manifest = self.summary.runs, self.summary.manifest
        names = ("pyscore", "backends", "machine", "commit", "date", "versions", "python")
        facts = {name: ", ".join(manifest.get(name, [])) for name in names}
        failures = self.summary.failures.groupby(["failure", "score"])["models"].sum().reset_index()
        return {
            "models": int(runs["models"].sum()),
            "failed": int(runs["failed"].sum()),
            "hours": (runs["seconds_train"].sum() + runs["seconds_score"].sum()) / 3600,
            "facts": {name: value for name, value in facts.items() if value},
            "table": markdown_table(results_tables.runs_table(self.summary)),
            "not_run": self.not_run(),
            "failures": markdown_table(failures.rename(columns={"failure": "reason", "score": "scores lost"})),
        }

    def not_run(self) -> list[str]:
        """Sentences about what a reader may expect to have been run, but was not."""
        runs, manifest = self.summary.runs, self.summary.manifest
        used = runs[runs["used"] == 1].groupby("dataset")["split"].nunique()
        partial = records(runs[runs["used"] == 0])
        missing = [name for name in data.DATASETS if name not in set(runs["dataset"])]
        absent = [name for name in ("ORIGINAL", "EXACT") if name not in {s.convention for s in self.settings}]
        scores = set(self.summary.selected["score"])
        unscored = [f"`{name}`" for name in ("projected", "corrected", "laplace") if name not in scores]
        skipped = int(manifest.get("rows_of_other_difficulties", 0))
        lines = {
            "Not run at all": missing,
            f"Fewer than the paper's {SPLITS} splits": [f"{name} {n}" for name, n in used.items() if n < SPLITS],
            "Left out, since the run is still at them": [
                f"{r['dataset']} split {r['split']} ({r['models']} models)" for r in partial
            ],
            "Not scored by the convention": absent,
            "Scores that were not computed": unscored,
            "No model could be selected": self.unselected(),
            "No": [name for name in ("baselines", "ablation") if getattr(self.summary, name).empty],
            "Not shown": [f"{skipped:,} rows of anomalies other than easy ones"] if skipped else [],
            "Could not be read": manifest.get("unread", []),
        }
        return [f"{title}: {', '.join(items)}." for title, items in lines.items() if items]

    def unselected(self) -> list[str]:
        """Datasets that were run, but where one of the paper's two scores has no selected model."""
        found = []
        for setting in self.main:
            ran = setting.of(self.summary.selected)["dataset"].unique()
            for criterion in SELECTIONS:
                matrix = self.summary.matrix(setting, criterion).reindex(ordered_datasets(ran))
                for score in figures.PAIR:
                    values = matrix[score] if score in matrix else pd.Series(math.nan, matrix.index)
                    found += [
                        f"{score} on {name} ({setting.label}, {criterion})" for name in values[values.isna()].index
                    ]
        return found

    # ── AUCs ──

    def setting(self, setting: Setting) -> dict[str, Any]:
        selected = setting.of(self.summary.selected)
        present = [name for name in self.datasets if name in set(selected["dataset"])]
        splits = selected[["dataset", "split"]].drop_duplicates()
        beside = self.summary.beside(setting).merge(splits, on=["dataset", "split"])
        boxes = self.figure(
            f"figure2-{setting.slug}", lambda: figures.auc_boxes(selected, present, SELECTIONS, beside)
        )
        tables = [self.auc_of(setting, criterion) for criterion in SELECTIONS]
        return {"label": setting.label, "setting": setting, "boxes": boxes, "tables": tables}

    def auc_of(self, setting: Setting, criterion: str) -> dict[str, Any]:
        cells = markdown_table(results_tables.auc_cells(self.summary, setting, criterion))
        ranks = results_tables.rank_scores(self.summary, setting, criterion)
        diagram, sentence = "", ""
        if ranks is not None:
            name, labels = f"ranks-{setting.slug}-{criterion}", {k: v.label for k, v in BASELINE_NAMES.items()}
            diagram = self.figure(name, lambda: figures.critical_difference(ranks, labels))
            sentence = _rank_sentence(ranks)
        return {"criterion": criterion, "cells": cells, "diagram": diagram, "ranks": sentence}

    # ── selection ──

    def selection(self) -> dict[str, Any]:
        parts = [results_tables.criteria_means(self.summary, s) for s in self.main]
        means = pd.concat(
            [p.assign(setting=label) for p, label in zip(parts, self.main_labels, strict=True)], ignore_index=True
        )
        means = means[["setting", *(c for c in means.columns if c != "setting")]]
        signal = results_tables.signal_means(self.summary, self.main)
        chosen = self.summary.selected[self.summary.selected["criterion"] == "supervised"]
        return {
            "means": markdown_table(means[means["score"].isin(MAIN_SCORES)]),
            "signal": markdown_table(signal[signal["score"].isin(MAIN_SCORES)]),
            "count": len(chosen),
            "tied": int((chosen["tied"] > 1).sum()),
        }

    # ── what decides `proposed` ──

    def anatomy(self) -> dict[str, Any]:
        parts = [
            {
                "title": f"{criterion.capitalize()} selection, {setting.label}",
                "table": markdown_table(results_tables.anatomy_table(self.summary, setting, criterion)),
                "widest": _widest(results_tables.widest_terms(self.summary, setting, criterion)),
            }
            for setting in self.main
            for criterion in SELECTIONS
        ]
        reason = str(self.summary.manifest.get("anatomy", ""))
        lost = [
            text
            for criterion in SELECTIONS
            for setting in self.main
            for text in results_tables.lost_duels(self.summary, setting, criterion)
        ]
        return {"parts": [part for part in parts if part["table"]], "lost": lost, "reason": reason}

    # ── conventions ──

    def conventions(self) -> dict[str, Any]:
        rows = [
            row
            for criterion in SELECTIONS
            for setting in self.main[1:]
            for row in results_tables.setting_duels(self.summary, setting, self.settings[0], criterion)
        ]
        matrices = {s.label: self.summary.matrix(s, "unsupervised") for s in self.main}
        matrices = {name: m for name, m in matrices.items() if {"reconstruction", "proposed"} <= set(m.columns)}
        link = ""
        if len(matrices) > 1:
            link = self.figure(
                "settings", lambda: figures.paired_settings(matrices, self.datasets, "unsupervised selection")
            )
        few = [s for s in self.settings if s not in self.main]
        others = markdown_table(results_tables.other_settings(self.summary, few))
        return {
            "base": self.main_labels[0],
            "figure": link,
            "table": markdown_table(pd.DataFrame(rows)),
            "others": others,
        }

    def ablation(self) -> dict[str, Any]:
        links = {}
        for (train, scored), part in self.summary.ablation.groupby(["train_convention", "convention"], sort=True):
            rows = results_tables.moved(part[part["score"] == "proposed"])
            if len(rows):
                draw = _deferred(_draw_ablation, rows)
                links[f"{train} / {scored}"] = self.figure(
                    f"ablation-{slug(str(train))}-{slug(str(scored))}", draw
                )
        ablation = self.summary.ablation
        switched = set(ablation["switched"])
        still = sorted(switched - set(results_tables.moved(ablation)["switched"]) - set(FIT_ONLY))
        nothing = "nothing to compare with"
        return {
            "fit": sorted(switched & set(FIT_ONLY)),
            "not_run": {f: NOT_SWITCHED.get(f, nothing) for f in sorted(set(Convention.fields()) - switched)},
            "table": markdown_table(results_tables.ablation_means(ablation)),
            "figures": links,
            "still": still,
        }

    # ── Figures 3 and 1, the prior ──

    def sweep(self) -> dict[str, Any]:
        sweep = self.summary.sweep
        present = [s for s in self.main if s.of(sweep)["score"].isin(figures.PAIR).any()]
        links = {s.label: self.figure(f"figure3-{s.slug}", self.sweep_figure(s)) for s in present}
        table = markdown_table(results_tables.sweep_means(sweep, present))
        return {"figures": links, "table": table, "splits": sweep["split"].nunique()}

    def sweep_figure(self, setting: Setting) -> Callable[[], Figure]:
        """Figure 3 with the baselines of its dataset and splits."""
        rows, beside = setting.of(self.summary.sweep), self.summary.beside(setting)
        mine = beside[(beside["dataset"] == SWEPT) & beside["split"].isin(rows["split"].unique())]
        means = mine.groupby("score")["auc_test"].mean()
        lines = {baseline.label: float(means[name]) for name, baseline in BASELINE_NAMES.items() if name in means}
        return lambda: figures.latent_sweep(rows, lines)

    def toy(self) -> dict[str, Any]:
        mass = {name: f"{share:.2%}" for name, share in toy.off_data_mass(self.maps).items()}
        table = pd.DataFrame(
            {
                "map": list(mass),
                "mass where there are no data": list(mass.values()),
                "total variation from the truth": list(toy.total_variation(self.maps).values()),
            }
        )
        table.attrs["right"] = ("mass where there are no data",)
        link = self.figure("figure1", lambda: figures.toy_maps(self.maps))
        return {"figure": link, "table": markdown_table(table), "config": toy.TOY, "sizes": toy.SIZES}

    def goodness_table(self) -> pd.DataFrame:
        rows: dict[str, dict[str, Any]] = {}
        for setting in self.main:
            for r in records(setting.of(self.summary.goodness)):
                row = rows.setdefault(r["dataset"], {"dataset": r["dataset"], "classifier": r["train_disc"]})
                share = "–" if math.isnan(r["accepted"]) else f"{r['accepted']:.0%}"
                row |= {f"MMD, {setting.label}": f"{r['mmd']:.4f}", f"passes, {setting.label}": share}
        table = pd.DataFrame([rows[name] for name in ordered_datasets(rows)])
        table.attrs["right"] = tuple(table.columns[1:])
        return table


def _deferred(draw: Callable[[pd.DataFrame], Figure], frame: pd.DataFrame) -> Callable[[], Figure]:
    """Bind a frame to a function now, because the loop variable changes later."""
    return lambda: draw(frame)


def _draw_ablation(rows: pd.DataFrame) -> Figure:
    labels = {field: results_tables.switch_label(field, rows) for field in rows["switched"].unique()}
    return figures.ablation_changes(rows, labels)


def _widest(found: dict[str, list[str]]) -> str:
    return "; ".join(f"the {term} on {len(names)} ({', '.join(names)})" for term, names in found.items())


def _tally(verdicts: pd.Series) -> str:
    counts = {name: int((verdicts == name).sum()) for name in ("holds", "does not hold", "open", "not run")}
    return ", ".join(f"{name}: {n}" for name, n in counts.items() if n)


def _verdict_cell(verdict: dict[str, Any]) -> str:
    if verdict["verdict"] == "not run":
        return "not run"
    return f"{verdict['count']}: **{verdict['verdict']}**"


def _rank_sentence(ranks: Ranking) -> str:
    near = [results_tables.label(name) for name in ranks.indistinguishable("proposed")]
    first = str(ranks.ranks.index[0])
    leader = "" if first == "proposed" else f"{results_tables.label(first)} {ranks.ranks.iloc[0]:.2f} (the best), "
    close = f"So close to `proposed`: {', '.join(near)}." if near else "None is so close to `proposed`."
    return (
        f"Average ranks of {len(ranks.ranks)} methods over {ranks.datasets} problems, 1 = best: {leader}"
        f"`proposed` {ranks.ranks['proposed']:.2f}, reconstruction {ranks.ranks['reconstruction']:.2f}. Friedman "
        f"{claims.probability(ranks.friedman_p)}. Ranks that differ by less than {ranks.critical_difference:.2f} "
        f"cannot be told apart at the 5 % level (Nemenyi). {close}"
    )
