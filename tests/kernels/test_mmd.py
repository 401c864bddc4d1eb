"""Kernel means, MMD and its gradient on the CPU against the float64 reference and mpmath."""

import functools
import tracemalloc

import numba
import numpy as np
import pytest
from closeness import assert_close, assert_conditioned
from replay import dense_mmd, torch_spread

from kernels import kernel_cases as cases
from pyscore import reference
from pyscore.backends.stochastic import K
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels import cpu

WIDTHS = np.array([0.001, 0.01, 0.1, 1.0])
CONVENTIONS = pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=["exact", "original"])


@pytest.mark.parametrize("spread", [1.0, 0.01])
@pytest.mark.parametrize(("n", "m", "k"), [(2, 2, 2), (2, 33, 3), (33, 57, 2), (257, 100, 9)])
@CONVENTIONS
def test_mmd_float32(n, m, k, spread, convention):
    x, y = cases.sphere(n, k, np.float32, 1, spread), cases.sphere(m, k, np.float32, 2, spread)
    evaluate = functools.partial(reference.mmd_imq, c=WIDTHS, convention=convention)
    assert_conditioned(
        cpu.mmd_imq(x, y, WIDTHS, diagonal=convention.mmd_diagonal), None, evaluate, (x, y), np.float32
    )


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("c", [1e-10, 1e-3, 1.0])
def test_kernel_means_against_mpmath(dtype, c):
    """The distance is |x−y|² plus what the norms lack, so that even c = 1e-10 keeps its digits.

    The reference's 1 − x·y does not: the bound is that of moved points, whose distances keep their digits, too.
    """
    x, y = cases.sphere(9, 3, dtype, 1, 1e-3), cases.sphere(7, 3, dtype, 2, 1e-3)

    def kernel_mean(x, y=None):
        other = x if y is None else y
        chord = np.sum((x[:, None] - other) ** 2, axis=2) + (1 - np.sum(x * x, axis=1))[:, None]
        kernel = c / (c + np.maximum(0, 0.5 * (chord + 1 - np.sum(other * other, axis=1))))
        return kernel.mean() if y is not None else kernel[~np.eye(len(x), dtype=bool)].mean()

    for rows in ((x,), (x, y)):
        exact = cases.exact_kernel_mean(x, y if len(rows) == 2 else None, c)
        other = y if len(rows) == 2 else None
        assert_conditioned(cpu.kernel_mean(x, other, c), exact, kernel_mean, rows, dtype)


