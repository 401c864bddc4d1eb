"""Fixtures of the Julia tests: the backend on the `julia` executable, and the golden files of the original."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pyscore.backends.julia_ import julia_backend
from pyscore.model import SVAE

JULIA = shutil.which("julia")
REQUIRED = os.environ.get("PYSCORE_REQUIRE_JULIA") == "1"
TRANSPORT = os.environ.get("PYSCORE_JULIA_TRANSPORT", "executable")
"""The transport of these tests; "juliacall" where a Julia ≥ 1.10 is at hand."""
CHECKOUT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("julia") and JULIA is None and not REQUIRED:
            item.add_marker(
                pytest.mark.skip(reason="no `julia` on the PATH (PYSCORE_REQUIRE_JULIA=1 makes this fail)")
            )


@pytest.fixture(scope="session")
def julia():
    """The backend in float64."""
    backend = julia_backend(TRANSPORT, timeout=120)
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def julia32():
    backend = julia_backend(TRANSPORT, timeout=120, dtype=np.float32)
    yield backend
    backend.close()


@pytest.fixture
def own():
    """A backend of one test's own, to be killed as it likes."""
    backend = julia_backend(TRANSPORT, timeout=60)
    yield backend
    backend.close()


@pytest.fixture
def rng():
    return np.random.default_rng(20191122)


def golden_folder():
    """Where the recordings of the original are: all of them, or the committed part."""
    folders = [
        os.environ.get("PYSCORE_GOLDEN"),
        CHECKOUT.parent / "shared" / "golden",
        CHECKOUT / "tests" / "golden",
    ]
    return next((Path(f) for f in folders if f and any(Path(f).glob("*.npz"))), None)


@pytest.fixture(scope="session")
def golden():
    """Load a case by name: arrays as recorded, columns are samples."""
    folder = golden_folder()

    def load(name):
        if folder is None or not (folder / f"{name}.npz").is_file():
            pytest.skip(f"no golden case {name} (set PYSCORE_GOLDEN)")
        with np.load(folder / f"{name}.npz") as archive:
            return dict(archive)

    return load


LAYERS = {
    "q1": "encoder.0", "q2": "encoder.1", "q3": "encoder.2", "mu": "mu", "kappa": "kappa",
    "g1": "decoder.0", "g2": "decoder.1", "g3": "decoder.2", "g4": "decoder.3",
}  # fmt: skip


def golden_parameters(case, prefix):
    """Our names and orientation for the parameters recorded under a prefix."""
    named = {f"{ours}.weight": case[f"{prefix}{theirs}_W"] for theirs, ours in LAYERS.items()}
    named |= {f"{ours}.bias": case[f"{prefix}{theirs}_b"] for theirs, ours in LAYERS.items()}
    return named | {"pseudo_inputs": case[f"{prefix}pseudo_inputs"].T}


@pytest.fixture(scope="session")
def golden_model():
    return lambda case, prefix="w_": SVAE.from_parameters(golden_parameters(case, prefix))


def in_order(parameters):
    """The arrays of a parameter dictionary in the order of `SVAE.parameters()`."""
    order = [f"encoder.{i}" for i in range(3)] + ["mu", "kappa"] + [f"decoder.{i}" for i in range(4)]
    names = [f"{layer}.{part}" for layer in order for part in ("weight", "bias")] + ["pseudo_inputs"]
    return {name: parameters[name] for name in names}


@pytest.fixture(scope="session")
def recorded():
    """Parameters or gradients recorded under a prefix, in the order of `SVAE.parameters()`."""
    return lambda case, prefix: in_order(golden_parameters(case, prefix))


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
    where = np.unravel_index(np.argmax(np.where(finite, np.abs(got - want), -1)), got.shape) if got.ndim else ()
    assert needed <= k, (
        f"{what}: needs k = {needed:.1f} but k = {k}; at {where} got {got[where]!r}, wanted {want[where]!r}"
    )
    return needed


@pytest.fixture(scope="session")
def close():
    return assert_close
