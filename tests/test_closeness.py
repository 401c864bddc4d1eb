"""The one comparison of the numerical tests: what it lets pass, what it must not, and that nobody goes around it."""

import re
from pathlib import Path

import numpy as np
import pytest
from closeness import PLANTED, assert_close, assert_conditioned, planted

from pyscore.backends.stochastic import K, scale_of

TESTS = Path(__file__).parent
COMPARED = (
    "golden_files.py", "replay.py", "test_conformance.py", "test_golden_ipmeasures.py", "test_golden_reference.py",
    "test_golden_rest.py", "test_training_replay.py", "kernels/test_importance.py", "kernels/test_log_volume.py",
    "kernels/test_mmd.py", "kernels/test_proposed.py",
)  # fmt: skip
"""Comparisons with recordings and with kernels."""
OTHER_BOUNDS = re.compile(r"assert_allclose|allclose\(|approx\(|\brtol=|\batol=|\bk=\d")


@pytest.mark.parametrize("name", COMPARED)
def test_every_comparison_has_the_one_bound(name):
    """K times a scale, and no number that was read off a machine."""
    lines = (TESTS / name).read_text().splitlines()
    assert [line.strip() for line in lines if OTHER_BOUNDS.search(line)] == []


def log_volume(x):
    return np.log(np.abs(np.linalg.det(x)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("condition", [1.0, 1e5])
def test_a_planted_error_of_four_times_the_allowed_is_seen(dtype, condition):
    """And one of half of it is not; the bound grows with the condition of the inputs and with nothing else."""
    x = np.array([[[1.0, 1.0], [1.0, 1.0 + 1 / condition]]]).astype(dtype)
    want = log_volume(x.astype(np.float64))
    assert_conditioned(want, None, log_volume, (x,), dtype)
    scale = scale_of(log_volume, (x,), dtype)
    assert 0.1 * condition < scale.item() < 100 * condition
    allowed = K * np.finfo(dtype).eps * scale
    assert_close(want + allowed / 2, want, K, scale, dtype)
    with pytest.raises(AssertionError, match="eps·scale"):
        assert_close(want + PLANTED * allowed, want, K, scale, dtype)


@pytest.mark.parametrize("scale", [np.inf, np.nan])
def test_a_bound_that_lets_everything_pass_fails(scale):
    with pytest.raises(AssertionError, match="allowed"):
        assert_close(np.ones(3), np.ones(3), K, scale)


def test_the_planted_error_is_at_the_loosest_bound():
    want, scale = np.zeros(3), np.array([1.0, 5.0, np.inf])
    wrong = planted(want, want, K, scale, np.float64)
    assert np.flatnonzero(wrong).tolist() == [1]
    assert wrong[1] == PLANTED * K * np.finfo(float).eps * 5
