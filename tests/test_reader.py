"""One reader of tables: the same rows, the same refusals and the same options for every command."""

import bz2
import gzip
import io
import lzma
import os
import warnings
import zipfile
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather

from pyscore.convention import EXACT
from pyscore.data import table_files as sources
from pyscore.data import text_tables
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.data.read_options import ReadOptions, TableNote
from pyscore.data.table_files import find_files, inspect_all
from pyscore.data.tables import read_row, read_rows
from pyscore.errors import DataUnavailable, InvalidInput, PyscoreError
from pyscore.reference.model import SVAE
from pyscore.scoring import stream
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.stream import score_files

NAMES = ("temp", "press", "flow", "load")
ROWS = np.round(np.random.default_rng(0).normal([20, 1000, 0.5, -5], [2, 50, 0.1, 1], (120, 4)), 4)


def text(rows=ROWS, names=NAMES, delimiter=",", decimal=".", end=""):
    lines = [delimiter.join(names)] if names else []
    lines += [delimiter.join(str(v).replace(".", decimal) for v in row) + end for row in rows]
    return "\n".join(lines) + "\n"


@pytest.fixture
def model():
    scaler = Standardiser(ROWS.mean(axis=0), ROWS.std(axis=0), NAMES)
    imputer = Imputer(np.median(ROWS, axis=0))
    return FittedModel(SVAE.initialise(4, 2, 4, 2, seed=3), scaler, EXACT, {}, imputer=imputer)


