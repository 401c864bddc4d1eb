"""The command line answers which rows: detectors are fitted, stream, explain and are measured."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import run

import pyscore
from pyscore.detectors.calibration import benjamini_hochberg
from pyscore.detectors.evaluation import auc_interval, detection_measures
from pyscore.detectors.recommended import DETECTORS, make_detector
from pyscore.detectors.streamed import selection_cutoff
from pyscore.errors import InvalidInput


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("detectors")


@pytest.fixture(scope="module")
def table(folder):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3))
    x[:15, 1] += 25.0
    frame = pd.DataFrame(x, columns=["height", "weight", "age"])
    frame["id"] = [f"p{i:03}" for i in range(300)]
    frame["y"] = np.repeat([1, 0], [15, 285])
    frame.to_csv(folder / "all.csv", index=False)
    frame[frame["y"] == 0].drop(columns=["id", "y"]).to_csv(folder / "train.csv", index=False)
    return folder / "all.csv"


@pytest.fixture
def model(table, folder, capsys):
    path = folder / "detector.safetensors"
    if not path.exists():
        train = folder / "train.csv"
        status, out, err = run(capsys, "fit", train, "-o", path, "--detector", "extended-forest", "--json")
        assert status == 0, err
        facts = json.loads(out)
        assert facts["rows"] == 285
        assert facts["set aside for p-values"] == 57
        assert facts["threshold"] == pyscore.load_model(path).threshold_
        assert facts["flagged"] == pytest.approx(28.5, abs=1)
    return path


def test_score_prints_the_most_anomalous_rows_first_and_why(model, table, capsys):
    status, out, err = run(capsys, "score", model, table, "--top", 4, "--keep", "id")
    assert status == 0, err
    assert "4 most anomalous of 300 rows" in out
    lines = [line for line in out.splitlines() if "weight" in line]
    assert len(lines) == 4
    detector = pyscore.load_model(model)
    frame = pd.read_csv(table)
    best = np.argsort(-detector.decision_function(frame[["height", "weight", "age"]]), kind="stable")[:4]
    assert [f"p{i:03}" in line for i, line in zip(best, lines, strict=True)] == [True] * 4


def test_score_writes_score_p_value_and_label(model, table, folder, capsys):
    target = folder / "scores.parquet"
    status, out, err = run(capsys, "score", model, table, "-o", target, "--keep", "id", "--json")
    assert status == 0, err
    assert json.loads(out)["rows"] == 300
    written, frame = pd.read_parquet(target), pd.read_csv(table)
    x = frame[["height", "weight", "age"]]
    detector = pyscore.load_model(model)
    assert list(written) == ["id", "score", "p_value", "anomaly"]
    np.testing.assert_array_equal(written["score"], detector.decision_function(x))
    np.testing.assert_array_equal(written["p_value"], detector.p_values(x))
    np.testing.assert_array_equal(written["anomaly"], detector.predict(x))
    status, out, _ = run(capsys, "score", model, table, "--fdr", 0.6, "--json")
    assert status == 0
    flagged = [row["anomaly"] for row in json.loads(out)["rows"]]
    np.testing.assert_array_equal(np.array(flagged, bool), detector.select(x, fdr=0.6))
    status, _, err = run(capsys, "score", model, table, "--fdr", 1e-6, "--json")
    assert status == 0
    held = len(detector.calibration_scores_)
    assert f"no row is selected at a false discovery rate of 1e-06. {held} rows were held back" in " ".join(
        err.split()
    )
    assert 0 < sum(flagged) < 300


def test_blocks_and_threads_do_not_matter(model, table, folder):
    from pyscore.detectors.streamed import DetectorScorer
    from pyscore.scoring.stream import stream

    big = folder / "big.parquet"
    pd.concat([pd.read_csv(table)] * 12, ignore_index=True).to_parquet(big)
    scorer = DetectorScorer(pyscore.load_model(model))
    for name, options in (("a", {"threads": 1}), ("b", {"threads": 2, "block_rows": 1024})):
        stream(scorer, big, folder / f"{name}.parquet", **options)
    a, b = (pd.read_parquet(folder / f"{name}.parquet") for name in "ab")
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert len(a) == 3600


def test_an_svae_streams_its_own_score_and_still_has_the_others(table, folder, capsys):
    path = folder / "svae.safetensors"
    train = folder / "train.csv"
    status, _, err = run(capsys, "fit", train, "-o", path, "--detector", "svae", "--steps", 20, "--calibration", 0)
    assert status == 0, err
    status, out, err = run(capsys, "score", path, table, "--json")
    assert status == 0, err
    rows = pd.DataFrame(json.loads(out)["rows"])
    detector = pyscore.load_model(path)
    x = pd.read_csv(table)[["height", "weight", "age"]]
    np.testing.assert_allclose(rows["score"], detector.decision_function(x), rtol=1e-12)
    assert list(rows) == ["row number", "score", "anomaly"]  # no calibration rows, no p-values
    status, out, _ = run(capsys, "score", path, table, "--scores", "proposed", "--json")
    np.testing.assert_allclose([row["proposed"] for row in json.loads(out)["rows"]], -rows["score"], rtol=1e-12)
    status, _, err = run(capsys, "score", path, table, "--fdr", 0.1)
    assert status == 2
    assert "`--fdr` needs p-values: fit again with `pyscore fit --calibration 0.2`" in err


def test_explain_and_evaluate(model, table, capsys):
    status, out, err = run(capsys, "explain", model, table, "--row", 3, "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert max(facts["features"], key=lambda line: line["contribution"])["feature"] == "weight"
    assert facts["anomaly_score"] > facts["threshold"]
    status, out, err = run(capsys, "evaluate", table, "--model", model, "--label", "y", "--json")
    assert status == 0, err
    (row,) = json.loads(out)["rows"]
    assert row["score"] == "detector"
    assert 0.9 < row["low"] < row["auc"] <= row["high"] <= 1
    assert 0.5 < row["precision"] <= 1
    assert 0.5 < row["average_precision"] <= 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fit", "TRAIN", "--detector", "forests"], "`detector` must be one of"),
        (["fit", "TRAIN", "--detector", "neighbours", "--latent-dim", 2], "has no option `latent_dim`"),
        (["fit", "TRAIN", "--detector", "neighbours", "--steps", 2], "has no option `steps`"),
        (["fit", "TRAIN", "--checkpoint", "c.safetensors"], "`--checkpoint` belongs to `--detector model`"),
        (
            ["score", "MODEL", "TRAIN", "--scores", "proposed"],
            "belong to a single model; a detector scores as it was fitted",
        ),
        (["score", "MODEL", "TRAIN", "--top", 0], "`top` must be an integer of at least 1"),
        (["score", "MODEL", "TRAIN", "--fdr", 1.5], "`fdr` must lie between 0 and 1"),
        (["score", "MODEL", "TRAIN", "--sigma2", 2], "belong to a single model"),
        (["score", "MODEL", "TRAIN", "--impute", "median"], "this detector has learnt no medians"),
        (["explain", "MODEL", "TRAIN", "--row", 0, "--score", "proposed"], "belong to a single model"),
    ],
)
def test_what_does_not_fit_is_said(model, folder, capsys, arguments, says):
    names = {"TRAIN": folder / "train.csv", "MODEL": model}
    status, _, err = run(capsys, *[names.get(a, a) for a in arguments])
    assert status == 2
    assert says in " ".join(err.split())


@pytest.mark.parametrize("name", DETECTORS)
def test_every_name_makes_a_detector(name):
    made = make_detector(name, contamination=0.2)
    assert made.contamination == 0.2
    with pytest.raises(InvalidInput, match="has no option `speed`"):
        make_detector(name, speed=1)


def test_the_cutoff_is_benjamini_and_hochbergs():
    rng = np.random.default_rng(0)
    for fdr in (0.05, 0.2, 0.5):
        p = (1 + rng.binomial(50, rng.beta(0.4, 1.2, size=400))) / 51
        cutoff = selection_cutoff([p[:100], p[100:101], p[101:]], fdr)
        np.testing.assert_array_equal(p <= cutoff, benjamini_hochberg(p, fdr))
    assert selection_cutoff([np.array([0.9, 1.0])], 0.1) == 0.0


def test_measures_of_detection():
    anomaly, labels = np.array([5.0, np.inf, 1.0, 2.0, 2.0, 0.0]), np.array([1, 1, 0, 1, 0, 0])
    measured = detection_measures(anomaly, labels)
    assert measured["auc"] == pytest.approx((3 + 3 + 2.5) / 9)
    assert measured["precision"] == pytest.approx((2 + 0.5) / 3)  # the third place is shared
    assert measured["low"] < measured["auc"] < measured["high"] < 1
    assert auc_interval(1.0, 20, 30)[1] == 1.0
    assert 0.8 < auc_interval(1.0, 20, 30)[0] < 1.0  # a perfect AUC of few rows is not certain
    wide, narrow = auc_interval(0.8, 10, 20), auc_interval(0.8, 1000, 2000)
    assert wide[0] < narrow[0] < 0.8 < narrow[1] < wide[1]


def test_the_interval_covers():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        anomaly = np.concatenate([rng.normal(1.0, 1.0, 25), rng.normal(0.0, 1.0, 60)])
        measured = detection_measures(anomaly, np.repeat([1, 0], [25, 60]))
        hits += measured["low"] <= 0.7602 <= measured["high"]  # Φ(1/√2)
    assert hits >= 368  # 0.95 · 400 less three deviations
