"""Log-volume of a Jacobian, and what the change of variables adds to the prior."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import NumericalWarning
from pyscore.reference.prior import log_prior
from pyscore.reference.sphere import EPS, tangent_frame

__all__ = [
    "log_prior_jacobian_decoder",
    "log_prior_jacobian_encoder",
    "log_volume",
    "singular_rows",
    "warn_singular",
    "weighted",
]


def log_volume(jacobian: ArrayLike, *, warn: bool = True) -> Array:
    """Log-volume Σ_i log s_i(J) of each Jacobian, s its min(d, k) singular values.

    Parameters
    ----------
    jacobian : (n, d, k) array
        d×k, or k×d for an encoder; the volume has min(d, k) dimensions.
    warn : bool
        Whether to warn of rows that are singular to working precision.

    Returns
    -------
    (n,) array, nats; −inf for a row with a zero singular value, NaN for a row with a NaN.

    Warns
    -----
    NumericalWarning
        Naming the rows with a singular value below max(d, k)·eps·max(s).

    Notes
    -----
    Section 3.4. Original: half of `reduce(+, log.(abs.(s.S)))*2`. The absolute error is about
    min(d, k)·eps·cond(J), for this SVD and for the QR of the backends alike.

    Examples
    --------
    >>> pyscore.reference.log_volume([[[2.0, 0.0], [0.0, 3.0]]]).round(3).tolist()  # log 6
    [1.792]
    """
    jacobian = check.array("jacobian", jacobian, ("n", "d", "k"))
    n, d, k = jacobian.shape
    volume = np.full(n, np.nan)
    good = np.isfinite(jacobian).all(axis=(1, 2))
    if min(d, k) == 0 or not good.any():
        volume[good] = 0.0
        return volume
    s = np.linalg.svd(jacobian[good], compute_uv=False)
    with np.errstate(divide="ignore"):
        volume[good] = np.sum(np.log(s), axis=1)
    singular = np.flatnonzero(good)[s[:, -1] <= max(d, k) * EPS * s[:, 0]]
    if warn and singular.size:
        warn_singular(singular)
    return volume


def weighted(weight: float, volume: Array) -> Array:
    """Return w·log_volume, which is zero for w = 0 whatever the volume.

    Examples
    --------
    >>> pyscore.reference.weighted(0.0, np.array([-np.inf, 2.0])).tolist()
    [0.0, 0.0]
    """
    return weight * volume if weight else np.where(np.isnan(volume), volume, 0.0)


_singular: ContextVar[list[Array] | None] = ContextVar("_singular", default=None)


@contextlib.contextmanager
def singular_rows() -> Iterator[list[Array]]:
    """Inside this context, in this thread, `warn_singular` and `warn_unscored` collect their rows and do not warn.

    A stream scores many blocks and uses this to warn once for all of them.

    Examples
    --------
    >>> with pyscore.reference.singular_rows() as rows:
    ...     volume = pyscore.reference.log_volume(np.zeros((1, 2, 2)))
    >>> [found.tolist() for found in rows]
    [[0]]
    """
    rows: list[Array] = []
    token = _singular.set(rows)
    try:
        yield rows
    finally:
        _singular.reset(token)


def warn_singular(rows: Array) -> None:
    """Issue the NumericalWarning of `log_volume` for these rows.

    Examples
    --------
    >>> with pyscore.reference.singular_rows() as rows:
    ...     pyscore.reference.warn_singular(np.array([3, 5]))
    >>> [found.tolist() for found in rows]
    [[3, 5]]
    """
    if (collected := _singular.get()) is not None:
        collected.append(rows)
        return
    shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
    warnings.warn(
        f"the Jacobian of {len(rows)} row(s) is singular to working precision (rows {shown}): their log-volume "
        "is −inf or rounding noise. Scores rank rows of volume −inf as most anomalous.",
        NumericalWarning,
        stacklevel=3,
    )


def warn_unscored(rows: Array, score: str) -> None:
    """Warn that the density of these rows is not a finite number and that they are scored −inf.

    Examples
    --------
    >>> with pyscore.reference.singular_rows() as rows:
    ...     pyscore.reference.warn_unscored(np.array([3]), "proposed")
    >>> [found.tolist() for found in rows]
    [[3]]
    """
    if (collected := _singular.get()) is not None:
        collected.append(rows)
        return
    shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
    warnings.warn(
        f"{len(rows)} row(s) have no finite log-density under {score!r} (rows {shown}): a term of it overflows. "
        "They count as −inf, the most anomalous. Rows far from the training rows, a tiny sigma2 or huge weights "
        "do this.",
        NumericalWarning,
        stacklevel=3,
    )


def log_prior_jacobian_decoder(
    z: ArrayLike,
    jacobian: ArrayLike,
    mu_u: ArrayLike,
    kappa_u: ArrayLike | None = None,
    *,
    convention: Convention = EXACT,
) -> Array:
    """log p(z) − w·log_volume(J_dec(z)): the density on the manifold at decode(z).

    Parameters
    ----------
    z : (n, k) array, rows of unit norm
    jacobian : (n, d, k) array, ambient Jacobian of the decoder at z
    mu_u, kappa_u : (p, k), (p,) arrays, the prior's components
    convention : Convention
        `volume_weight` is w, `jacobian` chooses J or its restriction J·T to the tangent space at z,
        `prior_density` the prior.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Equation (7) without its likelihood. Original: `log_pz_jacobian_decoder` (w = 2, ambient).

    Examples
    --------
    >>> z, jacobian = [[1.0, 0.0]], [[[1.0, 0.0], [0.0, 2.0]]]
    >>> pyscore.reference.log_prior_jacobian_decoder(z, jacobian, [[1.0, 0.0]], [0.0]).round(3).tolist()
    [-2.531]
    """
    z = check.matrix("z", z, "k")
    jacobian = check.array("jacobian", jacobian, (z.shape[0], "d", z.shape[1]))
    if convention.jacobian == "tangent":
        jacobian = jacobian @ tangent_frame(z)
    prior = log_prior(z, mu_u, kappa_u, convention=convention)
    return prior - weighted(convention.volume_weight, log_volume(jacobian))


def log_prior_jacobian_encoder(
    z: ArrayLike,
    jacobian: ArrayLike,
    mu_u: ArrayLike,
    kappa_u: ArrayLike | None = None,
    *,
    convention: Convention = EXACT,
) -> Array:
    """log p(z) + w·log_volume(J_enc(x)) at z = mu(x).

    Parameters
    ----------
    z : (n, k) array, the codes mu(x)
    jacobian : (n, k, d) array, Jacobian of mu at x
    mu_u, kappa_u : (p, k), (p,) arrays, the prior's components
    convention : Convention
        `volume_weight` is w; `encoder_jacobian` keeps the smallest singular value, which is rounding noise
        since mu lies on the sphere, or takes TᵀJ with T orthogonal to mu.

    Returns
    -------
    (n,) array, nats.

    Notes
    -----
    Equation (8) without its likelihood. Original: `log_pz_jacobian_encoder` (w = 2, ambient).

    Examples
    --------
    >>> z, jacobian = [[1.0, 0.0]], [[[0.0, 0.0], [0.0, 2.0]]]
    >>> pyscore.reference.log_prior_jacobian_encoder(z, jacobian, [[1.0, 0.0]], [0.0]).round(3).tolist()
    [-1.145]
    """
    z = check.matrix("z", z, "k")
    jacobian = check.array("jacobian", jacobian, (*z.shape, "d"))
    tangent = convention.encoder_jacobian == "tangent"
    if tangent:
        jacobian = np.swapaxes(tangent_frame(z), 1, 2) @ jacobian
    prior = log_prior(z, mu_u, kappa_u, convention=convention)
    # The ambient form is always singular, so a warning would tell the user nothing.
    return prior + weighted(convention.volume_weight, log_volume(jacobian, warn=tangent))
