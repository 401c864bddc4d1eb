"""`pyscore demo`: from the embedded data to a model, a table of AUCs and a picture."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pyscore._core.checks import Array
from pyscore._core.output_guard import check_folder, check_output
from pyscore.cli.options import Json
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import training_progress
from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.data import datasets as data
from pyscore.detectors import evaluation
from pyscore.detectors.baselines import BASELINES
from pyscore.detectors.recommended import Detector
from pyscore.reference import roc_auc
from pyscore.scoring import plots, scores
from pyscore.scoring.fitted import FittedModel, PendingVariance
from pyscore.training.config import TrainConfig
from pyscore.training.train import train

__all__ = ["demo"]

MODEL, FIGURE = "model.safetensors", "demo.png"
RECOMMENDED = "Detector"
BACKEND = "numpy"
"""For so few rows: compiling the kernels of all scores would take longer than NumPy does."""


def demo(*, output_dir: Path = Path("demo"), steps: int = 3000, seed: int = 0, json: Json = False) -> None:
    """Train one model a convention, print the AUCs of every score beside the baselines, save model and figure.

    Parameters
    ----------
    output_dir
        Folder for model.safetensors and demo.png; made if it is missing.
    steps
        Training steps of each of the two models (EXACT and ORIGINAL).
    seed
        Seed of split, model and training.
    """
    began = time.perf_counter()
    check_folder(output_dir)
    for name in (MODEL, FIGURE):
        check_output(output_dir / name)
    dataset = data.load_breast_cancer()
    models = {c.name: _train(dataset, c, steps, seed) for c in (EXACT, ORIGINAL)}
    columns = {name: _aucs(model, dataset, seed) for name, model in models.items()}
    split = dataset.split(seed)
    recommended = Detector(random_state=seed).fit(split.x_train).decision_function(split.x_test)
    baselines = evaluation.baseline_rows(split, seed)
    baselines.loc[len(baselines)] = {"score": RECOMMENDED, "auc": roc_auc(recommended, split.y_test)}
    best = models["EXACT"]
    best.save(output_dir / MODEL)
    figure = _figure(best, split, seed, recommended)
    plots.save_figure(figure, output_dir / FIGURE)
    table = pd.DataFrame(columns).reindex(list(scores.SCORES))
    table.insert(0, "score", table.index)
    rest = baselines.rename(columns={"auc": "EXACT"})
    facts = {
        "dataset": f"{dataset.name}: {len(split.x_train)} training rows ({int(split.y_train.sum())} unlabelled "
        f"anomalies among them), {len(split.x_test)} test rows ({int(split.y_test.sum())} anomalies), 30 features",
        "model": str(output_dir / MODEL),
        "figure": str(output_dir / FIGURE),
        "seconds": round(time.perf_counter() - began, 1),
    }
    if json:
        rows = [*table.to_dict("records"), *rest.to_dict("records")]
        emit({**facts, "steps": steps, "seed": seed, "auc": rows}, json=True)
        return
    print_frame(
        pd.concat([table, rest], ignore_index=True),
        title="test AUC (1 = every anomaly ranked below every normal row)",
        caption="EXACT and ORIGINAL are two models, each trained and scored by its convention; "
        "the baselines and the detector that `pyscore fit` trains see the EXACT split.",
    )
    emit(facts, json=False)


def _train(dataset: data.Dataset, convention: Convention, steps: int, seed: int) -> FittedModel:
    split = dataset.split(seed, convention=convention)
    config = TrainConfig(steps=steps, seed=seed, convention=convention)
    with training_progress(f"training, {convention.name:<8}") as callback:
        trained = train(split.x_train, config, callback=callback)
    variance = PendingVariance.of(trained.model, split.x_train)
    return FittedModel(trained.model, split.standardiser, convention, config.to_dict(), variance)


def _aucs(fitted: FittedModel, dataset: data.Dataset, seed: int) -> pd.Series:
    split = dataset.split(seed, convention=fitted.convention)
    rows = evaluation.auc_rows(
        fitted.model, split.x_test, split.y_test, convention=fitted.convention, backend=BACKEND, seed=seed
    )
    return rows.set_index("score")["auc"]


def _figure(fitted: FittedModel, split: data.Split, seed: int, recommended: Array) -> Figure:
    names = ["proposed", "reconstruction", "prior"]
    values = scores.score_table(fitted.model, split.x_test, names, convention=fitted.convention, backend=BACKEND)
    curves = {name: -values[name].to_numpy() for name in names}
    curves[RECOMMENDED] = recommended
    curves |= {name: fit(split.x_train, split.x_test, seed) for name, fit in BASELINES.items()}
    density = ("proposed", values["proposed"].to_numpy())
    return plots.roc_and_densities(
        curves, density, split.y_test, "pyscore demo: breast-cancer data, EXACT convention"
    )