@pytest.mark.parametrize("kernel", ["imq", "gaussian", "rq"])
@pytest.mark.parametrize("distance", ["cosine", "squared_euclidean"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_kernels_of_ipmeasures(kernel, distance, dtype):
    x, y = cases.sphere(40, 4, dtype, 1), cases.sphere(35, 4, dtype, 2)
    options = {"kernel": kernel, "distance": distance}
    for name in ("kernel_mean", "mmd"):

        def evaluate(x, y, name=name):
            return np.array([getattr(reference, name)(x, y, width=c, **options) for c in WIDTHS])

        assert_conditioned(getattr(cpu, name)(x, y, WIDTHS, **options), None, evaluate, (x, y), dtype, what=name)


def test_many_widths_are_single_widths_bit_for_bit():
    x, y, grid = cases.sphere(50, 3, np.float32, 1), cases.sphere(70, 3, np.float32, 2), reference.WIDTH_GRID
    assert grid.size == 241
    together = cpu.mmd_imq(x, y, grid.reshape(1, -1))
    assert together.shape == (1, 241)
    assert [cpu.mmd_imq(x, y, c) for c in grid[::20]] == list(together[0, ::20])


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_bits_do_not_depend_on_threads(dtype):
    x, y = cases.sphere(1501, 3, dtype, 1), cases.sphere(1402, 3, dtype, 2)
    threads = numba.get_num_threads()
    results = []
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            gradient = cpu.mmd_gradient(x, y, 0.1)
            results.append((cpu.mmd_imq(x, y, WIDTHS), gradient.value, gradient.x, gradient.y))
    finally:
        numba.set_num_threads(threads)
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_layouts():
    x, y = cases.sphere(33, 4, np.float32, 1), cases.sphere(20, 4, np.float32, 2)
    expected = cpu.mmd_imq(x, y)
    for name, array in cases.layouts(x).items():
        assert cpu.mmd_imq(array, y) == expected, name


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("diagonal", ["removed", "kept"])
@pytest.mark.parametrize("c", [0.01, 1.0])
@pytest.mark.parametrize(("n", "m"), [(2, 3), (33, 57), (100, 100)])
def test_gradient_against_autograd(dtype, diagonal, c, n, m):
    # norms below 1, so that no distance is at the kink of max(0, ·), where rounding alone decides
    x, y = 0.99 * cases.sphere(n, 3, np.float64, 1), 0.99 * cases.sphere(m, 3, np.float64, 2)
    x, y = x.astype(dtype), y.astype(dtype)
    evaluate = functools.partial(dense_mmd, x, y, c, diagonal)
    scales = torch_spread(evaluate, dtype)
    for part, want, scale in zip(cpu.mmd_gradient(x, y, c, diagonal=diagonal), evaluate(), scales, strict=True):
        assert_close(part, want.numpy(), K, scale, dtype)


def test_memory_is_flat():
    x, y = cases.sphere(6000, 2, np.float32, 1), cases.sphere(6000, 2, np.float32, 2)
    cpu.mmd_imq(x, y)
    tracemalloc.start()
    cpu.mmd_imq(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # a 6000 × 6000 matrix is 144 MB


def test_nan_gives_nan():
    x, y = cases.sphere(33, 3, np.float32, 1), cases.sphere(20, 3, np.float32, 2)
    x[32, 1] = np.nan
    assert np.isnan(cpu.mmd_imq(x, y))
    assert np.isfinite(cpu.mmd_imq(x[:32], y))


def test_errors_say_what_to_do():
    x = cases.sphere(4, 3, np.float32)
    with pytest.raises(ShapeError, match=r"`y` must have shape \(n, 3\); got \(4, 2\)"):
        cpu.mmd_imq(x, x[:, :2])
    with pytest.raises(InvalidInput, match=r"`y` must be float32 like `x`; got float64"):
        cpu.mmd_imq(x, x.astype(np.float64))
    with pytest.raises(
        InvalidInput, match=r"`c` must hold kernel widths between 1e-18 and 1e\+18 for float32; got 0"
    ):
        cpu.mmd_imq(x, x, 0.0)
    with pytest.raises(ShapeError, match="at least one row"):
        cpu.mmd_imq(x[:0], x)
    with pytest.raises(ShapeError, match="at least 2 rows"):
        cpu.mmd_imq(x[:1], x)
    with pytest.raises(InvalidInput, match=r"`kernel` must be one of 'imq', 'gaussian', 'rq'; got 'cauchy'"):
        cpu.mmd(x, x, kernel="cauchy")
    with pytest.raises(InvalidInput, match=r"`c` must be one width for a gradient; got an array of shape \(2,\)"):
        cpu.mmd_gradient(x, x, [0.1, 1.0])


@pytest.mark.parametrize("wrong", ["scaled", "diagonal", "width", "one row less"])
def test_a_perturbed_kernel_fails(wrong):
    x, y = cases.sphere(33, 3, np.float32, 1), cases.sphere(57, 3, np.float32, 2)
    good, evaluate = cpu.mmd_imq(x, y, 0.1), functools.partial(reference.mmd_imq, c=0.1)
    assert_conditioned(good, None, evaluate, (x, y), np.float32)
    computed = {
        "scaled": good + 5e-6,
        "diagonal": cpu.mmd_imq(x, y, 0.1, diagonal="kept"),
        "width": cpu.mmd_imq(x, y, 0.101),
        "one row less": cpu.mmd_imq(x[1:], y, 0.1),
    }[wrong]
    with pytest.raises(AssertionError, match="eps·scale"):
        assert_conditioned(computed, None, evaluate, (x, y), np.float32)