@pytest.fixture
def write(tmp_path):
    def write(content, name="t.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


def with_cell(line, column, cell):
    lines = text().splitlines()
    fields = lines[line - 1].split(",")
    fields[NAMES.index(column)] = cell
    lines[line - 1] = ",".join(fields)
    return "\n".join(lines) + "\n"


def both_refuse(model, path, match, tmp_path, **options):
    """`fit`'s way and `score`'s way of reading say the same."""
    reading = ReadOptions(**options)
    with pytest.raises(InvalidInput, match=match):
        read_rows(path, options=reading)
    with pytest.raises(InvalidInput, match=match):
        score_files(model, path, tmp_path / "o.parquet", reading=reading, backend="numpy")


# ── kinds of files ───────────────────────────────────────────────────────────────────────────────────────


def zipped(data, name="inner.csv", **more):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
        for other, content in more.items():
            archive.writestr(other, content)
    return out.getvalue()


PACKED = {
    "t.csv": lambda data: data, "t.csv.gz": gzip.compress, "t.csv.bz2": bz2.compress, "t.csv.xz": lzma.compress,
    "t.csv.zip": zipped, "t.zip": zipped, "T.CSV": lambda data: data,
    "t.csv.zst": lambda data: pa.compress(data, "zstd", asbytes=True), "t.csv.lz4": None,
}  # fmt: skip


@pytest.mark.parametrize("name", [*PACKED, "t.tsv", "t.parquet", "t.pq", "t.feather", "t.arrow", "t.ipc"])
def test_every_kind_of_file_gives_the_same_rows(write, tmp_path, name):
    frame = pd.DataFrame(ROWS, columns=NAMES)
    if name == "t.csv.lz4":
        with pa.CompressedOutputStream(str(tmp_path / name), "lz4") as out:
            out.write(text().encode())
    elif name in PACKED:
        write(PACKED[name](text().encode()), name)
    elif name == "t.tsv":
        write(text(delimiter="\t"), name)
    elif name in ("t.parquet", "t.pq"):
        frame.to_parquet(tmp_path / name)
    else:
        feather.write_feather(frame, tmp_path / name)
    rows = read_rows(tmp_path / name)
    assert rows.columns == NAMES
    np.testing.assert_array_equal(rows.x, ROWS)


def test_folders_patterns_and_several_tables_are_read_as_one(write, tmp_path):
    (tmp_path / "in").mkdir()
    write(text(ROWS[:50]), "in/part.2.csv")
    pd.DataFrame(ROWS[50:90], columns=NAMES)[list(NAMES[::-1])].to_parquet(tmp_path / "in/part.10.parquet")
    last = write(text(ROWS[90:]), "last.csv")
    for source in (
        [tmp_path / "in", last],
        [tmp_path / "in/part.2.csv", tmp_path / "in/part.10.parquet", last],
        [str(tmp_path / "in/part.*"), last],
    ):
        np.testing.assert_array_equal(read_rows(source).x, ROWS)
    with pytest.raises(InvalidInput, match=r"last.csv' is named twice"):
        read_rows([last, last])
    with pytest.raises(InvalidInput, match="at least one table"):
        read_rows([])


def test_what_is_no_file_of_a_table_is_refused(write, tmp_path):
    with pytest.raises(DataUnavailable, match="there is no file"):
        find_files(tmp_path / "none.csv")
    with pytest.raises(InvalidInput, match=r"must end in .parquet, .*\.xz, \.zip"):
        find_files(write("x", "t.xlsx"))
    with pytest.raises(InvalidInput, match="must end in"):
        find_files(write(zipped("a,b\n1,2\n", more=b"two"), "two.zip"))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InvalidInput, match="is a pipe or a device"):
        find_files(tmp_path / "pipe.csv")
    with pytest.raises(DataUnavailable, match="holds no table"):
        find_files(str(tmp_path / "pipe*"))


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.xz", "t.csv.bz2", "t.csv.zip"])
def test_a_truncated_file_is_an_error_not_a_shorter_table(write, name):
    data = PACKED[name](text(np.tile(ROWS, (300, 1))).encode())
    with pytest.raises(InvalidInput, match=r"cannot parse|must end in"):
        read_rows(write(data[: len(data) // 2], name))


# ── headers ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_longer_than_the_header_is_refused(model, write, tmp_path):
    path = write(text(end=",7"))
    both_refuse(model, path, r"line 2 of .* has 5 fields, but the header has 4 fields", tmp_path)


@pytest.mark.parametrize("bad", ["1,2,3", "1,2,3,4,5", "1,2,3,4,"])
@pytest.mark.parametrize("line", [2, 7, 30, 60_000])
def test_a_row_of_another_length_is_named_by_its_line(model, write, tmp_path, monkeypatch, bad, line):
    monkeypatch.setattr(text_tables, "CSV_BYTES", 10_000)
    lines = text(np.tile(ROWS, (520, 1))).splitlines()
    lines[line - 1] = bad
    path = write("\n".join(lines))
    match = rf"line {line} of .* has {bad.count(',') + 1} fields, but the header has 4 fields"
    both_refuse(model, path, match, tmp_path)


def test_an_index_without_a_name_is_left_out_with_a_note(model, write, tmp_path):
    plain = write(text(), "plain.csv")
    score_files(model, plain, tmp_path / "plain.parquet", backend="numpy")
    for first in ("", "Unnamed: 0"):
        frame = pd.DataFrame(ROWS, columns=NAMES)
        frame.insert(0, first, np.arange(len(ROWS)))
        path = write(frame.to_csv(index=False))
        with pytest.warns(TableNote, match="the first column of .* numbers the rows, and is left out"):
            rows = read_rows(path)
        assert rows.columns == NAMES
        np.testing.assert_array_equal(rows.x, ROWS)
        with pytest.warns(TableNote, match="the first column of"):
            score_files(model, path, tmp_path / "o.parquet", backend="numpy")
        assert pq.read_table(tmp_path / "o.parquet") == pq.read_table(tmp_path / "plain.parquet")


@pytest.mark.parametrize(
    "notes",
    [b"\xa9", b"{", b"[" * 100_000, b"[1]", b"7", b'{"index_columns": 7}', b'{"index_columns": [7, null]}'],
)
def test_damaged_notes_of_pandas_are_no_index(tmp_path, notes):
    table = pa.table(dict(zip(NAMES, ROWS.T, strict=True))).replace_schema_metadata({b"pandas": notes})
    pq.write_table(table, tmp_path / "t.parquet")
    feather.write_feather(table, tmp_path / "t.arrow", compression="uncompressed")
    for name in ("t.parquet", "t.arrow"):
        assert read_rows(tmp_path / name).columns == NAMES


def test_a_table_that_pandas_wrote_and_read_again_has_several_indices(write):
    frame = pd.DataFrame(ROWS, columns=NAMES)
    frame.insert(0, "Unnamed: 0", np.arange(len(ROWS)))
    frame.insert(0, "Unnamed: 0.1", np.arange(len(ROWS)))
    with pytest.warns(TableNote, match="column of .* numbers the rows, and is left out"):
        assert read_rows(write(frame.to_csv(index=False))).columns == NAMES
    frame.columns = ["Unnamed: 0", "Unnamed: 1", *NAMES]  # the second had no name where it was read: no index
    with pytest.warns(TableNote, match="the first column of"):
        assert read_rows(write(frame.to_csv(index=False))).columns == ("Unnamed: 1", *NAMES)


def test_an_index_that_pandas_wrote_to_parquet_is_no_feature(tmp_path):
    frame = pd.DataFrame(ROWS, columns=NAMES).set_index(pd.Index(np.arange(120) ** 2, name="patient"))
    for name in ("patient", None):
        frame.rename_axis(name).to_parquet(tmp_path / "t.parquet")
        with pytest.warns(TableNote, match="is the index of the rows"):
            assert read_rows(tmp_path / "t.parquet").columns == NAMES


def test_a_column_without_a_name_that_is_no_index_is_refused(write):
    with pytest.raises(InvalidInput, match="column 3 of .* has no name"):
        read_rows(write(text(names=("temp", "press", "", "load"))))
    with pytest.raises(InvalidInput, match="column 1 of .* has no name"):
        read_rows(write(text(names=("", "press", "flow", "load"))))  # measurements, not numbers of rows


@pytest.mark.parametrize("names", [NAMES, (*NAMES, "")])
def test_an_empty_last_column_is_left_out_with_a_note(model, write, tmp_path, names):
    path = write(text(names=names, end=","))
    with pytest.warns(TableNote, match="the last column of .* is empty and has no name"):
        rows = read_rows(path)
    assert rows.columns == NAMES
    np.testing.assert_array_equal(rows.x, ROWS)
    with pytest.warns(TableNote, match="the last column of"):
        score_files(model, path, tmp_path / "o.parquet", backend="numpy")
    lines = text(names=names, end=",").splitlines()
    lines[99] += "7"
    late = write("\n".join(lines), "late.csv")
    match = r"line 100 of .* has 5 fields, but the header has 4 fields"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableNote)
        both_refuse(model, late, match, tmp_path)


def test_a_name_that_comes_twice_is_refused(write, model, tmp_path):
    path = write(text(names=("temp", "press", "temp", "load")))
    with pytest.raises(InvalidInput, match=r"has the column 'temp' more than once"):
        read_rows(path)
    path = write("temp,press,flow,load,x,x\n" + "1,2,3,4,5,6\n" * 3)
    score_files(model, path, tmp_path / "o.parquet", backend="numpy")  # not one of the model's


def test_a_table_without_names(model, write, tmp_path):
    path = write(text(names=()))
    both_refuse(model, path, r"holds nothing but numbers .* --no-header .* --header", tmp_path)
    rows = read_rows(path, options=ReadOptions(header=False))
    assert rows.columns == ("x0", "x1", "x2", "x3")
    np.testing.assert_array_equal(rows.x, ROWS)
    assert read_rows(path, options=ReadOptions(header=True)).x.shape == (119, 4)
    counted = write(text(names=("0", "1", "2", "3")))  # as pandas writes a frame of an array
    assert read_rows(counted).columns == ("0", "1", "2", "3")
    waves = write(text(names=("400", "410", "420", "430")))
    np.testing.assert_array_equal(read_rows(waves, ("430", "400")).x, ROWS[:, [3, 0]])


def test_a_header_longer_than_a_megabyte(write):
    names = [f"a rather long name of a column, number {i}" for i in range(40_000)]
    rows = np.arange(80_000.0).reshape(2, -1)
    path = write(text(rows, [f'"{name}"' for name in names]))
    assert path.stat().st_size > 1 << 21
    read = read_rows(path)
    assert read.columns == tuple(names)
    np.testing.assert_array_equal(read.x, rows)


def test_a_row_longer_than_a_block(model, write, tmp_path, monkeypatch):
    monkeypatch.setattr(text_tables, "CSV_BYTES", 3000)
    monkeypatch.setattr(text_tables, "LOOKED_AT", 2)
    lines = text(names=(*NAMES, "id"), end=",x").splitlines()
    lines[70] = lines[70][:-1] + '"' + "a\nlong, " * 3000 + '"'
    path = write("\n".join(lines))
    score_files(model, path, tmp_path / "o.parquet", keep=["id"], backend="numpy")
    out = pq.read_table(tmp_path / "o.parquet")
    assert out.num_rows == 120
    assert out["id"][69].as_py() == "a\nlong, " * 3000


# ── delimiters, decimals, encodings ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("delimiter", "decimal"), [(";", ","), (";", "."), ("\t", ","), ("|", "."), ("\t", ".")])
def test_another_delimiter_is_recognised_and_said(model, write, tmp_path, delimiter, decimal):
    path = write(text(delimiter=delimiter, decimal=decimal))
    flag = "tab" if delimiter == "\t" else delimiter
    comma = " with decimal commas" if decimal == "," else ""
    match = rf"one column.* It looks like `[{flag}]+`{comma}: pass --delimiter '?[{flag}]+'?"
    both_refuse(model, path, match, tmp_path)
    rows = read_rows(path, options=ReadOptions(delimiter=flag, decimal=decimal))
    np.testing.assert_array_equal(rows.x, ROWS)
    if decimal == ",":
        match = r"column 'temp' of .* line 2 has '[\d,]+'. If the comma is its decimal mark, pass --decimal ','"
        both_refuse(model, path, match, tmp_path, delimiter=flag)


def test_another_encoding_is_said_and_can_be_given(model, write, tmp_path):
    names = ("temp °C", "press", "flow", "load")
    path = write(text(names=names), encoding="latin-1")
    both_refuse(model, path, r"is not text in utf-8: line 1 has the byte 0xb0.* --encoding latin-1", tmp_path)
    assert read_rows(path, options=ReadOptions(encoding="latin-1")).columns == names
    for encoding in ("utf-16", "utf-8-sig"):
        assert read_rows(write(text(names=names), encoding=encoding)).columns == names
    plain = text(names=(*NAMES, "who"), end=",Zoë")
    late = write(plain, "late.csv", encoding="latin-1")  # a column that nobody asks for
    score_files(model, late, tmp_path / "o.parquet", backend="numpy")
    with pytest.raises(InvalidInput, match=r"is not text in utf-8: line 2 has the byte 0xeb"):
        score_files(model, late, tmp_path / "o.parquet", keep=["who"], backend="numpy")
    reading = ReadOptions(encoding="latin-1")
    score_files(model, late, tmp_path / "o.parquet", keep=["who"], backend="numpy", reading=reading)
    assert pq.read_table(tmp_path / "o.parquet")["who"][0].as_py() == "Zoë"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"delimiter": "::"}, "`delimiter` must be one character"),
        ({"delimiter": "1"}, "`delimiter` must be one character"),
        ({"decimal": "·"}, "`decimal` must be"),
        ({"delimiter": ",", "decimal": ","}, "`delimiter` and `decimal` must differ"),
        ({"encoding": "klingon"}, "`encoding` must be one that Python knows"),
        ({"encoding": "base64"}, "`encoding` must be one that Python knows"),
        ({"null": (1,)}, "`null` must hold texts"),
    ],
)
def test_options_that_cannot_be_used(options, match):
    with pytest.raises(InvalidInput, match=match):
        ReadOptions(**options)


