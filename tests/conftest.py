"""Fixtures and hypothesis settings of all tests."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

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
