"""Datasets, splits, files of the user's own."""

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyscore.convention import ORIGINAL
from pyscore.data import datasets as data
from pyscore.data.tables import features, read_table, split_labels, write_table
from pyscore.errors import DataIntegrityError, DataUnavailable, InvalidInput

NEAR = Path(__file__).parents[2] / "shared" / "loda"
LODA = Path(os.environ.get("PYSCORE_DATA") or NEAR)
needs_loda = pytest.mark.skipif(not LODA.is_dir(), reason="needs the LODA files (PYSCORE_DATA or ../shared/loda)")


@pytest.fixture
def toy():
    rng = np.random.default_rng(0)
    return data.Dataset("toy", rng.normal(size=(105, 3)), rng.normal(3, 1, size=(50, 3)), ("a", "b", "c"))


def test_split_protocol(toy):
    """80/20 with round-half-to-even, contamination ceil(0.1·n/0.95), test anomalies all kept, no row twice."""
    split = toy.split(0)
    n = round(0.8 * 105)
    kept = math.ceil(0.1 * n / 0.95)
    assert (len(split.x_train), int(split.y_train.sum())) == (n + kept, kept)
    assert (len(split.x_test), int(split.y_test.sum())) == (105 - n + 10, 10)
    raw = split.standardiser
    rows = np.concatenate([split.x_train, split.x_test]) * raw.deviation + raw.mean
    everything = np.concatenate([toy.normal, toy.anomalous])
    distance = np.abs(rows[:, None] - everything[None]).max(axis=2)
    assert (distance.min(axis=1) < 1e-12).all()
    assert len(set(distance.argmin(axis=1))) == len(rows)


def test_split_is_numpys_default_generator(toy):
    rng = np.random.default_rng(3)
    normal = rng.permutation(toy.normal)
    split = toy.split(3)
    np.testing.assert_allclose(
        split.x_train[:84] * split.standardiser.deviation + split.standardiser.mean, normal[:84]
    )


