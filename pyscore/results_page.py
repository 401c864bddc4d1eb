"""The results page: tables and figures of a summary, put into a Markdown template; same input, same bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pyscore import claims, data, figures, results_tables, toy
from pyscore.errors import InvalidInput
from pyscore.plots import save_figure
from pyscore.results_tables import markdown, ordered_datasets
from pyscore.storage import atomic_write
from pyscore.study import PAPER_GRID
from pyscore.summary import Setting, Summary, read_summary, settings
from pyscore.tables import write_table

__all__ = ["Page", "build_page", "write_page"]

MAIN_SETTINGS = 3
"""Settings shown in full; all stand in auc.csv."""
SELECTIONS = ("supervised", "unsupervised")
TOY_FILE = "toy.safetensors"


@dataclass(frozen=True)
class Page:
    """A page that is not written yet."""

    text: str
    figures: dict[str, Callable[[], Figure]]
    """By file name without suffix; drawn when asked for."""
    verdicts: pd.DataFrame
    auc: pd.DataFrame


def build_page(folder: str | os.PathLike[str], links: str = "results") -> Page:
    """Build the page from the tables of a folder.

    Parameters
    ----------
    folder : where `write_summary` wrote, and where toy.safetensors lies
    links : what the page calls that folder, in links to its figures

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
    """Write page, figures (SVG and PNG), verdicts.csv and auc.csv; returns what was written."""
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


def links_from(output: Path, folder: Path) -> str:
    """Path of the tables' folder as seen from the page."""
    return Path(os.path.relpath(folder.resolve(), output.resolve().parent)).as_posix()


