"""What takes many steps a row: projection and posterior mode as the reference does them, and importance sampling.

A backend that has nothing faster inherits `ReferenceIterations`; one that has is measured against it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput
from pyscore.reference import sampling
from pyscore.reference.minimise import damped_newton, negative_log_joint
from pyscore.reference.model import SVAE
from pyscore.reference.sampling import VMFDraws

__all__ = [
    "IMPORTANCE_DRAWS",
    "ReferenceIterations",
    "check_draws",
    "density_at_mode",
    "laplace",
    "project",
    "second_look",
]

IMPORTANCE_DRAWS = 100


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
    return reference.log_laplace(*posterior_mode(model, x, z, sigma2, convention))


def posterior_mode(model: SVAE, x: Array, z: Array, sigma2: float, convention: Convention) -> tuple[Array, Array]:
    """log p(x, z*) (n,) at the posterior mode, and the Hessian (n, k−1, k−1) of its negative along the sphere."""
    components = model.encode_pseudo_inputs(convention=convention)

    def prior(z: Array) -> tuple[Array, Array, Array]:
        return reference.log_prior_derivatives(z, *components, convention=convention)

    objective = negative_log_joint(
        x, model.decode, model.decoder_jacobian, model.decoder_bend, prior, sigma2,
        latent="sphere", convention=convention,
    )  # fmt: skip
    mode = damped_newton(reference.normalize(z), objective, latent="sphere", steps=100).z
    value, _, hessian = objective(mode)
    return -value, hessian


def density_at_mode(log_joint: Array, hessian: Array) -> Array:
    """`reference.log_laplace` without its warning: −inf where the Hessian is not finite and positive definite."""
    finite: Array = np.asarray(
        np.isfinite(hessian).all(axis=(1, 2))
    )  # of NaN or infinity LAPACK makes an error for all rows
    values = np.linalg.eigvalsh(
        np.where(finite[:, None, None], hessian, -np.eye(hessian.shape[1], dtype=hessian.dtype))
    )
    good = np.asarray((values > 0).all(axis=1))
    log_det = np.sum(np.log(np.where(good[:, None], values, 1.0)), axis=1)
    density: Array = log_joint + 0.5 * values.shape[1] * reference.LOG_TWO_PI - 0.5 * log_det
    return np.where(good, density, -np.inf)


def second_look(model: SVAE, x: Array, z: Array, sigma2: float, convention: Convention, density: Array) -> Array:
    """Look again, in float64, for the mode of the rows of density −inf, and warn of those that have none.

    In float32 a descent ends where the objective is flat to 1e-5 of its size, which may be near a saddle or a
    maximum. Each row is looked at alone, so that its bits depend on nothing else.
    """
    for row in np.flatnonzero(np.isneginf(density)):
        here = slice(row, row + 1)
        wide = np.asarray(x[here], np.float64), np.asarray(z[here], np.float64)
        density[here] = density_at_mode(*posterior_mode(model, *wide, sigma2, convention))
    reference.warn_indefinite(np.isneginf(density))
    return density


def check_draws(draws: VMFDraws, n: int, k: int) -> int:
    """Return the number of draws a row of injected draws, or raise."""
    epsilon = check.vector("draws.epsilon", draws.epsilon, "n·s")
    if n == 0 or epsilon.size == 0 or epsilon.size % n:
        raise InvalidInput(
            f"`draws.epsilon` must hold s draws for each of the {n} rows; got {epsilon.size} values in all."
        )
    check.array("draws.v", draws.v, (epsilon.size, k - 1))
    return epsilon.size // n


class ReferenceIterations:
    """`project` and `laplace` of the reference, and `importance` by the backend's own functions on arrays."""

    def importance(
        self: Any,
        model: SVAE,
        x: ArrayLike,
        sigma2: ArrayLike = 1.0,
        *,
        seed: int = 0,
        draws: VMFDraws | None = None,
        convention: Convention = EXACT,
    ) -> Array:
        """See `Backend.importance`; in blocks of rows of bounded size."""
        x = check.matrix("x", x, model.input_dim)
        mu, kappa = self.encode(model, x, convention=convention)
        components = self.encode(model, model.pseudo_inputs, convention=convention)
        _, kappa_drawn = model.encode(x, convention=convention)  # the same draws on every backend
        n, k = mu.shape
        s = IMPORTANCE_DRAWS if draws is None else check_draws(draws, n, k)
        result: Array = np.empty(n, self.dtype)
        block = max(1, 2_000_000 // (s * model.input_dim))
        for start in range(0, n, block):
            rows = slice(start, min(n, start + block))
            m = rows.stop - start
            repeat = np.repeat(mu[rows], s, axis=0), np.repeat(kappa[rows], s)
            if draws is None:
                pick = sampling.importance_draws(sampling.row_keys(x[rows]), kappa_drawn[rows], k, s, seed)
            else:
                pick = VMFDraws(draws.epsilon[start * s : rows.stop * s], draws.v[start * s : rows.stop * s])
            z = self.sample_vmf(*repeat, *pick, convention=convention)
            likelihood = self.log_likelihood(
                np.repeat(x[rows], s, axis=0), self.decode(model, z), sigma2, convention=convention
            )
            result[rows] = self.log_importance(
                likelihood.reshape(m, s),
                self.log_prior(z, *components, convention=convention).reshape(m, s),
                np.sum(z * repeat[0], axis=1).reshape(m, s),
                kappa[rows],
                k,
                convention=convention,
            )
        return result

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
