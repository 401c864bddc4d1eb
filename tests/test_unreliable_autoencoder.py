"""Plain autoencoders: they learn, repeat to the bit, and torch and NumPy agree."""

import numpy as np
import pytest
import torch

from pyscore.detectors.autoencoder import train_autoencoder
from pyscore.errors import InvalidInput, TrainingDiverged


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(3)
    along = rng.standard_normal((150, 1))
    return np.hstack([along, 0.5 * along, -along]) + 0.05 * rng.standard_normal((150, 3))


@pytest.mark.parametrize("latent", ["euclidean", "sphere"])
def test_it_learns_and_repeats_to_the_bit(x, latent):
    first, again = (
        train_autoencoder(x, (3, 8, 2, 8, 3), activation="swish", latent=latent, steps=300, seed=4)
        for _ in range(2)
    )
    assert first.loss == again.loss
    assert first.loss < 0.3 * np.sum(x.var(axis=0))
    if latent == "sphere":
        np.testing.assert_allclose(np.linalg.norm(first.model.encode(x), axis=1), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "swish", "tanh"])
def test_the_error_on_tensors_is_that_of_numpy(x, activation):
    model = train_autoencoder(x, (3, 5, 2, 5, 3), activation=activation, steps=20).model
    far = np.concatenate([x, 1e3 * x])
    mine, torchs = model.error(far), model.torch_error()(torch.as_tensor(far)).numpy()
    scale = np.sum(far**2, axis=1)
    assert (np.abs(mine - torchs) <= 256 * np.finfo(float).eps * scale).all()


def test_restarts_keep_the_best(x):
    losses = [train_autoencoder(x, (3, 2, 1, 2, 3), steps=30, seed=9, restarts=r).loss for r in (1, 3)]
    assert losses[1] <= losses[0]


def test_jacobian_and_bend_by_differences(x):
    model = train_autoencoder(x, (3, 6, 2, 6, 3), activation="swish", steps=20).model
    z, h = model.encode(x[:4]), 1e-5
    shifts = h * np.eye(2)
    jacobian = np.stack([(model.decode(z + s) - model.decode(z - s)) / (2 * h) for s in shifts], axis=2)
    np.testing.assert_allclose(model.decoder_jacobian(z), jacobian, rtol=0, atol=1e-8)
    weights = x[:4]
    slope = [
        np.einsum("nd,ndk->nk", weights, model.decoder_jacobian(z + s) - model.decoder_jacobian(z - s))
        for s in shifts
    ]
    np.testing.assert_allclose(
        model.decoder_bend(z, weights), np.stack(slope, axis=1) / (2 * h), rtol=0, atol=1e-8
    )


def test_errors(x):
    with pytest.raises(InvalidInput, match="begins and ends with the 3 features"):
        train_autoencoder(x, (2, 1, 2))
    with pytest.raises(InvalidInput, match="at least 2 dimensions"):
        train_autoencoder(x, (3, 1, 3), latent="sphere")
    with pytest.raises(TrainingDiverged, match="Lower `learning_rate`"):
        train_autoencoder(x * 1e10, (3, 1, 3), activation="identity", learning_rate=1e160, steps=50)
