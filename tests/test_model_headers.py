"""Model files whose header was changed and signed anew: refused by name, or a model that scores as one."""

import copy
import functools
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyscore import EXACT, SVAEDetector
from pyscore._core.files import pack_tensors, unpack_tensors
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.detectors.model_file import HISTORY, state_of
from pyscore.errors import ModelFileError
from pyscore.reference.model import SVAE
from pyscore.scoring.fitted import FORMAT_VERSION, FittedModel
from pyscore.training.config import TrainConfig

X = np.random.default_rng(0).standard_normal((30, 3))
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=4),
    st.sampled_from([10**400, -(10**400), 2**63, 2**64, 1e308, -1e308, 5e-324, "\x1b[2J", "\u202ea", "a\x9b", "numpy",
                     "median", "exact", [], {}, [1], {"a": 1}, [[[]]], "nan", "x" * 3000]),
)  # fmt: skip


@functools.cache
def saved():
    """A detector's file, apart: header and arrays. It is put together here, since training is not what is tried."""
    detector = SVAEDetector(steps=3, hidden_dim=4, batch_size=8, backend="numpy", impute="median")
    model = SVAE.initialise(3, 2, 4, 2)
    training = TrainConfig(steps=3, batch_size=8).to_dict()
    detector.model_ = FittedModel(model, Standardiser.fit(X), EXACT, training, 0.5, Imputer(np.zeros(3)))
    detector.n_features_in_, detector.seed_, detector.best_step_ = 3, 0, 3
    detector.validation_history_ = detector.calibration_scores_ = None
    detector.typical_terms_ = dict.fromkeys(("log_likelihood", "log_prior", "decoder_volume"), 0.0)
    detector.history_ = pd.DataFrame(np.ones((3, 3)), columns=HISTORY)
    detector.decision_scores_ = detector.decision_function(X)
    detector.set_threshold(contamination=0.1)
    return unpack_tensors(state_of(detector).to_bytes(), "model", FORMAT_VERSION, unsigned=(1,))


def places(value, path=()):
    """Every place of a nested header."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for key, inner in enumerate(value):
            yield (*path, key)
            yield from places(inner, (*path, key))


def changed(header, path, value, way):
    header = copy.deepcopy(header)
    inner = header
    for key in path[:-1]:
        inner = inner[key]
    if way == "remove":
        del inner[path[-1]]
    elif way == "add" and isinstance(inner, dict):
        inner["surplus"] = value
    else:
        inner[path[-1]] = value
    return header


def signed(header, tensors):
    return pack_tensors("model", FORMAT_VERSION, header, tensors)


@settings(derandomize=True, deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.filterwarnings("ignore")
def test_a_changed_header_is_refused_or_scores(tmp_path_factory, data):
    header, tensors = saved()
    path = data.draw(st.sampled_from(sorted(places(header), key=str)))
    way = data.draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
    written = signed(changed(header, path, data.draw(VALUES), way), tensors)
    try:
        fitted = FittedModel.from_bytes(written)
    except ModelFileError as refusal:
        fitted, said = None, str(refusal)
    if fitted is None:
        assert said.strip()
        assert said.isprintable()
    else:
        check_scores(fitted.scores(X, ["proposed"], impute="median", backend="numpy")["proposed"].to_numpy())
    file = tmp_path_factory.mktemp("model") / "d.safetensors"
    file.write_bytes(written)
    try:
        detector = SVAEDetector.load(file)
    except ModelFileError as refusal:
        assert str(refusal).strip()  # noqa: PT017 - the other branch is as good
        return
    detector.backend = "numpy"
    check_scores(detector.score_samples(X))
    assert np.isfinite(detector.predict_confidence(X)).all()
    assert detector.predict_proba(X, "unify").shape == (30, 2)


def check_scores(values):
    assert values.shape == (30,)
    assert not np.isnan(values).any()
    assert not np.isposinf(values).any()


@pytest.mark.parametrize("value", [10**400, "1", [1.0], True, -1.0, 0.0, {}])
def test_a_variance_that_is_none_is_named(value):
    header, tensors = saved()
    with pytest.raises(ModelFileError, match="residual_variance|64 bits"):
        FittedModel.from_bytes(signed({**header, "residual_variance": value}, tensors))


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\x9b1m", "\u202eevil", "a\u2066b", "\ufeffa", "nul\0"])
def test_names_that_a_terminal_obeys_are_refused(name):
    header, tensors = saved()
    with pytest.raises(ModelFileError, match="holds control characters") as caught:
        FittedModel.from_bytes(signed({**header, "columns": [name, "b", "c"]}, tensors))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("scale", [0.0, 1e-30, 30.0, 1e10, 1e30])
def test_odd_but_valid_weights_give_finite_probabilities(tmp_path, scale):
    header, tensors = saved()
    odd = {k: (v * np.float32(scale) if k.endswith("weight") else v) for k, v in tensors.items()}
    scores = np.array(odd["detector.decision_scores"], copy=True)
    scores[:3] = np.inf, 1.7e308, -1.7e308
    odd["detector.decision_scores"] = scores
    (tmp_path / "d.safetensors").write_bytes(signed(header, odd))
    detector = SVAEDetector.load(tmp_path / "d.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for rows in (X, 1e14 * X):
            check_scores(detector.score_samples(rows))
            assert np.isfinite(detector.predict_confidence(rows)).all()
            for method in ("linear", "unify"):
                assert np.isfinite(detector.predict_proba(rows, method)).all()
