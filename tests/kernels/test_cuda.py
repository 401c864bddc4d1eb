"""The CUDA kernels, on a GPU or on numba-cuda's simulator with several blocks on tiny inputs.

Without either they are skipped: `NUMBA_ENABLE_CUDASIM=1 pytest -m cuda` runs them anywhere.
"""

import numpy as np
import pytest

from kernels import kernel_cases as cases
from pyscore import reference
from pyscore.bench import fibers
from pyscore.convention import EXACT
from pyscore.errors import BackendUnavailable, InvalidInput, ShapeError
from pyscore.kernels import cpu, cuda
from pyscore.kernels.cpu.decoder_log_volume import TOLERANCE as DECODER
from pyscore.kernels.cpu.encoder_log_volume import TOLERANCE as ENCODER
from pyscore.kernels.cpu.log_volume import TOLERANCE as VOLUME
from pyscore.kernels.cpu.mmd import TOLERANCE as MMD

fibers.install()
pytestmark = [
    pytest.mark.cuda,
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


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the simulator computes with NumPy
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
        with pytest.raises(AssertionError, match="error of|in other places"):
            cases.assert_close_eps(wrong, volume, **bound)


def test_backend():
    from pyscore.backends import get_backend
    from pyscore.reference.model import SVAE

    model, x = SVAE.initialise(4, 2, 3, 2), cases.rows(5, 4, np.float32)
    wanted = frozenset({"log_likelihood", "log_prior", "decoder_log_volume", "encoder_log_volume"})
    computed = get_backend("cuda").run_pass(model, x, wanted)
    expected = get_backend("numba").run_pass(model, x, wanted)
    for name in wanted:
        scale = 1 + np.abs(expected[name]).max()
        cases.assert_close_eps(computed[name], expected[name], k=64, scale=scale, eps=np.finfo(np.float32).eps)
    with pytest.raises((InvalidInput, BackendUnavailable), match="CUDA_VISIBLE_DEVICES"):
        get_backend("cuda", device="cuda:7")
