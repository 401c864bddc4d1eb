"""Agreement of all backends on a model and rows of the user's: each term of the scores against float64 NumPy.

The model is rounded to each backend's type first, and the reference computes with the rounded numbers: what is
measured is the arithmetic alone. The bound of a term is K·eps·scale, and its scale is measured, row by row: by how
much the term changes, over 2⁻³⁰, when every parameter and input changes by a part of 2⁻³⁰; for a volume at least
the condition number of its Jacobian. Where the bound is more than a nat, rounding decides the value: such rows are
counted as noise and not compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyscore._core.checks import Array
from pyscore.backends import available_backends, get_backend
from pyscore.backends.julia_models import Chain
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import InvalidInput, NumericalWarning
from pyscore.reference import tangent_frame
from pyscore.reference.model import SVAE
from pyscore.scoring.scores import score_terms

__all__ = ["K", "verify_model"]

K = 256.0
"""Bound of an error in eps·scale: seven layers of sums, and the norms and exponentials after them."""
NUDGE, NUDGES = 2.0**-30, 6
"""The part by which numbers are changed to measure the scale, and how often (with other signs each time)."""
NOISE = 1.0
"""Nats."""
NAMES = ("reconstruction", "latent_reconstruction", "prior", "jacobian_encoder", "jacobian_decoder")
"""Scores whose terms are compared: every other encoded score is a sum of these."""
CHAIN_BACKENDS = ("numpy", "torch", "julia")
Progress = Callable[[str], None]
Terms = dict[tuple[str, str], Array]
"""(quantity, convention) → values (n,) or (n, out)."""


def verify_model(
    model: SVAE | Chain,
    x: ArrayLike,
    backends: Iterable[str] | None = None,
    dtypes: Iterable[str] | None = None,
    *,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Compare the terms of the scores of rows `x` (n, d) through every backend with the float64 reference.

    Returns
    -------
    DataFrame with one row for each quantity, convention, backend and dtype: ``mean`` of the reference in nats;
    ``difference``, the largest |difference|; ``error`` and ``bound`` in eps(dtype)·scale; ``noise``, the number of
    rows that were not compared, since rounding decides their value (the encoder's ambient volume under ORIGINAL is
    such a one, as its smallest singular value is zero but for rounding); ``ok``.

    For a `Chain` the quantities are its output and the log-volume of its Jacobian, on numpy, torch and julia.

    Raises
    ------
    InvalidInput
        If `x` does not fit the model.
    BackendUnavailable
        If a backend that was named does not run here.
    """
    check_rows(model, np.asarray(x))
    named = (
        list(backends) if backends is not None else [n for n, why in available_backends().items() if why is None]
    )
    rows: list[dict[str, Any]] = []
    for dtype in list(dtypes) if dtypes is not None else ["float64", "float32"]:
        rounded, samples = _rounded(model, dtype), np.asarray(x, dtype=dtype)
        if progress is not None:
            progress(f"the reference, {dtype}")
        want = _reference(rounded, samples)
        scales = _scales(rounded, samples, want)
        for name in named:
            if (name, dtype) == ("numpy", "float32") or (isinstance(model, Chain) and name not in CHAIN_BACKENDS):
                continue
            if progress is not None:
                progress(f"{name} {dtype}")
            got = _through(rounded, samples, name, dtype)
            rows += [_row(key, name, dtype, got[key], want[key], scales[key]) for key in want]
    return pd.DataFrame(rows)


def check_rows(model: SVAE | Chain, x: Array) -> None:
    """Raise unless the rows have the columns that the model takes."""
    if x.ndim != 2 or x.shape[1] != model.input_dim:
        raise InvalidInput(
            f"`data` must have the {model.input_dim} columns that the model takes, in its order; "
            f"got shape {x.shape}."
        )


def _row(key: tuple[str, str], backend: str, dtype: str, got: Array, want: Array, scale: Array) -> dict[str, Any]:
    got, want, eps = np.asarray(got, np.float64), np.asarray(want, np.float64), np.finfo(dtype).eps
    scale = np.broadcast_to(scale, want.shape)
    compared = np.isfinite(want) & (K * eps * scale <= NOISE)
    difference = np.abs(np.where(compared, got, 0.0) - np.where(compared, want, 0.0))
    difference = np.where(np.isnan(difference), np.inf, difference)
    error = difference / (eps * np.where(compared, scale, 1.0))
    return {
        "quantity": key[0],
        "convention": key[1],
        "backend": backend,
        "dtype": dtype,
        "mean": float(np.mean(want[compared])) if compared.any() else float("nan"),
        "difference": float(np.max(difference, initial=0.0)),
        "error": float(np.max(error, initial=0.0)),
        "bound": K,
        "noise": int(np.sum(~compared.reshape(len(want), -1).all(axis=1))),
        "ok": bool(np.max(error, initial=0.0) <= K),
    }


