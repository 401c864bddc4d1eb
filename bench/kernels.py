"""Measure the compiled kernels against what they replace: `pyscore bench kernels --json FILE`.

Each piece of work has the kernel as its base and contestants beside it, which take turns (see `harness`). Beside
each time stands the error against the float64 reference in units of eps·scale; compile time has its own table.
Anchors that are not installed are named, not skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import util
from typing import Any

import numpy as np

from pyscore import reference
from pyscore._core.checks import Array
from pyscore.bench.anchors import (
    dense_mmd,
    jax_log_volume,
    keops_mmd,
    one_at_a_time,
    sgemm,
    torch_func_log_volume,
    torch_layers,
    torch_tangents_log_volume,
)
from pyscore.bench.harness import Contestants, measure, resident_kilobytes
from pyscore.bench.record import Row
from pyscore.reference import network
from pyscore.reference.model import SVAE

__all__ = ["compile_seconds", "kernel_rows", "log_volume_rows", "mmd_rows", "proposed_rows"]

EPS32 = float(np.finfo(np.float32).eps)
KERNEL = "kernel"
"""Name of the base."""


def rows_of(
    work: str,
    times: dict[str, list[float]],
    targets: dict[str, float],
    errors: dict[str, float],
    notes: str = "",
    *,
    suite: str = "kernels",
    count: float = 1,
    unit: str = "call",
) -> list[Row]:
    """One row a contestant, the kernel first."""
    return [
        Row(
            suite, work, name, times[name], count=count, unit=unit, base=name == KERNEL,
            target=targets.get(name), error=errors.get(name), notes=notes,
        )
        for name in sorted(times, key=lambda name: name != KERNEL)
    ]  # fmt: skip


def _sphere(rng: np.random.Generator, n: int, k: int) -> Array:
    z = rng.standard_normal((n, k))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


# ── log_volume ───────────────────────────────────────────────────────────────────────────────────────────


def log_volume_rows(
    k: int, n: int = 10_000, d: int = 30, h: int = 64, repeats: int = 15, *, anchors: bool = False
) -> list[Row]:
    """Decoder log-volume against torch.func, closed-form tangents, single-sample autograd and bare sgemm.

    `anchors` compares with JAX instead, if it is installed.
    """
    import torch

    from pyscore.kernels import cpu

    model = SVAE.initialise(d, k, h, 4, seed=k)
    packed = cpu.pack([tuple(layer) for layer in model.decoder], model.activation)
    z = _sphere(np.random.default_rng(k), n, k)
    tensors, codes = torch_layers(model), torch.tensor(z)
    single = one_at_a_time(tensors, codes)
    contestants: Contestants = {
        KERNEL: lambda: cpu.decoder_log_volume(packed, model.activation, z, False).volume,
        "torch vmap(jacfwd) + svdvals": lambda: torch_func_log_volume(tensors, codes),
        "torch tangents + qr(mode='r')": lambda: torch_tangents_log_volume(tensors, codes),
        "bare sgemm": sgemm([w for w, _ in tensors], n * (k + 1)),
    }
    if anchors:
        if (jax_volume := jax_log_volume(model, z)) is None:
            return []
        contestants = {KERNEL: contestants[KERNEL], "jax jit(vmap(jacfwd)) + svdvals": jax_volume}
    _, jacobian = network.mlp_jacobian(z.astype(np.float64), model.decoder, model.activation)
    s = np.linalg.svd(jacobian, compute_uv=False)
    scale, expected = k * s[:, 0] / s[:, -1], np.log(s).sum(axis=1)
    errors = {name: error_of(run(), expected, scale) for name, run in contestants.items() if name != "bare sgemm"}
    times = measure(contestants, repeats)
    targets = {name: 0.5 if name == "bare sgemm" else 5.0 for name in contestants if name != KERNEL}
    if not anchors:
        alone = measure({"one": lambda: single(20)}, 3)["one"]
        times["one sample at a time, autograd"] = [t * n / 20 for t in alone]
        targets["one sample at a time, autograd"] = 500.0
    note = f"n={n}, d={d}, h={h}, k={k}, ambient ({k + 1} stacked rows); single samples: 20 timed, scaled to n"
    work = f"log_volume k={k}" + (" beside JAX" if anchors else "")
    return rows_of(work, times, targets, errors, note, count=n, unit="row")


def error_of(computed: Any, expected: Array, scale: Array | float) -> float:
    values = np.asarray(computed, dtype=np.float64)
    return float(np.max(np.abs(values - expected) / (EPS32 * scale)))


# ── mmd_imq ──────────────────────────────────────────────────────────────────────────────────────────────


Route = Callable[[Array, Array], Any]


def mmd_rows(k: int, n: int, target: float, repeats: int, c: float = 0.1, *, anchors: bool = False) -> list[Row]:
    """`mmd_imq` against torch's dense formula, or (`anchors`) against KeOps, if it is installed."""
    from pyscore.kernels import cpu

    rng = np.random.default_rng(k)
    x, y = _sphere(rng, n, k), _sphere(rng, n, k)
    routes: dict[str, Route] = {KERNEL: lambda a, b: cpu.mmd_imq(a, b, c)}
    if not anchors:
        routes["torch dense"] = lambda a, b: dense_mmd(a, b, c)
    elif util.find_spec("pykeops") is not None:
        routes["keops"] = lambda a, b: keops_mmd(a, b, c)
    else:
        return []
    small = x[:2000], y[:2000]  # the reference is dense: its error is taken on the first rows
    expected, scale = mmd_reference(*small, c)
    errors = {name: error_of(route(*small), expected, scale) for name, route in routes.items()}
    note = f"n=m={n}, k={k}, c={c}; error on {min(n, 2000)} rows"
    if n >= 10_000:
        note += f"; extra memory {_extra_memory(n, k):.1f} MB"
    targets = {name: target for name in routes if name != KERNEL}
    work = f"mmd_imq n=m={n} k={k}" + (" beside KeOps" if anchors else "")
    times = measure({name: partial(route, x, y) for name, route in routes.items()}, repeats)
    return rows_of(work, times, targets, errors, note, count=3 * n * n, unit="pair")


