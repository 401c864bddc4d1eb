"""Calibration: thresholds, conformal p-values and selection, by brute force and by simulation."""

import itertools
import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pyscore import SVAEDetector
from pyscore.detectors import calibration
from pyscore.detectors.calibration import (
    benjamini_hochberg,
    conformal_p_values,
    false_positive_threshold,
    linear_probability,
    prediction_confidence,
    quantile_threshold,
    unify_probability,
)
from pyscore.errors import InvalidInput

INF = np.inf
RUNS = 2000
Z = 4  # standard errors; a right implementation fails with probability 3e-5 (one side), and the seeds are fixed


# ── quantile ──


def test_quantile_is_numpys_for_finite_scores(rng):
    scores = rng.normal(size=101)
    for q in (0.0, 0.5, 0.9, 0.95, 1.0):
        assert quantile_threshold(scores, q) == np.percentile(scores, 100 * q)


@pytest.mark.parametrize(
    ("scores", "flagged"),
    [
        ([0, 1, 2, 3, INF], [4]),
        (
            [0, 1, INF, INF, INF],
            [2, 3, 4],
        ),  # more than the quantile allows: infinite rows are flagged all the same
        ([-INF, 0, 1, 2, 3], [4]),
        ([5, 5, 5, 5, 5], []),
        ([5, 5, 5, 5, INF], [4]),
    ],
)
def test_infinite_and_tied_scores(scores, flagged):
    threshold = quantile_threshold(scores, 0.9)
    assert np.isfinite(threshold)
    assert list(np.flatnonzero(np.array(scores) > threshold)) == flagged


