"""Projection and posterior mode in one kernel, against `pyscore.reference.minimise` and against their own definition.

Two correct iterations stop at slightly different points. What is compared is well conditioned: the objective at the
point that was found, its gradient and its Hessian there, evaluated by the reference in float64. A row with several
minima may reach another one under rounding; in float64 nearly all rows have to reach the reference's.
"""

import numba
import numpy as np
import pytest
from closeness import assert_close, assert_conditioned
from numba import njit

from kernels import kernel_cases as cases
from pyscore import reference
from pyscore.backends.contract import DRAWS
from pyscore.backends.stochastic import K as ALLOWED
from pyscore.backends.stochastic import scale_of
from pyscore.convention import ORIGINAL
from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels import cpu
from pyscore.kernels.cpu._eigen import symmetric_eigen
from pyscore.kernels.cpu._simd import LANES
from pyscore.reference import network
from pyscore.reference.minimise import BETAS, beta_power, damped_newton, riemannian
from pyscore.reference.network import Dense

D, K, H = 9, 4, 16
SMOOTH = [name for name in cases.ACTIVATIONS if name not in ("relu", "leaky_relu")]
SIGMA2 = 0.3
SHARPEST = 40.0


def wide(net):
    return [Dense(w.astype(np.float64), b.astype(np.float64)) for w, b in net]


def mixture(k=K, p=5):
    kappa = np.geomspace(0.1, SHARPEST, p)
    return cases.sphere(p, k, np.float64, seed=9), kappa, reference.log_vmf_normaliser(kappa, k)


def objective(net, activation, x, *, prior=None, latent="sphere", precision=1.0, offset=0.0):
    """Value, gradient and Hessian along the latent space, by the reference."""
    layers, x = wide(net), x.astype(np.float64)

    def model(z):
        residual = x - network.mlp(z, layers, activation)
        j = network.mlp_jacobian(z, layers, activation)[1]
        value = 0.5 * precision * np.sum(residual**2, axis=1) + offset
        gradient = -precision * np.einsum("ndk,nd->nk", j, residual)
        hessian = precision * (np.swapaxes(j, 1, 2) @ j - network.mlp_hessian(z, layers, activation, residual))
        if prior == "gaussian":
            value = value + 0.5 * np.sum(z * z, axis=1) + 0.5 * z.shape[1] * np.log(2 * np.pi)
            gradient, hessian = gradient + z, hessian + np.eye(z.shape[1])
        elif prior is not None:
            log_pz, slope, bend = reference.log_prior_derivatives(z, *prior[:2])
            value, gradient, hessian = value - log_pz, gradient - slope, hessian - bend
        return value, *riemannian(z, gradient, hessian, latent)

    return model


def check_minimum(found, start, model, dtype, *, stationary=True):
    """Value and Hessian are the reference's at the point found; it is a minimum, and not worse than the start."""
    z = found.z.astype(np.float64)
    eps, scales = np.finfo(dtype).eps, scale_of(lambda z: column(*model(z)), (found.z,), dtype, draws=DRAWS)
    value, gradient, hessian = model(z)
    assert_close(found.value, value, ALLOWED, scales[:, 0], dtype)
    first = model(start.astype(np.float64))[0]
    assert (value <= first + ALLOWED * eps * scales[:, 0]).all()
    if not stationary:
        return
    norm, curvature = np.linalg.norm(gradient, axis=1), np.linalg.eigvalsh(hessian)
    ended = found.iterations < 100
    assert ended.mean() > 0.9
    # A step that is not taken any more changes the objective by rounding only: ½ gᵀH⁻¹g ≤ 64·eps·(1 + |value|).
    steep = np.linalg.norm(scales[:, 1:-1], axis=1)
    allowed = ALLOWED * eps * steep + np.sqrt(2 * 64 * eps * (1 + np.abs(value)) * np.abs(curvature).max(axis=1))
    assert (norm <= allowed)[ended].all(), np.max((norm / allowed)[ended])
    # Where log det H is known to 0.1; elsewhere rounding decides whether H is positive definite at all.
    pick = ALLOWED * eps * scales[:, -1] < 0.1
    assert pick.mean() > 0.4
    assert_close(found.log_det[pick], column(value, gradient, hessian)[pick, -1], ALLOWED, scales[pick, -1], dtype)


