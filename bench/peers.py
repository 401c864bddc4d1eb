"""Ours beside what a user would use instead, on the same rows: `pyscore bench peers`.

For each dataset one trained model and three pieces of work, our compiled code the base of each:

- log-volumes of its decoder at the codes of the rows: torch.func, JAX;
- the MMD of the codes to draws of its prior: dense torch, alibi-detect, KeOps;
- the scores of rows: PyOD's AutoEncoder and VAE, trained on the same rows with their defaults.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import util
from typing import Any, NamedTuple

import numpy as np

from pyscore._core.checks import Array
from pyscore.backends import get_backend
from pyscore.bench.alibi import AlibiMMD
from pyscore.bench.anchors import absent, dense_mmd, jax_log_volume, keops_mmd, torch_func_log_volume, torch_layers
from pyscore.bench.harness import WARM_UP, measure
from pyscore.bench.kernels import KERNEL, error_of, mmd_reference
from pyscore.bench.record import Row
from pyscore.convention import EXACT
from pyscore.data import datasets as data
from pyscore.errors import BackendUnavailable
from pyscore.experiment.goodness import sample_prior
from pyscore.kernels import cpu
from pyscore.reference import roc_auc
from pyscore.reference.network import mlp_jacobian
from pyscore.reference.sampling import generator
from pyscore.scoring import fitted
from pyscore.training.config import TrainConfig

__all__ = ["PYOD", "peer_rows"]

ROWS, PAIRS = 10_000, 1_000
"""Codes that get log-volumes (those of the test split, again and again), and rows of either side of an MMD."""
WIDTH = 0.1
LARGE_BATCH = 4096
PYOD = {"AutoEncoder": "auto_encoder", "VAE": "vae"}
"""Class → module of `pyod.models`."""
OURS = ("reconstruction", "proposed")
Progress = Callable[[str], None]


class Case(NamedTuple):
    """A dataset's rows as they are, and a model trained on them."""

    name: str
    train: Array
    x: Array
    """(n, d) rows of the test split."""
    labels: Array
    model: fitted.FittedModel
    steps: int
    seconds: float
    """What training took."""

    def codes(self, rows: int) -> Array:
        """Codes (rows, k) of test rows, again and again, float32."""
        z = self.model.model.encode(self.model.standardiser.transform(self.x), convention=EXACT)[0]
        return np.resize(z.astype(np.float32), (rows, z.shape[1]))


def case(name: str, steps: int) -> Case:
    """Train our model on the training split of a dataset."""
    split = data.load_dataset(name).split(0)
    start = time.perf_counter()
    model = fitted.fit(split.x_train, TrainConfig(steps=steps, seed=0))
    taken = time.perf_counter() - start
    return Case(name, split.x_train, split.x_test, split.y_test, model, steps, taken)


def peer_rows(
    threads: int, *, quick: bool = False, progress: Progress = lambda _: None
) -> tuple[list[Row], list[str]]:
    """Rows for each dataset that is here, or for the embedded one; and which peers are not here.

    `quick` takes the embedded dataset and one of the ten, and trains all models for a tenth of the time.
    """
    here = data.overview().set_index("dataset")["here"]
    names = [name for name in data.DATASETS if here[name]]
    chosen = [data.EMBEDDED, *names[:1]] if quick else names or [data.EMBEDDED]
    missing = [f"{name}: not installed" for name in absent()]
    repeats, scored = (3, 2_000) if quick else (7, 10_000)
    rows: list[Row] = []
    with ExitStack() as stack:
        alibi = None
        try:
            alibi = stack.enter_context(AlibiMMD(threads))
        except BackendUnavailable as error:
            missing.append(str(error))
        cases = []
        for name in chosen:
            progress(f"{name}: training")
            cases.append(each := case(name, 100 if quick else 1000))
            progress(f"{name}: PyOD")
            found, lacking = scoring_rows(each, repeats, scored, epochs=2 if quick else None)
            rows += found + volume_rows(each, repeats) + pair_rows(each, repeats, alibi)
            missing += lacking
    for each in cases:  # last: once JAX and KeOps are loaded, their threads get in torch's way
        progress(f"{each.name}: JAX, KeOps")
        rows += volume_rows(each, repeats, last=True) + pair_rows(each, repeats, last=True)
    order = {each.name: index for index, each in enumerate(cases)}
    return sorted(rows, key=lambda row: order[row.facts["dataset"]]), list(dict.fromkeys(missing))


# ── log-volumes and MMD ──


def volume_rows(each: Case, repeats: int, *, last: bool = False) -> list[Row]:
    """Ambient log-volumes of the decoder at `ROWS` codes: the kernel beside torch.func, or (`last`) JAX."""
    import torch

    model, z = each.model.model.astype(np.float32), each.codes(ROWS)
    packed = cpu.pack([tuple(layer) for layer in model.decoder], model.activation)
    contestants: dict[str, Callable[[], Any]] = {
        KERNEL: lambda: cpu.decoder_log_volume(packed, model.activation, z, False).volume
    }
    if not last:
        contestants["torch.func"] = partial(torch_func_log_volume, torch_layers(model), torch.from_numpy(z))
    elif (jax := jax_log_volume(model, z)) is not None:
        contestants["JAX"] = jax
    else:
        return []
    small = z[: len(each.x)].astype(np.float64)
    s = np.linalg.svd(mlp_jacobian(small, model.decoder, model.activation)[1], compute_uv=False)
    expected, scale = np.log(s).sum(axis=1), model.latent_dim * s[:, 0] / s[:, -1]
    errors = {
        name: error_of(np.asarray(run())[: len(small)], expected, scale) for name, run in contestants.items()
    }
    notes = f"n={ROWS:,}, d={model.input_dim}, k={model.latent_dim}, h={model.hidden_dim}, ambient"
    work = "log-volumes" + (" beside JAX" if last else "")
    return _rows(each, work, contestants, repeats, notes, count=ROWS, unit="row", errors=errors)