BAD = {
    "NaN": (lambda: quantile_threshold([0.0, np.nan], 0.5), "`scores` must not hold NaN; got 1 of 2"),
    "none": (lambda: quantile_threshold([], 0.5), "at least one score"),
    "all infinite": (lambda: quantile_threshold([INF, INF], 0.5), "all 2 scores are infinite.*beta"),
    "quantile": (lambda: quantile_threshold([0.0], 1.5), "`quantile` must be between 0 and 1; got 1.5"),
    "rate": (lambda: false_positive_threshold([0.0], 0.0), "`rate` must be"),
    "confidence": (lambda: false_positive_threshold([0.0], 0.1, confidence=1.0), "`confidence` must lie between"),
    "no calibration": (lambda: conformal_p_values([], [1.0]), "`calibration` must hold"),
    "NaN scores": (lambda: conformal_p_values([1.0], [np.nan]), "`scores` must not hold NaN"),
    "p": (lambda: benjamini_hochberg([0.5, 1.5], 0.1), "between 0 and 1, without NaN"),
    "p NaN": (lambda: benjamini_hochberg([np.nan], 0.1), "between 0 and 1, without NaN"),
    "fdr": (lambda: benjamini_hochberg([0.5], 1.0), "`fdr` must lie between 0 and 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, message = BAD[name]
    with pytest.raises(InvalidInput, match=message):
        call()


# ── required false-positive rate ──


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("rate", [0.5, 0.1, 0.05, 0.01])
def test_rank_by_brute_force(rate, confidence):
    """P(Binomial(n, rate) ≥ j) in whole numbers: at rate and confidence ½ with odd n it equals the confidence."""
    a, b = rate.as_integer_ratio()
    wanted, unit = confidence.as_integer_ratio()
    for n in (1, 2, 10, 58, 59, 60, 298, 299, 1000):
        result = false_positive_threshold(np.arange(n), rate, confidence=confidence)
        yes, no = ([1, *itertools.accumulate([k] * n, operator.mul)] for k in (a, b - a))
        tails = itertools.accumulate(math.comb(n, j) * yes[j] * no[n - j] for j in range(n, 0, -1))
        enough = wanted * b**n
        kept = [n - i for i, tail in enumerate(tails) if tail * unit >= enough]
        assert result.sufficient == bool(kept)
        assert result.rank == max(kept, default=1)
        assert result.threshold == n - result.rank
        assert stats.beta.cdf(result.guaranteed, result.rank, n - result.rank + 1) == pytest.approx(
            confidence, abs=1e-9
        )
        assert (result.guaranteed <= rate * (1 + 1e-9)) == result.sufficient
        assert result.smallest == pytest.approx(1 - (1 - confidence) ** (1 / n))
        assert (n >= result.rows_needed) == result.sufficient


def test_rows_needed_are_the_textbooks():
    needed = {rate: false_positive_threshold([0.0], rate).rows_needed for rate in (0.05, 0.01)}
    assert needed == {0.05: 59, 0.01: 299}
    assert false_positive_threshold([0.0], 0.01, confidence=None).rows_needed == 99


@pytest.mark.parametrize("inverse", [1, 2, 9, 19, 48, 97, 99, 102, 199])  # 1/49·49 < 1 in floating point
def test_on_average_the_rank_is_the_floor(inverse):
    for n in (1, 2, 10, inverse - 1, inverse, inverse + 1, 3 * inverse + 2, 7 * inverse + 6):
        if n < 1:
            continue
        result = false_positive_threshold(np.arange(n), 1 / (inverse + 1), confidence=None)
        assert result.sufficient == (n >= inverse)
        assert result.rank == max(1, (n + 1) // (inverse + 1))


def test_the_statement_says_whether_n_suffices():
    enough = str(false_positive_threshold(np.arange(100.0), 0.05))
    assert "100 calibration rows suffice" in enough
    assert "2nd largest" in enough
    few = str(false_positive_threshold(np.arange(50.0), 0.01))
    assert "50 calibration rows do not suffice for a false-positive rate of 0.01 with confidence 0.95" in few
    assert "299 are needed" in few
    assert "only 0.0582" in few


def true_rate(threshold):
    return stats.norm.sf(threshold)


@pytest.mark.parametrize(("n", "rate", "confidence"), [(100, 0.05, 0.9), (59, 0.05, 0.95), (500, 0.02, 0.5)])
def test_the_rate_is_kept_as_often_as_promised(n, rate, confidence):
    """Over RUNS calibration sets of normal variables, whose true false-positive rate is known."""
    rng = np.random.default_rng(1)
    kept = guaranteed = 0
    for _ in range(RUNS):
        result = false_positive_threshold(rng.normal(size=n), rate, confidence=confidence)
        kept += true_rate(result.threshold) <= rate
        guaranteed += true_rate(result.threshold) <= result.guaranteed
    error = np.sqrt(confidence * (1 - confidence) / RUNS)
    assert kept / RUNS >= confidence - Z * error
    assert abs(guaranteed / RUNS - confidence) <= Z * error  # the bound is tight for continuous scores


def test_the_rate_is_kept_on_average():
    rng = np.random.default_rng(2)
    rates = [
        true_rate(false_positive_threshold(rng.normal(size=99), 0.05, confidence=None).threshold)
        for _ in range(RUNS)
    ]
    assert abs(np.mean(rates) - 0.05) <= Z * np.std(rates) / np.sqrt(RUNS)  # 5/(99+1) exactly


def test_the_rate_is_kept_under_ties_and_infinities():
    rng = np.random.default_rng(3)
    broken = 0
    values = np.array([0.0, 1.0, 2.0, INF])
    probability = np.array([0.7, 0.2, 0.06, 0.04])
    for _ in range(1000):
        result = false_positive_threshold(rng.choice(values, p=probability, size=150), 0.05, confidence=0.9)
        broken += probability[values > result.threshold].sum() > 0.05
    assert broken / 1000 <= 0.1 + Z * np.sqrt(0.1 * 0.9 / 1000)


# ── conformal p-values ──


@given(
    st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, INF]), min_size=1, max_size=12),
    st.lists(st.sampled_from([-2.0, 0.0, 0.5, 1.0, INF]), max_size=6),
)
def test_p_values_by_counting(calibration_scores, scores):
    expected = [(1 + sum(c >= s for c in calibration_scores)) / (len(calibration_scores) + 1) for s in scores]
    np.testing.assert_array_equal(conformal_p_values(calibration_scores, scores), expected)


