"""Tables streamed from disk: the same bits whatever the format, the blocks, the threads and the interruptions."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv, feather

from pyscore.backends import get_backend, numba_
from pyscore.cli.app import main
from pyscore.convention import EXACT, ORIGINAL
from pyscore.data import table_files as sources
from pyscore.data import text_tables
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.errors import DataUnavailable, InvalidInput, NumericalWarning, OutOfMemory
from pyscore.kernels.cpu.standardise import standardise, standardise_rows
from pyscore.reference.model import SVAE
from pyscore.scoring import growing_file as joined
from pyscore.scoring import stream as streaming
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.prepared_rows import standardised_rows
from pyscore.scoring.resumable_output import open_parts
from pyscore.scoring.stream import score_files

COLUMNS = ("a", "b", "c")
ROWS = 5000


def small(columns=COLUMNS, medians=None):
    d = len(columns)
    rng = np.random.default_rng(5)
    scaler = Standardiser(rng.normal(size=d), rng.uniform(0.5, 2, size=d), tuple(columns))
    return FittedModel(
        SVAE.initialise(d, 2, 4, 2, seed=3), scaler, EXACT, {}, imputer=medians and Imputer(np.array(medians))
    )


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=list("abc"))
    frame["id"] = [f"row {i}" for i in range(ROWS)]
    return frame


@pytest.fixture(scope="module")
def expected(frame):
    return small().scores(frame, ["proposed"], backend="numba")["proposed"].to_numpy()


def written(path):
    """The column `proposed` of a result of any kind."""
    if path.is_dir():
        return pd.concat([pd.read_parquet(p) for p in sorted(path.iterdir())])["proposed"].to_numpy()
    read = {".parquet": pd.read_parquet, ".csv": pd.read_csv, ".arrow": feather.read_feather}[path.suffix]
    return read(path)["proposed"].to_numpy()


# ── the kernel ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("n", [0, 1, 7, 8, 127, 129, 300])
@pytest.mark.parametrize("out", [np.float32, np.float64])
def test_columns_are_standardised_to_the_bit(rng, n, out):
    d = 5
    columns = [rng.normal(size=n).astype(np.float32 if j % 2 else np.float64) for j in range(d)]
    mean, deviation = rng.normal(size=d), rng.uniform(0.1, 3, size=d)
    rows = np.full((n, d), np.nan, out)
    assert standardise(columns, mean, deviation, rows)
    want = (np.stack([c.astype(np.float64) for c in columns], axis=1) - mean) / deviation
    np.testing.assert_array_equal(rows, want.astype(out))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e101, -1e20])
@pytest.mark.parametrize("place", [(0, 0), (127, 1), (128, 0), (149, 1)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_one_bad_entry_is_noticed(rng, value, place, kind):
    columns = [rng.normal(size=150).astype(kind) for _ in range(2)]
    rows, bounds = np.empty((150, 2), np.float32), {"limit": 1e100, "largest": 1e15}
    assert standardise(columns, np.zeros(2), np.ones(2), rows, **bounds)
    with np.errstate(over="ignore"):
        columns[place[1]][place[0]] = value
    assert not standardise(columns, np.zeros(2), np.ones(2), rows, **bounds)


@pytest.mark.parametrize("n", [0, 1, 127, 129, 20_000])
@pytest.mark.parametrize("out", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rows_are_standardised_to_the_bit(rng, n, out, kind):
    x, mean, deviation = rng.normal(size=(n, 5)).astype(kind), rng.normal(size=5), rng.uniform(0.1, 3, size=5)
    rows = np.full((n, 5), np.nan, out)
    assert standardise_rows(x, mean, deviation, rows)
    np.testing.assert_array_equal(rows, ((x.astype(np.float64) - mean) / deviation).astype(out))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e101, -1e20])
@pytest.mark.parametrize("place", [(0, 0), (127, 1), (128, 0), (149, 1), (19_999, 1)])
def test_one_bad_entry_of_a_row_is_noticed(rng, value, place):
    x, rows, bounds = (
        rng.normal(size=(20_000, 2)),
        np.empty((20_000, 2), np.float32),
        {"limit": 1e100, "largest": 1e15},
    )
    x[place] = value
    assert not standardise_rows(x, np.zeros(2), np.ones(2), rows, **bounds)


@pytest.mark.parametrize("layout", ["C", "F", "strided", "read-only"])
def test_tables_in_memory_have_the_bits_of_the_plain_path(rng, layout):
    """Compiled standardisation and NumPy's, whatever the layout; and errors that name the entry."""
    x = rng.normal(3, 2, size=(700, 3))
    x = {"F": np.asfortranarray(x), "strided": np.repeat(x, 2, axis=1)[:, ::2]}.get(layout, x)
    x.flags.writeable = layout != "read-only"
    model = small()
    z = model.standardiser.transform(x)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(model.standardiser.for_scores(x, dtype, compiled=True), z.astype(dtype))
    for value, message in ((np.nan, "got NaN at row 500, column b"), (1e17, r"standardised.*row 500, column b")):
        bad = x.copy()
        bad[500, 1] = value
        with pytest.raises(InvalidInput, match=message):
            model.standardiser.for_scores(bad, np.float32, compiled=True)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.int16(), pa.bool_(), pa.decimal128(30, 2)])
