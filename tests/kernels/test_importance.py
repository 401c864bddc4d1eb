"""The importance-sampling kernel: its draws, its terms and its sums, against `pyscore.reference` on the same draws."""

import numba
import numpy as np
import pytest
from closeness import assert_close, assert_conditioned
from scipy import special

from kernels import kernel_cases as cases
from pyscore import reference
from pyscore.backends.contract import DRAWS
from pyscore.backends.stochastic import K, scale_of
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import ShapeError
from pyscore.kernels import cpu
from pyscore.reference import network, sampling

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


def by_reference(net, convention, sigma2):
    """Arguments ↦ sums over draws of the weights, and of the prior, in logarithms (two columns)."""

    def evaluate(x, mu, kappa, mu_u, kappa_u, epsilon, v):
        n, s = len(x), len(epsilon) // len(x)
        centre = np.repeat(mu, s, axis=0)
        z = reference.sample_vmf(centre, np.repeat(kappa, s), epsilon, v, convention=convention)
        x_hat = network.mlp(z, net, "swish")
        likelihood = reference.log_likelihood(np.repeat(x, s, axis=0), x_hat, sigma2, convention=convention)
        prior = reference.log_prior(z, mu_u, kappa_u, convention=convention)
        q = np.repeat(kappa, s) * np.sum(z * centre, axis=1)
        total = likelihood - q if convention.importance == "outer_sum" else likelihood + prior - q
        return np.column_stack([log_sum_exp(a.reshape(n, s)) for a in (total, prior)])

    return evaluate


def log_sum_exp(a):
    largest = np.max(a, axis=1)
    return largest + np.log(np.sum(np.exp(a - largest[:, None]), axis=1))


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
    evaluate, arguments = by_reference(net, convention, 0.3), (x, mu, kappa, *prior[:2], *draws)
    want, scale = evaluate(*map(wide, arguments)), scale_of(evaluate, arguments, dtype, draws=DRAWS)
    assert_close(found.weight, want[:, 0], K, scale[:, 0], dtype)
    if machine:
        assert_close(found.prior, want[:, 1], K, scale[:, 1], dtype)
    assert found.unaccepted == 0
    injected = cpu.importance(net, "swish", x, mu, kappa, prior, draws, **options)
    assert_close(injected.weight, want[:, 0], K, scale[:, 0], dtype)


def wide(a):
    return np.asarray(a, np.float64)


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
    evaluate = by_reference(net, EXACT, 0.3)
    with pytest.raises(AssertionError, match="eps·scale"):
        assert_conditioned(
            found.weight, None, lambda *a: evaluate(*a)[:, 0], (x, mu, kappa, *prior[:2], *draws), draws=4
        )


def test_errors_say_what_to_do():
    net, x, mu, kappa, prior = problem(np.float32, 4)
    with pytest.raises(ShapeError, match="`kappa` must have one row for each of the 41 rows of `x`; got 5"):
        cpu.importance(net, "swish", x, mu, kappa[:5], prior, (sampling.row_keys(x), 0, STREAM, S))
    with pytest.raises(ShapeError, match=r"`draws` must hold epsilon \(n·s,\) and v \(n·s, 3\) for 41 rows"):
        cpu.importance(net, "swish", x, mu, kappa, prior, (np.full(82, 0.5), np.ones((82, 2))))
