"""One table of kernels: it drives the conformance tests of every backend, `pyscore verify`, benchmarks and docs.

A row says how to draw inputs and under which conventions to call the function. A backend must be within
``K · eps(dtype) · scale`` of `pyscore.reference` on the same inputs, where the scale is the spread of the
reference itself under random rounding to that dtype at those inputs: `pyscore.backends.stochastic`, one K for all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pyscore import reference
from pyscore._core.checks import Array
from pyscore.backends import get_backend, original_order
from pyscore.backends.stochastic import scale_of
from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.reference.model import SVAE

__all__ = ["BY_NAME", "DRAWS", "KERNELS", "WIDTHS", "Case", "D", "H", "K", "KernelSpec", "P", "S"]
__all__ += ["case", "gaussian", "model", "unit"]

Rng = np.random.Generator
Arguments = tuple[Any, ...]

D, K, H, P, S = 7, 3, 16, 5, 6
"""Features, latent dimension, hidden width, components, draws: all different, so that a transpose shows."""
DRAWS = 12
"""Random roundings a scale is made of here: all are below a quarter of a standard deviation once in 3·10⁸."""


@dataclass(frozen=True)
class KernelSpec:
    """A function that every backend has."""

    name: str
    equation: str
    inputs: Callable[[np.random.Generator, int, Any], tuple[Any, ...]]
    """(generator, rows, dtype) → positional arguments."""
    conventions: tuple[Convention, ...] = (EXACT,)
    takes_convention: bool = True
    least_rows: int = 0
    """With fewer rows every backend raises ShapeError."""
    rearranged: Callable[..., Any] | None = None
    """(arguments, convention) → the same numbers in the order of operations that a float32 backend or the original
    has, where that magnifies rounding more than the reference's order."""

    def __call__(self, backend: Any, arguments: tuple[Any, ...], convention: Convention) -> Any:
        """Call the backend's function; several outputs are columns of one array."""
        keywords = {"convention": convention} if self.takes_convention else {}
        result = getattr(backend, self.name)(*arguments, **keywords)
        return np.column_stack(result) if isinstance(result, tuple) else result

    def exact(self, arguments: tuple[Any, ...], convention: Convention, dtype: Any) -> Array:
        """Return what a program in `dtype` should give: the float64 reference with that type's epsilon."""
        with reference.precision(dtype):
            return np.asarray(self(get_backend("numpy"), arguments, convention))

    def scale(self, arguments: tuple[Any, ...], convention: Convention, dtype: Any) -> Array:
        """Return the spread under random rounding to `dtype`, in units of its eps; of the shape of the result."""

        def evaluate(*moved: Any) -> Any:
            if self.rearranged is not None:
                return self.rearranged(moved, convention)
            return self(get_backend("numpy"), moved, convention)

        with reference.precision(dtype):
            return scale_of(evaluate, arguments, dtype, draws=DRAWS)


class Case(NamedTuple):
    """Inputs of a kernel with what they should give."""

    arguments: tuple[Any, ...]
    convention: Convention
    want: Array
    scale: Array


@functools.lru_cache(maxsize=1024)
def case(name: str, rows: int, dtype: Any, convention: Convention, seed: int = 0) -> Case:
    """Return seeded inputs of a kernel, the reference's result and its scale; made once for all backends."""
    spec, dtype = BY_NAME[name], np.dtype(dtype)
    arguments = spec.inputs(np.random.default_rng([seed, rows, *name.encode()]), rows, dtype)
    want, scale = (f(arguments, convention, dtype) for f in (spec.exact, spec.scale))
    return Case(arguments, convention, want, scale)


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


WIDTHS = np.array([0.001, 0.01, 0.1, 1.0])
BOTH = (EXACT, ORIGINAL)

KERNELS: tuple[KernelSpec, ...] = (
    KernelSpec("normalize", "v/|v|", lambda r, n, t: (gaussian(r, n, K, t),), BOTH),
    KernelSpec("householder", "z − 2(z·r)r", lambda r, n, t: (gaussian(r, n, K, t), unit(r, n, K, t)), BOTH),
    KernelSpec("sample_vmf", "Davidson 2018, algorithm 1", vmf_inputs, BOTH, rearranged=original_order.sample_vmf),
    KernelSpec("log_likelihood", "(4)", lambda r, n, t: (gaussian(r, n, D, t), gaussian(r, n, D, t), 0.7), BOTH),
    KernelSpec("latent_error", "Σ(z−ẑ)²", lambda r, n, t: (unit(r, n, K, t), unit(r, n, K, t)), (EXACT,), False),
    KernelSpec(
        "log_prior",
        "log (1/p) Σ vMF",
        lambda r, n, t: (unit(r, n, K, t), unit(r, P, K, t), kappas(r, P, t)),
        BOTH,
    ),
    KernelSpec(
        "log_vmf",
        "Davidson 2018",
        lambda r, n, t: (unit(r, n, K, t), unit(r, n, K, t), kappas(r, n, t)),
        takes_convention=False,
    ),
    KernelSpec("vmf_entropy", "Davidson 2018 (15)", lambda r, n, t: (kappas(r, n, t), K), takes_convention=False),
    KernelSpec("vmf_kl", "Davidson 2018 (14)", lambda r, n, t: (kappas(r, n, t), K), takes_convention=False),
    KernelSpec(
        "log_volume", "3.4", lambda r, n, t: (r.standard_normal((n, D, K)).astype(t),), takes_convention=False
    ),
    KernelSpec("log_importance", "(3)", importance_inputs, BOTH),
    KernelSpec("imq_kernel_mean", "(1)", lambda r, n, t: (unit(r, n, K, t), None, WIDTHS), BOTH, least_rows=2),
    KernelSpec(
        "mmd_imq", "(1)", lambda r, n, t: (unit(r, n, K, t), unit(r, n + 4, K, t), WIDTHS), BOTH, least_rows=2
    ),
    KernelSpec("encode", "mu(x), κ(x)", lambda r, n, t: (model(t), gaussian(r, n, D, t)), BOTH),
    KernelSpec("decode", "f(z)", lambda r, n, t: (model(t), unit(r, n, K, t)), takes_convention=False),
    KernelSpec("decoder_log_volume", "(7)", lambda r, n, t: (model(t), unit(r, n, K, t)), BOTH),
    KernelSpec(
        "encoder_log_volume",
        "(8)",
        lambda r, n, t: (model(t), gaussian(r, n, D, t)),
        (EXACT,),  # ORIGINAL keeps a singular value that is rounding noise: nothing to compare (Q3)
    ),
)
BY_NAME = {spec.name: spec for spec in KERNELS}
