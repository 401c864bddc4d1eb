"""Loader of the golden files for the tests: `pyscore.backends.golden` with hashes checked, and recorded draws."""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
from closeness import assert_close

from pyscore import reference
from pyscore.backends.golden import CHECKS, cases, folders, function_of, model, output, parameters, recorded_case
from pyscore.backends.golden import load as load_arrays
from pyscore.backends.stochastic import K
from pyscore.reference.sampling import VMFDraws

__all__ = [
    "RecordedDraws",
    "RecordedLoss",
    "assert_recorded",
    "cases",
    "facts",
    "load",
    "manifest",
    "model",
    "parameters",
]

SUBSET = Path(__file__).parent / "golden"


@functools.cache
def manifest():
    return json.loads((SUBSET / "manifest.json").read_text())["cases"]


@functools.cache
def facts(case):
    """Metadata of a case: tr_beta, tr_gamma, seeds, …"""
    if case in manifest():
        return manifest()[case]
    return json.loads((folders()[0] / "INDEX.json").read_text())["cases"][case]


@functools.lru_cache(maxsize=4)
def load(case):
    """Arrays of a case by name; a committed file must be that of the manifest."""
    path = SUBSET / f"{case}.npz"
    if path.exists():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest == manifest()[case]["sha256"], f"{path} is not the file of the manifest"
    return load_arrays(case)


def assert_recorded(backend, case, function):
    """All recordings of a function in a case are what the backend gives, to K times the spread."""
    dtype = model(load(case)).dtype
    for recording in [name for name in CHECKS if function_of(name) == function]:
        found = recorded_case(case, recording)
        if found is None:
            continue
        (recorded, scale), what = found, f"{case}: {recording}"
        assert np.isfinite(scale).any(), f"{what}: rounding decides everything"
        with reference.precision(dtype):
            got = output(backend, recording, recorded)
        assert_close(got, recorded.want, K, scale, dtype, what)


class RecordedDraws:
    """The draws of a recorded training run, as a `training.Draws`."""

    def __init__(self, arrays):
        self.arrays = arrays

    def step(self, index):
        return RecordedStep(
            self.arrays["tr_batch_idx"][:, index],
            self.arrays["tr_comps"][:, index],
            VMFDraws(self.arrays["tr_eps"][:, index], self.arrays["tr_vraw"][:, :, index].T),
        )


class RecordedLoss:
    """The draws of the recorded single losses and gradients (`wl_*`)."""

    def __init__(self, arrays):
        self.arrays = arrays

    def step(self, index):
        a = self.arrays
        return RecordedStep(a["wl_batch_idx"], a["wl_comps"], VMFDraws(a["wl_eps"][0], a["wl_vraw"].T))


class RecordedStep:
    def __init__(self, batch, components, draws):
        self._batch, self._components, self._draws = batch, components, draws

    def batch(self, rows, size):
        assert len(self._batch) == size
        return self._batch

    def components(self, p, size):
        assert len(self._components) == size
        return self._components

    def vmf(self, kappa, k):
        return self._draws
