"""The search finds what is there, reports what it found, and finds nothing where nothing is."""

import numpy as np
import pytest
import torch

from pyscore.errors import InvalidInput
from pyscore.studies.unreliable import linear
from pyscore.studies.unreliable.adversarial import (
    Budget,
    differentiable,
    isolation_radius,
    nearest_distance,
    range_starts,
    search,
)

BUDGET = Budget(restarts=16, steps=150, rounds=4)


@pytest.fixture
def rows(rng):
    return rng.standard_normal((100, 3)) * [2.0, 0.5, 0.1] + [5.0, 0.0, 0.0]


def pca_error(rows, k=1):
    """Reconstruction error of PCA on tensors: zero along a line that never ends."""
    mean, basis = (torch.as_tensor(part) for part in linear.principal_subspace(rows, k))

    def error(x):
        centred = x - mean
        return ((centred - centred @ basis @ basis.T) ** 2).sum(dim=1)

    return error


def test_it_finds_the_line_along_which_pca_is_blind(rows):
    error = pca_error(rows)
    threshold = float(error(torch.as_tensor(rows)).min())
    strict = search(error, rows, threshold, budget=Budget(restarts=16, steps=300, rounds=1))
    assert strict.success_rate > 0.3
    found = search(error, rows, 0.01, budget=BUDGET)
    assert found.success_rate > 0.3
    assert found.exhausted  # the budget ended it: there is no farthest point
    assert found.reach >= 8 * found.radius
    assert found.summary()["reach_in_radii"] == found.reach / found.radius


def test_what_it_reports_is_true_of_the_points(rows):
    error = pca_error(rows)
    found = search(error, rows, 0.01, budget=BUDGET)
    for points, distance, score in (
        (found.near, found.near_distance, found.near_score),
        (found.far, found.far_distance, found.far_score),
    ):
        good = found.found
        assert np.array_equal(nearest_distance(points[good], rows), distance[good])
        np.testing.assert_array_equal(error(torch.as_tensor(points[good])).numpy(), score[good])
        assert (distance[good] >= found.radius).all()
        assert (score[good] < 0.01).all()
        assert np.isnan(points[~good]).all()
    assert (found.far_distance[found.found] >= found.near_distance[found.found]).all()


def test_a_score_without_a_blind_spot_yields_nothing(rows):
    """The distance to the mean: whatever is below the threshold of a normal row is near."""
    mean = torch.as_tensor(rows.mean(axis=0))

    def score(x):
        return ((x - mean) ** 2).sum(dim=1)

    found = search(score, rows, float(score(torch.as_tensor(rows)).min()), budget=BUDGET)
    assert found.success_rate == 0
    assert not found.exhausted
    assert found.reach < found.radius
    assert np.isnan(found.far).all()


def test_a_disc_is_reached_to_its_edge(rng):
    """Zero score within 7 of the origin: the farthest point from the data is known."""
    rows = 0.1 * rng.standard_normal((50, 2))

    def score(x):
        return torch.relu(torch.linalg.vector_norm(x, dim=1) - 7) + 1e-9

    found = search(score, rows, 1e-6, radius=1.0, budget=Budget(restarts=16, steps=150, rounds=12))
    assert found.success_rate == 1
    assert 6.0 < found.reach < 7.2
    assert not found.exhausted


def test_same_seed_same_bits_and_another_seed_other_points(rows):
    first, again, other = (search(pca_error(rows), rows, 0.01, budget=BUDGET, seed=s) for s in (0, 0, 1))
    assert np.array_equal(first.far, again.far, equal_nan=True)
    assert not np.array_equal(first.far, other.far, equal_nan=True)


def test_bounds_hold(rows):
    found = search(pca_error(rows), rows, 0.01, radius=1.0, bounds=(-8.0, 8.0), budget=BUDGET)
    assert found.success_rate > 0
    assert np.nanmax(np.abs(found.far)) <= 8.0


def test_a_numpy_score_can_be_searched(rows):
    subspace = linear.principal_subspace(rows, 1)

    def score(x):
        return np.sum((x - subspace.reconstruct(x)) ** 2, axis=1)

    x = torch.as_tensor(rows[:5] + 1.0).requires_grad_()
    differentiable(score)(x).sum().backward()
    exact = x.detach().clone().requires_grad_()
    pca_error(rows)(exact).sum().backward()
    scale = float(exact.grad.abs().max())
    assert float((x.grad - exact.grad).abs().max()) < 1e-9 * scale  # quadratic: only rounding, eps/step
    on_line = subspace.point([[-30.0], [30.0]]) + 0.3
    found = search(
        differentiable(score), rows, 0.01, starts=on_line, budget=Budget(restarts=4, steps=60, rounds=2)
    )
    assert found.success_rate > 0


def test_scores_of_any_sign_can_be_searched(rows):
    error = pca_error(rows)
    found = search(lambda x: error(x) - 5.0, rows, -4.99, positive=False, budget=BUDGET)
    assert found.success_rate > 0
    assert (found.near_score[found.found] < -4.99).all()


def test_isolation_radius_and_nearest_distance():
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [4.0, 4.0]])
    assert isolation_radius(rows) == 5.0
    far = nearest_distance([[1e12, 0.0]], rows)[0]
    assert far == 1e12 - 4.0 or abs(far - np.hypot(1e12 - 4, 4.0)) <= 2 * np.spacing(1e12)
    with pytest.raises(InvalidInput, match="at least 2 different rows"):
        isolation_radius(np.ones((3, 2)))


def test_starts_on_the_range(rows):
    subspace = linear.principal_subspace(rows, 1)
    starts = range_starts(lambda x: (x - subspace.mean) @ subspace.basis, subspace.point, rows, 20)
    assert starts.shape == (20, 3)
    assert np.abs(starts - subspace.reconstruct(starts)).max() < 1e-11
    assert nearest_distance(starts, rows).max() > isolation_radius(rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.0}, "`threshold` must be a finite number above 0"),
        ({"threshold": 1.0, "radius": -1.0}, "`radius` must be a finite number above 0"),
    ],
)
def test_bad_input(rows, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        search(pca_error(rows), rows, arguments.pop("threshold"), **arguments)


def test_bad_budget():
    with pytest.raises(InvalidInput, match="`restarts` must be an integer of at least 1"):
        Budget(restarts=0)