def column(value, gradient, hessian):
    """Value, gradient and log det of the Hessian, NaN where it is not positive definite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.column_stack([value, gradient, np.sum(np.log(np.linalg.eigvalsh(hessian)), axis=1)])


def problem(dtype, n=100, d=D, k=K, h=H, sizes=None, spread=1.0):
    net = cases.layers(sizes or (k, h, h, h, d), dtype)
    return net, (spread * cases.rows(n, d, dtype)).astype(dtype), cases.sphere(n, k, dtype)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("activation", cases.ACTIVATIONS)
def test_projection(dtype, activation):
    net, x, start = problem(dtype)
    found, model = cpu.damped_newton(net, activation, x, start), objective(net, activation, x)
    check_minimum(found, start, model, dtype, stationary=activation in SMOOTH)
    assert np.abs(np.linalg.norm(found.z.astype(np.float64), axis=1) - 1).max() <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("activation", SMOOTH)
def test_posterior_mode(dtype, activation):
    net, x, start = problem(dtype)
    options = {"precision": 1 / SIGMA2, "offset": 3.0, "prior": mixture()}
    found = cpu.damped_newton(net, activation, x, start, **options)
    check_minimum(found, start, objective(net, activation, x, **options), dtype)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("prior", [None, "gaussian"])
def test_gaussian_codes(dtype, prior):
    net, x, start = problem(dtype)
    options = {"precision": 1 / SIGMA2, "prior": prior}
    found = cpu.damped_newton(net, "tanh", x, start, sphere=False, **options)
    model = objective(net, "tanh", x, latent="euclidean", **options)
    check_minimum(found, start, model, dtype, stationary=prior is not None)


@pytest.mark.parametrize("sizes", [(2, 8, 3), (3, 16, 2), (9, 16, 16, 12), (4, 30), (17, 32, 20)], ids=str)
def test_other_shapes(sizes):
    net, x, start = problem(np.float64, n=33, d=sizes[-1], k=sizes[0], sizes=sizes)
    options = {"precision": 2.0, "prior": mixture(sizes[0])}
    found = cpu.damped_newton(net, "swish", x, start, **options)
    check_minimum(found, start, objective(net, "swish", x, **options), np.float64)


@pytest.mark.parametrize("activation", ["swish", "tanh"])
@pytest.mark.parametrize("prior", [None, mixture()], ids=["nearest", "mode"])
def test_the_same_minimum_as_the_reference(activation, prior):
    """The same steps and the same decisions: in float64 nearly every row ends where the reference's does."""
    net, x, start = problem(np.float64, n=400, spread=2.0)
    options = {"precision": 1 / SIGMA2, "prior": prior}
    found = cpu.damped_newton(net, activation, x, start, **options)
    model = objective(net, activation, x, **options)
    want = damped_newton(start, model, latent="sphere", steps=100)
    value = model(want.z)[0]
    same = np.abs(found.value - value) <= 1e-10 * (1 + np.abs(value))
    assert same.mean() >= 0.97
    curvature = np.linalg.eigvalsh(model(want.z)[2])
    sharp = same & (curvature[:, 0] > 1e-3 * curvature[:, -1])
    assert sharp.mean() > 0.8
    assert np.abs(found.z - want.z)[sharp].max() < 1e-6  # √eps: the objective is flat at its minimum
    assert np.median(np.abs(found.iterations - want.iterations)) <= 2


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_bits(dtype):
    """Whoever shares a tile, whenever a row enters it, and on however many threads."""
    net, x, start = problem(dtype, n=701, spread=2.0)
    options = {"prior": mixture(), "precision": 2.0}
    expected = cpu.damped_newton(net, "swish", x, start, **options)
    threads = numba.get_num_threads()
    order = np.random.default_rng(0).permutation(701)
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            for groups in (1, 2, 4):
                again = cpu.damped_newton(net, "swish", x, start, groups=groups, **options)
                assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(again, expected, strict=True))
    finally:
        numba.set_num_threads(threads)
    mixed = cpu.damped_newton(net, "swish", x[order], start[order], **options)
    assert all(np.array_equal(a, b[order], equal_nan=True) for a, b in zip(mixed, expected, strict=True))
    for i in (0, 350, 700):
        alone = cpu.damped_newton(net, "swish", x[i : i + 1], start[i : i + 1], **options)
        assert all(np.array_equal(a[0], b[i], equal_nan=True) for a, b in zip(alone, expected, strict=True))


def test_rows_that_need_many_steps_end_where_they_do_alone():
    net, x, start = problem(np.float64, n=64)
    x[::7] *= 30  # far rows: many steps, and many of them refused
    together = cpu.damped_newton(net, "tanh", x, start)
    assert together.iterations.max() > 2 * np.median(together.iterations)
    alone = [cpu.damped_newton(net, "tanh", x[i : i + 1], start[i : i + 1]) for i in range(64)]
    for name in ("z", "value", "iterations"):
        assert np.array_equal(np.concatenate([getattr(a, name) for a in alone]), getattr(together, name)), name


