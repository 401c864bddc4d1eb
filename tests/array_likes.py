"""Strategies for whatever a caller may pass as an array: every kind, dtype and layout, with the numbers it holds.

`array_likes(*shape)` yields `Given(value, numbers)`. A public function must treat `value` as it treats the plain
float64 array `numbers`, or raise a PyscoreError; where `numbers` is None it must raise one. Nothing else is
possible.
"""

import decimal
import fractions
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from scipy import sparse

from pyscore.errors import PyscoreError

__all__ = ["Given", "array_likes", "check_door"]


class Given(NamedTuple):
    kind: str
    value: Any
    numbers: np.ndarray | None
    """Plain float64, NaN where a value is missing; None where nothing but an error is right."""

    def __repr__(self):
        try:
            return f"Given({self.kind}, {str(self.value)[:300]})"
        except Exception:  # integers of more than 4300 digits, objects that raise
            return f"Given({self.kind}, …)"


ORDINARY = st.floats(-4, 4, width=32).map(lambda v: float(np.float32(v)))
ODD = st.sampled_from(
    [0.0, -0.0, 1e-45, 5e-324, 2.0**-1022, 1e15, -1e15, 1.1e15, 1e38, 3.5e38, 1e100, 1.1e100, 1e300, -1.7e308]
)
BAD = st.sampled_from([np.nan, np.inf, -np.inf])


@st.composite
def numbers_of(draw, shape):
    """A float64 array: ordinary, now and then with one odd or bad entry."""
    seed = draw(st.integers(0, 2**32 - 1))
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32).astype(np.float64)
    if x.size and draw(st.integers(0, 2)) == 0:
        x[np.unravel_index(draw(st.integers(0, x.size - 1)), shape)] = draw(st.one_of(ODD, BAD, ORDINARY))
    return x


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1] if a.ndim else a,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2] if a.ndim else a,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "matrix": lambda a: np.matrix(a) if a.ndim == 2 else a,
    "memoryview": lambda a: memoryview(np.ascontiguousarray(a)),
    "masked without a gap": lambda a: np.ma.array(a),
}
REAL = ["f4", "f8", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
REFUSED = ["f2", "c8", "c16", "U", "S", "M8[s]", "m8[s]", "V8"]


@st.composite
def arrays(draw, shape):
    x = draw(numbers_of(shape))
    dtype = draw(st.sampled_from(REAL + REFUSED))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if dtype in ("M8[s]", "m8[s]", "V8"):
            a = np.zeros(shape, dtype)
        elif np.dtype(dtype).kind in "iu?":
            a = np.clip(np.nan_to_num(x), 0, 100).astype(dtype)
        else:
            a = x.astype(dtype)
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    if dtype in REFUSED and layout not in ("C", "Fortran", "reversed"):
        layout = "C"
    if dtype == "g" and layout in ("memoryview",):
        layout = "C"
    with np.errstate(all="ignore"):
        plain = None if dtype in REFUSED else a.astype(np.float64)
    value = LAYOUTS[layout](a)
    return Given(f"array {dtype} {layout}", value, None if plain is None else plain.reshape(np.shape(value)))


def entry(value, kind):
    """One number as an object of another kind."""
    if kind == "int":
        return int(value) if np.isfinite(value) else value
    if kind == "Decimal":
        return decimal.Decimal(repr(float(value)))
    if kind == "Fraction":
        return fractions.Fraction(float(value)) if np.isfinite(value) else value
    if kind == "numpy":
        return np.float64(value)
    if kind == "tensor":
        return torch.tensor(float(value), dtype=torch.float64)
    return float(value)


ENTRIES = ["float", "int", "Decimal", "Fraction", "numpy", "tensor"]
WRONG_ENTRIES = [10**400, -(10**5000), "text", "1.5", b"x", 1j, object(), [1, 2], {}, np.datetime64("2020")]
MISSING = [None, np.ma.masked]


@st.composite
def objects(draw, shape):
    """Nested lists, tuples and object arrays of numbers of other kinds, some with an entry that is none."""
    x = draw(numbers_of(shape))
    kind = draw(st.sampled_from(ENTRIES))
    flat = [entry(value, kind) for value in x.ravel()]
    plain = np.array([float(v) for v in flat]).reshape(shape)
    container = draw(st.sampled_from(["list", "tuple", "object array"]))
    spoiled = draw(st.sampled_from(["no", "no", "wrong", "missing"])) if flat else "no"
    if spoiled != "no":
        at = draw(st.integers(0, len(flat) - 1))
        flat[at] = draw(st.sampled_from(WRONG_ENTRIES if spoiled == "wrong" else MISSING))
        if spoiled == "wrong":
            plain = None
        else:
            plain.ravel()[at] = np.nan
    if container == "object array":
        a = np.empty(len(flat), object)
        for i, value in enumerate(flat):
            a[i] = value
        if any(value is np.ma.masked for value in flat):
            a = [None if value is np.ma.masked else value for value in flat]
            a = np.array(a, dtype=object)
        return Given(f"objects {kind} {spoiled}", a.reshape(shape), plain)
    return Given(
        f"{container} {kind} {spoiled}", nested(flat, shape, list if container == "list" else tuple), plain
    )


def nested(flat, shape, container):
    if not shape:
        return flat[0]
    step = len(flat) // shape[0] if shape[0] else 0
    return container(nested(flat[i * step : (i + 1) * step], shape[1:], container) for i in range(shape[0]))


@st.composite
def masked(draw, shape):
    """Masked arrays, and lists of masked rows, whose masks NumPy drops."""
    x = draw(numbers_of(shape))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random(shape) < draw(st.sampled_from([0.0, 0.2]))
    a = np.ma.array(x.astype(draw(st.sampled_from(["f4", "f8"]))), mask=mask)
    with np.errstate(all="ignore"):
        plain = np.where(mask, np.nan, np.asarray(a.data, np.float64))
    if draw(st.booleans()) and len(shape) > 1 and shape[0]:
        return Given("list of masked rows", [a[i] for i in range(shape[0])], plain)
    return Given("masked array", a, plain)


FLOATS = [torch.float32, torch.float64]
WHOLE = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool]
SMALL = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.complex64]


