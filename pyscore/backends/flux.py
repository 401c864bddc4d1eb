"""FewShotAnomalyDetection.jl by name, in Python: the same functions in the same argument order, run in Julia.

For people who know the original, and for checking a script line by line against it. Everything is computed under
the ORIGINAL convention with the :loop route, which takes one sample at a time as the original does.

**Rows are samples**, as everywhere in pyscore: where the original takes and returns (d, n) arrays, these take and
return (n, d), and its 1×n rows are (n,) vectors here. A single sample may be given as a vector.

>>> from pyscore.backends.flux import SVAEvampmeans, zparams, log_pz_jacobian_decoder   # doctest: +SKIP
>>> m = SVAEvampmeans(30, 64, 4, 3, "swish", "Dense", 16)                      # doctest: +SKIP
>>> mu, kappa = zparams(m, x)                                                  # doctest: +SKIP
>>> log_pz_jacobian_decoder(m, mu)                                             # doctest: +SKIP
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.backends.julia_ import JuliaBackend, julia_backend
from pyscore.convention import ORIGINAL
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE

__all__ = [
    "SVAEvampmeans", "correctedjacodeco", "decomposed_wloss", "householderrotation", "huentropy", "infer",
    "jacobian_decoder", "jacobian_encoder", "k_imq", "kldiv", "log_normal", "log_px", "log_pxexpectedz", "log_pz",
    "log_pz_from_z", "log_pz_jacobian_decoder", "log_pz_jacobian_encoder", "log_vmf_c", "log_vmf_wo_c",
    "manifoldz",
    "mmd_imq", "normalizecolumns", "pairwisecos", "pz", "sampleVamp", "samplez", "vmfentropy", "wloss", "zfromx",
    "zparams",
]  # fmt: skip


@functools.cache
def _shared(dtype: str) -> JuliaBackend:
    """The worker of this module, one for each type; started at its first call."""
    return julia_backend(dtype=dtype)


@dataclass(frozen=True, eq=False)
class SVAEvampmeans:
    """The original's model: sizes, activation and layer type in its order, then T.

    Parameters
    ----------
    inputDim, hiddenDim, latentDim, numLayers : int
        `numLayers` must be 3: that is what the model has.
    nonlinearity, layerType : str
        ``"swish"`` and ``"Dense"``.
    num_pseudoinputs : int
    T : dtype
        Type of all parameters (in the original of the pseudo-inputs alone).
    seed : int, of the initialisation
    """

    model: SVAE
    backend: JuliaBackend

    def __init__(
        self,
        inputDim: int | SVAE,
        hiddenDim: int = 0,
        latentDim: int = 0,
        numLayers: int = 3,
        nonlinearity: str = "swish",
        layerType: str = "Dense",
        num_pseudoinputs: int = 1,
        T: Any = np.float32,
        *,
        seed: int = 0,
        backend: JuliaBackend | None = None,
    ) -> None:
        model = inputDim
        if not isinstance(model, SVAE):
            if (numLayers, nonlinearity, layerType) != (3, "swish", "Dense"):
                raise InvalidInput(
                    "`numLayers`, `nonlinearity`, `layerType` must be 3, 'swish', 'Dense'; got "
                    f"{numLayers!r}, {nonlinearity!r}, {layerType!r}."
                )
            model = SVAE.initialise(model, latentDim, hiddenDim, num_pseudoinputs, seed=seed, dtype=T)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "backend", backend or _shared(str(model.dtype)))

    def q(self, x: ArrayLike) -> Array:
        """Last hidden layer of the encoder, (n, h)."""
        return _each(self, "hidden", x)

    def g(self, z: ArrayLike) -> Array:
        """Decode: (n, k) → (n, d)."""
        return _each(self, "decode", z)

    @property
    def zdim(self) -> int:
        """Latent dimension."""
        return self.model.latent_dim

    @property
    def hue(self) -> float:
        """Entropy of the uniform distribution on the sphere of codes."""
        return huentropy(self.zdim, backend=self.backend)


def _rows(m: SVAEvampmeans, value: ArrayLike) -> Array:
    array = np.asarray(value, dtype=m.model.dtype)
    return check.matrix("x", array[None] if array.ndim == 1 else array, dtype=m.model.dtype)


def _each(m: SVAEvampmeans, name: str, value: ArrayLike, **keywords: Any) -> Any:
    """Call a function of the model on rows; one sample given as a vector gives the result of one."""
    result = m.backend.call(name, m.model, _rows(m, value), **keywords)
    return result[0] if np.ndim(value) == 1 else result


def _backend(backend: JuliaBackend | None, *arrays: ArrayLike) -> tuple[JuliaBackend, list[Array]]:
    dtype = np.result_type(*arrays, np.float32)
    chosen = backend or _shared(str(dtype if dtype == np.float32 else np.dtype(np.float64)))
    return chosen, [np.asarray(a, dtype=chosen.dtype) for a in arrays]


# ── Model ──


def zparams(m: SVAEvampmeans, x: ArrayLike) -> tuple[Array, Array]:
    """Mean directions (n, k) and concentrations (n,)."""
    mu, kappa = m.backend.call("encode", m.model, _rows(m, x), convention=ORIGINAL)
    return (mu[0], kappa[0]) if np.ndim(x) == 1 else (mu, kappa)


def samplez(m: SVAEvampmeans, muz: ArrayLike, kappaz: ArrayLike, *, seed: int = 0) -> Array:
    """Sample of vMF(muz, kappaz), drawn in Julia from `seed`."""
    kappa = np.atleast_1d(np.asarray(kappaz, dtype=m.model.dtype))
    z: Array = m.backend.call("draw_vmf", _rows(m, muz), kappa, seed, convention=ORIGINAL)
    return z[0] if np.ndim(muz) == 1 else z


def zfromx(m: SVAEvampmeans, x: ArrayLike, *, seed: int = 0) -> Array:
    """Sample of the posterior of each row."""
    return samplez(m, *zparams(m, x), seed=seed)


def infer(m: SVAEvampmeans, x: ArrayLike, *, seed: int = 0) -> Array:
    """Decode a sample of the posterior of each row."""
    return m.g(zfromx(m, x, seed=seed))


def sampleVamp(m: SVAEvampmeans, n: int, *, seed: int = 0) -> Array:
    """Draw n samples of the prior, (n, k), in Julia from `seed`."""
    z: Array = m.backend.call("draw_prior", m.model, check.integer("n", n, at_least=0), seed, convention=ORIGINAL)
    return z


def decomposed_wloss(
    m: SVAEvampmeans, x: ArrayLike, beta: float, d: Callable[[Array, Array], Any], *, seed: int = 0
) -> tuple[float, float]:
    """Reconstruction error (mean over all entries) and discrepancy `d(codes, prior sample)`."""
    rows = _rows(m, x)
    z, _ = zparams(m, rows)
    return float(np.mean((rows - m.g(z)) ** 2)), float(d(z, sampleVamp(m, len(z), seed=seed)))


def wloss(
    m: SVAEvampmeans, x: ArrayLike, beta: float, d: Callable[[Array, Array], Any], *, seed: int = 0
) -> float:
    """Loss: reconstruction error + beta·discrepancy."""
    reconstruction, discrepancy = decomposed_wloss(m, x, beta, d, seed=seed)
    return reconstruction + beta * discrepancy


# ── Densities, nats ──


def log_normal(x: ArrayLike, mu: ArrayLike | None = None, *, backend: JuliaBackend | None = None) -> Array:
    """log N(x; mu, I), (n,)."""
    julia, (a, b) = _backend(backend, x, np.zeros_like(x) if mu is None else mu)
    value = julia.log_likelihood(np.atleast_2d(a), np.atleast_2d(b), convention=ORIGINAL)
    return value[0] if np.ndim(x) == 1 else value


def log_pxexpectedz(m: SVAEvampmeans, x: ArrayLike, z: ArrayLike | None = None) -> Array:
    """log p(x | z) at the mean direction of each row, or at z."""
    return log_normal(
        np.asarray(x, dtype=m.model.dtype), m.g(zparams(m, x)[0] if z is None else z), backend=m.backend
    )


def log_pz_from_z(m: SVAEvampmeans, z: ArrayLike) -> Array:
    """log (1/p) Σ_j exp(z·mu_j)."""
    return _each(m, "model_log_prior", z, convention=ORIGINAL)


def log_pz(m: SVAEvampmeans, x: ArrayLike) -> Array:
    """`log_pz_from_z` at the mean direction of each row."""
    return log_pz_from_z(m, zparams(m, x)[0])


def pz(m: SVAEvampmeans, x: ArrayLike) -> Array:
    """exp(log_pz(m, x))."""
    return np.exp(log_pz(m, x))


def log_px(m: SVAEvampmeans, x: ArrayLike, k: int = 100, *, seed: int = 0) -> Array:
    """Importance-sampled log p(x) from k draws, with the original's broadcast over pairs of draws."""
    rows = _rows(m, x)
    mu, kappa = zparams(m, rows)
    draws = samplez(m, np.repeat(mu, k, axis=0), np.repeat(kappa, k), seed=seed).reshape(len(mu), k, -1)
    value: Array = m.backend.call("model_log_importance", m.model, rows, draws, convention=ORIGINAL)
    return value[0] if np.ndim(x) == 1 else value


