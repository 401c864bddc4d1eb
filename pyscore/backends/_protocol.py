"""What every backend offers, and what they share.

NumPy in, NumPy out; rows are samples; the functions have the names, argument order, shapes and edge cases
of `pyscore.reference`. A backend may be faster, never different: it is held to k·eps(dtype)·scale(inputs) of
the reference by `tests/kernel_specs.py`.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.reference import Projection
from pyscore.reference.model import SVAE
from pyscore.reference.sampling import VMFDraws

__all__ = ["Backend", "Pass", "compose_pass"]


class Pass(dict[str, Array]):
    """What one pass over the data yields, by name; each value has one entry a row.

    Names: ``log_likelihood``, ``log_prior``, ``latent_error``, ``decoder_log_volume``, ``encoder_log_volume``,
    and ``z`` (n, k), ``x_hat`` (n, d).
    """


@runtime_checkable
class Backend(Protocol):
    """Functions on arrays and on models that every backend has."""

    name: str
    device: str
    dtype: np.dtype[Any]
    """Type in which the backend computes and returns."""

    # ── on arrays ──

    def normalize(self, v: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """(n, k) → (n, k)."""

    def householder(self, z: ArrayLike, mu: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """(n, k), (n, k) → (n, k)."""

    def sample_vmf(
        self, mu: ArrayLike, kappa: ArrayLike, epsilon: ArrayLike, v: ArrayLike, *, convention: Convention = EXACT
    ) -> Array:
        """(n, k), (n,), (n,), (n, k−1) → (n, k)."""

    def log_likelihood(
        self, x: ArrayLike, x_hat: ArrayLike, sigma2: ArrayLike = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """(n, d), (n, d), float or (d,) → (n,)."""

    def latent_error(self, z: ArrayLike, z_hat: ArrayLike) -> Array:
        """(n, k), (n, k) → (n,)."""

    def log_prior(
        self, z: ArrayLike, mu_u: ArrayLike, kappa_u: ArrayLike | None = None, *, convention: Convention = EXACT
    ) -> Array:
        """(n, k), (p, k), (p,) → (n,)."""

    def log_vmf(self, z: ArrayLike, mu: ArrayLike, kappa: ArrayLike) -> Array:
        """(n, k), (n, k), (n,) → (n,)."""

    def vmf_entropy(self, kappa: ArrayLike, k: int) -> Array:
        """(n,), k → (n,)."""

    def vmf_kl(self, kappa: ArrayLike, k: int) -> Array:
        """(n,), k → (n,)."""

    def log_volume(self, jacobian: ArrayLike) -> Array:
        """(n, d, k) → (n,); warns of singular rows."""

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
        """(n, s), (n, s), (n, s), (n,), k → (n,)."""

    def imq_kernel_mean(
        self, x: ArrayLike, y: ArrayLike | None = None, c: ArrayLike = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """(n, k), (m, k), widths → shape of the widths."""

    def mmd_imq(self, x: ArrayLike, y: ArrayLike, c: ArrayLike = 1.0, *, convention: Convention = EXACT) -> Array:
        """(n, k), (m, k), widths → shape of the widths."""

    # ── on models ──

    def encode(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> tuple[Array, Array]:
        """(n, d) → mu (n, k), kappa (n,)."""

    def decode(self, model: SVAE, z: ArrayLike) -> Array:
        """(n, k) → (n, d)."""

    def decoder_log_volume(self, model: SVAE, z: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """Log-volume (n,) of the decoder at z (n, k), ambient or tangent by `convention.jacobian`."""

    def encoder_log_volume(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """Log-volume (n,) of mu at x (n, d), ambient or tangent by `convention.encoder_jacobian`."""

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
        """Importance-sampling estimate (n,) of log p(x), from injected draws or those of the seed and the row."""

    def project(
        self, model: SVAE, x: ArrayLike, *, steps: int = 100, convention: Convention = EXACT
    ) -> Projection:
        """(n, d) → nearest points of the manifold, from the encoder's codes; see `scores.project`."""

    def laplace(
        self, model: SVAE, x: ArrayLike, z: ArrayLike, sigma2: float = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """Laplace's log p(x) (n,) at the posterior mode that the start z (n, k) leads to."""

    def run_pass(
        self,
        model: SVAE,
        x: ArrayLike,
        wanted: frozenset[str],
        *,
        sigma2: ArrayLike = 1.0,
        convention: Convention = EXACT,
    ) -> Pass:
        """Everything `wanted` of the rows x (n, d) in one pass; see `Pass` for the names."""


def compose_pass(
    backend: Backend, model: SVAE, x: ArrayLike, wanted: frozenset[str], sigma2: ArrayLike, convention: Convention
) -> Pass:
    """`Backend.run_pass` as separate calls: the definition of what a fused pass must return."""
    result = Pass()
    z, _ = backend.encode(model, x, convention=convention)
    result["z"] = z
    if wanted & {"x_hat", "log_likelihood", "latent_error"}:
        result["x_hat"] = x_hat = backend.decode(model, z)
        if "log_likelihood" in wanted:
            result["log_likelihood"] = backend.log_likelihood(x, x_hat, sigma2, convention=convention)
        if "latent_error" in wanted:
            z_hat, _ = backend.encode(model, x_hat, convention=convention)
            result["latent_error"] = backend.latent_error(z, z_hat)
    if "log_prior" in wanted:
        components = backend.encode(model, model.pseudo_inputs, convention=convention)
        result["log_prior"] = backend.log_prior(z, *components, convention=convention)
    if "decoder_log_volume" in wanted:
        result["decoder_log_volume"] = backend.decoder_log_volume(model, z, convention=convention)
    if "encoder_log_volume" in wanted:
        result["encoder_log_volume"] = backend.encoder_log_volume(model, x, convention=convention)
    return result
