"""log_volume, decoder_log_volume, encoder_log_volume on the CPU against the float64 reference and mpmath."""

import functools

import numba
import numpy as np
import pytest
import scipy.linalg
from closeness import assert_close, assert_conditioned

from kernels import kernel_cases as cases
from pyscore import reference
from pyscore.backends.stochastic import K, scale_of
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels import cpu
from pyscore.reference import network

# ── accuracy ──


@pytest.mark.parametrize(
    ("dtype", "cond"),
    [(np.float32, c) for c in (1e0, 1e2, 1e4, 1e6)] + [(np.float64, c) for c in (1e0, 1e4, 1e9, 1e14)],
)
@pytest.mark.parametrize(("d", "k"), [(30, 9), (5, 5), (2, 7), (9, 1)])
def test_log_volume_against_mpmath(dtype, cond, d, k):
    jacobian = cases.jacobians(20, d, k, cond, dtype)
    exact = [cases.exact_log_volume(j) for j in jacobian]
    evaluate = functools.partial(reference.log_volume, warn=False)
    assert_conditioned(cpu.log_volume(jacobian).volume, exact, evaluate, (jacobian,), dtype)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("activation", cases.ACTIVATIONS)
@pytest.mark.parametrize("tangent", [True, False])
def test_decoder_activations(dtype, activation, tangent):
    cases.assert_decoder(
        cpu, cases.layers((4, 19, 19, 19, 11), dtype), activation, cases.sphere(37, 4, dtype), tangent
    )


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", cases.ROWS)
@pytest.mark.parametrize(("k", "d", "h"), [(2, 7, 8), (3, 2, 5), (9, 30, 64)])
def test_decoder_shapes(dtype, n, k, d, h):
    cases.assert_decoder(cpu, cases.layers((k, h, h, h, d), dtype), "swish", cases.sphere(n, k, dtype), True)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", cases.ROWS)
@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=["exact", "original"])
def test_encoder(dtype, n, convention):
    cases.assert_encoder(
        cpu, cases.layers((12, 24, 24, 24, 4), dtype), "swish", cases.rows(n, 12, dtype), convention
    )


def test_encoder_ambient_is_tangent_plus_noise():
    """(I − mu muᵀ)J has the singular values of TᵀJ and a zero: all pivots but the least multiply to the volume."""
    x = cases.rows(50, 12, np.float64)
    net = cases.layers((12, 24, 24, 24, 4), np.float64)
    tangent, ambient = cpu.encoder_log_volume(net, "swish", x), cpu.encoder_log_volume(net, "swish", x, False)
    assert (ambient.smallest < 1e-12 * ambient.largest).all()
    assert (ambient.volume < tangent.volume - 20).all()


def test_tangent_identity():
    """log det(TᵀGT) = log det G + log(zᵀG⁻¹z), G = JᵀJ (design, `jacobian`)."""
    z = cases.sphere(33, 4, np.float64)
    net = cases.layers((4, 16, 16, 9), np.float64)
    jacobian = network.mlp_jacobian(z, net, "tanh")[1]
    gram = np.swapaxes(jacobian, 1, 2) @ jacobian
    correction = np.einsum("ni,ni->n", z, np.linalg.solve(gram, z[..., None])[..., 0])
    ambient, tangent = (cpu.decoder_log_volume(net, "tanh", z, flag).volume for flag in (False, True))
    evaluate = cases.decoder(net, "tanh", False)  # whose volume is as good as the sum on the right
    scale = scale_of(evaluate, (z,), np.float64)[:, -1] + np.linalg.cond(gram)
    assert_close(2 * tangent, 2 * ambient + np.log(correction), K, scale)