def mmd_reference(x: Array, y: Array, c: float) -> tuple[Array, Array]:
    """MMD² in float64, and the scale of its rounding: the three means that it is the sum of."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    means = [reference.imq_kernel_mean(a, b, c) for a, b in ((x, None), (y, None), (x, y))]
    return reference.mmd_imq(x, y, c), means[0] + means[1] + 2 * means[2]


_MEMORY_SCRIPT = """
import sys
import numpy as np
from pyscore.bench.harness import reset_peak, resident_kilobytes
from pyscore.kernels import cpu
n, k = int(sys.argv[1]), int(sys.argv[2])
z = np.random.default_rng(0).standard_normal((n, k)).astype(np.float32)
cpu.mmd_imq(z[:2000], z[:2000], 0.1)
reset_peak()
before = resident_kilobytes("VmRSS")
cpu.mmd_imq(z, z, 0.1)
print(resident_kilobytes("VmHWM") - before)
"""


def _extra_memory(n: int, k: int) -> float:
    """Growth of the peak resident memory of a fresh process, MB."""
    command = [sys.executable, "-c", _MEMORY_SCRIPT, str(n), str(k)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


# ── proposed ─────────────────────────────────────────────────────────────────────────────────────────────


def proposed_rows(
    total: int = 10_000_000, d: int = 10, k: int = 4, h: int = 32, chunk: int = 100_000
) -> list[Row]:
    """`proposed` of a stream of rows against the torch backend, chunk by chunk in turns, with the memory held."""
    from pyscore.backends import get_backend
    from pyscore.scoring.scores import score

    model = SVAE.initialise(d, k, h, 4, seed=0)
    engines = {KERNEL: get_backend("numba"), "torch backend": get_backend("torch")}
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((2000, d)).astype(np.float32)
    expected = score(model.astype(np.float64), sample, "proposed", backend="numpy")
    errors = {
        name: error_of(score(model, sample, "proposed", backend=engine), expected, np.abs(expected))
        for name, engine in engines.items()
    }
    times: dict[str, list[float]] = {name: [] for name in engines}
    resident, chunks = [], total // chunk
    for index in range(chunks):
        x = rng.standard_normal((chunk, d), dtype=np.float32)
        for name, engine in engines.items():
            if name != KERNEL and index >= 10:
                continue  # the slower one does the first ten chunks only
            start = time.perf_counter()
            score(model, x, "proposed", backend=engine)
            times[name].append(time.perf_counter() - start)
        if index in (min(10, chunks // 2), chunks - 1):
            resident.append(resident_kilobytes("VmRSS") / 1024)
    note = (
        f"{total:,} rows in chunks of {chunk:,}, d={d}, k={k}, h={h}; times per chunk, whole stream "
        f"{sum(times['kernel']):.1f} s; resident {resident[0]:.0f} MB early, {resident[-1]:.0f} MB at the end"
    )
    times[KERNEL] = times[KERNEL][: len(times["torch backend"])]  # the ratio is that of the same chunks
    return rows_of("proposed, streamed", times, {"torch backend": 5.0}, errors, note, count=chunk, unit="row")


# ── compile time, threads, all ───────────────────────────────────────────────────────────────────────────

_COMPILE_SCRIPT = """
import sys, time
import numpy as np
start = time.perf_counter()
from pyscore.kernels import cpu
from pyscore.kernels.cpu import _simd
imported = time.perf_counter() - start
dtype = np.dtype(sys.argv[2])
def net(*sizes):
    return [(np.zeros((o, i), dtype), np.zeros(o, dtype)) for i, o in zip(sizes[:-1], sizes[1:])]
