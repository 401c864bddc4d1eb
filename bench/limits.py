"""How time grows with n, d, h and k, and what the machine allows: `pyscore bench scaling`.

Each sweep varies one size of one kernel and keeps the others. The limits are the bandwidth of memory (McCalpin's
triad, a = b + s·c) and the products of one large pair of matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from pyscore._core.checks import Array
from pyscore.backends import Backend, available_backends
from pyscore.bench.harness import measure
from pyscore.bench.record import Row
from pyscore.bench.scores import engine, torch_has_cuda
from pyscore.reference.model import SVAE

__all__ = ["BACKENDS", "SWEEPS", "limit_rows", "scaling_rows"]

BACKENDS = ("numba float32", "torch float32", "numpy float64")
"""The base first; those of the GPU come beside them where there is one."""
SIZES = {"n": 10_000, "d": 30, "h": 64, "k": 4}
"""What a sweep leaves as it is."""
DECADES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SWEEPS: dict[tuple[str, str], tuple[int, ...]] = {
    ("log_volume", "n"): DECADES,
    ("proposed", "n"): DECADES,
    ("mmd_imq", "n"): DECADES[:4],  # n² pairs: 10⁷ rows would take days
    ("log_volume", "d"): (10, 30, 100, 300),
    ("log_volume", "h"): (16, 32, 64, 128, 256),
    ("log_volume", "k"): (2, 4, 8, 16),
    ("mmd_imq", "k"): (2, 4, 8, 16),
}
QUICK: dict[tuple[str, str], tuple[int, ...]] = {
    ("log_volume", "n"): DECADES[:4],
    ("proposed", "n"): DECADES[:4],
    ("mmd_imq", "n"): (100, 300, 1_000, 3_000),
    ("log_volume", "d"): (10, 30, 100),
    ("log_volume", "h"): (16, 32, 64),
    ("log_volume", "k"): (2, 4, 8),
}
LARGEST = {
    ("log_volume", "torch"): 1_000_000, ("log_volume", "numpy"): 10_000,
    ("proposed", "torch"): 1_000_000, ("proposed", "numpy"): 10_000,
    ("mmd_imq", "torch"): 10_000, ("mmd_imq", "numpy"): 1_000,
}  # fmt: skip
"""Rows above which a backend sits out: it would keep all Jacobians or pairs in memory, or take minutes."""
TERMS = frozenset({"log_likelihood", "log_prior", "decoder_log_volume"})

Progress = Callable[[str], None]


def scaling_rows(*, quick: bool = False, progress: Progress = lambda _: None) -> tuple[list[Row], list[str]]:
    """Return rows of every sweep, with ``sweep`` and ``size`` among the facts, and the limits."""
    rows: list[Row] = []
    for (kernel, axis), values in (QUICK if quick else SWEEPS).items():
        for value in values:
            progress(f"{kernel} {axis}={value:,}")
            sizes = SIZES | ({"n": 1_000} if quick or kernel == "mmd_imq" else {}) | {axis: value}
            rows += _point(kernel, axis, sizes, 3 if quick else 7)
    progress("limits")
    return rows + limit_rows(quick=quick), []


def present() -> tuple[str, ...]:
    """Contestants that run here."""
    cuda = ("cuda float32",) if available_backends()["cuda"] is None else ()
    return *BACKENDS, *cuda, *(("torch cuda float32",) if torch_has_cuda() else ())


def _point(kernel: str, axis: str, sizes: dict[str, int], repeats: int) -> list[Row]:
    make = INPUTS[kernel](sizes)
    contestants: dict[str, Callable[[], Any]] = {}
    for name in present():
        if sizes["n"] <= LARGEST.get((kernel, name.split()[0]), sizes["n"]):
            contestants[name] = make(engine(name))
    times = measure(contestants, repeats, budget=5.0)
    notes = ", ".join(f"{name}={value:,}" for name, value in sizes.items() if kernel != "mmd_imq" or name in "nk")
    count, unit = (3 * sizes["n"] ** 2, "pair") if kernel == "mmd_imq" else (sizes["n"], "row")
    return [
        Row(
            "scaling", f"{kernel} over {axis}, {axis}={sizes[axis]:,}", name, times[name], count=count, unit=unit,
            base=name == BACKENDS[0], facts={"sweep": f"{axis} of {kernel}", "size": sizes[axis]}, notes=notes,
        )
        for name in contestants
    ]  # fmt: skip


Call = Callable[[], Any]


def _log_volume(sizes: dict[str, int]) -> Callable[[Backend], Call]:
    model, z = _model(sizes), _codes(sizes, 0)
    return lambda backend: partial(backend.decoder_log_volume, model, z)


def _proposed(sizes: dict[str, int]) -> Callable[[Backend], Call]:
    model = _model(sizes)
    x = np.random.default_rng(0).standard_normal((sizes["n"], sizes["d"]), np.float32)
    return lambda backend: partial(backend.run_pass, model, x, TERMS)


def _mmd_imq(sizes: dict[str, int]) -> Callable[[Backend], Call]:
    x, y = _codes(sizes, 0), _codes(sizes, 1)
    return lambda backend: partial(backend.mmd_imq, x, y, 0.1)


INPUTS: dict[str, Callable[[dict[str, int]], Callable[[Backend], Call]]] = {
    "log_volume": _log_volume, "proposed": _proposed, "mmd_imq": _mmd_imq,
}  # fmt: skip
"""Kernel → sizes → backend → a call on inputs that are made once, for all backends."""


def _model(sizes: dict[str, int]) -> SVAE:
    return SVAE.initialise(sizes["d"], sizes["k"], sizes["h"], 4, seed=0)


def _codes(sizes: dict[str, int], seed: int) -> Array:
    z = np.random.default_rng(seed).standard_normal((sizes["n"], sizes["k"]), np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return z


def limit_rows(*, quick: bool = False) -> list[Row]:
    """Bytes a second of the triad on arrays beyond the caches, and multiply-adds a second of a float32 product."""
    import torch

    length, side = (2_000_000, 256) if quick else (20_000_000, 2048)
    b, c, out = (torch.ones(length, dtype=torch.float64) for _ in range(3))
    left, right = torch.ones(side, side), torch.ones(side, side)
    product = torch.empty(side, side)
    runs: dict[str, Callable[[], Any]] = {
        "triad": lambda: torch.add(b, c, alpha=3.0, out=out),
        "sgemm": lambda: torch.mm(left, right, out=product),
    }
    times = measure(runs, 5 if quick else 15)
    return [
        Row("limits", "memory bandwidth", "torch triad", times["triad"], count=3 * 8 * length, unit="byte",
            notes=f"a = b + 3c, float64, {length:,} entries; the write is counted once"),
        Row("limits", "matrix product", "torch sgemm", times["sgemm"], count=side**3, unit="multiply-add",
            notes=f"float32, {side} × {side}"),
    ]  # fmt: skip
