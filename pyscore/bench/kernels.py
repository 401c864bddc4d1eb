"""Measure the compiled kernels against what they replace: `pyscore bench kernels --json FILE`.

Each piece of work has the kernel as its base and contestants beside it, which take turns (see `harness`). Beside
each time stands the error against the float64 reference in units of eps·scale; compile time has its own table.
Anchors that are not installed are named, not skipped.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import util
from typing import Any

import numpy as np

from pyscore import network, reference
from pyscore._validate import Array
from pyscore.bench.harness import Contestants, measure, resident_kilobytes
from pyscore.bench.record import Row
from pyscore.model import SVAE

__all__ = ["absent_anchors", "compile_seconds", "kernel_rows", "log_volume_rows", "mmd_rows", "proposed_rows"]

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
    tensors = [(torch.tensor(w), torch.tensor(b)) for w, b in model.decoder]
    codes = torch.tensor(z)
    single = _one_at_a_time(tensors, codes)
    contestants: Contestants = {
        KERNEL: lambda: cpu.decoder_log_volume(packed, model.activation, z, False).volume,
        "torch vmap(jacfwd) + svdvals": lambda: _torch_func(tensors, codes),
        "torch tangents + qr(mode='r')": lambda: _torch_tangents(tensors, codes),
        "bare sgemm": _sgemm([w for w, _ in tensors], n * (k + 1)),
    }
    if anchors:
        if (jax_volume := _jax_log_volume(model, z)) is None:
            return []
        contestants = {KERNEL: contestants[KERNEL], "jax jit(vmap(jacfwd)) + svdvals": jax_volume}
    _, jacobian = network.mlp_jacobian(z.astype(np.float64), model.decoder, model.activation)
    s = np.linalg.svd(jacobian, compute_uv=False)
    scale, expected = k * s[:, 0] / s[:, -1], np.log(s).sum(axis=1)
    errors = {name: _error(run(), expected, scale) for name, run in contestants.items() if name != "bare sgemm"}
    times = measure(contestants, repeats)
    targets = {name: 0.5 if name == "bare sgemm" else 5.0 for name in contestants if name != KERNEL}
    if not anchors:
        alone = measure({"one": lambda: single(20)}, 3)["one"]
        times["one sample at a time, autograd"] = [t * n / 20 for t in alone]
        targets["one sample at a time, autograd"] = 500.0
    note = f"n={n}, d={d}, h={h}, k={k}, ambient ({k + 1} stacked rows); single samples: 20 timed, scaled to n"
    work = f"log_volume k={k}" + (" beside JAX" if anchors else "")
    return rows_of(work, times, targets, errors, note, count=n, unit="row")


def _error(computed: Any, expected: Array, scale: Array | float) -> float:
    values = np.asarray(computed, dtype=np.float64)
    return float(np.max(np.abs(values - expected) / (EPS32 * scale)))


def _torch_mlp(tensors: Any, code: Any) -> Any:
    import torch.nn.functional as F

    a = code
    for index, (weight, bias) in enumerate(tensors):
        a = F.linear(a, weight, bias)
        if index < len(tensors) - 1:
            a = F.silu(a)
    return a


def _torch_func(tensors: Any, codes: Any) -> Any:
    import torch

    with torch.no_grad():
        jacobian = torch.func.vmap(torch.func.jacfwd(lambda code: _torch_mlp(tensors, code)))(codes)
        return torch.linalg.svdvals(jacobian).log().sum(dim=1)


def _torch_tangents(tensors: Any, codes: Any) -> Any:
    import torch

    from pyscore import torch_functions

    n, k = codes.shape
    with torch.no_grad():
        identity = torch.eye(k).expand(n, k, k)
        tangents = torch_functions.mlp_tangents(codes, identity, tensors, "swish")[1]
        r = torch.linalg.qr(tangents.transpose(1, 2), mode="r").R
        return torch.diagonal(r, dim1=1, dim2=2).abs().log().sum(dim=1)


def _one_at_a_time(tensors: Any, codes: Any) -> Callable[[int], None]:
    import torch

    differentiate: Any = torch.autograd.functional.jacobian

    def run(count: int) -> None:
        for code in codes[:count]:
            jacobian = differentiate(lambda c: _torch_mlp(tensors, c), code)
            torch.linalg.svdvals(jacobian).log().sum()

    return run


def _sgemm(weights: Sequence[Any], rows: int) -> Callable[[], None]:
    """Products of the fused kernel as plain matrix products into memory that is already there."""
    import torch

    pairs = [(torch.randn(rows, w.shape[1]), w.T, torch.empty(rows, w.shape[0])) for w in weights]

    def run() -> None:
        for a, b, out in pairs:
            torch.mm(a, b, out=out)

    return run


def _jax_log_volume(model: SVAE, z: Array) -> Callable[[], Any] | None:
    if util.find_spec("jax") is None:
        return None
    import jax
    import jax.numpy as jnp

    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in model.decoder]

    def decode(code: Any) -> Any:
        for weight, bias in layers[:-1]:
            code = jax.nn.silu(weight @ code + bias)
        return layers[-1][0] @ code + layers[-1][1]

    volume = jax.jit(lambda c: jnp.log(jnp.linalg.svd(jax.vmap(jax.jacfwd(decode))(c), compute_uv=False)).sum(1))
    codes = jnp.asarray(z)
    return lambda: np.asarray(volume(codes).block_until_ready())


# ── mmd_imq ──────────────────────────────────────────────────────────────────────────────────────────────


def mmd_rows(k: int, n: int, target: float, repeats: int, c: float = 0.1, *, anchors: bool = False) -> list[Row]:
    """`mmd_imq` against torch's dense formula, or (`anchors`) against KeOps, if it is installed."""
    import torch

    from pyscore.kernels import cpu

    rng = np.random.default_rng(k)
    x, y = _sphere(rng, n, k), _sphere(rng, n, k)
    tx, ty = torch.tensor(x), torch.tensor(y)
    contestants: dict[str, Callable[[], Any]] = {KERNEL: lambda: cpu.mmd_imq(x, y, c)}
    if not anchors:
        contestants["torch dense"] = lambda: _dense_mmd(tx, ty, c)
    elif util.find_spec("pykeops") is not None:
        contestants["keops"] = lambda: _keops_mmd(tx, ty, c)
    else:
        return []
    small = slice(0, 2000)  # the reference is dense: its error is taken on the first rows
    x64, y64 = x[small].astype(np.float64), y[small].astype(np.float64)
    expected = reference.mmd_imq(x64, y64, c)
    within = reference.imq_kernel_mean(x64, None, c) + reference.imq_kernel_mean(y64, None, c)
    scale = within + 2 * reference.imq_kernel_mean(x64, y64, c)
    errors = {
        KERNEL: _error(cpu.mmd_imq(x[small], y[small], c), expected, scale),
        "torch dense": _error(_dense_mmd(tx[small], ty[small], c), expected, scale),
    }
    note = f"n=m={n}, k={k}, c={c}; error on {min(n, 2000)} rows"
    if n >= 10_000:
        note += f"; extra memory {_extra_memory(n, k):.1f} MB"
    targets = {name: target for name in contestants if name != KERNEL}
    work = f"mmd_imq n=m={n} k={k}" + (" beside KeOps" if anchors else "")
    return rows_of(work, measure(contestants, repeats), targets, errors, note, count=3 * n * n, unit="pair")