@pytest.mark.parametrize("gap", [False, True])
def test_slices_of_columns_are_read_from_their_offset(kind, gap):
    """Arrow's slices share buffers and bitmaps with what they were cut from."""
    whole = pa.array([None if gap and i == 2 else i % 2 for i in range(50)], pa.int64()).cast(kind)
    batch, float32 = pa.RecordBatch.from_pydict(dict.fromkeys(COLUMNS, whole)), np.dtype(np.float32)
    piece = sources.Block(batch.slice(5, 40), 0, "t.parquet", 5)
    want = np.tile(np.arange(5, 45)[:, None] % 2, 3)
    want = ((want - small().standardiser.mean) / small().standardiser.deviation).astype(np.float32)
    np.testing.assert_array_equal(standardised_rows(piece, small(), None, float32), want)
    if gap:
        with pytest.raises(InvalidInput, match=r"column 'a' of 't.parquet', row 2 .* is missing or NaN"):
            standardised_rows(sources.Block(batch, 0, "t.parquet", 0), small(), None, float32)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", [0, 1, 700, 1299])
def test_a_gap_in_a_slice_is_named_by_its_row_in_the_file(kind, column, row):
    """A null's value may be anything: the bitmap decides, from its own offset."""
    table = {name: pa.array(np.ones(1400), kind) for name in COLUMNS}
    table[column] = pa.array([None if i == row + 100 else 1.0 for i in range(1400)], kind)
    piece = sources.Block(pa.RecordBatch.from_pydict(table).slice(100), 0, "t.parquet", 5100)
    with pytest.raises(InvalidInput, match=rf"column '{column}' of .* row {5100 + row} .* is missing or NaN"):
        standardised_rows(piece, small(), None, np.dtype(np.float32))


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────


def as_parquet(frame, path):
    frame.to_parquet(path, row_group_size=1300)


def as_csv(frame, path):
    frame.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")


def as_arrow(frame, path):
    feather.write_feather(frame, path, chunksize=1100)


def as_stream(frame, path):
    table = pa.Table.from_pandas(frame)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=900)