x, z = np.zeros((3, 5), dtype), np.eye(3, dtype=dtype)
encoder, decoder = net(5, 4, 3), net(3, 4, 5)
calls = {
    "import": lambda: None,
    "decoder_log_volume": lambda: cpu.decoder_log_volume(decoder, "swish", z),
    "encoder_log_volume": lambda: cpu.encoder_log_volume(encoder, "swish", x),
    "proposed": lambda: cpu.proposed(encoder, decoder, "swish", x, z, np.ones(3), np.zeros(3)),
    "mlp": lambda: cpu.mlp(decoder, "swish", z),
    "log_volume": lambda: cpu.log_volume(np.zeros((1, 3, 2), dtype)),
    "log_likelihood": lambda: cpu.log_likelihood(x, x),
    "log_prior": lambda: cpu.log_prior(z, z, np.ones(3), np.zeros(3)),
    "mmd_imq": lambda: cpu.mmd_imq(z, z),
    "mmd_gradient": lambda: cpu.mmd_gradient(z, z),
}
start = time.perf_counter()
calls[sys.argv[1]]()
print(imported if sys.argv[1] == "import" else time.perf_counter() - start)
"""
COMPILED = (
    "import", "decoder_log_volume", "encoder_log_volume", "proposed", "mlp", "log_volume", "log_likelihood",
    "log_prior", "mmd_imq", "mmd_gradient",
)  # fmt: skip


def compile_seconds(dtype: str = "float32") -> dict[str, tuple[float, float]]:
    """First call of each kernel in a fresh process: with an empty cache, and from the cache on disk."""
    seconds = {}
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        for name in COMPILED:
            command = [sys.executable, "-c", _COMPILE_SCRIPT, name, dtype]
            cold, warm = (
                float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
                for _ in range(2)
            )
            seconds[name] = cold, warm
    return seconds


def kernel_rows(*, quick: bool = False) -> list[Row]:
    """Measure every row of the table; `quick` uses fewer repeats and a tenth of the stream."""
    rows: list[Row] = []
    repeats = 5 if quick else 15
    rows += proposed_rows(1_000_000 if quick else 10_000_000)
    for anchors in (False, True):  # JAX and KeOps last: once loaded, their threads get in torch's way
        for k in (2, 4, 9):
            rows += log_volume_rows(k, repeats=repeats, anchors=anchors)
        for k in (2, 9):
            rows += mmd_rows(k, 10_000, 8.0, 3 if quick else 7, anchors=anchors)
            rows += mmd_rows(k, 100, 1.0, repeats, anchors=anchors)
    return rows
