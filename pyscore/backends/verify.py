"""Agreement of every function, backend and dtype: with the float64 reference, and with the original's outputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from pyscore.backends import BACKENDS, Backend, available_backends, get_backend, golden
from pyscore.backends.contract import KERNELS, KernelSpec, case
from pyscore.backends.stochastic import K
from pyscore.backends.tolerance import error_in_eps, record, ulps
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
    DataFrame with one row for each function, backend and dtype:

    - ``error``, the largest from the float64 reference, and its ``bound``, both in units of eps(dtype)·scale,
      where the scale is the spread of the reference under random rounding (`pyscore.backends.stochastic`);
    - ``ulp`` (NaN where it means nothing);
    - ``golden``, the largest difference from the original's recorded outputs in absolute terms, ``golden_error``,
      the same in units of eps(dtype)·scale, and ``golden_bound`` (NaN without golden files);
    - ``ok``, whether both errors are within their bounds.
    """
    rows = []
    for name, dtype in cases_to_verify(backends, dtypes):
        backend = get_backend(name, dtype=dtype)
        for spec in KERNELS:
            if progress is not None:
                progress(f"{name} {dtype}: {spec.name}")
            error, ulp = _against_reference(spec, backend, seeds)
            original = _against_original(spec.name, backend)
            record(f"verify {name} {dtype} {spec.name}", error, K)
            if original is not None:
                record(f"verify {name} {dtype} {spec.name}, original", original.error, K)
            rows.append(
                {
                    "function": spec.name,
                    "backend": name,
                    "dtype": dtype,
                    "error": error,
                    "bound": K,
                    "ulp": ulp if spec.name in ELEMENTWISE else np.nan,
                    "golden": np.nan if original is None else original.difference,
                    "golden_error": np.nan if original is None else original.error,
                    "golden_bound": np.nan if original is None else K,
                    "ok": error <= K and (original is None or original.error <= K),
                }
            )
    return pd.DataFrame(rows)


def _against_reference(spec: KernelSpec, backend: Backend, seeds: int) -> tuple[float, float]:
    """Error in eps·scale and ulps, the largest over conventions, rows and seeds."""
    worst, last = 0.0, 0.0
    for convention, rows, seed in itertools.product(spec.conventions, ROWS, range(seeds)):
        if rows < spec.least_rows:
            continue
        drawn = case(spec.name, rows, backend.dtype, convention, seed)
        got = spec(backend, drawn.arguments, convention)
        worst = max(worst, float(error_in_eps(got, drawn.want, drawn.scale, backend.dtype).max()))
        last = max(last, ulps(got, drawn.want))
    return worst, last


def _against_original(function: str, backend: Backend) -> golden.Comparison | None:
    """Worst comparison with the recorded models of the backend's dtype; None if there is none."""
    recordings = [name for name in golden.CHECKS if golden.function_of(name) == function]
    suffix = "f64" if backend.dtype == np.float64 else "f32"
    names = [name for name in golden.cases("model_") if name.endswith(suffix)]
    pairs = itertools.product(names, recordings)
    found = [c for pair in pairs if (c := golden.compare(backend, *pair)) is not None]
    if not found:
        return None
    return golden.Comparison(*(max(values) for values in zip(*found, strict=True)))


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
