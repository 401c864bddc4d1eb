"""Scores of Dask DataFrames, without a cluster and on one of two processes; files on a cluster."""

import numpy as np
import pandas as pd
import pytest

from pyscore.convention import EXACT
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE
from pyscore.scoring.fitted import FittedModel

dd = pytest.importorskip("dask.dataframe", reason="Dask is not installed")
distributed = pytest.importorskip("distributed", reason="Dask's scheduler is not installed")

from pyscore.scoring.dask import score_dask  # noqa: E402
from pyscore.scoring.stream import score_files  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def small(medians=None):
    scaler = Standardiser(np.array([0.1, -0.2, 0.3]), np.array([1.0, 2.0, 0.5]), ("a", "b", "c"))
    return FittedModel(
        SVAE.initialise(3, 2, 4, 2, seed=3), scaler, EXACT, {}, imputer=medians and Imputer(np.array(medians))
    )


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(3000, 3)), columns=list("cab"))
    frame["id"] = np.arange(3000) * 2
    return frame.set_index(pd.Index(np.arange(3000) + 10, name="n"))


@pytest.fixture(scope="module")
def expected(frame):
    return small().scores(frame, ["proposed", "prior"], backend="numba").set_axis(frame.index)


def test_partitions_keep_index_order_and_bits(frame, expected):
    ddf = dd.from_pandas(frame, npartitions=4)
    out = score_dask(small(), ddf, ["proposed", "prior"], keep=["id"])
    assert out.divisions == ddf.divisions
    assert list(out.columns) == ["id", "proposed", "prior"]
    computed = out.compute(scheduler="synchronous")
    pd.testing.assert_frame_equal(computed, frame[["id"]].join(expected), check_exact=True)
    assert dict(out.dtypes) == dict(computed.dtypes)  # the meta tells the truth
    empty = out[out["id"] < 0].compute(scheduler="synchronous")
    assert dict(empty.dtypes) == dict(computed.dtypes)


def test_an_empty_partition(frame, expected):
    ddf = dd.from_pandas(frame, npartitions=3)
    out = score_dask(small(), ddf[ddf["id"] > 2000], ["proposed"]).compute(scheduler="synchronous")
    np.testing.assert_array_equal(out["proposed"], expected["proposed"][frame["id"] > 2000])


def test_what_is_wrong_is_said_before_anything_is_computed(frame):
    ddf = dd.from_pandas(frame, npartitions=2)
    with pytest.raises(InvalidInput, match=r"the frame lacks the column\(s\) b. It has c, a, id"):
        score_dask(small(), ddf[["c", "a", "id"]])
    with pytest.raises(InvalidInput, match=r"`score` must be one of"):
        score_dask(small(), ddf, "best")
    with pytest.raises(InvalidInput, match=r"this model has learnt no medians"):
        score_dask(small(), ddf, impute="median")
    with pytest.raises(InvalidInput, match=r"`keep` has a column 'prior'"):
        score_dask(small(), ddf.assign(prior=1.0), "prior", keep=["prior"])


def test_labels_of_columns_may_be_integers(frame, expected):
    counted = frame.rename(columns={"a": 0, "b": 1, "c": 2, "id": 3})
    scaler = small().standardiser
    model = FittedModel(small().model, Standardiser(scaler.mean, scaler.deviation, ("0", "1", "2")), EXACT)
    for keep in ([3], ["3"], ["3", "3"]):
        out = score_dask(model, dd.from_pandas(counted, npartitions=2), ["proposed", "proposed"], keep=keep)
        computed = out.compute(scheduler="synchronous")
        assert list(out.columns) == list(computed.columns) == [3, "proposed"]
        np.testing.assert_array_equal(computed[3], frame["id"])
        np.testing.assert_array_equal(computed["proposed"], expected["proposed"])


def test_missing_values_are_named_or_filled(frame):
    gaps = frame.copy()
    gaps.iloc[2000, 0] = np.nan  # column c
    out = score_dask(small(), dd.from_pandas(gaps, npartitions=2))
    with pytest.raises(InvalidInput, match=r"index goes from 1510 to 3009: .* got NaN at row 500, column c"):
        out.compute(scheduler="synchronous")
    filled = score_dask(small([1, 2, 3]), dd.from_pandas(gaps, npartitions=2), impute="median")
    want = small([1, 2, 3]).scores(gaps.fillna({"c": 3.0}), ["proposed"], backend="numba")
    np.testing.assert_array_equal(filled.compute(scheduler="synchronous"), want)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any free port: another run of this test has 8787
        protocol="tcp://",
    ) as cluster:
        yield cluster


def test_on_a_cluster_of_two_processes(cluster, frame, expected, tmp_path, monkeypatch):
    with distributed.Client(cluster):
        out = score_dask(small(), dd.from_pandas(frame, npartitions=4), ["proposed", "prior"]).compute()
    pd.testing.assert_frame_equal(out, expected, check_exact=True)

    monkeypatch.setattr("pyscore.scoring.dask.SPAN_ROWS", 1000)
    (tmp_path / "in").mkdir()
    frame[:2500].to_parquet(tmp_path / "in" / "1.parquet", row_group_size=700)
    frame[2500:].to_csv(tmp_path / "in" / "2.csv", index=False)
    options = {"names": ["proposed", "prior"], "keep": ["id"], "block_rows": 1024}
    score_files(
        small(), tmp_path / "in", tmp_path / "there.parquet", scheduler=cluster.scheduler_address, **options
    )
    score_files(small(), tmp_path / "in", tmp_path / "here.parquet", **options)
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()

    frame.assign(c=np.nan).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(InvalidInput, match=r"column 'c' of .*bad.parquet', row 0 "):
        score_files(small(), tmp_path / "bad.parquet", tmp_path / "o.csv", scheduler=cluster.scheduler_address)


def test_a_scheduler_that_is_not_there(frame, tmp_path, monkeypatch):
    monkeypatch.setattr("pyscore.scoring.dask.PATIENCE", 0.2)
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InvalidInput, match=r"`scheduler` 'tcp://127.0.0.1:9' cannot be reached"):
        score_files(small(), tmp_path / "t.parquet", tmp_path / "o.csv", scheduler="tcp://127.0.0.1:9")
