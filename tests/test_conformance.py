"""Every backend, dtype and layout against the reference, driven by `kernel_specs.KERNELS`."""

import numpy as np
import pytest
from closeness import assert_close
from kernel_specs import BY_NAME, KERNELS, D, case, gaussian, model

from pyscore.backends import BACKENDS, available_backends, get_backend, stochastic
from pyscore.backends.tolerance import error_in_eps
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import ShapeError
from pyscore.reference import network
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
    for convention in spec.conventions:
        if n < spec.least_rows:
            with pytest.raises(ShapeError, match="at least"):
                spec(backend, spec.inputs(seeded(spec.name, n), n, backend.dtype), convention)
            continue
        drawn = case(spec.name, n, backend.dtype, convention)
        got = spec(backend, drawn.arguments, convention)
        assert got.dtype == backend.dtype
        what = f"{backend.name} {backend.dtype} {spec.name} {convention.name} n={n}"
        assert_close(got, drawn.want, stochastic.K, drawn.scale, backend.dtype, what)


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
    drawn = case(spec.name, 9, backend.dtype, spec.conventions[0])
    arguments, want = drawn.arguments, spec(backend, drawn.arguments, spec.conventions[0])
    for name in ("read-only", "fortran", "strided", "reversed"):
        changed = tuple(layouts(a)[name] if isinstance(a, np.ndarray) and a.ndim else a for a in arguments)
        before = [a.copy() for a in changed if isinstance(a, np.ndarray)]
        got = spec(backend, changed, spec.conventions[0])
        after = [a for a in changed if isinstance(a, np.ndarray)]
        assert all(map(np.array_equal, before, after)), f"{spec.name} wrote to its input"
        if backend.name in BITWISE:
            np.testing.assert_array_equal(got, want, err_msg=f"{spec.name}, {name}")
        assert_close(got, want, stochastic.K, drawn.scale, backend.dtype, f"{spec.name}, {name}")


def flow(layers, size):
    """Largest value at the output if no product cancelled: |W|·…·|W| size + |b|."""
    for weight, bias in layers:
        size = np.abs(weight.astype(np.float64)) @ size + np.abs(bias.astype(np.float64))
    return float(size.max())


def encode_scale(arguments, convention):
    """The raw head is divided by its length: its absolute flow over |v|; and 1/|v|² for the eps of ORIGINAL."""
    m, x = arguments
    if len(x) == 0:
        return 1.0
    hidden = network.mlp(x.astype(np.float64), m.encoder, m.activation, last_active=True)
    length = np.linalg.norm(hidden @ m.mu.weight.astype(np.float64).T + m.mu.bias.astype(np.float64), axis=1)
    size = flow((*m.encoder, m.mu), np.abs(x.astype(np.float64)).max(axis=0))
    return (size + (convention.norm_eps == "machine") / length) / length


def test_scores_agree_with_the_reference(backend):
    """Every score under both conventions; ORIGINAL's encoder volume is rounding noise and is left out (Q3)."""
    m = model(backend.dtype)
    x = gaussian(seeded("scores", 33), 33, D, backend.dtype)
    for convention in (EXACT, ORIGINAL):
        noisy = {"jacobian_encoder", "proposed_encoder"} if convention is ORIGINAL else set()
        names = [name for name in available_scores(convention) if name not in noisy]
        got = score_table(m, x, names, convention=convention, backend=backend)
        want = score_table(m, x, names, convention=convention, backend="numpy")
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
    drawn = case(spec.name, 33, np.dtype(np.float64), spec.conventions[0])
    with pytest.raises(AssertionError, match="eps·scale"):
        assert_close(FAULTS[fault](drawn.want), drawn.want, stochastic.K, drawn.scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spec", KERNELS, ids=lambda spec: spec.name)
def test_four_times_the_allowed_error_is_seen_at_every_entry(spec, dtype):
    """And half of it isn't: the bound is neither empty nor infinite anywhere."""
    for convention in spec.conventions:
        drawn = case(spec.name, 33, np.dtype(dtype), convention)
        allowed = stochastic.K * float(np.finfo(dtype).eps) * drawn.scale
        assert (np.isfinite(allowed) & (allowed > 0)).all()
        for times, seen in ((4, True), (0.5, False)):
            error = error_in_eps(drawn.want + times * allowed, drawn.want, drawn.scale, dtype)
            assert ((error > stochastic.K) == seen).all(), f"{times} times the allowed error"


def test_the_table_names_every_function_of_the_protocol():
    from pyscore.backends._protocol import Backend

    functions = {name for name in vars(Backend) if not name.startswith("_") and callable(getattr(Backend, name))}
    others = {"run_pass", "project", "laplace", "importance"}
    assert functions - set(BY_NAME) == others, "the iterations have tests of their own, run_pass the scores'"
