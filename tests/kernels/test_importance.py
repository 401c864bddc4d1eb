"""The importance-sampling kernel: its draws, its terms and its sums, against `pyscore.reference` on the same draws."""

import numba
import numpy as np
import pytest
from scipy import special

from kernels import kernel_cases as cases
from pyscore import reference
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import ShapeError
from pyscore.kernels import cpu
from pyscore.reference import network, sampling
from pyscore.reference.network import Dense

D, H, S = 9, 16, 20
STREAM = sampling.STREAMS["importance"]


def problem(dtype, k, n=41, p=5):
    net, x, mu = (
        cases.layers((k, H, H, H, D), dtype),
        cases.rows(n, D, dtype),
        cases.sphere(n, k, dtype, spread=2.0),
    )
    mu[:2] = np.eye(2, k)  # the pole, where the mirror has no direction, and its neighbour
    kappa = 10.0 ** np.random.default_rng(k).uniform(-2, 2, n)
    kappa_u = np.geomspace(0.1, 40.0, p)
    mu_u = cases.sphere(p, k, np.float64, seed=9)
    return net, x, mu, kappa, (mu_u, kappa_u, reference.log_vmf_normaliser(kappa_u, k))


def by_reference(net, x, mu, kappa, prior, draws, convention, sigma2):
    """Sum over draws of the weights, and of the prior, in logarithms; with the size of their largest exponent."""
    n, s = len(x), len(draws.epsilon) // len(x)
    layers = [Dense(w.astype(np.float64), b.astype(np.float64)) for w, b in net]
    centre = np.repeat(mu.astype(np.float64), s, axis=0)
    z = reference.sample_vmf(centre, np.repeat(kappa, s), *draws, convention=convention)
    x_hat, wide = network.mlp(z, layers, "swish"), np.repeat(x.astype(np.float64), s, axis=0)
    likelihood = reference.log_likelihood(wide, x_hat, sigma2, convention=convention).reshape(n, s)
    prior = reference.log_prior(z, *prior[:2], convention=convention).reshape(n, s)
    q = kappa[:, None] * np.sum(z * centre, axis=1).reshape(n, s)
    outer = convention.importance == "outer_sum"
    size = np.sum((np.abs(wide) + np.abs(x_hat) + 1) ** 2 / sigma2, axis=1).reshape(n, s).max(axis=1)
    size = size + np.abs(likelihood).max(axis=1) + kappa + np.abs(prior).max(axis=1) + 40
    total = likelihood - q if outer else likelihood + prior - q
    return special.logsumexp(total, axis=1), special.logsumexp(prior, axis=1), size


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=["exact", "original"])
@pytest.mark.parametrize("k", [2, 3, 4, 9])
def test_sums_over_the_seeded_draws(dtype, convention, k):
    net, x, mu, kappa, prior = problem(dtype, k)
    machine = convention is ORIGINAL
    if machine:
        prior = prior[0], np.ones(5), np.zeros(5)
        mu, kappa = mu[2:], kappa[2:]  # near the pole the eps in the original's mirror is all that is left of it
        x = x[2:]
    keys = sampling.row_keys(x)
    options = {"sigma2": 0.3, "outer": machine, "norm_eps": reference.EPS if machine else 0.0}
    options["log_two_pi"] = float(np.float32(D) * reference.LOG_TWO_PI_F32) if machine else None
    found = cpu.importance(net, "swish", x, mu, kappa, prior, (keys, 7, STREAM, S), **options)
    draws = sampling.importance_draws(keys, kappa, k, S, 7)
    weight, density, size = by_reference(net, x, mu, kappa, prior, draws, convention, 0.3)
    eps = np.finfo(dtype).eps
    cases.assert_close_eps(found.weight, weight, k=8, scale=size, eps=eps)
    if machine:
        cases.assert_close_eps(found.prior, density, k=8, scale=size, eps=eps)
    assert found.unaccepted == 0
    injected = cpu.importance(net, "swish", x, mu, kappa, prior, draws, **options)
    cases.assert_close_eps(injected.weight, found.weight, k=8, scale=size, eps=eps)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_bits(dtype):
    net, x, mu, kappa, prior = problem(dtype, 4, n=203)
    keys = sampling.row_keys(x)

    def run(rows, **options):
        draws = keys[rows], 3, STREAM, S
        return cpu.importance(net, "swish", x[rows], mu[rows], kappa[rows], prior, draws, **options).weight

    everything = np.arange(203)
    expected, threads = run(everything), numba.get_num_threads()
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            for groups in (1, 3, 4):
                assert np.array_equal(run(everything, groups=groups), expected)
    finally:
        numba.set_num_threads(threads)
    order = np.random.default_rng(0).permutation(203)
    assert np.array_equal(run(order), expected[order])
    assert all(run(np.array([i]))[0] == expected[i] for i in (0, 100, 202))


