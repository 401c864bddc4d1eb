"""The CUDA kernels, on a GPU or on numba-cuda's simulator with several blocks on tiny inputs.

Without either they are skipped: `NUMBA_ENABLE_CUDASIM=1 pytest -m cuda` runs them anywhere.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from kernels import kernel_cases as cases
from kernels import test_newton
from pyscore import reference
from pyscore.bench import fibers
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import BackendUnavailable, InvalidInput, ShapeError
from pyscore.kernels import cpu, cuda
from pyscore.kernels.cpu.decoder_log_volume import TOLERANCE as DECODER
from pyscore.kernels.cpu.encoder_log_volume import TOLERANCE as ENCODER
from pyscore.kernels.cpu.log_volume import TOLERANCE as VOLUME
from pyscore.kernels.cpu.mmd import TOLERANCE as MMD
from pyscore.kernels.cuda import _launch, _network, _target
from pyscore.reference import network, sampling
from pyscore.reference.minimise import BETAS, beta_power
from pyscore.reference.sampling import VMFDraws

fibers.install()
pytestmark = [
    pytest.mark.cuda,
    # the simulator computes with NumPy, and what pads a block is never set
    pytest.mark.filterwarnings("ignore:(invalid value|overflow|divide by zero) encountered:RuntimeWarning"),
    pytest.mark.skipif(cuda.device_fault() is not None, reason=f"cuda kernels: {cuda.device_fault()}"),
]
DTYPE = pytest.mark.parametrize("dtype", cases.DTYPES)


def same_bits(a, b):
    return all(np.array_equal(p, q, equal_nan=True) for p, q in zip(a, b, strict=True))


@DTYPE
@pytest.mark.parametrize("activation", cases.ACTIVATIONS)
def test_decoder(dtype, activation):
    z = cases.sphere(5, 3, dtype)
    net, decoded, volume, cond = cases.decoder_case(3, 5, 6, dtype, activation, z, True)
    result = cuda.decoder_log_volume(net, activation, z, samples=2)
    eps = np.finfo(dtype).eps
    cases.assert_close_eps(result.decoded, decoded, k=32, scale=1 + np.abs(decoded).max(), eps=eps)
    good = cond < 0.01 / eps
    assert good.any()
    cases.assert_close_eps(result.volume[good], volume[good], k=DECODER, scale=4 * cond[good], eps=eps)


@DTYPE
@pytest.mark.parametrize(("k", "d", "tangent"), [(2, 6, True), (4, 3, True), (3, 4, False), (2, 9, False)])
def test_decoder_shapes(dtype, k, d, tangent):
    z = cases.sphere(3, k, dtype)
    net, _, volume, cond = cases.decoder_case(k, d, 9, dtype, "swish", z, tangent)
    result = cuda.decoder_log_volume(net, "swish", z, tangent, samples=2)
    cases.assert_close_eps(result.volume, volume, k=DECODER, scale=4 * cond, eps=np.finfo(dtype).eps)


@DTYPE
def test_encoder(dtype):
    x = cases.rows(5, 6, dtype)
    net, mu, volume, cond = cases.encoder_case(6, 3, 5, dtype, "tanh", x, EXACT)
    result = cuda.encoder_log_volume(net, "tanh", x, samples=2)
    small = 1 / np.minimum(1, np.linalg.norm(cpu.mlp(net, "tanh", x).astype(np.float64), axis=1))
    eps = np.finfo(dtype).eps
    cases.assert_close_eps(result.mu, mu, k=32, scale=small[:, None] ** 2, eps=eps)
    cases.assert_close_eps(result.volume, volume, k=ENCODER, scale=4 * cond * small**2, eps=eps)


@DTYPE
@pytest.mark.parametrize(("d", "k"), [(5, 3), (3, 5), (4, 4), (6, 1)])
def test_log_volume(dtype, d, k):
    jacobian = cases.jacobians(5, d, k, 100, dtype)
    exact = [cases.exact_log_volume(j) for j in jacobian]
    result = cuda.log_volume(jacobian, samples=2)
    scale = np.linalg.cond(jacobian.astype(np.float64)) * min(d, k)
    cases.assert_close_eps(result.volume, exact, k=VOLUME, scale=scale, eps=np.finfo(dtype).eps)


def test_singular_and_not_finite_rows_stay_alone():
    jacobian = cases.jacobians(7, 4, 3, 10, np.float64)
    expected = cuda.log_volume(jacobian, samples=2).volume
    jacobian[1, :, 1], jacobian[3, 2, 2], jacobian[4, 0, 2] = 0.0, np.nan, np.inf
    expected[1], expected[[3, 4]] = -np.inf, np.nan
    result = cuda.log_volume(jacobian, samples=2)
    assert np.array_equal(result.volume, expected, equal_nan=True)
    assert result.smallest[1] == 0


def proposed(kernels, x, **options):
    encoder, decoder = cases.layers((6, 5, 5, 3), x.dtype), cases.layers((3, 5, 5, 6), x.dtype, seed=7)
    mu, kappa = cases.sphere(2, 3, np.float64, seed=9), np.array([1.0, 20.0])
    prior = mu, kappa, reference.log_vmf_normaliser(kappa, 3)
    keep = frozenset({"z", "decoded"})
    return kernels.proposed(encoder, decoder, "swish", x, *prior, sigma2=0.5, keep=keep, **options)


@DTYPE
def test_proposed(dtype):
    x = cases.rows(7, 6, dtype)
    computed, expected = proposed(cuda, x, samples=3), proposed(cpu, x)
    for name, a, b in zip(computed._fields, computed, expected, strict=True):
        assert a.dtype == b.dtype, name
        cases.assert_close_eps(a, b, k=64, scale=1 + np.abs(b).max(), eps=np.finfo(dtype).eps)


@DTYPE
def test_bits_do_not_depend_on_block_size_or_batch_mates(dtype):
    z, x = cases.sphere(5, 3, dtype), cases.rows(5, 6, dtype)
    decoder, encoder = cases.layers((3, 5, 6), dtype), cases.layers((6, 5, 3), dtype)
    for run, rows in (
        (lambda a, **o: cuda.decoder_log_volume(decoder, "swish", a, **o), z),
        (lambda a, **o: cuda.encoder_log_volume(encoder, "swish", a, **o), x),
    ):
        expected = run(rows, samples=2)
        assert same_bits(run(rows, samples=1), expected)
        assert same_bits(run(rows, samples=5), expected)
        assert same_bits(run(rows[3:4], samples=3), [field[3:4] for field in expected])


@DTYPE
@pytest.mark.parametrize("diagonal", ["removed", "kept"])
def test_mmd_imq(dtype, diagonal):
    x, y = cases.sphere(33, 3, dtype, 1), cases.sphere(5, 3, dtype, 2)  # two blocks and one
    widths = [0.01, 1.0]
    expected = cpu.mmd_imq(x, y, widths, diagonal=diagonal)
    computed = cuda.mmd_imq(x, y, widths, diagonal=diagonal)
    within = sum(cpu.kernel_mean(rows, None, widths, diagonal=diagonal) for rows in (x, y))
    scale = within + 2 * cpu.kernel_mean(x, y, widths)
    cases.assert_close_eps(computed, expected, k=MMD, scale=scale, eps=np.finfo(dtype).eps)


@pytest.mark.parametrize("kernel", ["imq", "gaussian", "rq"])
@pytest.mark.parametrize("distance", ["cosine", "squared_euclidean"])
def test_kernels_of_ipmeasures(kernel, distance):
    x, y = cases.sphere(9, 2, np.float64, 1), cases.sphere(6, 2, np.float64, 2)
    options = {"kernel": kernel, "distance": distance}
    expected = reference.mmd(x, y, width=0.3, **options)
    cases.assert_close_eps(cuda.mmd(x, y, 0.3, **options), expected, k=MMD, scale=4, eps=np.finfo(np.float64).eps)


@DTYPE
def test_gradient(dtype):
    x, y = 0.99 * cases.sphere(11, 2, np.float64, 1), 0.99 * cases.sphere(9, 2, np.float64, 2)
    x, y = x.astype(dtype), y.astype(dtype)
    computed, expected = cuda.mmd_gradient(x, y, 0.1), cpu.mmd_gradient(x, y, 0.1)
    for a, b in zip(computed, expected, strict=True):
        cases.assert_close_eps(a, b, k=16, scale=4, eps=np.finfo(dtype).eps)


def test_no_rows():
    net = cases.layers((3, 5, 6), np.float32)
    result = cuda.decoder_log_volume(net, "swish", np.empty((0, 3), np.float32))
    assert [a.shape for a in result] == [(0,), (0, 6), (0,), (0,)]
    assert cuda.log_volume(np.empty((0, 4, 2))).volume.shape == (0,)
    assert cuda.mlp(net, "swish", np.empty((0, 3), np.float32)).shape == (0, 6)


def test_device_arrays_stay_on_the_device():
    from pyscore.kernels.cuda._target import is_device_array, to_device

    net, z = cases.layers((3, 5, 6), np.float32), cases.sphere(4, 3, np.float32)
    expected = cuda.decoder_log_volume(net, "swish", z)
    result = cuda.decoder_log_volume(net, "swish", to_device(z))
    assert all(is_device_array(field) for field in result)
    assert same_bits([field.copy_to_host() for field in result], expected)


def test_errors_say_what_to_do():
    net, z = cases.layers((3, 5, 6), np.float32), cases.sphere(4, 3, np.float32)
    with pytest.raises(ShapeError, match=r"`z` must have shape \(n, 3\); got \(4, 2\)"):
        cuda.decoder_log_volume(net, "swish", z[:, :2])
    with pytest.raises(InvalidInput, match=r"`z` must be float32 like the rest; got float64"):
        cuda.decoder_log_volume(net, "swish", z.astype(np.float64))
    with pytest.raises(InvalidInput, match=r"needs more shared memory or threads than a block has"):
        cuda.decoder_log_volume(net, "swish", z, samples=10_000)


def test_a_perturbed_kernel_fails():
    z = cases.sphere(5, 3, np.float64)
    net, _, volume, cond = cases.decoder_case(3, 5, 6, np.float64, "swish", z, True)
    good = cuda.decoder_log_volume(net, "swish", z, samples=2).volume
    bound = {"k": DECODER, "scale": 4 * cond, "eps": np.finfo(np.float64).eps}
    cases.assert_close_eps(good, volume, **bound)
    for wrong in (good * (1 + 1e-6), np.roll(good, 1), cuda.decoder_log_volume(net, "relu", z, samples=2).volume):
        with pytest.raises(AssertionError, match="eps·scale"):
            cases.assert_close_eps(wrong, volume, **bound)


def test_backend():
    from pyscore.backends import get_backend
    from pyscore.reference.model import SVAE

    model, x = SVAE.initialise(4, 2, 3, 2), cases.rows(5, 4, np.float32)
    wanted = frozenset({"log_likelihood", "log_prior", "decoder_log_volume", "encoder_log_volume"})
    backend, other = get_backend("cuda"), get_backend("numba")
    computed = backend.run_pass(model, x, wanted)
    expected = other.run_pass(model, x, wanted)
    for name in wanted:
        scale = 1 + np.abs(expected[name]).max()
        cases.assert_close_eps(computed[name], expected[name], k=64, scale=scale, eps=np.finfo(np.float32).eps)
    with pytest.raises((InvalidInput, BackendUnavailable), match="CUDA_VISIBLE_DEVICES"):
        get_backend("cuda", device="cuda:7")


@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=["exact", "original"])
def test_scores_of_the_backend(convention):
    """`importance`, `projected`'s nearest points and `laplace` through the backend, in float64."""
    from pyscore.backends import get_backend
    from pyscore.reference.model import SVAE

    model, x = SVAE.initialise(4, 2, 3, 2, dtype=np.float64), cases.rows(2, 4, np.float64)
    backend, other = (get_backend(name, dtype=np.float64) for name in ("cuda", "numba"))
    eps, options = np.finfo(np.float64).eps, {"convention": convention}
    draws = VMFDraws(np.random.default_rng(0).beta(0.5, 0.5, 6), np.random.default_rng(1).standard_normal((6, 1)))
    for source in ({"draws": draws}, {"seed": 3}) if convention is EXACT else ({"draws": draws},):
        got, want = (b.importance(model, x, 0.5, **source, **options) for b in (backend, other))
        cases.assert_close_eps(got, want, k=64, scale=1 + np.abs(want).max(), eps=eps)
    got, want = (b.project(model, x, steps=2, **options) for b in (backend, other))
    cases.assert_close_eps(got.z, want.z, k=1024, scale=1, eps=eps)
    start = reference.normalize(cases.rows(2, 2, np.float64))
    got, want = (b.laplace(model, x, start, 0.5, **options) for b in (backend, other))
    cases.assert_close_eps(got, want, k=1024, scale=1 + np.abs(want).max(), eps=eps)


