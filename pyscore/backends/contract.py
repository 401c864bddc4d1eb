"""One table of kernels: it drives the conformance tests of every backend, `pyscore verify`, benchmarks and docs.

A row says how to draw inputs, under which conventions to call the function, and what its rounding scales with:
a backend must be within ``k · eps(dtype) · scale(inputs)`` of `pyscore.reference` on the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyscore import reference
from pyscore._core.checks import Array
from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.reference import network
from pyscore.reference.model import SVAE
from pyscore.reference.network import Dense

__all__ = ["BY_NAME", "KERNELS", "WIDTHS", "D", "H", "K", "KernelSpec", "P", "S"]
__all__ += ["encode_scale", "gaussian", "kernel_scale", "model", "unit", "volume_scale"]

Rng = np.random.Generator
Arguments = tuple[Any, ...]

D, K, H, P, S = 7, 3, 16, 5, 6
"""Features, latent dimension, hidden width, components, draws: all different, so that a transpose shows."""


@dataclass(frozen=True)
class KernelSpec:
    """A function that every backend has."""

    name: str
    equation: str
    inputs: Callable[[np.random.Generator, int, Any], tuple[Any, ...]]
    """(generator, rows, dtype) → positional arguments."""
    scale: Callable[..., Any]
    """(positional arguments, convention) → scale, broadcast against the result."""
    k: float
    """Allowed error in units of eps·scale."""
    conventions: tuple[Convention, ...] = (EXACT,)
    takes_convention: bool = True
    least_rows: int = 0
    """With fewer rows every backend raises ShapeError."""

    def __call__(self, backend: Any, arguments: tuple[Any, ...], convention: Convention) -> Any:
        """Call the backend's function."""
        keywords = {"convention": convention} if self.takes_convention else {}
        return getattr(backend, self.name)(*arguments, **keywords)


# ── inputs ──


def unit(rng: Rng, n: int, k: int, dtype: Any) -> Array:
    """Rows of unit norm (n, k)."""
    v = rng.standard_normal((n, k))
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(dtype)


def model(
    dtype: Any = np.float32,
    d: int = D,
    k: int = K,
    h: int = H,
    p: int = P,
    activation: str = "swish",
    seed: int = 3,
) -> SVAE:
    """A model whose biases are not zero, as after training."""
    fresh = SVAE.initialise(d, k, h, p, activation=activation, seed=seed, dtype=np.float64).parameters()
    rng = np.random.default_rng(seed)
    shaken = {n: a + 0.1 * rng.standard_normal(a.shape) if n.endswith("bias") else a for n, a in fresh.items()}
    return SVAE.from_parameters({name: value.astype(dtype) for name, value in shaken.items()}, activation)


def gaussian(rng: Rng, n: int, columns: int, dtype: Any) -> Array:
    """Rows of N(0, I)."""
    return rng.standard_normal((n, columns)).astype(dtype)


def kappas(rng: Rng, n: int, dtype: Any) -> Array:
    """Concentrations from 1e-3 to 100, log-uniform."""
    return (10.0 ** rng.uniform(-3, 2, n)).astype(dtype)


def vmf_inputs(rng: Rng, n: int, dtype: Any) -> Arguments:
    """mu, kappa, epsilon, v."""
    return (
        unit(rng, n, K, dtype),
        kappas(rng, n, dtype),
        rng.beta(1, 1, n).astype(dtype),
        gaussian(rng, n, K - 1, dtype),
    )


def importance_inputs(rng: Rng, n: int, dtype: Any) -> Arguments:
    """Log-densities at the draws, cosines, kappa, k."""
    likelihood, prior = gaussian(rng, n, S, dtype) * 5 - 30, gaussian(rng, n, S, dtype)
    return likelihood, prior, np.clip(gaussian(rng, n, S, dtype), -1, 1), kappas(rng, n, dtype), K


# ── scales ──


def wide(array: Any) -> Array:
    """As float64."""
    return np.asarray(array, np.float64)


def log_c(kappa: Any, k: int) -> Array:
    """Size of the terms of log C_k(κ)."""
    return np.abs(reference.log_vmf_normaliser(wide(kappa), k)) + wide(kappa)


def normalize_scale(arguments: Arguments, convention: Convention) -> Any:
    """An eps of v becomes eps/|v|; ORIGINAL's eps inside the root is that of the dtype: eps/|v|²."""
    length = np.maximum(np.linalg.norm(wide(arguments[0]), axis=1), 1e-3)[:, None]
    return 1 + 1 / length + (convention.norm_eps == "machine") / length**2


