"""Projection and posterior mode of the torch backend, in batches, against the reference's one definition."""

import numpy as np
import pytest
import torch
from closeness import assert_close, assert_conditioned
from kernel_specs import D, gaussian, model

from pyscore import reference
from pyscore.backends import _iterations, get_backend
from pyscore.backends import torch_functions as tf
from pyscore.backends.stochastic import K, scale_of
from pyscore.convention import EXACT, ORIGINAL
from pyscore.reference import network
from pyscore.scoring.scores import project, score

CURVED = ["swish", "tanh", "gelu", "softplus"]


@pytest.mark.parametrize("name", network.ACTIVATIONS)
def test_derivatives_of_the_activations(name):
    a = np.concatenate([np.linspace(-12, 12, 241), [-60.0, 60.0]])
    wanted, got = network.ACTIVATIONS[name], tf.ACTIVATIONS[name]
    for part in ("value", "first", "second"):
        values, evaluate = getattr(got, part)(torch.from_numpy(a)).numpy(), getattr(wanted, part)
        scale = np.maximum(scale_of(evaluate, (a,), np.float64), 1e-300)  # one of them may underflow to 0
        assert_close(values, evaluate(a), K, scale, np.float64, f"{name} {part}")


@pytest.mark.parametrize("activation", CURVED)
def test_projection(activation, rng):
    m, x = model(np.float64, activation=activation), 2 * gaussian(rng, 300, D, np.float64)
    want, got = project(m, x, backend="numpy"), project(m, x, backend=get_backend("torch", dtype="float64"))
    near, far = (np.sum((x - m.decode(z)) ** 2, axis=1) for z in (got.z, want.z))
    same = np.abs(near - far) <= 1e-9 * (1 + far)
    assert same.mean() >= 0.97  # a row with two minima may go to the other
    start = np.sum((x - m.decode(m.encode(x)[0])) ** 2, axis=1)
    assert (near <= start * (1 + 1e-12)).all()
    assert np.median(np.abs(got.iterations - want.iterations)) <= 2
    assert (got.gradient_norm[got.iterations < 100] < 1e-5).all()


@pytest.mark.parametrize("activation", CURVED)
def test_laplace(activation, rng):
    m, x = model(np.float64, activation=activation), gaussian(rng, 200, D, np.float64)
    z = project(m, x, backend="numpy").z
    got = get_backend("torch", dtype="float64").laplace(m, x, z, 0.3)
    want = _iterations.laplace(m, x, z, 0.3, EXACT)
    same = np.abs(got - want) <= 1e-8 * (1 + np.abs(want))
    assert same.mean() >= 0.97


def test_blocks_and_company_cost_rounding_only(rng, monkeypatch):
    from pyscore.backends import torch_

    backend = get_backend("torch", dtype="float64")
    m, x = model(np.float64), gaussian(rng, 60, D, np.float64)
    whole = score(m, x, "laplace", backend=backend)
    scale = scale_of(lambda x: score(m, x, "laplace", backend="numpy"), (x,), np.float64, draws=6)
    monkeypatch.setattr(torch_, "BLOCK_ROWS", 7)
    assert_close(score(m, x, "laplace", backend=backend), whole, K, scale)


def test_the_originals_steps(rng):
    m, x = model(np.float64), gaussian(rng, 40, D, np.float64)
    got = project(m, x, convention=ORIGINAL, backend=get_backend("torch", dtype="float64"))

    def evaluate(x):
        run = project(m, x, convention=ORIGINAL, backend="numpy")
        return np.column_stack([run.z, run.gradient_norm])

    assert_conditioned(np.column_stack([got.z, got.gradient_norm]), None, evaluate, (x,), draws=8)
    assert (got.iterations == 100).all()


def test_no_rows_and_no_steps(rng):
    backend = get_backend("torch", dtype="float64")
    m, x = model(np.float64), gaussian(rng, 3, D, np.float64)
    assert project(m, x[:0], backend=backend).z.shape == (0, m.latent_dim)
    assert backend.laplace(m, x[:0], np.empty((0, m.latent_dim))).shape == (0,)
    still = project(m, x, steps=0, backend=backend)
    assert_conditioned(still.z, None, lambda x: reference.normalize(m.encode(x)[0]), (x,))
    assert (still.iterations == 0).all()


@pytest.mark.parametrize("name", ["torch", "numba"])
def test_a_saddle_in_float32_is_looked_at_again(name, rng, monkeypatch):
    """A row whose descent ended on a saddle gets the density of the reference, and the others keep theirs."""
    from pyscore.backends import numba_, torch_

    m, x = model(np.float32), gaussian(rng, 12, D, np.float64)
    z, backend = project(m, x, backend="numpy").z, get_backend(name, dtype="float32")
    want = _iterations.laplace(m, x, z, 0.3, EXACT)
    if name == "torch":
        flat = torch_.density_at_mode
        monkeypatch.setattr(
            torch_, "density_at_mode", lambda *a: np.where(np.arange(12) % 5 == 2, -np.inf, flat(*a))
        )
    else:  # what the kernel returns, without compiling it
        minimum = numba_.cpu.Minimum(
            z,
            -want + (m.latent_dim - 1) / 2 * np.log(2 * np.pi),
            np.zeros(12),
            np.ones(12, np.int64),
            np.zeros(12),
        )
        minimum.log_det[2::5] = np.nan
        monkeypatch.setattr(numba_.cpu, "damped_newton", lambda *a, **k: minimum)
        monkeypatch.setattr(numba_.NumbaBackend, "_prior", lambda *a: None)
    got = backend.laplace(m, x, z, 0.3)
    assert got.dtype == np.float32
    scale = scale_of(lambda z: _iterations.laplace(m, x, z, 0.3, EXACT), (z,), np.float32, draws=6)
    assert_close(got, want, K, scale, np.float32)
    assert np.isfinite(got).all()
