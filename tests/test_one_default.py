"""One default a thing: the same backend and the same σ² at every door, library, detector and command line."""

import dataclasses
import inspect
import json
import typing
import warnings

import numpy as np
import pandas as pd
import pytest
from command_line import run

import pyscore
from pyscore import SVAEDetector, backends
from pyscore.cli.options import ScoringOptions
from pyscore.detectors import evaluation
from pyscore.scoring import scores
from pyscore.scoring.explain import explain
from pyscore.scoring.options import EngineKeywords, EngineOptions, ScoreKeywords, ScoreOptions
from pyscore.scoring.stream import score_files

NAME = "proposed"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doors")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 5)), columns=list("abcde"))
    frame.assign(y=[0, 1] * 20).to_parquet(folder / "t.parquet")
    detector = SVAEDetector(steps=3, hidden_dim=8, batch_size=16).fit(frame)
    detector.save(folder / "detector.safetensors")
    detector.model_.save(folder / "m.safetensors")
    return folder, frame, detector


def doors(place, capsys):
    """Log-densities of the same rows, by every door that scores them, all with the options left out."""
    folder, frame, detector = place
    model, table = folder / "m.safetensors", folder / "t.parquet"
    fitted = detector.model_
    x = fitted.standardiser.transform(frame.to_numpy())
    raw = frame.to_numpy()
    one = lambda lines: lines["score"].to_numpy()[:: len(frame.columns)]  # noqa: E731
    found = {
        "score": pyscore.score(fitted.model, x),
        "score_table": pyscore.score_table(fitted.model, x, [NAME])[NAME].to_numpy(),
        "score_terms": scores.total(pyscore.score_terms(fitted.model, x, [NAME]), NAME),
        "FittedModel.scores": fitted.scores(frame, [NAME])[NAME].to_numpy(),
        "FittedModel.terms": sum(fitted.terms(raw, [NAME]).values()),
        "explain": one(explain(fitted, frame)),
        "detector": detector.score_samples(frame),
        "detector.explain": one(detector.explain(frame)),
        "detector.transform": detector.transform(frame).sum(axis=1),
        "load_model": pyscore.load_model(folder / "detector.safetensors").score_samples(frame),
    }
    score_files(fitted, table, folder / "s.parquet")
    found["score_files"] = pd.read_parquet(folder / "s.parquet")[NAME].to_numpy()
    status, out, err = run(capsys, "score", model, table, "--json")
    assert status == 0, err
    found["pyscore score"] = np.array([row[NAME] for row in json.loads(out)["rows"]])
    status, out, err = run(capsys, "score", folder / "detector.safetensors", table, "--json")
    assert status == 0, err
    found["pyscore score of a detector"] = -np.array([row["score"] for row in json.loads(out)["rows"]])
    status, out, err = run(capsys, "explain", model, table, "--row", 3, "--json")
    assert status == 0, err
    found["pyscore explain"] = np.array([json.loads(out)["terms"]["score"]])
    return found


def wanted(place, **options):
    _, frame, detector = place
    return detector.model_.scores(frame, [NAME], **options)[NAME].to_numpy()


def check(found, want):
    for door, values in found.items():
        want_here = want[3:4] if door == "pyscore explain" else want
        np.testing.assert_allclose(values, want_here, rtol=1e-13, err_msg=door)  # a sum's order, no more


def test_every_door_takes_numba_and_a_variance_of_one(place, capsys):
    want = wanted(place, backend="numba", sigma2=1.0)
    assert not np.allclose(want, wanted(place, backend="numpy", sigma2=1.0), rtol=1e-12, atol=0), "no test"
    check(doors(place, capsys), want)


@pytest.mark.filterwarnings("always:the backend numba:UserWarning")
def test_every_door_takes_numpy_and_says_so_where_numba_cannot_run(place, capsys, monkeypatch):
    want = wanted(place, backend="numpy", sigma2=1.0)
    real = backends.why_not
    monkeypatch.setattr(backends, "why_not", lambda name: "it is broken." if name == "numba" else real(name))
    with warnings.catch_warnings(record=True) as caught:
        found = doors(place, capsys)
    check(found, want)
    assert any("numba cannot run here: it is broken. numpy computes instead" in str(w.message) for w in caught)
    monkeypatch.setattr(backends, "_cache", {})
    with pytest.raises(pyscore.PyscoreError, match=r"numba: it is broken\."):
        wanted(place, backend="numba")  # one that is named is never replaced


def test_evaluate_takes_the_same(place, capsys):
    folder, frame, detector = place
    arguments = ["evaluate", folder / "t.parquet", "--model", folder / "m.safetensors", "--label", "y", "--json"]
    status, out, err = run(capsys, *arguments, "--scores", NAME)
    assert status == 0, err
    fitted = detector.model_
    x = fitted.standardiser.transform(frame.to_numpy())
    rows = evaluation.auc_rows(fitted.model, x, [0, 1] * 20, [NAME], backend="numba", sigma2=1.0)
    assert json.loads(out)["rows"][0]["mean_log_density"] == rows["mean_log_density"][0]


def test_every_option_acts_at_the_command_line(place, capsys):
    """--sigma2, --convention, --backend, --dtype, --seed: the same words for score, evaluate and explain."""
    folder, *_ = place
    model, table = folder / "m.safetensors", folder / "t.parquet"
    base, given = ["--json", "--backend", "torch"], ["--sigma2=0.5", "--convention=original", "--dtype=float64"]
    for command in (["score", model, table], ["explain", model, table, "--row", 0],
                    ["evaluate", table, "--model", model, "--label", "y", "--scores", NAME]):  # fmt: skip
        status, plain, err = run(capsys, *command, *base)
        assert status == 0, err
        for option in (*given, "--backend=numpy"):
            status, out, err = run(capsys, *command, *base[: 1 if "backend" in option else 3], option)
            assert status == 0, err
            assert out != plain, (command[0], option)
    command = ["score", model, table, "--scores", "importance", "--json", "--backend", "numpy"]
    assert run(capsys, *command, "--seed", "0")[1] != run(capsys, *command, "--seed", "1")[1]


def test_each_option_is_defined_once():
    """The keywords and the command line have the fields of `ScoreOptions`, with its defaults."""
    for keywords, options in ((EngineKeywords, EngineOptions), (ScoreKeywords, ScoreOptions)):
        assert set(typing.get_type_hints(keywords)) == {field.name for field in dataclasses.fields(options)}
    assert ScoringOptions().keywords() == ScoreOptions().keywords()
    for function in (pyscore.score, pyscore.score_table, pyscore.score_terms, explain, score_files,
                     pyscore.FittedModel.scores, evaluation.auc_rows, scores.project):  # fmt: skip
        own = set(inspect.signature(function).parameters)
        assert not own & set(typing.get_type_hints(ScoreKeywords)), function


def test_an_option_that_is_no_option_is_named(place):
    _, _, detector = place
    with pytest.raises(TypeError, match="backnd"):
        pyscore.score(detector.model_.model, np.zeros((1, 5)), backnd="numpy")
    with pytest.raises(TypeError, match="sigma2"):
        scores.project(detector.model_.model, np.zeros((1, 5)), sigma2=1.0)