def pair_rows(each: Case, repeats: int, alibi: AlibiMMD | None = None, *, last: bool = False) -> list[Row]:
    """MMD of codes to draws of the prior: the kernel beside dense torch and alibi-detect, or (`last`) KeOps."""
    x = each.codes(PAIRS)
    draws = sample_prior(each.model.model, PAIRS, generator(0, "goodness"))
    y = draws.astype(np.float32)
    expected, scale = mmd_reference(x, y, WIDTH)
    contestants: dict[str, Callable[[], Any]] = {KERNEL: lambda: cpu.mmd_imq(x, y, WIDTH)}
    if not last:
        contestants["torch dense"] = lambda: dense_mmd(x, y, WIDTH)
    elif util.find_spec("pykeops") is not None:
        contestants["KeOps"] = lambda: keops_mmd(x, y, WIDTH)
    else:
        return []
    errors = {name: error_of(run(), expected, scale) for name, run in contestants.items()}
    if alibi is not None:
        errors["alibi-detect"] = error_of(alibi.take(x, y, WIDTH), expected, scale)
        contestants["alibi-detect"] = alibi
    notes = f"n=m={PAIRS:,}, k={x.shape[1]}, c={WIDTH}" + (f"; alibi-detect {alibi.version}" if alibi else "")
    work = "MMD of codes and prior" + (" beside KeOps" if last else "")
    return _rows(each, work, contestants, repeats, notes, count=3 * PAIRS**2, unit="pair", errors=errors)


# ── scores ──


def scoring_rows(each: Case, repeats: int, rows: int, *, epochs: int | None = None) -> tuple[list[Row], list[str]]:
    """Rows to scores, standardising included: ours (numba) beside PyOD's networks; and what is not installed.

    Parameters
    ----------
    rows : those of the test split, again and again
    epochs : of PyOD's training, by default its own
    """
    if util.find_spec("pyod") is None:
        return [], ["pyod: not installed"]
    many = np.resize(each.x, (rows, each.x.shape[1]))
    engine = get_backend("numba", dtype="float32")

    def ours(name: str, x: Array) -> Array:
        return -each.model.scores(x, [name], backend=engine)[name].to_numpy()

    contestants: dict[str, Callable[[], Any]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name in OURS:
        key = f"pyscore {name}"
        contestants[key] = partial(ours, name, many)
        facts[key] = {"auc": roc_auc(ours(name, each.x), each.labels), "training s": each.seconds}
    for name, module in PYOD.items():
        detector, seconds = _pyod(name, module, each.train, epochs)
        auc = roc_auc(detector.decision_function(each.x), each.labels)
        for suffix, options in (("", {}), (f", batches of {LARGE_BATCH}", {"batch_size": LARGE_BATCH})):
            key = f"PyOD {name}{suffix}"
            contestants[key] = partial(detector.decision_function, many, **options)
            facts[key] = {"auc": auc, "training s": seconds}
    notes = f"{rows:,} rows, d={many.shape[1]}; AUC on the {len(each.x)} test rows; "
    notes += f"trained: ours for {each.steps} steps, PyOD's for {epochs or 'the default number of'} epochs"
    return _rows(each, "rows to scores", contestants, repeats, notes, count=rows, unit="row", facts=facts), []


def _pyod(name: str, module: str, train: Array, epochs: int | None) -> tuple[Any, float]:
    """A trained detector of PyOD with its defaults, and the seconds of its training."""
    import importlib

    os.environ.setdefault("TQDM_DISABLE", "1")
    create = getattr(importlib.import_module(f"pyod.models.{module}"), name)
    options = {} if epochs is None else {"epoch_num": epochs}
    with _torch_state():
        start = time.perf_counter()
        detector = create(random_state=0, verbose=0, **options).fit(train)
        return detector, time.perf_counter() - start


@contextmanager
def _torch_state() -> Iterator[None]:
    """PyOD seeds torch as a whole; leave it as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        yield


def _rows(
    each: Case,
    work: str,
    contestants: dict[str, Callable[[], Any]],
    repeats: int,
    notes: str,
    *,
    count: float,
    unit: str,
    errors: dict[str, float] | None = None,
    facts: dict[str, dict[str, Any]] | None = None,
) -> list[Row]:
    """Measure in turns; the first contestant is the base."""
    first: dict[str, float] = {}
    times = measure(contestants, repeats, budget=5.0, warm_up=first)
    return [
        Row(
            "peers", f"{each.name}: {work}", name, times[name], count=count, unit=unit, base=index == 0,
            error=(errors or {}).get(name), notes=notes,
            facts={"dataset": each.name, **(facts or {}).get(name, {}), WARM_UP: first[name]},
        )
        for index, name in enumerate(contestants)
    ]  # fmt: skip
