"""The model: initialisation, names, shapes, files."""

import numpy as np
import pytest
from kernel_specs import model

from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import InvalidInput, ShapeError
from pyscore.reference.model import SVAE


def test_initialisation_is_flux():
    m = SVAE.initialise(12, 4, 64, 16, seed=1)
    for layer in (*m.encoder, m.mu, m.kappa, *m.decoder):
        bound = np.sqrt(6 / sum(layer.weight.shape))
        assert np.abs(layer.weight).max() <= bound
        assert layer.weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.25)
        assert not layer.bias.any()
    np.testing.assert_allclose(np.linalg.norm(m.pseudo_inputs, axis=1), 1, rtol=1e-6)
    assert m.dtype == np.float32
    assert (m.input_dim, m.latent_dim, m.hidden_dim, m.n_components) == (12, 4, 64, 16)


def test_a_seed_is_a_model():
    assert SVAE.initialise(5, 2, seed=3).digest() == SVAE.initialise(5, 2, seed=3).digest()
    assert SVAE.initialise(5, 2, seed=3).digest() != SVAE.initialise(5, 2, seed=4).digest()


def test_parameters_round_trip():
    m = model(np.float64)
    again = SVAE.from_parameters(m.parameters(), m.activation)
    assert again.digest() == m.digest()
    assert m.astype(np.float32).dtype == np.float32
    assert m.astype(np.float32).astype(np.float64).digest() != m.digest()


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        ({"latent_dim": 6}, "`latent_dim` must be at most the number of features, 5; got 6"),
        ({"latent_dim": 1}, "`latent_dim` must be an integer of at least 2; got 1"),
        ({"hidden_dim": 0}, "`hidden_dim` must be an integer of at least 1; got 0"),
        ({"n_components": 2.5}, "`n_components` must be an integer of at least 1; got 2.5"),
        ({"activation": "mish"}, "`activation` must be one of .*'swish'.*; got 'mish'"),
        ({"seed": -1}, "`seed` must be an integer of at least 0; got -1"),
    ],
)
def test_bad_sizes(sizes, match):
    with pytest.raises(InvalidInput, match=match):
        SVAE.initialise(5, **sizes)


def test_inconsistent_parameters():
    parameters = model().parameters()
    with pytest.raises(InvalidInput, match=r"missing \['mu.bias'\], unknown \['extra'\]"):
        SVAE.from_parameters({**{n: a for n, a in parameters.items() if n != "mu.bias"}, "extra": np.zeros(2)})
    with pytest.raises(ShapeError, match=r"parameter `decoder.1.bias` must have shape \(16,\); got \(15,\)"):
        SVAE.from_parameters({**parameters, "decoder.1.bias": np.zeros(15, np.float32)})
    with pytest.raises(InvalidInput, match=r"parameter `mu.bias` must be float32 like the rest; got float64"):
        SVAE.from_parameters({**parameters, "mu.bias": np.zeros(3)})


def test_codes_are_unit_vectors():
    m = model(np.float64)
    x = np.random.default_rng(0).standard_normal((50, 7))
    mu, kappa = m.encode(x)
    np.testing.assert_allclose(np.linalg.norm(mu, axis=1), 1, rtol=4e-16)
    assert ((kappa > 0) & (kappa < 100)).all()
    assert (np.linalg.norm(m.encode(x, convention=ORIGINAL)[0], axis=1) <= 1).all()


def test_wrong_width_says_so():
    with pytest.raises(ShapeError, match=r"`x` must have shape \(n, 7\); got \(3, 6\)"):
        model().encode(np.zeros((3, 6)), convention=EXACT)


def test_a_model_is_frozen():
    with pytest.raises(AttributeError):
        model().activation = "relu"
