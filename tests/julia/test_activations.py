"""Every activation that the other backends have: values, both derivatives, and what is computed from them."""

import numpy as np
import pytest

from pyscore import reference
from pyscore.backends import get_backend
from pyscore.convention import EXACT, ORIGINAL
from pyscore.reference.model import SVAE
from pyscore.reference.network import ACTIVATIONS
from pyscore.scoring.scores import score

pytestmark = pytest.mark.julia
EPS = np.finfo(np.float64).eps


def points(name):
    """From deep in the left tail to deep in the right, kinks included."""
    return np.concatenate([np.linspace(-37, 37, 149), [-300.0, -1e-300, -0.0, 0.0, 1e-300, 300.0]])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_and_slope(julia, close, name):
    """A chain of one layer with one input: its output is the value, its Jacobian the slope."""
    a = points(name)
    one, none = np.ones((1, 1)), np.zeros(1)
    value = julia.call("chain", a[:, None], (name,), one, none)[:, 0]
    slope = julia.call("chain_jacobian", a[:, None], (name,), one, none)[:, 0, 0]
    act = ACTIVATIONS[name]
    # exp(−|a|) and Φ(a) lose a²·eps in the tail, whoever computes them.
    close(value, act.value(a), 8, EPS, np.abs(act.value(a)) * (1 + a**2) + 1e-300, f"{name} value")
    close(slope, act.first(a), 8, EPS, np.abs(act.first(a)) * (1 + a**2) + 1e-300, f"{name} slope")


@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=["exact", "original"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_scores(julia, rng, close, name, convention):
    model = SVAE.initialise(6, 3, 16, 4, activation=name, dtype=np.float64)
    x = rng.normal(size=(20, 6))
    names = ("reconstruction", "prior", "proposed") if name in ("relu", "leaky_relu") else (
        "reconstruction", "prior", "proposed", "projected", "corrected", "laplace")  # fmt: skip
    for which in names:
        if convention is ORIGINAL and which in ("projected", "corrected", "laplace"):
            continue
        want = score(model, x, which, convention=convention, backend="numpy")
        got = score(model, x, which, convention=convention, backend=julia)
        assert np.all(np.isfinite(want) == np.isfinite(got))
        close(got, want, 4096, EPS, 100.0, f"{name} {which}")


@pytest.mark.parametrize("name", ["swish", "gelu", "tanh", "softplus", "elu", "sigmoid"])
def test_hessian(julia, rng, close, name):
    model = SVAE.initialise(6, 3, 16, 4, activation=name, dtype=np.float64)
    x, z = rng.normal(size=(5, 6)), reference.normalize(rng.normal(size=(5, 3)))
    H = julia.call("posterior_hessian", model, x, z, convention=EXACT)
    J = model.decoder_jacobian(z)
    weights = x - model.decode(z)
    ambient = np.swapaxes(J, 1, 2) @ J - model.decoder_bend(z, weights)
    gradient = -(np.swapaxes(J, 1, 2) @ weights[:, :, None])[:, :, 0]
    frame = reference.tangent_frame(z)
    radial = np.sum(z * gradient, axis=1)[:, None, None] * np.eye(2)
    misfit = np.swapaxes(frame, 1, 2) @ ambient @ frame - radial
    flat = SVAE.from_parameters({**model.parameters(), "pseudo_inputs": model.pseudo_inputs}, name)
    prior = julia.call("posterior_hessian", flat, model.decode(z), z, convention=EXACT)
    J_only = np.swapaxes(frame, 1, 2) @ np.swapaxes(J, 1, 2) @ J @ frame
    # The prior's part is the same in both: the difference is the misfit's alone.
    close(H - prior, misfit - J_only, 64, EPS, 1 + np.abs(misfit).max(), f"{name} hessian")


def test_an_unknown_one_is_refused(julia):
    from pyscore.errors import JuliaError

    with pytest.raises(JuliaError, match="`activation` must be one of swish, relu"):
        julia.call("chain", np.ones((1, 1)), ("cube",), np.ones((1, 1)), np.zeros(1))


def test_models_that_differ_by_activation_alone(julia, rng):
    z = reference.normalize(rng.normal(size=(4, 3)))
    models = [SVAE.initialise(6, 3, 16, 4, activation=a, dtype=np.float64) for a in ("swish", "tanh")]
    for model in models * 2:
        np.testing.assert_allclose(julia.decode(model, z), model.decode(z), atol=1e-14)
    assert get_backend("numpy").decode(models[0], z).shape == (4, 6)
