"""Backends: the same functions, computed by NumPy, PyTorch and others; loaded when first asked for.

`get_backend(name)` returns one or raises `BackendUnavailable`, which says what to install. Without a name it
returns numba, or numpy, with a warning, where numba cannot run.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any, NamedTuple, cast

from pyscore._core.checks import choice, floating
from pyscore._core.lazy import attach
from pyscore.backends._protocol import Backend
from pyscore.errors import BackendUnavailable

__all__ = ["BACKENDS", "Backend", "available_backends", "get_backend", "why_not"]


class BackendSpec(NamedTuple):
    """Where a backend lives: its module has `create(dtype, device)` and `probe()`."""

    module: str
    summary: str
    install: str


BACKENDS: dict[str, BackendSpec] = {
    "numpy": BackendSpec("pyscore.backends.numpy_", "float64 reference", "it needs only NumPy and SciPy"),
    "torch": BackendSpec("pyscore.backends.torch_", "PyTorch, CPU or CUDA", "pip install torch"),
    "numba": BackendSpec("pyscore.backends.numba_", "compiled kernels on the CPU", "pip install numba"),
    "cuda": BackendSpec(
        "pyscore.backends.cuda_", "compiled kernels on an NVIDIA GPU", "pip install 'pyscore-anomaly[cuda]'"
    ),
    "julia": BackendSpec(
        "pyscore.backends.julia_", "Julia in a worker process", "juliaup, or python -c 'import juliacall'"
    ),
}
"""Name → where to find it; `probe()` of the module returns None, or why it cannot run here."""

_cache: dict[tuple[str, str, str | None], Backend] = {}


def available_backends() -> dict[str, str | None]:
    """Return name → None for each backend that runs here, or the reason why it does not.

    Examples
    --------
    >>> pyscore.available_backends()["numpy"] is None  # it runs everywhere
    True
    """
    return {name: why_not(name) for name in BACKENDS}


def _default() -> str:
    """Name of the backend that is taken where none is named."""
    reason = why_not("numba")
    if reason is None:
        return "numba"
    warnings.warn(
        f"the backend numba cannot run here: {reason} numpy computes instead, which takes longer.",
        UserWarning,
        stacklevel=3,
    )
    return "numpy"


def why_not(name: str) -> str | None:
    """Return None if a backend of `BACKENDS` runs here, or the reason why it does not; imports what it needs."""
    try:
        module = importlib.import_module(BACKENDS[name].module)
    except ImportError as error:
        return f"{error}. Install it: {BACKENDS[name].install}."
    return cast("str | None", module.probe())


def get_backend(name: str | Backend | None = None, *, dtype: Any = None, device: str | None = None) -> Backend:
    """Return a backend by name.

    Parameters
    ----------
    name : str or Backend, optional
        One of `BACKENDS`; a backend is returned as it is. By default numba, or numpy, with a warning, where numba
        cannot run.
    dtype : float32 or float64, optional
        Type of its arithmetic; by default float64 (numpy, julia) or float32 (the others).
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` for the backends that can choose.

    Raises
    ------
    InvalidInput
        If there is no backend of that name.
    BackendUnavailable
        If it cannot run on this machine; the text says why, what to install and what is available.

    Examples
    --------
    >>> backend = pyscore.get_backend("numpy")
    >>> backend.log_likelihood([[1.0, 0.0]], [[0.0, 0.0]]).round(3).tolist()
    [-2.338]
    """
    if isinstance(name, Backend):
        return name
    name = _default() if name is None else choice("backend", name, BACKENDS)
    wanted = None if dtype is None else floating("dtype", dtype)
    key = (name, str(wanted), device)
    if key not in _cache:
        reason = why_not(name)
        if reason is not None:
            others = [other for other, why in available_backends().items() if why is None]
            raise BackendUnavailable(f"{name}: {reason} Available here: {', '.join(others)}.")
        made = importlib.import_module(BACKENDS[name].module).create(wanted, device)
        # The default, spelled out, is the same backend.
        spelled = (name, str(made.dtype), str(made.device))
        _cache[key] = _cache.setdefault(spelled, made)
    return _cache[key]


__getattr__, __dir__ = attach(__name__)
