"""What all detectors that are kept as arrays have in common: contracts, bits, files, explanations."""

import json
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pyod_labels import EXPECTED_FAILURES, flipped
from safetensors import safe_open
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import pyscore
from pyscore import ExpertEnsemble, SVAEEnsemble
from pyscore._core.files import pack_tensors, read_tensors
from pyscore.detectors.compiled_experts import mean_distance
from pyscore.detectors.detector_file import DETECTOR_VERSION
from pyscore.detectors.experts import EXPERTS, Neighbours
from pyscore.detectors.hyperplane_forest import average_path, extended_forest, isolation_forest
from pyscore.detectors.surprise import Surprise
from pyscore.errors import InvalidInput, ModelFileError
from pyscore.reference import roc_auc

GRID = {"latent_dims": (2,), "betas": (0.1, 1.0), "cs": (0.1,)}
DETECTORS = [
    ExpertEnsemble(),
    ExpertEnsemble(experts=tuple(EXPERTS), steps=5),
    SVAEEnsemble(grid=GRID, steps=5, hidden_dim=4, batch_size=8, threads=1),
]


def identifier(detector):
    return type(detector).__name__ + str(len(getattr(detector, "experts", ())))


@parametrize_with_checks(DETECTORS, expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", EXPECTED_FAILURES)
@pytest.mark.parametrize("kind", [ExpertEnsemble, SVAEEnsemble])
def test_the_expected_failures_fail_for_signs_and_labels_alone(name, kind):
    short = {"experts": ("forest", "neighbours")} if kind is ExpertEnsemble else {"grid": GRID, "steps": 5}
    getattr(estimator_checks, name)("Flipped", flipped(kind)(**short))


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(160, 4)) @ rng.normal(size=(4, 4)) + [10, -3, 0, 1000]
    x[:12] += rng.normal(size=(12, 4)) * 12
    return pd.DataFrame(x, columns=["height", "weight", "age", "income"])


@pytest.fixture(scope="module", params=DETECTORS, ids=identifier)
def fitted(request, frame):
    return clone(request.param).set_params(calibration_fraction=0.2).fit(frame)


def test_scores_labels_and_thresholds_agree(fitted, frame):
    anomaly = fitted.decision_function(frame)
    np.testing.assert_array_equal(anomaly, fitted.decision_scores_)
    np.testing.assert_array_equal(fitted.score_samples(frame), -anomaly)
    np.testing.assert_array_equal(fitted.predict(frame), (anomaly > fitted.threshold_).astype(int))
    np.testing.assert_array_equal(fitted.labels_, fitted.predict(frame))
    assert 0 < fitted.labels_.mean() <= 0.1
    clean = clone(fitted).fit(frame[12:])
    assert roc_auc(clean.decision_function(frame), np.repeat([1, 0], [12, 148])) > 0.8
    fitted.set_threshold(quantile=0.5)
    assert fitted.labels_.mean() == pytest.approx(0.5, abs=0.02)
    fitted.set_threshold(contamination=0.1)
    assert fitted.predict_proba(frame).shape == (160, 2)