def jacobian_decoder(m: SVAEvampmeans, z: ArrayLike) -> Array:
    """Jacobian of g: (n, d, k), or (d, k) for one code."""
    return _each(m, "jacobian_decoder", z, route="loop", convention=ORIGINAL)


def jacobian_encoder(m: SVAEvampmeans, x: ArrayLike) -> Array:
    """Jacobian of the mean direction: (n, k, d), or (k, d) for one sample."""
    return _each(m, "jacobian_encoder", x, route="loop", convention=ORIGINAL)


def log_pz_jacobian_decoder(m: SVAEvampmeans, z: ArrayLike) -> Array:
    """log_pz_from_z(z) − 2 Σ log s(jacobian_decoder(z))."""
    return _each(m, "model_log_prior_jacobian_decoder", z, route="loop", convention=ORIGINAL)


def log_pz_jacobian_encoder(m: SVAEvampmeans, x: ArrayLike) -> Array:
    """log_pz(x) + 2 Σ log s(jacobian_encoder(x)), the smallest s being rounding noise."""
    return _each(m, "model_log_prior_jacobian_encoder", x, route="loop", convention=ORIGINAL)


def manifoldz(m: SVAEvampmeans, x: ArrayLike, steps: int = 100, z: ArrayLike | None = None) -> Array:
    """Codes after `steps` ADAM steps on the reconstruction error, from z or from the mean directions."""
    start = _rows(m, zparams(m, x)[0] if z is None else z)
    found: Array = m.backend.call("project", m.model, _rows(m, x), start, steps=steps, convention=ORIGINAL)[0]
    return found[0] if np.ndim(x) == 1 else found