def _rounded(model: SVAE | Chain, dtype: str) -> SVAE | Chain:
    return _changed(model, lambda a: a.astype(dtype))


def _changed(model: SVAE | Chain, change: Callable[[Array], Array]) -> SVAE | Chain:
    """The model with a function applied to each of its arrays."""
    if isinstance(model, SVAE):
        arrays = {name: change(value) for name, value in model.parameters().items()}
        return SVAE.from_parameters(arrays, model.activation)
    return Chain(
        tuple(layer._replace(weight=change(layer.weight), bias=change(layer.bias)) for layer in model.layers)
    )


def _scales(model: SVAE | Chain, x: Array, want: Terms) -> Terms:
    """How much each value changes when all numbers change by a part of `NUDGE`, over `NUDGE`; and its size."""
    scales = {key: np.abs(value) + 1 for key, value in want.items()}
    for key, condition in _conditions(model, x).items():
        scales[key] = np.maximum(scales[key], condition)
    rng = np.random.default_rng(0)

    def nudged(a: Array) -> Array:
        out: Array = a.astype(np.float64) * (1 + NUDGE * rng.choice([-1.0, 1.0], size=a.shape))
        return out

    for _ in range(NUDGES):
        moved = _reference(_changed(model, nudged), nudged(x))
        for key, value in want.items():
            with np.errstate(invalid="ignore"):
                change = np.abs(moved[key] - value) / NUDGE
            scales[key] = np.maximum(scales[key], np.where(np.isnan(change), np.inf, change))
    return scales


def _conditions(model: SVAE | Chain, x: Array) -> Terms:
    """Condition number (n,) of the Jacobian of each volume."""
    if isinstance(model, Chain):
        return {("log_volume", "–"): _condition(model.jacobian(x))}
    found: Terms = {}
    for convention in (EXACT, ORIGINAL):
        z, _ = model.encode(x, convention=convention)
        decoder = model.decoder_jacobian(z, tangent=convention.jacobian == "tangent")
        encoder = model.encoder_jacobian(x, convention=convention)
        if convention.encoder_jacobian == "tangent":
            encoder = np.swapaxes(tangent_frame(z), 1, 2) @ encoder
        w = convention.volume_weight
        found[("decoder_volume", convention.name)] = w * _condition(decoder)
        # The ambient one is singular by construction, since mu lies on the sphere: all of it is rounding noise.
        ambient = convention.encoder_jacobian == "ambient"
        found[("encoder_volume", convention.name)] = (
            np.full(len(x), np.inf) if ambient else w * _condition(encoder)
        )
    return found


def _condition(jacobian: Array) -> Array:
    values = np.linalg.svd(jacobian, compute_uv=False)
    out: Array = values[:, 0] / np.maximum(values[:, -1], np.finfo(np.float64).tiny)
    return out


def _reference(model: SVAE | Chain, x: Array) -> Terms:
    return _through(model, x, "numpy", "float64")


def _through(model: SVAE | Chain, x: Array, backend: str, dtype: str) -> Terms:
    """Every quantity in a backend's own arithmetic."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        if isinstance(model, Chain):
            output, jacobian = _chain_on(model, x, backend, dtype)
            volume = get_backend(backend, dtype=dtype).log_volume(jacobian)
            return {("output", "–"): output, ("log_volume", "–"): volume}
        engine = get_backend(backend, dtype=dtype)
        return {
            (str(term), convention.name): table[term].to_numpy()
            for convention in (EXACT, ORIGINAL)
            for table in [score_terms(model, x, NAMES, convention=convention, backend=engine)]
            for term in table
        }


def _chain_on(model: Chain, x: Array, backend: str, dtype: str) -> tuple[Array, Array]:
    """Output and Jacobian of a chain in a backend's own arithmetic."""
    if backend == "numpy":
        return model(x), model.jacobian(x)
    if backend == "torch":
        import torch

        network = model.to_torch()
        samples = torch.from_numpy(np.array(x, dtype=dtype))
        jacobian = torch.func.vmap(torch.func.jacrev(network))(samples)
        return network(samples).detach().numpy(), jacobian.detach().numpy()
    julia: Any = get_backend("julia", dtype=dtype)
    arrays = [np.ascontiguousarray(a) for layer in model.layers for a in (layer.weight, layer.bias)]
    names = tuple(layer.activation for layer in model.layers)
    return julia.call("chain", x, names, *arrays), julia.call("chain_jacobian", x, names, *arrays)