# ── cells ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", ["", "NA", "None", "<NA>", "NaN", "null", "N/A", "#N/A", "-nan"])
def test_a_missing_value_is_one_to_all(model, write, tmp_path, token):
    path = write(with_cell(41, "flow", token))
    both_refuse(model, path, r"column 'flow' of .*t.csv', line 41, is missing or NaN", tmp_path)
    rows = read_rows(path, missing=True)
    assert np.argwhere(np.isnan(rows.x)).tolist() == [[39, 2]]
    score_files(model, path, tmp_path / "o.parquet", impute="median", backend="numpy")
    filled = ROWS.copy()
    filled[39, 2] = np.median(ROWS[:, 2])
    want = model.scores(filled, ["proposed"], backend="numpy")["proposed"]
    np.testing.assert_allclose(pq.read_table(tmp_path / "o.parquet")["proposed"], want, rtol=1e-12)


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("?", r"'\?'. If it means that the value is missing, pass --null '\?'"),
        ("1_000", "'1_000'. Write numbers without separators of thousands"),
        ("20.0025 °C", "'20.0025 °C'. Write it as a plain number, without units"),
        ("−3", "'−3'. Write it as a plain number"),
        ("5%", "'5%'. Write it as a plain number"),
        ("0x1F", "'0x1F'. Write it as a plain number"),
        ("2020-01-31", "'2020-01-31'. Turn dates and times into numbers"),
        ("12:30:00", "'12:30:00'. Turn dates and times into numbers"),
        (
            "twenty and a half degrees",
            "'twenty and a half degrees'. Encode the column as numbers, or leave it out",
        ),
    ],
)
@pytest.mark.parametrize("line", [2, 99])
def test_a_cell_that_is_no_number_is_shown_with_its_line(model, write, tmp_path, cell, hint, line):
    path = write(with_cell(line, "flow", cell))
    both_refuse(model, path, rf"column 'flow' of '.*t.csv' must hold numbers; line {line} has {hint}", tmp_path)


