"""SVAEDetector: scikit-learn's estimator checks, PyOD's conventions, frames, bits, files."""

import copy
import inspect
import io
import json
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pyod_labels import EXPECTED_FAILURES, flipped
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import pyscore
from pyscore import EXACT, ORIGINAL, FittedModel, SVAEDetector
from pyscore.data.preprocessing import Standardiser
from pyscore.detectors.svae import split_rows
from pyscore.errors import InvalidInput, ModelFileError, NumericalWarning
from pyscore.reference.model import SVAE
from pyscore.scoring import scores
from pyscore.training import early_stopping
from pyscore.training.config import TrainConfig
from pyscore.training.early_stopping import ValidationLoss, train_early_stopping
from pyscore.training.train import train

FAST = {"steps": 20, "hidden_dim": 8, "batch_size": 20}


@parametrize_with_checks(
    [SVAEDetector(steps=3, hidden_dim=4, batch_size=8)], expected_failed_checks=lambda _: EXPECTED_FAILURES
)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", EXPECTED_FAILURES)
def test_the_expected_failures_fail_for_signs_and_labels_alone(name):
    detector = flipped(SVAEDetector)(steps=3, hidden_dim=4, batch_size=8)
    getattr(estimator_checks, name)("Flipped", detector)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(150, 4)) @ rng.normal(size=(4, 4)) + [10, -3, 0, 1000]
    x[:10] += rng.normal(size=(10, 4)) * 8
    return x


@pytest.fixture(scope="module")
def fitted(data):
    return SVAEDetector(**FAST, calibration_fraction=0.2).fit(data)


@pytest.fixture(scope="module")
def frame(data):
    return pd.DataFrame(
        data, columns=["age", "height", "dose", "weight"], index=[f"p{i}" for i in range(len(data))]
    )


# ── signs and labels ──


def test_higher_is_more_anomalous_and_the_docstring_says_so_in_its_first_ten_lines(fitted, data):
    far = data.mean(axis=0) + 50 * data.std(axis=0)
    assert fitted.decision_function(far[None])[0] > fitted.decision_scores_.max()
    np.testing.assert_array_equal(fitted.decision_function(data), -fitted.score_samples(data))
    np.testing.assert_array_equal(fitted.decision_scores_, fitted.decision_function(data))
    first = "\n".join(inspect.getdoc(SVAEDetector).splitlines()[:10])
    for said in ("higher = more anomalous", "higher = more normal", "IsolationForest", "opposite", "1 = anomaly"):
        assert said in first


def test_scores_are_those_of_the_library_on_standardised_rows(fitted, data):
    model = fitted.model_
    expected = scores.score(model.model, model.standardiser.transform(data), "proposed", backend="numba")
    np.testing.assert_array_equal(fitted.score_samples(data), expected)
    assert fitted.score(data) == expected.mean()


def test_transform_holds_the_terms_and_set_output_makes_them_a_frame(data, frame):
    model = SVAEDetector(**FAST).fit(frame)
    terms = model.transform(frame)
    assert isinstance(terms, np.ndarray)
    np.testing.assert_allclose(terms.sum(axis=1), model.score_samples(frame), rtol=1e-14)
    named = model.set_output(transform="pandas").transform(frame)
    assert list(named) == ["log_likelihood", "log_prior", "decoder_volume"] == list(model.get_feature_names_out())
    assert list(named.index) == list(frame.index)
    assert isinstance(model.set_output(transform="polars").transform(frame), pl.DataFrame)


# ── PyOD ──


