"""Bad input: each message names the argument, what was wanted, what came and what to do; odd memory layouts work."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from pyscore import reference as ref
from pyscore.backends import get_backend
from pyscore.convention import EXACT
from pyscore.data.datasets import load_dataset
from pyscore.data.preprocessing import Standardiser
from pyscore.data.tables import features, read_table, split_labels
from pyscore.errors import InvalidInput, ShapeError
from pyscore.experiment.goodness import goodness_of_fit
from pyscore.reference.model import SVAE
from pyscore.reference.network import mlp
from pyscore.reference.sampling import VMFDraws, generator
from pyscore.scoring.fitted import FittedModel, fit
from pyscore.scoring.scores import available_scores, score, score_table
from pyscore.training.config import TrainConfig
from pyscore.training.train import train

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 4))
Z = ref.normalize(RNG.standard_normal((8, 3)))
KAPPA = np.linspace(1, 50, 8)
MODEL = SVAE.initialise(4, 3, 6, 2, dtype=np.float64)
FITTED = FittedModel(MODEL, Standardiser.fit(X, ("a", "b", "c", "d")), EXACT)
FRAME = pd.DataFrame(X, columns=list("abcd"))
SHORT = TrainConfig(steps=1, batch_size=2)


def put(value, row=2, column=1, of=X):
    changed = np.array(of, dtype=type(value) if isinstance(value, complex) else np.float64)
    changed[row, column] = value
    return changed


def column(values):
    return FRAME.assign(b=values)


NOT_FINITE = (
    r"`x` must hold finite numbers of at most 1e\+1\d+ in magnitude; got {} at row 2, column {} \(1 such.*Drop or"
)
DTYPE = r"`{}` must be an array of numbers; got dtype {}\. Convert text, dates and objects to float64"
HALF = r"`{}` must be float32 or float64; got float16, which has 11 bits.* Pass {}\.astype\('float32'\)"

# name: (call, exception, message)
ERRORS = {
    # ── score and its companions ──
    "score NaN": (lambda: score(MODEL, put(np.nan)), InvalidInput, NOT_FINITE.format("NaN", "1")),
    "score infinite": (lambda: score(MODEL, put(-np.inf)), InvalidInput, NOT_FINITE.format("-inf", "1")),
    "score huge": (lambda: score(MODEL, put(1e16)), InvalidInput, NOT_FINITE.format(r"1e\+16", "1")),
    "score width": (
        lambda: score(MODEL, X[:, :3]),
        ShapeError,
        r"`x` must have shape \(n, 4\); got \(8, 3\)\. The model has 4 features",
    ),
    "score ndim": (lambda: score(MODEL, X[0]), ShapeError, r"`x` must have two axes, \(n, 4\); got shape \(4,\)"),
    "score ragged": (lambda: score(MODEL, [[1.0], [1.0, 2.0]]), ShapeError, r"`x` must be an array .*different len"),
    "score text": (lambda: score(MODEL, X.astype(str)), InvalidInput, DTYPE.format("x", "<U32")),
    "score objects": (
        lambda: score(MODEL, X.astype(str).astype(object)),
        InvalidInput,
        r"`x` must be an array of numbers; got dtype object with '.*' of type str at row 0, column 0\. Convert text,",
    ),
    "score complex": (lambda: score(MODEL, put(1j)), InvalidInput, DTYPE.format("x", "complex128")),
    "score dates": (lambda: score(MODEL, X.astype("M8[s]")), InvalidInput, DTYPE.format("x", r"datetime64\[s\]")),
    "score None": (lambda: score(MODEL, None), InvalidInput, DTYPE.format("x", "object")),
    "score float16": (lambda: score(MODEL, X.astype("f2")), InvalidInput, HALF.format("x", "x")),
    "score masked": (
        lambda: score(MODEL, np.ma.masked_greater(X, 1)),
        InvalidInput,
        r"`x` must hold a number everywhere; got a masked array\. Impute the gaps first",
    ),
    "score name": (
        lambda: score(MODEL, X, "best"),
        InvalidInput,
        r"`score` must be one of 'reconstruction', .*'laplace'; got 'best'",
    ),
    "score name unhashable": (lambda: score_table(MODEL, X, [["prior"]]), InvalidInput, r"`score` must be one of"),
    "one name as text": (lambda: score_table(MODEL, X, "best"), InvalidInput, r"`score` must be one of .* got 'best'"),
    "no original form": (
        lambda: score(MODEL, X, "corrected", convention="original"),
        InvalidInput,
        r"`score` 'corrected' has no original form for spherical codes .*Use the EXACT convention, or leave it out",
    ),
    "convention": (lambda: score(MODEL, X, convention="mine"), InvalidInput, r"`convention` must be 'exact', 'orig"),
    "backend": (
        lambda: score(MODEL, X, backend="tpu"),
        InvalidInput,
        r"`backend` must be one of 'numpy', 'torch'.*; got 'tpu'",
    ),
    "backend number": (lambda: score(MODEL, X, backend=3), InvalidInput, r"`backend` must be one of .*; got 3"),
    "backend dtype": (
        lambda: get_backend("torch", dtype="float16"),
        InvalidInput,
        r"`dtype` must be float32 or float64; got 'float16'",
    ),
    "backend dtype unknown": (lambda: get_backend("torch", dtype="real"), InvalidInput, r"`dtype` must .*got 'real'"),
    "backend device": (
        lambda: get_backend("torch", device="gpu"),
        InvalidInput,
        r"`device` must be 'cpu', 'cuda' or 'cuda:<number>'; got 'gpu'",
    ),
    "numpy float32": (lambda: get_backend("numpy", dtype="float32"), InvalidInput, r"`dtype` must be float64 for the"),
    "sigma2 zero": (lambda: score(MODEL, X, sigma2=0.0), InvalidInput, r"`sigma2` must be positive and finite; got 0"),
    "sigma2 text": (lambda: score(MODEL, X, sigma2="1"), InvalidInput, "`sigma2` must be a number, one a feature, or"),
    "sigma2 shape": (
        lambda: score(MODEL, X, sigma2=np.ones(3)),
        ShapeError,
        r"`sigma2` must be a number or have shape \(4,\); got \(3,\)",
    ),
    "sigma2 per feature for laplace": (
        lambda: score(MODEL, X, "laplace", sigma2=np.ones(4)),
        InvalidInput,
        r"`sigma2` must be one number for the score 'laplace'; got shape \(4,\)",
    ),
    "seed": (
        lambda: score(MODEL, X, "importance", seed=-1),
        InvalidInput,
        r"`seed` must be an integer of at least 0; got -1",
    ),
    "seed float": (lambda: generator(0.5, "train"), InvalidInput, r"`seed` must be an integer of at least 0; got 0.5"),
    "draws": (
        lambda: score(MODEL, X, "importance", draws=VMFDraws(np.full(9, 0.5), np.ones((9, 2)))),
        InvalidInput,
        r"`draws.epsilon` must hold s draws for each of the 8 rows; got 9 values in all",
    ),
    # ── reference ──
    "z and x confused": (
        lambda: ref.log_prior(X, Z, KAPPA),
        ShapeError,
        r"`z` must have shape \(n, 3\); got \(8, 4\)\. `mu_u` has 3 columns\. Did you pass x instead of its code\?",
    ),
    "no kappa": (lambda: ref.log_prior(Z, Z), InvalidInput, r"`kappa_u` must be given .*got None\. Pass the second"),
    "no components": (lambda: ref.log_prior(Z, Z[:0], []), ShapeError, r"`mu_u` must have at least one row"),
    "kappa negative": (lambda: ref.log_vmf(Z, Z, -KAPPA), InvalidInput, r"`kappa` must be at least 0; got .*-50"),
    "kappa NaN": (lambda: ref.log_vmf(Z, Z, KAPPA * np.nan), InvalidInput, r"`kappa` must be at least 0; got .*nan"),
    "kappa text": (lambda: ref.vmf_entropy("abc", 3), InvalidInput, DTYPE.format("kappa", "<U3")),
    "k of one": (lambda: ref.vmf_entropy(1.0, 1), InvalidInput, r"`k` must be an integer of at least 2; got 1"),
    "mu of one column": (
        lambda: ref.sample_vmf(np.ones((2, 1)), [1, 1], [0.5, 0.5], np.ones((2, 0))),
        ShapeError,
        r"`mu` must have at least 2 columns; got shape \(2, 1\)",
    ),
    "v of the sampler": (
        lambda: ref.sample_vmf(Z, KAPPA, KAPPA / 100, Z),
        ShapeError,
        r"`v` must have shape \(8, 2\); got \(8, 3\)",
    ),
    "x_hat": (lambda: ref.log_likelihood(X, X[:3]), ShapeError, r"`x_hat` must have shape \(8, 4\); got \(3, 4\)"),
    "jacobian ndim": (lambda: ref.log_volume(X), ShapeError, r"`jacobian` must have three axes, \(n, d, k\); got"),
    "mmd of one row": (lambda: ref.mmd_imq(Z[:1], Z), ShapeError, r"`x` must have at least 2 row\(s\) .*; got 1"),
    "mmd with one row": (lambda: ref.mmd_imq(Z, Z[:1]), ShapeError, r"`y` must have at least 2 row\(s\) .*; got 1"),
    "mmd with one row, torch": (
        lambda: get_backend("torch").mmd_imq(Z, Z[:1]),
        ShapeError,
        r"`y` must have at least 2 row\(s\) .*; got 1",
    ),
    "mmd width": (lambda: ref.mmd_imq(Z, Z, -1.0), InvalidInput, r"`c` must be positive and finite; got -1"),
    "mmd columns": (lambda: ref.mmd_imq(Z, X), ShapeError, r"`y` must have shape \(n, 3\); got \(8, 4\)"),
    "kernel width": (lambda: ref.kernel_mean(Z, width=0), InvalidInput, r"`width` must be a finite number above 0"),
    "kernel": (
        lambda: ref.kernel_mean(Z, width=1.0, kernel="box"),
        InvalidInput,
        r"`kernel` must be one of 'imq', 'gaussian', 'rq'; got 'box'",
    ),
    "distance": (lambda: ref.pairwise_distance(Z, Z, "l1"), InvalidInput, r"`distance` must be one of 'cosine', .*"),
    "variance": (lambda: ref.mmd_variance(*[np.eye(3)] * 3), ShapeError, r"`k_xy` must be square with at least 4 rows"),
    "null not sorted": (lambda: ref.mmd_p_value([2, 1], 0), InvalidInput, r"`null` must be ascending .*or sort it"),
    "null NaN": (lambda: ref.mmd_p_value([1, np.nan], 0), InvalidInput, r"`null` must be ascending"),
    "statistic NaN": (lambda: ref.mmd_p_value([1, 2], np.nan), InvalidInput, r"`statistic` must be a number; got NaN"),
    "latent": (
        lambda: ref.project(X, Z, MODEL.decode, MODEL.decoder_jacobian, latent="torus"),
        InvalidInput,
        r"`latent` must be one of 'sphere', 'euclidean'; got 'torus'",
    ),
    "one class": (
        lambda: ref.roc_auc(KAPPA, np.ones(8)),
        InvalidInput,
        r"`labels` must hold both classes; got 0 normal and 8 anomalous rows\. .* needs at least one of each",
    ),
    "labels of 1 and 2": (lambda: ref.roc_auc([1, 2], [1, 2]), InvalidInput, r"`labels` must be 0 .*got .*2.* \(1 such"),
    "labels text": (lambda: ref.roc_auc([1, 2], ["a", "b"]), InvalidInput, r"`labels` must be 0 .*'a'.* \(2 such"),
    "labels short": (lambda: ref.roc_auc([1, 2], [1]), ShapeError, r"`labels` must have shape \(2,\); got \(1,\)"),
    "scores NaN": (lambda: ref.roc_auc([1, np.nan], [0, 1]), InvalidInput, r"`scores` must not hold NaN; got 1"),
    # ── models ──
    "latent above d": (
        lambda: SVAE.initialise(3, 4),
        InvalidInput,
        r"`latent_dim` must be at most the number of features, 3; got 4\. .*choose a smaller latent_dim",
    ),
    "latent one": (lambda: SVAE.initialise(3, 1), InvalidInput, r"`latent_dim` must be an integer of at least 2; got 1"),
    "latent float": (lambda: SVAE.initialise(3, 2.0), InvalidInput, r"`latent_dim` must be an integer .* got 2.0"),
    "one feature": (lambda: SVAE.initialise(1, 2), InvalidInput, r"`input_dim` must be an integer of at least 2; got 1"),
    "no hidden units": (lambda: SVAE.initialise(3, 2, 0), InvalidInput, r"`hidden_dim` must be an integer of at least 1"),
    "activation": (
        lambda: SVAE.initialise(3, 2, activation="sine"),
        InvalidInput,
        r"`activation` must be one of 'swish', .*; got 'sine'",
    ),
    "activation of mlp": (lambda: mlp(X, [], "sine"), InvalidInput, r"`activation` must be one of"),
    "model float16": (
        lambda: SVAE.initialise(3, 2, dtype=np.float16),
        InvalidInput,
        r"`dtype` must be float32 or float64; got <class 'numpy.float16'>",
    ),
    "model of integers": (lambda: MODEL.astype(int), InvalidInput, r"`dtype` must be float32 or float64; got <class 'int'"),
    "parameter missing": (
        lambda: SVAE.from_parameters({"mu.bias": np.zeros(3)}),
        InvalidInput,
        r"`parameters` must hold the arrays of an SVAE; missing \['decoder",
    ),
    "parameter shape": (
        lambda: SVAE.from_parameters({**MODEL.parameters(), "mu.bias": np.zeros(2)}),
        ShapeError,
        r"parameter `mu.bias` must have shape \(3,\); got \(2,\)",
    ),
    "parameter dtype": (
        lambda: SVAE.from_parameters({**MODEL.parameters(), "mu.bias": np.zeros(3, np.float32)}),
        InvalidInput,
        r"parameter `mu.bias` must be float64 like the rest; got float32",
    ),
    "decode width": (lambda: MODEL.decode(X), ShapeError, r"`z` must have shape \(n, 3\); got \(8, 4\)"),
    # ── fitting ──
    "fit NaN": (lambda: fit(put(np.nan)), InvalidInput, NOT_FINITE.format("NaN", "x1")),
    "fit huge": (lambda: fit(column([1e300] + [0] * 7)), InvalidInput, r"finite numbers .*1e\+300 at row 0, column b"),
    "fit empty": (lambda: fit(X[:0]), InvalidInput, r"the table must have rows and columns; got 0 rows, 4 columns"),
    "fit no columns": (lambda: fit(X[:, :0]), InvalidInput, r"the table must have rows and columns; got 8 rows, 0 col"),
    "fit one row": (lambda: fit(X[:1]), InvalidInput, r"`x` must have at least 2 rows .*got shape \(1, 4\)"),
    "fit constant": (lambda: fit(np.ones((5, 3))), InvalidInput, r"`x` must vary: every column is constant"),
    "fit text column": (
        lambda: fit(column(list("abcdefgh"))),
        InvalidInput,
        r"column 'b' must hold numbers; got dtype \w+ \(first value 'a'\)\. Encode .* or drop it \(1 such",
    ),
    "fit float16 column": (lambda: fit(column(X[:, 1].astype("f2"))), InvalidInput, r"column 'b' must .*dtype float16"),
    "fit complex column": (lambda: fit(column(X[:, 1] * 1j)), InvalidInput, r"column 'b' must .*got dtype complex128"),
    "fit date column": (lambda: fit(column(pd.Timestamp(0))), InvalidInput, r"column 'b' must hold numbers; got dtype datetime64"),
    "fit category": (lambda: fit(column(pd.Categorical([0] * 8))), InvalidInput, r"column 'b' must .*dtype category"),
    "fit missing value": (
        lambda: fit(column(pd.array([1, None] * 4, dtype="Int64"))),
        InvalidInput,
        r"got NaN at row 1, column b \(4 such values",
    ),
    "fit columns twice": (
        lambda: fit(FRAME.set_axis(list("abca"), axis=1)),
        InvalidInput,
        r"column names must differ; got a more than once\. Rename them",
    ),
    "fit 1 and '1'": (lambda: fit(FRAME.set_axis([1, "1", 2, 3], axis=1)), InvalidInput, r"column names must differ; got 1"),
    "fit 1-d": (lambda: fit(X[0]), ShapeError, r"`x` must have two axes, \(n, d\); got shape \(4,\)"),
    "fit latent above d": (lambda: fit(X, SHORT, latent_dim=5), InvalidInput, r"`latent_dim` must be at most .* 4; got 5"),
    "train NaN": (lambda: train(put(np.nan), SHORT), InvalidInput, NOT_FINITE.format("NaN", "1")),
    "train one row": (lambda: train(X[:1], SHORT), InvalidInput, r"`x` must have at least 2 rows to train on; got 1"),
    "steps": (lambda: TrainConfig(steps=-1), InvalidInput, r"`steps` must be an integer of at least 0; got -1"),
    "batch": (lambda: TrainConfig(batch_size=1), InvalidInput, r"`batch_size` .*at least 2; got 1\. The MMD needs pairs"),
    "rate": (lambda: TrainConfig(learning_rate=0), InvalidInput, r"`learning_rate` must be a finite number above 0; got 0"),
    "beta": (lambda: TrainConfig(beta=np.nan), InvalidInput, r"`beta` must be a finite number of at least 0; got nan"),
    "width c": (lambda: TrainConfig(c="wide"), InvalidInput, r"`c` must be a finite number above 0; got 'wide'"),
    "config convention": (
        lambda: TrainConfig(convention="exact"),
        InvalidInput,
        r"`convention` must be a Convention, such as EXACT; got 'exact'",
    ),
    # ── tables and data ──
    "fitted lacks a column": (
        lambda: FITTED.scores(FRAME.drop(columns="c")),
        InvalidInput,
        r"the table lacks the column\(s\) c\. It has a, b, d",
    ),
    "fitted width": (lambda: FITTED.scores(X[:, :2]), ShapeError, r"`x` must have 4 columns \(a, b, c, d\); got shape \(8, 2\)"),
    "features empty": (lambda: features(FRAME[:0]), InvalidInput, r"the table must have rows and columns; got 0 rows"),
    "label": (lambda: split_labels(FRAME, "y"), InvalidInput, r"`label` must name a column; got 'y'\. There are a, b"),
    "label values": (lambda: split_labels(FRAME.round(), "a"), InvalidInput, r"column 'a' must hold 0 .normal. and 1"),
    "table kind": (lambda: read_table(__file__), InvalidInput, r"`path` must end in .parquet, .pq, .csv, .*; got"),
    "scaler width": (lambda: FITTED.standardiser.transform(X[:, :2]), ShapeError, r"`x` must have shape \(n, 4\); .*a, b, c"),
    "dataset": (lambda: load_dataset("mnist"), InvalidInput, r"`dataset` must be one of .*; got 'mnist'"),
    "goodness of one row": (lambda: goodness_of_fit(MODEL, X[:1]), InvalidInput, r"`x` must have at least 2 rows .*; got 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_error(case):
    call, exception, message = ERRORS[case]
    with pytest.raises(InvalidInput, match=message) as caught:
        call()
    assert type(caught.value) is exception
    assert len(str(caught.value)) < 600


def test_every_name_of_an_unknown_thing_is_told():
    for name in available_scores():
        with pytest.raises(InvalidInput, match=repr(name)):
            score(MODEL, X, "?")


# ── what is odd but good ─────────────────────────────────────────────────────────────────────────────────


def test_constant_columns_are_named_and_harmless():
    with pytest.warns(
        UserWarning, match=r"constant columns carry no information and become zero: b\. Leave them out"
    ):
        fitted = fit(column(7.0), SHORT)
    assert np.isfinite(fitted.scores(column(7.0), ["proposed"]).to_numpy()).all()


def test_no_rows_give_no_scores():
    table = score_table(MODEL, X[:0])
    assert table.shape == (0, len(available_scores()))


def test_names_and_conventions_may_be_text():
    one = score_table(MODEL, X, "prior", convention="original")
    assert list(one.columns) == ["prior"]


def test_a_weight_of_zero_ignores_a_singular_volume():
    flat = SVAE.from_parameters({**MODEL.parameters(), "decoder.0.weight": np.zeros((6, 3))})
    zero = dataclasses.replace(EXACT, volume_weight=0.0)
    with pytest.warns(UserWarning, match="singular to working precision"):
        got = score(flat, X, "jacobian_decoder", convention=zero, backend="numpy")
    np.testing.assert_array_equal(got, score(flat, X, "prior", convention=zero, backend="numpy"))


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[:] = a
    return raw


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a):
    wide = np.full((a.shape[0] * 2, *a.shape[1:], 3), np.nan)
    wide[::2, ..., 1] = a
    return wide[::2, ..., 1]


LAYOUTS = {
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "unaligned": unaligned,
    "big-endian": lambda a: a.astype(">f8"),
}
V = RNG.standard_normal((8, 2))
J = RNG.standard_normal((8, 5, 3))
FUNCTIONS = {
    "normalize": (X,),
    "householder": (Z, Z[::-1].copy()),
    "sample_vmf": (Z, KAPPA, KAPPA / 60, V),
    "log_likelihood": (X, X + 1),
    "latent_error": (Z, Z[::-1].copy()),
    "log_prior": (Z, Z[:4].copy(), KAPPA[:4].copy()),
    "log_vmf": (Z, Z[::-1].copy(), KAPPA),
    "log_volume": (J,),
    "mmd_imq": (Z, Z[:4].copy()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_layouts_of_arrays(name, backend, layout):
    function, arguments = getattr(get_backend(backend, dtype="float64"), name), FUNCTIONS[name]
    changed = [LAYOUTS[layout](a) for a in arguments]
    want = function(*arguments)
    # BLAS has other kernels for transposed operands: the two functions with a product of matrices may round otherwise.
    blas = name in ("log_prior", "mmd_imq")
    np.testing.assert_allclose(function(*changed), want, rtol=0, atol=1e-12 if blas else 0)
    for before, after in zip(arguments, changed, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_memory_layouts_of_scores(backend, layout):
    engine, x = get_backend(backend, dtype="float64"), LAYOUTS[layout](X)
    copy = x.copy()
    np.testing.assert_allclose(
        score_table(MODEL, x, backend=engine), score_table(MODEL, X, backend=engine), rtol=1e-9
    )
    np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts_of_training(layout):
    x = LAYOUTS[layout](X)
    copy, want = x.copy(), fit(X, SHORT).model.digest()
    assert fit(x, SHORT).model.digest() == want
    np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize("kind", ["list", "float32", "int64", "bool", "DataFrame", "nullable"])
def test_other_containers_of_numbers(kind):
    x = np.round(X)
    table = {
        "list": lambda: x.tolist(),
        "float32": lambda: x.astype(np.float32),
        "int64": lambda: x.astype(np.int64),
        "bool": lambda: x > 0,
        "DataFrame": lambda: pd.DataFrame(x),
        "nullable": lambda: pd.DataFrame(x).convert_dtypes().set_axis(list("abcd"), axis=1),
    }[kind]()
    want = FITTED.scores(x > 0 if kind == "bool" else x, ["proposed"])
    if kind == "DataFrame":
        table = table.set_axis(list("abcd"), axis=1)
    pd.testing.assert_frame_equal(FITTED.scores(table, ["proposed"]), want, check_exact=True)
