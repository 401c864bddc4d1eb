"""Agreement of every function, backend and dtype: with the float64 reference, and with the original's outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from pyscore.backends import BACKENDS, Backend, available_backends, get_backend, golden
from pyscore.backends.contract import KERNELS, D, KernelSpec, encode_scale, gaussian, model
from pyscore.backends.tolerance import error_in_eps, ulps
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import InvalidInput

__all__ = ["ELEMENTWISE", "bit_equal_functions", "cases_to_verify", "verify"]

ROWS = (1, 2, 33, 257)
ELEMENTWISE = frozenset({"normalize", "log_likelihood", "latent_error"})
"""Functions without cancellation, for which units in the last place mean something."""

Progress = Callable[[str], None]


def cases_to_verify(
    backends: Iterable[str] | None = None, dtypes: Iterable[str] | None = None
) -> list[tuple[str, str]]:
    """Pairs of backend and dtype that run here.

    Raises
    ------
    BackendUnavailable
        If a backend that was named does not run here.
    """
    named = (
        list(backends) if backends is not None else [n for n, why in available_backends().items() if why is None]
    )
    wanted = list(dtypes) if dtypes is not None else ["float64", "float32"]
    pairs = []
    for name in named:
        for dtype in wanted:
            try:
                get_backend(name, dtype=dtype)
            except InvalidInput:
                if name not in BACKENDS:
                    raise
                continue  # the backend has no such dtype
            pairs.append((name, dtype))
    return pairs


def verify(
    backends: Iterable[str] | None = None,
    dtypes: Iterable[str] | None = None,
    *,
    seeds: int = 3,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Run every function of the kernel table on fixed and random inputs through every backend.

    Returns
    -------
    DataFrame with one row for each function, backend and dtype: ``error`` and ``bound`` in units of
    eps(dtype)·scale, ``ulp`` (NaN where it means nothing), ``golden``, the largest difference from the original's
    recorded outputs in absolute terms (NaN without golden files), and ``ok``.
    """
    rows = []
    for name, dtype in cases_to_verify(backends, dtypes):
        backend = get_backend(name, dtype=dtype)
        against_original = _golden_differences(backend)
        for function, error, bound, ulp in _against_reference(backend, seeds):
            if progress is not None:
                progress(f"{name} {dtype}: {function}")
            rows.append(
                {
                    "function": function,
                    "backend": name,
                    "dtype": dtype,
                    "error": error,
                    "bound": bound,
                    "ulp": ulp if function in ELEMENTWISE else np.nan,
                    "golden": against_original.get(function, np.nan),
                    "ok": error <= bound,
                }
            )
    return pd.DataFrame(rows)


def _against_reference(backend: Backend, seeds: int) -> Iterator[tuple[str, float, float, float]]:
    """(function, error in eps·scale, bound, ulps), the largest over conventions, rows and seeds."""
    for spec in KERNELS:
        errors, last = zip(*(_one(spec, backend, n, seed) for n in ROWS for seed in range(seeds)), strict=True)
        yield spec.name, max(errors), spec.k, max(last)
    errors, last = zip(*(_encode(backend, n, seed) for n in ROWS for seed in range(seeds)), strict=True)
    yield "encode", max(errors), 8.0, max(last)


def _one(spec: KernelSpec, backend: Backend, n: int, seed: int) -> tuple[float, float]:
    if n < spec.least_rows:
        return 0.0, 0.0
    arguments = spec.inputs(np.random.default_rng([seed, n, *spec.name.encode()]), n, backend.dtype)
    worst, last = 0.0, 0.0
    for convention in spec.conventions:
        want = spec(get_backend("numpy"), arguments, convention)
        got = spec(backend, arguments, convention)
        worst = max(worst, float(error_in_eps(got, want, spec.scale(arguments, convention), backend.dtype).max()))
        last = max(last, ulps(got, want))
    return worst, last


def _encode(backend: Backend, n: int, seed: int) -> tuple[float, float]:
    arguments = model(backend.dtype), gaussian(np.random.default_rng([seed, n]), n, D, backend.dtype)
    worst, last = 0.0, 0.0
    for convention in (EXACT, ORIGINAL):
        mu, kappa = backend.encode(*arguments, convention=convention)
        want = get_backend("numpy").encode(*arguments, convention=convention)
        scale = encode_scale(arguments, convention)
        worst = max(worst, float(error_in_eps(mu, want[0], np.reshape(scale, (-1, 1)), backend.dtype).max()))
        worst = max(worst, float(error_in_eps(kappa, want[1], 100 * np.max(scale), backend.dtype).max()))
        last = max(last, ulps(mu, want[0]))
    return worst, last


def _golden_differences(backend: Backend) -> dict[str, float]:
    """Function → largest |difference| from the original, over the recorded models of the backend's dtype."""
    suffix = "f64" if backend.dtype == np.float64 else "f32"
    worst: dict[str, float] = {}
    for case in golden.cases("model_"):
        if not case.endswith(suffix):
            continue
        arrays = golden.load(case)
        recorded = golden.model(arrays)
        for function, check in golden.CHECKS.items():
            try:
                got, want = check(backend, arrays, recorded)
            except KeyError:  # a subset has not every array
                continue
            worst[function] = max(worst.get(function, 0.0), _difference(got, want))
    return worst


def _difference(got: Any, want: Any) -> float:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    both = np.isfinite(got) & np.isfinite(want)  # the original underflows to −inf for far rows (Q26)
    return float(np.max(np.abs(got - want)[both], initial=0.0))


def bit_equal_functions(name: str) -> list[str]:
    """Functions whose float64 results on a backend equal the reference's to the last bit, on all inputs tried."""
    backend, reference = get_backend(name, dtype="float64"), get_backend("numpy")
    equal = []
    for spec in KERNELS:
        tried = []
        for n in ROWS:
            if n < spec.least_rows:
                continue
            arguments = spec.inputs(np.random.default_rng([0, n, *spec.name.encode()]), n, np.float64)
            for convention in spec.conventions:
                tried.append(
                    np.array_equal(spec(backend, arguments, convention), spec(reference, arguments, convention))
                )
        if all(tried):
            equal.append(spec.name)
    return equal