@st.composite
def tensors(draw, shape):
    x = draw(numbers_of(shape))
    dtype = draw(st.sampled_from(FLOATS + WHOLE + SMALL))
    t = torch.tensor(np.clip(np.nan_to_num(x), 0, 100) if dtype in WHOLE else x).to(dtype)
    way = draw(
        st.sampled_from(["plain", "gradient", "Parameter", "result", "sparse", "meta", "conjugate", "rows"])
    )
    plain = None if dtype in SMALL else t.double().numpy()
    if way == "gradient" and dtype in FLOATS:
        t = t.requires_grad_(True)
    elif way == "Parameter" and dtype in FLOATS:
        t = torch.nn.Parameter(t)
    elif way == "result" and dtype in FLOATS:
        t = t.requires_grad_(True) * 1
    elif way == "sparse" and t.ndim and dtype not in (torch.float8_e4m3fn, torch.bool):
        t, plain = t.to_sparse(), None
    elif way == "meta":
        t, plain = t.to("meta"), None
    elif way == "conjugate" and dtype == torch.complex64:
        t = t.conj()
    elif way == "rows" and t.ndim > 1 and len(t) and dtype in FLOATS:
        t = [row.requires_grad_(True) for row in t.clone()]
    return Given(f"tensor {dtype} {way}", t, plain)


class Raises:
    """An object whose conversion fails, in whatever way it is tried."""

    def __init__(self, error):
        self.error = error

    def __array__(self, *args, **kwargs):
        raise self.error

    def __float__(self):
        raise self.error


class Lies:
    """An object that returns something else than an array."""

    def __array__(self, *args, **kwargs):
        return "no array"


@st.composite
def others(draw, shape):
    """What is no array at all, or one of another kind."""
    x = draw(numbers_of(shape))
    two = x if x.ndim == 2 else np.ones((2, 2))
    records = np.array([(1.0, 2)], dtype=[("a", "f8"), ("b", "i4")])
    plain = [
        None, "", "abc", b"abc", {}, {1: 2.0}, set(), {1.0}, object(), type, iter([1.0]), (v for v in [1.0]), print,
        Raises(RuntimeError("no")), Raises(TypeError("no")), Raises(ValueError("no")), Raises(OverflowError("no")),
        [Raises(RuntimeError("no"))], Lies(), [[1.0], [1.0, 2.0]], [[1.0, 2.0], 3.0], [[[]], [1.0]], np.array("x"),
        np.array([[1.0, "a"]], dtype=object), np.array([None, None]), np.zeros((2, 2), "V4"),
        decimal.Decimal("sNaN"), records.view(np.recarray),
    ]  # fmt: skip
    special = [
        sparse.csr_matrix(two), sparse.coo_array(two), sparse.lil_matrix(two), [sparse.csr_array(np.eye(2))],
        torch.nn.Linear(2, 2), [torch.eye(2).to_sparse()],
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.quint8),
    ]  # fmt: skip
    return Given("other", draw(st.sampled_from(plain + special)), None)


def other_shapes(shape):
    """The shape wanted, and shapes near it."""
    near = [(), (0,) * len(shape), (*shape, 1), shape[1:], (1, *shape), (0, *shape[1:]), (1, *shape[1:])]
    for axis in range(len(shape)):
        for change in (-1, 1):
            near.append(tuple(max(0, n + (i == axis) * change) for i, n in enumerate(shape)))
    return st.one_of(st.just(shape), st.just(shape), st.sampled_from(near))


@st.composite
def array_likes(draw, *shape):
    """Something of a shape, or of one near it, that may pass for an array."""
    chosen = draw(other_shapes(shape))
    return draw(st.one_of(arrays(chosen), objects(chosen), masked(chosen), tensors(chosen), others(chosen)))


def check_door(call, given, *, density=False):
    """A public function gives for `value` what it gives for the plain numbers, or raises a PyscoreError.

    With `density` the numbers have to be finite or −inf, too, and −inf needs a warning.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            got = call(given.value)
        except PyscoreError as refusal:
            said_why = str(refusal)
            got = None
        else:
            said_why = None
    if said_why is not None:
        assert said_why.strip(), "an error has to say something"
        return
    if isinstance(got, np.ndarray | float) and density:
        values = np.asarray(got)
        assert not np.isnan(values).any()
        assert not np.isposinf(values).any()
        assert not np.isneginf(values).any() or said, "−inf without a warning"
    assert not [w for w in said if issubclass(w.category, RuntimeWarning)], [str(w.message) for w in said]
    assert given.numbers is not None, "it has to be refused"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = call(given.numbers)
    assert_same(got, want)


def assert_same(got, want):
    """The same bits, whatever the container."""
    if isinstance(got, tuple | list):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            assert_same(a, b)
    elif isinstance(got, dict):
        assert got.keys() == want.keys()
        for name in got:
            assert_same(got[name], want[name])
    elif hasattr(got, "to_numpy"):
        assert list(got) == list(want)
        for name in got:
            assert_same(got[name].to_numpy(), want[name].to_numpy())
    elif got is None or isinstance(got, str):
        assert got == want
    else:
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want))
