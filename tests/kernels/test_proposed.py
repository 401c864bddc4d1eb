"""mlp, log_likelihood, log_prior, and `proposed`, which is all of them in one pass."""

import functools

import numba
import numpy as np
import pytest
from closeness import assert_conditioned

from kernels import kernel_cases as cases
from pyscore import reference
from pyscore.convention import ORIGINAL
from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels import cpu
from pyscore.reference import network


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", cases.ROWS)
def test_mlp(dtype, n):
    net, x = cases.layers((5, 17, 9), dtype), cases.rows(n, 5, dtype)
    evaluate = functools.partial(network.mlp, layers=net, activation="swish")
    assert_conditioned(cpu.mlp(net, "swish", x), None, evaluate, (x,), dtype)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", cases.ROWS)
@pytest.mark.parametrize("sigma2", [1.0, 0.3, np.linspace(0.1, 2.0, 6)], ids=["one", "scalar", "vector"])
def test_log_likelihood(dtype, n, sigma2):
    x, x_hat = cases.rows(n, 6, dtype), cases.rows(n, 6, dtype, seed=5)
    evaluate = functools.partial(reference.log_likelihood, sigma2=sigma2)
    assert_conditioned(cpu.log_likelihood(x, x_hat, sigma2), None, evaluate, (x, x_hat), dtype)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", cases.ROWS)
@pytest.mark.parametrize("kappas", [[0.0], [1e-3, 1.0, 50.0], [100.0] * 16, [700.0, 1e4]])
def test_log_prior(dtype, n, kappas):
    """Float64 inside, whatever the codes' type."""
    z, kappa = cases.sphere(n, 4, dtype), np.array(kappas)
    mu = cases.sphere(len(kappa), 4, np.float64, seed=9)
    computed = cpu.log_prior(z, mu, kappa, reference.log_vmf_normaliser(kappa, 4))
    assert_conditioned(computed, None, reference.log_prior, (z, mu, kappa))


def test_log_prior_of_the_original():
    z, mu = cases.sphere(33, 3, np.float32), cases.sphere(5, 3, np.float64, seed=9)
    computed = cpu.log_prior(z, mu, np.ones(5), np.zeros(5))
    assert_conditioned(computed, None, functools.partial(reference.log_prior, convention=ORIGINAL), (z, mu))


def proposed(n, dtype, *, tangent=True, **options):
    encoder, decoder = cases.layers((9, 16, 16, 16, 3), dtype), cases.layers((3, 16, 16, 16, 9), dtype, seed=7)
    mu, kappa = cases.sphere(4, 3, np.float64, seed=9), np.array([0.5, 2.0, 10.0, 90.0])
    x = options.pop("x", cases.rows(n, 9, dtype))
    options = {"sigma2": 0.5, "keep": frozenset({"z", "decoded"})} | options
    prior = mu, kappa, reference.log_vmf_normaliser(kappa, 3)
    return cpu.proposed(encoder, decoder, "swish", x, *prior, tangent, **options), encoder, decoder, prior, x


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", cases.ROWS)
@pytest.mark.parametrize("tangent", [True, False])
def test_proposed_is_its_parts_bit_for_bit(dtype, n, tangent):
    terms, encoder, decoder, prior, x = proposed(n, dtype, tangent=tangent)
    parts = cpu.decoder_log_volume(decoder, "swish", terms.z, tangent)
    assert np.array_equal(terms.z, cpu.encoder_log_volume(encoder, "swish", x).mu)
    assert np.array_equal(terms.decoded, parts.decoded)
    assert np.array_equal(terms.volume, parts.volume)
    assert np.array_equal(terms.log_likelihood, cpu.log_likelihood(x, terms.decoded, 0.5))
    assert np.array_equal(terms.log_prior, cpu.log_prior(terms.z, *prior))


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_proposed_bits(dtype):
    expected, _, _, _, x = proposed(801, dtype)
    threads = numba.get_num_threads()
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            for groups in (1, 4):
                again = proposed(801, dtype, groups=groups)[0]
                assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))
    finally:
        numba.set_num_threads(threads)
    for i in (0, 400, 800):
        alone = proposed(1, dtype, x=x[i : i + 1])[0]
        assert all(np.array_equal(a[0], b[i]) for a, b in zip(alone, expected, strict=True))


def test_nan_rows_stay_alone():
    x = cases.rows(40, 9, np.float32)
    expected = proposed(40, np.float32, x=x)[0]
    x = x.copy()
    x[11, 2] = np.nan
    terms = proposed(40, np.float32, x=x)[0]
    others = np.arange(40) != 11
    for name in ("log_likelihood", "log_prior", "volume"):
        assert np.isnan(getattr(terms, name)[11]), name
        assert np.array_equal(getattr(terms, name)[others], getattr(expected, name)[others]), name


def test_a_code_of_zero_goes_to_the_pole():
    encoder, decoder = cases.layers((9, 16, 3), np.float64), cases.layers((3, 16, 9), np.float64, seed=7)
    encoder[-1].weight[:], encoder[-1].bias[:] = 0.0, 0.0
    prior = np.eye(3)[:1], np.ones(1), np.zeros(1)
    terms = cpu.proposed(encoder, decoder, "tanh", cases.rows(3, 9, np.float64), *prior, keep=frozenset({"z"}))
    assert np.array_equal(terms.z, np.eye(1, 3).repeat(3, axis=0))


def test_errors_say_what_to_do():
    x, x_hat = cases.rows(4, 6, np.float32), cases.rows(3, 6, np.float32)
    with pytest.raises(ShapeError, match=r"`x_hat` must have shape \(4, 6\), like `x`; got \(3, 6\)"):
        cpu.log_likelihood(x, x_hat)
    with pytest.raises(InvalidInput, match=r"`sigma2` must be positive and finite; got 0"):
        cpu.log_likelihood(x, x, 0.0)
    with pytest.raises(
        ShapeError, match=r"`mu_u` must have shape \(p, 6\), p ≥ 1, to match the codes; got \(2, 5\)"
    ):
        cpu.log_prior(x, np.ones((2, 5)), np.ones(2), np.zeros(2))
    net = cases.layers((9, 4, 3), np.float32)
    with pytest.raises(ShapeError, match=r"`decoder` must map 3 latents to 9 features"):
        cpu.proposed(net, net, "swish", cases.rows(2, 9, np.float32), np.eye(3)[:1], np.ones(1), np.zeros(1))


@pytest.mark.parametrize("wrong", ["scaled", "dropped component", "kappa for one"])
def test_a_perturbed_prior_fails(wrong):
    z, kappa = cases.sphere(33, 4, np.float32), np.array([1.0, 5.0, 20.0])
    mu, normaliser = cases.sphere(3, 4, np.float64, seed=9), reference.log_vmf_normaliser(kappa, 4)
    computed = {
        "scaled": cpu.log_prior(z, mu, kappa, normaliser) * (1 + 1e-6),
        "dropped component": cpu.log_prior(z, mu[:2], kappa[:2], normaliser[:2]),
        "kappa for one": cpu.log_prior(z, mu, np.ones(3), normaliser),
    }[wrong]
    with pytest.raises(AssertionError, match="eps·scale"):
        assert_conditioned(computed, None, reference.log_prior, (z, mu, kappa))