def _dense_mmd(x: Any, y: Any, c: float) -> Any:
    import torch

    def within(a: Any) -> Any:
        k = c / (c + (1 - a @ a.T).clamp(min=0))
        return (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    with torch.no_grad():
        return within(x) + within(y) - 2 * (c / (c + (1 - x @ y.T).clamp(min=0))).mean()


def _keops_mmd(x: Any, y: Any, c: float) -> Any:
    lazy_tensor = importlib.import_module("pykeops.torch").LazyTensor

    def total(a: Any, b: Any) -> Any:
        dot = (lazy_tensor(a[:, None, :]) * lazy_tensor(b[None, :, :])).sum(-1)
        return (c / (c + (1 - dot).relu())).sum(1).sum()

    n, m = len(x), len(y)
    return (total(x, x) - n) / (n * (n - 1)) + (total(y, y) - m) / (m * (m - 1)) - 2 * total(x, y) / (n * m)


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
    from pyscore.scores import score

    model = SVAE.initialise(d, k, h, 4, seed=0)
    engines = {KERNEL: get_backend("numba"), "torch backend": get_backend("torch")}
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((2000, d)).astype(np.float32)
    expected = score(model.astype(np.float64), sample, "proposed", backend="numpy")
    errors = {
        name: _error(score(model, sample, "proposed", backend=engine), expected, np.abs(expected))
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
            rows += mmd_rows(k, 100, 1.0, 200 if quick else 2000, anchors=anchors)
    return rows


def absent_anchors() -> list[str]:
    """Return the names of the libraries that would be compared with but are not installed."""
    return [name for name in ("jax", "pykeops") if util.find_spec(name) is None]