@pytest.mark.parametrize("ties", [False, True])
def test_p_values_of_normal_rows_are_valid(ties):
    """P(p ≤ t) ≤ t, and = ⌊t(n+1)⌋/(n+1) for continuous scores; each run brings one independent p-value."""
    rng, n = np.random.default_rng(4), 39
    p = np.empty(RUNS)
    for i in range(RUNS):
        scores = rng.normal(size=n + 1)
        scores = np.round(scores) if ties else scores
        p[i] = conformal_p_values(scores[:n], scores[n:])[0]
    for t in (0.025, 0.05, 0.1, 0.5):
        error = np.sqrt(t * (1 - t) / RUNS)
        assert np.mean(p <= t) <= t + Z * error
        if not ties:
            assert np.mean(p <= t + 1e-12) >= t - Z * error  # the t are multiples of 1/40


# ── selection ──


def by_hand(p, fdr):
    order = np.argsort(p)
    m = len(p)
    passed = [i for i in range(m) if p[order[i]] * m <= fdr * (i + 1) * (1 + 1e-12)]
    selected = np.zeros(m, dtype=bool)
    selected[order[: max(passed, default=-1) + 1]] = True
    return selected


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.sampled_from([0.01, 0.05, 0.1, 0.3]))
def test_selection_by_hand_also_where_equality_decides(ranks, fdr):
    p = np.array(ranks) / 100
    np.testing.assert_array_equal(benjamini_hochberg(p, fdr), by_hand(p, fdr))


def test_equality_selects_though_rounding_is_against_it():
    for rank, m, i in ((10, 3, 1), (20, 3, 2), (5, 6, 1), (27, 10, 9)):
        p = np.ones(m)
        p[:i] = rank / 100  # = 0.3·i/m
        assert benjamini_hochberg(p, 0.3).sum() == i
        p[:i] = (rank + 1) / 100
        assert benjamini_hochberg(p, 0.3).sum() == 0


def test_selection_of_nothing():
    assert benjamini_hochberg(np.array([]), 0.1).shape == (0,)
    assert not benjamini_hochberg(np.ones(5), 0.1).any()


@pytest.mark.parametrize("anomalies", [0, 30])
def test_the_false_discovery_rate_is_kept(anomalies):
    """Mean of false selections / selections over runs, by its own standard error; 30 % anomalies also bring power."""
    rng, m, fdr = np.random.default_rng(5), 100, 0.2
    proportions, found = np.empty(1000), 0
    for i in range(1000):
        normal = rng.normal(size=300)
        scores = rng.normal(size=m)
        scores[:anomalies] += 3
        selected = benjamini_hochberg(conformal_p_values(normal, scores), fdr)
        proportions[i] = selected[anomalies:].sum() / max(1, selected.sum())
        found += selected[:anomalies].sum()
    bound = fdr * (1 - anomalies / m)
    error = proportions.std() / np.sqrt(1000)
    assert proportions.mean() <= bound + Z * error
    if anomalies:
        assert proportions.mean() >= bound * 0.5  # not kept by selecting nothing
        assert found / (1000 * anomalies) > 0.6


# ── probabilities ──


def test_probabilities_of_degenerate_scores():
    flat = np.ones(5)
    for convert in (linear_probability, unify_probability):
        np.testing.assert_array_equal(convert(flat, [1.0, INF]), [0.0, 1.0])
        np.testing.assert_array_equal(convert([0.0, 1.0, INF], [-INF, INF]), [0.0, 1.0])
    np.testing.assert_array_equal(linear_probability([0.0, 10.0], [-5, 0, 2.5, 10, 20]), [0, 0, 0.25, 1, 1])
    assert unify_probability([-1.0, 1.0], [1.0])[0] == pytest.approx(0.6826894921370859)


