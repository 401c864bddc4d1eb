"""How time grows with n, d, h and k, and what the machine allows: `pyscore bench scaling`.

Each sweep varies one size of the decoder's log-volume and keeps the others. The limits are the bandwidth of memory
(McCalpin's triad, a = b + s·c) and the products of one large pair of matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from pyscore.backends import get_backend
from pyscore.bench.harness import measure
from pyscore.bench.record import Row
from pyscore.model import SVAE

__all__ = ["BACKENDS", "SWEEPS", "limit_rows", "scaling_rows"]

BACKENDS = ("numba float32", "torch float32", "numpy float64")
SIZES = {"n": 10_000, "d": 30, "h": 64, "k": 4}
"""What a sweep leaves as it is."""
SWEEPS: dict[str, tuple[int, ...]] = {
    "n": (100, 1_000, 10_000, 100_000, 1_000_000),
    "d": (10, 30, 100, 300),
    "h": (16, 32, 64, 128, 256),
    "k": (2, 4, 8, 16),
}
QUICK: dict[str, tuple[int, ...]] = {"n": (100, 300, 1_000), "d": (10, 30), "h": (16, 32), "k": (2, 4)}
LARGEST_NUMPY = 10_000
"""Rows above which NumPy sits out: it keeps all Jacobians in memory."""

Progress = Callable[[str], None]


def scaling_rows(*, quick: bool = False, progress: Progress = lambda _: None) -> tuple[list[Row], list[str]]:
    """Return rows of every sweep, with ``sweep`` and ``size`` among the facts, and the limits."""
    rows: list[Row] = []
    for axis, values in (QUICK if quick else SWEEPS).items():
        for value in values:
            progress(f"{axis}={value}")
            sizes = SIZES | ({"n": 300} if quick else {}) | {axis: value}
            rows += _point(axis, sizes, 3 if quick else 7)
    progress("limits")
    return rows + limit_rows(quick=quick), []


def _point(axis: str, sizes: dict[str, int], repeats: int) -> list[Row]:
    model = SVAE.initialise(sizes["d"], sizes["k"], sizes["h"], 4, seed=0)
    z = np.random.default_rng(0).standard_normal((sizes["n"], sizes["k"]))
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    contestants: dict[str, Callable[[], Any]] = {}
    for name in BACKENDS:
        backend, dtype = name.split()
        if backend != "numpy" or sizes["n"] <= LARGEST_NUMPY:
            contestants[name] = partial(get_backend(backend, dtype=dtype).decoder_log_volume, model, z)
    times = measure(contestants, repeats, budget=10.0)
    notes = ", ".join(f"{name}={value}" for name, value in sizes.items())
    work = f"log_volume over {axis}, {axis}={sizes[axis]}"
    return [
        Row(
            "scaling", work, name, times[name], count=len(z), unit="row",
            base=name == BACKENDS[0], facts={"sweep": axis, "size": sizes[axis]}, notes=notes,
        )
        for name in contestants
    ]  # fmt: skip


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
