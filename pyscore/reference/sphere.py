"""Unit vectors: their normalisation, the reflection that takes e1 to mu, and the tangents of the sphere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention

__all__ = ["EPS", "EPS32", "householder", "machine_eps", "normalize", "precision", "tangent_frame"]

EPS = float(np.finfo(np.float64).eps)
EPS32 = float(np.finfo(np.float32).eps)

_precision: ContextVar[float | None] = ContextVar("_precision", default=None)


@contextlib.contextmanager
def precision(dtype: Any) -> Iterator[None]:
    """Inside this context, in this thread, `machine_eps` returns the epsilon of `dtype`.

    Under ``norm_eps="machine"`` the epsilon is a part of the formula: 1.2e-7 in a Float32 run of the original.
    With this context the reference, which computes in float64, gives what such a run should give.

    Examples
    --------
    >>> with pyscore.reference.precision(np.float32):
    ...     pyscore.reference.machine_eps() == pyscore.reference.EPS32
    True
    """
    token = _precision.set(float(np.finfo(dtype).eps))
    try:
        yield
    finally:
        _precision.reset(token)


def machine_eps(default: float = EPS) -> float:
    """Epsilon of ``norm_eps="machine"``: that of `precision` if one is set, else the default.

    Examples
    --------
    >>> pyscore.reference.machine_eps() == pyscore.reference.EPS
    True
    """
    chosen = _precision.get()
    return default if chosen is None else chosen


def normalize(v: ArrayLike, *, convention: Convention = EXACT) -> Array:
    """Rows of unit norm: v / √(Σ v² [+ eps]).

    Parameters
    ----------
    v : (n, k) array
    convention : Convention
        `norm_eps`: ``"machine"`` adds the machine epsilon inside the root: float64's, or that of `precision`.

    Returns
    -------
    (n, k) array. Under ``norm_eps="none"`` a row of zeros, which has no direction, becomes e1.

    Notes
    -----
    Original: `normalizecolumns` (utils.jl), which has the epsilon.

    Examples
    --------
    >>> pyscore.reference.normalize([[3.0, 4.0]]).round(3).tolist()
    [[0.6, 0.8]]
    """
    v = check.matrix("v", v, "k")
    if convention.norm_eps == "machine":
        return v / np.sqrt(np.sum(v * v, axis=1, keepdims=True) + machine_eps())
    # Dividing by a power of two changes no bit of the result and keeps the squares from over- and underflowing.
    scaled = np.ldexp(v, -np.frexp(np.max(np.abs(v), axis=1, keepdims=True, initial=0.0))[1])
    squares = np.sum(scaled * scaled, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        unit: Array = scaled / np.sqrt(squares)
    unit[squares[:, 0] == 0] = np.eye(1, v.shape[1])
    return unit


def householder(z: ArrayLike, mu: ArrayLike, *, convention: Convention = EXACT) -> Array:
    """Reflection that takes e1 to mu, applied to z: z − 2(z·r)r with r = normalize(e1 − mu).

    Parameters
    ----------
    z, mu : (n, k) arrays, rows of `mu` of unit norm
    convention : Convention
        `norm_eps`: with the epsilon the reflection is not orthogonal near mu = e1; without it mu = e1 gives
        the identity.

    Returns
    -------
    (n, k) array.

    Notes
    -----
    Original: `householderrotation` (svae.jl). Without the epsilon the first entry of e1 − mu is evaluated as
    Σ_{i>1} mu_i² / (1 + mu_1), the same number on the sphere, because the rounding of 1 − mu_1 would move the
    image of e1 by eps/|e1 − mu|, up to 1e-8.

    Examples
    --------
    >>> e1, mu = [[1.0, 0.0]], [[0.6, 0.8]]
    >>> pyscore.reference.householder(e1, mu).round(3).tolist()
    [[0.6, 0.8]]
    """
    mu = check.matrix("mu", mu, "k")
    z = check.array("z", z, mu.shape)
    u = np.eye(1, mu.shape[1]) - mu
    if convention.norm_eps == "none":
        ring = np.sum(mu[:, 1:] ** 2, axis=1)
        u[:, 0] = np.where(mu[:, 0] > 0, ring / (1 + np.abs(mu[:, 0])), u[:, 0])
    r = np.where(np.any(u != 0, axis=1, keepdims=True), normalize(u, convention=convention), 0.0)
    with np.errstate(invalid="ignore"):  # NaN of a row that is infinite
        return z - 2 * np.sum(z * r, axis=1, keepdims=True) * r


def tangent_frame(z: ArrayLike) -> Array:
    """Orthonormal basis of the tangent space at z: last k−1 columns of the reflection that takes e1 to z.

    Parameters
    ----------
    z : (n, k) array, rows of unit norm (they are normalised again, exactly)

    Returns
    -------
    (n, k, k−1) array.

    Examples
    --------
    >>> z = np.array([[0.6, 0.8]])
    >>> frame = pyscore.reference.tangent_frame(z)
    >>> frame.shape, bool(np.allclose(z @ frame, 0.0))
    ((1, 2, 1), True)
    """
    unit = normalize(z)
    n, k = unit.shape
    basis = np.broadcast_to(np.eye(k)[1:], (n, k - 1, k)).reshape(-1, k)
    reflected = householder(basis, np.repeat(unit, k - 1, axis=0))
    return np.swapaxes(reflected.reshape(n, k - 1, k), 1, 2)
