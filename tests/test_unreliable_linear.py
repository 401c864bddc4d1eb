"""PCA and linear autoencoders reconstruct points at any distance: the theorem, as a property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyscore.errors import InvalidInput
from pyscore.studies.unreliable import linear
from pyscore.studies.unreliable.adversarial import nearest_distance

EPS = np.finfo(float).eps


@st.composite
def problems(draw):
    """Data at any offset and scale with any spectrum, and coordinates of any length."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(4, 40)), draw(st.integers(2, 12))
    k = draw(st.integers(1, min(n, d) - 1))
    spectrum = 10.0 ** rng.uniform(-6, 0, d)
    offset = draw(st.sampled_from([0.0, 1.0, 1e6]))
    x = 10.0 ** draw(st.integers(-6, 6)) * (
        rng.standard_normal((n, d)) * spectrum + offset * rng.standard_normal(d)
    )
    c = rng.standard_normal((7, k)) * 10.0 ** rng.uniform(-8, 12, (7, 1))
    return x, linear.principal_subspace(x, k, centre=draw(st.booleans())), c


@given(problems())
def test_points_of_the_subspace_are_reconstructed_to_rounding(problem):
    _, subspace, c = problem
    a = subspace.point(c)
    error = np.linalg.norm(subspace.reconstruct(a) - a, axis=1)
    assert (error <= linear.rounding_bound(subspace, c)).all()


@given(problems())
def test_no_row_is_nearer_than_the_bound(problem):
    x, subspace, c = problem
    squared = nearest_distance(subspace.point(c), x) ** 2
    rounding = (
        64 * x.shape[1] * EPS * (np.abs(x).max() + np.linalg.norm(subspace.mean) + np.linalg.norm(c, axis=1))
    )
    bound = np.sqrt(linear.distance_bound(x, subspace, c))
    assert (np.sqrt(squared) >= bound - rounding).all()


def test_the_bound_is_not_idle(rng):
    """Far along the subspace the nearest row is barely farther than the bound: it cannot be raised by much."""
    x = rng.standard_normal((50, 4))
    subspace = linear.principal_subspace(x, 2)
    c = 1e3 * np.array([[1.0, 0.0], [0.6, 0.8]])
    bound = np.sqrt(linear.distance_bound(x, subspace, c))
    assert (bound > 990).all()
    assert (nearest_distance(subspace.point(c), x) < bound + 10).all()


@pytest.mark.parametrize("bias", [True, False])
def test_a_trained_linear_autoencoder_reaches_the_pca_subspace_and_fails_like_pca(rng, bias):
    x = rng.standard_normal((200, 5)) * [3.0, 2.0, 0.5, 0.3, 0.1] + 1.0
    wanted = linear.principal_subspace(x, 2, centre=bias)
    model = linear.train_linear_autoencoder(x, 2, bias=bias, steps=3000)
    angle = linear.principal_angle(model.decoder.T, wanted.basis)
    assert angle < 1e-4  # the gradient is 1e-6 at the end, and the Hessian's gap 0.25
    a = wanted.point(1e3 * np.eye(2))
    assert np.linalg.norm(model.reconstruct(a) - a, axis=1).max() < 1e3 * 20 * max(angle, 1e-8)
    assert nearest_distance(a, x).min() > 900


def test_bad_input():
    with pytest.raises(InvalidInput, match="`k` must be at most the smaller of rows and columns, 2; got 3"):
        linear.principal_subspace(np.eye(2), 3)