def test_the_line_is_that_of_an_editor(model, write, tmp_path):
    """Empty lines and line breaks within quotation marks count."""
    lines = text(names=(*NAMES, "note"), end=',"two\nlines"').splitlines()
    body = "\n".join(lines).replace("note", '"no\nte"', 1) + "\n\n\n1,2,x,4,end\n"
    path = write(body)
    line = body.splitlines().index("1,2,x,4,end") + 1
    with pytest.raises(InvalidInput, match=rf"column 'flow' of .* line {line} has 'x'"):
        score_files(model, path, tmp_path / "o.parquet", backend="numpy")


def test_empty_lines_before_the_header(write):
    rows = read_rows(write("\n\n" + text() + "\n"))
    assert rows.columns == NAMES
    np.testing.assert_array_equal(rows.x, ROWS)
    with pytest.raises(InvalidInput, match="line 5 has '#'"):
        read_rows(write("\n\na,b\n1,2\n1,#\n"))
    np.testing.assert_array_equal(read_rows(write("\n\n1,2\n"), options=ReadOptions(header=False)).x, [[1, 2]])


def test_a_quotation_mark_that_is_never_closed(write, model, tmp_path):
    for line in (3, 60):
        lines = text().splitlines()
        lines[line - 1] = '"' + lines[line - 1]
        both_refuse(
            model, write("\n".join(lines)), rf"line {line} of .* has 1 field, but the header has 4", tmp_path
        )