def test_nan_rows_stay_alone():
    net, x, start = problem(np.float32, n=60)
    expected = cpu.damped_newton(net, "swish", x, start)
    x[11, 2] = np.nan
    found = cpu.damped_newton(net, "swish", x, start)
    assert np.isnan(found.value[11])
    assert np.array_equal(found.z[11], start[11])
    others = np.arange(60) != 11
    assert all(np.array_equal(a[others], b[others], equal_nan=True) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("steps", [0, 1])
def test_few_steps_and_few_rows(n, steps):
    net, x, start = problem(np.float64, n=n)
    found = cpu.damped_newton(net, "swish", x, start, steps=steps)
    model = objective(net, "swish", x)
    assert (found.iterations == steps).all()
    assert (found.value <= model(start)[0] + 1e-12).all()
    if not steps:
        assert np.array_equal(found.z, start)


def test_a_saddle_is_no_mode():
    """At a maximum along the sphere the gradient is zero: no step is taken, and log det says so."""
    eye = np.eye(2)
    found = cpu.damped_newton([(eye, np.zeros(2))], "identity", -2.0 * eye[:1], eye[:1])
    assert np.array_equal(found.z, eye[:1])
    assert np.isnan(found.log_det).all()


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_adam(dtype):
    """float32 follows float64 to what 100 steps of 1e-3 make of a gradient's rounding."""
    net, x, start = problem(dtype, n=41)
    powers = [[beta_power(beta, t) for t in range(101)] for beta in BETAS]
    found = cpu.adam_descent(net, "swish", x, start, powers)
    layers = wide(net)

    def evaluate(x, start):
        run = reference.project(
            x, start, lambda z: network.mlp(z, layers, "swish"),
            lambda z: network.mlp_jacobian(z, layers, "swish")[1], convention=ORIGINAL,
        )  # fmt: skip
        return np.column_stack([run.z, run.gradient_norm])

    got = np.column_stack([found.z, found.gradient_norm])
    assert_conditioned(got, None, evaluate, (x, start), dtype, draws=8)
    again = cpu.adam_descent(net, "swish", x, start, powers, groups=1)
    assert all(np.array_equal(a, b) for a, b in zip(again, found, strict=True))


@njit
def _eigen(work, m):
    symmetric_eigen(work, 0, m)


@pytest.mark.parametrize("m", [1, 2, 3, 8, 20])
def test_eigen(m):
    rng = np.random.default_rng(m)
    a = rng.standard_normal((LANES, m, m)) * np.logspace(-20, 20, LANES)[:, None, None]
    a = a + np.swapaxes(a, 1, 2)
    a[0], a[1] = 0.0, np.eye(m)
    a[2] = np.ones((m, m))  # a multiple eigenvalue
    a[3, 0, 0] = np.nan
    work = np.zeros(2 * m * m * LANES)
    work[: m * m * LANES] = a.reshape(LANES, -1).T.ravel()
    _eigen(work, m)
    values, vectors = np.moveaxis(work.reshape(2, m, m, LANES), -1, 1)
    for s in [s for s in range(LANES) if s != 3]:
        size = max(np.abs(a[s]).max(), 1e-300)
        assert (
            np.abs(np.sort(np.diag(values[s])) - np.linalg.eigvalsh(a[s])).max()
            <= 32 * m * np.finfo(float).eps * size
        )
        assert np.abs(vectors[s].T @ vectors[s] - np.eye(m)).max() <= 32 * m * np.finfo(float).eps
        rest = a[s] @ vectors[s] - vectors[s] * np.diag(values[s])
        assert np.abs(rest).max() <= 32 * m * np.finfo(float).eps * size


@pytest.mark.parametrize("fault", ["moved", "value", "log_det"])
def test_a_planted_fault_is_seen(fault):
    net, x, start = problem(np.float64)
    found, model = cpu.damped_newton(net, "swish", x, start), objective(net, "swish", x)
    wrong = {
        "moved": found._replace(z=reference.normalize(found.z + 1e-6)),
        "value": found._replace(value=found.value * (1 + 1e-9)),
        "log_det": found._replace(log_det=found.log_det + 1e-6),
    }[fault]
    with pytest.raises(AssertionError):
        check_minimum(wrong, start, model, np.float64)


def test_errors_say_what_to_do():
    net, x, start = problem(np.float32, n=4)
    with pytest.raises(ShapeError, match="`z` must have one row for each of the 4 rows of `x`; got 3"):
        cpu.damped_newton(net, "swish", x, start[:3])
    with pytest.raises(InvalidInput, match="`prior` must be 'gaussian' off the sphere, or a mixture, or None"):
        cpu.damped_newton(net, "swish", x, start, prior="gaussian")
    line = cases.layers((1, 5), np.float32)
    with pytest.raises(InvalidInput, match="`z` must have at least 2 columns, so that it can move; got 1"):
        cpu.damped_newton(line, "swish", cases.rows(2, 5, np.float32), np.ones((2, 1), np.float32))
    with pytest.raises(ShapeError, match="one row for each of the 4 rows"):
        cpu.adam_descent(net, "swish", x, start[:3], np.ones((2, 3)))