@pytest.mark.parametrize("z", [[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [1.0, 1e-9, 0], [-1.0, 0, 1e-200]])
def test_poles_of_the_reflection(z):
    """Against a null space by SVD: the reflection e1 → z of the reference loses eps/|z − e1| near e1."""
    z = np.array([z])
    net, frame = cases.layers((3, 8, 8, 8, 6), np.float64), scipy.linalg.null_space(z)
    result = cpu.decoder_log_volume(net, "swish", z)
    assert_conditioned(
        result.volume, None, lambda z: reference.log_volume(network.mlp_jacobian(z, net, "swish")[1] @ frame), (z,)
    )


# ── bits ──


def decoder_bits(z, **options):
    net = cases.layers((z.shape[1], 24, 24, 24, 13), z.dtype)
    return cpu.decoder_log_volume(net, "swish", z, **options)


def encoder_bits(x, **options):
    net = cases.layers((x.shape[1], 24, 24, 24, 4), x.dtype)
    return cpu.encoder_log_volume(net, "swish", x, **options)


def same_bits(a, b):
    return all(np.array_equal(p.view(np.uint8), q.view(np.uint8)) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("run", [decoder_bits, encoder_bits])
def test_bits_do_not_depend_on_block_or_threads(run, dtype):
    z = cases.sphere(1001, 5, dtype)
    expected = run(z)
    assert all(same_bits(run(z, groups=groups), expected) for groups in (1, 2, 5, 100))
    threads = numba.get_num_threads()
    try:
        for count in range(1, threads + 1):
            numba.set_num_threads(count)
            assert same_bits(run(z), expected)
    finally:
        numba.set_num_threads(threads)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("run", [decoder_bits, encoder_bits])
def test_bits_do_not_depend_on_batch_mates(run, dtype):
    z = cases.sphere(67, 5, dtype)
    expected = run(z)
    alone = [np.concatenate(field) for field in zip(*(run(z[i : i + 1]) for i in range(67)), strict=True)]
    assert same_bits(alone, expected)
    order = np.random.default_rng(3).permutation(67)
    assert same_bits(run(z[order]), [field[order] for field in expected])


def test_log_volume_bits():
    jacobian = cases.jacobians(700, 9, 4, 10, np.float32)
    expected = cpu.log_volume(jacobian)
    alone = [cpu.log_volume(jacobian[i : i + 1]) for i in range(0, 700, 50)]
    assert [a.volume[0] for a in alone] == list(expected.volume[::50])


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_layouts(dtype):
    z, jacobian = cases.sphere(33, 5, dtype), cases.jacobians(33, 6, 3, 10, dtype)
    for name, array in cases.layouts(z).items():
        assert same_bits(decoder_bits(array), decoder_bits(z)), name
        assert same_bits(encoder_bits(array), encoder_bits(z)), name
    for name, array in cases.layouts(jacobian).items():
        assert same_bits(cpu.log_volume(array), cpu.log_volume(jacobian)), name


# ── edges ──


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_singular_and_not_finite_rows_stay_alone(dtype):
    jacobian = cases.jacobians(40, 6, 3, 10, dtype)
    expected = cpu.log_volume(jacobian).volume.copy()
    jacobian[3, :, 1] = 0.0
    jacobian[7, 2, 2] = np.nan
    jacobian[8, 5, 2] = np.inf
    jacobian[9] = 0.0
    result = cpu.log_volume(jacobian)
    expected[[3, 9]], expected[[7, 8]] = -np.inf, np.nan
    assert np.array_equal(result.volume, expected, equal_nan=True)
    assert result.smallest[3] == 0 == result.smallest[9]


def test_decoder_zero_pivot_and_nan():
    net = cases.layers((3, 8, 8, 6), np.float32)
    net[0].weight[:, 2] = 0.0  # the third coordinate of z is ignored
    z = cases.sphere(40, 3, np.float32)
    z[5] = np.nan
    result = cpu.decoder_log_volume(net, "swish", z, False)
    others = np.arange(40) != 5
    assert np.isneginf(result.volume[others]).all()
    assert np.isnan(result.volume[5])
    assert np.isnan(result.decoded[5]).all()
    assert np.isfinite(result.decoded[others]).all()


def test_more_latents_than_features_is_the_smaller_side():
    z = cases.sphere(5, 6, np.float64)
    cases.assert_decoder(cpu, cases.layers((6, 8, 8, 8, 3), np.float64), "tanh", z, False)


def test_errors_say_what_to_do():
    net, z = cases.layers((3, 8, 6), np.float32), cases.sphere(4, 3, np.float32)
    with pytest.raises(ShapeError, match=r"`z` must have shape \(n, 3\); got \(4, 2\)"):
        cpu.decoder_log_volume(net, "swish", z[:, :2])
    with pytest.raises(InvalidInput, match=r"`z` must be float32 like the network; got float64"):
        cpu.decoder_log_volume(net, "swish", z.astype(np.float64))
    with pytest.raises(InvalidInput, match=r"`activation` must be one of 'identity', .*; got 'sin'"):
        cpu.decoder_log_volume(net, "sin", z)
    with pytest.raises(ShapeError, match=r"layer 1 must have weight \(out, 8\)"):
        cpu.mlp([net[0], net[0]], "swish", z)
    with pytest.raises(ShapeError, match=r"`jacobian` must have three axes, \(n, d, k\); got shape \(4, 3\)"):
        cpu.log_volume(z)
    with pytest.raises(InvalidInput, match=r"`jacobian` must be float32 or float64; got int64"):
        cpu.log_volume(np.ones((2, 2, 2), np.int64))


# ── tests of the tests ──


def test_a_perturbed_kernel_fails():
    z, net = cases.sphere(33, 4, np.float64), cases.layers((4, 19, 19, 19, 11), np.float64)
    good = cases.assert_decoder(cpu, net, "swish", z, True).volume
    net_off = [layer._replace(weight=layer.weight * (1 + 1e-6)) for layer in net]
    wrong = {
        "scaled by 1 + 1e-6": good * (1 + 1e-6),
        "weights off by 1e-6": cpu.decoder_log_volume(net_off, "swish", z).volume,
        "ambient for tangent": cpu.decoder_log_volume(net, "swish", z, False).volume,
        "another activation": cpu.decoder_log_volume(net, "gelu", z).volume,
        "rows shifted": np.roll(good, 1),
    }
    for what, values in wrong.items():
        with pytest.raises(AssertionError, match="eps·scale"):
            assert_conditioned(
                values, None, lambda z: cases.decoder(net, "swish", True)(z)[:, -1], (z,), what=what
            )