def test_a_second_line_of_names(write):
    with pytest.raises(
        InvalidInput, match=r"line 2 of .* holds no number at all \(m, kg\). If it is a second line"
    ):
        read_rows(write("a,b\nm,kg\n1,2\n"))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"PAR1" + bytes(50), "is a Parquet file"),
        (b"PK\x03\x04" + bytes(50), "a spreadsheet"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "compressed"),
        ("a,b\n1,2\n".encode("utf-16-le"), "zero bytes. Pass --encoding utf-16-le"),
        (b"a b\n1 2\n3 4\n", "looks like `space`: pass --delimiter ' '"),
    ],
)
def test_a_file_of_another_kind_under_the_name_of_a_text(write, content, match):
    with pytest.raises(InvalidInput, match=match):
        read_rows(write(content))


def test_further_texts_mean_missing(model, write):
    path = write(with_cell(99, "flow", "?"))
    for null in ("?", ("?", "-999")):
        assert np.isnan(read_rows(path, missing=True, options=ReadOptions(null=null)).x).sum() == 1


@pytest.mark.parametrize("cell", ["1e101", "-inf", "1e400"])
def test_a_number_too_large_is_shown_as_it_stands(model, write, tmp_path, cell):
    path = write(with_cell(50, "press", cell))
    both_refuse(model, path, rf"'press' of .*, line 50, must be a finite number .* got '{cell}'", tmp_path)


def test_numbers_are_read_however_they_are_written(write):
    path = write('a,b\n+1.5,"2"\n 1e3 ,.5\n1E-2,5.\n-0,"1,5"\n'.replace('"1,5"', '" 7"'))
    np.testing.assert_array_equal(read_rows(path).x, [[1.5, 2], [1000, 0.5], [0.01, 5], [0, 7]])
    path = write("a,b\ntrue,False\nFalse,TRUE\n")
    np.testing.assert_array_equal(read_rows(path).x, [[1, 0], [0, 1]])