# ── projection and posterior mode ──


def newton_problem(dtype, n=4, d=5, k=3, h=6, sizes=None):
    return test_newton.problem(dtype, n=n, d=d, k=k, h=h, sizes=sizes)


MODE = {"precision": 1 / test_newton.SIGMA2, "offset": 3.0, "prior": test_newton.mixture(3, 2)}


@DTYPE
@pytest.mark.parametrize("options", [{}, MODE], ids=["nearest", "mode"])
def test_newton_steps(dtype, options):
    net, x, start = newton_problem(dtype)
    found, model = cuda.damped_newton(net, "swish", x, start, samples=2, **options), test_newton.objective
    model = model(net, "swish", x, **options)
    test_newton.check_minimum(found, start, model, dtype)
    if dtype is np.float64:
        want = cpu.damped_newton(net, "swish", x, start, **options)
        assert np.abs(found.z - want.z).max() < 1e-6
        cases.assert_close_eps(found.value, want.value, k=64, scale=10, eps=np.finfo(dtype).eps)


@pytest.mark.parametrize("activation", cases.ACTIVATIONS)
def test_derivatives_where_the_steps_begin(activation):
    """No step is taken: value, gradient and log det of the Hessian of every activation, at the start."""
    net, x, start = newton_problem(np.float64, n=2, d=6, sizes=(3, 5, 4, 6))
    x = x.astype(np.float64) * 0.1
    options = {"precision": 2.0, "prior": test_newton.mixture(3, 2)}
    found = cuda.damped_newton(net, activation, x, start, steps=0, samples=2, **options)
    value, gradient, hessian = test_newton.objective(net, activation, x, **options)(start)
    assert np.array_equal(found.z, start)
    eps = np.finfo(np.float64).eps
    cases.assert_close_eps(found.value, value, k=8, scale=40 + np.abs(value), eps=eps)
    cases.assert_close_eps(found.gradient_norm, np.linalg.norm(gradient, axis=1), k=8, scale=100, eps=eps)
    _, log_det = np.linalg.slogdet(hessian)
    positive = np.linalg.eigvalsh(hessian)[:, 0] > 0
    expected = np.where(positive, log_det, np.nan)
    cond = np.linalg.cond(hessian)
    cases.assert_close_eps(found.log_det, expected, k=64, scale=test_newton.SHARPEST**2 * cond, eps=eps)