FORMATS = {
    "t.parquet": as_parquet, "t.csv": as_csv, "t.tsv": as_csv, "t.csv.gz": as_csv, "t.feather": as_arrow,
    "t.arrows": as_stream,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("target", ["out.parquet", "out.csv", "out.arrow", "out/"])
def test_every_format_gives_the_same_bits(tmp_path, frame, expected, name, target):
    FORMATS[name](frame[["id", "c", "b", "a"]], tmp_path / name)  # columns are found by name
    result = score_files(small(), tmp_path / name, f"{tmp_path}/{target}", block_rows=1024)
    assert (result.rows, result.resumed) == (ROWS, 0)
    np.testing.assert_array_equal(written(result.path), expected)
    assert sorted(os.listdir(tmp_path)) == sorted([name, target.rstrip("/")])


def test_a_folder_in_natural_order_and_a_pattern(tmp_path, frame, expected):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    as_parquet(frame[:2000], folder / "part.2.parquet")
    as_csv(frame[2000:3000], folder / "part.10.csv")
    as_arrow(frame[3000:], folder / "part.11.feather")
    (folder / "_SUCCESS").touch()
    (folder / ".hidden.parquet").write_bytes(b"junk")
    score_files(small(), folder, tmp_path / "out.parquet")
    np.testing.assert_array_equal(written(tmp_path / "out.parquet"), expected)
    score_files(small(), str(folder / "part.*.parquet"), tmp_path / "two.parquet")
    np.testing.assert_array_equal(written(tmp_path / "two.parquet"), expected[:2000])


@pytest.mark.parametrize("kind", ["float32", "int8", "uint16", "int64", "bool"])
def test_other_numbers_are_converted(tmp_path, kind):
    values = pd.DataFrame({c: np.arange(300) % (2 if kind == "bool" else 7 + j) for j, c in enumerate(COLUMNS)})
    values.astype(kind).to_parquet(tmp_path / "t.parquet")
    score_files(small(), tmp_path / "t.parquet", tmp_path / "out.parquet")
    want = small().scores(values.astype(float), ["proposed"], backend="numba")["proposed"]
    np.testing.assert_array_equal(written(tmp_path / "out.parquet"), want)


def test_decimals_and_dictionaries_are_converted(tmp_path):
    a = [Decimal("1.25"), Decimal("-3.50"), Decimal("7.00")]
    b = pa.array([1.5, 2.5, 1.5]).dictionary_encode()
    table = pa.table(
        {"a": pa.array(a), "b": b, "c": [True, False, True], "id": pa.array(["x", "y", "x"]).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    score_files(small(), tmp_path / "t.parquet", tmp_path / "out.csv", keep=["id"])
    frame = pd.DataFrame({"a": [1.25, -3.5, 7.0], "b": [1.5, 2.5, 1.5], "c": [1.0, 0.0, 1.0]})
    want = small().scores(frame, ["proposed"], backend="numba")["proposed"]
    out = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_array_equal(out["proposed"], want)
    assert list(out["id"]) == ["x", "y", "x"]


# ── the same bits ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("rows", "threads"), [(1024, 1), (1024, 3), (3072, 2), (100_000, 2)])
def test_blocks_and_threads_do_not_change_a_byte(tmp_path, frame, expected, rows, threads, monkeypatch):
    monkeypatch.setattr(streaming, "PART_ROWS", 1500)
    as_parquet(frame, tmp_path / "t.parquet")
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    score_files(small(), tmp_path / "t.parquet", one, block_rows=1024, threads=1, keep=["id"])
    score_files(small(), tmp_path / "t.parquet", two, block_rows=rows, threads=threads, keep=["id"])
    assert one.read_bytes() == two.read_bytes()
    out = pd.read_parquet(two)
    np.testing.assert_array_equal(out["proposed"], expected)
    assert list(out["id"]) == list(frame["id"])


@pytest.mark.parametrize("kinds", [("float32",), ("float64",), ("float32", "float64", "int32")])
def test_the_bits_are_those_of_the_rows_in_memory(tmp_path, kinds):
    """Thirty columns, as the default architecture has them, in row groups and pages that no block fits."""
    names = tuple(f"x{i}" for i in range(30))
    rng = np.random.default_rng(7)
    values = pd.DataFrame(
        {name: (3 * rng.normal(size=4000)).astype(kinds[i % len(kinds)]) for i, name in enumerate(names)}
    )
    pq.write_table(pa.Table.from_pandas(values), tmp_path / "t.parquet", row_group_size=1777, data_page_size=2000)
    score_files(small(names), tmp_path / "t.parquet", tmp_path / "o.parquet", block_rows=1024, threads=2)
    want = small(names).scores(values, ["proposed"], backend="numba")["proposed"]
    np.testing.assert_array_equal(written(tmp_path / "o.parquet"), want)


def test_models_and_conventions_that_take_turns_keep_to_their_own_prior(frame):
    """The components of a prior are kept between blocks."""
    models = [small().model, SVAE.initialise(3, 2, 4, 2, seed=8)]
    x, wanted = frame[list("abc")].to_numpy(np.float32)[:40], frozenset({"log_prior", "decoder_log_volume"})
    shared = get_backend("numba")
    for _ in range(2):
        for model in models:
            for convention in (EXACT, ORIGINAL):
                alone = numba_.create(None, None).run_pass(model, x, wanted, convention=convention)["log_prior"]
                kept = shared.run_pass(model, x, wanted, convention=convention)["log_prior"]
                np.testing.assert_array_equal(kept, alone)


# ── reading ahead ────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_read_ahead_comes_in_order_and_is_bounded():
    made = []
    items = (made.append(i) or i for i in range(1, 50))
    ahead = streaming._ahead(items, 3)
    taken = []
    for item in ahead:
        taken.append(item)
        time.sleep(0.001)
        assert len(made) <= item + 3
    assert taken == list(range(1, 50))


def test_an_error_comes_after_what_was_read_before_it():
    def items():
        yield 1
        yield 2
        raise InvalidInput("row 3")

    ahead = streaming._ahead(items(), 4)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(InvalidInput, match="row 3"):
        next(ahead)


def test_nothing_is_read_once_the_consumer_has_stopped():
    made = []
    ahead = streaming._ahead((made.append(i) or i for i in range(1, 1000)), 2)
    next(ahead)
    ahead.close()
    before = len(made)
    time.sleep(0.02)
    assert len(made) == before <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pyscore-read")]


@pytest.mark.parametrize("where", ["pyscore-read", "pyscore-score", "pyscore-parts"])
def test_a_thread_that_dies_without_a_word_ends_the_run(tmp_path, frame, monkeypatch, where):
    """A MemoryError may strike where a thread of a pool keeps the error of a call: nobody gets it then."""
    from concurrent.futures import thread

    from pyscore._core import waiting

    real, calls = thread._WorkItem.run, []

    def run(self):
        if threading.current_thread().name.startswith(where):
            calls.append(1)
            if len(calls) == 2:
                raise MemoryError
        real(self)

    monkeypatch.setattr(waiting, "LOOK_AGAIN", 0.1)
    monkeypatch.setattr(streaming, "PART_ROWS", 1024)
    monkeypatch.setattr(thread._WorkItem, "run", run)
    as_parquet(frame, tmp_path / "t.parquet")
    with pytest.raises(OutOfMemory, match=rf"a thread of this process \({where}\) ended without its result"):
        score_files(small(), tmp_path / "t.parquet", tmp_path / "o.parquet", threads=2, block_rows=1024)


def test_memory_that_a_reader_lacks_is_not_the_fault_of_the_file(tmp_path, frame, monkeypatch):
    def lacking(*args, **kwargs):
        raise pa.ArrowMemoryError("malloc of size 1600000000 failed")
        yield

    as_parquet(frame, tmp_path / "t.parquet")
    monkeypatch.setattr(sources, "_read_from", lacking)
    with pytest.raises(OutOfMemory, match=r"not enough memory to read '.*t.parquet' \(malloc of size"):
        score_files(small(), tmp_path / "t.parquet", tmp_path / "o.parquet")


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────


def test_parts_are_closed_by_their_bytes_too(tmp_path, frame, expected, monkeypatch):
    monkeypatch.setattr(streaming, "PART_BYTES", 2 * 1024 * 8)
    as_parquet(frame, tmp_path / "t.parquet")
    score_files(small(), tmp_path / "t.parquet", f"{tmp_path}/o/", block_rows=1024)
    assert [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "o").iterdir())] == [2048, 2048, 904]
    np.testing.assert_array_equal(written(tmp_path / "o"), expected)


@pytest.mark.parametrize("target", ["o.parquet", "o/"])
def test_what_is_kept_is_compressed_and_scores_are_not(tmp_path, target):
    columns = numbers(id=["one of", "two"] * 1500, codes=[[1, 2], []] * 1500)
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")

    def compressions(*keep):
        result = score_files(small(), tmp_path / "t.parquet", f"{tmp_path}/{target}", keep=keep)
        path = result.path if result.path.is_file() else next(result.path.iterdir())
        assert pq.read_table(path, columns=list(keep)) == pa.table(columns).select(list(keep))
        group = pq.read_metadata(path).row_group(0)
        path.unlink()
        return [group.column(i).compression for i in range(group.num_columns)]

    assert compressions() == ["UNCOMPRESSED"]
    assert compressions("id", "a") == ["SNAPPY", "UNCOMPRESSED", "UNCOMPRESSED"]
    assert compressions("codes") == ["SNAPPY", "SNAPPY"]


def test_scores_through_blas_do_not_depend_on_blocks_either(tmp_path, frame):
    as_parquet(frame[:1400], tmp_path / "t.parquet")
    names = ["importance", "projected", "latent_reconstruction"]
    outs = []
    for rows in (1024, 4096):
        score_files(small(), tmp_path / "t.parquet", tmp_path / "o.parquet", names, block_rows=rows, seed=4)
        outs.append(pd.read_parquet(tmp_path / "o.parquet"))
    pd.testing.assert_frame_equal(*outs, check_exact=True)
    whole = small().scores(frame[:1400], names, backend="numba", seed=4)
    np.testing.assert_allclose(
        outs[0], whole, rtol=1e-3
    )  # the same estimator; its bits depend on the rows at a time


@pytest.mark.parametrize(
    "names", [("projected", "laplace", "proposed"), ("corrected", "importance")], ids=" ".join
)
def test_scores_of_many_steps_have_the_bits_of_one_table(tmp_path, frame, names):
    """With numba a row's steps and draws depend on nothing but the row: not on blocks, threads or the door."""
    as_parquet(frame[:1400], tmp_path / "t.parquet")
    whole = small().scores(frame[:1400], list(names), backend="numba", seed=4)
    for rows in (1024, 4096):
        score_files(small(), tmp_path / "t.parquet", tmp_path / "o.parquet", names, block_rows=rows, seed=4)
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "o.parquet"), whole, check_exact=True)
    reference = small().scores(frame[:200], list(names), backend="numpy", seed=4)
    close = np.isclose(whole[:200], reference, rtol=1e-3, atol=1e-2)
    assert close.mean(axis=0).min() >= 0.97  # a row with two minima may go to the other in float32


