"""Loader of the golden files: the committed subset, or the complete set where it is at hand."""

import functools
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from pyscore.model import SVAE
from pyscore.sampling import VMFDraws

SUBSET = Path(__file__).parent / "golden"
COMPLETE = Path(os.environ.get("PYSCORE_GOLDEN") or Path(__file__).parents[2] / "shared" / "golden")
LAYERS = {"q1": "encoder.0", "q2": "encoder.1", "q3": "encoder.2", "mu": "mu", "kappa": "kappa"} | {
    f"g{i + 1}": f"decoder.{i}" for i in range(4)
}


@functools.cache
def manifest():
    return json.loads((SUBSET / "manifest.json").read_text())["cases"]


@functools.cache
def facts(case):
    """Metadata of a case: tr_beta, tr_gamma, seeds, …"""
    if case in manifest():
        return manifest()[case]
    return json.loads((COMPLETE / "INDEX.json").read_text())["cases"][case]


def cases(prefix):
    """Names of the cases with a prefix: those committed, and those of the complete files if they are there."""
    names = {case for case in manifest() if case.startswith(prefix)}
    names |= {path.stem for path in COMPLETE.glob(f"{prefix}*.npz")}
    return sorted(names)


@functools.lru_cache(maxsize=4)
def load(case):
    """Arrays of a case by name, as recorded; from the complete files if they are there."""
    path = COMPLETE / f"{case}.npz"
    if not path.exists():
        path = SUBSET / f"{case}.npz"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest == manifest()[case]["sha256"], f"{path} is not the file of the manifest"
    with np.load(path) as data:
        return {name: data[name] for name in data.files if name != "__meta__"}


def parameters(arrays, prefix="w_"):
    """Parameters by pyscore's names, from the recorded w_q1_W, w_q1_b, … (or grad_…, tr_step1_…)."""
    named = {f"{name}.weight": arrays[f"{prefix}{short}_W"] for short, name in LAYERS.items()}
    named |= {f"{name}.bias": arrays[f"{prefix}{short}_b"] for short, name in LAYERS.items()}
    named["pseudo_inputs"] = arrays[f"{prefix}pseudo_inputs"].T
    return named


def model(arrays, prefix="w_"):
    return SVAE.from_parameters(parameters(arrays, prefix))


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