@pytest.mark.parametrize("prior", [None, "gaussian"])
def test_gaussian_codes(prior):
    net, x, start = newton_problem(np.float64, n=3)
    options = {"precision": 2.0, "prior": prior, "sphere": False, "steps": 3}
    found = cuda.damped_newton(net, "tanh", x, start, **options)
    want = cpu.damped_newton(net, "tanh", x, start, **options)
    for a, b in zip(found, want, strict=True):
        cases.assert_close_eps(a, b, k=2**16, scale=1 + np.nanmax(np.abs(b)), eps=np.finfo(np.float64).eps)


@DTYPE
def test_bits_of_newton_steps(dtype):
    net, x, start = newton_problem(dtype, n=5)
    x[1] *= 10  # a row that takes longer than its mates
    x[3, 2] = np.nan
    options = {"steps": 4, **MODE}
    expected = cuda.damped_newton(net, "swish", x, start, samples=2, **options)
    assert np.isnan(expected.value[3])
    assert np.array_equal(expected.z[3], start[3])
    assert same_bits(cuda.damped_newton(net, "swish", x, start, samples=3, chunk=2, **options), expected)
    order = [4, 2, 0]
    mixed = cuda.damped_newton(net, "swish", x[order], start[order], samples=1, **options)
    assert same_bits(mixed, [field[order] for field in expected])