# ── interruptions ────────────────────────────────────────────────────────────────────────────────────────


class Killed(BaseException):
    """Ends a run as a signal does: nothing of pyscore's catches it."""


def run_killed_after(monkeypatch, blocks, *arguments, **options):
    count = 0
    scored = streaming.Scorer.__call__

    def counted(self, block):
        nonlocal count
        count += 1
        if count > blocks:
            raise Killed
        return scored(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(streaming.Scorer, "__call__", counted)
        with pytest.raises(Killed):
            score_files(*arguments, threads=1, **options)


@pytest.mark.parametrize("source", ["t.parquet", "t.csv", "t.feather", "folder"])
@pytest.mark.parametrize("blocks", [1, 3, 4])
def test_a_stopped_run_goes_on_where_it_was(tmp_path, frame, monkeypatch, source, blocks):
    monkeypatch.setattr(streaming, "PART_ROWS", 1024)
    if source == "folder":
        (tmp_path / source).mkdir()
        as_csv(frame[:1500], tmp_path / source / "1.csv")
        as_parquet(frame[1500:], tmp_path / source / "2.parquet")
    else:
        FORMATS[source](frame, tmp_path / source)
    options = {"block_rows": 1024, "keep": ["id"]}
    score_files(small(), tmp_path / source, tmp_path / "whole.parquet", **options)
    target = tmp_path / "out.parquet"
    run_killed_after(monkeypatch, blocks, small(), tmp_path / source, target, **options)
    assert not target.exists()
    result = score_files(small(), tmp_path / source, target, **options)
    assert result.resumed > 0
    assert result.restarted is None
    assert target.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not (tmp_path / ".out.parquet.parts").exists()


@pytest.mark.parametrize("suffix", joined.WRITERS)
def test_empty_chunks_of_a_column_leave_no_trace(tmp_path, suffix):
    chunks = pa.chunked_array([[], [1.0], [], [2.0], []], pa.float64())
    file = joined.Joined(tmp_path / f"out{suffix}", suffix, pa.schema([("a", pa.float64())]))
    file.add(pa.table({"a": chunks}))
    file.finish()
    read = {".parquet": pq.read_table, ".csv": csv.read_csv}.get(suffix, feather.read_table)
    assert read(tmp_path / f"out{suffix}").to_pydict() == {"a": [1.0, 2.0]}


@pytest.mark.parametrize("call", [1, 3, 5])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow"])
def test_a_disk_that_is_full_while_the_result_grows(tmp_path, frame, monkeypatch, call, suffix):
    monkeypatch.setattr(streaming, "PART_ROWS", 1024)
    source, target, whole = tmp_path / "t.parquet", tmp_path / f"out.{suffix}", tmp_path / f"whole.{suffix}"
    as_parquet(frame, source)
    score_files(small(), source, whole, block_rows=1024)
    original, calls = joined.Joined.add, []

    def full(self, table):
        calls.append(1)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "no space left on device")
        original(self, table)

    with monkeypatch.context() as patch:
        patch.setattr(joined.Joined, "add", full)
        with pytest.raises(OSError, match="no space left"):
            score_files(small(), source, target, block_rows=1024)
    assert not target.exists()
    (tmp_path / f".out.{suffix}.parts" / "joined.tmp").write_bytes(b"what kill -9 leaves")
    assert score_files(small(), source, target, block_rows=1024).resumed > 0
    assert target.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["t.parquet", target.name, whole.name])


