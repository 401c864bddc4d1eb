"""Fixtures of the Julia tests: the backend on the `julia` executable, and the golden files of the original."""

import os

import julia_transport
import numpy as np
import pytest
from julia_transport import TRANSPORT

from pyscore.backends import golden as recordings
from pyscore.backends.julia_ import julia_backend
from pyscore.backends.tolerance import record

REQUIRED = os.environ.get("PYSCORE_REQUIRE_JULIA") == "1"
PATIENCE = 3600
"""Seconds after which a test is given up: far beyond what a busy machine needs."""


def pytest_collection_modifyitems(items):
    for item in items:
        if not item.get_closest_marker("julia"):
            continue
        item.add_marker(pytest.mark.timeout(PATIENCE))
        if not (julia_transport.here() or REQUIRED):
            item.add_marker(
                pytest.mark.skip(reason="no `julia` on the PATH (PYSCORE_REQUIRE_JULIA=1 makes this fail)")
            )


@pytest.fixture(scope="session")
def julia():
    """The backend in float64."""
    backend = julia_backend(TRANSPORT, timeout=PATIENCE, start_timeout=PATIENCE)
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def julia32():
    backend = julia_backend(TRANSPORT, timeout=PATIENCE, start_timeout=PATIENCE, dtype=np.float32)
    yield backend
    backend.close()


@pytest.fixture
def own():
    """A backend of one test's own, to be killed as it likes."""
    backend = julia_backend(TRANSPORT, timeout=PATIENCE, start_timeout=PATIENCE)
    yield backend
    backend.close()


@pytest.fixture
def rng():
    return np.random.default_rng(20191122)


@pytest.fixture(scope="session")
def golden():
    """Load a case by name: arrays as recorded, columns are samples."""

    def load(name):
        if name not in recordings.cases(name):
            pytest.skip(f"no golden case {name} (set PYSCORE_GOLDEN)")
        return recordings.load(name)

    return load


@pytest.fixture(scope="session")
def golden_model():
    return recordings.model


def in_order(parameters):
    """The arrays of a parameter dictionary in the order of `SVAE.parameters()`."""
    order = [f"encoder.{i}" for i in range(3)] + ["mu", "kappa"] + [f"decoder.{i}" for i in range(4)]
    names = [f"{layer}.{part}" for layer in order for part in ("weight", "bias")] + ["pseudo_inputs"]
    return {name: parameters[name] for name in names}


@pytest.fixture(scope="session")
def recorded():
    """Parameters or gradients recorded under a prefix, in the order of `SVAE.parameters()`."""
    return lambda case, prefix: in_order(recordings.parameters(case, prefix))


def assert_close(got, want, k, eps, scale, what):
    """|got − want| ≤ k·eps·scale everywhere, with the k that would have been needed in the message."""
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, wanted {want.shape}"
    assert np.array_equal(np.isfinite(got), np.isfinite(want)), f"{what}: infinities and NaN differ"
    finite = np.isfinite(want)
    assert np.array_equal(got[~finite], want[~finite], equal_nan=True), f"{what}: infinities differ"
    if not finite.any():
        return 0.0
    needed = np.max(np.abs(got - want)[finite] / (eps * np.broadcast_to(scale, got.shape)[finite]))
    record(what, float(needed), k)
    where = np.unravel_index(np.argmax(np.where(finite, np.abs(got - want), -1)), got.shape) if got.ndim else ()
    assert needed <= k, (
        f"{what}: needs k = {needed:.1f} but k = {k}; at {where} got {got[where]!r}, wanted {want[where]!r}"
    )
    return needed


@pytest.fixture(scope="session")
def close():
    return assert_close