def test_a_saddle_is_no_mode():
    eye = np.eye(2)
    found = cuda.damped_newton([(eye, np.zeros(2))], "identity", -2.0 * eye[:1], eye[:1])
    assert np.array_equal(found.z, eye[:1])
    assert np.isnan(found.log_det).all()


@DTYPE
def test_adam(dtype):
    net, x, start = newton_problem(dtype, n=4)
    powers = [[beta_power(beta, t) for t in range(5)] for beta in BETAS]
    found, want = (kernels.adam_descent(net, "swish", x, start, powers) for kernels in (cuda, cpu))
    eps = np.finfo(dtype).eps
    cases.assert_close_eps(found.z, want.z, k=8, scale=2, eps=eps)
    scale = 1 + np.abs(x).sum(axis=1)
    cases.assert_close_eps(found.gradient_norm, want.gradient_norm, k=16, scale=scale, eps=eps)
    assert same_bits(cuda.adam_descent(net, "swish", x, start, powers, samples=3), found)


# ── importance sampling ──


def importance_problem(dtype):
    net, x = cases.layers((3, 5, 4), dtype), cases.rows(4, 4, dtype)
    mu = cases.sphere(4, 3, dtype, spread=2.0)
    mu[:2] = np.eye(2, 3)  # the pole, where the mirror has no direction, and its neighbour
    return net, x, mu, np.array([0.0, 0.3, 7.0, 300.0]), test_newton.mixture(3, 2)