def test_another_run_starts_anew_and_says_why(tmp_path, frame, monkeypatch):
    monkeypatch.setattr(streaming, "PART_ROWS", 1024)
    source, target = tmp_path / "t.parquet", tmp_path / "out.parquet"
    as_parquet(frame, source)

    def result_of(**changes):
        run_killed_after(monkeypatch, 3, small(), source, target, block_rows=1024)
        result = score_files(**{"fitted": small(), "source": source, "target": target} | changes)
        assert result.resumed == 0
        return result.restarted

    assert result_of(seed=1) == "its seed differ"
    assert result_of(fitted=small(medians=[0, 0, 0])) == "its model differ"
    assert result_of(names=["prior"]) == "its scores differ"
    assert result_of(keep=["id"]) == "its keep differ"
    run_killed_after(monkeypatch, 3, small(), source, target, block_rows=1024)
    as_parquet(frame[::-1], source)
    assert score_files(small(), source, target).restarted == "its input differ"


def test_a_damaged_part_is_done_again(tmp_path, frame, expected, monkeypatch):
    monkeypatch.setattr(streaming, "PART_ROWS", 1024)
    source, target = tmp_path / "t.parquet", tmp_path / "out.parquet"
    as_parquet(frame, source)
    run_killed_after(monkeypatch, 4, small(), source, target, block_rows=1024)
    part = next((tmp_path / ".out.parquet.parts").glob("part-000001-*.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    result = score_files(small(), source, target, block_rows=1024)
    assert result.resumed == 1024
    np.testing.assert_array_equal(written(target), expected)


CHILD = """if True:
    import sys, time
    from pyscore.scoring import stream as streaming
    from pyscore.scoring.fitted import FittedModel
    streaming.PART_ROWS = 1024
    def slow(parts, blocks, tell):
        def slowly():
            for number, block in enumerate(blocks):
                if number == 3:
                    time.sleep(3600)  # two parts are on the disk; the parent kills it here
                yield block
        write(parts, slowly(), tell)
    write, streaming._write = streaming._write, slow
    streaming.score_files(FittedModel.load(sys.argv[1]), sys.argv[2], sys.argv[3], block_rows=1024)
"""


def test_killed_by_the_system_while_a_second_run_waits(tmp_path, frame, expected):
    """kill -9 leaves parts and no lock; until then a second run is told who is at work."""
    model, source, target = tmp_path / "m.safetensors", tmp_path / "t.parquet", tmp_path / "out.parquet"
    small().save(model)
    as_parquet(frame, source)
    child = subprocess.Popen([sys.executable, "-c", CHILD, model, source, target])
    try:
        folder = tmp_path / ".out.parquet.parts"
        while len(list(folder.glob("part-*"))) < 2:
            assert child.poll() is None, "the child ended"
            time.sleep(0.01)
        with pytest.raises(InvalidInput, match=rf"another run is writing .*out.parquet.*process {child.pid} on "):
            score_files(small(), source, target)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not target.exists()
    result = score_files(small(), source, target, block_rows=1024)
    assert result.resumed >= 2048
    np.testing.assert_array_equal(written(target), expected)


def test_an_input_that_changes_under_way_is_no_result(tmp_path, frame, monkeypatch):
    source, target = tmp_path / "t.parquet", tmp_path / "out.parquet"
    as_parquet(frame, source)
    monkeypatch.setattr(sources.InputFile, "unchanged", lambda self: False)
    with pytest.raises(InvalidInput, match=r"t.parquet' changed while it was read"):
        score_files(small(), source, target)
    assert os.listdir(tmp_path) == ["t.parquet"]


def test_targets(tmp_path, frame):
    as_parquet(frame[:100], tmp_path / "t.parquet")
    for target, why in {
        "o.xlsx": r"must end in .parquet, .csv, .arrow, .feather, or in '/' for a folder",
        "none/o.csv": "There is no folder",
        "none/o/": "must lie in an existing folder",
        "full": "'.*full' is not empty. Delete it",
    }.items():
        (tmp_path / "full").mkdir(exist_ok=True)
        (tmp_path / "full" / "x").touch()
        with pytest.raises(InvalidInput, match=why):
            score_files(small(), tmp_path / "t.parquet", f"{tmp_path}/{target}")
    (tmp_path / "empty").mkdir()
    score_files(small(), tmp_path / "t.parquet", tmp_path / "empty")
    assert os.listdir(tmp_path / "empty") == ["part-000000.parquet"]
    assert sorted(os.listdir(tmp_path)) == ["empty", "full", "t.parquet"]


def test_two_runs_in_one_process(tmp_path):
    with open_parts(tmp_path / "o.parquet", {}), pytest.raises(InvalidInput, match=r"another run is writing"):
        open_parts(tmp_path / "o.parquet", {}).__enter__()


# ── what is wrong with a table ───────────────────────────────────────────────────────────────────────────


def refused(tmp_path, table, match, model=None, name="t.parquet", **options):
    path = tmp_path / name
    if isinstance(table, str):
        path.write_text(table)
    else:
        pq.write_table(pa.table(table), path, row_group_size=700)
    with pytest.raises(InvalidInput, match=match):
        score_files(model or small(), path, tmp_path / "o.parquet", block_rows=1024, **options)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith((".o", "o"))] == []


def numbers(n=3000, **columns):
    return {c: np.linspace(-1, 1, n) for c in COLUMNS} | columns


def at(row, value, n=3000, dtype=np.float64):
    out = np.linspace(-1, 1, n).astype(dtype)
    out[row] = value
    return out


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_a_missing_value_is_named_by_file_row_and_column(tmp_path, name):
    table = pa.table(numbers(b=pa.array(at(2500, np.nan), from_pandas=True), c=at(2700, np.nan)))
    if name == "t.csv":
        csv.write_csv(table, tmp_path / name)
        table = (tmp_path / name).read_text()
    place = r"line 2502" if name == "t.csv" else r"row 2500 \(the first row is 0\)"
    cell = r" \(the cell .*\)" if name == "t.csv" else ""
    where = rf"column 'b' of '.*{name}', {place}, is missing or NaN{cell}."
    refused(tmp_path, table, where + r" Drop or fill such rows, or refit with `pyscore fit --impute", name=name)
    hint = where + r" Fill it with --impute median: the model has learnt the medians"
    refused(tmp_path, table, hint, small(medians=[0, 0, 0]), name=name)
    refused(tmp_path, table, r"this model has learnt no medians. Refit it", name=name, impute="median")


def test_the_first_row_is_named_whatever_the_blocks(tmp_path):
    table = numbers(a=at(2999, np.nan), b=at(2100, np.inf), c=at(2200, np.nan))
    refused(tmp_path, table, r"column 'b' of .*, row 2100 .*must be a finite number of at most 1e\+100; got inf")


def test_imputation(tmp_path):
    gaps = numbers(a=at(5, np.nan), b=pa.array(at(1700, np.nan), from_pandas=True), c=pa.array([1, None] * 1500))
    model = small(medians=[0.25, -7, 3])
    pq.write_table(pa.table(gaps), tmp_path / "t.parquet")
    score_files(model, tmp_path / "t.parquet", tmp_path / "o.parquet", impute="median", block_rows=1024)
    frame = pa.table(gaps).to_pandas()
    want = model.scores(frame.fillna({"a": 0.25, "b": -7, "c": 3}), ["proposed"], backend="numba")
    np.testing.assert_array_equal(written(tmp_path / "o.parquet"), want["proposed"])
    np.testing.assert_array_equal(model.scores(frame, ["proposed"], backend="numba", impute="median"), want)


def test_a_column_without_a_value(tmp_path):
    refused(tmp_path, numbers(c=pa.nulls(3000)), r"column 'c' of .*, row 0 .*, is missing or NaN")


def test_values_beyond_float32(tmp_path):
    refused(tmp_path, numbers(c=at(9, 1e101)), r"column 'c' .*row 9 .*of at most 1e\+100; got 1e\+101")
    refused(
        tmp_path,
        numbers(c=at(9, -1e30)),
        r"column 'c' .*row 9 .* is -1e\+30, .* standard deviations .*beyond 1e\+15",
    )


def test_text_is_named_by_row_and_column(tmp_path):
    refused(
        tmp_path,
        numbers(b=["x"] * 3000),
        r"column 'b' of .* must hold numbers; it holds string, the first of them 'x'",
    )
    times = pa.array([0] * 3000, pa.timestamp("s"))
    refused(tmp_path, numbers(b=times), r"column 'b' .* it holds timestamp\[ms\], the first of them datetime")
    early = "a,b,c\n1,2,3\n4,oops,6\n"
    refused(
        tmp_path,
        early,
        r"column 'b' of .*t.csv' must hold numbers; line 3 has 'oops'",
        name="t.csv",
    )


def test_text_far_down_a_csv_file(tmp_path, monkeypatch):
    monkeypatch.setattr(text_tables, "CSV_BYTES", 10_000)
    lines = [f"{i},{i / 7},2.5" for i in range(100_000)]
    lines[90_000], lines[80_000] = "1,2,late", "1,1_000,3"
    text = "\n".join(["a,b,c", *lines])
    refused(
        tmp_path,
        text,
        r"column 'b' .* must hold numbers; line 80002 has '1_000'. Write numbers without",
        name="t.csv",
    )


def test_columns_that_are_missing_or_come_twice(tmp_path):
    refused(tmp_path, {"a": [1.0], "x": [2.0]}, r"t.parquet' lacks the column\(s\) b, c. It has a, x")
    refused(tmp_path, "a,b\n1,2\n", r"t.csv' lacks the column\(s\) c. It has a, b", name="t.csv")
    refused(tmp_path, numbers(), r"lacks the column\(s\) id", keep=["id"])
    refused(tmp_path, "a,b,c,b\n1,2,3,4\n", r"has the column 'b' more than once", name="t.csv")
    refused(
        tmp_path,
        {**numbers(), "prior": np.zeros(3000)},
        r"`keep` has a column 'prior'",
        keep=["prior"],
        names=["prior"],
    )


def test_files_that_cannot_be_read(tmp_path):
    refused(
        tmp_path,
        "a,b,c\n1,2,3\n1,2\n",
        r"line 3 of '.*t.csv' has 2 fields, but the header has 3 fields",
        name="t.csv",
    )
    refused(tmp_path, "", r"the table '.*t.csv' is empty: it has no header", name="t.csv")
    refused(tmp_path, "a,b,c\n", r"is empty: 0 rows", name="t.csv")
    refused(tmp_path, numbers(0), r"is empty: 0 rows")
    refused(tmp_path, "no parquet", r"cannot parse '.*t.parquet'")
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(InvalidInput, match=r"`path` must end in .parquet, .pq, .csv"):
        score_files(small(), tmp_path / "t.xlsx", tmp_path / "o.csv")
    for name in ("none.csv", "none*.csv", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataUnavailable, match=r"no file"):
            score_files(small(), tmp_path / name, tmp_path / "o.csv")


def test_singular_rows_are_counted_once(tmp_path):
    one = small()
    flat = one.model.parameters()
    flat["decoder.3.weight"] = np.zeros_like(flat["decoder.3.weight"])
    one = FittedModel(SVAE.from_parameters(flat), one.standardiser, EXACT)
    pq.write_table(pa.table(numbers()), tmp_path / "t.parquet")
    with pytest.warns(NumericalWarning, match=r"the Jacobian of 3000 of 3000 rows is singular") as caught:
        result = score_files(one, tmp_path / "t.parquet", tmp_path / "o.parquet", block_rows=1024)
    assert len(caught) == 1
    assert result.singular == 3000
    assert (written(tmp_path / "o.parquet") == -np.inf).all()


# ── memory and the command ───────────────────────────────────────────────────────────────────────────────


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Arrow's own count of bytes, which holds everything that is read, at 50,000 and at 400,000 rows."""
    peaks = []
    for n in (50_000, 400_000):
        with pq.ParquetWriter(
            tmp_path / f"{n}.parquet", pa.schema([(c, pa.float64()) for c in COLUMNS])
        ) as writer:
            rng = np.random.default_rng(0)
            for _ in range(n // 50_000):
                writer.write_table(pa.table({c: rng.normal(size=50_000) for c in COLUMNS}))
        pool, seen = pa.default_memory_pool(), []
        score_files(
            small(), tmp_path / f"{n}.parquet", tmp_path / "o.parquet", block_rows=4096, threads=2,
            progress=lambda rows, total, seen=seen, pool=pool: seen.append(pool.bytes_allocated()),
        )  # fmt: skip
        peaks.append(max(seen))
    assert peaks[1] < 1.5 * peaks[0] + 3e6  # the larger one is eight times the smaller


def test_progress_reaches_its_total(tmp_path, frame):
    for name in ("t.parquet", "t.csv", "t.feather", "t.arrows"):
        FORMATS[name](frame, tmp_path / name)
        seen = []
        score_files(
            small(),
            tmp_path / name,
            tmp_path / "o.parquet",
            block_rows=1024,
            progress=lambda *a, seen=seen: seen.append(a),
        )
        assert [rows for rows, _ in seen] == [1024, 2048, 3072, 4096, 5000]
        assert seen[-1][1] == pytest.approx(ROWS, rel=0.01)


def test_the_command(tmp_path, frame, expected, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    small().save("m.safetensors")
    as_parquet(frame, tmp_path / "t.parquet")

    def command(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["score", "m.safetensors", "t.parquet", *arguments])
        return stop.value.code

    assert command("-o", "out.parquet", "--keep", "id", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"scores": "out.parquet", "rows": ROWS, "convention": "EXACT", "backend": "numba"}
    out = pd.read_parquet("out.parquet")
    assert list(out) == ["id", "proposed"]
    np.testing.assert_array_equal(out["proposed"], expected)
    monkeypatch.setattr(streaming, "PART_ROWS", 1024)
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 8 * 3 * 1024)
    run_killed_after(monkeypatch, 3, small(), "t.parquet", "two.parquet", block_rows=1024)
    assert command("-o", "two.parquet") == 0
    assert "note: went on from row 3,072" in capsys.readouterr().err
    assert command("-o", "two.parquet", "--impute", "median") == 2
    assert "Refit it with `pyscore fit --impute median`" in capsys.readouterr().err
