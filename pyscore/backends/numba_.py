"""The numba backend: compiled kernels on all cores of the CPU, float32 or float64."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.backends._compiled import CompiledBackend, log_two_pi
from pyscore.backends._iterations import IMPORTANCE_DRAWS, check_draws, second_look
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput
from pyscore.kernels import cpu
from pyscore.reference import sampling
from pyscore.reference.minimise import BETAS, beta_power
from pyscore.reference.model import SVAE
from pyscore.reference.sampling import VMFDraws

__all__ = ["NumbaBackend", "create", "probe"]


def probe() -> str | None:
    """Return None: Numba was imported above."""
    return None


def create(dtype: np.dtype[Any] | None, device: str | None) -> NumbaBackend:
    """Return the backend for one dtype; the number of threads is `numba.set_num_threads`."""
    if device not in (None, "cpu"):
        raise InvalidInput(f"`device` must be 'cpu' for the numba backend; got {device!r}. Use backend='cuda'.")
    return NumbaBackend(dtype)


class NumbaBackend(CompiledBackend):
    """Kernels of `pyscore.kernels.cpu`."""

    name = "numba"
    device = "cpu"

    def __init__(self, dtype: np.dtype[Any] | None) -> None:
        super().__init__(dtype, cpu)

    def importance(
        self,
        model: SVAE,
        x: ArrayLike,
        sigma2: ArrayLike = 1.0,
        *,
        seed: int = 0,
        draws: VMFDraws | None = None,
        convention: Convention = EXACT,
    ) -> Array:
        """See `Backend.importance`; draws, decoder passes and their sum in one kernel, in this backend's dtype."""
        rows = check.matrix("x", x, model.input_dim)
        x = rows.astype(self.dtype, copy=False)
        mu, kappa = self.encode(model, x, convention=convention)
        outer, count = convention.importance == "outer_sum", IMPORTANCE_DRAWS
        if draws is None:
            stream = sampling.STREAMS["importance"]
            source: Any = (sampling.row_keys(rows), sampling.draw_seed(seed), stream, count)
            # What is drawn is decided in float64: the same draws on every backend.
            drawn = kappa if self.dtype == np.float64 else self._wide.encode(model, rows, convention=convention)[1]
        else:
            count, source, drawn = check_draws(draws, *mu.shape), tuple(draws), kappa
        found = cpu.importance(
            self._network(model, "decoder"), model.activation, x, mu, kappa, self._prior(model, convention),
            source, drawn, sigma2=sigma2, log_two_pi=log_two_pi(model.input_dim, convention),
            norm_eps=reference.EPS if convention.norm_eps == "machine" else 0.0, outer=outer,
        )  # fmt: skip
        if found.unaccepted:
            sampling.warn_unaccepted(found.unaccepted)
        if outer:
            with np.errstate(divide="ignore", over="ignore"):
                return self._round(np.log(np.exp(found.weight) * np.exp(found.prior)))
        normaliser = reference.log_vmf_normaliser(kappa, model.latent_dim)
        return self._round(found.weight - normaliser - np.log(count))

    @functools.cached_property
    def _wide(self) -> NumbaBackend:
        return NumbaBackend(np.dtype(np.float64))

    def project(
        self, model: SVAE, x: ArrayLike, *, steps: int = 100, convention: Convention = EXACT
    ) -> reference.Projection:
        """See `Backend.project`; every step of a row in one kernel, in this backend's dtype."""
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        start, _ = self.encode(model, x, convention=convention)
        decoder = self._network(model, "decoder both ways"), model.activation
        if convention.projection == "adam":
            powers = [[beta_power(beta, t) for t in range(steps + 1)] for beta in BETAS]
            descent = cpu.adam_descent(*decoder, x, start, powers)
            return reference.Projection(descent.z, descent.gradient_norm, np.full(len(x), steps))
        found = cpu.damped_newton(*decoder, x, self._round(reference.normalize(start)), steps=steps)
        return reference.Projection(found.z, found.gradient_norm, found.iterations)

    def laplace(
        self, model: SVAE, x: ArrayLike, z: ArrayLike, sigma2: float = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """See `Backend.laplace`; Newton steps, Hessian and determinant in one kernel, in this backend's dtype."""
        given = x
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        z = check.array("z", z, (len(x), model.latent_dim))
        variance = check.real("sigma2", sigma2, above=0.0)
        log_determinant = model.input_dim * np.log(variance)
        found = cpu.damped_newton(
            self._network(model, "decoder both ways"), model.activation, x, self._round(reference.normalize(z)),
            precision=1 / variance, offset=0.5 * (log_two_pi(model.input_dim, convention) + log_determinant),
            prior=self._prior(model, convention),
        )  # fmt: skip
        volume = 0.5 * (model.latent_dim - 1) * reference.LOG_TWO_PI - 0.5 * found.log_det
        density = np.where(np.isnan(volume), -np.inf, volume - found.value)
        rows = check.matrix("x", given, model.input_dim)
        return self._round(second_look(model, rows, z, variance, convention, density))