def test_pyod_conventions_to_the_bit(data):
    base = pytest.importorskip("pyod.models.base", reason="pyod is not installed")

    class Echo(base.BaseDetector):
        """PyOD's own arithmetic on our scores."""

        def __init__(self, contamination=0.1):
            super().__init__(contamination=contamination)

        def fit(self, X, y=None):
            self.decision_scores_ = ours.decision_scores_
            self._process_decision_scores()
            return self

        def decision_function(self, X):
            return ours.decision_function(X)

    for contamination in (0.1, 0.037, 0.5):
        ours = SVAEDetector(**FAST, contamination=contamination).fit(data)
        theirs = Echo(contamination=contamination).fit(data)
        theirs._set_n_classes(None)
        assert ours.threshold_ == theirs.threshold_
        np.testing.assert_array_equal(ours.labels_, theirs.labels_)
        new = data[::3] * 1.1
        np.testing.assert_array_equal(ours.predict(new), theirs.predict(new))
        for method in ("linear", "unify"):
            np.testing.assert_allclose(
                ours.predict_proba(new, method), theirs.predict_proba(new, method), rtol=0, atol=1e-12
            )
        np.testing.assert_allclose(
            ours.predict_confidence(new), theirs.predict_confidence(new), rtol=0, atol=1e-12
        )
        _, confidence = ours.predict(new, return_confidence=True)
        np.testing.assert_array_equal(confidence, ours.predict_confidence(new))
        _, again = ours.predict_proba(new, return_confidence=True)
        np.testing.assert_array_equal(confidence, again)


def test_contamination_is_the_fraction_flagged(data):
    model = SVAEDetector(**FAST, contamination=0.2).fit(data)
    assert model.labels_.sum() == 30
    np.testing.assert_array_equal(model.fit_predict(data), model.labels_)
    np.testing.assert_array_equal(model.predict(data), model.labels_)


def test_a_score_at_the_threshold_is_normal(data):
    model = SVAEDetector(**FAST).fit(data)
    model.set_threshold(quantile=1.0)
    assert model.threshold_ == model.decision_scores_.max()
    assert model.predict(data).sum() == model.labels_.sum() == 0


# ── scikit-learn's tools ──


def test_pipeline_grid_search_and_cross_validation_in_processes(data):
    labels = (np.arange(len(data)) < 10).astype(int)
    pipeline = make_pipeline(StandardScaler(), SVAEDetector(**FAST)).set_output(transform="pandas")
    folds = StratifiedKFold(2)  # scikit-learn stratifies by itself for classifiers only
    search = GridSearchCV(pipeline, {"svaedetector__beta": [0.1, 1.0]}, scoring="roc_auc", cv=folds, n_jobs=2)
    search.fit(data, labels)
    assert list(search.best_estimator_[-1].feature_names_in_) == ["x0", "x1", "x2", "x3"]
    assert 0.5 < search.best_score_ <= 1
    unsupervised = GridSearchCV(SVAEDetector(**FAST), {"latent_dim": [2, 4]}, cv=2).fit(data)
    means = unsupervised.cv_results_["mean_test_score"]
    assert np.isfinite(means).all()
    assert unsupervised.best_score_ == means.max()
    assert cross_val_score(SVAEDetector(**FAST), data, labels, scoring="roc_auc", cv=folds).shape == (2,)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d)), "joblib"])
def test_pickled_in_memory_fitted_or_not(copied, fitted, data):
    if copied == "joblib":

        def copied(d):
            buffer = io.BytesIO()
            joblib.dump(d, buffer)
            buffer.seek(0)
            return joblib.load(buffer)

    np.testing.assert_array_equal(copied(fitted).decision_function(data), fitted.decision_function(data))
    fresh = SVAEDetector(**FAST, convention=ORIGINAL)
    assert copied(fresh).get_params() == fresh.get_params()
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "model_")


def test_init_does_no_work_and_fit_leaves_the_parameters_alone(data):
    nonsense = SVAEDetector(steps="many", score_name="best", contamination=7)
    assert nonsense.steps == "many"
    model = SVAEDetector(**FAST, random_state=np.random.RandomState(1))
    before = {k: v for k, v in model.get_params().items() if k != "random_state"}
    model.fit(data)
    assert {k: v for k, v in model.get_params().items() if k != "random_state"} == before


def test_sample_weight_is_refused(data):
    with pytest.raises(TypeError, match="sample_weight"):
        SVAEDetector(**FAST).fit(data, sample_weight=np.ones(len(data)))
    assert "Sample weights are not supported" in SVAEDetector.__doc__


def test_the_package_exports_it():
    assert pyscore.SVAEDetector is SVAEDetector


# ── reproducible, and every parameter acts ──


