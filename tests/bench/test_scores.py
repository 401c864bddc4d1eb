"""The suite of scores, on a small table and an untrained model: errors, ranks, memory, and the datasets."""

import numpy as np
import pytest

from pyscore.backends import available_backends
from pyscore.backends.numpy_ import NumpyBackend
from pyscore.bench import datasets, limits, scores
from pyscore.bench.harness import WARM_UP, has_peak_memory
from pyscore.bench.record import base_of
from pyscore.convention import EXACT, ORIGINAL
from pyscore.scoring.fitted import fit
from pyscore.training.config import TrainConfig


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 4)).astype(np.float32).astype(np.float64)
    return scores.Problem("small", fit(x, TrainConfig(steps=2)), x, np.arange(40) % 4 == 0)


def test_numpy_is_the_base_and_the_others_are_near(problem):
    contestants = {name: scores.engine(name) for name in (scores.BASE, "torch float64", "numba float32")}
    rows = scores.rows_of_score(problem, "proposed", contestants, 3, suite="scores")
    base = base_of(rows)
    assert base.contestant == scores.BASE
    assert base.error == 0
    assert base.facts["ranks equal"]
    assert all(row.error < 100 and row.count == 40 and row.facts[WARM_UP] > 0 for row in rows)
    assert [row.facts["auc equal"] for row in rows[:2]] == [True, True]


def test_an_error_and_a_swap_are_seen(problem):
    class Wrong(NumpyBackend):
        def run_pass(self, *args, **keywords):
            found = super().run_pass(*args, **keywords)
            found["log_prior"] = -found["log_prior"]
            return found

    contestants = {scores.BASE: scores.engine(scores.BASE), "wrong": Wrong()}
    wrong = scores.rows_of_score(problem, "prior", contestants, 3, suite="scores")[1]
    assert wrong.error > 1e12
    assert not wrong.facts["ranks equal"]
    assert not wrong.facts["auc equal"]


def test_equal_auc_does_not_need_equal_ranks():
    want, got, labels = np.array([3.0, 2.0, 1.0]), np.array([2.0, 3.0, 1.0]), np.array([0, 0, 1])
    assert scores.ranks(got, want, labels) == {"auc": 1.0, "auc equal": True, "ranks equal": False}
    assert scores.ranks(got, want, np.array([0, 1, 1]))["auc equal"] is False


@pytest.mark.skipif(not has_peak_memory(), reason="no /proc/self/clear_refs on this system")
def test_peak_memory_grows_with_the_table(problem):
    large = problem._replace(x=np.resize(problem.x, (60_000, 4)))
    assert scores.peak_memory(large, "prior", scores.BASE) > 60_000 * 32 * 8 / 2**20  # a hidden layer of 32


def test_the_quick_datasets_take_the_embedded_one(monkeypatch):
    monkeypatch.setattr(datasets, "engines", lambda quick: ({scores.BASE: scores.engine(scores.BASE)}, []))
    overview = datasets.data.overview().assign(here=False)
    monkeypatch.setattr(datasets.data, "overview", lambda: overview)
    rows, missing = datasets.dataset_rows(quick=True)
    assert [row.work for row in rows] == ["breast-cancer: reconstruction", "breast-cancer: proposed"]
    assert len(missing) == 10
    assert all(0.5 < row.facts["auc"] <= 1 for row in rows)


def test_slow_scores_take_some_of_the_rows(problem):
    few = datasets.thinned(problem._replace(labels=np.arange(40)), 10)
    assert few.labels[[0, -1]].tolist() == [0, 39]
    assert len(few.x) == 10
    np.testing.assert_array_equal(few.x, problem.x[few.labels])
    assert datasets.thinned(problem, 40) is problem


def test_a_sweep_varies_one_size(monkeypatch):
    monkeypatch.setattr(limits, "BACKENDS", ("numba float32", "numpy float64"))
    sweeps = {("log_volume", "n"): (10, 20, 40), ("proposed", "d"): (5,), ("mmd_imq", "n"): (10, 2000)}
    monkeypatch.setattr(limits, "QUICK", sweeps)
    rows, _ = limits.scaling_rows(quick=True)
    points = [
        (row.facts["sweep"], row.facts["size"], row.count) for row in rows if row.contestant == "numpy float64"
    ]
    assert points == [
        ("n of log_volume", 10, 10), ("n of log_volume", 20, 20), ("n of log_volume", 40, 40),
        ("d of proposed", 5, 1000), ("n of mmd_imq", 10, 300),
    ]  # fmt: skip
    assert rows[-3].count == 3 * 2000**2, "NumPy sits out, numba does not"
    bandwidth, product = rows[-2:]
    assert 1e8 < bandwidth.rate < 1e13, "bytes a second"
    assert 1e7 < product.rate < 1e15, "multiply-adds a second"


def test_the_sweeps_reach_ten_million_rows():
    for kernel in ("log_volume", "proposed"):
        assert limits.SWEEPS[kernel, "n"] == tuple(10**power for power in range(2, 8))
    assert {axis for _, axis in limits.SWEEPS} == set("ndhk")


@pytest.mark.julia
@pytest.mark.skipif(not has_peak_memory(), reason="no /proc/self/clear_refs on this system")
@pytest.mark.skipif(available_backends()["julia"] is not None, reason="no Julia on this machine")
@pytest.mark.parametrize("name", ["prior", "corrected"])  # the second is NumPy's alone: no worker starts
def test_peak_memory_with_julia(problem, name):
    assert scores.peak_memory(problem, name, "julia float64") >= 0


@pytest.mark.julia
@pytest.mark.skipif(available_backends()["julia"] is not None, reason="no Julia on this machine")
def test_both_julia_routes_agree_and_are_different_calls(problem, monkeypatch):
    loop, julia = scores.engine("julia loop float64"), scores.engine("julia float64")
    z = problem.fitted.model.encode(problem.x)[0]
    for convention in (EXACT, ORIGINAL):
        got, want = (b.decoder_log_volume(problem.fitted.model, z, convention=convention) for b in (loop, julia))
        np.testing.assert_allclose(got, want, rtol=1e-12)
    routes = []
    monkeypatch.setattr(loop, "call", lambda *_, **keywords: routes.append(keywords["route"]))
    loop.decoder_log_volume(problem.fitted.model, z)
    loop.encoder_log_volume(problem.fitted.model, problem.x)
    assert routes == ["loop", "loop"]
    julia.close()