def test_a_row_is_scored_alone_whatever_the_threads(fitted, frame):
    import numba

    whole = fitted.decision_function(frame)
    parts = [fitted.decision_function(frame.iloc[i : i + 7]) for i in range(0, 160, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    big = pd.concat([frame] * 8, ignore_index=True)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = fitted.decision_function(big)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(alone, np.tile(whole, 8))


def test_same_seed_same_bits(fitted, frame):
    again = clone(fitted).fit(frame)
    np.testing.assert_array_equal(again.decision_scores_, fitted.decision_scores_)
    other = clone(fitted).set_params(random_state=1).fit(frame)
    assert (other.decision_scores_ != fitted.decision_scores_).any()


def test_p_values_and_selection(fitted, frame):
    p = fitted.p_values(frame)
    m = len(fitted.calibration_scores_)
    assert m == 32
    higher = (fitted.calibration_scores_ >= fitted.decision_function(frame)[:, None]).sum(axis=1)
    np.testing.assert_allclose(p, (1 + higher) / (m + 1), rtol=1e-15)
    assert fitted.select(frame, fdr=0.5).dtype == bool
    assert fitted.set_threshold(false_positive_rate=0.2, confidence=None).sufficient
    fitted.set_threshold(contamination=0.1)


def test_frames_by_name(fitted, frame):
    expected = fitted.decision_function(frame)
    np.testing.assert_array_equal(fitted.decision_function(pl.from_pandas(frame)), expected)
    with pytest.raises(InvalidInput, match="feature names"):
        fitted.decision_function(frame[["weight", "height", "age", "income"]])


def test_files_hold_all_of_it(fitted, frame, tmp_path):
    path = tmp_path / "detector.safetensors"
    fitted.save(path)
    for back in (type(fitted).load(path), pyscore.load_model(path)):
        assert type(back) is type(fitted)
        np.testing.assert_array_equal(back.decision_function(frame), fitted.decision_function(frame))
        np.testing.assert_array_equal(back.p_values(frame), fitted.p_values(frame))
        np.testing.assert_array_equal(back.labels_, fitted.labels_)
        pd.testing.assert_frame_equal(back.explain(frame[:2]), fitted.explain(frame[:2]))
        assert back.threshold_ == fitted.threshold_
        wanted = fitted.get_params() | {"callbacks": None}
        assert back.get_params() == wanted
    with safe_open(path, "numpy") as file:
        assert "pickle" not in json.dumps(file.metadata())
    again = tmp_path / "again.safetensors"
    back.save(again)
    assert again.read_bytes() == path.read_bytes()


def test_a_file_of_another_kind_is_refused(fitted, tmp_path):
    path = tmp_path / "detector.safetensors"
    fitted.save(path)
    other = SVAEEnsemble if isinstance(fitted, ExpertEnsemble) else ExpertEnsemble
    with pytest.raises(ModelFileError, match="detector of the kind"):
        other.load(path)
    with pytest.raises(ModelFileError, match=r"pyscore\.detector"):
        pyscore.FittedModel.load(path)
    pickle.loads(pickle.dumps(fitted))


def test_every_field_and_array_is_needed_and_checked(fitted, tmp_path):
    path, broken = tmp_path / "detector.safetensors", tmp_path / "broken.safetensors"
    fitted.save(path)
    header, arrays = read_tensors(path, "detector", DETECTOR_VERSION)
    header.pop("sha256", None)

    def refused(head, tensors):
        broken.write_bytes(pack_tensors("detector", DETECTOR_VERSION, head, tensors))
        with pytest.raises(ModelFileError):
            pyscore.load_model(broken)

    for name in header:
        refused({k: v for k, v in header.items() if k != name}, arrays)
        refused({**header, name: [None]}, arrays)
    for name, array in arrays.items():
        if name != "calibration_scores":
            refused(header, {k: v for k, v in arrays.items() if k != name})
        refused(header, {**arrays, name: array[..., None, None]})
        if array.dtype.kind == "f":
            refused(header, {**arrays, name: np.full_like(array, np.nan)})
        else:
            refused(header, {**arrays, name: np.full_like(array, -5)})
    refused({**header, "parameters": {**header["parameters"], "contamination": 7}}, arrays)
    refused({**header, "parameters": {**header["parameters"], "more": 7}}, arrays)


def test_gaps_are_filled_with_what_was_learnt(frame, tmp_path):
    gappy = frame.copy()
    gappy.iloc[3, 1] = np.nan
    detector = ExpertEnsemble(experts=("forest", "neighbours"))
    with pytest.raises(InvalidInput, match="weight"):
        detector.fit(gappy)
    detector = ExpertEnsemble(experts=("forest", "neighbours"), impute="median").fit(gappy)
    filled = gappy.fillna({"weight": float(np.nanmedian(gappy["weight"]))})
    np.testing.assert_array_equal(detector.decision_function(gappy), detector.decision_function(filled))
    detector.save(tmp_path / "gappy.safetensors")
    back = pyscore.load_model(tmp_path / "gappy.safetensors")
    np.testing.assert_array_equal(back.decision_function(gappy), detector.decision_function(gappy))


def test_an_explanation_is_what_the_score_loses(fitted, frame):
    row = frame.iloc[[20]].copy()
    row["income"] += 400.0
    lines = fitted.explain(row)
    assert list(lines["feature"]) == list(frame.columns)
    typical = lines.set_index("feature")["expected"]
    for name in frame.columns:
        changed = row.copy()
        changed[name] = typical[name]
        loss = fitted.decision_function(row) - fitted.decision_function(changed)
        np.testing.assert_allclose(lines.set_index("feature").loc[name, "contribution"], loss[0], atol=1e-6)
    assert lines.loc[lines["contribution"].idxmax(), "feature"] == "income"
    said = lines.iloc[0, 7:-1].astype(float)
    assert lines["score"].iloc[0] == pytest.approx(-said.mean(), rel=1e-12)


# ── the experts ──


def test_the_forest_is_scikit_learns():
    x = np.random.default_rng(0).standard_normal((400, 5)).astype(np.float32).astype(float)
    rows = np.random.default_rng(1).standard_normal((50, 5)).astype(np.float32).astype(float) * 2
    expected = -IsolationForest(max_samples=256, random_state=4).fit(x).score_samples(rows)
    np.testing.assert_allclose(isolation_forest(x, 4).anomaly(rows), expected, rtol=1e-12)


def test_neighbours_are_scikit_learns():
    x, rows = (np.random.default_rng(i).standard_normal((n, 6)) for i, n in enumerate((300, 41)))
    distances, _ = NearestNeighbors(n_neighbors=5).fit(x).kneighbors(rows)
    expert = Neighbours.fit(x, 0)
    np.testing.assert_allclose(expert.anomaly(rows), distances.mean(axis=1), rtol=1e-12)
    own, _ = NearestNeighbors(n_neighbors=5).fit(x).kneighbors()
    np.testing.assert_allclose(expert.anomaly(x), own.mean(axis=1), rtol=1e-12)
    many = Neighbours.fit(np.random.default_rng(2).standard_normal((3000, 2)), 0)
    assert many.references.shape == (2, 2048)
    twins = np.zeros((1, 4))  # one copy is the row itself, the others are neighbours at distance 0
    assert mean_distance(np.zeros((1, 1)), twins, 3)[0] == 0.0


def test_clusters_covariance_and_mixture_are_the_libraries():
    from pyod.models.cblof import CBLOF
    from sklearn.covariance import MinCovDet
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(7)
    x = np.vstack([rng.normal(size=(150, 3)), rng.normal(6, 1, size=(150, 3)), rng.normal(20, 5, size=(12, 3))])
    rows = np.vstack([rng.normal(size=(30, 3)) * 8, x[:5]])
    expected = CBLOF(random_state=2, check_estimator=False).fit(x).decision_function(rows)
    np.testing.assert_allclose(EXPERTS["clusters"](x, 2).anomaly(rows), expected, rtol=1e-9)
    mixture = GaussianMixture(4, reg_covar=1e-4, random_state=2).fit(x)
    np.testing.assert_allclose(EXPERTS["mixture"](x, 2).anomaly(rows), -mixture.score_samples(rows), rtol=1e-8)
    distance = MinCovDet(random_state=2).fit(x).mahalanobis(rows)
    np.testing.assert_allclose(EXPERTS["covariance"](x, 2).anomaly(rows), distance, rtol=1e-8)


def test_degenerate_rows_are_no_trouble():
    flat = np.zeros((40, 3))
    flat[:20, 0] = 1.0
    flat[3, 1] = 1.0
    for name in set(EXPERTS) - {"svae"}:
        assert np.isfinite(EXPERTS[name](flat, 0).anomaly(np.vstack([flat, flat + 5]))).all()
        assert np.isfinite(EXPERTS[name](flat[18:21], 0).anomaly(flat)).all()


def test_average_path_is_that_of_a_search_tree():
    assert average_path([1, 2]).tolist() == [0.0, 1.0]
    harmonic = np.cumsum(1 / np.arange(1, 256))
    np.testing.assert_allclose(average_path(256), 2 * harmonic[254] - 2 * 255 / 256, rtol=1e-3)


def test_an_extended_forest_has_no_favourite_axes():
    x = np.random.default_rng(0).standard_normal((500, 2))
    far = 3.5 * np.array([[1.0, 0.0], [2**-0.5, 2**-0.5]])
    ring = np.stack([np.cos(a := np.linspace(0, 2 * np.pi, 64, endpoint=False)), np.sin(a)], axis=1) * 3.5
    oblique = np.ptp(extended_forest(x, 0, trees=300).anomaly(ring))
    straight = np.ptp(extended_forest(x, 0, trees=300, directions=1).anomaly(ring))
    assert oblique < straight
    assert (extended_forest(x, 0).anomaly(far) > np.quantile(extended_forest(x, 0).anomaly(x), 0.99)).all()


def test_surprise_is_a_p_value_that_goes_on():
    scale = Surprise.of(np.array([3.0, 1.0, 2.0, 2.0]))
    np.testing.assert_allclose(np.exp(-scale(np.array([0.0, 2.0, 3.0]))), [1.0, 4 / 5, 2 / 5])
    beyond = scale(np.array([3.0, 3.5, 4.0, 1e9, np.inf, np.nan]))
    assert (np.diff(beyond[:5]) > 0).all()
    assert beyond[4] == beyond[5] == pytest.approx(np.log(5) + 1)
    assert np.isfinite(Surprise.of(np.array([np.inf, np.inf]))(np.array([1.0, np.inf]))).all()


@pytest.mark.parametrize("experts", ["forest", (), ("forest", "forest"), ("forests",)])
def test_experts_are_checked(frame, experts):
    with pytest.raises(InvalidInput, match="experts"):
        ExpertEnsemble(experts=experts).fit(frame)