def prior_scale(arguments: Arguments, convention: Convention) -> Any:
    """Size of the exponents of the mixture."""
    _, mu_u, kappa_u = arguments
    return 1.0 if convention.prior_density == "unit_kappa" else np.max(log_c(kappa_u, mu_u.shape[1]))


def sample_scale(arguments: Arguments, convention: Convention) -> Any:
    """First-order error of w, of the ring √(1−w²), and of a reflection by e1 − mu.

    ORIGINAL takes b as (c − 2κ)/(k−1), which loses 2κ·eps, and stops the ring at √(10·eps32).
    """
    mu, kappa, epsilon, _ = map(wide, arguments)
    k = mu.shape[1]
    b = (k - 1) / (np.sqrt(4 * kappa**2 + (k - 1) ** 2) + 2 * kappa)
    spread = 1 - (1 - b) * epsilon
    w = (1 - (1 + b) * epsilon) / spread
    machine = convention.norm_eps == "machine"
    error_b = (1 + 2 * kappa) / (k - 1) if machine else b
    error_w = (2 * epsilon * (1 - epsilon) * error_b / spread + 2) / spread
    ring = np.sqrt(np.abs((1 - w) * (1 + w)) + (10 * reference.EPS32 if machine else 1e-12))
    return (error_w * (1 + np.abs(w) / ring))[:, None] + normalize_scale((np.eye(1, k) - mu,), convention)


def volume_scale(jacobian: Any) -> Array:
    """k·cond(J) + Σ|log s|: what a QR or an SVD promises."""
    s = np.linalg.svd(wide(jacobian), compute_uv=False)
    return s.shape[1] * s[:, 0] / s[:, -1] + np.abs(np.log(s)).sum(axis=1)


def flow(layers: Sequence[Dense], size: Array) -> float:
    """Largest value at the output if no product cancelled: |W|·…·|W| size + |b|."""
    for weight, bias in layers:
        size = np.abs(wide(weight)) @ size + np.abs(wide(bias))
    return float(size.max())


def decode_scale(arguments: Arguments, convention: Convention) -> Any:
    """Absolute flow through the decoder."""
    m, z = arguments
    return flow(m.decoder, np.ones(m.latent_dim)) if len(z) else 1.0


def encode_scale(arguments: Arguments, convention: Convention) -> Any:
    """The raw head is divided by its length: its absolute flow over |v|; and 1/|v|² for the eps of ORIGINAL."""
    m, x = arguments
    if len(x) == 0:
        return 1.0
    hidden = network.mlp(wide(x), m.encoder, m.activation, last_active=True)
    length = np.linalg.norm(hidden @ wide(m.mu.weight).T + wide(m.mu.bias), axis=1)
    size = flow((*m.encoder, m.mu), np.abs(wide(x)).max(axis=0))
    return (size + (convention.norm_eps == "machine") / length) / length


def decoder_volume_scale(arguments: Arguments, convention: Convention) -> Any:
    """What the QR promises, times the growth of the tangents' rounding."""
    m, z = arguments
    if len(z) == 0:
        return 1.0
    jacobian = m.decoder_jacobian(wide(z), tangent=convention.jacobian == "tangent")
    return jacobian_flow(m.decoder, m.latent_dim) * volume_scale(jacobian)


def encoder_volume_scale(arguments: Arguments, convention: Convention) -> Any:
    """What the QR promises, times the rounding of the code; four passes through the head."""
    m, x = arguments
    if len(x) == 0:
        return 1.0
    frame = reference.tangent_frame(m.encode(wide(x), convention=convention)[0])
    jacobian = np.swapaxes(frame, 1, 2) @ m.encoder_jacobian(wide(x), convention=convention)
    return encode_scale(arguments, convention) * volume_scale(jacobian) * 4


def jacobian_flow(layers: Sequence[Dense], k: int) -> float:
    """How much larger the absolute flow of a tangent is than the tangent: the growth of its rounding error."""
    size, norm = np.ones(k), np.float64(1.0)
    for weight, _ in layers:
        size = np.abs(wide(weight)) @ size
        norm *= np.linalg.norm(wide(weight), 2)
    return max(1.0, float(size.max() / norm))


def kernel_scale(x: Any, y: Any, c: Any) -> Any:
    """Mean of k + k²/c: a kernel value, and what the rounding of its distance does to it."""
    distance = np.maximum(0, 1 - wide(x) @ wide(y).T)
    values = [w / (w + distance) for w in np.atleast_1d(wide(c))]
    return np.reshape([np.mean(k + k * k / w) for k, w in zip(values, np.atleast_1d(c), strict=True)], np.shape(c))