@DTYPE
@pytest.mark.parametrize("outer", [False, True])
def test_importance(dtype, outer):
    net, x, mu, kappa, prior = importance_problem(dtype)
    mu, kappa, x = (mu[2:], kappa[2:], x[2:]) if outer else (mu, kappa, x)
    keys, stream = sampling.row_keys(x), sampling.STREAMS["importance"]
    options = {"sigma2": 0.3, "outer": outer, "norm_eps": reference.EPS if outer else 0.0}
    found = cuda.importance(net, "swish", x, mu, kappa, prior, (keys, 7, stream, 5), chunk=10, **options)
    want = cpu.importance(net, "swish", x, mu, kappa, prior, (keys, 7, stream, 5), **options)
    bound = {"k": 8, "scale": 400 + np.abs(want.weight), "eps": np.finfo(dtype).eps}
    cases.assert_close_eps(found.weight, want.weight, **bound)
    cases.assert_close_eps(found.prior, want.prior, **bound)
    assert found.unaccepted == want.unaccepted == 0
    draws = sampling.importance_draws(keys, kappa, 3, 5, 7)
    given = cuda.importance(net, "swish", x, mu, kappa, prior, draws, **options)
    cases.assert_close_eps(given.weight, want.weight, **bound)
    last = slice(len(x) - 1, None)
    alone = cuda.importance(
        net, "swish", x[last], mu[last], kappa[last], prior, (keys[last], 7, stream, 5), samples=3, **options
    )
    assert same_bits(alone[:2], [field[last] for field in found[:2]])
    for wrong in ((keys, 8, stream, 5), (keys, 7, stream + 1, 5), (keys[::-1], 7, stream, 5)):
        other = cuda.importance(net, "swish", x, mu, kappa, prior, wrong, **options)
        with pytest.raises(AssertionError, match="eps·scale"):
            cases.assert_close_eps(other.weight, want.weight, **bound)