def test_same_seed_same_bits(data, fitted):
    again = SVAEDetector(**FAST, calibration_fraction=0.2).fit(data)
    assert again.model_.model.digest() == fitted.model_.model.digest()
    np.testing.assert_array_equal(again.decision_scores_, fitted.decision_scores_)
    other = SVAEDetector(**FAST, calibration_fraction=0.2, random_state=1).fit(data)
    assert other.model_.model.digest() != fitted.model_.model.digest()


def test_random_states(data):
    one, two = (
        SVAEDetector(**FAST, random_state=make(5)).fit(data).model_.model.digest()
        for make in (np.random.RandomState, np.random.RandomState)
    )
    assert one == two
    generator = SVAEDetector(**FAST, random_state=np.random.default_rng(5)).fit(data)
    assert (
        SVAEDetector(**FAST, random_state=generator.seed_).fit(data).decision_scores_[0]
        == (generator.decision_scores_[0])
    )
    first, second = (SVAEDetector(**FAST, random_state=None).fit(data) for _ in range(2))
    assert first.seed_ != second.seed_


@pytest.mark.parametrize(
    "change",
    [
        {"latent_dim": 2}, {"hidden_dim": 5}, {"n_components": 2}, {"activation": "tanh"},
        {"score_name": "reconstruction"}, {"convention": "original"}, {"steps": 21}, {"learning_rate": 1e-2},
        {"batch_size": 21}, {"beta": 3.0}, {"c": 1.0}, {"random_state": 1}, {"early_stopping": True},
        {"calibration_fraction": 0.3}, {"backend": "numpy"},
    ],
    ids=str,
)  # fmt: skip
def test_every_parameter_acts(change, data, fitted):
    base = {**FAST, "calibration_fraction": 0.2}
    other = SVAEDetector(**{**base, **change}).fit(data)
    assert not np.array_equal(other.decision_scores_, fitted.decision_scores_)


@pytest.mark.parametrize("name", scores.available_scores())
def test_every_score(name, data):
    model = SVAEDetector(**FAST, score_name=name, backend="numpy").fit(data[:40])
    np.testing.assert_array_equal(model.decision_scores_, model.decision_function(data[:40]))
    assert list(model.get_feature_names_out()) == list(scores.SCORES[name].terms)
    assert len(model.explain(data[:2])) == 8


def test_the_seed_is_also_that_of_the_draws_of_importance(data):
    model = SVAEDetector(**FAST, score_name="importance", random_state=3, backend="numpy").fit(data[:30])
    standard = model.model_.standardiser.transform(data[:30])
    expected = scores.score(model.model_.model, standard, "importance", seed=3, backend="numpy")
    np.testing.assert_array_equal(model.score_samples(data[:30]), expected)


