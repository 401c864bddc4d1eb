"""A bounded code bounds the range of a decoder; an unbounded one with swish carries numbers to any distance."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyscore.detectors.autoencoder import Autoencoder, train_autoencoder
from pyscore.errors import InvalidInput
from pyscore.reference import normalize
from pyscore.reference.model import SVAE
from pyscore.reference.network import ACTIVATIONS, Dense, mlp
from pyscore.studies.unreliable import bounded, linear


@given(
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    radius=st.sampled_from([1e-3, 1.0, 50.0]),
)
def test_no_code_of_the_ball_is_decoded_beyond_the_bound(activation, seed, scale, radius):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, rng.integers(2, 6))
    layers = [
        Dense(scale * rng.standard_normal((out, inputs)), scale * rng.standard_normal(out))
        for inputs, out in itertools.pairwise(sizes)
    ]
    z = radius * rng.random((200, 1)) ** 0.1 * normalize(rng.standard_normal((200, sizes[0])))
    bound = bounded.range_bound(layers, activation, radius)
    assert (np.linalg.norm(mlp(z, layers, activation), axis=1) <= bound).all()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_the_growth_of_every_activation(activation):
    a = np.concatenate([np.linspace(-50, 50, 20001), [0.0, 1e6, -1e6]])
    growth, value = bounded.GROWTH[activation], np.abs(ACTIVATIONS[activation].value(a))
    assert (value <= (growth.slope * np.abs(a) + growth.offset) * (1 + 4 * np.finfo(float).eps)).all()
    assert (value <= growth.ceiling).all()


def test_the_bound_is_attained_by_one_linear_layer():
    """A diagonal map without bias: the bound is the largest singular value, to rounding."""
    layers = [Dense(np.diag([3.0, 1.0]), np.zeros(2))]
    assert bounded.range_bound(layers, "swish", 2.0) == pytest.approx(6.0, rel=1e-13)


@given(seed=st.integers(0, 2**32 - 1), beyond=st.floats(1e-3, 1e8))
def test_the_theorem_for_the_svae(seed, beyond):
    """‖x‖ > B + r implies ‖x − f(z)‖² > r² at every code of the sphere, the encoder's included."""
    model = SVAE.initialise(5, 3, 8, 2, seed=seed)
    rng = np.random.default_rng(seed)
    bound = bounded.decoder_range_bound(model)
    x = (bound + beyond) * 1.000001 * normalize(rng.standard_normal((20, 5)))
    z = normalize(np.concatenate([model.encode(x)[0], rng.standard_normal((20, 3))]))
    errors = np.sum((np.concatenate([x, x]) - model.decode(z)) ** 2, axis=1)
    assert (errors > beyond**2).all()
    assert (np.concatenate([bounded.error_bound(model, x)] * 2) <= errors).all()


def test_the_theorem_is_attained():
    """A linear decoder of the circle: along its longest axis the error is (‖x‖ − B)² exactly."""
    model = Autoencoder(
        (Dense(np.eye(2), np.zeros(2)),), (Dense(np.diag([3.0, 1.0]), np.zeros(2)),), "identity", "sphere"
    )
    x = np.array([[3.5, 0.0], [-1e3, 0.0], [2.0, 0.0]])
    expected = np.array([0.25, 997.0**2, 0.0])
    assert bounded.error_bound(model, x) == pytest.approx(expected, rel=1e-12)
    assert model.error(x)[:2] == pytest.approx(expected[:2], rel=1e-12)


def test_which_decoders_are_bounded(rng):
    x = rng.standard_normal((40, 3))
    for activation, latent, finite in (
        ("swish", "euclidean", False),
        ("relu", "euclidean", False),
        ("swish", "sphere", True),
        ("tanh", "euclidean", True),
        ("sigmoid", "euclidean", True),
    ):
        model = train_autoencoder(x, (3, 4, 2, 4, 3), activation=activation, latent=latent, steps=5).model
        assert np.isfinite(bounded.decoder_range_bound(model)) == finite, (activation, latent)


@pytest.mark.parametrize("activation", ["swish", "relu", "gelu"])
def test_the_constructed_network_is_pca_at_any_distance(rng, activation):
    x = rng.standard_normal((50, 4)) + 2.0
    subspace = linear.principal_subspace(x, 2)
    model = bounded.identity_autoencoder(subspace, activation)
    c = rng.standard_normal((30, 2)) * 10.0 ** rng.uniform(-3, 9, (30, 1))
    a = subspace.point(c)
    assert (np.sqrt(model.error(a)) <= linear.rounding_bound(subspace, c)).all()
    other = 10 * rng.standard_normal((30, 4))
    np.testing.assert_allclose(model.decode(model.encode(other)), subspace.reconstruct(other), rtol=0, atol=1e-12)


def test_the_construction_refuses_activations_without_the_identity(rng):
    subspace = linear.principal_subspace(rng.standard_normal((9, 3)), 1)
    with pytest.raises(InvalidInput, match="`activation` must be 'swish', 'relu' or 'gelu'"):
        bounded.identity_autoencoder(subspace, "tanh")


def test_layers_must_fit():
    with pytest.raises(InvalidInput, match="must fit each other"):
        Autoencoder((Dense(np.ones((2, 3)), np.zeros(2)),), (Dense(np.ones((3, 1)), np.zeros(3)),))
