"""Every backend, dtype and layout against the reference, driven by `kernel_specs.KERNELS`."""

import numpy as np
import pytest
from closeness import assert_close
from kernel_specs import BY_NAME, KERNELS, D, encode_scale, gaussian, model

from pyscore.backends import BACKENDS, available_backends, get_backend
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import ShapeError
from pyscore.scoring.scores import available_scores, score_table

BITWISE = ("numba", "cuda")
"""Backends whose results may depend on nothing but the values; numpy and torch go through a BLAS."""
ROWS = [0, 1, 2, 33, 257]
CASES = [
    (name, dtype)
    for name in BACKENDS
    if available_backends()[name] is None
    for dtype in (("float64",) if name in ("numpy", "julia") else ("float64", "float32"))
]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case), scope="module")
def backend(request):
    name, dtype = request.param
    return get_backend(name, dtype=dtype)


def seeded(name, n):
    return np.random.default_rng([n, *name.encode()])


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("spec", KERNELS, ids=lambda spec: spec.name)
def test_kernel(backend, spec, n):
    arguments = spec.inputs(seeded(spec.name, n), n, backend.dtype)
    for convention in spec.conventions:
        if n < spec.least_rows:
            with pytest.raises(ShapeError, match="at least"):
                spec(backend, arguments, convention)
            continue
        want = spec(get_backend("numpy"), arguments, convention)
        got = spec(backend, arguments, convention)
        assert got.dtype == backend.dtype
        what = f"{backend.name} {backend.dtype} {spec.name} {convention.name} n={n}"
        assert_close(got, want, spec.k, spec.scale(arguments, convention), backend.dtype, what)


@pytest.mark.parametrize("n", ROWS)
def test_encode(backend, n):
    arguments = model(backend.dtype), gaussian(seeded("encode", n), n, D, backend.dtype)
    for convention in (EXACT, ORIGINAL):
        mu, kappa = backend.encode(*arguments, convention=convention)
        want_mu, want_kappa = get_backend("numpy").encode(*arguments, convention=convention)
        scale = encode_scale(arguments, convention)
        assert_close(mu, want_mu, 8, np.reshape(scale, (-1, 1)), backend.dtype, "mu")
        assert_close(kappa, want_kappa, 8, 100 * np.max(scale, initial=1), backend.dtype, "kappa")


def layouts(array):
    """The same values, laid out otherwise: read-only, Fortran order, every second row, reversed strides."""
    frozen = array.copy()
    frozen.setflags(write=False)
    spread = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)
    spread[::2] = array
    return {
        "read-only": frozen,
        "fortran": np.asfortranarray(array),
        "strided": spread[::2],
        "reversed": array[::-1].copy()[::-1],
    }


@pytest.mark.parametrize("spec", KERNELS, ids=lambda spec: spec.name)
def test_layouts(backend, spec):
    arguments = spec.inputs(seeded(spec.name, 9), 9, backend.dtype)
    want = spec(backend, arguments, spec.conventions[0])
    for name in ("read-only", "fortran", "strided", "reversed"):
        changed = tuple(layouts(a)[name] if isinstance(a, np.ndarray) and a.ndim else a for a in arguments)
        before = [a.copy() for a in changed if isinstance(a, np.ndarray)]
        got = spec(backend, changed, spec.conventions[0])
        after = [a for a in changed if isinstance(a, np.ndarray)]
        assert all(map(np.array_equal, before, after)), f"{spec.name} wrote to its input"
        if backend.name in BITWISE:
            np.testing.assert_array_equal(got, want, err_msg=f"{spec.name}, {name}")
        scale = spec.scale(arguments, spec.conventions[0])
        assert_close(got, want, spec.k, scale, backend.dtype, f"{spec.name}, {name}")


def test_scores_agree_with_the_reference(backend):
    """Every score under both conventions; ORIGINAL's encoder volume is rounding noise and is left out (Q3)."""
    m = model(backend.dtype)
    x = gaussian(seeded("scores", 33), 33, D, backend.dtype)
    for convention in (EXACT, ORIGINAL):
        noisy = {"jacobian_encoder", "proposed_encoder"} if convention is ORIGINAL else set()
        names = [name for name in available_scores(convention) if name not in noisy]
        got = score_table(m, x, names, convention=convention, backend=backend)
        want = score_table(m, x, names, convention=convention)
        code = np.max(encode_scale((m, x), convention))
        scale = code * (np.abs(want.to_numpy()).max(axis=0) + 100)
        assert_close(got.to_numpy(), want.to_numpy(), 16, scale, backend.dtype, f"{backend.name} {names}")


def test_a_row_alone_scores_as_in_a_batch(backend):
    m = model(backend.dtype)
    x = gaussian(seeded("batch", 9), 9, D, backend.dtype)
    together = score_table(m, x, backend=backend).to_numpy()
    alone = np.concatenate([score_table(m, x[i : i + 1], backend=backend).to_numpy() for i in range(9)])
    scale = np.max(encode_scale((m, x), EXACT)) * (np.abs(together) + 100)
    assert_close(alone, together, 16, scale, backend.dtype)


FAULTS = {
    "a millionth too large": lambda result: result * (1 + 1e-6),
    "two rows swapped": lambda result: result[::-1],
    "one value off": lambda result: np.concatenate([result[:-1], result[-1:] + 0.1]),
    "one value not a number": lambda result: np.concatenate([result[:-1], result[-1:] * np.nan]),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("spec", KERNELS, ids=lambda spec: spec.name)
def test_a_planted_fault_is_seen(spec, fault):
    """Tests of the tests, in float64: each fault in each kernel must break the bound."""
    numpy = get_backend("numpy")
    arguments = spec.inputs(seeded(spec.name, 33), 33, np.float64)
    want = spec(numpy, arguments, spec.conventions[0])
    with pytest.raises(AssertionError, match="eps·scale"):
        assert_close(FAULTS[fault](want), want, spec.k, spec.scale(arguments, spec.conventions[0]))


def test_the_table_names_every_function_of_the_protocol():
    from pyscore.backends._protocol import Backend

    functions = {name for name in vars(Backend) if not name.startswith("_") and callable(getattr(Backend, name))}
    others = {"encode", "run_pass", "project", "laplace", "importance"}
    assert functions - set(BY_NAME) == others, (
        "encode and the iterations have tests of their own, run_pass the scores'"
    )