def test_confidence_grows_away_from_the_threshold():
    train = np.linspace(0, 1, 200)
    confidence = prediction_confidence(train, [0.0, 0.88, 0.92, 1.0], 0.9, 0.1)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert confidence[0] > confidence[1]
    assert confidence[3] > confidence[2]


# ── in the detector ──


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(6)
    detector = SVAEDetector(steps=30, hidden_dim=8, batch_size=20, calibration_fraction=0.5)
    return detector.fit(rng.normal(size=(400, 3)))


def test_detector_p_values_and_selection_on_fresh_rows(fitted):
    rng = np.random.default_rng(7)
    normal, anomalous = rng.normal(size=(2000, 3)), rng.normal(size=(50, 3)) + 8
    p = fitted.p_values(normal)
    np.testing.assert_array_equal(
        p, conformal_p_values(fitted.calibration_scores_, fitted.decision_function(normal))
    )
    # One calibration set of 200: the true P(p ≤ t) is Beta distributed around t, besides the 2,000 rows.
    t = 0.1
    error = np.sqrt(t * (1 - t) * (1 / 200 + 1 / 2000))
    assert abs(np.mean(p <= t) - t) <= Z * error
    chosen = fitted.select(np.concatenate([anomalous, normal[:200]]), fdr=0.1)
    assert chosen.dtype == bool
    assert chosen[:50].mean() > 0.9
    assert chosen[50:].sum() <= 0.3 * chosen.sum()


def test_detector_threshold_by_rate_quantile_and_contamination(fitted):
    statement = fitted.set_threshold(false_positive_rate=0.1, confidence=0.9)
    assert statement.sufficient
    assert fitted.threshold_ == statement.threshold
    assert np.mean(fitted.calibration_scores_ > fitted.threshold_) < 0.1
    np.testing.assert_array_equal(fitted.labels_, fitted.decision_scores_ > fitted.threshold_)
    assert fitted.contamination_ == fitted.labels_.mean()
    with pytest.warns(UserWarning, match="200 calibration rows do not suffice.*2995 are needed"):
        fitted.set_threshold(false_positive_rate=0.001)
    assert fitted.set_threshold(quantile=0.75) is None
    by_quantile = fitted.threshold_
    fitted.set_threshold(contamination=0.25)
    assert fitted.threshold_ == by_quantile
    assert fitted.labels_.sum() == 100
    fitted.set_threshold(quantile=0.0)
    assert fitted.labels_.sum() == 399


def test_detector_calibration_errors(fitted):
    with pytest.raises(
        InvalidInput, match="pass one of `contamination`, `quantile`, `false_positive_rate`; got none"
    ):
        fitted.set_threshold()
    with pytest.raises(InvalidInput, match="got contamination and quantile"):
        fitted.set_threshold(contamination=0.1, quantile=0.9)
    with pytest.raises(InvalidInput, match="`contamination` must be above 0 and at most 0.5; got 0.7"):
        fitted.set_threshold(contamination=0.7)
    plain = SVAEDetector(steps=2, hidden_dim=4, batch_size=4).fit(np.random.default_rng(0).normal(size=(30, 3)))
    for call in (plain.p_values, plain.select):
        with pytest.raises(
            InvalidInput, match="call `calibrate` with normal rows, or fit with `calibration_fraction`"
        ):
            call(np.zeros((1, 3)))
    with pytest.raises(InvalidInput, match="a false-positive rate needs rows"):
        plain.set_threshold(false_positive_rate=0.1)
    rows = np.random.default_rng(1).normal(size=(20, 3))
    assert plain.calibrate(rows) is plain
    np.testing.assert_array_equal(plain.calibration_scores_, plain.decision_function(rows))
    assert plain.p_values(rows).min() == 2 / 21


def test_every_public_name_is_tested():
    here = set(globals())
    assert set(calibration.__all__) - here == {"FalsePositiveThreshold"}
