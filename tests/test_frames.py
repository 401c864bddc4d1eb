"""Frames of every kind and type: a right number, or an error of ours that says what to do; nothing else."""

import datetime
import warnings
from decimal import Decimal
from fractions import Fraction

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

import pyscore
from pyscore.convention import EXACT
from pyscore.data.dataframes import rows_of, rows_without_names
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.errors import InvalidInput, PyscoreError, ShapeError
from pyscore.reference.model import SVAE
from pyscore.scoring.explain import explain
from pyscore.scoring.fitted import FittedModel, fit
from pyscore.scoring.scores import projection_report, score, score_table
from pyscore.training.config import TrainConfig

NAMES = ("a", "b", "c")
X = np.array([[0.5, 10.0, -3.0], [1.5, 12.0, -4.0], [2.0, 9.0, -1.0], [-1.0, 11.0, -2.0]])
FITTED = FittedModel(
    SVAE.initialise(3, 2, 4, 2, dtype=np.float64, seed=3),
    Standardiser(X.mean(axis=0), X.std(axis=0), NAMES),
    EXACT,
    imputer=Imputer(np.median(X, axis=0)),
)
WANT = FITTED.scores(X, ["proposed"], backend="numpy")["proposed"].to_numpy()
FRAME = pd.DataFrame(X, columns=NAMES)
MIXED = FRAME[["c", "a", "b"]].assign(note=["x", "y", "z", "w"])
"""Another order, and a column more."""


def structured(frame):
    return np.array(
        [tuple(row) for row in frame.itertuples(index=False)], [(n, "O" if n == "note" else "f8") for n in frame]
    )


def dask(frame):
    return pytest.importorskip("dask.dataframe").from_pandas(frame, npartitions=2)


