"""Every score on every backend that runs here: `pyscore bench scores`.

Contestants take turns at the same rows of one dataset and one trained model. The base is NumPy in float64, which
is the reference, too: errors are measured against it, and AUCs compared with its. `projected`, `corrected` and
`laplace` look for the projection in NumPy on Julia and CUDA, so that theirs differ little or not at all.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore._core.checks import Array
from pyscore.backends import Backend, available_backends, get_backend
from pyscore.backends.julia_ import JuliaBackend
from pyscore.backends.tolerance import error_in_eps
from pyscore.bench.harness import WARM_UP, has_peak_memory, measure
from pyscore.bench.record import Row
from pyscore.convention import EXACT, Convention
from pyscore.data import datasets as data
from pyscore.errors import BackendUnavailable, NumericalWarning, PyscoreError
from pyscore.reference import roc_auc
from pyscore.reference.model import SVAE
from pyscore.scoring import fitted
from pyscore.scoring.scores import available_scores, score, score_terms
from pyscore.training.config import TrainConfig

__all__ = [
    "JuliaLoop",
    "Problem",
    "Progress",
    "close",
    "engine",
    "engines",
    "problem",
    "rows_of_score",
    "score_rows",
    "torch_has_cuda",
]

BASE = "numpy float64"
Progress = Callable[[str], None]


class Problem(NamedTuple):
    """A trained model with the rows to be scored."""

    name: str
    fitted: fitted.FittedModel
    x: Array
    """(n, d), float32 values: every backend gets the same numbers."""
    labels: NDArray[np.int64]


def problem(name: str = data.EMBEDDED, *, steps: int = 1000, rows: int | None = None) -> Problem:
    """Train a model on the training split of a dataset; the rows to be scored are those of the test split.

    With `rows` the test rows are repeated, or cut, to that many.
    """
    split = data.load_dataset(name).split(0)
    model = fitted.fit(split.x_train, TrainConfig(steps=steps, seed=0))
    x = np.asarray(model.standardiser.transform(split.x_test), np.float32).astype(np.float64)
    pick = np.arange(len(x)) if rows is None else np.resize(np.random.default_rng(0).permutation(len(x)), rows)
    return Problem(name, model, x[pick], split.y_test[pick])


class JuliaLoop(JuliaBackend):
    """The Julia backend one sample at a time, as the original computed its Jacobians (route ``:loop``)."""

    def decoder_log_volume(self, model: SVAE, z: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.decoder_log_volume`."""
        z = self._array("z", z, ("n", model.latent_dim))
        return self.call("decoder_log_volume", model, z, route="loop", convention=convention)

    def encoder_log_volume(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.encoder_log_volume`."""
        x = self._array("x", x, ("n", model.input_dim))
        return self.call("encoder_log_volume", model, x, route="loop", convention=convention)


def engine(name: str) -> Backend:
    """Return the backend of a contestant: "torch float32", "torch cuda float32", "julia loop float64"."""
    backend, *route, dtype = name.split()
    found = get_backend(backend, dtype=dtype, device="cuda" if route == ["cuda"] else None)
    if route == ["loop"] and isinstance(found, JuliaBackend):
        return JuliaLoop(found.worker, found.dtype, found.transport)
    return found


def engines(*, quick: bool = False) -> tuple[dict[str, Backend], list[str]]:
    """Return contestants by name, NumPy first, and why the others are not here; `quick`: their default dtypes."""
    names = [BASE]
    missing = []
    for name, why in available_backends().items():
        if why is not None:
            missing.append(f"backend {name}: {why}")
        elif name == "julia":
            names += ["julia loop float64", "julia float64"]
        elif name != "numpy":
            dtypes = ("float32",) if quick else ("float32", "float64")
            names += [f"{name} {dtype}" for dtype in dtypes]
            if name == "torch" and torch_has_cuda():
                names += [f"torch cuda {dtype}" for dtype in dtypes]
            elif name == "torch":
                missing.append("torch on CUDA: torch finds no GPU")
    found = {}
    for name in names:
        try:
            found[name] = engine(name)
        except BackendUnavailable as error:
            missing.append(f"{name}: {error}")
    return found, missing


def torch_has_cuda() -> bool:
    """Whether torch can use a GPU here."""
    import torch

    return torch.cuda.is_available()


def score_rows(
    name: str | None = None, *, quick: bool = False, progress: Progress = lambda _: None
) -> tuple[list[Row], list[str]]:
    """Every score on every backend, on one dataset: its rows, and what could not be measured.

    Parameters
    ----------
    name : a dataset; by default magic-telescope, the largest, if it is on this machine, else the embedded one
    quick : a table of 200 rows, a model of 100 steps, default dtypes, memory of `proposed` alone
    """
    if name is None:
        here = data.overview().set_index("dataset")["here"]
        name = "magic-telescope" if here["magic-telescope"] and not quick else data.EMBEDDED
    progress(f"training on {name}")
    found = problem(name, steps=100 if quick else 3000, rows=200 if quick else 2000)
    contestants, missing = engines(quick=quick)
    repeats = 3 if quick else 9
    rows: list[Row] = []
    for each in available_scores():
        progress(each)
        measured_memory = each == "proposed" or not quick
        rows += rows_of_score(found, each, contestants, repeats, suite="scores", memory=measured_memory)
    if not has_peak_memory():
        missing.append("peak memory: this system has no /proc/self/clear_refs")
    close(contestants)
    return rows, missing


def close(contestants: Mapping[str, Any]) -> None:
    """End the processes of the Julia backends."""
    for backend in contestants.values():
        if backend.name == "julia":
            backend.close()


def rows_of_score(
    found: Problem,
    name: str,
    contestants: Mapping[str, Backend],
    repeats: int,
    *,
    suite: str,
    memory: bool = False,
    budget: float = 20.0,
) -> list[Row]:
    """One row a contestant for one score of a problem; the first contestant is the base and the reference.

    Errors are in eps(dtype of the backend)·(1 + Σ|terms|), those of encoder and decoder included.
    """
    model, x = found.fitted.model, found.x
    runs = {key: partial(score, model, x, name, backend=backend) for key, backend in contestants.items()}
    first: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # singular rows are −inf in all of them, and compared
        times = measure(runs, repeats, budget, warm_up=first)  # its first calls are the first of all
        values = {key: run() for key, run in runs.items()}
        scale = (
            1 + np.abs(score_terms(model.astype(np.float64), x, [name], backend="numpy")).sum(axis=1).to_numpy()
        )
    want = values[BASE]
    notes = f"{found.name}: n={len(x)}, d={model.input_dim}, k={model.latent_dim}, h={model.hidden_dim}"
    rows = []
    for key, backend in contestants.items():
        error = float(error_in_eps(values[key], want, scale, backend.dtype).max())
        facts: dict[str, Any] = ranks(values[key], want, found.labels)
        facts[WARM_UP] = first[key]
        if memory and has_peak_memory():
            facts["memory_mb"] = peak_memory(found, name, key)
        work = name if suite == "scores" else f"{found.name}: {name}"
        rows.append(
            Row(
                suite, work, key, times[key], count=len(x), unit="row", base=key == BASE, error=error, facts=facts,
                notes=notes,
            )
        )  # fmt: skip
    return rows


def ranks(values: Array, want: Array, labels: ArrayLike) -> dict[str, Any]:
    """AUC, whether it is the reference's, and whether all rows are in the reference's order.

    Same order, same AUC; the converse is not true: float32 may swap two rows of one class.
    """
    from scipy.stats import rankdata

    auc = roc_auc(-values, labels)
    return {
        "auc": auc,
        "auc equal": auc == roc_auc(-want, labels),
        "ranks equal": bool(np.array_equal(rankdata(values), rankdata(want))),
    }


_MEMORY_SCRIPT = """
import sys, warnings
import numpy as np
from pyscore.bench.harness import reset_peak, resident_kilobytes
from pyscore.bench.scores import engine
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.scores import score
path, rows, name, contestant = sys.argv[1:]
warnings.simplefilter("ignore")
model, x, backend = FittedModel.load(path).model, np.load(rows), engine(contestant)
score(model, x[:8], name, backend=backend)  # compiled, loaded, started
worker = backend.worker.pid if contestant.startswith("julia") else None  # none where NumPy does all of a score
processes = ["self"] + ([worker] if worker else [])
for pid in processes:
    reset_peak(pid)
before = sum(resident_kilobytes("VmRSS", pid) for pid in processes)
score(model, x, name, backend=backend)
print(sum(resident_kilobytes("VmHWM", pid) for pid in processes) - before)
if contestant.startswith("julia"):
    backend.close()
"""


def peak_memory(found: Problem, name: str, contestant: str) -> float:
    """Growth of the peak resident memory of a fresh process, and of its Julia worker, while it scores; MB."""
    with tempfile.TemporaryDirectory() as folder:
        model, rows = Path(folder) / "m.safetensors", Path(folder) / "x.npy"
        found.fitted.save(model)
        np.save(rows, found.x)
        command = [sys.executable, "-c", _MEMORY_SCRIPT, str(model), str(rows), name, contestant]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PyscoreError(f"the process that measures the memory of {name} on {contestant} failed: {done.stderr}")
    return int(done.stdout) / 1024