def test_philox_is_numpys():
    words = sampling.philox((np.arange(1, 6, dtype=np.uint64), 3, 2, 0), (2**63 + 1, np.uint64(9)))
    generator = np.random.Philox(
        key=np.array([2**63 + 1, 9], np.uint64), counter=np.array([0, 3, 2, 0], np.uint64)
    )
    assert np.array_equal(np.stack(words, axis=1).ravel(), generator.random_raw(20))


@pytest.mark.parametrize("k", [2, 4, 7])
@pytest.mark.parametrize("kappa", [0.0, 1.5, 60.0])
def test_draws_follow_von_mises_and_fisher(k, kappa):
    """E[z·mu] = I_{k/2}(κ)/I_{k/2−1}(κ), and the ring is symmetric, to five standard errors."""
    n, s = 50, 400
    keys = sampling.row_keys(np.random.default_rng(1).standard_normal((n, 3)))
    draws = sampling.importance_draws(keys, np.full(n, kappa), k, s, 5)
    mu = np.eye(1, k).repeat(n * s, axis=0)
    z = reference.sample_vmf(mu, np.full(n * s, kappa), *draws)
    ratio = special.ive(0.5 * k, kappa) / special.ive(0.5 * k - 1, kappa) if kappa else 0.0
    assert abs(z[:, 0].mean() - ratio) <= 5 * z[:, 0].std() / np.sqrt(n * s)
    assert (np.abs(z[:, 1:].mean(axis=0)) <= 5 * z[:, 1:].std(axis=0) / np.sqrt(n * s)).all()
    assert len(np.unique(draws.epsilon)) == n * s


def test_keys_are_those_of_the_values():
    x = np.random.default_rng(0).standard_normal((1000, 3))
    x[0] = 0.0
    keys = sampling.row_keys(x)
    assert len(np.unique(keys)) == 1000
    assert np.array_equal(sampling.row_keys(x[::-1]), keys[::-1])
    assert sampling.row_keys(-x[:1])[0] == keys[0]  # −0 is 0
    assert sampling.row_keys(x[:, ::-1])[1] != keys[1]


@pytest.mark.parametrize("fault", ["another seed", "another stream", "a draw fewer", "another row's key"])
def test_a_planted_fault_is_seen(fault):
    net, x, mu, kappa, prior = problem(np.float64, 4)
    keys = sampling.row_keys(x)
    wrong = {
        "another seed": (keys, 8, STREAM, S),
        "another stream": (keys, 7, STREAM + 1, S),
        "a draw fewer": (keys, 7, STREAM, S - 1),
        "another row's key": (keys[::-1], 7, STREAM, S),
    }[fault]
    found = cpu.importance(net, "swish", x, mu, kappa, prior, wrong, sigma2=0.3)
    draws = sampling.importance_draws(keys, kappa, 4, S, 7)
    weight, _, size = by_reference(net, x, mu, kappa, prior, draws, EXACT, 0.3)
    with pytest.raises(AssertionError, match="error of"):
        cases.assert_close_eps(found.weight, weight, k=8, scale=size, eps=np.finfo(np.float64).eps)


def test_errors_say_what_to_do():
    net, x, mu, kappa, prior = problem(np.float32, 4)
    with pytest.raises(ShapeError, match="`kappa` must have one row for each of the 41 rows of `x`; got 5"):
        cpu.importance(net, "swish", x, mu, kappa[:5], prior, (sampling.row_keys(x), 0, STREAM, S))
    with pytest.raises(ShapeError, match=r"`draws` must hold epsilon \(n·s,\) and v \(n·s, 3\) for 41 rows"):
        cpu.importance(net, "swish", x, mu, kappa, prior, (np.full(82, 0.5), np.ones((82, 2))))
