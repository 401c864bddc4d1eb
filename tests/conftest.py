"""Fixtures and hypothesis settings of all tests."""

import os
import tempfile
from pathlib import Path

import numpy as np
import other_lanes  # noqa: F401  before the kernels
import pytest
from hypothesis import HealthCheck, settings

from pyscore._core.cache_folders import kernel_folders

pytest_plugins = ["without_torch"]

if "NUMBA_CACHE_DIR" not in os.environ and kernel_folders().note is not None:
    # Where this user has no cache, each process would say so, and what the tests' processes print is compared.
    os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / "pyscore-tests")

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