def test_philox_is_numpys():
    from pyscore.kernels.cuda._draws import philox
    from pyscore.kernels.cuda._target import cuda as target
    from pyscore.kernels.cuda._target import to_device

    @target.jit
    def kernel(seed, stream, out):
        philox(seed, stream, 2, 3, 5, out)

    out = to_device(np.zeros(4, np.uint64))
    kernel[1, 1](np.uint64(2**63 + 1), np.uint64(9), out)
    generator = np.random.Philox(
        key=np.array([2**63 + 1, 9], np.uint64), counter=np.array([5, 3, 2, 0], np.uint64)
    )
    assert np.array_equal(out.copy_to_host(), generator.random_raw(4))


# ── networks beyond 48 KB of shared memory ──


F32 = np.dtype(np.float32)


@pytest.mark.parametrize(
    ("hidden", "tangents", "limit", "place"),
    [
        (64, 9, 232_448, "static"),  # the benchmark's
        (64, 9, 49_152, "static"),
        (128, 9, 232_448, "dynamic"),  # two panels
        (200, 9, 232_448, "dynamic"),
        (400, 9, 232_448, "global"),
        (200, 9, 101_376, "global"),  # compute capability 8.6
        (128, 9, 49_152, "global"),
        (5_000, 9, 232_448, "global"),
        (64, 300, 232_448, "dynamic"),  # a sample with more tangents than a block usually has columns
    ],
)
def test_where_a_block_keeps_its_samples(hidden, tangents, limit, place, monkeypatch):
    monkeypatch.setattr(_network, "shared_limit", lambda: limit)
    sizes = (9, hidden, hidden, 30)
    g = _network.geometry(sizes, tangents, F32, beside=320)
    assert g.place == place
    assert g.samples * tangents <= g.columns
    assert g.threads <= _network.MOST_THREADS
    inside = g.slab * 4 + g.samples * 320 + (g.entries * 4 if place == "static" else 0)
    assert inside <= 48 * 1024
    assert inside + g.dynamic_bytes <= max(limit, 48 * 1024)
    assert (g.dynamic_bytes > 0) == (place == "dynamic")
    assert g.samples * tangents >= min(_network.ENOUGH_COLUMNS, tangents)
    one = _network.geometry(sizes, tangents, F32, 1, beside=320)
    assert one.samples == 1


WIDE = (3, 70, 66, 5)  # layers of two panels


def placed(monkeypatch, place, declared=9_000):
    """Geometries of small networks in `place`: nothing fits in what is left of 48 KB, or of what may be asked for."""
    if place != "static":
        monkeypatch.setattr(_network, "STATIC_BYTES", declared)
        monkeypatch.setattr(_network, "shared_limit", lambda: 232_448 if place == "dynamic" else declared)
    asked = []
    monkeypatch.setattr(_launch, "allow_shared", lambda kernel, arguments, size: asked.append(size))
    return asked


