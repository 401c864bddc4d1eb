"""What the backends on compiled kernels share: models unpacked to arrays, conventions to numbers.

`pyscore.kernels.cpu` and `pyscore.kernels.cuda` offer the same functions; a backend is this class with one of
them. What is not worth a kernel (a few operations a row) is the reference in float64, rounded once.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.backends._iterations import IMPORTANCE_DRAWS, check_draws, second_look
from pyscore.backends._last_model import LastModel
from pyscore.backends._protocol import Pass, compose_pass
from pyscore.convention import EXACT, Convention
from pyscore.reference import sampling
from pyscore.reference.minimise import BETAS, beta_power
from pyscore.reference.model import SVAE
from pyscore.reference.network import KAPPA_MAX
from pyscore.reference.sampling import VMFDraws

__all__ = ["CompiledBackend", "log_two_pi"]

_FUSED = frozenset({"log_likelihood", "log_prior", "decoder_log_volume"})


class CompiledBackend:
    """A Backend on top of a package of kernels; see `Backend` for the methods."""

    name: str
    device: str

    def __init__(self, dtype: np.dtype[Any] | None, kernels: ModuleType) -> None:
        self.dtype = np.dtype(dtype or np.float32)
        self._kernels = kernels
        self._networks: LastModel[dict[str, Any]] = LastModel(lambda model: {})
        self._priors: LastModel[dict[Convention, tuple[Array, Array, Array]]] = LastModel(lambda model: {})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as name and dtype: a module of kernels cannot be pickled."""
        return type(self), (self.dtype,)

    # ── on arrays ──

    def normalize(self, v: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `reference.normalize`; the epsilon is that of this backend's dtype."""
        with reference.precision(self.dtype):
            return self._round(reference.normalize(v, convention=convention))

    def householder(self, z: ArrayLike, mu: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `reference.householder`; the epsilon is that of this backend's dtype."""
        with reference.precision(self.dtype):
            return self._round(reference.householder(z, mu, convention=convention))

    def sample_vmf(
        self, mu: ArrayLike, kappa: ArrayLike, epsilon: ArrayLike, v: ArrayLike, *, convention: Convention = EXACT
    ) -> Array:
        """See `reference.sample_vmf`; the epsilon is that of this backend's dtype."""
        with reference.precision(self.dtype):
            return self._round(reference.sample_vmf(mu, kappa, epsilon, v, convention=convention))

    def log_likelihood(
        self, x: ArrayLike, x_hat: ArrayLike, sigma2: ArrayLike = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """See `reference.log_likelihood`."""
        x = check.matrix("x", x, dtype=self.dtype)
        x_hat = check.array("x_hat", x_hat, x.shape, dtype=self.dtype)
        constant = log_two_pi(x.shape[1], convention)
        return self._round(self._kernels.log_likelihood(x, x_hat, sigma2, log_two_pi=constant))

    def latent_error(self, z: ArrayLike, z_hat: ArrayLike) -> Array:
        """See `reference.latent_error`."""
        return self._round(reference.latent_error(z, z_hat))

    def log_prior(
        self, z: ArrayLike, mu_u: ArrayLike, kappa_u: ArrayLike | None = None, *, convention: Convention = EXACT
    ) -> Array:
        """See `reference.log_prior`."""
        mu_u = check.matrix("mu_u", mu_u, "k")
        z = check.matrix("z", z, mu_u.shape[1], dtype=self.dtype)
        reference.log_prior(z[:0], mu_u, kappa_u, convention=convention)  # the same complaints
        return self._round(self._kernels.log_prior(z, *_components(mu_u, kappa_u, convention)))

    def log_vmf(self, z: ArrayLike, mu: ArrayLike, kappa: ArrayLike) -> Array:
        """See `reference.log_vmf`."""
        return self._round(reference.log_vmf(z, mu, kappa))

    def vmf_entropy(self, kappa: ArrayLike, k: int) -> Array:
        """See `reference.vmf_entropy`."""
        return self._round(reference.vmf_entropy(kappa, k))

    def vmf_kl(self, kappa: ArrayLike, k: int) -> Array:
        """See `reference.vmf_kl`."""
        return self._round(reference.vmf_kl(kappa, k))

    def log_volume(self, jacobian: ArrayLike) -> Array:
        """See `reference.log_volume`; here Σ log|r_ii| of a Householder QR."""
        jacobian = check.array("jacobian", jacobian, ("n", "d", "k"), dtype=self.dtype)
        result = self._kernels.log_volume(jacobian)
        self._warn(result, max(jacobian.shape[1:], default=0))
        return self._round(result.volume)

    def log_importance(
        self,
        log_px_given_z: ArrayLike,
        log_pz: ArrayLike,
        cosine: ArrayLike,
        kappa: ArrayLike,
        k: int,
        *,
        convention: Convention = EXACT,
    ) -> Array:
        """See `reference.log_importance`."""
        terms = (log_px_given_z, log_pz, cosine, kappa)
        return self._round(reference.log_importance(*terms, k, convention=convention))

    def imq_kernel_mean(
        self, x: ArrayLike, y: ArrayLike | None = None, c: ArrayLike = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """See `reference.imq_kernel_mean`; all widths in one pass over the distances."""
        x = check.matrix("x", x, "k", dtype=self.dtype)
        other = None if y is None else check.matrix("y", y, x.shape[1], dtype=self.dtype)
        reference.imq_kernel_mean(x[:2], None if other is None else other[:1], c)  # the same complaints
        return self._round(self._kernels.kernel_mean(x, other, c, diagonal=convention.mmd_diagonal))

    def mmd_imq(self, x: ArrayLike, y: ArrayLike, c: ArrayLike = 1.0, *, convention: Convention = EXACT) -> Array:
        """See `reference.mmd_imq`; all widths in one pass over the distances."""
        x = check.matrix("x", x, "k", dtype=self.dtype)
        y = check.matrix("y", y, x.shape[1], dtype=self.dtype)
        reference.mmd_imq(x[:2], y[:2], c)  # the same complaints
        return self._round(self._kernels.mmd_imq(x, y, c, diagonal=convention.mmd_diagonal))

    # ── on models ──

    def encode(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> tuple[Array, Array]:
        """See `Backend.encode`."""
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        heads = self._kernels.mlp(self._network(model, "heads"), model.activation, x)
        kappa = KAPPA_MAX * special.expit(heads[:, -1])
        return self.normalize(heads[:, :-1], convention=convention), self._round(kappa)

    def decode(self, model: SVAE, z: ArrayLike) -> Array:
        """See `Backend.decode`."""
        z = check.matrix("z", z, model.latent_dim, dtype=self.dtype)
        return self._round(self._kernels.mlp(self._network(model, "decoder"), model.activation, z))

    def decoder_log_volume(self, model: SVAE, z: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.decoder_log_volume`; tangents and QR in one pass, no Jacobian in memory."""
        z = check.matrix("z", z, model.latent_dim, dtype=self.dtype)
        tangent = convention.jacobian == "tangent"
        result = self._kernels.decoder_log_volume(self._network(model, "decoder"), model.activation, z, tangent)
        self._warn(result, max(model.input_dim, model.latent_dim - tangent))
        return self._round(result.volume)

    def encoder_log_volume(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.encoder_log_volume`; cotangents and QR in one pass, no Jacobian in memory."""
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        tangent = convention.encoder_jacobian == "tangent"
        result = self._kernels.encoder_log_volume(
            self._network(model, "encoder"), model.activation, x, tangent, norm_eps=self._norm_eps(convention)
        )
        if tangent:  # the ambient one is singular by construction
            self._warn(result, max(model.input_dim, model.latent_dim - 1))
        return self._round(result.volume)

    def run_pass(
        self,
        model: SVAE,
        x: ArrayLike,
        wanted: frozenset[str],
        *,
        sigma2: ArrayLike = 1.0,
        convention: Convention = EXACT,
    ) -> Pass:
        """See `Backend.run_pass`; fused when the volume of the decoder is wanted with another term."""
        if "decoder_log_volume" not in wanted or len(wanted & _FUSED) == 1:
            return compose_pass(self, model, x, wanted, sigma2, convention)
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        kept = {"z", "decoded"} if wanted & {"x_hat", "latent_error"} else {"z"}
        tangent = convention.jacobian == "tangent"
        terms = self._kernels.proposed(
            self._network(model, "encoder")[0], self._network(model, "decoder"), model.activation, x,
            *self._prior(model, convention), tangent, sigma2=sigma2, keep=frozenset(kept),
            log_two_pi=log_two_pi(model.input_dim, convention), norm_eps=self._norm_eps(convention),
        )  # fmt: skip
        self._warn(terms, max(model.input_dim, model.latent_dim - tangent))
        result = Pass(z=self._round(terms.z), decoder_log_volume=self._round(terms.volume))
        for name in wanted & {"log_likelihood", "log_prior"}:
            result[name] = self._round(getattr(terms, name))
        if "decoded" in kept:
            result["x_hat"] = self._round(terms.decoded)
        if "latent_error" in wanted:
            z_hat, _ = self.encode(model, result["x_hat"], convention=convention)
            result["latent_error"] = self.latent_error(result["z"], z_hat)
        if "encoder_log_volume" in wanted:
            result["encoder_log_volume"] = self.encoder_log_volume(model, x, convention=convention)
        return result

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
        found = self._kernels.importance(
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
    def _wide(self) -> Any:
        """The same kernels in float64."""
        make: Any = type(self)
        return make(np.dtype(np.float64))

    def project(
        self, model: SVAE, x: ArrayLike, *, steps: int = 100, convention: Convention = EXACT
    ) -> reference.Projection:
        """See `Backend.project`; every step of a row in one kernel, in this backend's dtype."""
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        start, _ = self.encode(model, x, convention=convention)
        decoder = self._network(model, "decoder both ways"), model.activation
        if convention.projection == "adam":
            powers = [[beta_power(beta, t) for t in range(steps + 1)] for beta in BETAS]
            descent = self._kernels.adam_descent(*decoder, x, start, powers)
            return reference.Projection(descent.z, descent.gradient_norm, np.full(len(x), steps))
        found = self._kernels.damped_newton(*decoder, x, self._round(reference.normalize(start)), steps=steps)
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
        found = self._kernels.damped_newton(
            self._network(model, "decoder both ways"), model.activation, x, self._round(reference.normalize(z)),
            precision=1 / variance, offset=0.5 * (log_two_pi(model.input_dim, convention) + log_determinant),
            prior=self._prior(model, convention),
        )  # fmt: skip
        volume = 0.5 * (model.latent_dim - 1) * reference.LOG_TWO_PI - 0.5 * found.log_det
        density = np.where(np.isnan(volume), -np.inf, volume - found.value)
        rows = check.matrix("x", given, model.input_dim)
        return self._round(second_look(model, rows, z, variance, convention, density))

    # ── models to kernels and back ──

    def _network(self, model: SVAE, name: str) -> Any:
        """Packed layers of a model, kept for the next call with the same one."""
        networks = self._networks(model)
        if name not in networks:
            cast = model if model.dtype == self.dtype else model.astype(self.dtype)
            encoder, decoder = [tuple(layer) for layer in cast.encoder], [tuple(layer) for layer in cast.decoder]
            if name == "decoder":
                networks[name] = self._kernels.pack(decoder, model.activation)
            elif name == "encoder":
                networks[name] = self._kernels.pack_encoder([*encoder, tuple(cast.mu)], model.activation)
            elif name == "decoder both ways":
                networks[name] = self._kernels.pack_encoder(decoder, model.activation)
            else:
                both = zip(cast.mu, cast.kappa, strict=True)
                head = tuple(np.concatenate(pair) for pair in both)
                networks[name] = self._kernels.pack([*encoder, head], model.activation)
        return networks[name]

    def _prior(self, model: SVAE, convention: Convention) -> tuple[Array, Array, Array]:
        """Components of the prior of a model; their Bessel functions take as long as a thousand rows."""
        priors = self._priors(model)
        if convention not in priors:
            encoded = self.encode(model, model.pseudo_inputs, convention=convention)
            priors[convention] = _components(*encoded, convention)
        return priors[convention]

    def _norm_eps(self, convention: Convention) -> float:
        return float(np.finfo(self.dtype).eps) if convention.norm_eps == "machine" else 0.0

    def _round(self, array: Any) -> Array:
        with np.errstate(over="ignore"):  # a float64 term beyond float32 is infinite there
            rounded: Array = np.asarray(array).astype(self.dtype, copy=False)
        return rounded

    def _warn(self, result: Any, side: int) -> None:
        """Warn of the rows whose least pivot is rounding noise beside the largest."""
        noise = side * float(np.finfo(self.dtype).eps) * result.largest
        singular = (result.smallest <= noise) & ~np.isnan(result.volume)
        if singular.any():
            reference.warn_singular(np.flatnonzero(singular))


def _components(mu_u: Array, kappa_u: ArrayLike | None, convention: Convention) -> tuple[Array, Array, Array]:
    """Components of the prior as the kernels want them: directions, concentrations, log-normalisers."""
    if convention.prior_density == "unit_kappa":
        return mu_u, np.ones(len(mu_u)), np.zeros(len(mu_u))
    kappa = np.asarray(kappa_u, dtype=np.float64)
    return mu_u, kappa, reference.log_vmf_normaliser(kappa, mu_u.shape[1])


def log_two_pi(d: int, convention: Convention) -> float:
    """d·log 2π, rounded to Float32 where the convention says so."""
    exact = d * reference.LOG_TWO_PI
    return float(np.float32(d) * reference.LOG_TWO_PI_F32) if convention.log_two_pi == "float32" else exact