def test_labels_of_every_kind(write, tmp_path):
    for values in (["0", "1"], ["0.0", "1.0"], ["false", "True"]):
        path = write("a,b,y\n" + "".join(f"{i},2,{v}\n" for i, v in enumerate(values)))
        rows = read_rows(path, keep=["y"])
        assert rows.columns == ("a", "b")
        assert rows.labels("y").tolist() == [0, 1]
    for values in ([0, 1], [0.0, 1.0], [False, True], [Decimal(0), Decimal(1)]):
        pq.write_table(pa.table({"0": [1.0, 2.0], "1": [1, 2], "2": values}), tmp_path / "t.parquet")
        assert read_rows(tmp_path / "t.parquet", keep=["2"]).labels("2").tolist() == [0, 1]
    with pytest.raises(InvalidInput, match=r"column 'y' must hold 0 \(normal\) and 1 \(anomaly\); got 0, 2"):
        read_rows(write("a,b,y\n1,2,0\n1,2,2\n"), keep=["y"]).labels("y")


def test_one_row_by_its_number_over_all_files(write, tmp_path):
    (tmp_path / "in").mkdir()
    write(text(ROWS[:50]), "in/1.csv")
    pd.DataFrame(ROWS[50:90], columns=NAMES).to_parquet(tmp_path / "in/2.parquet", row_group_size=7)
    pd.DataFrame(ROWS[90:], columns=NAMES).to_parquet(tmp_path / "in/3.parquet", row_group_size=7)
    for source, base in ((tmp_path / "in", 0), ([tmp_path / "in/2.parquet", tmp_path / "in/3.parquet"], 50)):
        for row in (0, 39, 40, 69):
            got = read_row(source, NAMES[::-1], row)
            np.testing.assert_array_equal(got.to_numpy()[0], ROWS[base + row, ::-1])
            assert got.index.tolist() == [row]
        for row in (-1, 120 - base):
            with pytest.raises(InvalidInput, match=rf"`row` must be between 0 and {119 - base}"):
                read_row(source, NAMES, row)


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────────


def kept_table(values, kind=None):
    columns = {name: ROWS[: len(values), j] for j, name in enumerate(NAMES)}
    return pa.table({**columns, "id": pa.array(values, kind)})