@pytest.mark.parametrize("place", ["static", "dynamic", "global"])
def test_wide_networks(place, monkeypatch):
    asked = placed(monkeypatch, place)
    z, x = cases.sphere(3, 3, np.float32), cases.rows(3, 5, np.float32)
    net = cases.layers(WIDE, np.float32)
    eps = np.finfo(np.float32).eps
    g = _network.geometry(WIDE, 3, F32, 2, beside=160)
    assert g.place == place
    result = cuda.decoder_log_volume(net, "swish", z, samples=2)
    decoded, jacobian = network.mlp_jacobian(z.astype(np.float64), test_newton.wide(net), "swish")
    volume, cond = cases.volume_and_condition(jacobian @ reference.tangent_frame(z.astype(np.float64)))
    cases.assert_close_eps(result.decoded, decoded, k=32, scale=1 + np.abs(decoded).max(), eps=eps)
    cases.assert_close_eps(result.volume, volume, k=DECODER, scale=4 * cond, eps=eps)
    assert asked == ([g.dynamic_bytes] if place == "dynamic" else [])
    assert np.array_equal(cuda.mlp(net, "swish", z, samples=2), result.decoded)
    encoder = cases.layers(WIDE[::-1], np.float32)
    found, want = (
        cuda.encoder_log_volume(encoder, "swish", x, samples=2),
        cpu.encoder_log_volume(encoder, "swish", x),
    )
    cases.assert_close_eps(found.volume, want.volume, k=256, scale=10, eps=eps)
    x, z = x[:2], z[:2]
    found = cuda.damped_newton(net, "swish", x, z, steps=1, samples=2)
    want = cpu.damped_newton(net, "swish", x, z, steps=1)
    cases.assert_close_eps(found.value, want.value, k=64, scale=10, eps=eps)
    powers = [[beta_power(beta, t) for t in range(2)] for beta in BETAS]
    found = cuda.adam_descent(net, "swish", x, z, powers, samples=2)
    want = cpu.adam_descent(net, "swish", x, z, powers)
    cases.assert_close_eps(found.gradient_norm, want.gradient_norm, k=64, scale=10, eps=eps)


def test_places_have_the_same_bits(monkeypatch):
    z, net = cases.sphere(3, 3, np.float64), cases.layers((3, 5, 6), np.float64)
    results = []
    for place in ("static", "dynamic", "global"):
        with monkeypatch.context() as patch:
            placed(patch, place, 8_600)
            assert _network.geometry((3, 5, 6), 3, np.dtype(np.float64), 2, beside=80).place == place
            results.append(cuda.decoder_log_volume(net, "swish", z, samples=2))
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])


def test_large_jacobians():
    jacobian = cases.jacobians(2, 3000, 2, 10, np.float64)
    result = cuda.log_volume(jacobian)
    assert np.abs(result.volume - np.log(np.linalg.svd(jacobian, compute_uv=False)).sum(axis=1)).max() < 1e-12
    with pytest.raises(InvalidInput, match="needs more shared memory or threads than a block has"):
        cuda.log_volume(np.ones((1, 7000, 2)))


def test_the_driver_is_asked_for_shared_memory(monkeypatch):
    """On hardware the attribute is set on the function of the signature that will be launched."""
    calls = []
    handle = SimpleNamespace(handle="handle", device=SimpleNamespace(id=3))
    compiled = SimpleNamespace(_codelibrary=SimpleNamespace(get_cufunc=lambda: handle))
    kernel = SimpleNamespace(
        typeof_pyval=lambda value: f"type of {value}", compile=lambda sig: calls.append(sig) or compiled
    )
    driver = SimpleNamespace(cuKernelSetAttribute=lambda *arguments: calls.append(arguments))
    names = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="most")
    module = SimpleNamespace(driver=driver, binding=SimpleNamespace(CUfunction_attribute=names))
    monkeypatch.setitem(sys.modules, "numba.cuda.cudadrv.driver", module)
    monkeypatch.setattr(_target, "SIMULATED", False)
    _target.allow_shared(kernel, ("a", "b"), 99_000)
    assert calls == [("type of a", "type of b"), ("most", 99_000, "handle", 3)]