class _Builder:
    def __init__(self, summary: Summary, chosen: list[Setting], maps: toy.Maps, links: str) -> None:
        self.summary, self.settings, self.maps, self.links = summary, chosen, maps, links
        self.main = chosen[:MAIN_SETTINGS]
        self.verdicts = claims.verdicts(summary, chosen)
        self.figures: dict[str, Callable[[], Figure]] = {}
        self.datasets = ordered_datasets(summary.selected["dataset"].unique())

    def page(self) -> Page:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("pyscore"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
            autoescape=False, keep_trailing_newline=True,
        )  # fmt: skip
        text = environment.get_template("results.md.j2").render(**self.context())
        text = re.sub(r"\n{3,}", "\n\n", text)
        auc = results_tables.auc_table(self.summary, self.settings)
        return Page(text, self.figures, self.verdicts, auc)

    def figure(self, name: str, draw: Callable[[], Figure]) -> str:
        """Register a figure and return its link."""
        self.figures[name] = draw
        return f"{self.links}/{name}.svg"

    def context(self) -> dict[str, Any]:
        return {
            "answer": self.answer(),
            "claims_table": markdown(self.claims_table()),
            "claims": claims.CLAIMS,
            "details_table": markdown(self.details_table()),
            **self.runs(),
            "settings": [self.setting(s) for s in self.main],
            **self.criteria(),
            **self.conventions(),
            **self.ablation(),
            **self.sweep(),
            **self.toy(),
            **self.goodness(),
            "differences": self.differences(),
            "tables": self.links,
        }

    # ── first the answer ──

    def answer(self) -> list[str]:
        lines = []
        for name in SELECTIONS:
            rows = self.verdicts[self.verdicts["claim"] == name].set_index("setting")
            parts = [
                f"{rows.loc[s.label, 'count']} under {s.label} ({rows.loc[s.label, 'detail']})"
                for s in self.main
                if rows.loc[s.label, "verdict"] != "not run"
            ]
            if parts:
                claimed = {"supervised": "ten of ten", "unsupervised": "nine of ten"}[name]
                lines.append(
                    f"**{name.capitalize()} selection** (the paper: `proposed` better on {claimed}). "
                    f"We got {'; '.join(parts)}."
                )
        first = self.verdicts[self.verdicts["setting"] == self.main[0].label]
        lines.append(
            f"Of the {len(first)} claims below, with the paper's own convention: {_tally(first['verdict'])}."
        )
        mass, distance = toy.off_data_mass(self.maps), toy.total_variation(self.maps)
        lines.append(
            f"On the toy problem of Figure 1, {mass['reconstruction']:.0%} of the mass that the reconstruction error "
            f"stands for, {mass['prior']:.0%} of the prior's and {mass['proposed']:.2%} of the proposed density's lie "
            f"where there are no data; the distance to the true density is {distance['reconstruction']:.2f}, "
            f"{distance['prior']:.2f} and {distance['proposed']:.2f}."
        )
        missing = [name for name in data.DATASETS if name not in self.datasets]
        if missing:
            lines.append(f"**Not all was run**: {len(missing)} of ten datasets have no result yet.")
        return lines

    def claims_table(self) -> pd.DataFrame:
        rows = []
        for claim in claims.CLAIMS:
            of_claim = self.verdicts[self.verdicts["claim"] == claim.name].set_index("setting")
            cells = {s.label: _verdict_cell(of_claim.loc[s.label]) for s in self.main}
            rows.append({"claim": f"**{claim.name}**: “{claim.statement}” ({claim.where})", **cells})
        return pd.DataFrame(rows)

    def details_table(self) -> pd.DataFrame:
        known = self.verdicts[self.verdicts["verdict"] != "not run"]
        return known[["claim", "setting", "count", "detail"]]

    # ── what was run ──

    def runs(self) -> dict[str, Any]:
        runs = self.summary.runs
        hours = (runs["seconds_train"].sum() + runs["seconds_score"].sum()) / 3600
        manifest = self.summary.manifest
        facts = {
            "pyscore": ", ".join(manifest.get("versions", [])),
            "backend": ", ".join(manifest.get("backends", [])),
            **{
                name: str(manifest[name]) for name in ("machine", "commit", "python", "date") if manifest.get(name)
            },
        }
        sentence = (
            f"{int(runs['models'].sum()):,} models were trained and scored in {hours:.1f} hours of one worker's time "
            f"({int(runs['failed'].sum())} failed). "
            + "; ".join(f"{name}: {value}" for name, value in facts.items() if value)
            + "."
        )
        failures = self.summary.failures.groupby("failure")["models"].sum().reset_index()
        return {
            "run_sentence": sentence,
            "runs_table": markdown(self.runs_table()),
            "not_run": self.not_run(),
            "failures_table": markdown(failures.rename(columns={"failure": "reason"})),
        }

    def runs_table(self) -> pd.DataFrame:
        rows = []
        runs = self.summary.runs
        overview = data.overview().set_index("dataset")
        by = ["train_convention", "steps", "learning_rate"]
        for dataset in ordered_datasets({*data.DATASETS, *runs["dataset"]}):
            mine = runs[runs["dataset"] == dataset]
            for _, part in mine.groupby(by) if len(mine) else [((), mine)]:
                used = part[part["used"] == 1]
                trained = _training_text(part) if len(part) else "–"
                d = int(overview.loc[dataset, "columns"]) if dataset in overview.index else 0
                count = int((used["models"] + used["failed"]).max()) if len(used) else 0
                rows.append(
                    {"dataset": dataset, "features": d or "–", "trained": trained,
                     "splits used": len(used), "models a split": f"{count} of {_expected(d)}" if d else str(count),
                     "failed": int(part["failed"].sum()),
                     "hours": (part["seconds_train"].sum() + part["seconds_score"].sum()) / 3600}
                )  # fmt: skip
        frame = pd.DataFrame(rows)
        frame["hours"] = frame["hours"].map(lambda h: f"{h:.2f}")
        frame.attrs["right"] = ("models a split", "hours")
        return frame

    def not_run(self) -> list[str]:
        runs, lines = self.summary.runs, []
        missing = [name for name in data.DATASETS if name not in set(runs["dataset"])]
        if missing:
            lines.append(f"Not run at all: {', '.join(missing)}.")
        splits = runs[runs["used"] == 1].groupby("dataset")["split"].nunique()
        few = [f"{name} {n}" for name, n in splits.items() if n < 5]
        if few:
            lines.append(f"Fewer than the paper's five splits: {', '.join(few)}.")
        partial = runs[runs["used"] == 0]
        if len(partial):
            named = ", ".join(f"{r.dataset} split {r.split} ({r.models} models)" for r in partial.itertuples())
            lines.append(f"Left out, since the run is still at them: {named}.")
        names = {s.convention for s in self.settings}
        absent = [name for name in ("ORIGINAL", "EXACT") if name not in names]
        if absent:
            lines.append(f"Not scored by the convention {', '.join(absent)}.")
        if not any(
            name in self.summary.selected["score"].unique() for name in ("projected", "corrected", "laplace")
        ):
            lines.append(
                "`projected`, `corrected` and `laplace`, which search for a minimum at every row, were not computed "
                "for every model of the grid."
            )
        for name, table in (("baselines", self.summary.baselines), ("ablation", self.summary.ablation)):
            if table.empty:
                lines.append(f"No {name}.")
        skipped = int(self.summary.manifest.get("rows_of_other_difficulties", 0))
        if skipped:
            lines.append(f"{skipped:,} rows of anomalies other than easy ones are not shown here.")
        unread = self.summary.manifest.get("unread", [])
        lines += [f"Could not be read: {text}." for text in unread]
        return lines

    # ── AUCs ──

    def setting(self, setting: Setting) -> dict[str, Any]:
        selected = setting.of(self.summary.selected)
        present = [name for name in self.datasets if name in set(selected["dataset"])]
        splits = selected[["dataset", "split"]].drop_duplicates()
        beside = self.summary.baselines.merge(splits, on=["dataset", "split"])
        boxes = self.figure(
            f"figure2-{setting.slug}", lambda: figures.auc_boxes(selected, present, SELECTIONS, beside)
        )
        words = f"trained by {setting.train_convention} and scored by {setting.convention}"
        return {
            "label": setting.label, "words": words, "boxes": boxes,
            "tables": [self.auc_of(setting, criterion) for criterion in SELECTIONS],
        }  # fmt: skip

    def auc_of(self, setting: Setting, criterion: str) -> dict[str, Any]:
        cells = results_tables.auc_cells(self.summary, setting, criterion)
        title = (
            f"**{criterion.capitalize()} selection**, {setting.label}: mean test AUC ± deviation over the splits, "
            "best of a row in bold. The baselines to the right have nothing to select."
        )
        ranks = results_tables.rank_scores(self.summary, setting, criterion)
        made = {"title": title, "text": markdown(cells), "criterion": criterion, "ranks": "", "diagram": ""}
        if ranks is None:
            return made
        labels = results_tables.BASELINE_LABELS
        diagram = self.figure(
            f"ranks-{setting.slug}-{criterion}", lambda: figures.critical_difference(ranks, labels)
        )
        return {**made, "diagram": diagram, "ranks": _rank_sentence(ranks)}

    # ── selection ──

    def criteria(self) -> dict[str, Any]:
        parts = [results_tables.criteria_means(self.summary, s).assign(setting=s.label) for s in self.main]
        table = pd.concat(parts, ignore_index=True)
        table = table[["setting", *[c for c in table.columns if c != "setting"]]]
        ties = self.summary.selected[self.summary.selected["criterion"] == "supervised"]
        tied = int((ties["tied"] > 1).sum())
        return {
            "criteria_text": (
                "Mean test AUC over the datasets by how the model is selected. *Median* is the model in the middle: what "
                "a blind choice gives. *Oracle* is the best model by its test AUC, which nobody can select. Of "
                f"{len(ties):,} supervised selections {tied:,} were ties, which go to the smaller model, then the smaller "
                "β and c."
            ),
            "criteria_table": markdown(table),
            "signal_text": (
                "Does the criterion know which model is good? Spearman's correlation, over the models of a grid, of the "
                "criterion with the test AUC, averaged over splits and datasets; 1 = the criterion ranks the models as "
                "the test rows do, 0 = it knows nothing."
            ),
            "signal_table": markdown(results_tables.signal_means(self.summary, self.main)),
        }

    # ── conventions ──

    def conventions(self) -> dict[str, Any]:
        if len(self.settings) < 2:
            return {
                "conventions_text": "Only one setting has been run.", "conventions_figure": "",
                "conventions_table": "",
            }  # fmt: skip
        rows = []
        for criterion in SELECTIONS:
            base = self.summary.matrix(self.settings[0], criterion)
            for setting in self.settings[1:]:
                other = self.summary.matrix(setting, criterion)
                for score in ("reconstruction", "prior", "proposed_encoder", "proposed", "importance"):
                    if score not in base or score not in other:
                        continue
                    pair = pd.DataFrame(
                        {setting.label: other[score], self.settings[0].label: base[score]}
                    ).dropna()
                    if pair.empty:
                        continue
                    all_, merged = claims.both_counts(pair)
                    rows.append(
                        {"selection": criterion, "score": score, "setting": setting.label,
                         "better on": f"{all_.wins} of {all_.n}", "worse on": str(all_.losses),
                         "mean change": f"{all_.difference:+.3f}", "Wilcoxon": claims.probability(merged.p_value)}
                    )  # fmt: skip
        matrices = {s.label: self.summary.matrix(s, "unsupervised") for s in self.settings[:5]}
        matrices = {name: m for name, m in matrices.items() if {"reconstruction", "proposed"} <= set(m.columns)}
        link = ""
        if matrices:
            link = self.figure(
                "settings",
                lambda: figures.paired_settings(matrices, self.datasets, "unsupervised selection"),
            )
        text = (
            f"Each setting against {self.settings[0].label}, the same splits and, where only the scoring differs, the "
            "same models."
        )
        return {
            "conventions_text": text, "conventions_figure": link, "conventions_table": markdown(pd.DataFrame(rows)),
        }  # fmt: skip

    def ablation(self) -> dict[str, Any]:
        ablation = self.summary.ablation
        if ablation.empty:
            return {
                "ablation_text": "The ablation has not been run.",
                "ablation_table": "",
                "ablation_figures": [],
            }
        links = []
        for (train, scored), part in ablation.groupby(["train_convention", "convention"], sort=True):
            rows = part[part["score"] == "proposed"]
            columns = ["mean_change", "supervised_change", "unsupervised_change"]
            moved = rows.groupby("switched")[columns].agg(lambda v: v.abs().max()).max(axis=1)
            rows = rows[rows["switched"].isin(moved.index[moved > 0])]
            if rows.empty:
                continue
            label = f"{train} / {scored}"
            name = f"ablation-{train}-{scored}".lower()
            links.append({"label": label, "path": self.figure(name, _deferred(figures.ablation_changes, rows))})
        text = (
            "Each scoring field of the convention is switched alone to its other value, on the same trained models; a "
            "training field needs new models. Change of the mean test AUC over the datasets: of all models, and of the "
            "selected ones. Positive: the switched value is better. The row is that of `proposed` where the field moves "
            "it, otherwise of the score that it moves most."
        )
        return {
            "ablation_text": text, "ablation_table": markdown(results_tables.ablation_means(ablation)),
            "ablation_figures": links,
        }  # fmt: skip

    # ── figures 3 and 1 ──

    def sweep(self) -> dict[str, Any]:
        sweep = self.summary.sweep
        present = [s for s in self.main if s.of(sweep)["score"].isin(figures.PAIR).any()]
        if not present:
            return {"sweep_text": "Not run.", "sweep_table": "", "sweep_figures": []}
        links = [
            {
                "label": s.label,
                "path": self.figure(f"figure3-{s.slug}", _deferred(figures.latent_sweep, s.of(sweep))),
            }
            for s in present
        ]
        text = (
            "breast-cancer-wisconsin, h = 64, p = 16, β ∈ {0.01, 0.1, 1}, c ∈ {0.001, 0.01, 0.1, 1}, "
            f"{sweep['split'].nunique()} split(s). A box is over splits and hyper-parameters: no model is selected. The "
            "paper says that the data have eight dimensions; the file has 30 columns."
        )
        table = markdown(results_tables.sweep_means(sweep, present))
        return {"sweep_text": text, "sweep_table": table, "sweep_figures": links}

    def toy(self) -> dict[str, Any]:
        mass, distance = toy.off_data_mass(self.maps), toy.total_variation(self.maps)
        table = pd.DataFrame(
            {"map": list(mass), "mass where there are no data": [f"{v:.2%}" for v in mass.values()],
             "total variation from the truth": list(distance.values())}
        )  # fmt: skip
        table.attrs["right"] = ("mass where there are no data",)
        link = self.figure("figure1", lambda: figures.toy_maps(self.maps))
        return {"toy_figure": link, "toy_table": markdown(table), "toy_steps": f"{toy.TOY.steps:,}"}

    def goodness(self) -> dict[str, Any]:
        goodness = self.summary.goodness
        parts = [s.of(goodness).assign(setting=s.label) for s in self.main]
        table = pd.concat(parts, ignore_index=True)
        if table.empty:
            return {"goodness_text": "Not measured.", "goodness_table": ""}
        text = (
            "MMD between codes of normal rows and samples of the prior, and the share of models whose prior passes that "
            "test at 5 % (p > 0.05). *Classifier*: cross-entropy of a network that tells codes from samples; 0.637 "
            "means that it cannot."
        )
        columns = {"mmd": "median MMD", "accepted": "share that passes", "train_disc": "classifier"}
        table = table.rename(columns=columns)[["setting", "dataset", "models", *columns.values()]]
        return {"goodness_text": text, "goodness_table": markdown(table)}

    # ── honesty ──

    def differences(self) -> list[str]:
        lines = [f"{name}: {data.NOTES[name]}." for name in ordered_datasets(data.NOTES)]
        lines += [
            "The grid has 288 models a dataset and split where d ≥ 9, 192 where d ≥ 4 and 96 below; the paper says 280.",
            "Splits are seeded (0 to 4); the paper's were seeded by the clock, so its splits cannot be had again.",
            "Step size 1e-4, as in the paper's code; its text says ADAM's default, which would be 1e-3.",
            "“One known” and “five known” are true anomalies. The paper's code picks normal rows by mistake, for which "
            "no AUC exists.",
            "`importance` was scored on a sample of the rows, since it needs 100 draws a row.",
            "A mean over splits decides who wins on a dataset. The paper shows box plots and does not say how it counts.",
        ]
        return lines