BAD = {
    "latent_dim": (9, "latent_dim"), "hidden_dim": (0, "hidden_dim"), "n_components": (0, "n_components"),
    "activation": ("soft", "activation"), "score_name": ("best", "score_name"), "convention": ("mine", "convention"),
    "steps": (-1, "steps"), "learning_rate": (0, "learning_rate"), "batch_size": (1, "batch_size"),
    "beta": (-1, "beta"), "c": (0, "c"), "contamination": (0.6, "contamination"),
    "random_state": (-1, "random_state"), "device": ("abacus", "abacus"), "backend": ("fortran", "backend"),
    "patience": (0, "patience"), "calibration_fraction": (1.0, "calibration_fraction"),
    "callbacks": ([1], "callbacks"), "impute": ("mean", "impute"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters_are_named(name, data):
    value, said = BAD[name]
    with pytest.raises((InvalidInput, RuntimeError), match=said):
        SVAEDetector(**{**FAST, name: value}).fit(data)


def test_every_parameter_has_a_bad_value_in_the_table():
    assert set(BAD) == set(SVAEDetector().get_params()) - {"early_stopping", "validation_fraction"}
    with pytest.raises(InvalidInput, match="`validation_fraction` must be at least 0"):
        SVAEDetector(**FAST, early_stopping=True, validation_fraction=1.0).fit(np.eye(8))


def test_callbacks_see_the_progress(data):
    seen, also = [], []
    options = {**FAST, "steps": 420, "callbacks": [lambda *a: seen.append(a), lambda *a: also.append(a)]}
    model = SVAEDetector(**options).fit(data)
    assert [call[:2] for call in seen] == [(200, 420), (400, 420), (420, 420)]
    assert seen == also
    assert seen[-1][2] == model.history_["loss"].iloc[-1]
    seen.clear()
    stopped = SVAEDetector(**options, early_stopping=True).fit(data)
    assert [done for done, _, _ in seen] == stopped.validation_history_["step"].tolist()[1:]


# ── frames ──


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_in_and_out(kind, frame, data):
    table = frame if kind == "pandas" else pl.from_pandas(frame)
    model = SVAEDetector(**FAST).fit(table)
    assert list(model.feature_names_in_) == list(frame.columns) == list(model.model_.standardiser.columns)
    plain = SVAEDetector(**FAST).fit(data)
    np.testing.assert_array_equal(model.decision_function(table), plain.decision_function(data))
    assert isinstance(model.decision_function(table), np.ndarray)
    lines = model.explain(table)
    assert type(lines) is type(table)
    assert list(lines["row"])[:5] == ([*["p0"] * 4, "p1"] if kind == "pandas" else [0, 0, 0, 0, 1])
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(
            frame.rename(columns={"dose": "drug"}) if kind == "pandas" else table.rename({"dose": "drug"})
        )
    with pytest.raises(ValueError, match="same order"):
        model.predict(table[list(frame.columns)[::-1]])


def test_text_columns_are_refused_by_name(frame):
    for table in (frame.assign(sex="f"), pl.from_pandas(frame.assign(sex="f"))):
        with pytest.raises(
            InvalidInput, match=r"column 'sex' must hold numbers; got dtype \w+ \(first value 'f'\)"
        ):
            SVAEDetector(**FAST).fit(table)
    with pytest.raises(InvalidInput, match="got age more than once"):
        SVAEDetector(**FAST).fit(frame.set_axis(["age", "age", "b", "c"], axis=1))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_bad_values_are_named_by_row_and_column(value, frame, fitted):
    bad = frame.copy()
    bad.iloc[3, 2] = value
    for table in (bad, pl.from_pandas(bad)):
        with pytest.raises(InvalidInput, match="at row 3, column dose"):
            SVAEDetector(**FAST).fit(table)
    with pytest.raises(InvalidInput, match="at row 3, column x2"):
        fitted.predict(bad.to_numpy())


def test_nullable_and_boolean_columns(frame):
    mixed = frame.assign(dose=(frame["dose"] > 0).astype("boolean"), age=frame["age"].round().astype("Int64"))
    assert SVAEDetector(**FAST).fit(mixed).decision_scores_.shape == (150,)
    mixed.loc["p7", "age"] = pd.NA
    with pytest.raises(InvalidInput, match="NaN at row 7, column age"):
        SVAEDetector(**FAST).fit(mixed)


# ── what a model is fitted on ──


def test_the_scaler_sees_training_rows_only(data):
    model = SVAEDetector(**FAST, early_stopping=True, validation_fraction=0.2, calibration_fraction=0.2).fit(data)
    parts = split_rows(len(data), 0, 0.2, 0.2)
    assert sorted(np.concatenate(parts)) == list(range(150))
    np.testing.assert_array_equal(model.model_.standardiser.mean, data[parts.train].mean(axis=0))
    assert len(parts.validation) == len(parts.calibration) == 30
    np.testing.assert_array_equal(model.calibration_scores_, model.decision_scores_[parts.calibration])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_calibration_rows_leave_no_trace_in_the_model(early_stopping, data):
    model = SVAEDetector(**FAST, calibration_fraction=0.2, early_stopping=early_stopping).fit(data)
    changed = data.copy()
    changed[split_rows(len(data), 0, 0.2, 0.1).calibration] += 1e3
    again = clone(model).fit(changed)
    assert again.model_.model.digest() == model.model_.model.digest()
    np.testing.assert_array_equal(again.model_.standardiser.mean, model.model_.standardiser.mean)


def test_without_fractions_all_rows_train_and_too_few_rows_are_refused():
    assert len(split_rows(10, 0, 0.0, 0.0).train) == 10
    assert [len(p) for p in split_rows(20, 0, 0.01, 0.0)] == [18, 0, 2]
    with pytest.raises(InvalidInput, match="leave 1 of 5 rows to train on"):
        split_rows(5, 0, 0.4, 0.4)


# ── early stopping ──


@pytest.fixture(scope="module")
def standard(data):
    x = Standardiser.fit(data).transform(data)
    return x[:100], x[100:]


def test_early_stopping_restores_the_best_model(standard, monkeypatch):
    monkeypatch.setattr(early_stopping, "CHECK_EVERY", 5)
    config = TrainConfig(steps=400, batch_size=10, learning_rate=0.05)
    sizes = {"latent_dim": 3, "hidden_dim": 8, "n_components": 2}
    run = train_early_stopping(*standard, config, patience=4, **sizes)
    losses = run.validation.set_index("step")["validation_loss"]
    assert run.best_step == losses.idxmin()
    assert len(run.history) == losses.index[-1] < 400
    assert losses.index[-1] == run.best_step + 4 * 5
    assert ValidationLoss(standard[1], config)(run.model) == losses.min()
    replay = train(standard[0], TrainConfig(steps=run.best_step, batch_size=10, learning_rate=0.05), **sizes)
    assert replay.model.digest() == run.model.digest()


def test_validation_loss_is_equation_1(standard):
    config = TrainConfig(beta=0.0)
    model = SVAE.initialise(4, 3, 8, 2)
    x = standard[1]
    error = np.mean((x - model.decode(model.encode(x)[0])) ** 2)
    assert ValidationLoss(x, config)(model) == error
    weighed = [ValidationLoss(x, TrainConfig(beta=b))(model) - error for b in (1.0, 2.0)]
    assert weighed[0] != 0
    assert weighed[1] == pytest.approx(2 * weighed[0], rel=1e-9)


def test_early_stopping_runs_to_the_end_if_the_loss_falls(data):
    model = SVAEDetector(**FAST, early_stopping=True).fit(data)
    assert list(model.validation_history_["step"]) == [0, 20]
    assert len(model.history_) == 20


# ── degenerate scores ──


def test_rows_of_singular_volume_are_flagged(data, monkeypatch):
    original = scores.terms_checked

    def singular(*args, **options):
        terms = original(*args, **options)
        terms["decoder_volume"][:3] = np.inf
        terms["log_likelihood"][3] = np.nan
        return terms

    monkeypatch.setattr(scores, "terms_checked", singular)
    with pytest.warns(
        NumericalWarning, match=r"1 row\(s\) have no finite log-density under 'proposed' \(rows 3\)"
    ):
        model = SVAEDetector(**FAST, contamination=0.01).fit(data)
    assert np.isposinf(model.decision_scores_[:4]).all()
    assert np.isfinite(model.threshold_)
    assert model.labels_[:4].all()


# ── files ──


def test_save_and_load_to_the_bit(tmp_path, data, frame):
    path = tmp_path / "d.safetensors"
    model = SVAEDetector(**FAST, early_stopping=True, calibration_fraction=0.2, convention=ORIGINAL).fit(frame)
    model.set_threshold(quantile=0.8)
    model.save(path)
    back = SVAEDetector.load(path)
    for name in ("decision_scores_", "labels_", "calibration_scores_", "feature_names_in_"):
        np.testing.assert_array_equal(getattr(back, name), getattr(model, name))
    for name in ("threshold_", "contamination_", "typical_terms_", "best_step_", "seed_", "n_features_in_"):
        assert getattr(back, name) == getattr(model, name)
    pd.testing.assert_frame_equal(back.history_, model.history_)
    pd.testing.assert_frame_equal(back.validation_history_, model.validation_history_)
    assert back.get_params() == model.get_params()
    np.testing.assert_array_equal(back.decision_function(frame), model.decision_function(frame))
    np.testing.assert_array_equal(back.predict_proba(frame, "unify"), model.predict_proba(frame, "unify"))
    np.testing.assert_array_equal(back.select(frame), model.select(frame))
    fitted = FittedModel.load(path)  # the command line's door
    np.testing.assert_array_equal(
        fitted.scores(frame, ["proposed"], backend="numba")["proposed"], model.score_samples(frame)
    )
    assert fitted.detector["parameters"]["steps"] == 20
    kept = fitted.scores(frame, ["proposed"], sigma2="residual", backend="numpy")["proposed"]
    wanted = fitted.scores(frame, ["proposed"], sigma2=fitted.residual_variance, backend="numpy")["proposed"]
    np.testing.assert_array_equal(kept, wanted)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_noise_is_that_of_the_rows_trained_on(data, early_stopping):
    held = SVAEDetector(**FAST, early_stopping=early_stopping, validation_fraction=0.5).fit(data).model_
    own = scores.residual_variance(held.model, held.standardiser.transform(data))
    assert (own == held.residual_variance) == (not early_stopping)
    assert held.residual_variance > 0


def test_save_and_load_of_a_detector_of_arrays(tmp_path, data):
    model = SVAEDetector(**FAST, convention=EXACT).fit(data)
    model.save(tmp_path / "d.safetensors")
    back = SVAEDetector.load(tmp_path / "d.safetensors")
    assert back.calibration_scores_ is None
    assert back.validation_history_ is None
    assert not hasattr(back, "feature_names_in_")


TERMS = ("log_likelihood", "log_prior", "decoder_volume")


def test_a_file_from_before_impute_is_read(tmp_path, fitted):
    from pyscore.detectors.model_file import state_of

    state = state_of(fitted)
    del state.detector["parameters"]["impute"]
    state.save(tmp_path / "d.safetensors")
    assert SVAEDetector.load(tmp_path / "d.safetensors").impute is None


def test_a_file_from_when_tune_was_there_is_read(tmp_path, fitted):
    from pyscore.detectors.model_file import state_of

    state = state_of(fitted)
    state.detector["parameters"]["tune"] = "auto"
    state.detector["tuning"] = {"latent_dim": [2], "mean_log_density": ["-inf"]}
    state.save(tmp_path / "d.safetensors")
    back = SVAEDetector.load(tmp_path / "d.safetensors")
    np.testing.assert_array_equal(back.decision_scores_, fitted.decision_scores_)


@pytest.mark.parametrize("name", ["parameters", "named_columns", "best_step", "typical_terms"])
def test_a_field_that_lacks_is_named(tmp_path, fitted, name):
    from pyscore.detectors.model_file import state_of

    state = state_of(fitted)
    del state.detector[name]
    state.save(tmp_path / "d.safetensors")
    with pytest.raises(ModelFileError, match=f"its header lacks the field '{name}'"):
        SVAEDetector.load(tmp_path / "d.safetensors")


# ── missing values, names, noise ──


def test_missing_values_of_every_kind_are_filled_alike(data, tmp_path):
    gaps = data.copy()
    gaps[[3, 7], [1, 2]] = np.nan
    model = SVAEDetector(**FAST, impute="median").fit(gaps)
    want = model.score_samples(gaps)
    assert np.isfinite(want).all()
    np.testing.assert_array_equal(model.model_.imputer.median, np.nanmedian(gaps, axis=0))
    filled = np.where(np.isnan(gaps), model.model_.imputer.median, gaps)
    np.testing.assert_array_equal(model.score_samples(filled), want)
    objects = gaps.astype(object)
    objects[3, 1] = None
    nullable = pd.DataFrame(gaps).convert_dtypes()
    names = [f"c{i}" for i in range(data.shape[1])]
    assert nullable.isna().sum().sum() == 2
    for given in (np.ma.masked_invalid(gaps), objects, gaps.tolist(), nullable):
        np.testing.assert_array_equal(model.score_samples(given), want)
    for given in (pd.DataFrame(gaps, columns=names), pl.DataFrame(gaps, schema=names)):
        again = SVAEDetector(**FAST, impute="median").fit(given)
        np.testing.assert_array_equal(again.score_samples(given), want)
    model.save(tmp_path / "d.safetensors")
    np.testing.assert_array_equal(SVAEDetector.load(tmp_path / "d.safetensors").score_samples(gaps), want)
    for masked in (np.ma.masked_invalid(gaps), objects, gaps.tolist()):
        with pytest.raises(InvalidInput, match="must hold"):
            SVAEDetector(**FAST).fit(masked)


def test_medians_are_those_of_the_rows_trained_on(data):
    gaps = data.copy()
    gaps[::5, 0] = np.nan
    model = SVAEDetector(**FAST, impute="median", calibration_fraction=0.4, early_stopping=True).fit(gaps)
    parts = split_rows(len(gaps), model.seed_, 0.4, 0.1)
    np.testing.assert_array_equal(model.model_.imputer.median, np.nanmedian(gaps[parts.train], axis=0))


def test_names_that_a_terminal_obeys_are_refused_before_training(frame):
    for name in ("a\x1b[2J", "a\x9b1m", "a\u202eb"):
        with pytest.raises(InvalidInput, match="holds control characters"):
            SVAEDetector(**FAST).fit(frame.rename(columns={"age": name}))
        with pytest.raises(InvalidInput, match="holds control characters"):
            pyscore.fit(frame.rename(columns={"age": name}), TrainConfig(steps=1))


def test_the_noise_is_estimated_when_it_is_asked_for(data, monkeypatch):
    asked = []
    original = scores.residual_variance
    monkeypatch.setattr(scores, "residual_variance", lambda *a, **k: asked.append(1) or original(*a, **k))
    model = SVAEDetector(**FAST).fit(data).model_
    assert not asked
    assert model.residual_variance == pickle.loads(pickle.dumps(model)).residual_variance > 0
    assert len(asked) == 1


def test_damaged_files_are_errors(tmp_path, fitted):
    path = tmp_path / "d.safetensors"
    FittedModel(fitted.model_.model, fitted.model_.standardiser, EXACT).save(path)
    with pytest.raises(ModelFileError, match="model without a detector"):
        SVAEDetector.load(path)
    from pyscore.detectors.model_file import state_of

    def spoiled(**changes):
        state = state_of(fitted)
        for name, value in changes.items():
            target = state.arrays if name in state.arrays else state.detector
            if value is None:
                del target[name]
            else:
                target[name] = value
        state.save(path)

    parameters = json.loads(json.dumps(state_of(fitted).detector["parameters"]))
    for changes in (
        {"threshold": None}, {"threshold": np.array([np.nan, 0.1])}, {"threshold": np.zeros(3)},
        {"decision_scores": np.array([0.0, np.nan])}, {"decision_scores": np.zeros((3, 2))}, {"history": np.zeros(4)},
        {"parameters": None}, {"parameters": {**parameters, "backend": "fortran"}}, {"parameters": [1]},
        {"parameters": {**parameters, "shell": "rm"}}, {"parameters": {**parameters, "score_name": 3}},
        {"parameters": {**parameters, "convention": {"no": 1}}}, {"typical_terms": {}}, {"best_step": -1},
        {"parameters": {**parameters, "random_state": "x"}},
        {"parameters": {k: v for k, v in parameters.items() if k != "steps"}}, {"named_columns": None},
        {"named_columns": 1}, {"typical_terms": {"prior": 1}}, {"threshold": np.array([0.0, np.inf])},
        {"threshold": np.array([0.0, 1.5])}, {"parameters": {**parameters, "steps": [3]}}, {"best_step": True},
        {"decision_scores": np.array([0.0, -np.inf])}, {"typical_terms": {k: "1" for k in TERMS}},
        {"parameters": {**parameters, "contamination": 2.0}}, {"surplus": 1},
    ):  # fmt: skip
        spoiled(**changes)
        with pytest.raises(ModelFileError, match="not a valid detector"):
            SVAEDetector.load(path)


# ── does it detect? ──


def test_it_finds_malignant_tumours():
    """AUC of malignant among held-out benign rows; the bound is three standard errors (Hanley and McNeil) below 0.93."""
    x, y = load_breast_cancer(return_X_y=True)
    benign, malignant = x[y == 1], x[y == 0]
    model = SVAEDetector(steps=200).fit(benign[:250])
    test = np.concatenate([benign[250:], malignant])
    labels = np.r_[np.zeros(len(benign) - 250), np.ones(len(malignant))]
    assert roc_auc_score(labels, model.decision_function(test)) > 0.93 - 3 * 0.0145
