"""The terms of `proposed` taken apart: the numbers are those of the models that were selected."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_runs
from command_line import run

from pyscore.cli import results
from pyscore.convention import EXACT, ORIGINAL
from pyscore.data import datasets as data
from pyscore.errors import DataUnavailable, InvalidInput, ModelFileError
from pyscore.experiment import results_page
from pyscore.experiment import term_analysis as anatomy
from pyscore.experiment.measures import Rows
from pyscore.experiment.result_tables import read_summary, summarise, write_summary
from pyscore.experiment.run_reader import read_study
from pyscore.experiment.schedule import execute
from pyscore.experiment.store import Store, models_of, save_models
from pyscore.reference import roc_auc
from pyscore.reference.model import SVAE
from pyscore.scoring.scores import score, score_terms

TOY_MODEL = Path(__file__).parents[1] / "docs" / "results" / results_page.TOY_FILE
BOTH = tiny_runs.Options(steps=20, conventions=(ORIGINAL, EXACT), costly_rows=0, disc_steps=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two stacks of two models."""
    out = tmp_path_factory.mktemp("run") / "out"
    execute(tiny_runs.jobs(2, BOTH), Store(out))
    return out


@pytest.fixture
def split():
    return data.load_breast_cancer().split(0)


def test_dissected_terms(split):
    model = SVAE.initialise(30, 2, 8, 2)
    lines = {line["term"]: line for line in anatomy.dissect(model, split, EXACT)}
    terms = score_terms(model, split.x_test, ["proposed"], convention=EXACT, backend="numba")
    y = split.y_test
    assert list(lines) == [*terms.columns, "proposed", anatomy.RESIDUAL]
    for name in terms:
        values, normal = terms[name].to_numpy(), terms.loc[y == 0, name]
        assert lines[name]["auc"] == roc_auc(-values, y)
        others = terms.drop(columns=name).sum(axis=1).to_numpy()
        assert lines[name]["auc_without"] == roc_auc(-others, y)
        low, high = np.quantile(normal, [0.25, 0.75], method="nearest")
        assert lines[name]["spread"] == high - low
        assert lines[name]["gap"] == pytest.approx(normal.median() - terms.loc[y == 1, name].median(), rel=0.1)
    assert lines["proposed"]["auc"] == roc_auc(-terms.sum(axis=1).to_numpy(), y)
    assert lines[anatomy.RESIDUAL]["auc"] != lines["proposed"]["auc"]
    sample = Rows.of(split, 0).sample(100, 0)
    assert len(sample.x) == 200
    more = anatomy.dissect(model, split, EXACT, sample)
    assert more[-1]["term"] == anatomy.SAMPLED
    assert more[-1]["auc"] == roc_auc(-score(model, sample.x[100:], "proposed", backend="numba"), sample.y[100:])


def test_rows_without_a_density(split):
    """A decoder that ignores a direction: all volumes are zero, and there is nothing to spread."""
    model = SVAE.initialise(30, 3, 8, 2)
    flat = {name: np.zeros_like(value) if name.startswith("decoder.3") else value
            for name, value in model.parameters().items()}  # fmt: skip
    with pytest.warns(Warning, match="singular"):
        lines = anatomy.dissect(SVAE.from_parameters(flat, "swish"), split, EXACT)
    volume = next(line for line in lines if line["term"] == "decoder_volume")
    assert volume["auc"] == 0.5
    assert np.isnan(volume["spread"])


def test_anatomy_of_a_run(folder):
    study = read_study(folder)
    table = anatomy.anatomy(folder, study.models)
    assert list(table.columns) == list(anatomy.COLUMNS)
    assert len(table) == 2 * 2 * 5  # selections × conventions × lines
    for (criterion, convention), part in table.groupby(["criterion", "convention"]):
        best = {"supervised": "auc_train", "unsupervised": "mean_log_density"}[criterion]
        mine = study.models[(study.models["score"] == "proposed") & (study.models["convention"] == convention)]
        recorded = mine.loc[mine[best].idxmax(), "auc_test"]
        assert part.set_index("term")["auc"]["proposed"] == recorded


def test_models_that_are_not_those_of_the_rows(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    rows = read_study(copy).models
    rows["auc_test"] = 1 - rows["auc_test"]
    with pytest.raises(
        InvalidInput, match=r"are not those of its results: the AUC of \w+ is 0\.\d+, and 0\.\d+ was"
    ):
        anatomy.anatomy(copy, rows)
    shutil.rmtree(copy / "models")
    with pytest.raises(ModelFileError):
        anatomy.anatomy(copy, read_study(copy).models)


def test_a_model_is_found_by_its_hash(folder):
    """Whatever rows are left: those of models that another grid shares are dropped from one of the stacks."""
    rows = read_study(folder).models
    for _, part in rows.groupby("config_hash"):
        (stack,) = part["stack"].unique()
        lines = anatomy.anatomy(folder, part)
        found = lines[lines["term"] == "proposed"].groupby("convention")["auc"].unique().explode()
        recorded = part[part["score"] == "proposed"].set_index("convention")["auc_test"]
        assert dict(found) == dict(recorded)
    with pytest.raises(InvalidInput, match="has results, but is not there"):
        anatomy._model(folder, {"stack": stack, "config_hash": "f" * 16})


def test_models_of_another_stack(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (name, *_) = read_study(copy).models["stack"].unique()
    load = Store(copy).models
    (job, *_) = tiny_runs.jobs(1, BOTH)
    save_models(Store(copy).models_path(job.task), job.task, load(job.task)[:1])
    with pytest.raises(InvalidInput, match="results of 2 models, but 1 models are there"):
        models_of(copy, name)
    Store(copy).result_path(job.task).unlink()
    with pytest.raises(DataUnavailable, match="names the models of the stack"):
        models_of(copy, name)


def test_models_that_are_not_those_do_not_end_the_command(folder, monkeypatch, capsys):
    def refuse(*_):
        raise InvalidInput("the models are not those of its results")

    monkeypatch.setattr(anatomy, "anatomy", refuse)
    assert results._anatomy(folder, read_study(folder), print) == "the models are not those of its results"
    assert "will not say what decides" in " ".join(capsys.readouterr().err.split())


def test_the_summary_keeps_it(folder, tmp_path):
    study = read_study(folder)
    found = anatomy.anatomy(folder, study.models)
    write_summary(tmp_path, summarise(study, found))
    pd.testing.assert_frame_equal(read_summary(tmp_path).anatomy, found, check_dtype=False)


def test_the_page_says_why_it_is_missing(folder, tmp_path, capsys, monkeypatch):
    def undrawn(tables, output):
        page = results_page.build_page(tables)
        output.write_text(page.text)
        return page

    monkeypatch.setattr(results_page, "write_page", undrawn)  # the figures take a minute
    copy, page = tmp_path / "copy", tmp_path / "page.md"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "models")
    shutil.copy(TOY_MODEL, tmp_path)
    status, _, err = run(capsys, "results", copy, "-o", page, "--tables", tmp_path)
    assert status == 0
    assert "will not say what decides" in err
    assert "Not computed: " in page.read_text()
    status, _, err = run(capsys, "results", folder, "-o", page, "--tables", tmp_path)
    assert (status, "will not say" in err) == (0, False)
    text = page.read_text()
    assert "**Supervised selection, ORIGINAL / EXACT (20 steps, rate 0.0001).** The widest term is the " in text
    assert "| dataset | spread of error | of prior | of volume |" in text
