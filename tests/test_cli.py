"""The command line, in this process (fast) and once as a program."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from command_line import run
from safetensors import safe_open

from pyscore import FittedModel
from pyscore.detectors.baselines import BASELINES
from pyscore.scoring.scores import SCORES, available_scores


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(120, 4)), columns=list("abcd"))
    frame["y"] = (np.arange(120) % 10 == 0).astype(int)
    frame.loc[frame["y"] == 1, "a"] += 6
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def model(table, tmp_path, capsys):
    path = tmp_path / "m.safetensors"
    status, out, err = run(
        capsys, "fit", table, "-o", path, "--label", "y", "--detector", "model", "--steps", 60, "--json"
    )
    assert status == 0, err
    assert json.loads(out) == {"model": str(path), "rows": 120, "columns": 4, "steps": 60}
    return path


def test_fit_writes_a_safetensors_file_with_a_header(model):
    with safe_open(model, "numpy") as file:
        header = json.loads(file.metadata()["pyscore"])
        assert file.get_tensor("pseudo_inputs").shape == (4, 4)
    assert header["format"] == "pyscore.model"
    assert header["version"] == 2
    assert header["columns"] == list("abcd")
    assert header["training"]["steps"] == 60


def test_score_prints_and_writes(model, table, tmp_path, capsys):
    status, out, _ = run(capsys, "score", model, table, "--scores", "all", "--json", "--backend", "numpy")
    assert status == 0
    shown = json.loads(out)
    assert list(shown["rows"][0]) == list(available_scores())
    for suffix in ("csv", "parquet"):
        target = tmp_path / f"scores.{suffix}"
        status, out, _ = run(capsys, "score", model, table, "-o", target, "--backend", "numpy", "--json")
        assert status == 0
        assert json.loads(out)["rows"] == 120
        written = pd.read_csv(target) if suffix == "csv" else pd.read_parquet(target)
        np.testing.assert_allclose(written["proposed"], [row["proposed"] for row in shown["rows"]], rtol=1e-12)
    status, out, _ = run(capsys, "score", model, table)
    assert "20 most anomalous of 120 rows by proposed, nats, EXACT" in out


def test_evaluate_a_saved_model(model, table, capsys):
    status, out, err = run(capsys, "evaluate", table, "--model", model, "--label", "y", "--json")
    assert status == 0, err
    rows = json.loads(out)["rows"]
    assert [row["score"] for row in rows] == list(available_scores())
    assert all(0 <= row["auc"] <= 1 for row in rows)


def test_evaluate_a_dataset(capsys):
    status, out, err = run(
        capsys,
        "evaluate",
        "breast-cancer",
        "--steps",
        30,
        "--seeds",
        2,
        "--scores",
        "proposed,reconstruction",
        "--json",
    )
    assert status == 0, err
    rows = {row["score"]: row for row in json.loads(out)["rows"]}
    assert set(rows) == {"proposed", "reconstruction", *BASELINES}
    assert rows["proposed"]["lowest"] <= rows["proposed"]["auc"] <= rows["proposed"]["highest"]
    assert rows["kNN"]["auc"] > 0.8


def test_demo_saves_a_model_and_a_figure(tmp_path, capsys):
    folder = tmp_path / "out"
    status, out, err = run(capsys, "demo", "--steps", 40, "--output-dir", folder, "--json")
    assert status == 0, err
    facts = json.loads(out)
    table = pd.DataFrame(facts["auc"]).set_index("score")
    assert list(table.index[: len(SCORES)]) == list(SCORES)
    assert table.loc["proposed", "EXACT"] > 0.5
    assert table.loc["isolation forest", "EXACT"] > 0.8
    assert table.loc["Detector", "EXACT"] > 0.8
    assert sorted(p.name for p in folder.iterdir()) == ["demo.png", "model.safetensors"]
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert FittedModel.load(folder / "model.safetensors").model.input_dim == 30


def test_doctor_and_data(capsys):
    status, out, _ = run(capsys, "doctor", "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["backends"]["numpy"] is None
    assert facts["packages"]["numpy"] == np.__version__
    status, out, _ = run(capsys, "data", "list", "--json")
    assert len(json.loads(out)) == 11
    status, out, _ = run(capsys, "data", "where", "--json")
    assert set(json.loads(out)) == {"folder"}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["score", "none.safetensors", "t.csv"], "error: cannot read 'none.safetensors'"),
        (["fit", "none.csv"], "error: there is no file 'none.csv'. Check the path."),
        (["evaluate", "iris"], "error: `dataset` must be one of"),
        (["evaluate", "breast-cancer", "--scores", "best"], "error: `score` must be one of"),
        (["evaluate", "breast-cancer", "--backend", "tpu"], "error: `backend` must be one of"),
        (["evaluate", "breast-cancer", "--seeds", "0"], "error: `seeds` must be at least 1; got 0"),
        (["data", "fetch", "iris"], "error: `dataset` must be one of"),
        (["fit"], "requires an argument"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_errors_are_one_message_and_status_2(arguments, match, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    if "--scores" in arguments or "--backend" in arguments:
        arguments = [*arguments, "--steps", "1"]
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert match in err + out
    assert "Traceback" not in err + out


def test_an_interrupt_is_status_130_and_leaves_nothing(table, tmp_path, capsys, monkeypatch):
    from pyscore.scoring import fitted

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitted, "fit", interrupted)
    status, _, err = run(capsys, "fit", table, "-o", tmp_path / "m.safetensors", "--detector", "model")
    assert status == 130
    assert "interrupted" in err
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_table_with_other_columns_is_refused_by_name(model, tmp_path, capsys):
    other = tmp_path / "other.csv"
    pd.DataFrame({"a": [1.0], "b": [2.0], "x": [3.0]}).to_csv(other, index=False)
    status, _, err = run(capsys, "score", model, other)
    assert status == 2
    assert "lacks the column(s) c, d" in err


def test_as_a_program():
    done = subprocess.run([sys.executable, "-m", "pyscore", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for command in ("demo", "fit", "score", "evaluate", "data", "doctor"):
        assert command in done.stdout
