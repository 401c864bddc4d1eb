"""The torch backend: float32 or float64, on the CPU or a GPU, through BLAS and LAPACK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.backends import torch_functions as tf
from pyscore.backends import torch_newton as tn
from pyscore.backends._iterations import ReferenceIterations, density_at_mode, second_look
from pyscore.backends._last_model import LastModel
from pyscore.backends._protocol import Pass, compose_pass
from pyscore.convention import EXACT, Convention
from pyscore.errors import BackendUnavailable, InvalidInput
from pyscore.reference.minimise import BETAS, beta_power
from pyscore.reference.model import SVAE

__all__ = ["TorchBackend", "create", "probe"]

BLOCK_ROWS = 4096  # rows a block of tangents: (4096, 9, 64) float32 values are 9 MB


def probe() -> str | None:
    """Return None: torch was imported above."""
    return None


def create(dtype: np.dtype[Any] | None, device: str | None) -> TorchBackend:
    """Return the backend for one dtype and device."""
    try:
        chosen = torch.device(device or "cpu")
    except (RuntimeError, TypeError):
        raise InvalidInput(f"`device` must be 'cpu', 'cuda' or 'cuda:<number>'; got {device!r}.") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable(
            f"torch: device {device!r} was asked for, but torch {torch.__version__} sees no CUDA GPU. "
            "Install a CUDA build of torch and a driver, or use device='cpu'."
        )
    return TorchBackend(dtype or np.dtype("float32"), chosen)


class TorchBackend(ReferenceIterations):
    """PyTorch tensors inside, NumPy arrays outside."""

    name = "torch"

    def __init__(self, dtype: np.dtype[Any], device: torch.device) -> None:
        self.dtype = np.dtype(dtype)
        self.device = str(device)
        self._torch_dtype = torch.float64 if self.dtype == np.float64 else torch.float32
        self._parameters = LastModel(self._tensors)

    # ── on arrays ──

    def normalize(self, v: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `reference.normalize`."""
        return self._out(tf.normalize(self._in(check.matrix("v", v, "k", dtype=self.dtype)), convention))

    def householder(self, z: ArrayLike, mu: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `reference.householder`."""
        mu = check.matrix("mu", mu, "k", dtype=self.dtype)
        z = check.matrix("z", z, mu.shape[1], dtype=self.dtype)
        return self._out(tf.householder(self._in(z), self._in(mu), convention))

    def sample_vmf(
        self, mu: ArrayLike, kappa: ArrayLike, epsilon: ArrayLike, v: ArrayLike, *, convention: Convention = EXACT
    ) -> Array:
        """See `reference.sample_vmf`."""
        mu = check.matrix("mu", mu, "k", dtype=self.dtype)
        n, k = mu.shape
        kappa = check.vector("kappa", kappa, n, dtype=self.dtype)
        epsilon = check.vector("epsilon", epsilon, n, dtype=self.dtype)
        v = check.array("v", v, (n, k - 1), dtype=self.dtype)
        draws = self._in(epsilon), self._in(v)
        return self._out(tf.sample_vmf(self._in(mu), self._in(kappa), *draws, convention))

    def log_likelihood(
        self, x: ArrayLike, x_hat: ArrayLike, sigma2: ArrayLike = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """See `reference.log_likelihood`."""
        x = check.matrix("x", x, dtype=self.dtype)
        x_hat = check.array("x_hat", x_hat, x.shape, dtype=self.dtype)
        # The constant is the reference's: log N(0; 0, σ²).
        zero = np.zeros((1, x.shape[1]))
        constant = float(reference.log_likelihood(zero, zero, sigma2, convention=convention)[0])
        # 1/σ and not σ², which float32 rounds to 0 from 1e-46 on.
        precision = np.minimum(1 / np.sqrt(np.asarray(sigma2, np.float64)), np.finfo(self.dtype).max)
        scaled = (self._in(x) - self._in(x_hat)) * self._in(np.asarray(precision, dtype=self.dtype))
        return self._out(constant - 0.5 * (scaled**2).sum(dim=1))

    def latent_error(self, z: ArrayLike, z_hat: ArrayLike) -> Array:
        """See `reference.latent_error`."""
        z = check.matrix("z", z, "k", dtype=self.dtype)
        z_hat = check.array("z_hat", z_hat, z.shape, dtype=self.dtype)
        return self._out(((self._in(z) - self._in(z_hat)) ** 2).sum(dim=1))

    def log_prior(
        self, z: ArrayLike, mu_u: ArrayLike, kappa_u: ArrayLike | None = None, *, convention: Convention = EXACT
    ) -> Array:
        """See `reference.log_prior`."""
        mu_u = check.matrix("mu_u", mu_u, "k", dtype=self.dtype)
        p, k = mu_u.shape
        z = check.matrix("z", z, k, dtype=self.dtype)
        reference.log_prior(z[:0], mu_u, kappa_u, convention=convention)  # the same complaints
        exponent = self._in(z) @ self._in(mu_u).T
        if convention.prior_density == "vmf_mixture":
            concentration = check.vector("kappa_u", np.asarray(kappa_u), p, dtype=self.dtype)
            constant = reference.log_vmf_normaliser(concentration, k).astype(self.dtype)
            exponent = exponent * self._in(concentration) + self._in(constant)
        return self._out(torch.logsumexp(exponent, dim=1) - np.log(p))

    def log_vmf(self, z: ArrayLike, mu: ArrayLike, kappa: ArrayLike) -> Array:
        """See `reference.log_vmf`; the normaliser is a scipy Bessel function on the host."""
        mu = check.matrix("mu", mu, "k", dtype=self.dtype)
        z = check.array("z", z, mu.shape, dtype=self.dtype)
        kappa = check.vector("kappa", kappa, mu.shape[0], dtype=self.dtype)
        constant = reference.log_vmf_normaliser(kappa, mu.shape[1]).astype(self.dtype)
        cosine = (self._in(z) * self._in(mu)).sum(dim=1)
        return self._out(self._in(kappa) * cosine + self._in(constant))

    def vmf_entropy(self, kappa: ArrayLike, k: int) -> Array:
        """See `reference.vmf_entropy`."""
        return reference.vmf_entropy(check.vector("kappa", kappa, dtype=self.dtype), k).astype(self.dtype)

    def vmf_kl(self, kappa: ArrayLike, k: int) -> Array:
        """See `reference.vmf_kl`."""
        return reference.vmf_kl(check.vector("kappa", kappa, dtype=self.dtype), k).astype(self.dtype)

    def log_volume(self, jacobian: ArrayLike) -> Array:
        """See `reference.log_volume`; here Σ log|r_ii| of a Householder QR."""
        jacobian = check.array("jacobian", jacobian, ("n", "d", "k"), dtype=self.dtype)
        return self._volume(len(jacobian), lambda rows: self._in(jacobian[rows]))

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
        a = check.matrix("log_px_given_z", log_px_given_z, "s", dtype=self.dtype)
        p = self._in(check.array("log_pz", log_pz, a.shape, dtype=self.dtype))
        kappa = check.vector("kappa", kappa, len(a), dtype=self.dtype)
        log_q = self._in(kappa)[:, None] * self._in(check.array("cosine", cosine, a.shape, dtype=self.dtype))
        likelihood = self._in(a)
        if convention.importance == "outer_sum":
            return self._out(torch.log(torch.exp(likelihood - log_q).sum(dim=1) * torch.exp(p).sum(dim=1)))
        log_q = log_q + self._in(reference.log_vmf_normaliser(kappa, k).astype(self.dtype))[:, None]
        return self._out(torch.logsumexp(likelihood + p - log_q, dim=1) - np.log(a.shape[1]))

    def imq_kernel_mean(
        self, x: ArrayLike, y: ArrayLike | None = None, c: ArrayLike = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """See `reference.imq_kernel_mean`; here by blocks of rows, the n×m matrix is never whole."""
        x = check.matrix("x", x, "k", dtype=self.dtype)
        other = x if y is None else check.matrix("y", y, x.shape[1], dtype=self.dtype)
        reference.imq_kernel_mean(x[:2], None if y is None else other[:1], c)  # the same complaints
        widths = np.asarray(c, dtype=self.dtype)
        within, removed = y is None, convention.mmd_diagonal == "removed"
        totals = np.zeros(widths.size)
        right = self._in(other).T
        for rows in self._blocks(len(x)):
            distance = torch.relu(1 - self._in(x[rows]) @ right)
            if within and removed:
                distance[:, rows].fill_diagonal_(torch.inf)  # a pair that adds c/(c+∞) = 0
            for i, width in enumerate(widths.ravel()):
                totals[i] += float((float(width) / (float(width) + distance)).sum(dtype=torch.float64))
        pairs = len(x) * (len(x) - 1 if within else len(other))
        return np.reshape(totals / pairs, widths.shape).astype(self.dtype)

    def mmd_imq(self, x: ArrayLike, y: ArrayLike, c: ArrayLike = 1.0, *, convention: Convention = EXACT) -> Array:
        """See `reference.mmd_imq`."""
        reference.mmd_imq(np.asarray(x)[:2], np.asarray(y)[:2], c)  # the same complaints
        within = self.imq_kernel_mean(x, None, c, convention=convention)
        within = within + self.imq_kernel_mean(y, None, c, convention=convention)
        return within - 2 * self.imq_kernel_mean(x, y, c)

    # ── on models ──

    def encode(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> tuple[Array, Array]:
        """See `Backend.encode`."""
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        p = self._parameters(model)
        heads = tf.encoder_heads(
            self._in(x), layers(p, "encoder", 3), layer(p, "mu"), layer(p, "kappa"), model.activation, convention
        )
        return self._out(heads[0]), self._out(heads[1])

    def decode(self, model: SVAE, z: ArrayLike) -> Array:
        """See `Backend.decode`."""
        z = check.matrix("z", z, model.latent_dim, dtype=self.dtype)
        return self._out(tf.mlp(self._in(z), layers(self._parameters(model), "decoder", 4), model.activation))

    def decoder_log_volume(self, model: SVAE, z: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.decoder_log_volume`; tangents are pushed through the layers, block by block."""
        z = check.matrix("z", z, model.latent_dim, dtype=self.dtype)
        decoder = layers(self._parameters(model), "decoder", 4)
        k = model.latent_dim

        def jacobian(rows: slice) -> Tensor:
            block = self._in(z[rows])
            if convention.jacobian == "tangent":
                tangents = tf.tangent_frame(block, EXACT).transpose(1, 2)
            else:
                tangents = torch.eye(k, dtype=block.dtype, device=block.device).expand(len(block), k, k)
            return tf.mlp_tangents(block, tangents, decoder, model.activation)[1]

        return self._volume(len(z), jacobian)

    def encoder_log_volume(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.encoder_log_volume`; cotangents are pulled back through the layers."""
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        p = self._parameters(model)
        tangent = convention.encoder_jacobian == "tangent"

        def jacobian(rows: slice) -> Tensor:
            return tf.encoder_cotangents(
                self._in(x[rows]), layers(p, "encoder", 3), layer(p, "mu"), model.activation, convention,
                tangent=tangent,
            )  # fmt: skip

        return self._volume(len(x), jacobian, warn=tangent)

    def project(
        self, model: SVAE, x: ArrayLike, *, steps: int = 100, convention: Convention = EXACT
    ) -> reference.Projection:
        """See `Backend.project`; all rows of a block take their steps together, in this backend's dtype."""
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        start, _ = self.encode(model, x, convention=convention)
        decoder = layers(self._parameters(model), "decoder", 4)
        if convention.projection == "adam":  # on the mean over all rows: they make one block
            powers = [[beta_power(beta, t) for t in range(steps + 1)] for beta in BETAS]
            z, norm = tn.adam_descent(self._in(x), self._in(start), decoder, model.activation, powers)
            return reference.Projection(self._out(z), self._out(norm), np.full(len(x), steps))
        start = reference.normalize(start).astype(self.dtype)
        found = [
            tn.damped_newton(self._in(x[rows]), self._in(start[rows]), decoder, model.activation, steps=steps)
            for rows in self._blocks(max(len(x), 1))
        ]
        return reference.Projection(
            self._out(torch.cat([f.z for f in found])),
            self._out(torch.cat([f.gradient_norm for f in found])),
            self._out(torch.cat([f.iterations for f in found])),
        )

    def laplace(
        self, model: SVAE, x: ArrayLike, z: ArrayLike, sigma2: float = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """See `Backend.laplace`; all rows of a block take their steps together, in this backend's dtype."""
        given = x
        x = check.matrix("x", x, model.input_dim, dtype=self.dtype)
        z = check.array("z", z, (len(x), model.latent_dim))
        z = reference.normalize(z).astype(self.dtype)
        variance = check.real("sigma2", sigma2, above=0.0)
        mu, kappa = model.encode_pseudo_inputs(convention=convention)
        log_weight = np.zeros(len(mu))
        if convention.prior_density == "unit_kappa":
            kappa = np.ones(len(mu))
        else:
            log_weight = reference.log_vmf_normaliser(kappa, model.latent_dim)
        prior = tn.Mixture(*map(self._in, (mu, kappa, log_weight - np.log(len(mu)))))
        zero = np.zeros((1, model.input_dim))
        offset = -float(reference.log_likelihood(zero, zero, variance, convention=convention)[0])
        decoder = layers(self._parameters(model), "decoder", 4)
        found = [
            tn.damped_newton(
                self._in(x[rows]), self._in(z[rows]), decoder, model.activation,
                precision=1 / variance, offset=offset, prior=prior,
            )
            for rows in self._blocks(max(len(x), 1))
        ]  # fmt: skip
        value = self._out(torch.cat([f.value for f in found]))
        hessian = self._out(torch.cat([f.hessian for f in found]))
        density = density_at_mode(-value, hessian)
        rows = check.matrix("x", given, model.input_dim)
        return second_look(model, rows, z, variance, convention, density).astype(self.dtype)

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

    # ── to tensors and back ──

    def _in(self, array: Array) -> Tensor:
        if not (array.flags.writeable and array.flags.c_contiguous):
            array = array.copy()  # torch refuses read-only memory and negative strides
        return torch.from_numpy(array).to(self.device)

    def _out(self, tensor: Tensor) -> Array:
        return tensor.detach().cpu().numpy()

    def _tensors(self, model: SVAE) -> dict[str, Tensor]:
        return {
            name: torch.tensor(value, dtype=self._torch_dtype, device=self.device)
            for name, value in model.parameters().items()
        }

    @staticmethod
    def _blocks(n: int) -> Iterator[slice]:
        for start in range(0, n, BLOCK_ROWS):
            yield slice(start, min(n, start + BLOCK_ROWS))

    def _volume(self, n: int, jacobian: Callable[[slice], Tensor], *, warn: bool = True) -> Array:
        """Log-volumes of n rows whose Jacobians are made block by block."""
        volume = np.empty(n, dtype=self.dtype)
        singular = np.zeros(n, dtype=bool)
        for rows in self._blocks(n):
            value, flat = tf.log_volume(jacobian(rows))
            volume[rows], singular[rows] = self._out(value), self._out(flat)
        if warn and singular.any():
            reference.warn_singular(np.flatnonzero(singular))
        return volume


def layer(parameters: dict[str, Tensor], name: str) -> tf.Layer:
    """Return one layer's tensors."""
    return parameters[f"{name}.weight"], parameters[f"{name}.bias"]


def layers(parameters: dict[str, Tensor], name: str, count: int) -> list[tf.Layer]:
    """Return the tensors of layers `name.0` … in order."""
    return [layer(parameters, f"{name}.{i}") for i in range(count)]
