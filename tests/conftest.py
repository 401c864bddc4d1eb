"""Fixtures and hypothesis settings of all tests."""

import numpy as np
import other_lanes  # noqa: F401  before the kernels
import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["without_torch"]

settings.register_profile(
    "default",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of a test's
)
settings.load_profile("default")


@pytest.fixture
def rng():
    return np.random.default_rng(20261122)