KINDS = {
    "pandas": lambda f: f,
    "pandas nullable": lambda f: f.convert_dtypes(),
    "pandas of Arrow": lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    "pandas sparse": lambda f: f.astype({n: pd.SparseDtype("float64", 0.5) for n in NAMES if n in f}),
    "pandas of objects": lambda f: f.astype(object),
    "polars": pl.from_pandas,
    "polars, lazy": lambda f: pl.from_pandas(f).lazy(),
    "Arrow": pa.Table.from_pandas,
    "Arrow, batch": lambda f: pa.Table.from_pandas(f).to_batches()[0],
    "Arrow, reader": lambda f: pa.Table.from_pandas(f).to_reader(),
    "Arrow, chunks": lambda f: pa.concat_tables([pa.Table.from_pandas(f[:1]), pa.Table.from_pandas(f[1:])]),
    "structured": structured,
    "record": lambda f: structured(f).view(np.recarray),
    "Dask": dask,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_columns_are_found_by_name_in_every_kind_of_frame(kind):
    np.testing.assert_array_equal(
        FITTED.scores(KINDS[kind](MIXED), ["proposed"], backend="numpy")["proposed"], WANT
    )
    lines = explain(FITTED, KINDS[kind](MIXED), backend="numpy")
    np.testing.assert_array_equal(lines["value"], X.ravel())
    assert lines["feature"].tolist() == list(NAMES) * 4
    report = FITTED.projection_report(KINDS[kind](MIXED), backend="numpy")
    pd.testing.assert_frame_equal(report, FITTED.projection_report(X, backend="numpy"))
    with pytest.raises(InvalidInput, match=r"lacks the column\(s\) b"):
        FITTED.scores(KINDS[kind](MIXED.drop(columns="b")), ["proposed"], backend="numpy")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fit_keeps_the_names_of_every_kind_of_frame(kind):
    short = TrainConfig(steps=1, batch_size=2)
    model = fit(KINDS[kind](MIXED.drop(columns="note")), short, latent_dim=2, hidden_dim=4)
    assert model.standardiser.columns == ("c", "a", "b")
    np.testing.assert_array_equal(model.standardiser.mean, X[:, [2, 0, 1]].mean(axis=0))
    with pytest.raises(InvalidInput, match=r"column 'note' must hold numbers; got dtype .*Encode it"):
        fit(KINDS[kind](MIXED), short)


def test_a_model_without_names_refuses_a_frame_with_names():
    model, z = FITTED.model, FITTED.standardiser.transform(X)
    want = score(model, z, backend="numpy")
    for counted in ([0, 1, 2], ["x0", "x1", "x2"]):
        frame = pd.DataFrame(z, columns=counted)
        np.testing.assert_array_equal(score(model, frame, backend="numpy"), want)
        np.testing.assert_array_equal(score(model, frame[counted[::-1]], backend="numpy"), want)
    for call in (score, score_table, projection_report, pyscore.score):
        for kind in (pd.DataFrame, pl.DataFrame, pa.table):
            frame = kind(dict(zip(NAMES, z.T, strict=True)))
            with pytest.raises(
                InvalidInput, match=r"knows no names of columns, so that a, b, c cannot be put in order"
            ):
                call(model, frame)
    with pytest.raises(InvalidInput, match="`model` must be an SVAE; got FittedModel"):
        score(FITTED, X, backend="numpy")
    with pytest.raises(ShapeError, match="must have 3 columns; got 2"):
        rows_without_names("x", FRAME[["a", "b"]], 3)


def test_a_model_of_an_array_says_so_to_frames():
    model = FittedModel(FITTED.model, Standardiser(X.mean(axis=0), X.std(axis=0), ("x0", "x1", "x2")), EXACT)
    with pytest.raises(InvalidInput, match=r"lacks the column\(s\) x0, x1, x2.*trained on rows without names"):
        model.scores(FRAME, backend="numpy")
    np.testing.assert_array_equal(model.scores(X, ["proposed"], backend="numpy")["proposed"], WANT)


# ── gaps ─────────────────────────────────────────────────────────────────────────────────────────────────


def with_gap(values, kind):
    holes = [None if i == 1 else v for i, v in enumerate(values)]
    return {
        "NaN": lambda: FRAME.assign(a=[np.nan if v is None else v for v in holes]),
        "None": lambda: FRAME.assign(a=pd.Series(holes, dtype=object)),
        "NA": lambda: FRAME.assign(a=pd.array(holes, dtype="Float64")),
        "decimal": lambda: FRAME.assign(a=pd.Series([None if v is None else Decimal(str(v)) for v in holes], dtype=object)),
        "decimal of Arrow": lambda: FRAME.assign(a=pd.array([None if v is None else Decimal(str(v)) for v in holes], dtype=pd.ArrowDtype(pa.decimal128(9, 3)))),
        "polars": lambda: pl.from_pandas(FRAME).with_columns(a=pl.Series(holes)),
        "polars decimal": lambda: pl.from_pandas(FRAME).with_columns(a=pl.Series([None if v is None else Decimal(str(v)) for v in holes])),
        "Arrow": lambda: pa.table({"a": holes, "b": X[:, 1], "c": X[:, 2]}),
        "masked": lambda: np.ma.array(X, mask=np.isin(np.arange(12).reshape(4, 3), 3)),
        "sparse": lambda: FRAME.assign(a=pd.arrays.SparseArray([np.nan if v is None else v for v in holes])),
    }[kind]()  # fmt: skip


GAPS = [
    "NaN",
    "None",
    "NA",
    "decimal",
    "decimal of Arrow",
    "polars",
    "polars decimal",
    "Arrow",
    "masked",
    "sparse",
]


@pytest.mark.parametrize("kind", GAPS)
def test_a_gap_of_every_kind_is_named_or_filled(kind):
    table = with_gap(X[:, 0], kind)
    with pytest.raises(InvalidInput, match=r"got NaN at row 1, column a|masked array"):
        FITTED.scores(table, backend="numpy")
    filled = X.copy()
    filled[1, 0] = np.median(X[:, 0])
    want = FITTED.scores(filled, ["proposed"], backend="numpy")
    pd.testing.assert_frame_equal(FITTED.scores(table, ["proposed"], impute="median", backend="numpy"), want)
    np.testing.assert_array_equal(
        explain(FITTED, table, impute="median", backend="numpy")["value"], filled.ravel()
    )


# ── what holds no numbers ────────────────────────────────────────────────────────────────────────────────

REFUSED = {
    "text": lambda: FRAME.assign(a="x"),
    "dates": lambda: FRAME.assign(a=pd.Timestamp(0)),
    "durations": lambda: FRAME.assign(a=pd.Timedelta(1)),
    "categories": lambda: FRAME.assign(a=pd.Categorical([1, 2, 3, 4])),
    "intervals": lambda: FRAME.assign(a=pd.interval_range(0, 4)),
    "periods": lambda: FRAME.assign(a=pd.period_range("2020", periods=4)),
    "complex": lambda: FRAME.assign(a=1j),
    "float16": lambda: FRAME.assign(a=np.float16(1)),
    "halves of Arrow": lambda: pa.table({"a": pa.array([np.float16(1)] * 4), "b": X[:, 1], "c": X[:, 2]}),
    "lists": lambda: pa.table({"a": [[1.0]] * 4, "b": X[:, 1], "c": X[:, 2]}),
    "structs": lambda: pa.table({"a": [{"q": 1}] * 4, "b": X[:, 1], "c": X[:, 2]}),
    "objects": lambda: FRAME.assign(a=[object()] * 4),
    "huge integers": lambda: FRAME.assign(a=pd.Series([1, 10**400, 2, 3], dtype=object)),
    "signalling NaN": lambda: FRAME.assign(a=pd.Series([Decimal("sNaN")] * 4, dtype=object)),
    "infinite": lambda: FRAME.assign(a=np.inf),
    "twice": lambda: pa.table([X[:, 0], X[:, 1], X[:, 2], X[:, 0]], names=["a", "b", "c", "a"]),
    "sparse matrix": lambda: scipy.sparse.csr_matrix(X),
    "sparse array": lambda: scipy.sparse.coo_array(X),
    "bfloat16": lambda: torch.tensor(X).bfloat16(),
    "meta": lambda: torch.tensor(X).to("meta"),
    "sparse tensor": lambda: torch.tensor(X).to_sparse(),
    "polars objects": lambda: pl.DataFrame({"a": pl.Series([object()] * 4, dtype=pl.Object), "b": X[:, 1], "c": X[:, 2]}),
    "polars dates": lambda: pl.DataFrame({"a": [datetime.date(2020, 1, 1)] * 4, "b": X[:, 1], "c": X[:, 2]}),
    "a column": lambda: FRAME["a"],
    "a text": lambda: "abc",
    "nothing": lambda: None,
    "a dictionary": lambda: {"a": 1},
    "two axes of records": lambda: structured(FRAME).reshape(2, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_no_numbers_is_refused(case):
    for call in (FITTED.scores, FITTED.projection_report, lambda t: explain(FITTED, t, backend="numpy"), fit):
        with pytest.raises(InvalidInput) as caught:
            call(REFUSED[case]())
        assert 20 < len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("case", "word"),
    [
        ("sparse matrix", "sparse"),
        ("sparse tensor", "sparse"),
        ("sparse array", "sparse"),
        ("bfloat16", "bfloat16"),
        ("meta", "meta"),
    ],
)
def test_the_reason_is_said(case, word):
    with pytest.raises(InvalidInput, match=word):
        FITTED.scores(REFUSED[case](), backend="numpy")


def test_tensors_are_detached():
    for tensor in (torch.tensor(X, requires_grad=True), torch.nn.Parameter(torch.tensor(X))):
        np.testing.assert_array_equal(FITTED.scores(tensor, ["proposed"], backend="numpy")["proposed"], WANT)


# ── any frame at all ─────────────────────────────────────────────────────────────────────────────────────

NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**30), 10**30),
    st.booleans(),
    st.none(),
    st.decimals(allow_nan=True),
    st.fractions(),
    st.just(10**400),
)
OTHERS = st.one_of(
    st.text(max_size=3), st.datetimes(), st.just([1]), st.just({}), st.complex_numbers(), st.binary(max_size=2)
)
TYPES = [
    "float64", "float32", "float16", "int8", "uint64", "bool", "object", "Int64", "Float32", "boolean", "string",
    "category", "datetime64[ns]", "Sparse[float64]", "double[pyarrow]", "int32[pyarrow]", "complex128", "longdouble",
]  # fmt: skip