def mmd_scale(arguments: Arguments, convention: Convention) -> Any:
    """The three kernel means of the MMD."""
    x, y, c = arguments
    return kernel_scale(x, x, c) + kernel_scale(y, y, c) + 2 * kernel_scale(x, y, c)


WIDTHS = np.array([0.001, 0.01, 0.1, 1.0])
BOTH = (EXACT, ORIGINAL)

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec("normalize", "v/|v|", lambda r, n, t: (gaussian(r, n, K, t),), normalize_scale, 4, BOTH),
    KernelSpec(
        "householder",
        "z − 2(z·r)r",
        lambda r, n, t: (gaussian(r, n, K, t), unit(r, n, K, t)),
        lambda a, c: (
            np.linalg.norm(wide(a[0]), axis=1)[:, None] * normalize_scale((np.eye(1, K) - wide(a[1]),), c)
        ),
        8,
        BOTH,
    ),
    KernelSpec("sample_vmf", "Davidson 2018, algorithm 1", vmf_inputs, sample_scale, 16, BOTH),
    KernelSpec(
        "log_likelihood",
        "(4)",
        lambda r, n, t: (gaussian(r, n, D, t), gaussian(r, n, D, t), 0.7),
        lambda a, c: (wide(a[0]) ** 2 + wide(a[1]) ** 2).sum(axis=1) / a[2] + 2 * D,
        4,
        BOTH,
    ),
    KernelSpec(
        "latent_error",
        "Σ(z−ẑ)²",
        lambda r, n, t: (unit(r, n, K, t), unit(r, n, K, t)),
        lambda a, c: 2.0,
        8,
        takes_convention=False,
    ),
    KernelSpec(
        "log_prior",
        "log (1/p) Σ vMF",
        lambda r, n, t: (unit(r, n, K, t), unit(r, P, K, t), kappas(r, P, t)),
        prior_scale,
        8,
        BOTH,
    ),
    KernelSpec(
        "log_vmf",
        "Davidson 2018",
        lambda r, n, t: (unit(r, n, K, t), unit(r, n, K, t), kappas(r, n, t)),
        lambda a, c: log_c(a[2], K),
        8,
        takes_convention=False,
    ),
    KernelSpec(
        "vmf_entropy",
        "Davidson 2018 (15)",
        lambda r, n, t: (kappas(r, n, t), K),
        lambda a, c: log_c(*a) + wide(a[0]),
        8,
        takes_convention=False,
    ),
    KernelSpec(
        "vmf_kl",
        "Davidson 2018 (14)",
        lambda r, n, t: (kappas(r, n, t), K),
        lambda a, c: log_c(*a) + wide(a[0]),
        8,
        takes_convention=False,
    ),
    KernelSpec(
        "log_volume",
        "3.4",
        lambda r, n, t: (r.standard_normal((n, D, K)).astype(t),),
        lambda a, c: volume_scale(a[0]) if len(a[0]) else 1.0,
        8,
        takes_convention=False,
    ),
    KernelSpec(
        "log_importance",
        "(3)",
        importance_inputs,
        lambda a, c: np.abs(wide(a[0])).max(initial=1) + 5 + 2 * log_c(a[3], K),
        8,
        BOTH,
    ),
    KernelSpec(
        "imq_kernel_mean",
        "(1)",
        lambda r, n, t: (unit(r, n, K, t), None, WIDTHS),
        lambda a, c: kernel_scale(a[0], a[0], a[2]) + (c.mmd_diagonal == "kept") / a[2] / len(a[0]),
        8,
        BOTH,
        least_rows=2,
    ),
    KernelSpec(
        "mmd_imq",
        "(1)",
        lambda r, n, t: (unit(r, n, K, t), unit(r, n + 4, K, t), WIDTHS),
        mmd_scale,
        8,
        BOTH,
        least_rows=2,
    ),
    KernelSpec("decode", "f(z)", lambda r, n, t: (model(t), unit(r, n, K, t)), decode_scale, 8, (EXACT,), False),
    KernelSpec(
        "decoder_log_volume",
        "(7)",
        lambda r, n, t: (model(t), unit(r, n, K, t)),
        decoder_volume_scale,
        8,
        BOTH,
    ),
    KernelSpec(
        "encoder_log_volume",
        "(8)",
        lambda r, n, t: (model(t), gaussian(r, n, D, t)),
        encoder_volume_scale,
        8,
        (EXACT,),  # ORIGINAL keeps a singular value that is rounding noise: nothing to compare (Q3)
    ),
)
BY_NAME = {spec.name: spec for spec in KERNELS}
