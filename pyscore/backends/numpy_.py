"""The NumPy backend: `pyscore.reference` in float64, as it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore import reference
from pyscore._core.checks import Array
from pyscore.backends._iterations import ReferenceIterations
from pyscore.backends._protocol import Pass, compose_pass
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE

__all__ = ["NumpyBackend", "create", "probe"]


def probe() -> str | None:
    """Return None: NumPy is always here."""
    return None


def create(dtype: np.dtype[Any] | None, device: str | None) -> NumpyBackend:
    """Return the backend; it knows float64 on the CPU only."""
    if dtype not in (None, np.dtype("float64")):
        raise InvalidInput(f"`dtype` must be float64 for the numpy backend, which is the reference; got {dtype}.")
    if device not in (None, "cpu"):
        raise InvalidInput(f"`device` must be 'cpu' for the numpy backend; got {device!r}.")
    return NumpyBackend()


class NumpyBackend(ReferenceIterations):
    """The reference as a backend."""

    name = "numpy"
    device = "cpu"
    dtype = np.dtype("float64")

    normalize = staticmethod(reference.normalize)
    householder = staticmethod(reference.householder)
    sample_vmf = staticmethod(reference.sample_vmf)
    log_likelihood = staticmethod(reference.log_likelihood)
    latent_error = staticmethod(reference.latent_error)
    log_prior = staticmethod(reference.log_prior)
    log_vmf = staticmethod(reference.log_vmf)
    vmf_entropy = staticmethod(reference.vmf_entropy)
    vmf_kl = staticmethod(reference.vmf_kl)
    log_volume = staticmethod(reference.log_volume)
    log_importance = staticmethod(reference.log_importance)
    imq_kernel_mean = staticmethod(reference.imq_kernel_mean)
    mmd_imq = staticmethod(reference.mmd_imq)

    def encode(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> tuple[Array, Array]:
        """See `Backend.encode`."""
        return model.encode(x, convention=convention)

    def decode(self, model: SVAE, z: ArrayLike) -> Array:
        """See `Backend.decode`."""
        return model.decode(z)

    def decoder_log_volume(self, model: SVAE, z: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.decoder_log_volume`."""
        return reference.log_volume(model.decoder_jacobian(z, tangent=convention.jacobian == "tangent"))

    def encoder_log_volume(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.encoder_log_volume`."""
        jacobian = model.encoder_jacobian(x, convention=convention)
        tangent = convention.encoder_jacobian == "tangent"
        if tangent:
            frame = reference.tangent_frame(model.encode(x, convention=convention)[0])
            jacobian = np.swapaxes(frame, 1, 2) @ jacobian
        return reference.log_volume(jacobian, warn=tangent)  # the ambient one is singular by construction

    def run_pass(
        self,
        model: SVAE,
        x: ArrayLike,
        wanted: frozenset[str],
        *,
        sigma2: ArrayLike = 1.0,
        convention: Convention = EXACT,
    ) -> Pass:
        """See `Backend.run_pass`."""
        return compose_pass(self, model, x, wanted, sigma2, convention)