@pytest.mark.parametrize(
    ("first", "second", "want"),
    [
        (pa.array([None, None]), pa.array(["a", "b"]), [None, None, "a", "b"]),
        (pa.array([1, 2], pa.int32()), pa.array([1 << 40, 4]), [1, 2, 1 << 40, 4]),
        (pa.array([1, 2]), pa.array([1.5, 2.5]), [1, 2, 1.5, 2.5]),
        (pa.array(["a", "b"]), pa.array(["c", "d"]).dictionary_encode(), ["a", "b", "c", "d"]),
        (pa.array([1, 2]), pa.array(["c", "d"]), ["1", "2", "c", "d"]),
        (pa.array([0, 1], pa.timestamp("s")), pa.array([2, 3], pa.timestamp("ms")), None),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_types_of_what_is_kept_are_unified_before_the_run(model, tmp_path, first, second, want, turned):
    (tmp_path / "in").mkdir()
    for number, values in enumerate((second, first) if turned else (first, second)):
        pq.write_table(kept_table(values, values.type), tmp_path / f"in/{number}.parquet")
    for target in ("o.parquet", "o.csv"):
        score_files(model, tmp_path / "in", tmp_path / target, keep=["id"], backend="numpy")
    got = pq.read_table(tmp_path / "o.parquet")["id"].to_pylist()
    assert len(got) == 4
    if want is not None:
        assert got == (want[2:] + want[:2] if turned else want)


def test_types_that_cannot_be_unified_are_refused_before_the_run(model, tmp_path):
    (tmp_path / "in").mkdir()
    pq.write_table(kept_table(["a", "b"]), tmp_path / "in/0.parquet")
    pq.write_table(kept_table([[1], [2]]), tmp_path / "in/1.parquet")
    match = r"column 'id' cannot be kept: it holds string in .*0.parquet', but list"
    with pytest.raises(InvalidInput, match=match):
        score_files(model, tmp_path / "in", tmp_path / "o.parquet", keep=["id"], backend="numpy")
    assert sorted(os.listdir(tmp_path)) == ["in"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.binary(), pa.large_binary(), pa.binary(3),
        pa.map_(pa.string(), pa.int8()), pa.month_day_nano_interval(),
    ],
)  # fmt: skip
def test_what_a_csv_file_cannot_hold_is_refused_before_the_run(model, tmp_path, kind, monkeypatch):
    feather.write_feather(kept_table([None] * 100, kind), tmp_path / "t.arrow")
    monkeypatch.setattr(sources, "read_blocks", None)
    match = r"`keep` has the column 'id' of .*, which a .csv file cannot hold. Write"
    with pytest.raises(InvalidInput, match=match):
        score_files(model, tmp_path / "t.arrow", tmp_path / "o.csv", keep=["id"], backend="numpy")
    assert os.listdir(tmp_path) == ["t.arrow"]
    monkeypatch.undo()
    score_files(model, tmp_path / "t.arrow", tmp_path / "o.arrow", keep=["id"], backend="numpy")
    assert feather.read_table(tmp_path / "o.arrow")["id"].type == kind


def test_names_given_twice_are_taken_once(model, tmp_path):
    pq.write_table(kept_table(["a", "b"]), tmp_path / "t.parquet")
    score_files(
        model,
        tmp_path / "t.parquet",
        tmp_path / "o.parquet",
        ["prior", "prior"],
        keep=["id", "id"],
        backend="numpy",
    )
    assert pq.read_table(tmp_path / "o.parquet").column_names == ["id", "prior"]


# ── large ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bookkeeping_of_wide_tables_is_linear(tmp_path, monkeypatch):
    """Names are looked up in dictionaries: 20,000 columns compare less than 100 names each."""
    compared = [0]

    class Name(str):
        __slots__ = ()

        def __eq__(self, other):
            compared[0] += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    n = 20_000
    names = [f"column {i}" for i in range(n)]
    pq.write_table(pa.table([pa.array([1.0, 2.0])] * n, names=names), tmp_path / "t.parquet")
    files = inspect_all([str(tmp_path / "t.parquet")], [Name(name) for name in names[::-1]])
    assert compared[0] < 100 * n
    assert files[0].features == tuple(names[::-1])


def test_row_groups_of_one_row_are_opened_in_turn(tmp_path, monkeypatch):
    pd.DataFrame(ROWS, columns=NAMES).to_parquet(tmp_path / "t.parquet", row_group_size=1)
    monkeypatch.setattr(sources, "RUN_GROUPS", 8)
    opened = []
    original = pq.ParquetFile.iter_batches

    def counted(self, rows, row_groups, **options):
        opened.append(len(row_groups))
        return original(self, rows, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    np.testing.assert_array_equal(read_rows(tmp_path / "t.parquet").x, ROWS)
    assert opened == [8] * 15
    np.testing.assert_array_equal(read_row(tmp_path / "t.parquet", NAMES, 33).to_numpy()[0], ROWS[33])


@given(sizes=st.lists(st.integers(0, 6), max_size=30), skip=st.integers(0, 120), runs=st.integers(1, 5))
def test_runs_of_row_groups_hold_every_row_from_the_first_on(sizes, skip, runs):
    before = sources.RUN_GROUPS
    sources.RUN_GROUPS = runs
    try:
        found = list(sources._runs(iter(sizes), skip))
    finally:
        sources.RUN_GROUPS = before
    rows = [(g, i) for g, size in enumerate(sizes) for i in range(size)]
    got = [row for groups, jump in found for row in [(g, i) for g in groups for i in range(sizes[g])][jump:]]
    assert got == rows[skip:]
    assert all(len(groups) <= runs for groups, _ in found)


# ── any text at all ──────────────────────────────────────────────────────────────────────────────────────

CELLS = st.one_of(
    st.floats(-1e6, 1e6).map(repr),
    st.sampled_from(["", "NA", "None", "?", "x", "1,5", '"', '"a""b"', "1e400", "true", " 2 ", "\0", "é", "\r"]),
)


@given(
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=6),
    delimiter=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    options=st.sampled_from(
        [{}, {"header": False}, {"delimiter": ";"}, {"null": "?"}, {"decimal": ",", "delimiter": ";"}]
    ),
)
def test_any_text_gives_rows_or_an_error_of_ours(tmp_path_factory, rows, delimiter, end, options):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(end.join(delimiter.join(row) for row in rows).encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableNote)
        try:
            table = read_rows(path, missing=True, options=ReadOptions(**options))
        except PyscoreError:
            return
    assert table.x.shape[1] == len(table.columns) == len(set(table.columns)) > 0
    assert not np.isinf(table.x).any()


@given(
    data=st.binary(max_size=300),
    name=st.sampled_from(["t.csv", "t.parquet", "t.arrow", "t.csv.gz", "t.zip", "t.csv.xz", "t.csv.zst"]),
)
def test_any_bytes_give_rows_or_an_error_of_ours(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableNote)
        try:
            assert read_rows(path, missing=True).x.size
        except PyscoreError:
            return


# ── the commands ─────────────────────────────────────────────────────────────────────────────────────────


def test_every_command_has_the_same_options(model, write, tmp_path, capsys):
    lines = text(delimiter=";", decimal=",", names=(*NAMES, "y")).splitlines()
    lines = [lines[0], *(f"{line};{i % 2}" for i, line in enumerate(lines[1:]))]
    lines[5] = lines[5].replace(lines[5].split(";")[2], "?", 1)
    path = write("\n".join(lines), encoding="latin-1")
    model.save(tmp_path / "m.safetensors")
    how = ["--delimiter", ";", "--decimal", ",", "--null", "?", "--encoding", "latin-1"]
    fill = ["--impute", "median"]
    backend = ["--backend", "numpy"]
    m = tmp_path / "m.safetensors"
    commands = {
        "fit": [path, "--label", "y", "--detector", "model", "--steps", 2, "-o", tmp_path / "new.safetensors"],
        "score": [m, path, "-o", tmp_path / "o.csv", *backend],
        "evaluate": [path, "--model", m, "--label", "y", "--scores", "proposed", *backend],
        "explain": [m, path, "--row", 4, *backend],
    }
    for name, arguments in commands.items():
        status, _, err = run(capsys, name, *arguments)
        assert (status, "--delimiter ';' --decimal ','" in err) == (2, True), (name, err)
        status, _, err = run(capsys, name, *arguments, *how)
        assert (status, "line 6, is missing" in " ".join(err.split())) == (2, True), (name, err)
        status, _, err = run(capsys, name, *arguments, *how, *fill)
        assert status == 0, (name, err)
    assert FittedModel.load(tmp_path / "new.safetensors").standardiser.columns == NAMES


def test_fit_takes_a_folder_and_several_files(write, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    write(text(ROWS[:60]), "in/1.csv")
    write(text(ROWS[60:], end=","), "in/2.csv")
    for tables in ([tmp_path / "in"], [tmp_path / "in/1.csv", tmp_path / "in/2.csv"]):
        status, out, err = run(
            capsys, "fit", *tables, "-o", tmp_path / "m.safetensors", "--detector", "model", "--steps", 2, "--json"
        )
        assert status == 0, err
        assert '"rows": 120' in out
        assert "note: the last column of" in err


def test_a_table_of_many_columns_is_scored_in_small_blocks(tmp_path, monkeypatch):
    """The bits do not depend on it; what is no row on its own keeps to whole chunks."""
    monkeypatch.setattr(stream, "BLOCK_BYTES", 8 * 4 * 100)
    rows = np.tile(ROWS, (10, 1))
    pd.DataFrame(rows, columns=NAMES).to_parquet(tmp_path / "t.parquet")
    seen = []
    original = stream.read_blocks

    def noted(files, columns, rows, **options):
        seen.append(rows)
        return original(files, columns, rows, **options)

    monkeypatch.setattr(stream, "read_blocks", noted)
    scaler = Standardiser(ROWS.mean(axis=0), ROWS.std(axis=0), NAMES)
    model = FittedModel(SVAE.initialise(4, 2, 4, 2, seed=3), scaler, EXACT)
    score_files(model, tmp_path / "t.parquet", tmp_path / "a.parquet")
    score_files(model, tmp_path / "t.parquet", tmp_path / "b.parquet", block_rows=2000)
    score_files(model, tmp_path / "t.parquet", tmp_path / "c.parquet", projection=True)
    assert seen == [100, 2048, 1024]
    assert pq.read_table(tmp_path / "a.parquet") == pq.read_table(tmp_path / "b.parquet")
