"""Peers and Parquet at tiny sizes: right, in turns, and what is missing is named."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pyscore import reference
from pyscore.bench import alibi, peers, stream
from pyscore.bench.harness import Elsewhere, has_peak_memory, measure
from pyscore.bench.record import base_of, groups
from pyscore.bench.stream import BARE
from pyscore.errors import BackendUnavailable

FAKE = """
import torch
def squared_pairwise_distance(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(-1)
def mmd2(x, y, kernel):
    n, m = len(x), len(y)
    a, b = kernel(x, x), kernel(y, y)
    return (a.sum() - a.trace()) / (n * (n - 1)) + (b.sum() - b.trace()) / (m * (m - 1)) - 2 * kernel(x, y).mean()
"""


@pytest.fixture
def another_python(tmp_path, monkeypatch):
    """An interpreter with a package that is called like alibi-detect and has the same functions."""
    folder = tmp_path / "alibi_detect" / "utils" / "pytorch"
    folder.mkdir(parents=True)
    (tmp_path / "alibi_detect" / "__init__.py").write_text("print('hello')\n__version__ = '0.0'\n")
    (folder / "distance.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path[1:]]))
    monkeypatch.setenv(alibi.VARIABLE, sys.executable)
    monkeypatch.setattr(alibi.util, "find_spec", lambda _: None)
    return folder


def sphere(n, k, seed):
    z = np.random.default_rng(seed).standard_normal((n, k))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def test_the_worker_computes_mmd_and_times_itself(another_python):
    x, y = sphere(30, 3, 0), sphere(20, 3, 1)
    with alibi.AlibiMMD(1) as contestant:
        value = contestant.take(x, y, 0.1)
        times = measure({"it": contestant}, 3)["it"]
        found = contestant()
    assert contestant.version == "0.0"
    expected = float(reference.mmd_imq(x, y, 0.1))
    assert abs(value - expected) < 20 * np.finfo(np.float32).eps, "three means, each at most 1"
    assert isinstance(found, Elsewhere)
    assert found.value == value
    assert min(times) > 0


def test_a_worker_that_cannot_start_says_why(another_python, monkeypatch):
    (another_python / "distance.py").write_text("raise ImportError('no such thing')")
    with pytest.raises(BackendUnavailable, match="no such thing"):
        alibi.AlibiMMD(1)
    monkeypatch.setenv(alibi.VARIABLE, "/nowhere/python")
    with pytest.raises(BackendUnavailable, match="must name a Python"):
        alibi.interpreter()
    monkeypatch.delenv(alibi.VARIABLE)
    with pytest.raises(BackendUnavailable, match="NumPy below 2"):
        alibi.interpreter()


@pytest.fixture(scope="module")
def small():
    return peers.case("breast-cancer", steps=5)


def test_log_volumes_and_mmd_are_those_of_the_same_rows(small, monkeypatch):
    monkeypatch.setattr(peers, "ROWS", 150)
    monkeypatch.setattr(peers, "PAIRS", 60)
    rows = peers.volume_rows(small, 3) + peers.pair_rows(small, 3)
    found = groups(rows)
    assert [[row.contestant for row in group] for group in found.values()] == [
        ["kernel", "torch.func"],
        ["kernel", "torch dense"],
    ]
    assert all(row.error < 8 and row.facts["dataset"] == "breast-cancer" for row in rows)
    assert [base_of(group).count for group in found.values()] == [150, 3 * 60**2]


def test_pyod_scores_the_same_rows(small):
    pytest.importorskip("pyod")
    rows, missing = peers.scoring_rows(small, 3, 120, epochs=1)
    assert not missing
    assert [row.contestant for row in rows] == [
        "pyscore reconstruction", "pyscore proposed",
        "PyOD AutoEncoder", "PyOD AutoEncoder, batches of 4096", "PyOD VAE", "PyOD VAE, batches of 4096",
    ]  # fmt: skip
    assert all(row.count == 120 and 0.4 < row.facts["auc"] <= 1 and row.facts["training s"] > 0 for row in rows)


def test_parquet_is_scored_like_numpy(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "_peak_memory", lambda *_: 1.0)
    stream.write_parquet(tmp_path / "float32.parquet", 3000, "float32")
    rows = stream._file_rows(tmp_path / "float32.parquet", "float32", 3000, 3, 1)
    assert [row.contestant for row in rows] == ["score_files", "pandas", BARE]
    assert base_of(rows).contestant == "score_files"
    assert all(row.error < 20 for row in rows[:2])
    assert rows[2].target == stream.SHARE


@pytest.mark.skipif(not has_peak_memory(), reason="no /proc/self/clear_refs on this system")
def test_memory_is_that_of_a_process_of_its_own(tmp_path):
    path = tmp_path / "x.parquet"
    stream.write_parquet(path, 100_000, "float64")
    assert stream._peak_memory("pandas", Path(path), 1) > 100_000 * 30 * 8 / 2**20, "it holds the table"