def correctedjacodeco(m: SVAEvampmeans, x: ArrayLike, z: ArrayLike | None = None) -> Array:
    """log N(z; 0, I + (JᵀJ)⁻¹) + log N(e) over d−k dimensions − 2 Σ log(s + 1e-6), at z or at `manifoldz`."""
    rows = _rows(m, x)
    codes = manifoldz(m, rows) if z is None else _rows(m, z)
    density: Array = m.backend.call(
        "log_density_corrected", rows, m.g(codes), codes, jacobian_decoder(m, codes), convention=ORIGINAL
    )
    return density[0] if np.ndim(x) == 1 else density


# ── Sphere, kernels ──


def normalizecolumns(v: ArrayLike, *, backend: JuliaBackend | None = None) -> Array:
    """Rows (the original's columns) divided by √(Σv² + eps)."""
    julia, (a,) = _backend(backend, v)
    return julia.normalize(a, convention=ORIGINAL)


def householderrotation(zprime: ArrayLike, mu: ArrayLike, *, backend: JuliaBackend | None = None) -> Array:
    """Reflection that takes e1 to mu, applied to zprime."""
    julia, (a, b) = _backend(backend, zprime, mu)
    return julia.householder(a, b, convention=ORIGINAL)


def pairwisecos(x: ArrayLike, y: ArrayLike | None = None) -> Array:
    """max(0, 1 − x·y) of all pairs of rows, (n, m)."""
    a = np.asarray(x)
    return np.maximum(1 - a @ np.asarray(a if y is None else y).T, 0)


def k_imq(x: ArrayLike, *y_and_c: Any, backend: JuliaBackend | None = None) -> float:
    """k_imq(x, c) within x, with its diagonal over n(n−1); k_imq(x, y, c) between x and y."""
    *others, c = y_and_c
    julia, (a, *b) = _backend(backend, x, *others)
    return float(julia.imq_kernel_mean(a, b[0] if b else None, float(c), convention=ORIGINAL))


def mmd_imq(x: ArrayLike, y: ArrayLike, c: float, *, backend: JuliaBackend | None = None) -> float:
    """k_imq(x, c) + k_imq(y, c) − 2 k_imq(x, y, c)."""
    julia, (a, b) = _backend(backend, x, y)
    return float(julia.mmd_imq(a, b, float(c), convention=ORIGINAL))


def log_vmf_wo_c(x: ArrayLike, mu: ArrayLike, kappa: ArrayLike) -> Array:
    """κ x·mu, row by row, without the normaliser."""
    value: Array = np.asarray(kappa) * np.sum(np.asarray(x) * np.asarray(mu), axis=-1)
    return value


def log_vmf_c(x: ArrayLike, mu: ArrayLike, kappa: ArrayLike, *, backend: JuliaBackend | None = None) -> Array:
    """κ x·mu + log C_k(κ), row by row (the original returns the last one for matrices)."""
    julia, (a, b) = _backend(backend, x, mu)
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    value = julia.log_vmf(a, b, np.broadcast_to(np.asarray(kappa, dtype=a.dtype), (len(a),)))
    return value[0] if np.ndim(x) == 1 else value


def vmfentropy(m: int, kappa: ArrayLike, *, backend: JuliaBackend | None = None) -> Array:
    """Entropy of vMF(·, kappa) in m dimensions, (n,)."""
    julia, (a,) = _backend(backend, np.atleast_1d(kappa))
    value = julia.vmf_entropy(a, m)
    return value[0] if np.ndim(kappa) == 0 else value


def huentropy(m: int, *, backend: JuliaBackend | None = None) -> float:
    """Entropy of the uniform distribution on the sphere in m dimensions."""
    return float((backend or _shared("float64")).call("uniform_sphere_entropy", check.integer("m", m, at_least=2)))


def kldiv(m: SVAEvampmeans, kappa: ArrayLike) -> Array:
    """KL of vMF(·, kappa) from the uniform distribution, (n,)."""
    return m.hue - vmfentropy(m.zdim, kappa, backend=m.backend)
