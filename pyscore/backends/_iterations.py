"""What takes many steps a row, as the reference does it: projection and posterior mode, in float64 NumPy.

A backend that has nothing faster inherits `ReferenceIterations`; one that has is measured against it.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.reference.minimise import damped_newton, negative_log_joint
from pyscore.reference.model import SVAE

__all__ = ["ReferenceIterations", "laplace", "project"]


def project(
    model: SVAE, x: ArrayLike, *, steps: int = 100, convention: Convention = EXACT
) -> reference.Projection:
    """`reference.project` of rows (n, d) from the encoder's codes, on the decoder of a model."""
    x = check.matrix("x", x, model.input_dim)
    start, _ = model.encode(x, convention=convention)
    return reference.project(
        x, start, model.decode, model.decoder_jacobian, model.decoder_bend, steps=steps, convention=convention
    )


def laplace(model: SVAE, x: Array, z: Array, sigma2: float, convention: Convention) -> Array:
    """Laplace's log p(x), from the posterior mode found on the sphere from the start z; see `log_laplace`."""
    components = model.encode_pseudo_inputs(convention=convention)

    def prior(z: Array) -> tuple[Array, Array, Array]:
        return reference.log_prior_derivatives(z, *components, convention=convention)

    objective = negative_log_joint(
        x, model.decode, model.decoder_jacobian, model.decoder_bend, prior, sigma2,
        latent="sphere", convention=convention,
    )  # fmt: skip
    mode = damped_newton(reference.normalize(z), objective, latent="sphere", steps=100).z
    value, _, hessian = objective(mode)
    return reference.log_laplace(-value, hessian)


class ReferenceIterations:
    """`project` and `laplace` of the reference, for backends that have none of their own."""

    def project(
        self, model: SVAE, x: ArrayLike, *, steps: int = 100, convention: Convention = EXACT
    ) -> reference.Projection:
        """See `Backend.project`; in float64 NumPy."""
        return project(model, x, steps=steps, convention=convention)

    def laplace(
        self, model: SVAE, x: ArrayLike, z: ArrayLike, sigma2: float = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """See `Backend.laplace`; in float64 NumPy."""
        x = check.matrix("x", x, model.input_dim)
        z = check.array("z", z, (len(x), model.latent_dim))
        return laplace(model, x, z, check.real("sigma2", sigma2, above=0.0), convention)
