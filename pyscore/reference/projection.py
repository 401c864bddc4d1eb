"""The nearest point of the decoder's manifold, and the way along the latent space to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array, Latent
from pyscore.convention import EXACT, Convention
from pyscore.reference.sphere import normalize

__all__ = ["Projection", "project"]


class Projection(NamedTuple):
    """Nearest points of the manifold and how they were found."""

    z: Array
    """(n, k) codes."""
    gradient_norm: Array
    """(n,) ‖Jᵀe‖ at z, along the sphere if the latent space is one."""
    iterations: Array
    """(n,) steps taken."""


def project(
    x: ArrayLike,
    z: ArrayLike,
    decode: Callable[[Array], Array],
    jacobian: Callable[[Array], Array],
    bend: Callable[[Array, Array], Array] | None = None,
    *,
    latent: Latent = "sphere",
    steps: int = 100,
    convention: Convention = EXACT,
) -> Projection:
    """argmin_z ‖x − decode(z)‖² from a start z, by damped Newton steps along the sphere.

    Parameters
    ----------
    x : (n, d) array
    z : (n, k) array, the start (the encoder's codes)
    decode, jacobian : functions of (n, k) codes that return (n, d) and (n, d, k) arrays
    bend : function of (n, k) codes and (n, d) weights, optional
        Hessians (n, k, k) of Σ_m weights_m·decode(z)_m. Without it the steps are Levenberg-Marquardt's, which
        converge slowly where the residual is large.
    latent : {"sphere", "euclidean"}
    steps : int, at most so many steps
    convention : Convention
        `projection`: ``"adam"`` takes exactly `steps` ADAM steps of size 1e-3 in R^k, off the sphere, on
        the mean of −log p(x|z) over the rows.

    Returns
    -------
    Projection
        Under ``projection="minimum"`` never worse than the start (to rounding).

    Notes
    -----
    Section 3.3. Original: `manifoldz` (jacodeco.jl).
    """
    from pyscore.reference.minimise import adam_descent, levenberg_marquardt

    z = check.matrix("z", z, "k")
    x = check.array("x", x, (z.shape[0], "d"))
    check.choice("latent", latent, ("sphere", "euclidean"))
    if convention.projection == "adam":
        return adam_descent(x, z, decode, jacobian, steps=steps)
    if latent == "sphere":
        z = normalize(z)
    return levenberg_marquardt(x, z, decode, jacobian, bend, latent=latent, steps=steps)