@st.composite
def columns(draw):
    n = draw(st.integers(1, 4))
    values = draw(st.lists(draw(st.sampled_from([NUMBERS, NUMBERS, OTHERS])), min_size=n, max_size=n))
    return values, draw(st.sampled_from(TYPES))


@st.composite
def frames(draw):
    """A frame of some kind, with columns of some types, in some order."""
    values, _ = draw(columns())
    n = len(values)
    series = {}
    for name in draw(st.permutations([*NAMES, "other"])):
        values, dtype = draw(columns())
        values = (values * n)[:n]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                series[name] = pd.Series(values, dtype=object).astype(dtype)
            except Exception:  # these values have no such type
                series[name] = pd.Series(np.linspace(-1, 1, n))
    frame = pd.DataFrame(series)
    kind = draw(st.sampled_from(["pandas", "polars", "Arrow", "structured", "Dask", "array"]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "structured":
                return frame.to_records(index=False)
            if kind == "array":
                return frame[list(NAMES)].to_numpy()
            convert = {"polars": pl.from_pandas, "Arrow": pa.Table.from_pandas, "Dask": dask}.get(
                kind, lambda f: f
            )
            return convert(frame)
    except Exception:  # the library itself cannot hold it
        return frame


def expected(table):
    """What the numbers are, taken out one by one."""
    if hasattr(table, "compute"):
        table = table.compute()
    if isinstance(table, np.ndarray) and table.dtype.names is None:
        rows = table.tolist()
    elif isinstance(table, np.ndarray):
        rows = [[row[name] for name in NAMES] for row in table]
    else:
        frame = nw.from_native(table)
        rows = list(zip(*[frame[name].to_list() for name in NAMES], strict=True))
    gap = lambda v: v is None or v is pd.NA or v is pd.NaT  # noqa: E731
    return np.array([[np.nan if gap(v) else float(v) for v in row] for row in rows])


@given(table=frames())
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_a_right_number_or_an_error_of_ours(table):
    try:
        x, _ = rows_of(table, NAMES, missing=True)
    except PyscoreError:
        for call in (FITTED.scores, lambda t: explain(FITTED, t, backend="numpy"), FITTED.projection_report):
            with pytest.raises(PyscoreError):
                call(table)
        return
    np.testing.assert_allclose(x, expected(table), rtol=1e-15)
    assert not np.isinf(x).any()
    try:
        got = FITTED.scores(table, ["proposed"], impute="median", backend="numpy")["proposed"]
    except PyscoreError:  # beyond 1e15 deviations
        return
    np.testing.assert_array_equal(
        got, FITTED.scores(FITTED.imputer.transform(x), ["proposed"], backend="numpy")["proposed"]
    )


def test_fractions_and_numbers_of_python_are_numbers():
    frame = FRAME.astype(object).map(Fraction)
    np.testing.assert_array_equal(rows_of(frame, NAMES)[0], X)