def test_standardisation_by_convention(toy):
    exact, original = toy.split(0), toy.split(0, convention=ORIGINAL)
    np.testing.assert_allclose(exact.x_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(exact.x_train.std(axis=0, ddof=1), 1)
    everything = np.concatenate([toy.normal, toy.anomalous])
    np.testing.assert_allclose(original.standardiser.mean, everything.mean(axis=0))


@pytest.mark.parametrize(("n", "train"), [(12, 10), (13, 10), (5, 4), (7, 6), (2, 2)])
def test_rounding_is_half_to_even(n, train):
    rows = np.arange(2.0 * n).reshape(n, 2)
    d = data.Dataset("tiny", rows, rows[:3] + 0.5, ("a", "b"))
    assert (d.split(0).y_train == 0).sum() == train == round(0.8 * n)


def test_the_embedded_data_need_no_network():
    d = data.load_dataset("breast-cancer")
    assert d.normal.shape == (357, 30)
    assert d.anomalous.shape == (212, 30)


def test_unknown_names():
    with pytest.raises(InvalidInput, match="`dataset` must be one of 'breast-cancer-wisconsin', .*; got 'iris'"):
        data.load_dataset("iris")
    with pytest.raises(
        InvalidInput, match="breast-cancer-wisconsin has no very_hard anomalies; it has easy, medium"
    ):
        data.load_dataset("breast-cancer-wisconsin", "very_hard")


def test_no_network_names_both_ways_out(tmp_path, monkeypatch):
    import pooch

    def offline(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.delenv("PYSCORE_DATA", raising=False)
    monkeypatch.setattr("pyscore.data.datasets.user_cache", lambda: tmp_path)
    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(DataUnavailable, match=r"pyscore data fetch yeast.*set PYSCORE_DATA"):
        data.load_dataset("yeast")
    assert not list(tmp_path.rglob("*.txt"))


def test_download_asks_for_the_pinned_commit_and_hash(tmp_path, monkeypatch):
    import pooch

    asked = []
    monkeypatch.delenv("PYSCORE_DATA", raising=False)
    monkeypatch.setattr("pyscore.data.datasets.user_cache", lambda: tmp_path)
    monkeypatch.setattr(pooch, "retrieve", lambda url, known_hash, **rest: asked.append((url, known_hash, rest)))
    data.fetch("haberman")
    assert len(asked) == 6
    url, known_hash, rest = asked[0]
    assert "/vitskvara/UCI.jl/ef9bfb15f2ada7c90b810eb8c84c99110c688da5/loda/haberman/" in url
    assert known_hash.startswith("sha256:")
    assert len(known_hash) == 71
    assert (
        rest["path"] == tmp_path / "pyscore" / "loda" / "haberman"
        or rest["path"] == tmp_path / "loda" / "haberman"
    )


def test_a_wrong_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSCORE_DATA", str(tmp_path))
    (tmp_path / "yeast").mkdir()
    for file in data._registry()["datasets"]["yeast"]:
        (tmp_path / "yeast" / file).write_text("1 2 3\n")
    with pytest.raises(DataIntegrityError, match=r"is not the paper's file: its SHA-256 is [0-9a-f]{16}…, not"):
        data.load_dataset("yeast")


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSCORE_DATA", str(tmp_path))
    with pytest.raises(DataUnavailable, match=r"yeast/\w+.txt is not in PYSCORE_DATA=.*unset PYSCORE_DATA"):
        data.load_dataset("yeast")


def test_registry_matches_the_design():
    registry = json.loads((Path(data.__file__).parent / "loda.json").read_text())
    assert registry["commit"] == "ef9bfb15f2ada7c90b810eb8c84c99110c688da5"
    assert tuple(registry["datasets"]) == data.DATASETS
    widths = {name: files["normal.txt"]["columns"] for name, files in registry["datasets"].items()}
    assert widths["breast-cancer-wisconsin"] == 30
    assert widths["haberman"] == 3
    assert data.overview()["dataset"].tolist() == [*data.DATASETS, "breast-cancer"]


@needs_loda
@pytest.mark.parametrize("name", data.DATASETS)
def test_the_ten(name, monkeypatch):
    monkeypatch.setenv("PYSCORE_DATA", str(LODA))
    d = data.load_dataset(name)
    entry = data._registry()["datasets"][name]
    assert d.normal.shape == (entry["normal.txt"]["rows"], entry["normal.txt"]["columns"])
    assert len(d.anomalous) == entry["easy.txt"]["rows"]
    split = d.split(0)
    assert np.isfinite(split.x_train).all()
    assert set(split.y_test) == {0, 1}


@needs_loda
def test_haberman_has_one_test_anomaly(monkeypatch):
    monkeypatch.setenv("PYSCORE_DATA", str(LODA))
    split = data.load_dataset("haberman").split(0)
    assert (int(split.y_train.sum()), int(split.y_test.sum())) == (3, 1)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_round_trip(tmp_path, suffix):
    frame = pd.DataFrame({"a": [0.1, 1 / 3], "b": [1e-300, 2.0]})
    write_table(tmp_path / f"t{suffix}", frame)
    pd.testing.assert_frame_equal(read_table(tmp_path / f"t{suffix}"), frame, check_exact=True)
    assert [p.name for p in tmp_path.iterdir()] == [f"t{suffix}"]


@pytest.mark.parametrize(
    ("content", "name", "error", "match"),
    [
        (None, "gone.csv", DataUnavailable, "there is no file"),
        (b"a,b\n", "empty.csv", InvalidInput, "is empty: 0 rows"),
        (b"", "nothing.csv", InvalidInput, "is empty: it has no header and no row"),
        (b"PAR1 not really", "bad.parquet", InvalidInput, "cannot parse .*damaged"),
        (b"x", "table.xlsx", InvalidInput, "must end in .parquet, .pq, .csv, .tsv"),
    ],
)
def test_bad_tables(tmp_path, content, name, error, match):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=match):
        read_table(tmp_path / name)


def test_labels():
    frame = pd.DataFrame({"a": [1.0, 2.0], "y": [0, 1]})
    rest, labels = split_labels(frame, "y")
    assert list(rest.columns) == ["a"]
    assert labels.tolist() == [0, 1]
    with pytest.raises(InvalidInput, match="`label` must name a column; got 'z'. There are a, y"):
        split_labels(frame, "z")
    with pytest.raises(InvalidInput, match=r"column 'a' must hold 0 \(normal\) and 1 \(anomaly\)"):
        split_labels(frame, "a")


def test_features():
    frame = pd.DataFrame({"a": [1, 2], "b": [True, False], "c": pd.array([1.5, None], dtype="Float64")})
    x, names = features(frame[["a", "b"]])
    assert x.dtype == np.float64
    assert names == ("a", "b")
    np.testing.assert_array_equal(features(frame, ["b", "a"])[0], [[1, 1], [0, 2]])
    with pytest.raises(InvalidInput, match="got NaN at row 1, column c"):
        features(frame)
    with pytest.raises(InvalidInput, match=r"lacks the column\(s\) d. It has a, b, c"):
        features(frame, ["a", "d"])
    text = frame.assign(b=["x", "y"])
    with pytest.raises(InvalidInput, match="column 'b' must hold numbers; got dtype .*first value 'x'"):
        features(text)


def test_fetch_of_a_good_folder_reads_and_writes_nothing_else(tmp_path, monkeypatch):
    """A registry with one file, so that the check of the hash is seen to pass, too."""
    content = b"1 2\n3 4\n"
    registry = {"datasets": {"yeast": {"normal.txt": {"sha256": hashlib.sha256(content).hexdigest()}}}}
    monkeypatch.setattr(data, "_registry", lambda: registry)
    monkeypatch.setenv("PYSCORE_DATA", str(tmp_path))
    (tmp_path / "yeast").mkdir()
    (tmp_path / "yeast" / "normal.txt").write_bytes(content)
    assert data.fetch("yeast") == tmp_path / "yeast"
