"""The stack of models that votes."""

import numpy as np
import pytest

from pyscore.detectors import ensemble
from pyscore.detectors.baselines import baseline
from pyscore.detectors.ensemble import Member, StackEnsemble, fit_members, mean_surprise, tail
from pyscore.errors import InvalidInput, TrainingDiverged
from pyscore.reference import roc_auc
from pyscore.reference.model import SVAE
from pyscore.scoring.scores import score_terms
from pyscore.training.config import TrainConfig

GRID = {"latent_dims": (2,), "betas": (0.1, 1.0), "cs": (0.1,)}
SMALL = {"grid": GRID, "hidden_dim": 8, "n_components": 2}
QUICK = TrainConfig(steps=200, batch_size=20, learning_rate=3e-3)


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 200)
    return np.column_stack([np.cos(angle), np.sin(angle), np.cos(2 * angle)]) + rng.normal(0, 0.05, (200, 3))


@pytest.fixture(scope="module")
def fitted(x):
    return fit_members(x, QUICK, **SMALL, trim=0)


def test_tail_is_a_conformal_p_value():
    known = np.array([0.0, 1.0, 1.0, 2.0])
    np.testing.assert_allclose(
        np.exp(-tail(known, np.array([-1.0, 0.0, 1.0, 5.0, np.nan]))), [0.2, 0.4, 0.8, 1, 0.2]
    )
    draws = np.random.default_rng(1).standard_normal((2000, 20))
    p = np.array([np.exp(-tail(np.sort(row[1:]), row[:1]))[0] for row in draws])
    for level in (0.1, 0.5):  # 20 exchangeable values: p is uniform on 1/20 … 1
        assert abs(np.mean(p <= level + 1e-12) - level) <= 4 * np.sqrt(level * (1 - level) / len(p))


def test_the_score_is_what_it_says(fitted, x):
    rows, expected = x[:7] + 0.3, np.zeros(7)
    for member in fitted.members:
        code, _ = member.model.encode(x)
        variance = np.maximum(((x - member.model.decode(code)) ** 2).mean(axis=0), 1e-4)
        np.testing.assert_allclose(member.variance, variance, rtol=64 * np.finfo(np.float32).eps)
        for name, sigma2 in (("reconstruction", member.variance), ("jacobian_decoder", 1.0)):
            train, new = (
                score_terms(member.model, part, [name], sigma2=sigma2, backend="numba").sum(axis=1).to_numpy()
                for part in (x, rows)
            )
            expected += -np.log((1 + (train <= new[:, None]).sum(axis=1)) / (len(x) + 1)) / len(fitted.members)
    np.testing.assert_allclose(mean_surprise(fitted.members, rows), expected, rtol=1e-12)


def test_a_row_is_scored_alone_and_anomalies_are_higher(fitted, x):
    far = np.vstack([x, x[:20] * 3])
    scores = mean_surprise(fitted.members, far)
    np.testing.assert_array_equal(mean_surprise(fitted.members, far[5:6]), scores[5:6])
    assert roc_auc(scores, np.repeat([0, 1], [200, 20])) > 0.95


def test_same_seed_same_bits_whatever_the_threads(fitted, x):
    again = fit_members(x, QUICK, **SMALL, trim=0, threads=1)
    np.testing.assert_array_equal(mean_surprise(again.members, x), mean_surprise(fitted.members, x))
    assert len({member.model.digest() for member in fitted.members}) == 2


def test_grid_progress_and_bounds(x):
    seen = []
    options = {**SMALL, "grid": {**GRID, "latent_dims": (2, 8), "betas": (1.0,)}}
    both = fit_members(x, TrainConfig(steps=10), **options, callback=lambda *now: seen.append(now), trim=0.1)
    assert [member.model.latent_dim for member in both.members] == [2, 3]
    assert seen[-1] == (40, 40)  # two stacks of one model, twice
    assert all(now <= total == 40 for now, total in seen)
    assert seen == sorted(seen)
    with pytest.raises(InvalidInput, match="each entry of `grid` must hold at least one value"):
        fit_members(x, QUICK, grid={**GRID, "betas": ()})


def test_suspicious_rows_are_set_aside(x, fitted):
    dirty = np.vstack([x, 3 * x[:20]])
    trimmed = fit_members(dirty, QUICK, **SMALL, trim=0.1)
    assert 198 <= trimmed.kept.sum() <= 198 + 2  # nine tenths of 220 rows, and ties
    assert (~trimmed.kept)[200:].mean() > 0.7  # most of what was planted
    again = fit_members(dirty[trimmed.kept], QUICK, **SMALL, trim=0)
    np.testing.assert_array_equal(mean_surprise(trimmed.members, dirty), mean_surprise(again.members, dirty))
    assert fitted.kept.all()
    assert len(fitted.kept) == 200


@pytest.mark.parametrize("trim", [-0.1, 1.0, np.nan])
def test_a_share_to_trim_is_checked(x, trim):
    with pytest.raises(InvalidInput, match="`trim` must be"):
        fit_members(x, QUICK, **SMALL, trim=trim)


def test_models_without_a_density_do_not_vote(x, monkeypatch):
    monkeypatch.setattr(
        Member,
        "of",
        classmethod(lambda cls, model, rows: cls(model, np.ones(3), np.array([-np.inf]), np.zeros(1))),
    )
    with pytest.raises(TrainingDiverged, match="none of the 2 models has a finite density"):
        fit_members(x, QUICK, **SMALL)


def test_a_feature_that_is_reconstructed_exactly_does_not_decide(x):
    member = Member.of(SVAE.initialise(3, 2, 8, 2), x * 1e-9)
    assert (member.variance >= ensemble.LEAST_VARIANCE).all()


def test_as_a_baseline(x, monkeypatch):
    monkeypatch.setattr(ensemble, "GRID", GRID)
    score = baseline("SVAE ensemble").fit(x, 3)
    np.testing.assert_array_equal(
        score(x[:5]), mean_surprise(fit_members(x, TrainConfig(seed=3), trim=0.1).members, x[:5])
    )


def test_the_former_name_still_works_and_says_so(x, fitted):
    with pytest.warns(DeprecationWarning, match="StackEnsemble is now pyscore.SVAEEnsemble"):
        former = StackEnsemble.fit(x, QUICK, **SMALL, trim=0)
    np.testing.assert_array_equal(former.decision_function(x), mean_surprise(fitted.members, x))
    with pytest.raises(InvalidInput, match="NaN at row 0, column 1"):
        former.decision_function(np.array([[0.0, np.nan, 1.0]]))