def _deferred(draw: Callable[[pd.DataFrame], Figure], frame: pd.DataFrame) -> Callable[[], Figure]:
    return lambda: draw(frame)


def _expected(d: int) -> int:
    """Models of the paper's grid for d features."""
    sizes = [len(values) for name, values in PAPER_GRID.items() if name != "latent_dim"]
    total = sum(k <= d for k in PAPER_GRID["latent_dim"])
    for size in sizes:
        total *= size
    return total


def _training_text(part: pd.DataFrame) -> str:
    row = part.iloc[0]
    return f"{row['train_convention']}, {int(row['steps']):,} steps of {row['learning_rate']:g}"


def _tally(verdicts: pd.Series) -> str:
    words = {"holds": "hold", "does not hold": "do not", "open": "are open", "not run": "were not run"}
    counts = [(int((verdicts == name).sum()), text) for name, text in words.items()]
    return ", ".join(f"{n} {text}" for n, text in counts if n)


def _verdict_cell(row: pd.Series) -> str:
    return "not run" if row["verdict"] == "not run" else f"{row['count']}: {row['verdict']}"


def _rank_sentence(ranks: Any) -> str:
    near = [results_tables.label(name) for name in ranks.indistinguishable("proposed")]
    best = results_tables.label(str(ranks.ranks.index[0]))
    text = (
        f"Average ranks over {ranks.datasets} problems (1 = best): {best} is first with {ranks.ranks.iloc[0]:.2f}, "
        f"`proposed` has {ranks.ranks['proposed']:.2f}, `reconstruction` {ranks.ranks['reconstruction']:.2f}. Friedman "
        f"{claims.probability(ranks.friedman_p)}; the critical difference of Nemenyi is "
        f"{ranks.critical_difference:.2f} (5 %). "
    )
    if near:
        return text + f"Not told apart from `proposed`: {', '.join(near)}."
    return text + "Every method differs from `proposed`."
